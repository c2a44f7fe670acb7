"""When the worker takes a snapshot, when it does not, and what it says about it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from fakes import Clock
from forks import Forks, readable
from ipymini_worker import snapshot, survival
from ipymini_worker.forking import NoCopy
from ipymini_worker.snapshot import CHEAP, SHARE, Mode, Snapshots
from ipymini_worker.wire import BASE, DISCARD, MOST_REPEATED, PRISTINE, REPEATED_BYTES, Kind

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="snapshots need Linux")


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("off", Mode.OFF),
        ("on", Mode.ON),
        ("auto", Mode.AUTO),
        (" Off\n", Mode.OFF),
        ("ON", Mode.ON),
        ("", Mode.AUTO),
        ("0", Mode.AUTO),
        ("never", Mode.AUTO),
    ],
)
def test_mode_is_read_and_what_makes_no_sense_is_auto(text: str, mode: Mode) -> None:
    assert Mode.read({"IPYMINI_SNAPSHOTS": text}) is mode
    assert Mode.read({}) is Mode.AUTO


@pytest.fixture(autouse=True)
def threads_of_other_tests_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries leave some behind in this process."""
    here = {thread.name for thread in threading.enumerate()}
    monkeypatch.setattr(survival, "OWN_THREADS", survival.OWN_THREADS | here)


class Link:
    """Keeps what is sent; answers ROLLBACK with REFUSED."""

    def __init__(self) -> None:
        self.sent: list[tuple[Kind, tuple[bytes, ...], int]] = []
        self.refuse: Callable[[], object] = lambda: None

    def send(self, kind: Kind, request: int = 0, parts: Iterable[bytes] = (), flags: int = 0) -> None:
        """As `ipymini_worker.link.Link.send`."""
        self.sent.append((kind, tuple(parts), flags))
        if kind is Kind.ROLLBACK:
            self.refuse()

    def send_descriptor(self, kind: Kind, parts: Iterable[bytes], flags: int, fd: int) -> None:
        """As `ipymini_worker.link.Link.send_descriptor`."""
        os.fstat(fd)
        self.send(kind, 0, parts, flags)


