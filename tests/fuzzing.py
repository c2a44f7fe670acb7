"""What the fuzzers run: functions of any bytes that must not raise, whatever the bytes are.

Each turns bytes into input for one of the places where input of others arrives, and looks at what comes out. Plain
functions, so that hypothesis (tests/unit/test_fuzz.py) and a coverage-guided fuzzer (scripts/fuzz) run the same ones.
"""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable

from ipymini_supervisor.connection import parse
from ipymini_supervisor.connectionfile import CHANNELS, ConnectionFileError
from ipymini_supervisor.link import Link
from ipymini_supervisor.session import DELIMITER, MessageError, Session, is_object
from ipymini_worker.wire import HEADER, KINDS, MAGIC, Decoder, Frame, WireError, encode

KEY = b"a key for fuzzers"
_GOOD = b'{"msg_id": "1", "msg_type": "execute_request"}'
_PIECES = (DELIMITER, b"", b"{}", _GOOD, b"null", b"\xff", b"0" * 64)
_ENDS = sorted({(shape.sender, shape.socket) for shape in KINDS.values()})


def session_parts(data: bytes) -> None:
    """Any parts, as whoever can connect sends them."""
    parts: list[bytes] = []
    at = 0
    while at < len(data):
        choice = data[at]
        at += 1
        if choice < len(_PIECES):
            parts.append(_PIECES[choice])
        else:
            parts.append(data[at : at + choice % 64])
            at += choice % 64
    for session in (Session(KEY), Session(b""), Session(KEY, "hmac-sha512", limit=100)):
        try:
            message = session.unpack(parts)
        except MessageError as error:
            _is_sentence(str(error))
        else:
            assert message.header.msg_type is not None
            is_object(message.content)


def session_signed(data: bytes) -> None:
    """Any header and content with a good signature, as somebody who has the key and makes mistakes sends them."""
    header, _, content = data.partition(b"\n")
    parts = [header, b"{}", b"{}", content]
    session = Session(KEY)
    whole = [b"id", DELIMITER, session.sign(parts), *parts]
    try:
        message = session.unpack(whole)
    except MessageError as error:
        _is_sentence(str(error))
        return
    assert json.loads(message.header_bytes)["msg_id"] == message.header.msg_id
    if is_object(message.content):
        assert isinstance(json.loads(bytes(message.content)), dict)
    try:
        session.unpack(whole)
    except MessageError:
        return
    raise AssertionError("a replay was taken")


def session_forged(data: bytes) -> None:
    """A good message with some of its bytes changed: never taken, unless nothing that is signed has changed."""
    session = Session(KEY)
    signed = [_GOOD, b"{}", b"{}", b'{"code": "1 + 1"}']
    parts = [DELIMITER, session.sign(signed), *signed]
    changed = list(parts)
    for which, where, what in zip(data[::3], data[1::3], data[2::3], strict=False):
        index = which % len(changed)
        part = bytearray(changed[index])
        part[where % len(part)] = what
        changed[index] = bytes(part)
    try:
        session.unpack(changed)
    except MessageError:
        assert changed != parts
    else:
        assert changed == parts


def connection_bytes(data: bytes) -> None:
    """Any bytes as a connection file."""
    _parse(data)


def connection_values(data: bytes) -> None:
    """A connection file some of whose values are any JSON, or any text."""
    content: dict[str, object] = {f"{channel}_port": 5001 + number for number, channel in enumerate(CHANNELS)}
    names = [*content, "ip", "key", "transport", "signature_scheme", "curve_publickey", "curve_secretkey"]
    for line in data.split(b"\n"):
        if line:
            text = line[1:].decode("utf-8", "surrogateescape")
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                value = text
            content[names[line[0] % len(names)]] = value
    _parse(json.dumps(content).encode())


def _parse(data: bytes) -> None:
    try:
        connection = parse(data, "/run/kernel.json")
    except ConnectionFileError as error:
        _is_sentence(str(error), whole=True)
        return
    assert all(connection.endpoint(channel) for channel in CHANNELS)
    assert isinstance(connection.local, bool)
    assert not connection.curve_secretkey or connection.curve_secretkey.decode() not in repr(connection)


def wire_bytes(data: bytes) -> None:
    """Any stream, in pieces of any size; the first byte says from whom, the second how large the pieces are."""
    if len(data) > 2:
        _decode(data[2:], data[0], 1 + data[1])


