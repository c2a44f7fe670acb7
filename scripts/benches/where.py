"""Where the time goes in a start and in a round trip, as two tables: `scripts/bench --where`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from tqdm import tqdm

from .kernels import OURS, OURS_PLAIN, SPECS, Kernel, Spec
from .speed import CALL

#: What the worker needs of IPython before it is ready.
_IPYTHON = "import IPython.core.interactiveshell, IPython.core.shellapp, IPython.core.history, IPython.core.completer"
_TIMED = f"import time; at = time.perf_counter(); {_IPYTHON}; print(time.perf_counter() - at)"


def tables(quick: bool) -> str:
    """Both tables, in Markdown: milliseconds, medians; with snapshots and without."""
    specs = [spec for spec in SPECS if spec.name in (OURS, OURS_PLAIN)]
    starts, cells = (5, 40) if quick else (15, 400)
    with tqdm(total=2 * len(specs), disable=None, unit="") as bar:

        def each(measured: Callable[[Spec, int], Mapping[str, float]], times: int) -> list[Mapping[str, float]]:
            columns = []
            for spec in specs:
                columns.append(measured(spec, times))
                bar.update()
            return columns

        start, trip = each(_start, starts), each(_round_trip, cells)
    return "\n\n".join((_table("a start", specs, start), _table(f"a round trip of `{CALL}`", specs, trip)))


def _start(spec: Spec, times: int) -> Mapping[str, float]:
    """The supervisor comes up and answers `kernel_info` by itself; the worker comes up beside it."""
    bare = [_seconds([sys.executable, "-P", "-c", "pass"]) for _ in range(times)]
    ipython = [float(_output([sys.executable, "-P", "-c", _TIMED])) for _ in range(times)]
    stages: list[tuple[float, ...]] = []
    for _ in range(times):
        with Kernel(spec) as kernel:
            offset = time.time() - time.perf_counter()
            info = kernel.client.send("kernel_info_request", {})
            cell = kernel.client.start("pass")
            kernel.client.wait(lambda info=info, cell=cell: info.reply is not None and cell.reply is not None)  # type: ignore[misc]
            assert info.reply is not None
            assert cell.reply is not None
            ready = _stamp(cell.reply.metadata()["ipymini"]["started"]) - offset
            answered, done = info.reply.at, cell.reply.at
            begun = kernel.started
            stages.append((answered - begun, ready - answered, done - ready, done - begun))
    first, worker, last, together = (_milliseconds(stage) for stage in zip(*stages, strict=True))
    return {
        "until the supervisor answers `kernel_info`": first,
        "then, until the worker is ready": worker,
        "then, until the first cell has its reply": last,
        "together": together,
        "for comparison: an empty Python starts and ends": _milliseconds(bare),
        "for comparison: what the worker needs of IPython is imported": _milliseconds(ipython),
    }


def _round_trip(spec: Spec, times: int) -> Mapping[str, float]:
    """By the supervisor's own account, in the metadata of the reply, and by the client's clock around it."""
    stages: list[tuple[float, ...]] = []
    with Kernel(spec) as kernel:
        kernel.ready()
        for _ in range(times):
            offset = time.time() - time.perf_counter()
            run = kernel.client.execute(CALL)
            assert run.reply is not None
            account = run.reply.metadata()["ipymini"]
            queued, started, ended = (_stamp(account[name]) - offset for name in ("queued", "started", "ended"))
            over = run.sent + run.seconds
            stages.append((queued - run.sent, started - queued, ended - started, over - ended, run.seconds))
    names = (
        "the client signs and sends, the supervisor receives and checks",
        "the supervisor hands it on",
        "the worker takes a snapshot, if it is to, runs the cell and replies",
        "the supervisor signs and publishes, the client has reply and idle",
        "together",
    )
    return {name: _milliseconds([stage[i] for stage in stages]) for i, name in enumerate(names)}


def _table(title: str, specs: Sequence[Spec], columns: Sequence[Mapping[str, float]]) -> str:
    lines = [f"| {title}, ms | " + " | ".join(spec.name for spec in specs) + " |", "|---|" + "--:|" * len(specs)]
    rows = (f"| {name} | " + " | ".join(f"{column[name]:.2f}" for column in columns) + " |" for name in columns[0])
    return "\n".join([*lines, *rows])


def _milliseconds(seconds: Sequence[float]) -> float:
    return 1000 * statistics.median(seconds)


def _stamp(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _seconds(command: Sequence[str]) -> float:
    begun = time.perf_counter()
    _output(command)
    return time.perf_counter() - begun


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
