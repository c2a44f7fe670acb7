"""Snapshots as the supervisor has them: what is repeated after one, and the pristine one that is the session's, too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from forks import Peers
from ipymini_supervisor.snapshots import Snapshots
from ipymini_worker.wire import MOST_REPEATED, REPEATED_BYTES


@pytest.fixture
def peers() -> Iterator[Peers]:
    made = Peers()
    yield made
    made.close()


# -- cells that are repeated


@pytest.fixture
def one(peers: Peers) -> Iterator[Snapshots]:
    """That before In[1], after which two cells with a number and one without are repeated, in this order."""
    snapshots = Snapshots()
    snapshots.add(peers.snapshot(1), pristine=False)
    for cell, record in ((2, b"first"), (3, b"second"), (3, b"without")):
        snapshots.request_started(cell=True)
        snapshots.repeats(cell, record)
    yield snapshots
    snapshots.discard()


def test_snapshot_and_what_is_repeated_are_the_session_as_it_is(one: Snapshots) -> None:
    found = one.latest()
    assert found is not None
    assert (found.cell, found.started) == (3, 0)
    assert found.records() == [b"first", b"second", b"without"]
    found.discard()


def test_cell_that_is_not_repeated_counts(one: Snapshots) -> None:
    one.request_started(cell=True)
    assert one.current is not None
    assert one.current.started == 1


def test_going_back_takes_back_the_last_cell_with_a_number(one: Snapshots) -> None:
    assert one.can_go_back
    found = one.earlier()
    assert found is not None
    assert (found.cell, found.records()) == (2, [b"first"])
    assert not one.pids()
    found.discard()


def test_going_back_from_the_snapshot_itself_is_to_the_one_before(one: Snapshots, peers: Peers) -> None:
    one.add(peers.snapshot(4), pristine=False)
    one.repeats(4, b"without a number")
    assert one.can_go_back
    found = one.earlier()
    assert found is not None
    assert (found.cell, len(found.records())) == (3, 3)
    found.discard()
    assert not peers.alive()
    assert not one.can_go_back


def test_one_snapshot_alone_is_nothing_to_go_back_to(peers: Peers) -> None:
    snapshots = Snapshots()
    snapshots.repeats(2, b"after nothing")
    assert not snapshots.can_go_back
    snapshots.add(peers.snapshot(2), pristine=False)
    snapshots.repeats(2, b"without a number")
    assert not snapshots.can_go_back
    assert snapshots.earlier() is None
    snapshots.discard()


def test_snapshot_of_the_same_number_takes_nothing_from_going_back(one: Snapshots, peers: Peers) -> None:
    """As after a comm message: it stands for what was repeated, too."""
    one.add(peers.snapshot(3), pristine=False)
    assert len(peers.alive()) == 2
    found = one.earlier()
    assert found is not None
    assert (found.cell, found.records()) == (2, [b"first"])
    found.discard()


def test_cell_that_is_taken_back_has_begun_since(one: Snapshots) -> None:
    assert one.current is not None
    assert one.current.forget_last()
    assert one.current.started == 2


def test_what_is_further_than_the_last_cell_is_nothing_to_go_back_to(one: Snapshots, peers: Peers) -> None:
    """The one in between has become the worker; after a death it is better than nothing."""
    one.add(peers.snapshot(4), pristine=False)
    one.repeats(5, b"third")
    found = one.latest()
    assert found is not None
    found.discard()
    assert one.previous is not None
    assert not one.can_go_back
    assert one.earlier() is None
    one.add(peers.snapshot(6), pristine=False)
    assert one.earlier() is None
    one.add(peers.snapshot(7), pristine=False)
    assert one.can_go_back


def test_going_back_twice_is_no_leap(one: Snapshots, peers: Peers) -> None:
    one.add(peers.snapshot(4), pristine=False)
    one.repeats(5, b"third")
    found = one.earlier()
    assert found is not None
    assert found.cell == 4
    found.discard()
    one.add(peers.snapshot(6), pristine=False)
    assert not one.can_go_back
    for cell in (6, 3):
        found = one.latest()
        assert found is not None
        assert found.cell == cell
        found.discard()


def test_one_that_has_not_arrived_leaves_nothing_to_repeat_after(one: Snapshots, peers: Peers) -> None:
    one.missed()
    one.repeats(4, b"after the one that was lost")
    assert one.current is None
    found = one.latest()
    assert found is not None
    assert (found.cell, len(found.records())) == (3, 3)
    found.discard()
    one.missed()
    assert not peers.alive()


def test_they_are_only_so_large(one: Snapshots) -> None:
    one.repeats(3, bytes(REPEATED_BYTES - 100))
    with pytest.raises(ValueError, match="too many"):
        one.repeats(3, bytes(101))


def test_there_are_only_so_many(one: Snapshots) -> None:
    for _ in range(MOST_REPEATED - 3):
        one.repeats(3, b"more")
    with pytest.raises(ValueError, match="too many"):
        one.repeats(3, b"one too many")


# -- the pristine one, where it is that of the session, too


@pytest.fixture
def based(peers: Peers) -> Iterator[Snapshots]:
    """One copy, and a cell that is repeated after it."""
    snapshots = Snapshots()
    snapshots.add(peers.snapshot(0), pristine=True)
    snapshots.base(1)
    snapshots.request_started(cell=True)
    snapshots.repeats(2, b"first")
    yield snapshots
    snapshots.discard()


def test_pristine_one_may_be_that_of_the_session(based: Snapshots, peers: Peers) -> None:
    assert based.current is based.pristine
    assert len(based.pids()) == 1
    found = based.latest()
    assert found is not None
    assert (found.cell, found.started, found.records(), found.pristine) == (2, 0, [b"first"], True)
    assert (based.pristine, based.current, based.previous) == (None, None, None)
    found.discard()


def test_whoever_begins_anew_takes_it_from_the_session(based: Snapshots) -> None:
    found = based.first()
    assert found is not None
    assert not based.pids()
    found.discard()


def test_it_is_the_previous_one_after_a_snapshot(based: Snapshots, peers: Peers) -> None:
    based.add(peers.snapshot(3), pristine=False)
    assert based.previous is based.pristine
    based.add(peers.snapshot(4), pristine=False)
    assert based.previous is not based.pristine
    assert len(peers.alive()) == 3
    assert peers.alive() == based.pids()


def test_going_back_to_it_takes_it(based: Snapshots, peers: Peers) -> None:
    based.add(peers.snapshot(3), pristine=False)
    found = based.earlier()
    assert found is not None
    assert (found.cell, found.pristine, found.records()) == (2, True, [b"first"])
    assert not based.pids()
    assert peers.alive() == {found.pid}
    found.discard()


def test_it_stays_for_whoever_begins_anew(based: Snapshots, peers: Peers) -> None:
    based.discard_cells()
    assert based.current is None
    assert based.pristine is not None
    assert peers.alive() == based.pids()
    based.base(1)
    assert based.current is not None
    assert (based.current.cell, based.current.records()) == (1, [])


def test_it_is_not_spare(based: Snapshots, peers: Peers) -> None:
    based.discard_spare()
    assert based.current is based.pristine
    assert len(peers.alive()) == 1
    based.add(peers.snapshot(3), pristine=False)
    based.discard_spare()
    assert (based.pristine, based.previous) == (None, None)
    assert peers.alive() == based.pids()


def test_all_of_them_go(based: Snapshots, peers: Peers) -> None:
    based.discard()
    assert not peers.alive()


def test_without_a_pristine_one_there_is_no_base() -> None:
    snapshots = Snapshots()
    snapshots.base(1)
    assert snapshots.latest() is None
