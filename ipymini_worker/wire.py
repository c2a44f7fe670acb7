"""Frames of the link between supervisor and worker, and their codec: no I/O, standard library only.

Rules:

1. A frame is a fixed header (`HEADER`), the lengths of its parts (8 bytes each), and the parts.
2. Every kind stands in one table, `KINDS`, with who sends it, on which socket, and how many parts it has.
   A frame that does not fit its row is a `WireError`, and so is anything that cannot be decoded.
3. Jupyter content travels as opaque bytes; nothing here decodes JSON.
4. Lengths are checked before memory is taken.
5. Text that follows text of the same request and stream is the same as one longer text: a reader may get it as one.

Theory of operation: a reader asks `Decoder.buffer()` where the next bytes should go, receives into it, and tells
`Decoder.filled(n)`, which returns the frames that have become complete. Small frames are cut out of one receive
buffer; a large frame gets a buffer of its own, and its parts are views into it, so that a 64 MB buffer is copied by
the operating system only.
"""

from __future__ import annotations

import enum
import mmap
import signal
import struct
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

WIRE_VERSION = 2

#: magic, kind, flags, number of parts, request id, length of what follows (part lengths and parts), in bytes.
HEADER = struct.Struct("!HBBIQQ")
MAGIC = 0x1B57
_LENGTH = struct.Struct("!Q")
#: The header of a frame with one part, and the length of the part.
_ONE = struct.Struct("!HBBIQQQ")

#: A frame up to this size leaves in one system call that either takes it whole or not at all (see `link`).
SMALL = 16 * 1024
#: Largest body of a frame, in bytes, where the reader does not ask for another limit.
LIMIT = 1 << 32
#: Most parts of a frame: each costs the reader an object, whatever its size.
MOST_PARTS = 1 << 16
#: Most cells that are repeated after a snapshot, and most bytes of what is kept of them, and of one: that takes some
#: hundredths of a second.
MOST_REPEATED, REPEATED_BYTES, LONGEST_REPEATED = 256, 32 << 10, 8 << 10
#: Most bytes of what a cell asks its user.
LONGEST_QUESTION = 1 << 20
_RECEIVE = 256 * 1024

# Flags, one bit each.
ERROR = 1  #: REPLY: the request failed (Jupyter status "error")
ABORT = 2  #: REPLY: what is queued behind it is to be aborted
EXIT = 4  #: REPLY: user code asked the whole kernel to end
STDERR = 1  #: STREAM: the text belongs to stderr, not stdout
PRISTINE = 1  #: SNAPSHOT: nothing of the user's has run yet; it serves respawns
CALM = 1  #: RESUME: the worker has died by itself in this very state; without what runs by itself it may live
ON = 2  #: RESUME: the pristine one goes on with the session; it begins another one else
DISCARD = 2  #: SNAPSHOT: those of cells are not wanted any longer; no descriptor comes along
BASE = 4  #: SNAPSHOT: the pristine one is the session as it is, too; no descriptor comes along
OVER = 1  #: SUBSHELL, DETOUR: it is over
STACK = 1  #: INTERRUPT: say where the request is stuck, too; of a subshell only
#: PING: say where the main thread is, too
UNLOCKED = 1  #: JOINED: everything may join the cell, not comm messages only
PARENT = 8  #: STREAM, PUBLISH: the first part is the parent header, because the request is not the active one


class WireError(Exception):
    """What arrived is not a frame of this protocol; whoever sent it cannot be trusted any longer."""


