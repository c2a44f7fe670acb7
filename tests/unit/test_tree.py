"""The process tree: what is found, and how it is ended, within a time whatever comes up."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from fakes import Clock
from forks import PATIENCE, Forks, ended, readable
from ipymini_supervisor import tree
from ipymini_supervisor.timers import Timers
from ipymini_supervisor.tree import MARK, Sweep, descendants, family, newborn, reap_orphans

linux = pytest.mark.skipif(sys.platform != "linux", reason="found by /proc")
GRACE = 2.0


@pytest.fixture
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.end()


class Sockets:
    """What is watched, as in `ipymini_supervisor.sockets.Sockets`."""

    def __init__(self) -> None:
        self.watched: set[int] = set()

    def watch(self, fd: int) -> None:
        """From now on."""
        self.watched.add(fd)

    def ignore(self, fd: int) -> None:
        """Not any longer."""
        self.watched.discard(fd)


class Watch:
    """Stands for the watch of a process; there is none of an untouchable one."""

    untouchable: frozenset[int] = frozenset()

    def __init__(self, pid: int) -> None:
        if pid in self.untouchable:
            raise ProcessLookupError
        self.pid = pid
        self.closed = False

    def fileno(self) -> int:
        return -self.pid

    def close(self) -> None:
        assert not self.closed
        self.closed = True


class House:
    """A sweep of processes that end when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sockets = Sockets()
        self.timers = Timers()
        self.clock = Clock()
        self.processes: set[int] = set()
        self.signals: list[tuple[int, int]] = []
        self.left: list[set[int]] = []
        self.find: Callable[[], set[int]] = lambda: set(self.processes)
        monkeypatch.setattr(tree, "ExitWatch", Watch)
        monkeypatch.setattr(tree, "reap_orphans", lambda but: None)
        monkeypatch.setattr(os, "kill", self._kill)

    def _kill(self, pid: int, number: int) -> None:
        if pid not in self.processes:
            raise ProcessLookupError
        self.signals.append((pid, number))

    def begin(self, *pids: int) -> Sweep:
        self.processes |= set(pids)
        return Sweep(
            self.sockets,  # type: ignore[arg-type]
            self.timers,
            self.clock,
            lambda: self.find(),
            GRACE,
            self.left.append,
        )

    def ends(self, sweep: Sweep, *pids: int) -> None:
        """These processes have ended."""
        self.processes -= set(pids)
        sweep.handle({-pid for pid in pids})

    def waits(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(seconds)
        self.timers.run(self.clock())


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    made = House(monkeypatch)
    yield made
    if made.left:
        assert not made.sockets.watched
        assert made.timers.timeout(0) is None


def test_sweep_of_nothing_is_over_at_once(house: House) -> None:
    house.begin()
    assert house.left == [set()]


def test_processes_that_end_on_sigterm_are_all_that_there_is_to_it(house: House) -> None:
    sweep = house.begin(5, 6)
    assert sorted(house.signals) == [(5, signal.SIGTERM), (6, signal.SIGTERM)]
    house.ends(sweep, 5)
    assert house.left == []
    house.ends(sweep, 6)
    assert house.left == [set()]
    sweep.handle(set())
    assert house.left == [set()]


def test_process_that_does_not_end_is_killed_after_the_grace(house: House) -> None:
    sweep = house.begin(5)
    house.waits(GRACE * 0.99)
    assert house.signals == [(5, signal.SIGTERM)]
    house.waits(GRACE * 0.02)
    assert house.signals == [(5, signal.SIGTERM), (5, signal.SIGKILL)]
    house.ends(sweep, 5)
    assert house.left == [set()]


def test_process_that_cannot_be_ended_is_reported_after_twice_the_grace(house: House) -> None:
    house.begin(5, 6)
    house.waits(GRACE)
    house.waits(GRACE)
    assert house.left == [{5, 6}]


def test_what_comes_up_meanwhile_is_ended_too(house: House) -> None:
    sweep = house.begin(5)
    house.processes.add(7)
    house.ends(sweep, 5)
    assert house.left == []
    assert house.signals[-1] == (7, signal.SIGTERM)
    house.ends(sweep, 7)
    assert house.left == [set()]


def test_after_the_grace_what_comes_up_is_killed_without_another_one(house: House) -> None:
    sweep = house.begin(5)
    house.processes.add(7)
    house.waits(GRACE)
    assert (7, signal.SIGKILL) in house.signals
    assert (7, signal.SIGTERM) not in house.signals
    house.processes.add(8)
    house.ends(sweep, 5, 7)
    assert house.signals[-1] == (8, signal.SIGKILL)
    house.ends(sweep, 8)
    assert house.left == [set()]


@pytest.mark.parametrize("step", [0.0, 0.01, GRACE / 3, GRACE])
def test_sweep_ends_in_time_however_many_come_up_one_after_the_other(house: House, step: float) -> None:
    """Programs that start themselves anew when they are ended kept a kernel from ending."""
    count, began = 5, house.clock()
    sweep = house.begin(count)
    while not house.left:
        count += 1
        house.processes.add(count)
        house.ends(sweep, count - 1)
        house.waits(step or 0.001)
        assert house.clock() - began <= 2 * (GRACE + step + 0.01)
    assert house.left == [{count}]


def test_sweep_ends_in_time_when_every_look_finds_others(house: House) -> None:
    def find() -> set[int]:
        house.processes = {max(house.processes) + 1}
        return set(house.processes)

    house.find = find
    sweep = house.begin(5)
    while not house.left:
        sweep.handle(set(house.sockets.watched))  # type: ignore[arg-type]
        house.waits(GRACE / 10)
        assert house.clock() <= 1000 + 2 * GRACE + GRACE / 5
    assert len(house.signals) > 20


def test_process_that_has_ended_before_it_is_signalled_is_not_waited_for(house: House) -> None:
    house.find = lambda: {5}
    house.begin()
    assert (house.left, house.signals) == ([set()], [])


def test_process_that_cannot_be_watched_is_signalled_all_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No descriptors may be left."""
    monkeypatch.setattr(Watch, "untouchable", frozenset({5}))
    house.begin(5, 6)
    assert sorted(house.signals) == [(5, signal.SIGTERM), (6, signal.SIGTERM)]


def test_process_that_may_not_be_touched_is_waited_for_and_reported(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs as another user."""

    def kill(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    house.begin(5)
    assert house.left == []
    house.waits(GRACE)
    house.waits(GRACE)
    assert house.left == [{5}]


@linux
def test_real_processes_are_ended_and_reaped(forks: Forks) -> None:
    """One that ends on SIGTERM, and one that ignores it."""
    ready, tell = os.pipe()

    def stubborn() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(tell, b"r")
        while True:
            signal.pause()

    forks.start(stubborn, [tell])
    forks.start(signal.pause)
    assert readable(ready)
    os.close(ready)
    os.close(tell)
    sockets, timers, clock = Sockets(), Timers(), Clock()
    left: list[set[int]] = []
    sweep = Sweep(
        sockets,  # type: ignore[arg-type]
        timers,
        clock,
        lambda: descendants("a mark that nobody has", None),
        GRACE,
        left.append,
    )
    for remaining in (1, 0):
        poll = select.poll()
        for fd in sockets.watched:
            poll.register(fd, select.POLLIN)
        (one,) = poll.poll(PATIENCE * 1000)
        sweep.handle({one[0]})
        assert len(sockets.watched) == remaining
        clock.advance(GRACE)
        timers.run(clock())
    assert left == [set()]
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# -- what is found


class Family:
    """A child with a child of its own, which says its pid; both wait."""

    def __init__(self, forks: Forks) -> None:
        reading, writing = os.pipe()

        def body() -> None:
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            os.write(writing, b"%d" % child)
            signal.pause()

        self.child = forks.start(body, [writing])
        assert readable(reading)
        self.grandchild = int(os.read(reading, 20))
        os.close(reading)
        os.close(writing)

    def end(self) -> None:
        os.kill(self.grandchild, signal.SIGKILL)


@pytest.fixture
def kin(forks: Forks) -> Iterator[Family]:
    made = Family(forks)
    yield made
    made.end()


@linux
def test_family_is_a_process_and_all_below_it(kin: Family) -> None:
    assert family(kin.child) == {kin.child, kin.grandchild}
    assert family(kin.grandchild) == {kin.grandchild}
    assert family(os.getpid()) >= {os.getpid(), kin.child, kin.grandchild}


@linux
def test_family_of_a_process_that_is_gone_is_itself(forks: Forks) -> None:
    gone = forks.start(lambda: None)
    forks.status(gone)
    assert family(gone) == {gone}


@linux
def test_descendants_are_found_by_their_parents(kin: Family) -> None:
    found = descendants("a mark that nobody has", None)
    assert found >= {kin.child, kin.grandchild}
    assert os.getpid() not in found
    assert os.getppid() not in found


@linux
def test_guardian_is_none_of_them(kin: Family) -> None:
    assert kin.child not in descendants("a mark that nobody has", kin.child)


@linux
def test_process_that_has_ended_is_none_of_them(forks: Forks) -> None:
    zombie = forks.start(lambda: None)
    assert ended(zombie)
    assert zombie not in descendants("a mark that nobody has", None)
    forks.status(zombie)


class Marked:
    """A program that waits in a session of its own, with a mark in its environment."""

    def __init__(self, mark: str) -> None:
        reading, self._end = os.pipe()
        ready, tell = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, reading, 0), (os.POSIX_SPAWN_DUP2, tell, 1)]
        argv = ["sh", "-c", "echo; read -r line"]
        self.pid = os.posix_spawn("/bin/sh", argv, {MARK: mark}, file_actions=actions, setsid=True)
        os.close(reading)
        os.close(tell)
        assert readable(ready)  # before, the system may not have filled its environment in
        os.close(ready)

    def end(self) -> None:
        os.close(self._end)
        os.waitpid(self.pid, 0)


