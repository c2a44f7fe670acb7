"""The worker's end of the link: text that waits for its line's end."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ipymini_worker import link
from ipymini_worker.link import Link, LinkClosed, LinkLost
from ipymini_worker.streams import OutStream
from ipymini_worker.wire import SMALL, STDERR, Decoder, Frame, Kind, encode

pytestmark = pytest.mark.skipif(os.uname().sysname != "Linux", reason="elsewhere no frame is sure to leave in one call")


class House:
    """A link, and the supervisor's end of its socket."""

    def __init__(self) -> None:
        self._end, theirs = socket.socketpair()
        self._end.setblocking(False)
        self.link = Link(theirs.detach(), "work")
        self._decoder = Decoder("worker", "work")

    def hears(self) -> list[Frame]:
        """All that has been sent so far."""
        found: list[Frame] = []
        while True:
            with self._decoder.buffer() as buffer:
                try:
                    count = self._end.recv_into(buffer)
                except BlockingIOError:
                    return [frame._replace(parts=[bytes(part) for part in frame.parts]) for frame in found]
            found += self._decoder.filled(count)

    def close(self) -> None:
        self.link.close()
        self._end.close()


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.close()


def test_text_leaves_with_its_line_end(house: House) -> None:
    house.link.send_text(1, b"a", 0, True)
    assert house.hears() == []
    house.link.send_text(1, b"\n", 0)
    assert house.hears() == [Frame(Kind.STREAM, 1, 0, [b"a\n"])]
    house.link.send_text(1, b"b", 0)
    assert house.hears() == [Frame(Kind.STREAM, 1, 0, [b"b"])]


@pytest.mark.parametrize(
    "then",
    [
        Frame(Kind.REPLY, 1, 0, [b"{}"]),
        Frame(Kind.PUBLISH, 1, 0, [b"display_data", b"{}", bytes(5 * SMALL)]),
        Frame(Kind.STREAM, 2, 0, [b"of another request"]),
        Frame(Kind.STREAM, 1, STDERR, [b"of the other stream"]),
        Frame(Kind.GOODBYE, 0, 0, []),
    ],
    ids=lambda frame: f"{frame.kind.name} {frame.request} {frame.flags}",
)
def test_text_that_waits_leaves_before_anything_else(house: House, then: Frame) -> None:
    house.link.send_text(1, b"a", 0, True)
    if then.kind is Kind.STREAM:
        house.link.send_text(then.request, bytes(then.parts[0]), then.flags)
    else:
        house.link.send(then.kind, then.request, then.parts, then.flags)
    assert house.hears() == [Frame(Kind.STREAM, 1, 0, [b"a"]), then]


def test_text_that_waits_leaves_before_a_descriptor(house: House) -> None:
    house.link.send_text(1, b"a", 0, True)
    house.link.send_descriptor(Kind.SNAPSHOT, [b"1", b"2"], 0, 0)
    assert [frame.kind for frame in house.hears()] == [Kind.STREAM, Kind.SNAPSHOT]


@pytest.mark.parametrize("size", [2, SMALL, 5 * SMALL])
def test_frames_that_come_before_another_leave_with_it(house: House, size: int) -> None:
    before = b"".join(encode(Kind.STARTED, 1, [b"7"]))
    then = Frame(Kind.REPLY, 1, 0, [bytes(size)])
    house.link.send_text(1, b"a", 0, True)
    house.link.send(then.kind, then.request, then.parts, before=before)
    house.link.send_encoded(before)
    started = Frame(Kind.STARTED, 1, 0, [b"7"])
    assert house.hears() == [Frame(Kind.STREAM, 1, 0, [b"a"]), started, then, started]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="other Pythons may know fewer calls, which costs time only")
