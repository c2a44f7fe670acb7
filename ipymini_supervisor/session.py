"""Jupyter messages on the wire: signed on the way out, verified on the way in.

Protocol: "The Wire Protocol". A message is `identities, <IDS|MSG>, signature, header, parent header, metadata,
content, buffers…`. Content, metadata and parent header stay bytes; only the header is decoded.

Rules: signatures are compared in constant time; a signature that was seen before is a replay; what is wrong is
`MessageError`, with a sentence that quotes nothing of the message. Size and number of parts are looked at before
anything is computed. Header and identities are kept for as long as a request may publish, so they have bounds of
their own.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from ipymini_supervisor.signing import Signer, equal

DELIMITER = b"<IDS|MSG>"
PROTOCOL_VERSION = "5.5"
#: Most parts that a message may have; a frame of the link takes more.
MOST_PARTS = 16384
#: Most bytes of a message, where nobody asks for another limit.
LARGEST = 1 << 30
_REMEMBERED = 65536  # signatures kept against replays
_MOST_IDENTITIES = 16  # one for each ROUTER on the way
_LARGEST_HEADER = 1 << 16  # bytes of a header, and of all identities together

Part = bytes | bytearray | memoryview


class MessageError(Exception):
    """A message that is not to be acted upon, and why."""


class Header(msgspec.Struct):
    """The fields of a message header that the supervisor looks at."""

    msg_id: str
    msg_type: str
    session: str = ""
    username: str = ""
    subshell_id: str | None = None


class _NewHeader(msgspec.Struct):
    """A header of ours; what it says of itself in bytes is the protocol's (Message header)."""

    msg_id: str
    msg_type: str
    username: str
    session: str
    date: datetime
    version: str


class Message(msgspec.Struct, frozen=True):
    """A verified message; everything but `header` is as it came."""

    idents: tuple[bytes, ...]
    header: Header
    header_bytes: bytes
    parent: bytes
    metadata: bytes
    content: Part
    buffers: tuple[Part, ...] = ()


_header_decoder = msgspec.json.Decoder(Header)
_encode = msgspec.json.Encoder().encode


class Session:
    """Signs, verifies and numbers messages.

    :param key: the connection file's key; empty for unsigned messages.
    :param scheme: the connection file's signature_scheme, "hmac-" and the name of a hash.
    :param limit: most bytes of a message that is accepted, all parts together.
    """

    def __init__(self, key: bytes, scheme: str = "hmac-sha256", limit: int = LARGEST) -> None:
        name = os.urandom(16).hex()
        self.id = f"{name[:8]}-{name[8:]}"
        self._limit = limit
        self._signer = Signer(key, scheme.removeprefix("hmac-")) if key else None
        self._prefix = f"{self.id}_{os.getpid()}_"
        self._count = 0
        self._seen: set[bytes] = set()
        self._order: deque[bytes] = deque()

    def sign(self, parts: Sequence[Part]) -> bytes:
        """The signature over header, parent header, metadata and content, as hexadecimal digits."""
        return b"" if self._signer is None else self._signer.sign(parts)

    def header(self, msg_type: str) -> bytes:
        """A new header (protocol: Message header)."""
        msg_id = self._prefix + str(self._count)
        return _encode(_NewHeader(msg_id, msg_type, "kernel", self.id, datetime.now(UTC), PROTOCOL_VERSION))

    def pack(
        self,
        msg_type: str,
        content: Part | dict[str, Any],
        parent: bytes = b"{}",
        metadata: Part | dict[str, Any] = b"{}",
        buffers: Sequence[Part] = (),
        idents: Sequence[bytes] = (),
    ) -> list[Part]:
        """The parts of a signed message, ready to be sent."""
        header = self.header(msg_type)
        self._count += 1
        if isinstance(content, dict):
            content = _encode(content)
        if isinstance(metadata, dict):
            metadata = _encode(metadata)
        signed = (header, parent, metadata, content)
        return [*idents, DELIMITER, self.sign(signed), *signed, *buffers]

    def unpack(self, parts: Sequence[bytes]) -> Message:
        """The message in `parts`.

        :raises MessageError: it is malformed, too large, not signed with our key, or was seen before.
        """
        if len(parts) > MOST_PARTS:
            raise MessageError("with too many parts")
        if sum(map(len, parts)) > self._limit:
            raise MessageError("that is too large")
        try:
            at = parts.index(DELIMITER)
        except ValueError:
            raise MessageError("without delimiter") from None
        if len(parts) < at + 6:
            raise MessageError("with too few parts")
        signature, signed, buffers = parts[at + 1], parts[at + 2 : at + 6], parts[at + 6 :]
        if at > _MOST_IDENTITIES or sum(map(len, parts[:at])) > _LARGEST_HEADER:
            raise MessageError("with too many identities")
        if len(signed[0]) > _LARGEST_HEADER:
            raise MessageError("whose header is too long")
        if self._signer is not None:
            # What cannot be a signature costs nobody a look at a gigabyte.
            if len(signature) != self._signer.digits or not equal(signature, self._signer.sign(signed)):
                raise MessageError("not signed with this kernel's key")
            self._refuse_replay(bytes(signature))
        try:
            header = _header_decoder.decode(str(signed[0], "utf-8"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MessageError("whose header cannot be read") from None
        return Message(tuple(parts[:at]), header, signed[0], signed[1], signed[2], signed[3], tuple(buffers))

    def _refuse_replay(self, signature: bytes) -> None:
        if signature in self._seen:
            raise MessageError("that was received before")
        self._seen.add(signature)
        self._order.append(signature)
        if len(self._order) > _REMEMBERED:
            self._seen.discard(self._order.popleft())


def is_object(content: Part) -> bool:
    """Whether it is a JSON object in UTF-8, as the content of every message has to be (protocol: Content)."""
    try:
        msgspec.json.decode(content, type=dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def now() -> str:
    """The time as the protocol writes it: ISO 8601, UTC, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