class House:
    """`Snapshots` whose forks take as long as the test says, and copy nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, mode: Mode = Mode.AUTO) -> None:
        self.link = Link()
        self.loop: Any = SimpleNamespace(current=None)
        self.clock = Clock()
        self.takes = 0.001  # seconds
        self.waits = 0.0  # seconds on top, in which others have the processor
        self.spent = 0.0
        self.forks = 0
        self.fails = False
        self.obstacle = ""
        self.answering = False
        self.snapshots = Snapshots(self.link, self.loop, mode, self._never, self._never, self.still)  # type: ignore[arg-type]
        clock = SimpleNamespace(monotonic=self.clock, perf_counter=self.clock)
        monkeypatch.setattr(snapshot, "time", clock)
        monkeypatch.setattr(snapshot, "_spent", lambda: self.spent)
        monkeypatch.setattr(survival, "obstacle", lambda: self.obstacle)
        monkeypatch.setattr(snapshot, "gc", SimpleNamespace(collect=lambda: None, freeze=lambda: None))
        monkeypatch.setattr(self.snapshots._forker, "fork", self._fork)

    def still(self) -> AbstractContextManager[bool]:
        """Nothing of ours goes on in other threads, unless the test says so."""
        return nullcontext(not self.answering)

    def _never(self, *anything: object) -> None:
        raise AssertionError("this is no copy")

    def _fork(self, own: int, other: int, *, exclusive: bool) -> int:
        self.forks += 1
        self.clock.advance(self.takes + self.waits)
        self.spent += self.takes
        if self.fails:
            raise NoCopy("The system refuses a copy (Resource temporarily unavailable).")
        return 1234

    def cell(self, number: int, seconds: float = 1.0) -> int:
        """Runs a cell that takes `seconds`; how many snapshots that brings."""
        before = self.forks
        assert not self.snapshots.before_cell(number)
        self.clock.advance(seconds)
        assert not self.snapshots.after_cell(number + 1)
        return self.forks - before


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    return House(monkeypatch)


def test_snapshot_is_taken_before_the_first_cell_and_after_each_and_not_between(house: House) -> None:
    assert [house.cell(number) for number in (1, 2, 3)] == [2, 1, 1]
    parts = [parts for _, parts, _ in house.link.sent]
    assert parts == [(b"%d" % cell, b"1234") for cell in (1, 2, 3, 4)]
    assert {(kind, flags) for kind, _, flags in house.link.sent} == {(Kind.SNAPSHOT, 0)}
    assert house.snapshots.cell == 4
    assert not house.snapshots.stale
    assert not house.snapshots.forking


def test_pristine_one_is_another_kind_and_counts_for_no_cell(house: House) -> None:
    house.takes = 10.0
    assert not house.snapshots.pristine()
    assert house.link.sent == [(Kind.SNAPSHOT, (b"0", b"1234"), PRISTINE)]
    assert (house.snapshots.cell, house.snapshots.stale) == (0, True)
    assert house.cell(1) > 0


def test_thread_or_task_may_have_changed_the_session_before_the_next_cell(house: House) -> None:
    house.cell(1)
    leave = threading.Event()
    thread = threading.Thread(target=leave.wait, name="ticker")
    thread.start()
    try:
        house.snapshots.look()
        assert house.snapshots.stale
        assert [house.cell(2), house.cell(3)] == [2, 2]
        own = threading.Thread(target=leave.wait, name="ipymini-control")
        thread.name = "IPythonHistorySavingThread"
        own.start()
        assert house.cell(4) == 1
    finally:
        leave.set()
        thread.join()
        own.join()


def test_what_waits_in_the_loop_may_have_changed_the_session(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.cell(1)
    house.loop.current = object()
    monkeypatch.setattr(survival, "tasks", lambda loop: set())
    monkeypatch.setattr(survival, "pending", lambda loop: True)
    house.snapshots.look()
    assert house.snapshots.stale


def test_snapshots_that_are_switched_off_are_not_taken_and_those_there_are_go(house: House) -> None:
    house.cell(1)
    house.link.sent.clear()
    house.snapshots.switch(Mode.OFF)
    assert house.link.sent == [(Kind.SNAPSHOT, (b"0", b"0"), DISCARD)]
    assert not house.snapshots.pristine()
    assert house.cell(2) == 0
    assert house.snapshots.describe() == "Snapshots: off.\nThere is none.\nSnapshots are switched off."
    house.snapshots.switch(Mode.AUTO)
    assert len(house.link.sent) == 1
    assert house.cell(3) == 2


def test_cheap_fork_is_never_too_dear(house: House) -> None:
    house.takes = CHEAP
    assert [house.cell(number, 0.0) for number in range(1, 6)] == [2, 1, 1, 1, 1]


def test_dear_fork_is_taken_now_and_then(house: House) -> None:
    house.takes = 1.0
    assert house.cell(1, 0.0) == 1
    assert house.cell(2, 0.0) == 0
    assert "Each takes 1000 ms, which may be 5% of the time" in house.snapshots.why_not
    assert "%snapshot on" in house.snapshots.why_not
    assert house.cell(3, 1.0 / SHARE) == 1
    assert house.snapshots.why_not == ""


def test_forks_take_no_more_than_their_share_of_the_time(house: House) -> None:
    house.takes, began = 0.5, house.clock()
    for number in range(1, 500):
        house.cell(number, 0.3)
    assert 0.5 * SHARE < house.forks * house.takes / (house.clock() - began) < 1.1 * SHARE


def test_one_slow_fork_on_a_busy_machine_does_not_make_the_next_one_dear(house: House) -> None:
    house.cell(1)
    house.takes = 30.0
    house.cell(2)
    house.takes = 0.001
    assert [house.cell(number) for number in (3, 4)] == [1, 1]


def test_busy_machine_makes_no_fork_dear(house: House) -> None:
    """Cells that follow one another at once lose nothing because others have the processor meanwhile."""
    house.waits = 0.5
    assert [house.cell(number, 0.001) for number in (1, 2, 3)] == [2, 1, 1]
    assert house.snapshots.cost > 0.5  # what the user is told is how long it took


def test_user_who_wants_them_gets_them_whatever_they_cost(house: House) -> None:
    house.takes = 5.0
    house.snapshots.switch(Mode.ON)
    assert [house.cell(number, 0.0) for number in (1, 2, 3)] == [2, 1, 1]


@pytest.mark.parametrize("mode", [Mode.ON, Mode.AUTO])
def test_obstacle_is_one_in_every_mode_and_is_told(house: House, mode: Mode) -> None:
    house.snapshots.switch(mode)
    house.obstacle = "A debugger is attached."
    assert house.cell(1) == 0
    assert house.snapshots.describe() == f"Snapshots: {mode.value}.\nThere is none.\nA debugger is attached."
    house.obstacle = ""
    assert house.cell(2) == 2
    assert house.snapshots.why_not == ""


def test_system_that_does_not_tell_what_is_open_is_an_obstacle(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(survival, "obstacle", fails)
    assert house.cell(1) == 0
    assert house.snapshots.why_not == "The system does not tell what is open (Permission denied)."


def test_where_there_can_be_none_there_is_none(house: House) -> None:
    house.snapshots.broken = "Snapshots need Linux."
    assert not house.snapshots.pristine()
    house.snapshots.switch(Mode.ON)
    assert house.cell(1) == 0
    assert house.snapshots.describe().splitlines()[1:] == ["There is none.", "Snapshots need Linux."]


def test_python_without_the_lock_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for enabled, told in ((True, False), (False, True)):
        monkeypatch.setattr(sys, "_is_gil_enabled", lambda enabled=enabled: enabled, raising=False)
        made = Snapshots(Link(), SimpleNamespace(current=None), Mode.AUTO, print, print, lambda: nullcontext(True))  # type: ignore[arg-type]
        assert bool(made.broken) is told


def test_fork_that_fails_is_no_snapshot_and_leaves_nothing_open(house: House) -> None:
    house.fails = True
    assert house.cell(1) == 2
    assert house.link.sent == []
    assert (house.snapshots.cell, house.snapshots.stale) == (0, True)
    assert house.snapshots.why_not == "The system refuses a copy (Resource temporarily unavailable)."


def test_process_without_descriptors_says_why_there_is_none(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*anything: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(snapshot, "_socket", SimpleNamespace(socketpair=fails, AF_UNIX=1, SOCK_SEQPACKET=5))
    assert house.cell(1) == 0
    assert house.snapshots.why_not == "The system refuses a copy (Too many open files)."


def test_rollback_without_an_earlier_state_says_so(house: House) -> None:
    refused = house.snapshots.refused

    def refuse() -> None:
        assert not refused.is_set()
        refused.set()

    house.link.refuse = refuse
    refused.set()  # of an earlier attempt
    said = house.snapshots.rollback()
    assert [kind for kind, _, _ in house.link.sent] == [Kind.ROLLBACK]
    assert said == "There is no snapshot from before the last cell to go back to."


@pytest.mark.parametrize(
    ("there", "why_not", "said"),
    [
        (True, "", ["There is one from before In[2]: it took 1.0 ms, and has 3.0 MiB of its own."]),
        (
            True,
            "A debugger is attached.",
            [
                "There is one from before In[2]: it took 1.0 ms, and has 3.0 MiB of its own.",
                "No newer one is taken: A debugger is attached.",
            ],
        ),
        (False, "", ["The one from before In[2] is gone, as snapshots are when memory runs short."]),
    ],
)
def test_what_there_is_is_told(
    house: House, monkeypatch: pytest.MonkeyPatch, there: bool, why_not: str, said: list[str]
) -> None:
    house.cell(1)
    house.snapshots.why_not = why_not
    exists = {"/proc/1234": there}
    monkeypatch.setattr(os.path, "exists", lambda path: exists[path])
    monkeypatch.setattr(snapshot, "_private_bytes", lambda pid: 3 << 20)
    assert house.snapshots.describe().splitlines() == ["Snapshots: auto.", *said]


def test_memory_of_a_copy_is_what_only_it_has() -> None:
    forks = Forks()
    try:
        ready, tell = os.pipe()

        def body() -> None:
            grown = bytearray(b"x") * (8 << 20)
            os.write(tell, b"r")
            signal.pause()
            del grown

        pids = [forks.start(body, [tell]), forks.start(signal.pause)]
        assert readable(ready)
        grown, plain = (snapshot._private_bytes(pid) for pid in pids)
        # What becomes a child's own by itself depends on how large the tests' process is.
        assert plain > 0
        assert plain + (6 << 20) < grown
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            forks.status(pid)
            assert snapshot._private_bytes(pid) == 0
    finally:
        forks.end()
        os.close(ready)
        os.close(tell)


def test_snapshot_waits_for_an_answer_that_is_being_made(house: House) -> None:
    house.answering = True
    assert not house.snapshots.before_cell(1)
    assert (house.forks, house.snapshots.why_not) == (
        0,
        "An answer is being made, or the history written, at this moment.",
    )
    house.answering = False
    house.snapshots.before_cell(1)
    assert (house.forks, house.snapshots.why_not) == (1, "")


# -- cells that are repeated


@pytest.fixture
def there(house: House, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What there is in the file system: the copy's process, to begin with."""
    found = {"/proc/1234"}
    monkeypatch.setattr(snapshot.os.path, "exists", found.__contains__)
    house.cell(1)
    house.link.sent.clear()
    return found


