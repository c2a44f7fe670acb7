"""The supervisor's end of the link: descriptors that come along with frames, hostile bytes, a worker that is gone."""

from __future__ import annotations

import array
import os
import resource
import socket
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipymini_supervisor.link import DescriptorLost, Link
from ipymini_worker.wire import Decoder, Frame, Kind, WireError, encode

ROLLBACK = b"".join(encode(Kind.ROLLBACK))
SNAPSHOT = b"".join(encode(Kind.SNAPSHOT, 0, (b"3", b"1234")))


class House:
    """A link, and the worker's end of it as a plain socket."""

    def __init__(self, name: str = "work") -> None:
        ours, self.worker = socket.socketpair()
        self.worker.setblocking(False)
        self.link = Link(ours, name)
        self._ends: list[int] = []

    def gives(self, data: bytes, count: int) -> list[os.stat_result]:
        """The worker writes `data` with `count` descriptors of pipes along; whoever has them can be told by theirs."""
        given = []
        for _ in range(count):
            reading, writing = os.pipe()
            self._ends.append(reading)
            given.append(writing)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", given))
        self.worker.sendmsg([data], [rights] if given else [])
        facts = [os.fstat(fd) for fd in given]
        for fd in given:
            os.close(fd)
        return facts

    def open_pipes(self) -> list[bool]:
        """For each pipe that was given away, whether somebody has its other end."""
        found = []
        for fd in self._ends:
            os.set_blocking(fd, False)
            try:
                found.append(os.read(fd, 1) != b"")
            except BlockingIOError:
                found.append(True)
        return found

    def close(self) -> None:
        self.link.close()
        self.worker.close()
        for fd in self._ends:
            os.close(fd)


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.close()


def kinds(frames: list[Frame]) -> list[Kind]:
    return [frame.kind for frame in frames]


def test_nothing_comes_of_nothing(house: House) -> None:
    assert house.link.receive() == []
    assert not house.link.ended


def test_descriptor_comes_along_with_its_frame_and_is_not_inherited(house: House) -> None:
    (given,) = house.gives(SNAPSHOT, 1)
    assert kinds(house.link.receive()) == [Kind.SNAPSHOT]
    fd = house.link.descriptor()
    assert os.fstat(fd).st_ino == given.st_ino
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_descriptors_keep_the_order_of_their_frames(house: House) -> None:
    given = [house.gives(SNAPSHOT, 1)[0].st_ino for _ in range(3)]
    frames = []
    while found := house.link.receive():
        frames += found
    assert kinds(frames) == [Kind.SNAPSHOT] * 3
    got = [house.link.descriptor() for _ in range(3)]
    assert [os.fstat(fd).st_ino for fd in got] == given
    for fd in got:
        os.close(fd)


def test_descriptor_that_did_not_come_is_a_fault_of_the_worker(house: House) -> None:
    house.gives(SNAPSHOT, 0)
    house.link.receive()
    with pytest.raises(WireError, match="a descriptor was expected"):
        house.link.descriptor()


def test_descriptor_is_given_away_once(house: House) -> None:
    house.gives(SNAPSHOT, 1)
    house.link.receive()
    os.close(house.link.descriptor())
    with pytest.raises(WireError):
        house.link.descriptor()


@pytest.mark.parametrize("count", [1, 4, 5, 100])
def test_surplus_descriptors_are_closed(house: House, count: int) -> None:
    house.gives(ROLLBACK, count)
    assert kinds(house.link.receive()) == [Kind.ROLLBACK]
    assert sum(house.open_pipes()) == min(count, 4)


def test_of_descriptors_that_nobody_asks_for_the_oldest_are_closed(house: House) -> None:
    for _ in range(10):
        house.gives(ROLLBACK, 1)
        house.link.receive()
    assert house.open_pipes() == [False] * 6 + [True] * 4


def test_descriptors_that_nobody_has_asked_for_are_closed_with_the_link(house: House) -> None:
    house.gives(ROLLBACK, 3)
    house.link.receive()
    house.link.close()
    assert house.open_pipes() == [False] * 3


def test_descriptor_that_comes_with_garbage_is_closed_with_the_link(house: House) -> None:
    house.gives(b"this is no frame, whatever it is", 2)
    with pytest.raises(WireError):
        house.link.receive()
    house.link.close()
    assert house.open_pipes() == [False, False]


def test_descriptor_in_the_middle_of_a_frame_is_kept_until_the_frame_is_whole(house: House) -> None:
    house.worker.send(SNAPSHOT[:5])
    assert house.link.receive() == []
    assert house.link.partial
    house.gives(SNAPSHOT[5:], 1)
    assert kinds(house.link.receive()) == [Kind.SNAPSHOT]
    os.close(house.link.descriptor())


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("work", b"\0" * 64),
        ("work", b"".join(encode(Kind.PONG))),  # belongs on the control socket
        ("control", ROLLBACK),
        ("work", b"".join(encode(Kind.STOP))),  # is said by the supervisor
    ],
)
def test_what_is_not_this_protocol_is_an_error(name: str, data: bytes) -> None:
    house = House(name)
    try:
        house.worker.send(data)
        with pytest.raises(WireError):
            house.link.receive()
    finally:
        house.close()