class Kind(enum.IntEnum):
    """What a frame is. `KINDS` says who may send it and what its parts are."""

    REQUEST = 1  #: header, parent header, metadata, content, *buffers of a Jupyter request
    STOP = 2  #: end in an orderly way as soon as the active request is over
    INPUT_REPLY = 3  #: content of the frontend's input_reply
    PING = 4  #: is anybody there? The request id is a number of the supervisor's
    INTERRUPT = 5  #: a SIGINT that is meant for this request has been sent, or is about to be
    RESUME = 6  #: what a copy that becomes the worker is told first: the prompt number and the content of the execute
    #: request that took the worker with it, 0 and nothing if there was none; then the cells that it has to repeat
    REFUSED = 7  #: there is no snapshot to roll back to
    SUBSHELL = 9  #: name of a subshell that begins, or is over
    ASIDE = 10  #: a REQUEST for another thread than the main one: name of a subshell, or nothing for a question that is
    #: answered while the main thread is busy; then as REQUEST
    DEBUG = 11  #: content of a debug_request, a DAP request in JSON; the request id is a number of the supervisor's
    MEMORY = 13  #: memory runs short, and the request is going to be interrupted: the sentence that says so, in UTF-8;
    #: nothing if it is not going to be after all
    NOTHING = 8  #: the answer to MORE, behind the requests that may come to the active one
    HELLO = 16  #: JSON object: wire version, pid, versions; the worker takes requests from now on
    STARTED = 17  #: prompt number in decimal digits; the request is executing, and an interrupt will reach it
    STREAM = 18  #: text in UTF-8
    PUBLISH = 19  #: message type, metadata, content, *buffers of an iopub message
    INPUT_REQUEST = 20  #: content of the input_request
    REPLY = 21  #: content, *buffers of the reply
    GOODBYE = 22  #: the worker ends on purpose; nothing follows
    SNAPSHOT = 24  #: a copy sleeps at the other end of the descriptor that comes along; prompt number of the next
    #: cell, process id of the copy
    REPEATABLE = 34  #: the last snapshot, and this cell repeated, are the session as it is: prompt number of the next
    #: cell, and the cell in JSON, which only the worker reads
    ROLLBACK = 25  #: end me, and go on with the state before the last cell
    CELL = 26  #: prompt number, and the name of the file that its code claims to be from, in UTF-8
    MORE = 27  #: as JOINED, and NOTHING is wanted when all that waits has been sent
    PONG = 23  #: the answer to PING, with its number; a worker whose GIL is held cannot give it. To one with STACK: the
    #: Python stack of the main thread, in UTF-8, in faulthandler's words
    WHERE = 28  #: the Python stack of a request, as text; the answer to INTERRUPT with STACK
    JOINED = 29  #: the request awaits, and comm messages may come to it
    DEBUGGED = 31  #: DAP response to DEBUG with its number, or DAP event with 0, in JSON
    LARGEST = 33  #: the answer to MEMORY: the largest variables, as text in UTF-8
    DETOUR = 30  #: name of a subshell that the executes of this request's client go to, until it is over


class Shape(NamedTuple):
    """A row of `KINDS`: sender, socket of the link, fewest and most parts (None: any number)."""

    sender: str
    socket: str
    least: int
    most: int | None


KINDS: dict[Kind, Shape] = {
    Kind.REQUEST: Shape("supervisor", "work", 4, None),
    Kind.STOP: Shape("supervisor", "work", 0, 0),
    Kind.INPUT_REPLY: Shape("supervisor", "control", 1, 1),
    Kind.PING: Shape("supervisor", "control", 0, 0),
    Kind.INTERRUPT: Shape("supervisor", "control", 0, 0),
    Kind.RESUME: Shape("supervisor", "work", 2, 2 + MOST_REPEATED),
    Kind.REFUSED: Shape("supervisor", "control", 0, 0),
    Kind.SUBSHELL: Shape("supervisor", "control", 1, 1),
    Kind.ASIDE: Shape("supervisor", "control", 5, None),
    Kind.DEBUG: Shape("supervisor", "control", 1, 1),
    Kind.MEMORY: Shape("supervisor", "control", 1, 1),
    Kind.LARGEST: Shape("worker", "control", 1, 1),
    Kind.DEBUGGED: Shape("worker", "control", 1, 1),
    Kind.WHERE: Shape("worker", "control", 1, 1),
    Kind.JOINED: Shape("worker", "work", 0, 0),
    Kind.DETOUR: Shape("worker", "work", 1, 1),
    Kind.NOTHING: Shape("supervisor", "work", 0, 0),
    Kind.SNAPSHOT: Shape("worker", "work", 2, 2),
    Kind.REPEATABLE: Shape("worker", "work", 2, 2),
    Kind.ROLLBACK: Shape("worker", "work", 0, 0),
    Kind.CELL: Shape("worker", "work", 2, 2),
    Kind.MORE: Shape("worker", "work", 0, 0),
    Kind.PONG: Shape("worker", "control", 0, 1),
    Kind.HELLO: Shape("worker", "work", 1, 1),
    Kind.STARTED: Shape("worker", "work", 1, 1),
    Kind.STREAM: Shape("worker", "work", 1, 2),
    Kind.PUBLISH: Shape("worker", "work", 3, None),
    Kind.INPUT_REQUEST: Shape("worker", "work", 1, 1),
    Kind.REPLY: Shape("worker", "work", 1, None),
    Kind.GOODBYE: Shape("worker", "work", 0, 0),
}

_BY_CODE = {int(kind): kind for kind in Kind}
_STREAM = int(Kind.STREAM)

