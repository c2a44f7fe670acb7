"""The worker's end of the link: whole frames out from any thread, whole frames in on the thread that asks.

Two hazards shape this module:

- A `KeyboardInterrupt` may be raised in the main thread between any two bytecodes of `send`. A frame that was written
  in part would garble all that follow. A small frame therefore leaves in one system call, which the operating system
  takes whole or not at all; while a large one is written, SIGINT raises only where the bookkeeping is consistent,
  and the next sender first writes what is left of it.
- User code may close any file descriptor that it finds, so ours live at high numbers and are not inherited.
"""

from __future__ import annotations

import _socket  # what `socket` is made of; its enumerations would take a fiftieth of the start
import errno
import fcntl
import os
import select
import signal
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import Any

from ipymini_worker.wire import SMALL, Decoder, Frame, Kind, Part, encode, encode_text

#: Linux queues up to 32 KiB on a stream socket as one piece; elsewhere a write may be split wherever it likes.
_WHOLE = SMALL if sys.platform == "linux" else 0
#: Bytes of text that leave so, less what a frame has besides.
_TEXT = _WHOLE - 64
_PRIVATE_FD = 200
_DESCRIPTOR = struct.Struct("i")


class LinkClosed(Exception):
    """The supervisor is gone."""


class LinkLost(LinkClosed):
    """Our own end has been closed, by user code that closes what it has not opened."""


def _gone(error: OSError) -> LinkClosed:
    """What an error of our socket means. It has a number; one without, such as a `TimeoutError` that a signal's handler
    of the user's has raised, is none of our business, and passes.
    """
    return LinkClosed() if isinstance(error, (BrokenPipeError, ConnectionResetError)) else LinkLost()


def private_fd(fd: int) -> int:
    """`fd` moved to a high number that is not inherited by programs that the user starts."""
    for lowest in (_PRIVATE_FD, 20, 3):  # the last ones where `ulimit -n` is small
        try:
            moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
        except OSError:
            continue
        os.close(fd)
        return moved
    return fd


