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

    def close(self) -> None:
        self._client.close(0)
        self._heart.close(0)
        self._context.term()
        self.sockets.close()


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


def test_heartbeats_are_not_dropped_because_they_come_fast(house: House) -> None:
    for _ in range(5000):
        house.beat()
