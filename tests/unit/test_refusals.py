"""What was dropped is counted, and told of once for each kind and minute."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ipymini_supervisor.refusals import INTERVAL, Refusals


def test_first_of_a_kind_is_told_at_once_and_the_next_after_a_minute() -> None:
    refusals = Refusals()
    assert refusals.count("shell", "without delimiter", 0.0) == "Dropped a message on shell without delimiter."
    assert [refusals.count("shell", "without delimiter", 0.01 * n) for n in range(1000)] == [None] * 1000
    told = refusals.count("shell", "without delimiter", INTERVAL)
    assert told == "Dropped 1001 messages on shell without delimiter."
    assert refusals.count("shell", "without delimiter", INTERVAL + 1) is None
    assert refusals.total == 1003


def test_kinds_and_channels_are_counted_apart() -> None:
    refusals = Refusals()
    told = [refusals.count(channel, why, 5.0) for channel in ("shell", "control") for why in ("a", "b") for _ in "xy"]
    assert [sentence for sentence in told if sentence] == [
        f"Dropped a message on {channel} {why}." for channel in ("shell", "control") for why in ("a", "b")
    ]


def test_what_was_not_told_is_told_in_the_end() -> None:
    refusals = Refusals()
    for _ in range(3):
        refusals.count("stdin", "that is too large", 0.0)
    refusals.count("shell", "without delimiter", 0.0)
    assert refusals.rest() == ["Dropped 2 messages on stdin that is too large."]
    assert refusals.rest() == []


def test_memory_and_log_are_bounded_whatever_the_kinds_are() -> None:
    refusals = Refusals()
    told = [refusals.count("shell", f"{number}", 0.0) for number in range(10_000)]
    assert len([sentence for sentence in told if sentence]) == 101
    assert refusals.rest() == ["Dropped 9899 messages on any channel for other reasons."]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 40))))
def test_every_message_is_told_of_once(events: list[tuple[str, float]]) -> None:
    refusals, now, told = Refusals(), 0.0, []
    for why, pause in events:
        now += pause
        told.append(refusals.count("shell", why, now))
    sentences = [sentence for sentence in [*told, *refusals.rest()] if sentence]
    numbers = [sentence.split()[1].replace("a", "1") for sentence in sentences]
    assert sum(map(int, numbers)) == len(events) == refusals.total
