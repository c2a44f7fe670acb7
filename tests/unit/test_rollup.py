"""Memory of processes that share pages: read by another program, summed here."""

from __future__ import annotations

import gc
import mmap
import os
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import Clock
from forks import Forks, readable
from ipymini_supervisor import rollup
from ipymini_supervisor.rollup import LATE, Memory, Rollups, parse
from ipymini_supervisor.timers import Timers

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is known")
ROLLUP = b"""\
5581e9a4b000-7ffd0a9f2000 ---p 00000000 00:00 0                          [rollup]
Rss:               40000 kB
Pss:               12345 kB
Pss_Dirty:          9999 kB
Pss_Anon:           8888 kB
Shared_Clean:       7777 kB
Shared_Dirty:          0 kB
Private_Clean:      1000 kB
Private_Dirty:       234 kB
Private_Hugetlb:       2 kB
Swap:                555 kB
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", Memory(0, 0)),
        (ROLLUP, Memory(12345 << 10, 1236 << 10)),
        (ROLLUP * 3, Memory(3 * 12345 << 10, 3 * 1236 << 10)),
        (ROLLUP[:150], Memory(12345 << 10, 0)),  # cut off
        (b"Pss: 1 MB\nPss: -1 kB\nPss: 1 2 kB\nPss:\nPss 1 kB\n: 1 kB\nPrivate_: x kB\n", Memory(0, 0)),
    ],
)
def test_sums_are_of_what_counts_once(text: bytes, expected: Memory) -> None:
    assert parse(text) == expected


@given(st.binary(max_size=200), st.integers(0, len(ROLLUP)))
def test_no_text_is_too_strange(garbage: bytes, at: int) -> None:
    parse(ROLLUP[:at] + garbage + ROLLUP[at:])


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


class House:
    """`Rollups` with its readers, whose ends are awaited."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sockets = Sockets()
        self.clock = Clock()
        self.timers = Timers()
        self.rollups = Rollups(self.sockets, self.timers, self.clock)  # type: ignore[arg-type]
        self.answers: list[Memory | None] = []
        self.readers: list[int] = []
        spawn = os.posix_spawn

        def noted(*args: object, **options: object) -> int:
            self.readers.append(spawn(*args, **options))  # type: ignore[arg-type]
            return self.readers[-1]

        monkeypatch.setattr(os, "posix_spawn", noted)

    def ask(self, *pids: int, done: Callable[[Memory | None], object] | None = None) -> None:
        self.rollups.ask(pids, done or self.answers.append)

    def loop(self) -> None:
        """Handles what there is until nobody waits any longer."""
        while self.sockets.watched:
            fd = min(self.sockets.watched)
            assert readable(fd)
            self.rollups.handle({fd, "shell"})

    def end(self) -> None:
        self.rollups.close()
        assert not self.sockets.watched
        for pid in self.readers:
            os.waitpid(pid, 0)


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    made = House(monkeypatch)
    yield made
    made.end()


@pytest.fixture
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.end()


@linux
def test_memory_of_a_process_comes_without_being_waited_for(house: House) -> None:
    house.ask(os.getpid())
    assert house.answers == []
    house.loop()
    (memory,) = house.answers
    assert memory is not None
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    assert 0 < memory.private <= memory.proportional
    assert resident / 10 < memory.proportional < resident * 2


@linux
def test_page_that_two_processes_share_counts_once_and_belongs_to_neither(house: House, forks: Forks) -> None:
    size = 128 << 20  # much more than what becomes a child's own by itself, where the tests' process is large
    with mmap.mmap(-1, size) as shared:
        shared.write(b"x" * size)
        ready, tell = os.pipe()

        def sleeper() -> None:
            assert shared[size - 1] == ord("x")
            sum(shared[at] for at in range(0, size, mmap.PAGESIZE))  # now it has them as well
            os.write(tell, b"r")
            signal.pause()

        pid = forks.start(sleeper, [tell])
        assert readable(ready)
        gc.disable()  # a collection between the questions would write to pages that the two share
        try:
            house.ask(os.getpid())
            house.ask(pid)
            house.ask(os.getpid(), pid)
            house.loop()
        finally:
            gc.enable()
        os.close(ready)
        os.close(tell)
    own, other, both = house.answers
    assert own is not None
    assert other is not None
    assert both is not None
    assert abs(own.proportional + other.proportional - both.proportional) < 4 << 20
    assert other.proportional > size * 0.4
    assert other.private < size / 2


