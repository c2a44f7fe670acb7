"""Interrupts of threads: they reach the request that they are for, where user code runs, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue

import pytest

from ipymini_worker.interrupts import ThreadGate


class Other:
    """A thread with a gate, in which a test runs functions."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._done: SimpleQueue[object] = SimpleQueue()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        self.gate = ThreadGate()
        self._ready.set()
        while (function := self._work.get()) is not None:
            try:
                self._done.put(function())
            except KeyboardInterrupt as error:
                self._done.put(error)

    def starts(self, function: Callable[[], object]) -> None:
        self._work.put(function)

    def result(self) -> object:
        return self._done.get(timeout=20)

    def does(self, function: Callable[[], object]) -> object:
        self.starts(function)
        return self.result()

    def close(self) -> None:
        self._work.put(None)
        self._thread.join(20)


@pytest.fixture
def other():  # type: ignore[no-untyped-def]
    made = Other()
    yield made
    made.close()


def test_interrupt_is_raised_where_user_code_runs(other: Other) -> None:
    inside = threading.Event()

    def work() -> None:
        other.gate.begin(7)
        with other.gate.opened():
            inside.set()
            while True:
                pass

    other.starts(work)
    inside.wait()
    assert other.gate.interrupt(8) is False
    assert other.gate.interrupt(7) is True
    assert isinstance(other.result(), KeyboardInterrupt)
    assert other.gate.was_interrupted()


def test_interrupt_that_comes_before_is_raised_when_user_code_begins(other: Other) -> None:
    other.does(lambda: other.gate.begin(7))
    assert other.gate.interrupt(7)

    def work() -> str:
        with other.gate.opened():
            return "ran"

    assert isinstance(other.does(work), KeyboardInterrupt)
    assert other.does(work) == "ran"


def test_interrupt_of_an_earlier_request_does_not_reach_the_next(other: Other) -> None:
    other.does(lambda: other.gate.begin(7))
    other.gate.interrupt(7)
    other.does(lambda: other.gate.begin(8))
    assert not other.gate.was_interrupted()

    def work() -> str:
        with other.gate.opened():
            return "ran"

    assert other.does(work) == "ran"


def test_interrupt_waits_while_the_gate_is_closed(other: Other) -> None:
    closed, go = threading.Event(), threading.Event()
    said: list[str] = []

    def work() -> None:
        other.gate.begin(7)
        with other.gate.opened():
            with other.gate.closed(deliver=True):
                closed.set()
                go.wait()
                said.append("whole")
            said.append("never")

    other.starts(work)
    closed.wait()
    other.gate.interrupt(7)
    go.set()
    assert isinstance(other.result(), KeyboardInterrupt)
    assert said == ["whole"]


def test_thousand_interrupts_at_any_moment_hit_their_own_request_or_none(other: Other) -> None:
    """One that is late is taken back."""
    hit: list[int] = []

    def work(number: int) -> None:
        other.gate.begin(number)
        try:
            with other.gate.opened():
                sum(range(200))
        except KeyboardInterrupt:
            hit.append(number)
        other.gate.shut()
        sum(range(50))  # ours: nothing may be raised here

    for number in range(1, 1001):
        other.starts(lambda number=number: work(number))  # type: ignore[misc]
        aimed = other.gate.interrupt(number) or other.gate.interrupt(number - 1)
        assert other.result() is None
        assert not hit or hit[-1] <= number
        assert aimed or number not in hit


def test_handler_of_a_loop_decides(other: Other) -> None:
    inside, go = threading.Event(), threading.Event()
    asked: list[int] = []

    def work() -> str:
        other.gate.begin(7)
        with other.gate.opened(lambda signum, frame: asked.append(signum)):
            inside.set()
            go.wait()
        return "whole"

    other.starts(work)
    inside.wait()
    other.gate.interrupt(7)
    go.set()
    assert (other.result(), len(asked)) == ("whole", 1)


def test_gate_of_another_thread_stays_as_it_is(other: Other) -> None:
    with other.gate.opened(), other.gate.closed(deliver=True):
        pass
    other.does(lambda: other.gate.begin(7))
    assert other.gate.interrupt(7)


@pytest.mark.parametrize("taken_back", [False, True])
def test_interrupt_of_a_thread_that_waits_hangs_no_profiler(taken_back: bool) -> None:
    """In a process of its own: on Python 3.11 nothing could end one that hangs there, and no other test would begin."""
    code = f"""
import sys, threading
from ipymini_worker.interrupts import ThreadGate
ready, go = threading.Event(), threading.Lock()
go.acquire()
def work():
    global gate
    gate = ThreadGate()
    gate.begin(7)
    with gate.opened():
        ready.set()
        go.acquire()
        while True: pass
thread = threading.Thread(target=work, daemon=True)
thread.start()
ready.wait()
assert gate.interrupt(7)
if {taken_back}:
    gate.shut()
def called(): return 1
sys.setprofile(lambda *told: None)
called()
sys.setprofile(None)
print("went on")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "went on\n", done.stderr
