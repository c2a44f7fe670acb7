"""The line to a provisioner that wants a restart to be carried out in place (see `provisioner`).

It is an inherited socket, which nobody else can connect to. As long as its other end is open, a shutdown_request with
`restart` replaces the worker and leaves everything else as it is; then one byte says that it has been done. A byte from
the other end asks for that one: it comes after the request, and may come after the answer, which it has then missed.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import MutableMapping

#: The number of the inherited descriptor; never handed on to the worker.
VARIABLE = "IPYMINI_IN_PLACE_FD"


class Line:
    """Our end."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._told = False  # that the last restart has been carried out
        end.setblocking(False)
        end.set_inheritable(False)

    @classmethod
    def take(cls, environment: MutableMapping[str, str]) -> Line | None:
        """The line that the environment tells of, which is taken out of it; None if there is none."""
        text = environment.pop(VARIABLE, "")
        if not (text.isascii() and text.isdigit() and 2 < int(text) < 1 << 20):
            return None
        import socket  # most kernels have no line, and none should wait for this before its worker is started

        try:
            os.fstat(int(text))
            return cls(socket.socket(fileno=int(text)))
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

    def begin(self) -> None:
        """A restart begins."""
        self._told = False

    def hear(self) -> bool:
        """Takes what the other end asks, and answers if there is an answer; returns whether there may be more."""
        try:
            asked = self._end.recv(4096) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False
        if asked and self._told:
            self.tell()
        return asked

    def tell(self) -> None:
        """Says that a restart has been carried out."""
        self._told = True
        try:
            self._end.send(b"R")
        except OSError:  # nobody listens any longer, or has for a long time
            pass

    def close(self) -> None:
        """Closes our end."""
        self._end.close()