@linux
def test_mark_is_found_wherever_a_process_went_and_only_if_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "_leads_to", lambda ancestor, pid, parents: False)  # as if none were below us
    ours = f"ours-{os.getpid()}"  # these tests may run twice at a time
    started = [Marked(mark) for mark in (ours, f"{ours}, or not", "")]
    try:
        assert descendants(ours, None) == {started[0].pid}
    finally:
        for one in started:
            one.end()


def test_line_of_parents_may_be_a_ring() -> None:
    """Numbers are read one after the other, and may be handed out anew meanwhile."""
    assert not tree._leads_to(1, 5, {5: 6, 6: 7, 7: 5})
    assert tree._leads_to(7, 5, {5: 6, 6: 7})
    assert not tree._leads_to(5, 5, {5: 4, 4: 3})


@linux
def test_newborn_are_of_the_group_and_of_the_time_and_not_its_leader(forks: Forks, kin: Family) -> None:
    since = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert newborn(kin.child, 0.0) == {kin.grandchild}
    assert newborn(kin.child, since + 3600) == set()
    assert newborn(kin.grandchild, 0.0) == set()


@linux
def test_child_that_has_left_the_group_is_not_newborn(forks: Forks) -> None:
    reading, writing = os.pipe()

    def body() -> None:
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            os.write(writing, b"%d" % os.getpid())
            signal.pause()
        signal.pause()

    pid = forks.start(body, [writing])
    assert readable(reading)
    child = int(os.read(reading, 20))
    try:
        assert child in family(pid)
        assert newborn(pid, 0.0) == set()
    finally:
        os.kill(child, signal.SIGKILL)
        os.close(reading)
        os.close(writing)


@linux
def test_orphans_that_have_ended_are_reaped_but_not_the_worker(forks: Forks) -> None:
    worker, one, two = (forks.start(lambda: None) for _ in range(3))
    for pid in (worker, one, two):
        assert ended(pid)
    reap_orphans(worker)
    assert forks.status(worker) == 0
    reap_orphans(0)
    for pid in (one, two):
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


@linux
def test_nothing_is_waited_for_when_nothing_has_ended(forks: Forks) -> None:
    forks.start(signal.pause)
    reap_orphans(0)
