"""The flow of iopub: text that may still grow, subscribers that come, go or take nothing, and the last messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

import fakes
from fakes import KEY, Clock, Received
from ipymini_supervisor.flow import LINGER, TEXT_DELAY, Flow
from ipymini_supervisor.frontends import Frontends
from ipymini_supervisor.outbox import FULL, HELD, Outbox
from ipymini_supervisor.session import Part, Session
from ipymini_supervisor.timers import Timers

PATIENCE = 10.0


class Sockets(fakes.Sockets):
    """With what `Flow` needs besides."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.still: dict[int, int] = {}  # who takes nothing, by descriptor
        self.others = 0
        self.subscriptions: list[bytes] = []
        self.polled: list[float] = []
        self.takes_again: int | None = None  # after so many polls
        self._clock = clock

    def waiting(self) -> dict[int, int]:
        """As in `ipymini_supervisor.sockets.Sockets`."""
        return dict(self.still)

    def give_up(self, before: Mapping[int, int]) -> tuple[int, int]:
        """As in `ipymini_supervisor.sockets.Sockets`."""
        ended = {fd for fd, unread in before.items() if self.still.get(fd) == unread}
        for fd in ended:
            del self.still[fd]
            self.subscriptions.append(b"\x00")
        if ended:
            self.blocked.clear()
        return len(ended), self.others

    def receive(self, channel: str) -> list[bytes] | None:
        """Who has come and gone."""
        assert channel == "iopub"
        return [self.subscriptions.pop(0)] if self.subscriptions else None

    def poll(self, timeout: float) -> set[str | int]:
        """Time passes."""
        self.polled.append(timeout)
        self._clock.advance(timeout)
        if len(self.polled) == self.takes_again:
            self.blocked.clear()
        return set()

    def send(self, channel: str, parts: Sequence[Part]) -> bool:
        """As ever."""
        return super().send(channel, parts)