@linux
def test_process_that_is_gone_does_not_count(house: House, forks: Forks) -> None:
    gone = forks.start(lambda: None)
    forks.status(gone)
    house.ask(gone)
    house.ask(gone, os.getpid())
    house.loop()
    assert house.answers[0] is None
    assert house.answers[1] is not None
    assert house.answers[1].proportional > 0


def test_without_processes_the_answer_is_there_at_once(house: House) -> None:
    house.ask()
    assert house.answers == [None]
    assert not house.sockets.watched


def test_elsewhere_nothing_is_known(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    house.ask(1)
    assert house.answers == [None]


@linux
def test_reader_that_cannot_be_started_is_an_answer_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "_READER", "/there/is/no/such/program")
    house.ask(os.getpid())
    assert house.answers == [None]
    assert not house.sockets.watched


@linux
def test_process_without_descriptors_gets_an_answer_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pipe", fails)
    house.ask(os.getpid())
    assert house.answers == [None]


@linux
def test_answers_go_to_those_who_asked(house: House, forks: Forks) -> None:
    gone = forks.start(lambda: None)
    forks.status(gone)
    told: list[tuple[str, bool]] = []
    for name, pid in (("own", os.getpid()), ("gone", gone), ("own again", os.getpid())):
        house.ask(pid, done=lambda memory, name=name: told.append((name, memory is not None)))  # type: ignore[misc]
    house.loop()
    assert sorted(told) == [("gone", False), ("own", True), ("own again", True)]


@linux
def test_who_is_answered_may_ask_again_at_once(house: House) -> None:
    """The new pipe has the number of the old one, which was among those that were ready."""

    def again(memory: Memory | None) -> None:
        house.answers.append(memory)
        if len(house.answers) < 3:
            house.ask(os.getpid(), done=again)

    house.ask(os.getpid(), done=again)
    house.loop()
    assert len(house.answers) == 3
    assert None not in house.answers


@linux
def test_descriptor_that_is_ready_for_somebody_else_is_left_alone(house: House) -> None:
    house.ask(os.getpid())
    house.rollups.handle({"iopub", 12345})
    assert house.answers == []
    house.loop()


@linux
def test_answer_that_nobody_waits_for_any_longer_is_not_given(house: House) -> None:
    house.ask(os.getpid())
    house.ask(os.getpid())
    house.rollups.close()
    assert not house.sockets.watched
    house.rollups.handle(set(range(100)))
    assert house.answers == []


@linux
def test_answer_may_come_in_pieces(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    read = os.read
    pieces: list[int] = []

    def little(fd: int, size: int) -> bytes:
        data = read(fd, 7 if fd in house.sockets.watched else size)
        pieces.append(len(data))
        return data

    monkeypatch.setattr(os, "read", little)
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: 0)  # or it would be our own, which is read at once
    house.ask(pid)
    house.loop()
    assert len(pieces) > 20
    assert pieces[-1] == 0
    assert all(one == 7 for one, _ in pairwise(pieces[:-1]))
    assert house.answers[0] is not None
    assert house.answers[0].proportional > 1 << 20


@linux
def test_answer_that_does_not_come_is_not_waited_for(house: House) -> None:
    house.ask(os.getpid())
    house.clock.advance(LATE * 0.9)
    house.timers.run(house.clock())
    assert house.answers == []
    house.clock.advance(LATE * 0.2)
    house.timers.run(house.clock())
    assert house.answers == [None]
    assert not house.sockets.watched
    house.ask(os.getpid())
    house.loop()
    house.clock.advance(LATE * 2)
    house.timers.run(house.clock())
    assert len(house.answers) == 2
    assert house.answers[1] is not None
