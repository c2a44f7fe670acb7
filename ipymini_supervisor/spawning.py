"""How a worker comes to be: its ends of the link and of the pipes, and `posix_spawn`.

The first worker is spawned before anything else is done, so that its start and ours overlap. Whatever is imported up
to then delays the first cell of every kernel; so this file takes what the standard library's `socket` and `signal`
are made of, and not the enumerations that they make of that.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import fcntl
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Runs in the worker before anything else: takes the current folder off the path (a file of the user's must not stand
#: in for a module of ours) and finds the one package `ipymini_worker`, wherever the supervisor is installed. The
#: collector rests until the worker is there: what is made until then stays.
_BOOT = """\
import gc, sys
gc.disable()
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

#: From the beginning the worker's allocator keeps as much as GNU's comes to by itself with the first large blocks that
#: it is given back: a print of a megabyte took half a thousand pages anew, which was most of its time. Programs that a
#: cell starts inherit nothing of it.
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
_FORGET = f"import os\nfor name in {tuple(_ALLOCATOR)}: os.environ.pop(name, None)\ndel name, os\n"
_PR_SET_CHILD_SUBREAPER = 36
_FIRST_SPARE = 16  # our descriptors move above the numbers that they get in the worker
#: Bytes that the worker may have written to the link and that we have not read.
_SENT = 1 << 20


class Ends:
    """Both ends of a new link and of new pipes.

    :raises OSError: there can be no more descriptors; none is left open.
    """

    def __init__(self) -> None:
        work, their_work = _socket.socketpair()
        # For a thousand small frames, as far as the system allows it: each takes far more there than its size.
        for end in (work, their_work):
            end.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, _SENT)
        control, their_control = _socket.socketpair()
        pipes: list[tuple[int, int]] = []
        try:
            pipes.extend(os.pipe() for _ in range(3))
        except OSError:  # no descriptors are left, and these are none that close themselves
            for fd in (fd for pipe in pipes for fd in pipe):
                os.close(fd)
            raise
        #: Our ends of work, control, stdout, stderr and fault pipe.
        self.ours = (work.detach(), control.detach(), pipes[0][0], pipes[1][0], pipes[2][0])
        #: The worker's ends of stdout, stderr, work, control and fault pipe.
        self.theirs = (pipes[0][1], pipes[1][1], their_work.detach(), their_control.detach(), pipes[2][1])
        for fd in self.ours[2:]:
            os.set_blocking(fd, False)

    def close(self) -> None:
        """Closes everything."""
        self.close_theirs()
        self.close_ours()

    def close_theirs(self) -> None:
        """Closes the worker's ends, which it has by now."""
        for fd in self.theirs:
            os.close(fd)

    def close_ours(self) -> None:
        """Closes our ends."""
        for fd in self.ours:
            os.close(fd)


def spawn(
    python: str, connection_file: str, arguments: Sequence[str], environment: Mapping[str, str]
) -> tuple[int, Ends]:
    """Starts a worker; returns its pid, and our ends of what it was given.

    :param python: absolute path of the interpreter.
    :param connection_file: path that the worker tells to user code that asks.
    :param arguments: IPython options.
    :raises OSError: the interpreter cannot be started.
    """
    ends = Ends()
    given: list[int] = []
    try:
        given.extend(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_SPARE) for fd in ends.theirs)
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        actions += [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(given, 1)]  # type: ignore[misc]
        folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        boot = _BOOT
        if sys.platform == "linux" and not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in environment):
            environment, boot = {**environment, **_ALLOCATOR}, _FORGET + _BOOT
        argv = [python, "-c", boot, folder, "3", "4", "5", connection_file, *arguments]
        pid = os.posix_spawn(
            python,
            argv,
            environment,
            file_actions=actions,
            setpgroup=0,
            setsigmask=[],
            setsigdef=[s for s in _signal.valid_signals() if s not in (_signal.SIGKILL, _signal.SIGSTOP)],
        )
    except BaseException:
        ends.close()
        raise
    finally:
        for fd in given:
            os.close(fd)
    ends.close_theirs()
    return pid, ends


def adopt_orphans() -> None:
    """Makes this process the one that orphans among its descendants come to. Linux; elsewhere marks have to do."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
