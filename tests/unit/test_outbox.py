"""What waits for iopub: in order, complete, bounded."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipymini_supervisor.outbox import FULL, HELD, RETRY, WELCOME, Outbox, Part


class Socket:
    """Takes `room` messages, and then nothing until there is room again."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.taken: list[bytes] = []

    def send(self, parts: Sequence[Part]) -> bool:
        if self.room == 0:
            return False
        self.room -= 1
        self.taken.append(b"".join(bytes(part) for part in parts))
        return True


@pytest.fixture
def outbox() -> Outbox:
    made = Outbox()
    made.subscribers = 1
    return made


def test_everything_goes_out_in_order(outbox: Outbox) -> None:
    socket = Socket()
    for number in range(10):
        outbox.add([b"%d" % number, b""], 0.0)
    assert outbox.pump(socket.send, 0.0) is None
    assert socket.taken == [b"%d" % number for number in range(10)]
    assert outbox.empty


def test_nothing_is_lost_when_the_socket_is_full(outbox: Outbox) -> None:
    socket = Socket(room=2)
    for number in range(5):
        outbox.add([b"%d" % number], 0.0)
    assert outbox.pump(socket.send, 0.0) == RETRY
    assert not outbox.empty
    socket.room = 10
    assert outbox.pump(socket.send, 0.1) is None
    assert socket.taken == [b"0", b"1", b"2", b"3", b"4"]


def test_what_has_gone_out_is_counted(outbox: Outbox) -> None:
    socket = Socket(room=2)
    for number in range(3):
        outbox.add([b"%d" % number, bytes(10 * number)], 0.0)
    assert outbox.sent == 0
    outbox.pump(socket.send, 0.0)
    assert outbox.sent == 1 + 11
    outbox.sent, socket.room = 0, 10
    outbox.pump(socket.send, 0.1)
    assert outbox.sent == 21


def test_worker_has_to_wait_while_much_waits(outbox: Outbox) -> None:
    socket = Socket(room=0)
    outbox.add([bytes(FULL)], 0.0)
    assert not outbox.full
    outbox.add([b"x"], 0.0)
    assert outbox.full
    outbox.pump(socket.send, 0.0)
    assert outbox.full
    socket.room = 1
    outbox.pump(socket.send, 0.0)
    assert not outbox.full


def test_without_a_subscriber_nothing_is_sent_and_nobody_waits() -> None:
    outbox, socket = Outbox(), Socket()
    outbox.add([bytes(2 * FULL)], 0.0)
    assert not outbox.full
    assert outbox.pump(socket.send, 0.5) == pytest.approx(WELCOME - 0.5)
    assert socket.taken == []


def test_first_subscriber_gets_what_is_younger_than_the_welcome_time() -> None:
    outbox, nobody, socket = Outbox(), Socket(), Socket()
    outbox.add([b"old"], 0.0)
    outbox.add([b"young"], 1.0)
    assert outbox.pump(nobody.send, WELCOME) == pytest.approx(1.0)
    outbox.subscribers = 1
    outbox.pump(socket.send, WELCOME)
    assert socket.taken == [b"young"]


def test_claim_that_everybody_has_left_costs_nobody_a_message() -> None:
    """Whoever can connect can say that he leaves who never came."""
    outbox, socket = Outbox(), Socket()
    for number in range(3):
        outbox.add([b"%d" % number], 0.5 * number)
    outbox.pump(socket.send, 10.0)
    assert socket.taken == [b"0", b"1", b"2"]


def test_old_messages_do_not_keep_the_loop_awake_without_a_subscriber() -> None:
    outbox = Outbox()
    outbox.add([b"x"], 0.0)
    assert outbox.pump(Socket().send, WELCOME) is None
    assert outbox.empty


def test_what_waits_for_a_first_subscriber_is_bounded_and_the_oldest_gives_way() -> None:
    outbox, socket = Outbox(), Socket()
    for number in range(20):
        outbox.add([bytes([number]) * (HELD // 8)], 0.0)
    outbox.subscribers = 1
    outbox.pump(socket.send, 0.0)
    assert [message[0] for message in socket.taken] == list(range(12, 20))


def test_how_long_nothing_was_taken(outbox: Outbox) -> None:
    socket = Socket(room=0)
    assert outbox.blocked(1e9) == 0
    outbox.add([b"x"], 0.0)
    outbox.pump(socket.send, 5.0)
    outbox.pump(socket.send, 9.0)
    assert outbox.blocked(11.0) == 6.0
    outbox.wait_anew()
    assert outbox.blocked(11.0) == 0
    outbox.pump(socket.send, 12.0)
    assert outbox.blocked(13.0) == 1.0


def test_every_message_that_is_taken_begins_the_time_anew(outbox: Outbox) -> None:
    socket = Socket(room=0)
    for _ in range(11):
        outbox.add([b"x"], 0.0)
    for second in range(0, 80, 8):
        socket.room = 1
        outbox.pump(socket.send, float(second))
        assert outbox.blocked(second + 7.0) == 7.0


def test_nobody_is_waited_for_when_all_are_gone(outbox: Outbox) -> None:
    outbox.add([b"x"], 0.0)
    outbox.pump(Socket(room=0).send, 0.0)
    outbox.subscribers = 0
    outbox.pump(Socket(room=0).send, 1.0)
    assert outbox.blocked(2.0) == 0


def test_last_subscriber_that_comes_back_at_once_misses_nothing_that_waited(outbox: Outbox) -> None:
    """As one that was given up on after a long time, and goes on at that moment."""
    socket = Socket(room=0)
    outbox.add([b"x"], 0.0)
    outbox.pump(socket.send, 100.0)
    outbox.left(100.0)
    assert outbox.subscribers == 0
    assert outbox.pump(socket.send, 100.5) == WELCOME - 0.5
    outbox.subscribers = 1
    socket.room = 9
    outbox.pump(socket.send, 101.0)
    assert socket.taken == [b"x"]
    outbox.add([b"y"], 101.0)
    outbox.left(102.0)
    outbox.left(102.0)
    assert outbox.subscribers == 0
    assert outbox.pump(socket.send, 102.0 + WELCOME) is None
    assert outbox.empty


@given(st.lists(st.one_of(st.integers(1, 4), st.binary(min_size=1, max_size=5)), max_size=60))
def test_whatever_the_socket_takes_and_when_all_arrives_in_order(steps: list[int | bytes]) -> None:
    outbox, socket = Outbox(), Socket(room=0)
    outbox.subscribers = 1
    added: list[bytes] = []
    for step in steps:
        if isinstance(step, int):
            socket.room = step
        else:
            outbox.add([step], 0.0)
            added.append(step)
        outbox.pump(socket.send, 0.0)
        assert socket.taken == added[: len(socket.taken)]
        assert outbox.empty is (len(socket.taken) == len(added))
    socket.room = 1000
    assert outbox.pump(socket.send, 0.0) is None
    assert socket.taken == added


def test_nothing_goes_out_before_everybody_can_have_come_back() -> None:
    sent: list[object] = []
    outbox = Outbox(opens=10.0)
    outbox.subscribers = 1
    outbox.add([b"first"], 9.0)
    assert outbox.pump(lambda parts: not sent.append(parts), 9.75) == 0.25
    assert not sent
    assert outbox.pump(lambda parts: not sent.append(parts), 10.0) is None
    assert sent == [[b"first"]]