#: Exit status of a worker that has lost its link.
LINK_LOST = 97
#: The signal on which the worker writes its Python stacks into the fault pipe, GIL held or not.
DUMP_SIGNAL = signal.SIGRTMAX - 2 if sys.platform == "linux" else signal.SIGUSR2

#: A signal that does nothing but end a system call, and send text that waits for its line's end: a SIGINT that
#: CPython's own handler took just before the call would wait for its end.
NUDGE_SIGNAL = signal.SIGURG
#: Seconds after SIGINT, and then after each nudge, at which a cell that still runs is nudged: were they all counted
#: from SIGINT, a supervisor that stood still would send them at once, and they would be one.
NUDGE_AFTER = (0.01, 0.09, 0.3)

Part = bytes | bytearray | memoryview


class Frame(NamedTuple):
    """One message on the link; `request` is the request that it belongs to, 0 for none."""

    kind: Kind
    request: int
    flags: int
    parts: Sequence[Part]


def encode(kind: Kind, request: int = 0, parts: Iterable[Part] = (), flags: int = 0) -> list[Part]:
    """The frame as pieces to be written one after the other: head and small parts joined, large parts as they are.

    :raises ValueError: it is larger than any reader accepts, or has more parts.
    """
    parts = [p if isinstance(p, bytes) else memoryview(p).cast("B") for p in parts]
    sizes = [len(p) for p in parts]
    size = 8 * len(parts) + sum(sizes)
    if len(parts) > MOST_PARTS or size > LIMIT:
        raise ValueError(f"A message of {sum(sizes)} bytes in {len(parts)} parts is too large to be sent.")
    joined = [HEADER.pack(MAGIC, kind, flags, len(parts), request, size), *map(_LENGTH.pack, sizes)]
    if size <= SMALL:  # nearly always
        return [b"".join([*joined, *parts])]
    pieces: list[Part] = []
    for part, size in zip(parts, sizes, strict=True):
        if size <= SMALL:
            joined.append(bytes(part))
        else:
            pieces += [b"".join(joined), part]
            joined = []
    if joined:
        pieces.append(b"".join(joined))
    return pieces


def encode_text(request: int, text: bytes, flags: int) -> bytes:
    """A STREAM frame of one part that is no larger than `SMALL`: what `encode` gives for it, in a tenth of the time."""
    size = len(text)
    return _ONE.pack(MAGIC, _STREAM, flags, 1, request, 8 + size, size) + text


def _reserve(size: int) -> memoryview:
    """Memory for a large frame. For the largest it costs nothing until it is filled: a length is only a claim."""
    try:
        if size < _HUGE_PAGE:
            return memoryview(bytearray(size))  # the allocator has it at hand when the one before is gone
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError, MemoryError):
        raise WireError(f"there is no memory for a frame of {size} bytes") from None
    if _HUGE is not None:
        try:
            memory.madvise(_HUGE)  # or filling it is a page fault for each 4 KiB
        except OSError:  # a system that is built without
            pass
    return memoryview(memory)


#: Advice that Linux has, and from how many bytes on it is worth to be given.
_HUGE: int | None = getattr(mmap, "MADV_HUGEPAGE", None)
_HUGE_PAGE = 2 << 20


