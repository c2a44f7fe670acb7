"""How messages are received: what is small as bytes, buffers as views."""

from __future__ import annotations

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

    def receive(self, *parts: bytes) -> Sequence[object]:
        """What comes of a message, without the client's identity."""
        self._client.send_multipart(parts)
        assert "shell" in self.sockets.poll(10.0)
        received = self.sockets.receive("shell")
        assert received is not None
        return received[1:]

    def close(self) -> None:
        self._client.close(0)
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