def test_after_a_cell_that_can_be_repeated_there_is_no_snapshot(house: House, there: set[str]) -> None:
    assert not house.snapshots.before_cell(2)
    assert house.snapshots.repeats(3, b"record")
    assert house.link.sent == [(Kind.REPEATABLE, (b"3", b"record"), 0)]
    assert house.snapshots.fresh
    assert (house.snapshots.cell, house.forks) == (3, 2)
    assert "Cells that it does not have, and that would be run again: 1." in house.snapshots.describe()
    assert house.cell(3) == 1
    assert "run again" not in house.snapshots.describe()


def test_what_cannot_be_repeated_is_not(house: House, there: set[str]) -> None:
    assert not house.snapshots.repeats(3, b"")
    house.snapshots.expire()
    assert not house.snapshots.fresh
    assert not house.snapshots.repeats(3, b"record")
    house.cell(3)
    house.loop.current = object()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survival, "pending", lambda loop: True)
        assert not house.snapshots.repeats(4, b"record")
    assert house.snapshots.stale
    house.loop.current = None
    house.cell(4)
    there.clear()
    assert not house.snapshots.repeats(5, b"record")
    assert house.link.sent[-1][0] is not Kind.REPEATABLE


def test_snapshots_that_are_switched_off_have_nothing_repeated(house: House, there: set[str]) -> None:
    house.snapshots.switch(Mode.OFF)
    assert not house.snapshots.fresh
    assert not house.snapshots.repeats(3, b"record")


