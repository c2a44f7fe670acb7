"""Stand-ins for what the pure parts of the supervisor are given: real classes with the same methods."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ipymini_supervisor.session import DELIMITER, Message, Part, Session

KEY = b"a key for tests"


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self.time += seconds


class Sockets:
    """Records what is sent, by channel; a channel in `blocked` takes nothing."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, list[bytes]]] = []
        self.blocked: set[str] = set()

    def send(self, channel: str, parts: Sequence[Part]) -> bool:
        """As `ipymini_supervisor.sockets.Sockets.send`."""
        if channel in self.blocked:
            return False
        self.sent.append((channel, [bytes(part) for part in parts]))
        return True


class Received:
    """A message as a client reads it."""

    def __init__(self, parts: Sequence[Part]) -> None:
        raw = [bytes(part) for part in parts]
        at = raw.index(DELIMITER)
        self.idents = raw[:at]
        self.signature = raw[at + 1]
        self.header, self.parent, self.metadata, self.content = (json.loads(part) for part in raw[at + 2 : at + 6])
        self.buffers = raw[at + 6 :]

    @property
    def type(self) -> str:
        """The Jupyter message type."""
        return str(self.header["msg_type"])


def message(
    msg_type: str,
    content: dict[str, Any] | None = None,
    msg_id: str = "asked",
    idents: Sequence[bytes] = (b"client",),
    buffers: Sequence[bytes] = (),
    subshell: str | None = None,
    session: str = "s",
) -> Message:
    """A verified message, as the supervisor gets it from a client."""
    client = Session(KEY)
    fields = {"msg_id": msg_id, "msg_type": msg_type, "session": session, "username": "u", "subshell_id": subshell}
    header = json.dumps(fields).encode()
    signed = [header, b"{}", b"{}", json.dumps({} if content is None else content).encode()]
    return Session(KEY).unpack([*idents, DELIMITER, client.sign(signed), *signed, *buffers])
