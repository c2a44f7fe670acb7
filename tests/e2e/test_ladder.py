"""The interrupt ladder on a live kernel, rung by rung."""

from __future__ import annotations

import sys
import time

import psutil
import pytest

from .client import Client, Content, Run
from .conftest import StartKernel
from .faults import IMPORTS
from .kernels import Kernel
from .test_hang import DEAF, begin, wait_state

#: Seconds within which interrupts are one.
GAP = 0.5
GROUP = "the worker's process group"
#: Those that no SIGINT ends.
ENDLESS = [name for name in DEAF if name not in ("flood", "native flood", "regular expression")]


@pytest.fixture
def kernel(start_kernel: StartKernel) -> Kernel:
    """A kernel for each test."""
    return start_kernel()


@pytest.fixture
def client(kernel: Kernel) -> Client:
    """A client of a worker that has the imports."""
    client = kernel.connect()
    assert client.execute(IMPORTS).status == "ok"
    return client


def rung(client: Client) -> Content:
    """Asks for an interrupt; returns what was done."""
    reply = client.interrupt().reply
    return {key: reply[key] for key in ("rung", "signal", "target")}


def climb(client: Client, to: int) -> None:
    """Asks until the ladder is at a rung: those that come too close to the one before do not count."""
    while (reached := rung(client)["rung"]) != to:
        assert reached == to - 1


@pytest.mark.parametrize("name", ENDLESS)
def test_rung_by_rung(client: Client, kernel: Kernel, name: str) -> None:
    """SIGINT, a hint; the stack and SIGINT; the end of the worker, and of no more than that."""
    worker = kernel.worker()
    cell = begin(client, name)
    queued = client.start("1")
    assert rung(client) == {"rung": 1, "signal": "SIGINT", "target": GROUP}
    client.wait_text(cell, "Interrupt again to see where it is stuck.", "stderr")
    assert not cell.replies
    assert rung(client) == {"rung": 2, "signal": "SIGINT", "target": GROUP}
    client.wait_text(cell, "Interrupt once more to kill the worker.", "stderr")
    told = cell.text("stderr")
    if name == "stopped":
        assert "Its Python stack cannot be had; it may be stopped." in told
    else:
        assert "Python stack (most recent call last):" in told
        assert "Cell In[2], line " in told
    assert not cell.replies
    climb(client, 3)
    assert client.finish(cell).error == "WorkerDied"
    assert cell.reply["evalue"] == "The worker was killed after three interrupts in cell [2]."
    assert client.finish(queued).status == "aborted"
    assert client.execute("1").result == "1"
    assert not worker.is_running()
    assert kernel.process.poll() is None


def test_the_third_is_said_to_be_a_kill(client: Client) -> None:
    begin(client, "sum")
    climb(client, 1)
    climb(client, 2)
    while (reply := rung(client))["rung"] == 2:
        pass
    assert reply == {"rung": 3, "signal": "SIGKILL", "target": GROUP}


def test_nothing_to_interrupt(client: Client) -> None:
    for _ in range(5):
        assert rung(client) == {"rung": 0, "signal": None, "target": None}
    assert client.execute("time.sleep(0.01); 1").result == "1"


def batch(client: Client) -> list[int]:
    """The rungs that ten interrupts at once come to; none if a busy machine took so long that they may not be one."""
    at = time.perf_counter()
    asked = [client.send("interrupt_request", channel="control") for _ in range(10)]
    rungs = [client.finish(run).reply["rung"] for run in asked]
    return rungs if time.perf_counter() - at < GAP else []


def test_a_double_click_is_one_interrupt(client: Client) -> None:
    """However many times: nobody loses a session to it."""
    for _ in range(5):
        cell = begin(client, "sum")
        first, second = batch(client), []
        if first:
            client.wait_text(cell, "Interrupt again", "stderr")
            second = batch(client)
        if second:
            break
        while not cell.over:
            rung(client)
    assert (first, second) == ([1] * 10, [2] * 10)


def test_each_cell_has_a_ladder_of_its_own(client: Client) -> None:
    """Whatever the one before needed."""
    worker = client.evaluate("os.getpid()")
    stubborn = (
        "for turn in range({}):\n    try:\n        print('no' if turn else 'begun'); time.sleep(1000)\n"
        "    except KeyboardInterrupt: pass\nprint('no')"
    )
    for _ in range(3):
        cell = client.start(stubborn.format(2))
        client.wait_text(cell, "begun\n")
        climb(client, 1)
        client.wait_text(cell, "no\n")  # said where the next interrupt is caught
        climb(client, 2)
        assert client.finish(cell).status == "ok"
        assert cell.text() == "begun\nno\nno\n"
    assert client.evaluate("os.getpid()") == worker


