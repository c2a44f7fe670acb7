"""Forks a copy of this process that is not its child: user code finds no child, and no SIGCHLD, that it has not made.

The supervisor is a subreaper, and becomes the parent of a copy whose own parent has ended. That is done with one fork
where it can be (`onefork`), else by a fork that forks, which copies all page tables twice.
"""

from __future__ import annotations

import errno
import mmap
import os
import signal
import struct
import time
from typing import TYPE_CHECKING

from ipymini_worker import connections, survival
from ipymini_worker.link import private_fd

if TYPE_CHECKING:
    from ipymini_worker.onefork import OneFork

#: Seconds after which a fork is given up, because a handler of some library does not return.
_PATIENCE = 5.0
#: Seconds that a copy has to give up what only one process can have, before the worker goes on.
_SETTLES = 1.0
#: Milliseconds that a copy rests before it does anything: the worker has better use for the processor, and where cells
#: come fast, the copy has been discarded by then.
_RESTS = 30
#: The fork at which the better way is looked for: the ones before it are in the way of the first cell.
_LOOKS_AT = 3
#: What processes tell each other, and where: the copy's process id, and whether the copy has come up.
_WORD = struct.Struct("q")
_PID, _UP = 0, _WORD.size


class NoCopy(Exception):
    """There is no copy; one plain sentence says why."""


class Forker:
    """Makes copies. Belongs to the main thread."""

    def __init__(self) -> None:
        self.broken = ""  # why there cannot be any copy, ever
        self.cut: tuple[int, ...] = ()  # in a copy: a pipe that it closes when it has cut its connections
        self._told: mmap.mmap | None = None
        self._once: OneFork | None = None
        self._forks = 0
        self._made = 0.0  # when the last copy was made

    def fork(self, own: int, other: int, *, exclusive: bool) -> int:
        """Returns the copy's process id, and 0 in the copy.

        :param own: the descriptor of the socket on which the copy is told what to do; end of file there ends it.
        :param other: the other end, which the copy closes.
        :param exclusive: this process is to go on only when the copy has cut off what it has.
        :raises NoCopy: there is none.
        :raises Exception: an audit hook of the user's refuses it.
        """
        try:
            told = self._prepared()
            self.cut = tuple(map(private_fd, os.pipe())) if exclusive else ()
            try:
                copy = self._fork_once(own, other, 0 if exclusive else _RESTS)
                if copy < 0:
                    copy = _fork_twice(told, other)
            except BaseException:
                self._close_cut()
                raise
        except TimeoutError:
            self.broken = "A copy took too long to be made; a library keeps it from coming up."
            raise NoCopy(self.broken) from None
        except OSError as error:
            raise NoCopy(f"The system refuses a copy ({error.strerror}).") from None
        if copy == 0:
            _WORD.pack_into(told, _UP, 1)
            self._told = None  # the original goes on using it; what it says of later copies is no concern of this one
            return 0
        _WORD.pack_into(told, _PID, copy)
        self._made = time.monotonic()
        if self.cut:
            os.close(self.cut[1])
            self.cut = self.cut[:1]
            connections.wait_readable(self.cut[0], _SETTLES)
            self._close_cut()
        return copy

    def _fork_once(self, own: int, other: int, rest: int) -> int:
        """As `fork`; -1 if it has to be done in another way."""
        if self._once is None:
            return -1
        from ipymini_worker.onefork import native_threads

        if native_threads():
            return -1
        try:
            return self._once.fork(own, other, rest)
        except OSError:  # also where processes do not share memory when they are asked to, as in an emulator
            self._once = None
            return -1

    def _close_cut(self) -> None:
        cut, self.cut = self.cut, ()
        for fd in cut:
            os.close(fd)

    def _prepared(self) -> mmap.mmap:
        """What the processes tell each other by.

        :raises TimeoutError: the last copy has not come up.
        """
        told = self._told = self._told or mmap.mmap(-1, mmap.PAGESIZE)
        (copy,), (up,) = _WORD.unpack_from(told, _PID), _WORD.unpack_from(told, _UP)
        if copy and not up and time.monotonic() - self._made > _PATIENCE and os.path.exists(f"/proc/{copy}"):
            raise TimeoutError
        _WORD.pack_into(told, _PID, 0)
        _WORD.pack_into(told, _UP, 0)
        self._forks += 1
        if self._forks == _LOOKS_AT:
            try:
                from ipymini_worker.onefork import OneFork

                self._once = OneFork()
            except Exception:  # it cannot be done here, or user code has made something else of ctypes
                self._once = None
        return told


def _fork_twice(told: mmap.mmap, other: int) -> int:
    """As `Forker.fork`.

    :raises TimeoutError: it takes too long.
    """
    with survival.no_sigchld(), survival.no_warnings():
        # `os.fork`, and nothing between it and the care that Python takes: a thread that waits for the interpreter's
        # lock at this moment would be waited for in the child.
        between = os.fork()
        if between == 0:
            try:
                os.setpgid(0, 0)  # before there is a copy: the worker's group may be killed at any time
                copy = os.fork()
                if copy == 0:
                    os.close(other)
                    return 0
                _WORD.pack_into(told, _PID, copy)
            except BaseException:  # whatever it is, there is no copy, and only one worker
                os._exit(1)
            os._exit(0)
        ended = _ends(between)
    (copy,) = _WORD.unpack_from(told, _PID)
    if not ended:
        raise TimeoutError
    if not copy:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return int(copy)


def _ends(pid: int) -> bool:
    """Waits for a child, and kills one that takes too long; returns False then."""
    ended = True
    try:
        fd = os.pidfd_open(pid)
        try:
            ended = connections.wait_readable(fd, _PATIENCE)
            if not ended:
                os.kill(pid, signal.SIGKILL)
        finally:
            os.close(fd)
    except OSError:
        pass  # no descriptors are left, or somebody ignores SIGCHLD, so that nobody has to wait
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass
    return ended
