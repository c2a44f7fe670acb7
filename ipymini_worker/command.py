"""`!command`: a shell command on a terminal of its own, whose output appears as it comes.

IPython's own way forks in Python and polls; an interrupt that comes at the wrong moment is lost there, or leaves the
program behind. Here SIGINT is held back until there is a process to be ended, and the process is gone afterwards.
"""

from __future__ import annotations

import codecs
import os
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from types import FrameType

#: Seconds that an interrupted command has after SIGINT, and after SIGTERM.
_GRACE = 1.0


def run(command: str, write: Callable[[str], object]) -> int:
    """Runs `sh -c command`; returns the exit status, or minus the signal that ended it.

    Its stdout and stderr are a terminal of 80 columns; its stdin is empty.

    :param write: takes the output, as text.
    :raises KeyboardInterrupt: the user interrupted; the command has ended by then.
    """
    with _Held() as held:
        terminal, other = os.openpty()
        try:
            try:
                modes = termios.tcgetattr(other)
                modes[1] &= ~termios.OPOST  # a line ends with a newline alone
                termios.tcsetattr(other, termios.TCSANOW, modes)
                process = subprocess.Popen(
                    ["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=other, stderr=other, start_new_session=True
                )
            finally:
                os.close(other)
            try:
                held.let_through()
                _copy(terminal, process, write, None)
                held.hold_back()
            except KeyboardInterrupt:
                held.hold_back()
                _end(terminal, process, write)
                raise
        finally:
            os.close(terminal)
    status = process.wait()
    return 128 - status if status > 128 else status


def _copy(terminal: int, process: subprocess.Popen[bytes], write: Callable[[str], object], limit: float | None) -> bool:
    """Copies output until the shell has ended; returns False if it has not within `limit` seconds."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    poll = select.poll()
    poll.register(terminal, select.POLLIN)
    end = None if limit is None else time.monotonic() + limit
    ended = os.pidfd_open(process.pid) if sys.platform == "linux" else -1
    try:
        if ended >= 0:
            poll.register(ended, select.POLLIN)
        while True:
            wait = 0.05 if ended < 0 else (None if end is None else max(0.0, end - time.monotonic()))
            ready = [fd for fd, _ in poll.poll(None if wait is None else wait * 1000)]
            if terminal in ready:
                try:
                    data = os.read(terminal, 65536)
                except OSError:  # how a terminal says that nobody has the other end
                    data = b""
                if not data:
                    return process.wait() is not None
                write(decode(data))
            elif process.poll() is not None:  # something in the background may go on holding the terminal
                return True
            elif end is not None and time.monotonic() >= end:
                return False
    finally:
        if ended >= 0:
            os.close(ended)


def _end(terminal: int, process: subprocess.Popen[bytes], write: Callable[[str], object]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            pass
        if _copy(terminal, process, write, _GRACE):
            return


class _Held:
    """Holds back Python's own KeyboardInterrupt, but for the time between `let_through` and `hold_back`."""

    def __init__(self) -> None:
        main = threading.current_thread() is threading.main_thread()
        self._ours = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        self._open = False
        self._seen = False

    def __enter__(self) -> _Held:
        if self._ours:
            signal.signal(signal.SIGINT, self._on_sigint)
        return self

    def _on_sigint(self, signum: int, frame: FrameType | None) -> None:
        __tracebackhide__ = True
        self._seen = True
        if self._open:
            self._open = False
            raise KeyboardInterrupt

    def let_through(self) -> None:
        """Raises KeyboardInterrupt if one has come, and when one comes."""
        self._open = True
        if self._seen:
            self.hold_back()
            raise KeyboardInterrupt

    def hold_back(self) -> None:
        """From now on it has to wait."""
        self._open = False

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._ours and signal.getsignal(signal.SIGINT) == self._on_sigint:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if self._seen and kind is None:
                raise KeyboardInterrupt
