"""The interrupt ladder: what one more interrupt of the same cell means."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ipymini_supervisor.ladder import GAP, Ladder, Rung


def test_three_interrupts_climb_three_rungs() -> None:
    ladder = Ladder()
    assert [ladder.ask(1, now * 2 * GAP) for now in range(3)] == [
        (Rung.INTERRUPT, True),
        (Rung.STACK, True),
        (Rung.KILL, True),
    ]


def test_there_is_nothing_above_the_kill() -> None:
    ladder = Ladder()
    for now in range(3):
        ladder.ask(1, float(now))
    assert ladder.ask(1, 100.0) == (Rung.KILL, False)


def test_double_click_is_one_interrupt() -> None:
    ladder = Ladder()
    ladder.ask(1, 10.0)
    assert ladder.ask(1, 10.0 + GAP * 0.9) == (Rung.INTERRUPT, False)
    assert ladder.ask(1, 10.0 + GAP) == (Rung.STACK, True)


def test_every_cell_begins_at_the_bottom() -> None:
    ladder = Ladder()
    ladder.ask(1, 0.0)
    ladder.ask(1, 1.0)
    assert ladder.rung(1) is Rung.STACK
    assert ladder.ask(2, 1.0) == (Rung.INTERRUPT, True)
    assert (ladder.rung(1), ladder.rung(2)) == (Rung.NONE, Rung.INTERRUPT)


def test_ladder_does_not_climb_by_itself_unless_it_is_told_to() -> None:
    ladder = Ladder()
    ladder.ask(1, 0.0)
    assert ladder.next_climb() is None


def test_ladder_that_climbs_by_itself_is_at_the_kill_at_the_end_of_its_time() -> None:
    ladder, now = Ladder(kill_after=4.0), 0.0
    rung, _ = ladder.ask(1, now)
    while (climb := ladder.next_climb()) is not None:
        now += climb
        rung, climbed = ladder.ask(1, now)
        assert climbed
    assert (rung, now) == (Rung.KILL, 4.0)


def test_shortest_time_does_not_undercut_the_gap() -> None:
    ladder = Ladder(kill_after=0.01)
    ladder.ask(1, 0.0)
    assert ladder.next_climb() == GAP


@given(st.lists(st.tuples(st.integers(1, 3), st.floats(0, 2)), max_size=40))
def test_rungs_are_climbed_one_by_one_and_never_within_the_gap(asked: list[tuple[int, float]]) -> None:
    ladder, now = Ladder(), 0.0
    last: tuple[int, Rung, float] = (0, Rung.NONE, -100.0)
    for request, passed in asked:
        now += passed
        rung, climbed = ladder.ask(request, now)
        if request != last[0]:
            assert (rung, climbed) == (Rung.INTERRUPT, True)
        elif climbed:
            assert rung == last[1] + 1
            assert now - last[2] >= GAP
        else:
            assert rung == last[1]
        if climbed:
            last = (request, rung, now)
