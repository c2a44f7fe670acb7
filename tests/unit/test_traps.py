"""What is in place while cells run is put there once, and taken away when the last of all threads leaves."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from ipymini_worker.traps import InTurn


class Trap:
    """Counts as IPython's do, and takes its time."""

    def __init__(self) -> None:
        self.level = 0
        self.placed = 0
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __enter__(self) -> Trap:
        if self.level == 0:
            self.change(1)
        self.level += 1
        return self

    def __exit__(self, *exc: object) -> None:
        if self.level == 1:
            self.change(-1)
        self.level -= 1

    def change(self, by: int) -> None:
        self.begun.set()
        self.go_on.wait(10)
        self.placed += by


class TrapInTurn(InTurn, Trap):
    """As the worker has it."""


def test_two_that_enter_at_once_put_it_in_place_once() -> None:
    trap = TrapInTurn()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(trap.__enter__)
        assert trap.begun.wait(10)
        second = pool.submit(trap.__enter__)
        assert not second.done()
        trap.go_on.set()
        assert first.result() is second.result() is trap
    assert (trap.level, trap.placed) == (2, 1)


def test_who_enters_while_the_last_one_leaves_finds_it_in_place() -> None:
    trap = TrapInTurn()
    trap.go_on.set()
    trap.__enter__()
    trap.begun.clear()
    trap.go_on.clear()
    with ThreadPoolExecutor() as pool:
        leaves = pool.submit(trap.__exit__, None, None, None)
        assert trap.begun.wait(10)
        enters = pool.submit(trap.__enter__)
        trap.go_on.set()
        leaves.result(), enters.result()
    assert (trap.level, trap.placed) == (1, 1)


def test_a_copy_of_the_process_does_not_wait_for_who_is_not_there() -> None:
    trap = TrapInTurn()
    trap.go_on.set()
    thread = threading.Thread(target=trap._turn.acquire)
    thread.start()
    thread.join()
    trap.renew()
    with trap:
        assert trap.placed == 1
    assert trap.placed == 0
