"""Signals to the supervisor: the handlers only enqueue; the loop acts."""

from __future__ import annotations

import _socket  # see `spawning`
import signal
from collections.abc import Iterable

#: What the system sends when a program is at fault, what stops it, and what does nothing by itself.
_LEFT_ALONE = (
    *("SIGKILL", "SIGSTOP", "SIGCONT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGCHLD", "SIGURG", "SIGWINCH", "SIGINFO"),
    *("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGSYS", "SIGTRAP", "SIGEMT"),
)


class Signals:
    """Turns signals into bytes that the poller sees.

    All others that would end the process do nothing: a stray one must not cost the session.

    :param numbers: the signals to be taken; they are taken even where they were inherited as ignored.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self._receive, self._send = _socket.socketpair()
        self._receive.setblocking(False)
        self._send.setblocking(False)
        signal.set_wakeup_fd(self._send.fileno(), warn_on_full_buffer=False)
        self._taken = frozenset(numbers)
        left = {getattr(signal, name, None) for name in _LEFT_ALONE}
        for number in self._taken | (signal.valid_signals() - left):
            # Not SIG_IGN, which the programs that we start would inherit.
            signal.signal(number, lambda signum, frame: None)

    def fileno(self) -> int:
        """The descriptor to be watched."""
        return self._receive.fileno()

    def take(self) -> list[int]:
        """The signals that have come since the last call, in order."""
        try:
            return [number for number in self._receive.recv(4096) if number in self._taken]
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Signals go unheard from now on."""
        signal.set_wakeup_fd(-1)
        self._receive.close()
        self._send.close()
