"""The table of the worker's states: every row, and nothing but the rows."""

from __future__ import annotations

from itertools import product

import pytest

from ipymini_supervisor.lifecycle import DELAYS, TABLE, Deed, Event, Lifecycle, State

ROWS = [
    (State.STARTING, Event.HELLO, State.RUNNING, Deed.READY),
    (State.STARTING, Event.DIED, State.BACKOFF, Deed.DELAY),
    (State.STARTING, Event.STOP, State.STOPPING, Deed.END),
    (State.RUNNING, Event.DIED, State.STARTING, Deed.RESPAWN),
    (State.RUNNING, Event.FELL, State.RESUMING, Deed.RESUME),
    (State.RESUMING, Event.HELLO, State.RUNNING, Deed.RESTORED),
    (State.RESUMING, Event.FELL, State.RESUMING, Deed.RESUME),
    (State.RESUMING, Event.DIED, State.STARTING, Deed.RESPAWN),
    (State.RESUMING, Event.STOP, State.STOPPING, Deed.END),
    (State.RUNNING, Event.STOP, State.STOPPING, Deed.END),
    (State.STOPPING, Event.HELLO, State.STOPPING, Deed.NONE),
    (State.STOPPING, Event.STOP, State.STOPPING, Deed.NONE),
    (State.STOPPING, Event.DIED, State.SWEEPING, Deed.SWEEP),
    (State.BACKOFF, Event.DUE, State.STARTING, Deed.RESPAWN),
    (State.BACKOFF, Event.STOP, State.SWEEPING, Deed.SWEEP),
    (State.FATAL, Event.ASKED, State.STARTING, Deed.RESPAWN),
    (State.FATAL, Event.STOP, State.SWEEPING, Deed.SWEEP),
    (State.SWEEPING, Event.STOP, State.SWEEPING, Deed.NONE),
    (State.SWEEPING, Event.SWEPT, State.EXITED, Deed.LEAVE),
    (State.EXITED, Event.STOP, State.EXITED, Deed.NONE),
    (State.STARTING, Event.RESTART, State.REPLACING, Deed.REPLACE),
    (State.RUNNING, Event.RESTART, State.REPLACING, Deed.REPLACE),
    (State.RESUMING, Event.RESTART, State.REPLACING, Deed.REPLACE),
    (State.BACKOFF, Event.RESTART, State.REPLACING, Deed.REPLACE),
    (State.FATAL, Event.RESTART, State.REPLACING, Deed.REPLACE),
    (State.REPLACING, Event.RESTART, State.REPLACING, Deed.AGAIN),
    (State.REPLACING, Event.HELLO, State.REPLACING, Deed.NONE),
    (State.REPLACING, Event.STOP, State.STOPPING, Deed.FORGO),
    (State.REPLACING, Event.DIED, State.CLEARING, Deed.CLEAR),
    (State.CLEARING, Event.RESTART, State.CLEARING, Deed.AGAIN),
    (State.CLEARING, Event.STOP, State.SWEEPING, Deed.FORGO),
    (State.CLEARING, Event.SWEPT, State.STARTING, Deed.RENEW),
    (State.STOPPING, Event.RESTART, State.STOPPING, Deed.NONE),
    (State.SWEEPING, Event.RESTART, State.SWEEPING, Deed.NONE),
    (State.EXITED, Event.RESTART, State.EXITED, Deed.NONE),
]
IMPOSSIBLE = sorted(
    set(product(State, Event)) - {(state, event) for state, event, _, _ in ROWS},
    key=lambda pair: (pair[0].value, pair[1].value),
)


def in_state(state: State) -> Lifecycle:
    lifecycle = Lifecycle()
    lifecycle.state = state
    return lifecycle


@pytest.mark.parametrize(("state", "event", "after", "deed"), ROWS)
def test_row(state: State, event: Event, after: State, deed: Deed) -> None:
    lifecycle = in_state(state)
    assert lifecycle.on(event) is deed
    assert lifecycle.state is after


@pytest.mark.parametrize(("state", "event"), IMPOSSIBLE)
def test_anything_else_raises_and_changes_nothing(state: State, event: Event) -> None:
    lifecycle = in_state(state)
    with pytest.raises(KeyError):
        lifecycle.on(event)
    assert lifecycle.state is state


def test_table_has_no_other_rows() -> None:
    assert len(TABLE) == len(ROWS)


def test_worker_is_starting_to_begin_with() -> None:
    assert Lifecycle().state is State.STARTING


def fail_once(lifecycle: Lifecycle) -> tuple[Deed, float]:
    deed = lifecycle.on(Event.DIED)
    return deed, lifecycle.delay


def test_third_failed_start_is_fatal_and_the_attempts_before_wait_longer_each() -> None:
    lifecycle = Lifecycle()
    assert fail_once(lifecycle) == (Deed.DELAY, DELAYS[0])
    lifecycle.on(Event.DUE)
    assert fail_once(lifecycle) == (Deed.DELAY, DELAYS[1])
    lifecycle.on(Event.DUE)
    assert lifecycle.on(Event.DIED) is Deed.GIVE_UP
    assert lifecycle.state is State.FATAL


def fatal() -> Lifecycle:
    lifecycle = Lifecycle()
    for _ in range(2):
        lifecycle.on(Event.DIED)
        lifecycle.on(Event.DUE)
    lifecycle.on(Event.DIED)
    return lifecycle


def test_attempt_that_somebody_asked_for_is_the_only_one() -> None:
    lifecycle = fatal()
    for _ in range(3):
        assert lifecycle.on(Event.ASKED) is Deed.RESPAWN
        assert lifecycle.on(Event.DIED) is Deed.GIVE_UP
        assert lifecycle.state is State.FATAL


def test_worker_that_came_up_starts_the_count_anew() -> None:
    lifecycle = fatal()
    lifecycle.on(Event.ASKED)
    lifecycle.on(Event.HELLO)
    assert lifecycle.state is State.RUNNING
    lifecycle.on(Event.DIED)
    assert fail_once(lifecycle) == (Deed.DELAY, DELAYS[0])


def test_worker_that_dies_again_and_again_after_hello_is_always_replaced() -> None:
    lifecycle = Lifecycle()
    for _ in range(20):
        assert lifecycle.on(Event.HELLO) is Deed.READY
        assert lifecycle.on(Event.DIED) is Deed.RESPAWN


def test_snapshots_that_are_used_up_one_by_one_end_in_a_respawn_that_is_no_failed_start() -> None:
    lifecycle = in_state(State.RUNNING)
    assert [lifecycle.on(Event.FELL) for _ in range(3)] == [Deed.RESUME] * 3
    assert lifecycle.on(Event.DIED) is Deed.RESPAWN
    assert fail_once(lifecycle) == (Deed.DELAY, DELAYS[0])


def test_worker_that_came_back_from_a_snapshot_starts_the_count_anew() -> None:
    lifecycle = in_state(State.RESUMING)
    lifecycle.failed_starts = 2
    assert lifecycle.on(Event.HELLO) is Deed.RESTORED
    assert lifecycle.failed_starts == 0


def test_wherever_the_worker_is_the_kernel_can_be_stopped() -> None:
    for state in State:
        lifecycle = in_state(state)
        lifecycle.on(Event.STOP)
        assert lifecycle.state in (State.STOPPING, State.SWEEPING, State.EXITED)
