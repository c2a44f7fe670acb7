"""When memory runs short: which snapshots go, in which order, and when it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import pytest

from fakes import Clock
from forks import Peers
from ipymini_supervisor.relief import ENOUGH, INTERVAL, SHARE, WORTH, Relief
from ipymini_supervisor.rollup import Memory
from ipymini_supervisor.snapshots import Snapshots
from ipymini_supervisor.timers import Timers

TOTAL = 10 << 30
PLENTY, SHORT = TOTAL // 2, int(SHARE * TOTAL) - 1


class Rollups:
    """Keeps questions until the test answers them."""

    def __init__(self) -> None:
        self.asked: list[tuple[set[int], Callable[[Memory | None], None]]] = []

    def ask(self, pids: Collection[int], done: Callable[[Memory | None], None]) -> None:
        """As `ipymini_supervisor.rollup.Rollups.ask`."""
        self.asked.append((set(pids), done))

    def answer(self, private: int | None) -> set[int]:
        """Answers the next question, which was about the pids that are returned."""
        pids, done = self.asked.pop(0)
        done(None if private is None else Memory(private, private))
        return pids


class House:
    """`Relief` with fakes around it."""

    def __init__(self) -> None:
        self.peers = Peers()
        self.snapshots = Snapshots()
        self.rollups = Rollups()
        self.timers = Timers()
        self.clock = Clock()
        self.busy = True
        self.room = (PLENTY, TOTAL)
        self.looked = 0
        self.relief = Relief(
            self.snapshots,
            self.rollups,  # type: ignore[arg-type]
            self.timers,
            self.clock,
            lambda: self.busy,
            self._look,
        )

    def _look(self) -> tuple[int, int]:
        self.looked += 1
        return self.room

    def adds(self, *cells: int) -> None:
        """Snapshots before these cells; the pristine one before 0."""
        for cell in cells:
            self.snapshots.add(self.peers.snapshot(cell), pristine=cell == 0)

    def waits(self, intervals: int = 1) -> None:
        """Time passes."""
        for _ in range(intervals):
            self.clock.advance(INTERVAL)
            self.timers.run(self.clock())

    @property
    def cells(self) -> set[int]:
        """The cells before which there are snapshots."""
        found = (self.snapshots.pristine, self.snapshots.current, self.snapshots.previous)
        assert self.peers.alive() == self.snapshots.pids()
        return {snapshot.cell for snapshot in found if snapshot is not None}

    @property
    def watching(self) -> bool:
        """Whether it comes back."""
        return self.timers.timeout(self.clock()) is not None


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.snapshots.discard()
    made.peers.close()


def test_nothing_is_looked_at_without_snapshots(house: House) -> None:
    house.relief.watch()
    assert not house.watching


def test_idle_kernel_does_not_wake_up(house: House) -> None:
    house.adds(0, 1)
    house.relief.watch()
    house.busy = False
    house.waits()
    assert (house.looked, house.watching) == (0, False)


def test_it_is_looked_at_all_the_time_while_a_cell_runs_and_once_at_a_time(house: House) -> None:
    house.adds(0, 1)
    for _ in range(3):
        house.relief.watch()
    house.waits(4)
    assert house.looked == 4
    assert house.cells == {0, 1}


def test_it_is_not_looked_at_before_its_time(house: House) -> None:
    house.adds(1)
    house.relief.watch()
    house.clock.advance(INTERVAL * 0.9)
    house.timers.run(house.clock())
    assert house.looked == 0


@pytest.mark.parametrize(
    ("room", "gone"),
    [
        ((SHORT, TOTAL), True),
        ((int(SHARE * TOTAL) + 1, TOTAL), False),
        ((ENOUGH - 1, 1000 << 30), True),
        ((ENOUGH, 1000 << 30), False),  # a share of a large machine is still enough for anybody
        ((0, TOTAL), True),
        ((0, 0), False),  # not known
    ],
)
def test_memory_is_short_by_share_or_by_size_whichever_is_less(house: House, room: tuple[int, int], gone: bool) -> None:
    house.adds(0, 1)
    house.room = room
    house.relief.watch()
    house.waits()
    assert house.cells == ({1} if gone else {0, 1})


def test_spare_snapshots_go_first_and_nobody_has_to_be_asked(house: House) -> None:
    house.adds(0, 1, 2)
    house.room = (SHORT, TOTAL)
    house.relief.watch()
    house.waits()
    assert house.cells == {2}
    assert not house.rollups.asked
    assert house.watching


def short_of_all_but_the_current_one(house: House) -> set[int]:
    house.adds(1)
    house.room = (SHORT, TOTAL)
    house.relief.watch()
    house.waits()
    assert house.cells == {1}
    return house.snapshots.pids()


@pytest.mark.parametrize(
    ("private", "gone"), [(int(WORTH * TOTAL) + 1, True), (int(WORTH * TOTAL), False), (0, False), (None, False)]
)
def test_session_before_the_cell_is_given_up_only_for_what_it_is_worth(
    house: House, private: int | None, gone: bool
) -> None:
    pids = short_of_all_but_the_current_one(house)
    assert house.rollups.answer(private) == pids
    assert house.cells == (set() if gone else {1})


def test_answer_about_a_snapshot_that_was_replaced_meanwhile_costs_the_new_one_nothing(house: House) -> None:
    short_of_all_but_the_current_one(house)
    house.adds(1)
    house.rollups.answer(TOTAL)
    assert house.cells == {1}


def test_answer_that_comes_after_all_is_over_changes_nothing(house: House) -> None:
    short_of_all_but_the_current_one(house)
    house.snapshots.discard()
    house.rollups.answer(TOTAL)
    assert house.cells == set()


def test_nothing_is_looked_at_any_longer_when_all_are_gone_until_there_is_one_again(house: House) -> None:
    short_of_all_but_the_current_one(house)
    house.rollups.answer(TOTAL)
    house.waits()
    assert not house.watching
    house.adds(2)
    house.relief.watch()
    assert house.watching


def test_memory_that_is_there_again_ends_the_sacrifices(house: House) -> None:
    house.adds(0, 1)
    house.room = (SHORT, TOTAL)
    house.relief.watch()
    house.waits()
    house.room = (PLENTY, TOTAL)
    house.waits(3)
    assert house.cells == {1}
    assert not house.rollups.asked
