"""What a fork carries over and what it does not: reasons against one, and the repair of a copy that goes on. What is
open is the concern of `connections`.

Linux only. Everything here works on what other libraries have loaded and imports none of them.
"""

from __future__ import annotations

import _socket  # see `link`
import os
import signal
import sys
import threading
import warnings
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ipymini_worker.connections import descriptors

if TYPE_CHECKING:
    import asyncio

#: Names of threads that belong to us or to IPython, and are started again.
OWN_THREADS = frozenset({"MainThread", "ipymini-control", "IPythonHistorySavingThread"})


class Renewable(threading.Thread):
    """A thread that a copy starts again when it is needed: nothing is lost with it while it is idle."""

    idle = True


def foreign_threads() -> list[threading.Thread]:
    """The threads that a copy will not have, and that nobody starts again."""
    return [
        thread
        for thread in threading.enumerate()
        if thread.name not in OWN_THREADS and not (isinstance(thread, Renewable) and thread.idle)
    ]


#: Devices whose contexts belong to one process; a copy that touches them crashes or hangs.
_DEVICES = ("/dev/nvidia", "/dev/kfd")
#: Libraries whose native threads a fork cannot carry over, and after which every call into them hangs:
#: module, how the threads' names begin.
_POOLS = (
    ("polars", "polars"),
    ("grpc", "grpc"),
    ("grpc", "event_engine"),
    ("grpc", "resolver-exec"),
    ("jaxlib", "tf_"),
    ("jaxlib", "xla"),
    ("tensorflow", "tf_"),
)
#: Modules of Qt's bindings that know whether there is an application, and those of other toolkits.
_QT = ("PySide6.QtCore", "PyQt6.QtCore", "PySide2.QtCore", "PyQt5.QtCore")
_TOOLKITS = frozenset({*_QT, "_tkinter", "gi", "wx", "pyglet", "OpenGL"})
#: The GNU OpenMP runtime waits in a copy for the threads of the original; others start new ones.
_OPENMP = "libgomp"


def obstacle() -> str:
    """Why this process must not be forked now, as one plain sentence; "" if it may."""
    if any(target.startswith(_DEVICES) for _, target in descriptors()):
        return "A GPU is in use, and its context cannot be copied."
    debugger = getattr(sys.modules.get("pydevd"), "get_global_debugger", None)  # None while it is being imported
    if debugger is not None and debugger() is not None:
        return "A debugger is attached."
    if _draws():
        return "A GUI toolkit is in use, and its connection to the display cannot be copied."
    names = None
    for module, prefix in _POOLS:
        if module in sys.modules:
            names = _native_threads() if names is None else names
            if any(name.startswith(prefix) for name in names):
                return f"{module} has threads that a copy would wait for in vain."
    if _openmp.loaded():
        names = _native_threads() if names is None else names
        if len(names) > threading.active_count():
            return "The GNU OpenMP runtime has threads that a copy would wait for in vain."
    return ""


def _draws() -> bool:
    """Whether a toolkit has what a fork would share with the copy: Qt's application, or a connection to a display."""
    if sys.modules.keys().isdisjoint(_TOOLKITS):
        return False
    for core in _QT:
        application = getattr(sys.modules.get(core), "QCoreApplication", None)  # None while it is being imported
        if application is not None and application.instance():
            return True
    return any(target.startswith("socket:") and _is_display(fd) for fd, target in descriptors())


def _is_display(fd: int) -> bool:
    """Whether a socket leads to an X server or a Wayland compositor."""
    try:
        with closing(_socket.socket(fileno=os.dup(fd))) as sock:
            peer: Any = sock.getpeername()
    except OSError:
        return False
    if isinstance(peer, tuple):  # a display far away: the X protocol's ports
        return bool(6000 <= peer[1] < 6100)
    name = os.fsdecode(peer)
    return "/.X11-unix/X" in name or os.path.basename(name).startswith("wayland-")


class _OpenMP:
    """Whether libgomp is mapped; looked up only when modules have been imported meanwhile."""

    def __init__(self) -> None:
        self._modules = 0
        self._loaded = False

    def loaded(self) -> bool:
        if not self._loaded and len(sys.modules) != self._modules:
            self._modules = len(sys.modules)
            with open("/proc/self/maps") as maps:
                self._loaded = any(_OPENMP in line for line in maps)
        return self._loaded


_openmp = _OpenMP()


def _native_threads() -> list[str]:
    """The names of all threads of the process, of native ones too."""
    names = []
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/comm") as file:
                names.append(file.read().strip())
        except OSError:  # it has ended meanwhile
            continue
    return names