@pytest.mark.parametrize("first", ["a", ""])
def test_print_of_several_arguments_leaves_in_as_many_pieces(
    house: House, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Each argument leaves with what follows it: no code of the user's runs in between, as it may before the next."""
    stream, sends = OutStream(house.link, 1), 0
    real = house.link._socket

    class Socket:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def send(self, data: bytes) -> int:
            nonlocal sends
            sends += 1
            return real.send(data)

    house.link._socket = Socket()  # type: ignore[assignment]
    seen = []

    class Shown:
        def __str__(self) -> str:
            seen.append(house.hears())
            return "b"

    source = f"for i in range(5):\n    start(i)\n    print({first!r}, shown, 3)"
    counts: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        exec(compile(source, "<cell>", "exec"), {"start": lambda _: counts.append(sends), "shown": Shown()})
    assert [after - before for before, after in zip(counts, [*counts[1:], sends], strict=True)][2:] == [3, 3, 3]
    assert [bytes(frame.parts[0]) for frame in seen[-1]] == [f"b 3\n{first} ".encode()]


def test_text_that_waits_leaves_when_it_is_asked_for(house: House) -> None:
    stream = OutStream(house.link, 1)
    stream.flush()
    house.link.send_text(1, b"a", 0, True)
    stream.flush()
    assert house.hears() == [Frame(Kind.STREAM, 1, 0, [b"a"])]
    stream.flush()
    house.link.send_text(1, b"\n", 0)
    assert house.hears() == [Frame(Kind.STREAM, 1, 0, [b"\n"])]


def test_text_that_waits_is_left_to_a_thread_that_writes(house: House) -> None:
    house.link.send_text(1, b"a", 0, True)
    writes, ends = threading.Event(), threading.Event()

    def write() -> None:
        with house.link._lock:
            writes.set()
            ends.wait()

    thread = threading.Thread(target=write)
    thread.start()
    writes.wait()
    house.link.flush_text(wait=False)
    ends.set()
    thread.join()
    assert house.hears() == []
    house.link.flush_text(wait=False)
    assert house.hears() == [Frame(Kind.STREAM, 1, 0, [b"a"])]


def test_flush_of_a_link_that_is_gone_is_no_error(house: House) -> None:
    house.link.send_text(1, b"a", 0, True)
    house.link.close()
    OutStream(house.link, 1).flush()


@pytest.mark.parametrize("size", [SMALL - 64, SMALL - 63, 5 * SMALL])
def test_text_that_is_too_large_waits_for_nothing(house: House, size: int) -> None:
    house.link.send_text(1, b"a", 0, True)
    house.link.send_text(1, b"x" * size, 0, True)
    house.link.send_text(1, b"\n", 0)
    heard = house.hears()
    assert b"".join(bytes(frame.parts[0]) for frame in heard) == b"a" + b"x" * size + b"\n"


@pytest.mark.parametrize(
    ("begins", "then", "said"),
    [
        ((1, b"x", 0), (1, b"\n", 0), b"xtick\n\n"),
        ((1, b"x", 0), (2, b"\n", 0), b"xtick\n\n"),
        ((1, b"x", 0), (1, b"y" * 5 * SMALL, 0), b"xtick\n" + b"y" * 5 * SMALL),
    ],
    ids=["line's end", "another request", "large"],
)
def test_what_a_handler_prints_in_the_midst_of_a_print_doubles_nothing_and_loses_nothing(
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    begins: tuple[int, bytes, int],
    then: tuple[int, bytes, int],
    said: bytes,
) -> None:
    """A signal's handler, or a finalizer, runs where a frame is made."""
    encode = link.encode_text

    def handler(*args: Any) -> bytes:
        monkeypatch.setattr(link, "encode_text", encode)
        house.link.send_text(1, b"tick", 0, True)
        house.link.send_text(1, b"\n", 0)
        return encode(*args)

    monkeypatch.setattr(link, "encode_text", handler)
    house.link.send_text(*begins, True)
    house.link.send_text(*then)
    assert b"".join(bytes(frame.parts[0]) for frame in house.hears()) == said


def test_what_a_handler_prints_in_the_midst_of_a_large_frame_comes_after_it(
    house: House,
) -> None:
    """The bug: what had left of the large frame by then was sent a second time."""
    text = bytes(range(256)) * 128 * 5

    class Socket:
        """Sends a part, and then a signal comes."""

        def send(self, data: bytes, flags: int = 0) -> int:
            count = real.send(data[: len(data) // 2], flags)
            house.link._socket = real
            house.link.send_text(1, b"tick\n", 0)
            return count

    real = house.link._socket
    house.link._socket = Socket()  # type: ignore[assignment]
    house.link.send_text(1, text, 0)
    assert b"".join(bytes(frame.parts[0]) for frame in house.hears()) == text + b"tick\n"


@pytest.mark.parametrize("error", [TimeoutError("too long"), ConnectionResetError(), OSError()], ids=repr)
def test_error_of_a_handler_s_is_not_taken_for_one_of_the_link(
    house: House, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """The bug: the timeout was swallowed, and the text went to the descriptor."""

    def handler(*args: Any) -> bytes:
        raise error

    stream = OutStream(house.link, 1)
    with monkeypatch.context() as patch:
        patch.setattr(link, "encode_text", handler)
        with pytest.raises(type(error)):
            stream.write("a\n")
        house.link.send_text(0, b"b", 0, True)
        for call in (stream.flush, lambda: house.link.send(Kind.GOODBYE)):
            with pytest.raises(type(error)):
                call()
    house.link.send(Kind.GOODBYE)
    assert house.hears() == [Frame(Kind.STREAM, 0, 0, [b"b"]), Frame(Kind.GOODBYE, 0, 0, [])]


def test_end_of_the_supervisor_and_of_our_own_end_are_told_apart(house: House) -> None:
    house._end.close()
    with pytest.raises(LinkClosed) as closed:
        house.link.send_text(1, b"a\n", 0)
    assert closed.type is LinkClosed
    house.link.close()
    with pytest.raises(LinkLost):
        house.link.send_text(1, b"a\n", 0)


def test_copy_of_the_process_does_not_say_what_waited_in_the_original(house: House) -> None:
    house.link.send_text(1, b"a", 0, True)
    house.link.renew(os.dup(house.link.fileno()))
    house.link.send(Kind.GOODBYE)
    assert house.hears() == [Frame(Kind.GOODBYE, 0, 0, [])]
