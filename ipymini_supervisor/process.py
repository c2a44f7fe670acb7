"""The worker as a process: signal, reap; how it is spawned is in `spawning`. Nothing here blocks."""

from __future__ import annotations

import _socket  # see `spawning`
import errno
import os
import select
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ipymini_supervisor import spawning
from ipymini_supervisor.link import Link

_CHUNK = 65536


class Exit(NamedTuple):
    """How the worker ended."""

    status: int  #: as `os.waitstatus_to_exitcode`: exit status, or minus the signal
    peak: int  #: largest resident size in bytes


class Process:
    """A spawned worker: its pid, the two sockets of the link, and the pipes that it writes to."""

    def __init__(
        self, pid: int, work: Link, control: Link, stdout: int, stderr: int, fault: int, watch: ExitWatch
    ) -> None:
        self.pid = pid
        self.work = work
        self.control = control
        self._pipes = {stdout: "stdout", stderr: "stderr", fault: "fault"}
        self._reaped = False
        self._exit = watch

    @property
    def reaped(self) -> bool:
        """Whether the process has ended and its exit status was taken."""
        return self._reaped

    @property
    def exit_fd(self) -> int:
        """A descriptor that becomes readable when the process has ended."""
        return self._exit.fileno()

    @property
    def pipes(self) -> tuple[int, ...]:
        """The read ends of the worker's stdout, stderr and fault pipe, as long as they are open."""
        return tuple(self._pipes)

    def pipe_name(self, fd: int) -> str:
        """ "stdout", "stderr" or "fault"."""
        return self._pipes[fd]

    def end_pipe(self, fd: int) -> None:
        """Closes a pipe that has come to its end: user code may have closed the other end."""
        del self._pipes[fd]
        os.close(fd)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All that are to be watched."""
        return (self.work.fileno(), self.control.fileno(), *self._pipes, self.exit_fd)

    def signal(self, number: int) -> None:
        """Sends a signal to the worker's process group: the worker and what it has started in the foreground."""
        if not self._reaped:  # the number may be somebody else's by then
            signal_group(self.pid, number)

    def signal_alone(self, number: int) -> None:
        """Sends a signal to the worker's main thread and to nobody else."""
        if not self._reaped:
            try:
                _signal_main_thread(self.pid, number)
            except ProcessLookupError:
                pass

    def reap(self) -> Exit:
        """Takes the exit status, and ends what is left of the process group; only after `exit_fd` has told."""
        try:
            # Before the wait: until then nobody else can get the number of this group.
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        _, status, usage = os.wait4(self.pid, 0)
        self._reaped = True
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return Exit(os.waitstatus_to_exitcode(status), peak)

    def close(self) -> None:
        """Closes all descriptors."""
        self.work.close()
        self.control.close()
        for fd in self._pipes:
            os.close(fd)
        self._pipes.clear()
        self._exit.close()


def spawn(python: str, connection_file: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Process:
    """Starts a worker; see `spawning.spawn`.

    :raises OSError: the interpreter cannot be started, or the worker cannot be watched.
    """
    return adopt(*spawning.spawn(python, connection_file, arguments, environment))


def resume(pid: int, wake: Callable[[Sequence[int]], None]) -> Process:
    """Makes a snapshot the worker; Linux.

    :param pid: of the snapshot, which is a child of ours.
    :param wake: hands it the descriptors of stdout, stderr, work, control and fault pipe.
    :raises OSError: it has ended, or cannot be watched.
    """
    ends = spawning.Ends()
    try:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            raise ProcessLookupError(errno.ESRCH, "it has ended")
        wake(ends.theirs)
    except BaseException:
        ends.close()
        raise
    ends.close_theirs()
    return adopt(pid, ends)


def adopt(pid: int, ends: spawning.Ends) -> Process:
    """The process that has got the other ends of `ends`.

    :raises OSError: it cannot be watched, as where no descriptor is left; it is killed, and has yet to be reaped.
    """
    work, control, stdout, stderr, fault = ends.ours
    try:
        watch = ExitWatch(pid)
    except OSError:
        ends.close_ours()
        signal_group(pid, signal.SIGKILL)
        raise
    links = Link(_socket.socket(fileno=work), "work"), Link(_socket.socket(fileno=control), "control")
    return Process(pid, *links, stdout, stderr, fault, watch)


def signal_group(pid: int, number: int) -> None:
    """Sends a signal to the process group of a worker that has not been reaped, wherever it is by now."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):  # user code has made it leave the group
        try:
            os.kill(pid, number)  # to any thread: the main one may have ended by itself
        except ProcessLookupError:
            pass


def _signal_main_thread(pid: int, number: int) -> None:
    """Sends a signal to the main thread of a process, where the system can tell threads apart.

    A signal to the process goes to any thread that takes it when another one is pending for the main thread: a stack
    would be that of the wrong thread, and a system call that is to be ended would go on.

    :raises ProcessLookupError: there is no such process, where the system cannot tell threads apart.
    """
    if sys.platform == "linux":
        import ctypes

        libc = ctypes.CDLL(None)
        if hasattr(libc, "tgkill"):
            libc.tgkill(pid, pid, number)
            return
    os.kill(pid, number)


def read(fd: int) -> bytes | None:
    """What a pipe has, up to a limit; b"" for the end, None for nothing at the moment."""
    try:
        return os.read(fd, _CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return b""


class ExitWatch:
    """A descriptor that becomes readable when process `pid` ends; it need not be ours.

    :raises OSError: there is no such process.
    """

    def __init__(self, pid: int) -> None:
        if sys.platform == "linux":
            self._fd = os.pidfd_open(pid)
        else:
            self._queue = select.kqueue()
            self._fd = self._queue.fileno()
            event = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
            self._queue.control([event], 0)

    def fileno(self) -> int:
        """The descriptor to be watched."""
        return self._fd

    def close(self) -> None:
        """Stops watching."""
        if sys.platform == "linux":
            os.close(self._fd)
        else:
            self._queue.close()


def watch_launcher(environment: Mapping[str, str]) -> ExitWatch | None:
    """A watch on the process that started the kernel; None if there is none to be watched.

    The launcher is named by `JPY_PARENT_PID`, as every Jupyter launcher sets it.
    """
    try:
        pid = int(environment.get("JPY_PARENT_PID", "0"))
        return ExitWatch(pid) if pid > 1 else None
    except (ValueError, OSError):  # a launcher in another container has a number that means nothing here
        return None
