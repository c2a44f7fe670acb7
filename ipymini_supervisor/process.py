"""The worker as a process: spawn, signal, reap. Nothing here blocks."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ipymini_supervisor.link import Link

#: Runs in the worker before anything else: takes the current folder off the path (a file of the user's must not stand
#: in for a module of ours) and finds the one package `ipymini_worker`, wherever the supervisor is installed.
_BOOT = """\
import sys
if not sys.flags.safe_path:
    del sys.path[0]
from _frozen_importlib_external import PathFinder
class WorkerFinder:
    folder = [sys.argv.pop(1)]
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return PathFinder.find_spec(name, cls.folder) if name == "ipymini_worker" else None
sys.meta_path.insert(0, WorkerFinder)
from ipymini_worker.main import main
main(sys.argv[1:])
"""

_FIRST_SPARE = 16  # our descriptors move above the numbers that they get in the worker
_CHUNK = 65536
_PR_SET_CHILD_SUBREAPER = 36


class Exit(NamedTuple):
    """How the worker ended."""

    status: int  #: as `os.waitstatus_to_exitcode`: exit status, or minus the signal
    peak: int  #: largest resident size in bytes


#: Bytes that the worker may have written to the link and that we have not read.
_SENT = 1 << 20


class Process:
    """A spawned worker: its pid, the two sockets of the link, and the pipes that it writes to."""

    def __init__(self, pid: int, work: Link, control: Link, stdout: int, stderr: int, fault: int) -> None:
        self.pid = pid
        self.work = work
        self.control = control
        self._pipes = {stdout: "stdout", stderr: "stderr", fault: "fault"}
        self._reaped = False
        self._exit = ExitWatch(pid)

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
        if self._reaped:  # the number may be somebody else's by now
            return
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):  # user code has made it leave the group
            try:
                os.kill(self.pid, number)  # to any thread: the main one may have ended by itself
            except ProcessLookupError:
                pass

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
    """Starts a worker.

    :param python: absolute path of the interpreter.
    :param connection_file: path that the worker tells to user code that asks.
    :param arguments: IPython options.
    :raises OSError: the interpreter cannot be started.
    """
    ends = _Ends()
    given: list[int] = []
    try:
        given.extend(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_SPARE) for fd in ends.theirs)
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        actions += [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(given, 1)]  # type: ignore[misc]
        folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        argv = [python, "-c", _BOOT, folder, "3", "4", "5", connection_file, *arguments]
        pid = os.posix_spawn(
            python,
            argv,
            environment,
            file_actions=actions,
            setpgroup=0,
            setsigmask=[],
            setsigdef=[s for s in signal.valid_signals() if s not in (signal.SIGKILL, signal.SIGSTOP)],
        )
    except BaseException:
        ends.close()
        raise
    finally:
        for fd in given:
            os.close(fd)
    return ends.process(pid)


def resume(pid: int, wake: Callable[[Sequence[int]], None]) -> Process:
    """Makes a snapshot the worker; Linux.

    :param pid: of the snapshot, which is a child of ours.
    :param wake: hands it the descriptors of stdout, stderr, work, control and fault pipe.
    :raises OSError: it has ended.
    """
    ends = _Ends()
    try:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            raise ProcessLookupError(pid)
        wake(ends.theirs)
    except BaseException:
        ends.close()
        raise
    return ends.process(pid)


class _Ends:
    """Both ends of a new link and of new pipes."""

    def __init__(self) -> None:
        self._work, work = socket.socketpair()
        # For a thousand small frames, as far as the system allows it: each takes far more there than its size.
        work.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SENT)
        self._control, control = socket.socketpair()
        pipes = [os.pipe() for _ in range(3)]
        self._sockets = (work, control)  # kept, so that they stay open
        self._pipes = [r for r, _ in pipes]
        #: The worker's ends of stdout, stderr, work, control and fault pipe.
        self.theirs = (pipes[0][1], pipes[1][1], work.fileno(), control.fileno(), pipes[2][1])

    def process(self, pid: int) -> Process:
        """The process that has got `theirs`, which are closed here.

        :raises OSError: it has ended.
        """
        self._close_theirs()
        for fd in self._pipes:
            os.set_blocking(fd, False)
        try:
            return Process(pid, Link(self._work, "work"), Link(self._control, "control"), *self._pipes)
        except OSError:
            self._close_ours()
            raise

    def close(self) -> None:
        """Closes everything."""
        self._close_theirs()
        self._close_ours()

    def _close_theirs(self) -> None:
        for sock in self._sockets:
            sock.close()
        for fd in (self.theirs[0], self.theirs[1], self.theirs[4]):
            os.close(fd)

    def _close_ours(self) -> None:
        self._work.close()
        self._control.close()
        for fd in self._pipes:
            os.close(fd)


def adopt_orphans() -> None:
    """Makes this process the one that orphans among its descendants come to. Linux; elsewhere marks have to do."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


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