class Lost(NamedTuple):
    """What a copy will not have."""

    threads: tuple[str, ...]
    children: int
    tasks: int  #: asyncio tasks, which a copy does have

    @classmethod
    def now(cls, loop: asyncio.AbstractEventLoop | None) -> Lost:
        """What there is at this moment."""
        threads = tuple(thread.name for thread in foreign_threads())
        return cls(threads, _children(), len(tasks(loop)))

    def sentences(self, connections: int, servers: int = 0) -> list[str]:
        """What is to be said about it, each a plain sentence.

        :param connections: pipes and sockets that were cut off.
        :param servers: sockets that could not be bound again.
        """
        said = []
        if self.threads:
            names = ", ".join(self.threads[:10]) + (", …" if len(self.threads) > 10 else "")
            said.append(f"{_many(len(self.threads), 'thread')} did not survive: {names}.")
        if self.children:
            said.append(f"{_many(self.children, 'child process', 'child processes')} did not survive.")
        if connections:
            said.append(f"{_many(connections, 'pipe or socket', 'pipes and sockets')} had to be closed.")
        if servers:
            said.append(f"{_many(servers, 'address', 'addresses')} could not be bound again.")
        if self.tasks:
            said.append(f"{_many(self.tasks, 'asyncio task')} go on." if self.tasks > 1 else "1 asyncio task goes on.")
        return said


def _many(count: int, one: str, more: str = "") -> str:
    return f"1 {one}" if count == 1 else f"{count} {more or one + 's'}"


def _children() -> int:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    count = 0
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/children") as file:
                count += len(file.read().split())
        except OSError:
            continue
    return count


def tasks(loop: asyncio.AbstractEventLoop | None) -> set[Any]:
    """The tasks of a loop that are not done."""
    if loop is None or loop.is_closed():
        return set()
    import asyncio

    return asyncio.all_tasks(loop)


def pending(loop: Any) -> bool:
    """Whether something waits in a loop, a task or a call."""
    return bool(tasks(loop) or getattr(loop, "_scheduled", None) or getattr(loop, "_ready", None))


# -- in the copy


def repair(loop: asyncio.AbstractEventLoop | None) -> None:
    """Makes libraries forget what belongs to the original process."""
    _repair_imports()
    _repair_multiprocessing()
    _repair_loop(loop)


def _repair_imports() -> None:
    """A module that a thread of the original was importing would be waited for in vain: it is imported anew."""
    locks: dict[str, Any] = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    here = threading.get_ident()
    for name, reference in list(locks.items()):
        if getattr(reference(), "owner", None) in (None, here):
            continue
        del locks[name]
        for other in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
            del sys.modules[other]


def _repair_multiprocessing() -> None:
    process = sys.modules.get("multiprocessing.process")
    if process is not None:
        process._children = set()  # type: ignore[attr-defined]
    tracker = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    if tracker is not None:
        tracker._fd = tracker._pid = None
    server = getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)
    if server is not None:
        server._forkserver_address = server._forkserver_alive_fd = None
        server._forkserver_pid = None


def _repair_loop(loop: Any) -> None:
    """An epoll instance is shared with the original, and the threads of the default executor are gone."""
    selector: Any = getattr(loop, "_selector", None)
    selectors = sys.modules.get("selectors")
    if loop is None or loop.is_closed() or selectors is None or not isinstance(selector, selectors.BaseSelector):
        return
    fresh = selectors.DefaultSelector()
    for key in list(selector.get_map().values()):
        try:
            fresh.register(key.fileobj, key.events, key.data)
        except (OSError, ValueError, KeyError):
            continue
    loop._selector = fresh
    selector.close()
    loop._default_executor = None
    if hasattr(loop, "_close_self_pipe") and hasattr(loop, "_make_self_pipe"):
        loop._close_self_pipe()  # what was written to it and not read has come from the original
        loop._make_self_pipe()
    if getattr(loop, "_signal_handlers", None):
        signal.set_wakeup_fd(loop._csock.fileno())


# -- around the fork


@contextmanager
def no_warnings() -> Any:
    """Python warns of a fork beside threads, which is no concern of user code: neither as a line nor as an error."""
    # Not `catch_warnings`, which makes Python forget which warnings it has shown already.
    filters = warnings.filters
    warnings.filters = [("ignore", None, Warning, None, 0)]
    try:
        yield
    finally:
        warnings.filters = filters


@contextmanager
def no_sigchld() -> Any:
    """Keeps the end of a child of ours from a SIGCHLD handler of the user's."""
    handler = signal.getsignal(signal.SIGCHLD)
    if not callable(handler):
        yield
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler)
        try:
            if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                signal.raise_signal(signal.SIGCHLD)  # one of the user's own may have ended meanwhile
        except ChildProcessError:
            pass
