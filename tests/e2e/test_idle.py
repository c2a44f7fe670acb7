"""A kernel that has nothing to do does nothing: no thread of it is woken up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest

from .client import Client
from .conftest import StartKernel
from .kernels import Kernel

#: Seconds. An idle kernel is one where nothing happens for so long; there is no event to wait for.
QUIET = 10.0

USED: dict[str, Callable[[Client], object]] = {
    "fresh": lambda client: client.ask("kernel_info_request"),
    "after a cell": lambda client: client.execute("print('x' * 100_000); 1"),
    "after an await": lambda client: client.execute("import asyncio; await asyncio.sleep(0.01)"),
    "after an interrupt": lambda client: interrupted(client),
    "after a shell command": lambda client: client.execute("!echo x"),
    "with a task that waits": lambda client: client.execute(
        "import asyncio\nevent = asyncio.Event(); task = asyncio.create_task(event.wait())"
    ),
    "after completion and comms": lambda client: [
        client.ask("complete_request", {"code": "im", "cursor_pos": 2}),
        client.execute("import comm; comm.create_comm(target_name='x').send({})"),
    ],
    "with a flight recorder": lambda client: client.execute("1"),
}


def interrupted(client: Client) -> None:
    """A cell that was interrupted."""
    cell = client.start("import time; print('begun'); time.sleep(1000)")
    client.wait_text(cell, "begun")
    client.interrupt()
    client.finish(cell)


def wakeups(process: psutil.Process) -> dict[str, int]:
    """How often each thread of a process has given up or lost its processor."""
    counts = {}
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        lines = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines() if ":" in line)
        switches = int(lines["voluntary_ctxt_switches"]) + int(lines["nonvoluntary_ctxt_switches"])
        counts[f"{process.name()} {lines['Name'].strip()} {task.name}"] = switches
    return counts


def all_wakeups(kernels: Mapping[str, Kernel]) -> dict[tuple[str, str], int]:
    """Those of the supervisors and of everything below them, by the kernel's name and the thread."""
    counts: dict[tuple[str, str], int] = {}
    for how, kernel in kernels.items():
        supervisor = psutil.Process(kernel.process.pid)
        for process in (supervisor, *supervisor.children(recursive=True)):
            try:
                counts |= {(how, thread): count for thread, count in wakeups(process).items()}
            except (psutil.NoSuchProcess, OSError):  # what comes before a snapshot has ended
                continue
    return counts


def settled(kernels: Mapping[str, Kernel]) -> dict[tuple[str, str], int]:
    """The counts, as soon as none has changed for three seconds, which is longer than any timer after a request."""
    counts = all_wakeups(kernels)
    for _ in range(5):
        threading.Event().wait(3.0)
        before, counts = counts, all_wakeups(kernels)
        if before == counts:
            break
    return counts


@pytest.mark.slow
def test_an_idle_kernel_is_not_woken_up(start_kernel: StartKernel, tmp_path: Path) -> None:
    """One kernel for each way in which it may have been used, all watched at the same time, clients connected."""
    kernels = {}
    for how, use in USED.items():
        env = {"IPYMINI_FLIGHT_RECORDER": str(tmp_path / "record")} if "recorder" in how else {}
        kernels[how] = kernel = start_kernel(env=env)
        use(kernel.connect())
    before = settled(kernels)
    threading.Event().wait(QUIET)
    after = all_wakeups(kernels)
    assert {thread: after[thread] - count for thread, count in before.items() if after.get(thread) != count} == {}
    assert set(after) == set(before)
