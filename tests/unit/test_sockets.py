"""How messages are received: what is small as bytes, buffers as views."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import zmq

from ipymini_supervisor.connection import Connection
from ipymini_supervisor.session import DELIMITER
from ipymini_supervisor.sockets import Sockets

SIGNED = (b"signature", b"header", b"parent", b"metadata", b"content")


class House:
    """Bound sockets, and a client of `shell`."""

    def __init__(self, folder: Path) -> None:
        self.sockets = Sockets()
        connection = Connection("ipc", str(folder / "k"), 1, 2, 3, 4, 5, b"", "hmac-sha256", "", "/x.json")
        self.sockets.bind(connection)
        self._context = zmq.Context()
        self._client = self._context.socket(zmq.DEALER)
        self._client.connect(connection.endpoint("shell"))
        self._heart = self._context.socket(zmq.REQ)
        self._heart.connect(connection.endpoint("hb"))
        self._iopub = connection.endpoint("iopub")
        self._readers: list[zmq.Socket[bytes]] = []

    def beat(self) -> None:
        """A heartbeat that comes back, to a frontend whose next one is there before anything was found missing."""
        self._heart.send(b"ping")
        begun = time.perf_counter()
        while time.perf_counter() - begun < 0.00005:  # it is on its way, and to look for it would be to find it missing
            pass
        while (parts := self.sockets.receive("hb")) is None:
            self.sockets.poll(10.0)
        self.sockets.send("hb", parts)
        assert self._heart.poll(10_000), "it was dropped"
        assert self._heart.recv() == b"ping"

    def receive(self, *parts: bytes) -> Sequence[object]:
        """What comes of a message, without the client's identity."""
        self._client.send_multipart(parts)
        assert "shell" in self.sockets.poll(10.0)
        received = self.sockets.receive("shell")
        assert received is not None
        return received[1:]

    def subscriber(self, topic: bytes) -> zmq.Socket[bytes]:
        """One that keeps next to nothing of what it does not read."""
        reader = self._context.socket(zmq.SUB)
        reader.rcvhwm, reader.rcvbuf = 1, 1 << 16
        reader.subscribe(topic)
        reader.connect(self._iopub)
        self._readers.append(reader)
        while self.sockets.receive("iopub") is None:
            assert "iopub" in self.sockets.poll(10.0)
        return reader

    def close(self) -> None:
        for reader in self._readers:
            reader.close(0)
        self._client.close(0)
        self._heart.close(0)
        self._context.term()
        self.sockets.close()


@pytest.fixture(autouse=True, scope="module")
def thread_of_the_library() -> None:
    """The one that pyzmq starts with the first part that it does not copy, and keeps."""
    zmq.Frame(bytes(1 << 20), track=True, copy=False)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    tmp_path.chmod(0o700)
    made = House(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("hops", [0, 1, 15])
def test_buffers_are_not_copied_and_everything_else_is_bytes(house: House, hops: int) -> None:
    head = (*[b"hop"] * hops, DELIMITER, *SIGNED)
    received = house.receive(*head, b"one", DELIMITER, b"x" * 5_000_000)
    assert [bytes(part) for part in received] == [*head, b"one", DELIMITER, b"x" * 5_000_000]  # type: ignore[call-overload]
    assert [type(part) for part in received] == [bytes] * len(head) + [memoryview] * 3


def test_what_is_no_message_is_bytes(house: House) -> None:
    assert house.receive(b"a", b"b", *SIGNED, *SIGNED) == [b"a", b"b", *SIGNED, *SIGNED]


def test_who_takes_nothing_of_one_topic_is_in_nobody_s_way_on_another(house: House) -> None:
    """The bug: what has left counted for as long as something that was sent before it had not."""
    house.subscriber(b"a")
    reader = house.subscriber(b"b")
    for _ in range(6):
        assert house.sockets.send("iopub", [b"a", bytes(1 << 20)])
    for number in range(60):
        end = time.monotonic() + 10
        while not house.sockets.send("iopub", [b"b", b"%d" % number, bytes(1 << 20)]):
            assert time.monotonic() < end, number
            time.sleep(0.001)
        assert reader.recv_multipart()[1] == b"%d" % number


@pytest.mark.parametrize("size", [60_000, 70_000, 5_000_000])
@pytest.mark.parametrize("count", [1, 8, 100])
def test_what_is_kept_for_who_takes_nothing_is_bounded_by_bytes(house: House, size: int, count: int) -> None:
    """Also where it has many parts, each of which is small."""
    house.subscriber(b"")
    part = bytes(size)
    sent = 0
    while house.sockets.send("iopub", [b"topic", *[part] * count]):
        sent += 1
        assert (sent - 1) * size * count <= 24 << 20  # it keeps 16 MiB, and what is in the system's own buffers
    assert sent


def test_heartbeats_are_not_dropped_because_they_come_fast(house: House) -> None:
    for _ in range(5000):
        house.beat()