def wire_frames(data: bytes) -> None:
    """A stream of frames that begin well: headers with any kind, flags, number of parts, and length up to a megabyte."""
    if len(data) < 3:
        return
    who, size, rest = data[0], 1 + data[1], data[2:]
    stream = b""
    while len(rest) >= 4:
        kind, flags, nparts, length = rest[:4]
        body = rest[4 : 4 + length]
        stream += HEADER.pack(MAGIC, kind, flags, nparts, length, length if flags & 128 else len(body)) + body
        rest = rest[4 + length :]
    _decode(stream, who, size)


def _decode(stream: bytes, who: int, size: int) -> None:
    sender, name = _ENDS[who % len(_ENDS)]
    decoder = Decoder(sender, name, limit=1 << 20)
    frames: list[Frame] = []
    at = 0
    try:
        while at < len(stream):
            with decoder.buffer() as buffer:
                count = min(size, len(buffer), len(stream) - at)
                buffer[:count] = stream[at : at + count]
            at += count
            frames += decoder.filled(count)
        decoder.check()
    except WireError as error:
        _is_sentence(str(error))
    # What was taken comes out as it went in.
    again = b"".join(b"".join(encode(f.kind, f.request, f.parts, f.flags)) for f in frames)
    assert stream.startswith(again)


def link_bytes(data: bytes) -> None:
    """Any bytes from a worker, through a real socket."""
    ours, theirs = socket.socketpair()
    link = Link(ours, "control" if data[:1] < b"\x40" else "work")
    try:
        theirs.send(data[1:60_000] or b"x")
        theirs.close()
        while not link.ended:
            link.receive()
            link.check()
    except WireError:
        pass
    finally:
        theirs.close()
        link.close()


def _is_sentence(why: str, *, whole: bool = False) -> None:
    """Whether it is short, plain, and not a quotation of who knows what; `whole`: with a full stop."""
    assert 0 < len(why) < 300
    assert why.isascii()
    assert why.isprintable()
    assert why.endswith(".") is whole


#: By the name of what they look at.
TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        session_parts,
        session_signed,
        session_forged,
        connection_bytes,
        connection_values,
        wire_bytes,
        wire_frames,
        link_bytes,
    )
}
#: Inputs to begin with: what is nearly right is what mistakes hide behind.
SEEDS: dict[str, tuple[bytes, ...]] = {
    "session_parts": (bytes([0, 6, 3, 2, 2, 2]), bytes([10, 0, 6, 3, 2, 2, 2, 1])),
    "session_signed": (_GOOD + b'\n{"code": "1"}', b'{"msg_id": "\\ud800", "msg_type": ""}\n[]'),
    "session_forged": (b"", b"\x00\x00<", b"\x01\x05a"),
    "connection_bytes": (
        json.dumps({f"{c}_port": n for n, c in enumerate(CHANNELS, 1)} | {"key": "k", "ip": "::1"}).encode(),
    ),
    "connection_values": (b"\x05::1\n\x06key\n\x08hmac-md5", b"\x07ipc\n\x00true"),
    "wire_bytes": tuple(
        bytes([number, 255]) + b"".join(bytes(piece) for piece in encode(kind, 7, [b"1"] * shape.least))
        for kind, shape in KINDS.items()
        for number, end in enumerate(_ENDS)
        if end == (shape.sender, shape.socket)
    ),
    "wire_frames": (bytes([3, 200, 18, 0, 1, 9, *bytes(7), 1, 120]), bytes([3, 1, 22, 0, 0, 0])),
    "link_bytes": (b"\xff" + HEADER.pack(MAGIC, 22, 0, 0, 0, 0), b"\xff" + HEADER.pack(MAGIC, 18, 0, 1, 1, 9)),
}


def mutated(dice: random.Random, data: bytes) -> bytes:
    """`data` with some bytes changed, put in, taken out or doubled."""
    new = bytearray(data)
    for _ in range(dice.randrange(1, 6)):
        at = dice.randrange(len(new) + 1)
        match dice.randrange(5):
            case 0 if at < len(new):
                new[at] = dice.randrange(256)
            case 1 if at < len(new):
                new[at] ^= 1 << dice.randrange(8)
            case 2:
                new[at:at] = dice.randbytes(dice.randrange(1, 20))
            case 3:
                del new[at : at + dice.randrange(1, 8)]
            case _:
                new[at:at] = new[max(0, at - 10) : at + 10]
    return bytes(new)