def test_frames_before_garbage_are_heard_and_then_the_error(house: House) -> None:
    house.worker.send(ROLLBACK + bytes(32))
    assert kinds(house.link.receive()) == [Kind.ROLLBACK]
    with pytest.raises(WireError):
        house.link.check()


@given(st.binary(max_size=400), st.integers(0, 6))
def test_whatever_the_worker_sends_is_frames_or_a_wire_error_and_no_descriptor_stays(data: bytes, count: int) -> None:
    house = House()
    try:
        house.gives(ROLLBACK + data, count)
        try:
            while house.link.receive():
                house.link.check()
        except WireError:
            pass
        house.link.close()
        assert not any(house.open_pipes())
    finally:
        house.close()


def test_end_of_the_worker_is_the_end_of_the_link(house: House) -> None:
    house.worker.send(ROLLBACK)
    house.worker.close()
    assert kinds(house.link.receive()) == [Kind.ROLLBACK]
    assert not house.link.ended
    assert house.link.receive() == []
    assert house.link.ended


def test_worker_that_ends_with_bytes_unread_is_an_end_and_no_error(house: House) -> None:
    """The system reports that as a connection that was reset."""
    house.link.send(Kind.STOP)
    house.worker.close()
    assert house.link.receive() == []
    assert house.link.ended


def test_what_the_socket_does_not_take_waits_and_arrives_whole(house: House) -> None:
    content = os.urandom(4 << 20)
    house.link.send(Kind.REQUEST, 5, (b"{}", b"{}", b"{}", content))
    house.link.send(Kind.STOP)
    assert house.link.writing
    decoder = Decoder("supervisor", "work")
    frames: list[Frame] = []
    while len(frames) < 2:
        with decoder.buffer() as buffer:
            count = house.worker.recv_into(buffer)
        frames += decoder.filled(count)
        house.link.flush()
    assert not house.link.writing
    assert kinds(frames) == [Kind.REQUEST, Kind.STOP]
    assert frames[0].parts[3] == content


def test_flags_arrive_with_their_frame(house: House) -> None:
    house.link.send(Kind.RESUME, 0, (b"0", b""), 3)
    decoder = Decoder("supervisor", "work")
    with decoder.buffer() as buffer:
        count = house.worker.recv_into(buffer)
    (frame,) = decoder.filled(count)
    assert (frame.kind, frame.flags) == (Kind.RESUME, 3)


def test_nothing_waits_for_a_worker_that_is_gone(house: House) -> None:
    house.link.send(Kind.REQUEST, 5, (b"{}", b"{}", b"{}", bytes(4 << 20)))
    house.worker.close()
    house.link.flush()
    assert not house.link.writing
    house.link.send(Kind.STOP)
    assert not house.link.writing


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("more", [ROLLBACK, ROLLBACK[:3], b"".join(encode(Kind.GOODBYE)), b"garbage"])
def test_nothing_may_come_after_goodbye(house: House, more: bytes, together: bool) -> None:
    goodbye = b"".join(encode(Kind.GOODBYE))
    house.worker.send(goodbye + more if together else goodbye)
    assert kinds(house.link.receive()) == [Kind.GOODBYE]
    if together:
        with pytest.raises(WireError, match="after GOODBYE"):
            house.link.check()
    else:
        house.link.check()
        house.worker.send(more)
        with pytest.raises(WireError, match="after GOODBYE"):
            house.link.receive()


def test_end_may_come_after_goodbye(house: House) -> None:
    house.worker.send(b"".join(encode(Kind.GOODBYE)))
    house.worker.close()
    assert kinds(house.link.receive()) == [Kind.GOODBYE]
    assert house.link.receive() == []
    house.link.check()
    assert house.link.ended


def test_descriptor_for_which_there_is_no_room_is_nobodys_fault(house: House) -> None:
    house.gives(SNAPSHOT, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        assert kinds(house.link.receive()) == [Kind.SNAPSHOT]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with pytest.raises(DescriptorLost):
        house.link.descriptor()
    with pytest.raises(WireError):
        house.link.descriptor()
    assert house.open_pipes() == [False]


def test_what_waits_to_be_written_is_not_kept_when_it_is_closed(house: House) -> None:
    house.link.send(Kind.REQUEST, 1, [b"{}", b"{}", b"{}", bytes(8 << 20)])
    assert house.link.writing
    house.link.close()
    assert not house.link.writing


def test_what_is_closed_keeps_nothing() -> None:
    """Whoever refers to a dead worker, as what waits to be collected does, has half a megabyte of it otherwise."""
    tracemalloc.start()
    try:
        kept = []
        for _ in range(20):
            house = House()
            house.worker.send(ROLLBACK)
            assert house.link.receive()
            house.worker.close()
            house.link.close()
            kept.append(house.link)
        assert tracemalloc.get_traced_memory()[0] < 200_000
    finally:
        tracemalloc.stop()
