"""The supervisor's end of the link: never blocks, and takes every byte from the worker as hostile."""

from __future__ import annotations

import _socket  # see `spawning`
import array
import os
from collections import deque
from collections.abc import Iterable

from ipymini_worker.wire import Decoder, Frame, Kind, Part, WireError, encode

#: Descriptors that are taken along with what arrives, and kept until somebody asks for them.
_DESCRIPTORS = 4
_ROOM = _socket.CMSG_SPACE(_DESCRIPTORS * array.array("i").itemsize)


class DescriptorLost(Exception):
    """The system had no room for a descriptor that was sent to us; whoever has sent it is not to blame."""


class Link:
    """One socket of the link.

    :param sock: an end of a socketpair; belongs to the link from now on.
    :param name: "work" or "control".
    """

    def __init__(self, sock: _socket.socket, name: str) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._decoder = Decoder("worker", name)
        self._out: deque[memoryview] = deque()
        self._descriptors: deque[int] = deque()
        self._cut = False  # not all descriptors that were sent have come
        self._goodbye = False
        self._late = False  # something came along with GOODBYE, behind it
        self.ended = False  #: the worker has closed its end, or is gone

    def fileno(self) -> int:
        """The descriptor to be watched."""
        return self._socket.fileno()

    @property
    def writing(self) -> bool:
        """Whether something waits to be written, so that the descriptor is to be watched for that too."""
        return bool(self._out)

    @property
    def partial(self) -> bool:
        """Whether a frame has begun to arrive and is not complete."""
        return self._decoder.partial

    def receive(self) -> list[Frame]:
        """What has arrived, as far as one read takes it; nothing if nothing has.

        :raises WireError: it is not this protocol.
        """
        with self._decoder.buffer() as buffer:
            try:
                count, extra, flags, _ = self._socket.recvmsg_into([buffer], _ROOM, _socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return []
            except OSError:
                count, extra, flags = 0, [], 0
        self._cut |= bool(flags & _socket.MSG_CTRUNC)
        if extra:
            self._keep(extra)
        if count == 0:
            self.ended = True
            return []
        if self._goodbye:
            raise WireError("something came after GOODBYE")
        frames = self._decoder.filled(count)
        for number, frame in enumerate(frames, 1):
            if frame.kind is Kind.GOODBYE:
                self._goodbye = True
                self._late = number < len(frames) or self._decoder.partial
                return frames[:number]
        return frames

    def _keep(self, extra: Iterable[tuple[int, int, bytes]]) -> None:
        for level, kind, data in extra:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                numbers = array.array("i")
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
                self._descriptors.extend(numbers)
        while len(self._descriptors) > _DESCRIPTORS:
            os.close(self._descriptors.popleft())

    def descriptor(self) -> int:
        """The descriptor that came along with a frame; belongs to whoever asks.

        :raises DescriptorLost: it was lost on its way, because we have no room for more.
        :raises WireError: none did.
        """
        if not self._descriptors:
            if self._cut:
                self._cut = False
                raise DescriptorLost
            raise WireError("a descriptor was expected")
        return self._descriptors.popleft()

    def check(self) -> None:
        """Raises what was wrong behind the frames that `receive` has returned.

        :raises WireError: see `receive`.
        """
        if self._late:
            raise WireError("something came after GOODBYE")
        self._decoder.check()

    def send(self, kind: Kind, request: int = 0, parts: Iterable[Part] = (), flags: int = 0) -> None:
        """Writes a frame, or as much of it as the socket takes; `flush` writes the rest."""
        self._out.extend(memoryview(piece) for piece in encode(kind, request, parts, flags))
        self.flush()

    def flush(self) -> None:
        """Writes what waits, as far as the socket takes it."""
        while self._out:
            try:
                count = self._socket.send(self._out[0])
            except BlockingIOError:
                return
            except OSError:  # the worker is gone; whoever watches its process will tell
                self._out.clear()
                return
            if count == len(self._out[0]):
                self._out.popleft()
            else:
                self._out[0] = self._out[0][count:]

    def close(self) -> None:
        """Closes the socket, and descriptors that nobody has asked for; whoever still refers to it keeps little."""
        self._socket.close()
        self._out.clear()
        self._decoder.release()
        while self._descriptors:
            os.close(self._descriptors.popleft())