def test_after_many_repeated_cells_there_is_another_snapshot(house: House, there: set[str]) -> None:
    assert all(house.snapshots.repeats(3, b"record") for _ in range(MOST_REPEATED))
    assert not house.snapshots.repeats(3, b"record")
    assert house.cell(3) == 1
    assert house.snapshots.repeats(3, b"record")


def test_pristine_one_is_that_of_the_session(house: House, there: set[str]) -> None:
    """A cell that cannot be repeated has one after it, and none before."""
    house.snapshots.pristine()
    house.link.sent.clear()
    assert house.snapshots.base(1)
    assert house.link.sent == [(Kind.SNAPSHOT, (b"1", b"1234"), BASE)]
    assert house.snapshots.fresh
    assert house.snapshots.repeats(2, b"record")
    assert house.cell(2) == 1


def test_without_a_pristine_one_it_is_not(house: House) -> None:
    house.fails = True
    house.snapshots.pristine()
    assert not house.snapshots.base(1)
    assert not house.link.sent


def test_what_takes_long_to_repeat_is_not_repeated(house: House, there: set[str]) -> None:
    half = bytes(REPEATED_BYTES // 2)
    assert house.snapshots.repeats(3, half)
    assert house.snapshots.repeats(3, half)
    assert not house.snapshots.repeats(3, b".")
    assert house.cell(3) == 1
    assert house.snapshots.repeats(4, half)


def test_what_cannot_be_looked_at_costs_a_snapshot(
    house: House, there: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(path: str) -> bool:
        raise RuntimeError(path)

    monkeypatch.setattr(snapshot.os.path, "exists", refuses)
    assert not house.snapshots.repeats(3, b"record")
    assert house.cell(3) == 1


def test_after_a_doubt_there_is_a_snapshot(house: House, there: set[str]) -> None:
    """After the next cell, and not before it."""
    house.snapshots.doubt()
    assert not house.snapshots.before_cell(2)
    assert house.forks == 2
    assert not house.snapshots.repeats(3, b"record")
    assert not house.snapshots.after_cell(3)
    assert house.forks == 3
    assert house.snapshots.repeats(4, b"record")
