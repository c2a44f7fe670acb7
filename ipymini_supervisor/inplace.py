"""The line to a provisioner that wants a restart to be carried out in place (see `provisioner`).

It is an inherited socket, which nobody else can connect to. As long as its other end is open, a shutdown_request with
`restart` replaces the worker and leaves everything else as it is. The other end asks to be told when that is done, by a
line with the session of its request, and is told by one byte. What it asks comes by another way than its request does:
before it, after it, or when all is over. Other sessions may want restarts as well, and send no more than requests.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, MutableMapping

#: The number of the inherited descriptor; never handed on to the worker.
VARIABLE = "IPYMINI_IN_PLACE_FD"
#: Seconds after a restart in which somebody may still ask about it; after that, whoever asks means the next one.
LATE = 5.0


class Line:
    """Our end."""

    def __init__(self, end: socket.socket, clock: Callable[[], float] = time.monotonic) -> None:
        self._end = end
        self._clock = clock
        self._asking = ""  # the session that wants to be told
        self._waiting: set[str] = set()  # those that want the restart that goes on
        self._done: set[str] = set()  # those that wanted the last one, and have not been told
        self._until = 0.0  # when nobody asks about it any longer
        end.setblocking(False)
        end.set_inheritable(False)

    @classmethod
    def take(cls, environment: MutableMapping[str, str], clock: Callable[[], float] = time.monotonic) -> Line | None:
        """The line that the environment tells of, which is taken out of it; None if there is none."""
        text = environment.pop(VARIABLE, "")
        if not (text.isascii() and text.isdigit() and 2 < int(text) < 1 << 20):
            return None
        import socket  # most kernels have no line, and none should wait for this before its worker is started

        try:
            os.fstat(int(text))
            return cls(socket.socket(fileno=int(text)), clock)
        except OSError:  # whoever has set it has not handed the descriptor on
            return None

    def open(self) -> bool:
        """Whether somebody is at the other end."""
        from socket import MSG_PEEK

        try:
            return self._end.recv(1, MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def fileno(self) -> int:
        """The descriptor to be watched."""
        return self._end.fileno()

    def begin(self, session: str) -> None:
        """A restart begins, or goes on, which a session wants."""
        self._waiting.add(session)
        self._done.discard(session)

    def hear(self) -> bool:
        """Takes what the other end asks; returns whether there may be more."""
        try:
            asked = self._end.recv(4096)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if asked:
            self._asking = asked.decode("utf-8", "replace").split("\n")[-2:][0]
            if self._clock() > self._until:
                self._done.clear()
            self._tell()
        return asked != b""

    def done(self) -> None:
        """A restart has been carried out."""
        self._waiting, self._done, self._until = set(), self._waiting, self._clock() + LATE
        self._tell()

    def _tell(self) -> None:
        if self._asking in self._done:
            self._done.discard(self._asking)
            self._asking = ""
            try:
                self._end.send(b"R")
            except OSError:  # nobody listens any longer, or has for a long time
                pass

    def close(self) -> None:
        """Closes our end."""
        self._end.close()
