"""An interrupt hits the cell that it was aimed at, or nothing."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from .client import Client, Run
from .conftest import StartKernel

SEED = 20240229
#: Cells of nought to three milliseconds; `{n}` is a number of microseconds.
SHORT = {
    "loop": "end = time.perf_counter() + {n}e-6\nwhile time.perf_counter() < end: pass",
    "print": "for i in range({n} // 100): print(i)",
    "sleep": "time.sleep({n}e-6)",
    "await": "await asyncio.sleep({n}e-6)",
    "task": "await asyncio.gather(*(asyncio.sleep({n}e-6) for i in range(3)))",
    "display": "for i in range({n} // 300): display(i)",
    "comm": "for i in range({n} // 100): channel.send({{'i': i}}, buffers=[b'x' * i])",
    "result": "sum(range({n}))",
    "nothing": "",
    "error": "1 / 0 if {n} % 2 else None",
    "big": "print('x' * 20 * {n})",
}
#: Cells that end only when they are interrupted.
ENDLESS = {
    "loop": "while True: pass",
    "print": "while True: print('x')",
    "display": "while True: display('x')",
    "comm": "while True: channel.send({'i': 1})",
    "sleep": "time.sleep(1000)",
    "await": "await asyncio.sleep(1000)",
    "tasks": "await asyncio.gather(*(asyncio.sleep(1000) for i in range(3)))",
    "busy task": "async def busy():\n    while True: await asyncio.sleep(0)\nawait busy()",
    "run": "asyncio.run(asyncio.sleep(1000))",
    "lock": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "join": "t = threading.Thread(target=threading.Event().wait, daemon=True); t.start(); t.join()",
    "input": "input('?')",
    "shell": "!sleep 1000",
    "subprocess": "subprocess.run(['sleep', '1000'])",
    "big": "while True: print('x' * 200_000)",
    "finally": "try:\n    while True: pass\nfinally:\n    print('cleaned up')",
}
PREPARE = """
import asyncio, os, subprocess, threading, time
import comm
from IPython.display import display
channel = comm.create_comm(target_name="test")
"""


@pytest.fixture
def quick(start_kernel: StartKernel) -> Iterator[Client]:
    """A client that takes messages as they come, and a kernel that is prepared for the cells above."""
    kernel = start_kernel()
    client = kernel.connect(validate=False)
    assert client.execute(PREPARE).status == "ok"
    yield client
    kernel.disconnect(client)


def spend(seconds: float) -> None:
    """Waits, more exactly than a sleep does: the moment matters here, not that anything has happened by then."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def outcome(run: Run) -> str:
    """How a cell ended: "ok", or the name of the exception."""
    return "ok" if run.status == "ok" else run.error


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_1000_interrupts_at_random_moments_hit_their_own_cell_or_none(quick: Client) -> None:
    """None hits the cell that follows, none leaves the kernel stuck, none costs the worker."""
    dice = random.Random(SEED)
    outcomes = {"ok": 0, "KeyboardInterrupt": 0, "ZeroDivisionError": 0}
    worker = quick.evaluate("os.getpid()")
    latest = 0.006  # seconds; it finds its way to where about half of the cells are hit, however fast this machine is
    for number in range(1000):
        kind, length = dice.choice(list(SHORT)), dice.randrange(3000)
        cell = quick.start(SHORT[kind].format(n=length))
        spend(dice.uniform(0, latest))
        request = quick.send("interrupt_request", channel="control")
        quick.finish(request)
        quick.finish(cell)
        outcomes[outcome(cell)] += 1  # any other name fails here
        latest *= 1.03 if outcome(cell) == "KeyboardInterrupt" else 0.97
        # From here on the interrupt has been asked for and answered, and its cell is over.
        sentinel = quick.execute(f"print({number})", user_expressions={"worker": "os.getpid()"})
        assert sentinel.status == "ok", (number, kind, sentinel.reply)
        assert sentinel.text() == f"{number}\n", (number, kind)
        assert sentinel.reply["user_expressions"]["worker"]["data"]["text/plain"] == worker
    # Otherwise the moments were not those that matter.
    assert outcomes["KeyboardInterrupt"] > 200, outcomes
    assert outcomes["ok"] > 200, outcomes


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_interrupt_of_a_cell_that_is_busy_is_never_lost(quick: Client, kind: str) -> None:
    """From the moment at which the frontend knows that the cell is busy."""
    dice = random.Random(f"{SEED} {kind}")
    for number in range(12):
        cell = quick.start(ENDLESS[kind])
        quick.wait_busy(cell)
        spend(dice.uniform(0, 0.008))
        quick.interrupt()
        quick.finish(cell)
        assert outcome(cell) == "KeyboardInterrupt"
        if kind == "finally" and "cleaned up" not in cell.text():
            assert cell.text() == ""  # the interrupt came before the `try`
        assert quick.execute(f"print({number})").text() == f"{number}\n"