class House:
    """`Flow` with fakes around it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.sockets = Sockets(self.clock)
        self.outbox = Outbox()
        self.outbox.subscribers = 1
        self.timers = Timers()
        self.worker: Any = SimpleNamespace(reading=True)
        self.frontends = Frontends(Session(KEY), self.sockets, self.outbox, self.clock)  # type: ignore[arg-type]
        self.left = 0  # bytes
        self.flow = Flow(
            self.sockets,  # type: ignore[arg-type]
            self.outbox,
            self.frontends,
            self.timers,
            self.clock,
            PATIENCE,
            self._leaves,
        )
        self.parent = json.dumps({"msg_id": "asked", "msg_type": "execute_request"}).encode()
        self.passes(TEXT_DELAY)

    def _leaves(self, size: int) -> None:
        self.left += size

    def says(self, text: str) -> None:
        self.frontends.text("stdout", text, self.parent)

    def publishes(self, size: int = 0) -> None:
        self.frontends.publish("display_data", {"data": "x" * size}, self.parent)

    def passes(self, seconds: float = 0.0) -> None:
        """One pass of the loop, after `seconds`."""
        self.clock.advance(seconds)
        self.timers.run(self.clock())
        self.flow.pump(self.worker)

    @property
    def timeout(self) -> float | None:
        """How long the loop may sleep."""
        return self.timers.timeout(self.clock())

    def texts(self) -> list[str]:
        """The stream text that has left since the last call."""
        found, self.sockets.sent = [Received(parts) for _, parts in self.sockets.sent], []
        return [m.content["text"] for m in found if m.type == "stream"]


@pytest.fixture
def house() -> House:
    return House()


def test_loop_sleeps_when_there_is_nothing_to_say(house: House) -> None:
    assert house.timeout is None


def test_it_tells_how_much_has_left(house: House) -> None:
    house.sockets.sent.clear()
    house.left = 0
    for size in (10, 1000):
        house.publishes(size)
        house.passes()
    house.passes()
    assert house.left == sum(len(part) for _, parts in house.sockets.sent for part in parts) > 1010


def test_whole_line_leaves_at_once_and_those_that_follow_soon_are_joined(house: House) -> None:
    house.says("one\n")
    house.passes(TEXT_DELAY)
    house.passes()
    assert house.texts() == ["one\n"]
    for line in ("two\n", "three\n"):
        house.says(line)
        house.passes(TEXT_DELAY / 4)
        assert house.texts() == []
    assert house.timeout == pytest.approx(TEXT_DELAY / 2)
    house.passes(TEXT_DELAY / 2)
    assert house.texts() == ["two\nthree\n"]
    assert house.timeout is None


def test_first_line_of_a_cell_waits_for_nothing_even_if_the_cell_before_has_just_printed(house: House) -> None:
    house.says("one\n")
    house.passes()
    house.parent = house.parent.replace(b"asked", b"asked next")
    house.says("two\n")
    house.passes()
    house.says("three\n")
    house.passes()
    assert house.texts() == ["one\n", "two\n"]
    house.passes(TEXT_DELAY)
    assert house.texts() == ["three\n"]


def test_part_of_a_line_waits_for_the_rest_but_not_for_long(house: House) -> None:
    house.says("progress: ")
    house.passes()
    assert house.texts() == []
    house.says("50 %")
    house.passes(TEXT_DELAY / 2)
    assert house.timeout == pytest.approx(TEXT_DELAY / 2)
    house.passes(TEXT_DELAY / 2)
    assert house.texts() == ["progress: 50 %"]


def test_line_that_becomes_whole_does_not_wait_any_longer(house: House) -> None:
    house.says("one")
    house.passes(TEXT_DELAY)
    assert house.texts() == []
    house.says("\n")
    house.passes()
    house.passes()
    assert house.texts() == ["one\n"]
    house.says("two\n")
    house.passes(TEXT_DELAY / 2)  # not by a timer of the line before
    house.passes()
    assert house.texts() == []
    house.passes(TEXT_DELAY)
    house.passes()
    assert house.texts() == ["two\n"]


def test_loop_comes_back_for_what_the_socket_did_not_take(house: House) -> None:
    house.sockets.blocked.add("iopub")
    house.publishes()
    house.passes()
    assert house.timeout is not None
    assert house.timeout > 0
    house.sockets.blocked.clear()
    house.passes(house.timeout)
    assert len(house.sockets.sent) == 1
    assert house.timeout is None


def test_worker_waits_while_too_much_waits_for_subscribers(house: House) -> None:
    house.sockets.blocked.add("iopub")
    house.publishes(FULL + 1)
    house.passes()
    assert house.worker.reading is False
    house.sockets.blocked.clear()
    house.passes(0.1)
    assert house.worker.reading is True


def test_flow_goes_on_without_a_worker(house: House) -> None:
    house.worker = None
    house.publishes()
    house.passes()
    assert len(house.sockets.sent) == 1


NOTICE = "A client took no output for 10 s and was given up on; it may miss some.\n"


def stand_still(house: House) -> None:
    """One of two subscribers takes nothing, for almost as long as it may."""
    house.outbox.subscribers = 0
    for _ in range(2):
        house.flow.subscription(b"\x01")
    house.sockets.sent.clear()
    house.sockets.blocked.add("iopub")
    house.sockets.still = {7: 1000}
    house.sockets.others = 1
    house.publishes()
    house.passes()
    house.passes(PATIENCE / 2)
    house.passes(PATIENCE / 2 - 0.1)
    assert house.sockets.still


def test_client_that_takes_nothing_is_given_up_on_and_everybody_is_told(house: House) -> None:
    stand_still(house)
    house.passes(0.1)
    assert not house.sockets.still
    house.passes()
    house.passes(TEXT_DELAY)
    assert house.texts() == [NOTICE]


def test_client_that_takes_a_large_message_slowly_is_waited_for(house: House) -> None:
    stand_still(house)
    for _ in range(5):
        house.sockets.still[7] -= 1
        house.passes(PATIENCE / 2)
    assert house.sockets.still
    assert house.texts() == []


def test_client_is_not_given_up_on_because_we_stood_still(house: House) -> None:
    """It may have taken all that it could have between two looks that were far too late."""
    house.outbox.subscribers = 0
    for _ in range(2):
        house.flow.subscription(b"\x01")
    house.sockets.blocked.add("iopub")
    house.sockets.still = {7: 1000}
    house.sockets.others = 1
    house.publishes()
    house.passes()
    house.passes(100.0)
    house.passes(0.1)
    assert house.sockets.still
    house.passes(PATIENCE / 2)
    assert not house.sockets.still


def test_client_that_was_the_only_one_is_told_when_it_comes_back(house: House) -> None:
    stand_still(house)
    house.sockets.others = 0
    house.passes(0.1)
    house.passes(100.0)
    assert NOTICE not in house.texts()
    for _ in range(2):
        house.flow.subscription(b"\x01")
    house.passes(TEXT_DELAY)
    assert house.texts() == [NOTICE]


def test_subscriber_is_welcomed_by_its_topic(house: House) -> None:
    house.outbox.subscribers = 0
    house.flow.subscription(b"\x01topic")
    assert house.outbox.subscribers == 1
    ((channel, parts),) = house.sockets.sent
    welcome = Received(parts)
    assert (channel, welcome.type, welcome.idents) == ("iopub", "iopub_welcome", [b"topic"])
    assert welcome.content == {"subscription": "topic"}


def test_subscribers_are_not_fewer_than_none(house: House) -> None:
    house.outbox.subscribers = 0
    for _ in range(3):
        house.flow.subscription(b"\x01")
    for left in (2, 1, 0):
        house.flow.subscription(b"\x00")
        assert house.outbox.subscribers == left


def test_who_leaves_and_never_came_is_not_counted(house: House) -> None:
    house.flow.subscription(b"\x01topic")
    for topic in (b"", b"another", b"topi", b"topics"):
        house.flow.subscription(b"\x00" + topic)
    assert house.outbox.subscribers == 2
    for _ in range(3):
        house.flow.subscription(b"\x00topic")
    assert house.outbox.subscribers == 1


def test_subscriber_that_comes_while_the_worker_has_to_wait_is_welcomed(house: House) -> None:
    house.sockets.blocked.add("iopub")
    house.publishes(FULL + 1)
    house.flow.subscription(b"\x01late")
    house.sockets.blocked.clear()
    house.passes()
    assert Received(house.sockets.sent[-1][1]).content == {"subscription": "late"}


def test_flood_of_topics_costs_little_and_is_not_welcomed_where_nobody_reads(house: House) -> None:
    house.sockets.blocked.add("iopub")
    for number in range(20_000):
        house.flow.subscription(b"\x01" + (b"%d-" % number).ljust(60_000, b"x"))
    assert house.outbox.subscribers <= 1001
    assert house.outbox.full
    assert house.outbox._bytes < HELD + 2 * FULL


@pytest.mark.parametrize("frame", [b"", b"\x02topic", b"hello"])
def test_what_is_no_subscription_is_none(house: House, frame: bytes) -> None:
    house.flow.subscription(frame)
    assert (house.outbox.subscribers, house.sockets.sent) == (1, [])


def test_last_words_leave_before_the_end(house: House) -> None:
    house.sockets.blocked.add("iopub")
    house.sockets.takes_again = 3
    house.publishes()
    house.says("last words")
    house.flow.drain()
    assert house.texts() == ["last words"]
    assert len(house.sockets.polled) == 3


def test_end_waits_for_nobody_for_ever(house: House) -> None:
    house.sockets.blocked.add("iopub")
    house.publishes()
    began = house.clock()
    house.flow.drain()
    assert LINGER <= house.clock() - began < LINGER + 0.2


def test_last_words_do_not_wait_for_one_that_stands_still(house: House) -> None:
    stand_still(house)
    house.outbox.wait_anew()
    house.says("last words")
    house.flow.drain()
    assert house.texts() == ["last words"]
    assert house.outbox.subscribers == 1


def test_end_does_not_wait_for_the_time_at_which_everybody_can_have_come_back(house: House) -> None:
    house.outbox = Outbox(opens=house.clock() + 100)
    house.outbox.subscribers = 1
    house.frontends._outbox = house.flow._outbox = house.outbox
    house.publishes()
    house.flow.drain()
    assert len(house.sockets.sent) == 1
    assert house.sockets.polled == []


def test_end_does_not_wait_for_somebody_who_has_not_come(house: House) -> None:
    house.outbox.subscribers = 0
    house.publishes()
    house.passes()
    assert house.sockets.sent == []
    house.flow.drain()
    assert len(house.sockets.sent) == 1
    assert house.sockets.polled == []