def test_a_cell_that_ends_at_once_is_not_lectured(client: Client) -> None:
    for _ in range(10):
        cell = client.start("print('begun'); time.sleep(1000)")
        client.wait_text(cell, "begun")
        at = time.perf_counter()
        assert rung(client)["rung"] == 1
        client.finish(cell)
        if time.perf_counter() - at < 1:  # a busy machine may take so long that the hint is due
            break
    assert cell.text("stderr") == ""


@pytest.mark.slow
def test_it_climbs_by_itself(start_kernel: StartKernel) -> None:
    client = start_kernel(env={"IPYMINI_INTERRUPT_KILL_AFTER": "4"}).connect()
    client.execute(IMPORTS)
    cell = begin(client, "sum")
    at = time.perf_counter()
    assert rung(client)["rung"] == 1
    client.finish(cell)
    assert time.perf_counter() - at > 3.5  # it has had its time
    assert cell.error == "WorkerDied"
    assert "Cell In[2], line 2" in cell.text("stderr")
    # A cell that obeys loses nothing, and its ladder does not go on under the next one.
    worker = client.evaluate("__import__('os').getpid()")
    cell = client.start("import time; print('begun'); time.sleep(1000)")
    client.wait_text(cell, "begun")
    assert rung(client)["rung"] == 1
    assert client.finish(cell).error == "KeyboardInterrupt"
    assert client.execute("time.sleep(4.5); 1").result == "1"
    assert client.evaluate("__import__('os').getpid()") == worker


@pytest.mark.parametrize("value", ["soon", "-1", "0", "nan", ""])
def test_a_setting_that_makes_no_sense(start_kernel: StartKernel, value: str) -> None:
    """It is named in the log and left out: the ladder does not climb by itself."""
    kernel = start_kernel(env={"IPYMINI_INTERRUPT_KILL_AFTER": value})
    client = kernel.connect()
    cell = client.start("print('begun'); __import__('time').sleep(1000)")
    client.wait_text(cell, "begun")
    assert rung(client)["rung"] == 1
    assert client.finish(cell).error == "KeyboardInterrupt"
    assert ("IPYMINI_INTERRUPT_KILL_AFTER" in kernel.log) is bool(value)


CHILD = """
import os, signal, sys, time
def on_sigint(number, frame):
    os.write(1, b'child got it\\n'); sys.exit(0)
signal.signal(signal.SIGINT, on_sigint)
print('child begun', flush=True)
time.sleep(1000)
"""


def start_child(client: Client, then: str) -> Run:
    """A cell with a program in the foreground; returns when that runs."""
    cell = client.start(f"p = subprocess.Popen([{sys.executable!r}, '-c', {CHILD!r}])\n{then}")
    client.wait_text(cell, "child begun")
    return cell


@pytest.mark.parametrize("then", ["p.wait()", "time.sleep(1000)", "sum(range(10**15))"])
def test_programs_of_the_cell_are_interrupted_too(client: Client, then: str) -> None:
    """They are of the worker's process group, as on a terminal; also where the worker itself does not listen."""
    cell = start_child(client, then)
    climb(client, 1)
    client.wait_text(cell, "child got it")


def test_the_kill_takes_the_programs_of_the_cell_along(client: Client) -> None:
    """Those in its process group."""
    cell = client.start(
        "p = subprocess.Popen(['sh', '-c', 'trap \"\" INT; echo begun; sleep 1000; true'], stdout=-1)\n"
        "p.stdout.readline(); print(p.pid)\nsum(range(10**15))"
    )
    client.wait_until(lambda: cell.text().endswith("\n"))
    for _ in range(3):  # line 3 comes a moment after line 2, and a busy machine may have it stand still in between
        wait_state(client, "unresponsive")
    pid = int(cell.text())
    child = psutil.Process(pid)
    family = [child, *child.children()]
    for number in (1, 2, 3):
        climb(client, number)
    assert client.finish(cell).error == "WorkerDied"
    _, left = psutil.wait_procs(family, 5)
    assert not left