class Link:
    """One socket of the link.

    :param fd: an inherited end of a socketpair; belongs to the link from now on.
    :param name: "work" or "control".
    """

    def __init__(self, fd: int, name: str) -> None:
        self._name = name
        self.renew(fd)

    def renew(self, fd: int) -> None:
        """Goes on with another socket, as if nothing had come or gone; in a copy of the process."""
        self._socket = _socket.socket(fileno=private_fd(fd))
        self._socket.setblocking(True)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._decoder = Decoder("supervisor", self._name)
        self._frames: deque[Frame] = deque()
        self._lock = threading.RLock()
        self._over = False  # GOODBYE was said
        self._rest: deque[memoryview] = deque()  # of a large frame that an interrupt broke off
        self._sending = False  # it is being sent
        self._text = b""  # that waits for what belongs to it, and is no larger than a frame that leaves in one call
        self._text_of = (0, 0)  # the request and the flags of that frame

    def fileno(self) -> int:
        """The descriptor that becomes readable when a frame, or the end, is there."""
        return self._socket.fileno()

    @property
    def waiting(self) -> bool:
        """Whether `receive` has a frame that was read already, which `fileno` knows nothing of."""
        return bool(self._frames)

    def receive(self) -> Frame:
        """The next frame, waited for without limit.

        :raises LinkClosed: there will be none.
        :raises LinkLost: our end has been closed.
        """
        while not self._frames:
            # Waited for here: a thread that a fork loses while it waits keeps what it has at hand for ever.
            self._poll.poll()
            with self._decoder.buffer() as buffer:
                try:
                    count = self._socket.recv_into(buffer)
                except OSError as error:
                    if error.errno is None:
                        raise
                    raise LinkLost from error
            if count == 0:
                raise LinkClosed
            self._frames.extend(self._decoder.filled(count))
        return self._frames.popleft()

    def give_back(self, frames: Sequence[Frame]) -> None:
        """Puts frames, in the order in which they came, before those that `receive` has yet to return."""
        self._frames.extendleft(reversed(frames))

    def send(
        self, kind: Kind, request: int = 0, parts: Iterable[Part] = (), flags: int = 0, *, before: bytes = b""
    ) -> None:
        """Writes one frame, waiting as long as the supervisor does not read; nothing any longer after GOODBYE.

        :param before: frames that leave with it, as its reader has to be woken once only; encoded.
        :raises LinkClosed: the supervisor is gone.
        :raises LinkLost: our end has been closed.
        """
        pieces = encode(kind, request, parts, flags)
        if before:
            pieces[0] = b"".join((before, pieces[0]))
        self._send(pieces, last=kind is Kind.GOODBYE)

    def _send(self, pieces: Sequence[Part], *, last: bool = False) -> None:
        try:
            with self._lock:
                if self._over:  # threads of user code may still print
                    return
                if self._text:
                    self._send_waiting()
                self._over = last
                if not self._rest and len(pieces) == 1 and len(pieces[0]) <= _WHOLE:
                    self._socket.send(pieces[0])
                else:
                    self._send_large(pieces)
        except OSError as error:
            if error.errno is None:
                raise
            raise _gone(error) from error

    def send_encoded(self, frames: bytes) -> None:
        """Writes frames that are encoded already, as `send` does.

        :raises LinkClosed, LinkLost: see `send`.
        """
        self._send([frames])

    def send_text(self, request: int, text: bytes, flags: int, more: bool = False) -> None:
        """Writes a STREAM frame of one part, as `send` does, at less cost: of no other kind are there as many.

        :param more: text that belongs to this one comes at once: both leave in one frame, or before the next frame.
        :raises LinkClosed, LinkLost: see `send`.
        """
        size = len(text)
        try:
            with self._lock:
                if self._over:
                    return
                # A signal's handler or a finalizer of the user's, which runs where something is called, may print:
                # then it begins again with what waits by now.
                while True:
                    waiting, whole = self._text, text
                    if waiting:
                        if self._text_of != (request, flags) or len(waiting) + size > _TEXT:
                            self._send_waiting()
                            continue
                        whole = waiting + text
                    elif size > _TEXT:
                        self.send(Kind.STREAM, request, (text,), flags)
                        return
                    elif more:
                        self._text_of = request, flags
                        self._text = text
                        return
                    data = encode_text(request, whole, flags)
                    if self._text is waiting:
                        break
                self._text = b""
                # Between these two no interrupt is raised, so that nothing leaves twice, and nothing is left out.
                if self._rest:
                    self._send_large((data,))
                else:
                    self._socket.send(data)
        except OSError as error:
            if error.errno is None:
                raise
            raise _gone(error) from error

    def flush_text(self, *, wait: bool = True) -> None:
        """Writes text that waits for what belongs to it.

        :param wait: whether to wait for another thread that is writing; else that thread does it.
        :raises LinkClosed, LinkLost: see `send`.
        """
        if not self._text or not self._lock.acquire(blocking=wait):
            return
        try:
            self._send_waiting()
        except OSError as error:
            if error.errno is None:
                raise
            raise _gone(error) from error
        finally:
            self._lock.release()

    def _send_waiting(self) -> None:
        while waiting := self._text:
            data = encode_text(self._text_of[0], waiting, self._text_of[1])
            if self._text is waiting:  # else somebody has printed meanwhile, as in `send_text`
                self._text = b""
                if self._rest:
                    self._send_large((data,))
                else:
                    self._socket.send(data)
                return

    def send_descriptor(self, kind: Kind, parts: Iterable[Part], flags: int, fd: int) -> None:
        """Writes one small frame, and a descriptor along with it.

        :raises LinkClosed, LinkLost: see `send`.
        :raises OSError: the system does not take the descriptor; nothing was written.
        """
        (piece,) = encode(kind, 0, parts, flags)
        try:
            with self._lock:
                if self._text:
                    self._send_waiting()
                if self._rest:
                    self._send_large([])
                rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, _DESCRIPTOR.pack(fd))
                self._socket.sendmsg([piece], [rights])
        except OSError as error:
            if error.errno in (None, errno.ETOOMANYREFS, errno.ENOMEM, errno.ENOBUFS):
                raise
            raise _gone(error) from error

    def _send_large(self, pieces: Iterable[Part]) -> None:
        with _Deferred() as deferred:
            views = [memoryview(p) for p in pieces]
            # What an interrupt left of the frame before goes first, or the supervisor could not tell where this begins.
            self._rest.extend(views)
            if self._sending:  # called by a signal's handler in the midst of this: whoever it has stopped goes on
                return
            self._sending = True
            try:
                self._send_rest(deferred)
            finally:
                self._sending = False

    def _send_rest(self, deferred: _Deferred) -> None:
        while self._rest:
            try:
                count = self._socket.send(self._rest[0], _socket.MSG_DONTWAIT)
            except BlockingIOError:
                deferred.wait(self._socket)
                continue
            if count == len(self._rest[0]):
                self._rest.popleft()
            else:
                self._rest[0] = self._rest[0][count:]

    def recover(self) -> None:
        """Gives back a lock that an interrupt left behind; called between requests by the main thread."""
        while self._lock._is_owned():  # type: ignore[attr-defined]  # there is no public name for it
            self._lock.release()

    def close(self) -> None:
        """Closes this end; the supervisor sees the end of the stream."""
        self._socket.close()


class _Deferred:
    """Holds back SIGINT in the main thread, but for the moments in which `wait` waits."""

    def __init__(self) -> None:
        self._main = threading.current_thread() is threading.main_thread()
        self._handler: Callable[[int, FrameType | None], Any] | int | None = None
        self._waiting = False
        self._pending = False

    def __enter__(self) -> _Deferred:
        if self._main:
            self._handler = signal.getsignal(signal.SIGINT)
            if callable(self._handler):
                signal.signal(signal.SIGINT, self._on_signal)
        return self

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._waiting:
            self._deliver(frame)
        else:
            self._pending = True

    def _deliver(self, frame: FrameType | None) -> None:
        if callable(self._handler):
            self._handler(signal.SIGINT, frame)

    def wait(self, sock: _socket.socket) -> None:
        """Waits until `sock` takes more; an interrupt is raised from here, and what was not sent stays in order."""
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        self._waiting = True
        try:
            if self._pending:
                self._pending = False
                self._deliver(None)
            poll.poll()
        finally:
            self._waiting = False

    def __exit__(self, *exc: object) -> None:
        if self._main and callable(self._handler):
            signal.signal(signal.SIGINT, self._handler)
            if self._pending:
                self._pending = False
                self._deliver(None)
