"""How soon a kernel is there, and how soon it answers."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from contextlib import ExitStack
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from .client import Client, NoAnswer
from .kernels import Kernel, Spec

Results = dict[str, float]

#: The least that this kernel takes a snapshot for: it can repeat what calls nothing.
CALL = "len('')"
#: Cells that hold the processor for some seconds: in Python, and in C without ever letting another thread run.
LOOP = "import time\nend = time.perf_counter() + {seconds}\nwhile time.perf_counter() < end: pass"
HOLD = "import ctypes, time\nctypes.PyDLL(None).usleep(int({seconds} * 1e6))"


def start(spec: Spec, quick: bool) -> Results:
    """From the start of the process to its first answer, and to the end of its first cell."""
    with Kernel(spec) as kernel:
        info = kernel.client.send("kernel_info_request", {})
        cell = kernel.client.start("pass")
        kernel.client.wait(lambda: info.reply is not None and cell.reply is not None)
        assert info.reply is not None
        assert cell.reply is not None
        return {
            "start: kernel_info": 1000 * (info.reply.at - kernel.started),
            "start: first cell": 1000 * (cell.reply.at - kernel.started),
        }


class _Manager(KernelManager):
    """A manager of a kernel that needs no kernelspec in a folder."""

    command: tuple[str, ...] = ()

    @property
    def kernel_spec(self) -> KernelSpec:
        """What the manager would have found."""
        return KernelSpec(argv=[*self.command, "{connection_file}"], language="python")


def restart(spec: Spec, quick: bool) -> Results:
    """From `KernelManager.restart_kernel()` to the end of the first cell of the new kernel."""
    manager = _Manager()
    manager.command = spec.command
    manager.start_kernel(env={**spec.env, **_environment()})
    try:
        connection: dict[str, Any] = dict(manager.get_connection_info())
        connection["key"] = connection["key"].decode()
        with ExitStack() as stack:
            client = Client(connection)
            stack.callback(client.close)
            client.execute("x = 1")
        begun = time.perf_counter()
        manager.restart_kernel()
        with ExitStack() as stack:
            client = Client(connection)
            stack.callback(client.close)
            run = client.start("pass")
            client.wait(lambda: run.reply is not None)
            assert run.reply is not None
            return {"restart": 1000 * (run.reply.at - begun)}
    finally:
        manager.shutdown_kernel(now=True)


def _environment() -> dict[str, str]:
    return {**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, "IPYMINI_LOG_LEVEL": "CRITICAL"}


def round_trip(spec: Spec, quick: bool) -> Results:
    """Cells one after the other, each sent when the one before is over: reply and idle have come."""
    count = 60 if quick else 200
    with Kernel(spec) as kernel:
        client = kernel.ready().client
        for _ in range(20):
            client.execute("pass")
        passes = [1000 * client.execute("pass", history=False).seconds for _ in range(count)]
        calls = [1000 * client.execute(CALL, history=False).seconds for _ in range(count)]
        ones = [1000 * client.execute("1").seconds for _ in range(2 * count)]
    return {
        "round trip of pass": statistics.median(passes),
        "round trip of a call": statistics.median(calls),
        "round trip of 1, median": statistics.median(ones),
        "round trip of 1, p99": statistics.quantiles(ones, n=100)[-1],
    }


def pipelined(spec: Spec, quick: bool) -> Results:
    """Cells that are all sent at once."""
    count = 100 if quick else 500
    results = {}
    with Kernel(spec) as kernel:
        client = kernel.ready().client
        for name, code in (("500 cells at once, per cell", "pass"), ("500 calls at once, per cell", CALL)):
            begun = time.perf_counter()
            runs = [client.start(code) for _ in range(count)]
            client.wait(lambda runs=runs: runs[-1].over)  # type: ignore[misc]
            if not all(run.over for run in runs):
                raise NoAnswer("Some of the cells got no reply or no idle.")
            results[name] = 1000 * (time.perf_counter() - begun) / count
    return results


def control(spec: Spec, quick: bool) -> Results:
    """The slowest answer on the control channel, and the slowest heartbeat, whatever the worker does."""
    seconds = 2.0 if quick else 6.0
    with Kernel(spec) as kernel:
        client = kernel.ready().client
        for _ in range(5):
            client.ask("kernel_info_request", {}, channel="control")
            client.beat()
        results = {"control, idle": _slowest(client, seconds / 4)}
        for name, code in (("control, Python loop", LOOP), ("control, GIL held", HOLD)):
            run = client.start(code.format(seconds=seconds))
            client.wait(lambda run=run: "execute_input" in run.first)  # type: ignore[misc]
            time.sleep(0.05)
            results[name] = _slowest(client, seconds * 0.7)
            client.finish(run)
        run = client.start(HOLD.format(seconds=seconds / 2))
        client.wait(lambda: "execute_input" in run.first)
        time.sleep(0.05)
        results["heartbeat, GIL held"] = max(1000 * beat for beat in _beats(client, seconds / 3))
        client.finish(run)
    return results


def _slowest(client: Client, seconds: float) -> float:
    end = time.perf_counter() + seconds
    slowest = 0.0
    while time.perf_counter() < end:
        run = client.send("kernel_info_request", {}, channel="control")
        client.wait(lambda run=run: run.reply is not None)  # type: ignore[misc]
        assert run.reply is not None
        slowest = max(slowest, run.reply.at - run.sent)
        time.sleep(0.02)
    return 1000 * slowest


def _beats(client: Client, seconds: float) -> list[float]:
    end = time.perf_counter() + seconds
    beats = []
    while time.perf_counter() < end:
        beats.append(client.beat())
        time.sleep(0.02)
    return beats


def completion(spec: Spec, quick: bool) -> Results:
    """The first completion of a session, two seconds after its first cell, and one more."""
    with Kernel(spec) as kernel:
        client = kernel.ready().client
        client.execute("import os")
        time.sleep(2.0)
        times = []
        for code in ("pri", "os.path.jo"):
            run = client.send("complete_request", {"code": code, "cursor_pos": len(code)})
            client.wait(lambda run=run: run.reply is not None)  # type: ignore[misc]
            assert run.reply is not None
            times.append(1000 * (run.reply.at - run.sent))
    return {"first completion": times[0], "second completion": times[1]}


def source(spec: Spec, quick: bool) -> Results:
    """A cell of 32 MB of source: one string."""
    size = (4 if quick else 32) << 20
    with Kernel(spec) as kernel:
        client = kernel.ready().client
        run = client.execute(f"s = '{'x' * size}'", timeout=120)
    return {"32 MB of source": run.seconds * (32 << 20) / size}


def many(spec: Spec, quick: bool) -> Results:
    """Kernels that are started all at once, until each has executed a cell."""
    count = 6 if quick else 20
    with ExitStack() as stack:
        begun = time.perf_counter()
        kernels = [stack.enter_context(Kernel(spec)) for _ in range(count)]
        runs = [kernel.client.start("pass") for kernel in kernels]
        waiting = list(zip(kernels, runs, strict=True))
        for kernel, run in itertools.cycle(waiting):
            if all(run.reply is not None for run in runs):
                return {"20 kernels at once": (time.perf_counter() - begun) * 20 / count}
            if run.reply is None:
                kernel.client.pump(0.02)
            if time.perf_counter() > begun + 120:
                break
    raise NoAnswer("Not all kernels came up within two minutes.")