class Decoder:
    """Turns a byte stream into frames of one sender on one socket.

    :param sender: "supervisor" or "worker", who writes the stream.
    :param socket: "work" or "control".
    :param limit: largest accepted body in bytes.

    >>> decoder = Decoder("worker", "work")
    >>> data = b"".join(encode(Kind.STARTED, 7, [b"1"]))
    >>> decoder.buffer()[: len(data)] = data
    >>> decoder.filled(len(data))[0].request
    7
    """

    def __init__(self, sender: str, socket: str, limit: int = LIMIT) -> None:
        self._sender = sender
        self._socket = socket
        self._limit = limit
        self._joins = (sender, socket) == (KINDS[Kind.STREAM].sender, KINDS[Kind.STREAM].socket)
        self._receive = bytearray(_RECEIVE)
        self._start = 0  # of what is not yet decoded in _receive
        self._end = 0
        self._large: memoryview | None = None  # body of a large frame on its way
        self._large_end = 0
        self._head = (Kind.HELLO, 0, 0, 0)  # kind, flags, number of parts, request of that frame
        self._error = ""  # a sentence: an exception that is kept keeps whoever has raised it

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and is not complete."""
        return self._large is not None or self._end > self._start

    def buffer(self) -> memoryview:
        """Where the next bytes are to be written; never empty. Release it before the next call."""
        if self._large is not None:
            return self._large[self._large_end :]
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start > _RECEIVE // 2:
            rest = self._receive[self._start : self._end]
            self._receive[: len(rest)] = rest
            self._start, self._end = 0, len(rest)
        return memoryview(self._receive)[self._end :]

    def release(self) -> None:
        """Gives the memory for what arrives back; nothing may arrive any longer."""
        self._receive, self._large = bytearray(), None
        self._start = self._end = 0

    def filled(self, count: int) -> list[Frame]:
        """The frames that are complete now that `count` bytes were written into `buffer()`.

        :raises WireError: what arrived is not this protocol; frames before it are returned first, and the error is
            raised by the next call, or by `check`. The decoder is of no use afterwards.
        """
        self.check()
        frames: list[Frame] = []
        try:
            self._decode(count, frames)
        except WireError as error:
            if not frames:
                raise
            self._error = str(error)
        return frames

    def check(self) -> None:
        """Raises the error that `filled` has come upon behind frames that were whole.

        :raises WireError: see `filled`.
        """
        if self._error:
            raise WireError(self._error)

    def _decode(self, count: int, frames: list[Frame]) -> None:
        if self._large is not None:
            self._large_end += count
            if self._large_end < len(self._large):
                return
            body, self._large = self._large, None
            frames.append(self._frame(*self._head, body, SMALL))
            return
        self._end += count
        while self._end - self._start >= HEADER.size:
            if self._joins and self._join(frames):
                continue
            magic, code, flags, nparts, request, size = HEADER.unpack_from(self._receive, self._start)
            kind = self._check(magic, code, nparts, size)
            begin = self._start + HEADER.size
            have = self._end - begin
            if have >= size:
                # What is here is overwritten by what comes next, so that it has to be copied, whatever its size.
                with memoryview(self._receive)[begin : begin + size] as body:
                    frames.append(self._frame(kind, flags, nparts, request, body, _RECEIVE))
                self._start = begin + size
            elif size > _RECEIVE // 4:
                self._large = _reserve(size)
                self._large[:have] = memoryview(self._receive)[begin : self._end]
                self._large_end = have
                self._head = (kind, flags, nparts, request)
                self._start = self._end = 0
                break
            else:
                break

    def _join(self, frames: list[Frame]) -> bool:
        """Takes the text that comes next, as one frame; returns whether there was any that is whole and well-formed."""
        receive, at, end = self._receive, self._start, self._end
        texts: list[bytearray] = []
        belongs: tuple[int, int] | None = None
        while end - at >= _ONE.size:
            magic, code, flags, nparts, request, size, length = _ONE.unpack_from(receive, at)
            begin = at + _ONE.size
            if code != _STREAM or magic != MAGIC or nparts != 1 or flags & PARENT:
                break
            if length != size - 8 or length > end - begin or size > self._limit:
                break
            if belongs != (flags, request):
                if belongs is not None:
                    break
                belongs = flags, request
            at = begin + length
            texts.append(receive[begin:at])
        if belongs is None:
            return False
        self._start = at
        frames.append(Frame(Kind.STREAM, belongs[1], belongs[0], [b"".join(texts)]))
        return True

    def _check(self, magic: int, code: int, nparts: int, size: int) -> Kind:
        if magic != MAGIC:
            raise WireError(f"no frame begins with {magic:#06x}")
        kind = _BY_CODE.get(code)
        if kind is None:
            raise WireError(f"unknown kind of frame {code}")
        shape = KINDS[kind]
        if (shape.sender, shape.socket) != (self._sender, self._socket):
            raise WireError(f"{kind.name} does not come from the {self._sender} on {self._socket}")
        if nparts < shape.least or nparts > (MOST_PARTS if shape.most is None else shape.most):
            raise WireError(f"{kind.name} has {nparts} parts")
        if size > self._limit:
            raise WireError(f"{kind.name} of {size} bytes is over the limit of {self._limit}")
        if 8 * nparts > size:
            raise WireError(f"{kind.name} of {size} bytes cannot have {nparts} parts")
        return kind

    @staticmethod
    def _frame(kind: Kind, flags: int, nparts: int, request: int, body: memoryview, copied: int) -> Frame:
        """The frame with this body; its parts are copies up to a size of `copied` bytes, and else views."""
        parts: list[Part] = []
        at = 8 * nparts
        for (size,) in _LENGTH.iter_unpack(body[:at]):
            if size > len(body) - at:
                raise WireError(f"{kind.name} has a part that is longer than the frame")
            part = body[at : at + size]
            parts.append(bytes(part) if size <= copied else part)
            at += size
        if at != len(body):
            raise WireError(f"{kind.name} has {len(body) - at} bytes that belong to no part")
        return Frame(kind, request, flags, parts)
