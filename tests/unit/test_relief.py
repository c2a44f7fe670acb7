"""When memory runs short: which snapshots go, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import pytest

from fakes import Clock
from forks import Peers
from ipymini_supervisor.relief import AGAIN, WORTH, Relief
from ipymini_supervisor.rollup import Memory
from ipymini_supervisor.snapshots import Snapshots

TOTAL = 10 << 30


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
        self.clock = Clock()
        self.leaving = False
        self.relief = Relief(self.snapshots, self.rollups, self.clock, lambda: self.leaving)  # type: ignore[arg-type]

    def adds(self, *cells: int) -> None:
        """Snapshots before these cells; the pristine one before 0."""
        for cell in cells:
            self.snapshots.add(self.peers.snapshot(cell), pristine=cell == 0)

    def relieves(self) -> None:
        """Memory runs short."""
        self.relief.relieve(TOTAL)

    @property
    def cells(self) -> set[int]:
        """The cells before which there are snapshots."""
        found = (self.snapshots.pristine, self.snapshots.current, self.snapshots.previous)
        assert self.peers.alive() == self.snapshots.pids()
        return {snapshot.cell for snapshot in found if snapshot is not None}


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.snapshots.discard()
    made.peers.close()


def test_without_snapshots_nothing_can_be_done(house: House) -> None:
    house.relieves()
    assert not house.relief.spare
    assert not house.rollups.asked


def test_pristine_one_that_is_that_of_the_session_is_not_spare(house: House) -> None:
    house.adds(0)
    house.snapshots.base(1)
    assert not house.relief.spare
    house.relieves()
    house.rollups.answer(int(2 * WORTH * TOTAL))
    assert not house.cells


@pytest.mark.parametrize(("cells", "spare"), [((), False), ((1,), False), ((0,), True), ((0, 1), True), ((1, 2), True)])
def test_what_can_be_spared_is_all_but_that_of_the_session(house: House, cells: tuple[int, ...], spare: bool) -> None:
    house.adds(*cells)
    assert house.relief.spare is spare


def test_spare_snapshots_go_first_and_nobody_has_to_be_asked(house: House) -> None:
    house.adds(0, 1, 2)
    house.relieves()
    assert house.cells == {2}
    assert not house.relief.spare
    assert not house.rollups.asked


@pytest.mark.parametrize(
    ("private", "gone"), [(int(WORTH * TOTAL) + 1, True), (int(WORTH * TOTAL), False), (0, False), (None, False)]
)
def test_session_before_the_cell_is_given_up_only_for_what_it_is_worth(
    house: House, private: int | None, gone: bool
) -> None:
    house.adds(1)
    house.relieves()
    assert house.cells == {1}
    assert house.rollups.answer(private) == house.snapshots.pids() or gone
    assert house.cells == (set() if gone else {1})


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_snapshots_of_a_worker_that_ends_stay(house: House, when: str) -> None:
    """What they shared with it looks as if it were theirs alone; and they are all that is left of the session."""
    house.adds(1)
    house.leaving = when == "before"
    house.relieves()
    house.leaving = True
    if when == "meanwhile":
        house.rollups.answer(TOTAL)
    assert not house.rollups.asked
    assert house.cells == {1}


def test_those_that_could_be_spared_stay_when_the_worker_ends(house: House) -> None:
    house.adds(0, 1, 2)
    house.leaving = True
    house.relieves()
    assert house.cells == {0, 1, 2}


def test_it_is_not_weighed_all_the_time(house: House) -> None:
    """Each time another program has to look at it."""
    house.adds(1)
    for _ in range(5):
        house.relieves()
        house.clock.advance(AGAIN / 10)
    assert len(house.rollups.asked) == 1
    house.clock.advance(AGAIN)
    house.relieves()
    assert len(house.rollups.asked) == 2


def test_answer_about_a_snapshot_that_was_replaced_meanwhile_costs_the_new_one_nothing(house: House) -> None:
    house.adds(1)
    house.relieves()
    house.adds(1)
    house.rollups.answer(TOTAL)
    assert house.cells == {1}


def test_answer_that_comes_after_all_is_over_changes_nothing(house: House) -> None:
    house.adds(1)
    house.relieves()
    house.snapshots.discard()
    house.rollups.answer(TOTAL)
    assert house.cells == set()