@pytest.mark.row("Interrupt", "an interrupt while idle does nothing")
def test_interrupts_while_idle_do_nothing(quick: Client) -> None:
    """However many: neither now nor to the next cell."""
    requests = [quick.send("interrupt_request", channel="control") for _ in range(50)]
    for request in requests:
        assert quick.finish(request).status == "ok"
    assert outcome(quick.execute("time.sleep(0.05)")) == "ok"


def test_two_interrupts_of_one_cell(quick: Client) -> None:
    """Each is answered; the cell ends once, and the next one is not hit by those that came late."""
    for _ in range(10):
        cell = quick.start("while True: pass")
        quick.wait_busy(cell)
        requests = [quick.send("interrupt_request", channel="control") for _ in range(2)]
        quick.finish(cell)
        assert outcome(cell) == "KeyboardInterrupt"
        for request in requests:
            assert quick.finish(request).status == "ok"
        assert outcome(quick.execute("time.sleep(0.01)")) == "ok"


@pytest.mark.row("Interrupt", "cells queued behind are aborted")
@pytest.mark.row("Protocol", "`aborted` replies carry no `execution_count`")
def test_cells_queued_behind_an_interrupted_one_are_aborted(quick: Client) -> None:
    """And a completion that waits there is answered."""
    quick.execute("get_ipython().Completer.use_jedi = False")  # which takes seconds to load on a busy machine
    cell = quick.start("time.sleep(1000)")
    queued = [quick.start("ran = True") for _ in range(5)]
    completion = quick.send("complete_request", {"code": "zi", "cursor_pos": 2})
    quick.wait_busy(cell)
    quick.interrupt()
    assert outcome(quick.finish(cell)) == "KeyboardInterrupt"
    for run in queued:
        assert quick.finish(run).reply == {"status": "aborted"}
        assert run.types == []
    assert "zip" in quick.finish(completion).reply["matches"]
    assert quick.evaluate("'ran' in globals()") == "False"


def test_an_interrupt_before_the_worker_has_begun_with_the_cell(quick: Client) -> None:
    """Cell and interrupt are sent in one go: whichever comes first, nothing hangs, and nobody else is hit."""
    for number in range(30):
        cell = quick.start("time.sleep(0.05)")
        quick.interrupt()
        assert outcome(quick.finish(cell)) in ("ok", "KeyboardInterrupt")
        assert quick.execute(f"print({number})").text() == f"{number}\n"


def test_an_interrupt_does_not_break_a_magic(start_kernel: StartKernel) -> None:
    """IPython loads most magics when they are first used, which is a bad moment for an interrupt."""
    dice = random.Random(SEED)
    client = start_kernel().connect(validate=False)
    for magic in ("%%time\n{}", "%time {}", "%timeit {}", "%%capture\n{}"):
        for _ in range(5):
            cell = client.start(magic.format("__import__('time').sleep(1000)"))
            client.wait_busy(cell)
            spend(dice.uniform(0, 0.005))
            client.interrupt()
            client.finish(cell)
            assert cell.status == "error"
            assert cell.reply["ename"] == "KeyboardInterrupt", cell.reply
        assert client.execute(magic.format("1")).status == "ok", magic
