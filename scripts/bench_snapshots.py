"""What snapshots cost for each cell, and how soon there is a worker after a death: with them and without, in turns.

Machines differ and are noisy: what counts are the two columns of a row, which were measured in alternation.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from contextlib import ExitStack
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

MODES = ("off", "on")
#: What a cell does to the session: nothing; what small cells do; a tenth of the session is written to.
CELLS = {
    "calls": "len('')",
    "is small": "numbers = [i * i for i in range(10_000)]",
    "writes": "touch(len(session) // 10)",
}
#: What the session is made of: the system copies a map of its pages, and numpy asks for large ones.
PREPARE = {
    "numpy": """
import numpy
session = numpy.zeros({size}, "uint8")
def touch(size): session[:size:4096] += 1
touch(len(session))
""",
    "bytearray": """
session = bytearray({size})
def touch(size):
    for i in range(0, size, 4096): session[i] = (session[i] + 1) % 256
touch(len(session))
""",
}


class Bench:
    """A kernel in one of `MODES`, and a client of it."""

    def __init__(self, mode: str, stack: ExitStack) -> None:
        manager = KernelManager(kernel_name="ipymini")
        manager.start_kernel(env={**os.environ, "IPYMINI_SNAPSHOTS": mode, "IPYMINI_LOG_LEVEL": "CRITICAL"})
        stack.callback(manager.shutdown_kernel, now=True)
        self._client: BlockingKernelClient = manager.client()
        self._client.start_channels()
        stack.callback(self._client.stop_channels)
        self._client.wait_for_ready(60)

    def run(self, code: str) -> tuple[float, dict[str, Any]]:
        """Seconds from the request to idle, and the content of the reply."""
        begun = time.perf_counter()
        reply = self._client.execute_interactive(code, output_hook=lambda message: None, timeout=120)
        return time.perf_counter() - begun, reply["content"]

    def prepare(self, kind: str, megabytes: int) -> None:
        """A session of a size."""
        _, content = self.run(PREPARE[kind].format(size=megabytes << 20))
        assert content["status"] == "ok", content

    def die(self) -> tuple[float, float]:
        """Seconds from a cell that kills the worker to its error, and to the end of the cell that comes next."""
        told, content = self.run("import os; os.kill(os.getpid(), 9)")
        assert content["ename"] == "WorkerDied", content
        again, _ = self.run("pass")
        return told, told + again


def row(title: str, off: list[float], on: list[float]) -> None:
    """One line: medians in milliseconds, and the difference."""
    without, with_them = (1000 * statistics.median(values) for values in (off, on))
    print(
        f"{title:<44} {without:9.2f} {with_them:9.2f} {with_them - without:+9.2f}  x{with_them / without:.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="50,1000,5000", help="of the session, in megabytes, with commas")
    parser.add_argument("--cells", type=int, default=40, help="cells of each kind")
    options = parser.parse_args()
    print(f"{'median of each, ms':<44} {'off':>9} {'on':>9} {'cost':>9}  ratio")
    for size, kind in itertools.product(map(int, options.sizes.split(",")), PREPARE):
        with ExitStack() as stack:
            benches = {mode: Bench(mode, stack) for mode in MODES}
            for bench in benches.values():
                bench.prepare(kind, size)
            for name, code in CELLS.items():
                times: dict[str, list[float]] = {mode: [] for mode in MODES}
                for _ in range(options.cells):
                    for mode, bench in benches.items():
                        times[mode].append(bench.run(code)[0])
                row(f"{size} MB, {kind}, a cell that {name}", times["off"], times["on"])
    with ExitStack() as stack:
        benches = {mode: Bench(mode, stack) for mode in MODES}
        died = {mode: [bench.die() for _ in range(10)] for mode, bench in benches.items()}
        reborn: dict[str, list[float]] = {mode: [] for mode in MODES}
        for _ in range(10):
            for mode, bench in benches.items():
                bench.run("%snapshot off")
                reborn[mode].append(bench.die()[1])
    row("death, from the cell to its error", *([told for told, _ in died[mode]] for mode in MODES))
    row("death, from the cell to the end of the next", *([ready for _, ready in died[mode]] for mode in MODES))
    row("the same with the pristine snapshot only", *(reborn[mode] for mode in MODES))


if __name__ == "__main__":
    main()
