"""The table of faults and moments, the part of what does not end a worker by itself: it stands still, it computes for
ever, it has no descriptors left, or it writes nonsense where it may have been asked to.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from .client import TIMEOUT, Client, Run
from .conftest import StartKernel
from .deaths import in_mid_frame, profile
from .faults import EXHAUSTED, FAULTS, HUNG, IMPORTS
from .kernels import Kernel

#: One interrupt is enough, and the rest comes by itself, soon.
ENVIRONMENT = {"IPYMINI_SNAPSHOTS": "off", "IPYMINI_INTERRUPT_KILL_AFTER": "1"}


def define(client: Client, body: str) -> str:
    """Makes `die()` known to the worker; returns the worker's pid."""
    assert client.execute(IMPORTS).status == "ok"
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    assert client.execute(f"taken = []\ndef die():\n{lines}").status == "ok"
    return client.evaluate("os.getpid()")


def in_input(kernel: Kernel, client: Client) -> Run:
    """A cell that has asked, and in which another thread then calls `die`."""
    gate = kernel.folder / "gate"
    if not gate.exists():
        os.mkfifo(gate)
    cell = client.start("print('before')\nat_gate(die)\ninput('?')")
    client.wait_question(cell)
    gate.write_text("go")
    return cell


def wait_state(client: Client, state: str) -> None:
    """Waits until the worker is told to be in a state."""
    while client.ask("worker_state_request", channel="control").reply["state"] != state:
        assert client.beat() == b"ping"


MOMENTS = {"mid-frame": in_mid_frame, "input": in_input}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", HUNG)
def test_hung(kernel: Kernel, client: Client, name: str, moment: str) -> None:
    """It is told, an interrupt ends it, and costs the cell; nothing of half a frame is published."""
    body, state = HUNG[name]
    worker = define(client, body)
    cell = MOMENTS[moment](kernel, client)
    for _ in range(3):  # a machine that is busy may have kept it from answering before
        wait_state(client, state)
    queued = client.start("1")
    client.interrupt()
    client.finish(cell)
    assert cell.error == "WorkerDied"
    assert "was killed after three interrupts" in cell.reply["evalue"]
    assert cell.text() == "before\n"
    assert "display_data" not in cell.types
    assert client.finish(queued).status == "aborted"
    assert client.evaluate("__import__('os').getpid()") != worker


@pytest.mark.parametrize("moment", MOMENTS)
def test_descriptors_used_up(start_kernel: StartKernel, moment: str) -> None:
    """The cell goes on to its end, and so does the session."""
    kernel = start_kernel()
    client = kernel.connect()
    worker = define(client, f"{EXHAUSTED}\ntaken.append(None)")
    cell = MOMENTS[moment](kernel, client)
    if moment == "input":
        client.answer(client.wait(lambda channel, _: channel == "stdin"), "yes")
    client.finish(cell)
    assert cell.status == "ok"
    # The history, too, may say that it finds no descriptor.
    shown = {"input": "execute_result", "mid-frame": "display_data"}[moment]
    assert [kind for kind in cell.types if kind != "stream"] == [shown]
    assert client.evaluate("os.getpid()") == worker
    deadline = time.monotonic() + TIMEOUT
    while client.evaluate("taken[-1:]") != "[None]":
        assert time.monotonic() < deadline
    assert client.evaluate("len(taken) > 100") == "True"
    assert client.execute("for fd in taken[:-1]: os.close(fd)").status == "ok"


@pytest.mark.parametrize("name", ["garbage", "zeros", "noise until it is full"])
def test_garbage_in_mid_frame(kernel: Kernel, client: Client, name: str) -> None:
    """It is a part of that frame; what comes after it is not understood any more, and costs the cell at the most."""
    define(client, FAULTS[name].code.replace("\ntime.sleep(1000)", ""))
    cells = [in_mid_frame(kernel, client), client.start("1")]
    for cell in cells:
        client.finish(cell)
        if cell.status == "error":
            assert cell.error == "WorkerDied"
            assert FAULTS[name].tells(cell.reply["evalue"], cell.reply["execution_count"]), cell.reply["evalue"]
    assert cells[0].text().startswith("before\n")
    assert client.execute("1").result == "1"


def start_up(body: str) -> str:
    """A start-up file that is `die`, in the first worker only."""
    first = "with open('first', 'x') as file: file.write(str(os.getpid()))"
    lines = "\n".join(f"    {line}" for line in [first, *body.splitlines()])
    return f"{IMPORTS}\ntaken = []\nif not os.path.exists('first'):\n{lines}\n"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, None])
@pytest.mark.parametrize("name", HUNG)
def test_hung_before_hello(start_kernel: StartKernel, tmp_path: Path, name: str, end: signal.Signals | None) -> None:
    """All is answered that needs no worker; an interrupt aborts what waits. When the worker is ended, by whomever,
    another one is started; and the kernel can be shut down.
    """
    kernel = start_kernel(env=profile(tmp_path, start_up(HUNG[name][0])))
    client = kernel.connect()
    cells = [client.start("1") for _ in range(2)]
    wait_state(client, "stopped" if name == "SIGSTOP" else "starting")
    assert client.ask("kernel_info_request").status == "ok"
    first = kernel.folder / "first"
    while not (first.exists() and first.read_text()):
        client.beat()
    assert client.interrupt().status == "ok"
    for cell in cells:
        assert client.finish(cell).status == "aborted"
    if end is None:
        return  # the fixture shuts it down, and looks for what is left
    cell = client.start("1")
    worker = int(first.read_text())
    os.kill(worker, end)
    if (name, end) == ("SIGSTOP", signal.SIGTERM):
        os.kill(worker, signal.SIGCONT)  # or it does not hear that
    assert client.finish(cell).result == "1"


def test_start_up_that_stood_still_goes_on(start_kernel: StartKernel, tmp_path: Path) -> None:
    kernel = start_kernel(env=profile(tmp_path, start_up(HUNG["SIGSTOP"][0])))
    client = kernel.connect()
    cell = client.start("file.name")
    wait_state(client, "stopped")
    os.kill(int((kernel.folder / "first").read_text()), signal.SIGCONT)
    assert client.finish(cell).result == "'first'"


def test_descriptors_used_up_before_hello(start_kernel: StartKernel, tmp_path: Path) -> None:
    """By a start-up file: the kernel has what it needs by then, IPython may not; then the cell's error says so."""
    kernel = start_kernel(env=profile(tmp_path, start_up(EXHAUSTED)))
    client = kernel.connect()
    for _ in range(3):
        cell = client.execute("len(taken) > 100")
        assert cell.status == "ok" or cell.error == "OSError", cell.reply
        wait_state(client, "idle")
    assert (
        str(client.ask("worker_state_request", channel="control").reply["pid"]) == (kernel.folder / "first").read_text()
    )
