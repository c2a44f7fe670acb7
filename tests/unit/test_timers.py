"""Appointments happen once, in the order of time, unless they are cancelled."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ipymini_supervisor.timers import Timers


def test_no_appointment_no_timeout() -> None:
    assert Timers().timeout(0.0) is None


def test_timeout_is_the_time_until_the_next_appointment() -> None:
    timers = Timers()
    timers.at(20.0, lambda: None)
    timers.at(12.5, lambda: None)
    assert timers.timeout(10.0) == 2.5


def test_timeout_is_never_negative() -> None:
    timers = Timers()
    timers.at(1.0, lambda: None)
    assert timers.timeout(100.0) == 0.0


def test_what_is_not_due_does_not_happen() -> None:
    timers = Timers()
    happened: list[int] = []
    timers.at(2.0, lambda: happened.append(1))
    timers.run(1.999)
    assert happened == []
    timers.run(2.0)
    assert happened == [1]


def test_appointment_happens_once() -> None:
    timers = Timers()
    happened: list[int] = []
    timers.at(1.0, lambda: happened.append(1))
    timers.run(5.0)
    timers.run(5.0)
    assert happened == [1]
    assert timers.timeout(5.0) is None


def test_cancelled_appointment_neither_happens_nor_wakes_the_loop() -> None:
    timers = Timers()
    happened: list[str] = []
    first = timers.at(1.0, lambda: happened.append("first"))
    timers.at(3.0, lambda: happened.append("second"))
    first.cancel()
    assert timers.timeout(0.0) == 3.0
    timers.run(10.0)
    first.cancel()
    assert happened == ["second"]


def test_appointment_may_cancel_one_that_is_due_at_the_same_time() -> None:
    timers = Timers()
    happened: list[str] = []
    timers.at(1.0, lambda: other.cancel())
    other = timers.at(1.0, lambda: happened.append("other"))
    timers.run(1.0)
    assert happened == []


def test_appointment_may_make_another_one() -> None:
    timers = Timers()
    happened: list[str] = []
    timers.at(1.0, lambda: timers.at(2.0, lambda: happened.append("later")) and None)
    timers.run(1.0)
    assert happened == []
    assert timers.timeout(1.0) == 1.0
    timers.run(2.0)
    assert happened == ["later"]


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30), st.lists(st.integers(0, 6), max_size=8))
def test_everything_happens_in_order_of_time_and_then_of_making(made: list[tuple[int, bool]], times: list[int]) -> None:
    timers = Timers()
    happened: list[tuple[int, int]] = []
    for number, (when, cancelled) in enumerate(made):
        timer = timers.at(when, lambda when=when, number=number: happened.append((when, number)))  # type: ignore[misc]
        if cancelled:
            timer.cancel()
    for now in sorted(times):
        timers.run(now)
        assert all(when <= now for when, _ in happened)
    timers.run(100)
    assert happened == sorted((when, number) for number, (when, cancelled) in enumerate(made) if not cancelled)
    assert timers.timeout(100) is None
