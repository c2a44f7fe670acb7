"""The codec of the link: whatever is encoded comes out again, however it is cut; whatever else comes is a WireError."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipymini_worker.wire import (
    HEADER,
    KINDS,
    LIMIT,
    MAGIC,
    MOST_PARTS,
    PARENT,
    SMALL,
    STDERR,
    Decoder,
    Frame,
    Kind,
    WireError,
    encode,
    encode_text,
)

LENGTH = struct.Struct("!Q")
ENDS = sorted({(shape.sender, shape.socket) for shape in KINDS.values()})


def kinds_of(sender: str, socket: str) -> list[Kind]:
    return [kind for kind, shape in KINDS.items() if (shape.sender, shape.socket) == (sender, socket)]


@st.composite
def frames(draw: st.DrawFn, sender: str, socket: str) -> Frame:
    kind = draw(st.sampled_from(kinds_of(sender, socket)))
    least, most = KINDS[kind].least, KINDS[kind].most
    count = draw(st.integers(least, least + 4 if most is None else most))
    part = st.one_of(
        st.binary(max_size=40),
        st.builds(bytes, st.sampled_from([SMALL - 1, SMALL, SMALL + 1, 5 * SMALL])),
    )
    parts = [draw(part) for _ in range(count)]
    return Frame(kind, draw(st.just(7) | st.integers(0, 2**64 - 1)), draw(st.just(0) | st.integers(0, 255)), parts)


def stream(sent: Iterable[Frame]) -> bytes:
    return b"".join(b"".join(encode(f.kind, f.request, f.parts, f.flags)) for f in sent)


def feed(decoder: Decoder, data: bytes, sizes: Iterable[int] = ()) -> Iterator[Frame]:
    """Gives `data` to the decoder in pieces of these sizes, and then in pieces as large as it takes."""
    at = 0
    for size in chain(sizes, repeat(len(data))):
        if at == len(data):
            return
        with decoder.buffer() as buffer:
            assert len(buffer) > 0
            count = min(size, len(buffer), len(data) - at)
            buffer[:count] = data[at : at + count]
        at += count
        yield from decoder.filled(count)
        decoder.check()


def plain(frame: Frame) -> Frame:
    return frame._replace(parts=[bytes(part) for part in frame.parts])


def joined(heard: Iterable[Frame]) -> list[Frame]:
    """Text that follows text of the same request and stream is one text, however it comes."""
    frames: list[Frame] = []
    for frame in map(plain, heard):
        last = frames[-1] if frames else None
        single = frame.kind is Kind.STREAM and len(frame.parts) == 1 and not frame.flags & PARENT
        if single and last is not None and len(last.parts) == 1 and last[:3] == frame[:3]:
            frames[-1] = frame._replace(parts=[bytes(last.parts[0]) + bytes(frame.parts[0])])
        else:
            frames.append(frame)
    return frames


@pytest.mark.parametrize(("sender", "socket"), ENDS)
@given(data=st.data())
def test_any_frames_come_out_of_any_cut_of_the_stream(sender: str, socket: str, data: st.DataObject) -> None:
    sent = data.draw(st.lists(frames(sender, socket), max_size=6))
    sizes = data.draw(st.lists(st.integers(1, 70_000), max_size=30))
    decoder = Decoder(sender, socket)
    assert joined(feed(decoder, stream(sent), sizes)) == joined(sent)
    assert not decoder.partial


def test_frames_come_out_of_a_stream_of_single_bytes() -> None:
    sent = [
        Frame(Kind.GOODBYE, 7, 0, []),
        Frame(Kind.STREAM, 7, 1, ["ünï".encode()]),
        Frame(Kind.PUBLISH, 7, 0, [b"display_data", b"{}", b"", b"", bytes(100)]),
    ]
    data = stream(sent)
    assert [plain(f) for f in feed(Decoder("worker", "work"), data, repeat(1, len(data)))] == sent


def test_many_small_frames_wrap_round_the_receive_buffer() -> None:
    sent = [Frame(Kind.STREAM, number, 0, [bytes([number % 256]) * (number * 37 % 9000)]) for number in range(300)]
    assert [plain(f) for f in feed(Decoder("worker", "work"), stream(sent), repeat(3001, 100))] == sent


@pytest.mark.parametrize("size", [64 * 1024 - 8, 64 * 1024 - 7, 256 * 1024, 20_000_000])
def test_large_frame_between_small_ones(size: int) -> None:
    large = bytes(range(256)) * (size // 256) + bytes(size % 256)
    sent = [
        Frame(Kind.STREAM, 1, 0, [b"before"]),
        Frame(Kind.PUBLISH, 1, 8, [b"{}", b"t", b"{}", b"{}", large, b"", b"x"]),
        Frame(Kind.STREAM, 1, 0, [b"after"]),
    ]
    assert [plain(f) for f in feed(Decoder("worker", "work"), stream(sent), repeat(65_537, 10))] == sent


def test_parts_of_a_large_frame_are_views_and_not_copies() -> None:
    (frame,) = feed(Decoder("worker", "work"), stream([Frame(Kind.REPLY, 1, 0, [b"{}", bytes(1 << 20)])]))
    assert isinstance(frame.parts[0], bytes)
    assert isinstance(frame.parts[1], memoryview)


def test_frame_that_was_handed_out_is_not_changed_by_what_comes_later() -> None:
    decoder = Decoder("worker", "work")
    (first,) = feed(decoder, stream([Frame(Kind.STREAM, 1, 0, [b"a" * (SMALL + 1)])]))
    list(feed(decoder, stream([Frame(Kind.STREAM, 1, 0, [b"b" * (SMALL + 1)])])))
    assert bytes(first.parts[0]) == b"a" * (SMALL + 1)


def test_parts_of_any_buffer_type_are_encoded_as_their_bytes() -> None:
    parts = [b"ab", bytearray(b"cd"), memoryview(b"efgh").cast("H"), memoryview(bytes(6)).cast("B", (2, 3))]
    data = b"".join(encode(Kind.REPLY, 1, parts))
    (frame,) = feed(Decoder("worker", "work"), data)
    assert [bytes(part) for part in frame.parts] == [b"ab", b"cd", b"efgh", bytes(6)]


def test_small_frame_is_one_piece_so_that_one_system_call_takes_it() -> None:
    assert len(encode(Kind.STREAM, 1, [b"x" * 1000])) == 1


def test_large_part_is_not_copied_by_encode() -> None:
    large = bytes(SMALL + 1)
    assert any(piece is large for piece in encode(Kind.STREAM, 1, [large]))


def test_partial_tells_whether_a_frame_has_begun() -> None:
    decoder = Decoder("worker", "work")
    data = stream([Frame(Kind.STREAM, 1, 0, [bytes(500_000)])])
    seen = []
    for cut in (1, HEADER.size, len(data) - 1):
        decoder = Decoder("worker", "work")
        list(feed(decoder, data[:cut]))
        seen.append(decoder.partial)
    list(feed(decoder, data[-1:]))
    assert (seen, decoder.partial) == ([True, True, True], False)


def head(kind: int, nparts: int, size: int, magic: int = MAGIC) -> bytes:
    return HEADER.pack(magic, kind, 0, nparts, 1, size)


WRONG: dict[str, tuple[bytes, str]] = {
    "magic": (head(Kind.GOODBYE, 0, 0, magic=0x1234), "no frame begins with"),
    "kind": (head(99, 0, 0), "unknown kind"),
    "sender": (head(Kind.STOP, 0, 0), "STOP does not come from the worker"),
    "socket": (head(Kind.INPUT_REPLY, 1, 8), "INPUT_REPLY does not come from the worker"),
    "too few parts": (head(Kind.PUBLISH, 2, 16), "PUBLISH has 2 parts"),
    "too many parts": (head(Kind.GOODBYE, 1, 8), "GOODBYE has 1 parts"),
    "over the limit": (head(Kind.REPLY, 1, LIMIT + 1), "over the limit"),
    "far over the limit": (head(Kind.REPLY, 1, 2**64 - 1), "over the limit"),
    "more parts than bytes": (head(Kind.REPLY, 1000, 7999), "cannot have 1000 parts"),
    "most parts there can be": (head(Kind.REPLY, 2**32 - 1, 8), "has 4294967295 parts"),
    "one part too many": (head(Kind.REPLY, MOST_PARTS + 1, 8 * MOST_PARTS + 8), "has 65537 parts"),
    "part beyond the frame": (head(Kind.STREAM, 1, 9) + LENGTH.pack(2) + b"x", "longer than the frame"),
    "part of endless length": (head(Kind.STREAM, 1, 9) + LENGTH.pack(2**64 - 1) + b"x", "longer than the frame"),
    "bytes of no part": (head(Kind.STREAM, 1, 10) + LENGTH.pack(1) + b"xy", "belong to no part"),
    "bytes where there is no part": (head(Kind.GOODBYE, 0, 3) + b"abc", "belong to no part"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("cut", [lambda data: [], lambda data: repeat(1, len(data))], ids=["whole", "bytewise"])
def test_frame_that_is_wrong_raises_and_says_why(name: str, cut: Callable[[bytes], Iterable[int]]) -> None:
    data, why = WRONG[name]
    good = stream([Frame(Kind.GOODBYE, 1, 0, [])])
    with pytest.raises(WireError, match=why):
        list(feed(Decoder("worker", "work"), good + data, cut(good + data)))


def test_what_no_reader_accepts_is_not_sent_in_the_first_place() -> None:
    with pytest.raises(ValueError, match="too large"):
        encode(Kind.PUBLISH, 1, [b""] * (MOST_PARTS + 1))
    with pytest.raises(ValueError, match="too large"):
        encode(Kind.PUBLISH, 1, [memoryview(bytes(1 << 20))] * 4097)


def test_limit_of_the_reader_counts() -> None:
    data = stream([Frame(Kind.STREAM, 1, 0, [bytes(992)])])
    assert len(list(feed(Decoder("worker", "work", limit=1000), data))) == 1
    with pytest.raises(WireError, match="over the limit of 999"):
        list(feed(Decoder("worker", "work", limit=999), data))


@pytest.mark.parametrize("size", [256 << 20, LIMIT + 1], ids=["within the limit", "over the limit"])
def test_length_that_is_only_claimed_takes_no_memory(size: int) -> None:
    decoder = Decoder("worker", "work")
    tracemalloc.start()
    try:
        try:
            list(feed(decoder, head(Kind.REPLY, 1, size)))
        except WireError:
            assert size > LIMIT
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


@given(st.binary(max_size=300), st.lists(st.integers(1, 100), max_size=20), st.sampled_from(ENDS))
def test_garbage_is_a_wire_error_and_nothing_else(data: bytes, sizes: list[int], end: tuple[str, str]) -> None:
    with contextlib.suppress(WireError):
        list(feed(Decoder(*end), data, sizes))


@given(st.data())
def test_valid_stream_with_bytes_changed_is_frames_or_a_wire_error(data: st.DataObject) -> None:
    good = bytearray(stream(data.draw(st.lists(frames("worker", "work"), min_size=1, max_size=3))))
    for _ in range(data.draw(st.integers(1, 5))):
        good[data.draw(st.integers(0, min(len(good), 200) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(WireError):  # with a limit that keeps a changed length from making the test slow
        list(feed(Decoder("worker", "work", limit=1 << 20), bytes(good)))


def test_every_kind_has_a_row() -> None:
    assert set(KINDS) == set(Kind)


def test_text_of_one_request_and_stream_comes_out_as_one() -> None:
    sent = [Frame(Kind.STREAM, 1, 0, [b"one\n"]), Frame(Kind.STREAM, 1, 0, [b"two\n"])]
    (frame,) = feed(Decoder("worker", "work"), stream(sent))
    assert frame == Frame(Kind.STREAM, 1, 0, [b"one\ntwo\n"])


@pytest.mark.parametrize(
    "second",
    [
        Frame(Kind.STREAM, 2, 0, [b"another request"]),
        Frame(Kind.STREAM, 1, STDERR, [b"another stream"]),
        Frame(Kind.STREAM, 1, PARENT, [b"{}", b"another parent"]),
        Frame(Kind.STREAM, 1, PARENT, [b"a parent that has lost its text"]),
        Frame(Kind.PUBLISH, 1, 0, [b"no text", b"{}", b"{}"]),
    ],
    ids=lambda frame: str(frame.parts[0]),
)
def test_text_is_joined_with_nothing_else(second: Frame) -> None:
    first = Frame(Kind.STREAM, 1, 0, [b"text"])
    assert [plain(frame) for frame in feed(Decoder("worker", "work"), stream([first, second, first]))] == [
        first,
        second,
        first,
    ]


@given(st.integers(0, 2**64 - 1), st.binary(max_size=40), st.sampled_from([0, STDERR]))
def test_short_way_to_encode_text_is_the_long_way(request: int, text: bytes, flags: int) -> None:
    assert [encode_text(request, text, flags)] == encode(Kind.STREAM, request, [text], flags)
