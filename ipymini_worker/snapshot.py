"""Snapshots: forked, paused copies of the worker, each of which can become the worker. Linux only.

Rules:

1. A copy is no child of the worker, but the supervisor's (`forking`).
2. A copy sleeps on a socket of its own, whose other end goes to the supervisor with the SNAPSHOT frame. An end of file
   there ends it at once, without `atexit`; descriptors for a new link make it the worker.
3. It keeps nothing open that others may wait for: not the link, not the pipes, no connection of user code.
4. It does nothing while it sleeps; when memory runs short the supervisor decides which copies go.

Theory of operation: `take` returns False in the worker, a moment later. In a copy it returns True, perhaps hours
later: then the copy has become the worker, and whoever called goes back to wait for requests.
"""

from __future__ import annotations

import _socket  # see `link`
import enum
import gc
import os
import resource
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from ipymini_worker import connections, survival
from ipymini_worker.forking import Forker, NoCopy
from ipymini_worker.link import Link, LinkClosed, private_fd
from ipymini_worker.loop import Loop
from ipymini_worker.wire import BASE, DISCARD, MOST_REPEATED, PRISTINE, REPEATED_BYTES, Kind

#: The name of a copy's process, as `ps` shows it.
PROCESS_NAME = "ipymini-snap"
#: A fork that takes less, in seconds, is never too dear: nobody notices it.
CHEAP = 0.02
#: The share of the time that forks may cost.
SHARE = 0.05


class Mode(enum.Enum):
    """What the user wants."""

    OFF = "off"  #: never
    ON = "on"  #: whatever it costs
    AUTO = "auto"  #: as long as it costs little

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Mode:
        """The mode in `IPYMINI_SNAPSHOTS`; AUTO for what makes no sense."""
        text = environment.get("IPYMINI_SNAPSHOTS", "").strip().lower()
        return cls(text) if text in {mode.value for mode in cls} else cls.AUTO


class Files(NamedTuple):
    """What a copy gets when it becomes the worker: the worker's ends of a new link and of new pipes."""

    stdout: int
    stderr: int
    work: int
    control: int
    fault: int


class _Before(NamedTuple):
    """What a fork changes, or the worker may have changed before the copy looks."""

    random: Any  #: see `_random_state`
    peers: frozenset[int]  #: see `connections.connected`
    places: dict[int, int]  #: see `connections.positions`


class Snapshots:
    """Takes snapshots, and is the life of one. Belongs to the main thread.

    :param become: called in a copy that becomes the worker, with its files and what it has lost, in sentences.
    :param abandon: called in a copy at once: closes the link.
    :param still: for the time of its body nothing of ours goes on in other threads; gives False if it does.
    """

    def __init__(
        self,
        link: Link,
        loop: Loop,
        mode: Mode,
        become: Callable[[Files, list[str]], None],
        abandon: Callable[[], None],
        still: Callable[[], AbstractContextManager[bool]],
    ) -> None:
        self._still = still
        self._link = link
        self._loop = loop
        self._become = become
        self._abandon = abandon
        self.mode = mode
        self.forking = False  # whether the fork that runs is ours
        self.stale = True  # whether the session may have changed since the last snapshot
        self._doubtful = False  # something else than a cell or a message of a comm may have changed it
        self.refused = threading.Event()  # the supervisor has no snapshot to roll back to
        self.why_not = ""  # why there is no snapshot of the session as it is
        self.cell = 0  # the prompt number that the last snapshot was taken before; 0 for none
        self.repeated = self._bytes = 0  # cells that are repeated after it, and bytes of their records
        self.cost = 0.0  # seconds that the last one took
        # Seconds of the processor's time: what a fork waits on a busy machine for others is not what it costs.
        self._costs: deque[float] = deque(maxlen=3)
        self._taken = 0.0  # when the last one was taken, on the monotonic clock
        self.pid = 0  # of the last copy; 0 for none
        self._forker = Forker()
        if sys.platform != "linux":
            self.broken = "Snapshots need Linux."
        elif not getattr(sys, "_is_gil_enabled", lambda: True)():
            self.broken = "Snapshots need the global interpreter lock, which this Python runs without."
        else:
            self.broken = ""  # why there cannot be any, ever

    def pristine(self) -> bool:
        """Takes the snapshot that serves respawns: the shell is ready, nothing of the user's has run."""
        if self.broken or self.mode is Mode.OFF:
            return False
        # What is there by now stays; the collector need not look at it, and so does not write to its pages.
        gc.freeze()
        return self._take(PRISTINE, 0)

    def base(self, cell: int) -> bool:
        """Nothing of the user's has run since the pristine one was taken: it is that of the session, too. Returns False
        if there is none.
        """
        if not self.pid:
            return False
        self._link.send(Kind.SNAPSHOT, 0, (b"%d" % cell, b"%d" % self.pid), BASE)
        self.stale, self.cell, self.repeated, self._bytes = False, cell, 0, 0
        return True

    def before_cell(self, cell: int) -> bool:
        """Takes a snapshot if the session may have changed since the last one."""
        return self._try(lambda: self._wanted(self.stale or self._alive()) and self._take(0, cell))

    def after_cell(self, cell: int) -> bool:
        """Takes a snapshot of what a cell has made of the session; `cell` is the prompt number of the next one."""
        self.stale = True
        return self._try(lambda: self._wanted(True) and self._take(0, cell))

    @property
    def fresh(self) -> bool:
        """Whether the last snapshot, and what is to be repeated after it, are the session as it is."""
        self.look()  # a thread may be over when the cell is
        return self.cell > 0 and not self.stale and not self._doubtful

    def repeats(self, cell: int, record: bytes) -> bool:
        """After a cell that can be repeated no snapshot is needed: returns True if it is told to the supervisor.

        :param cell: the prompt number of the next cell.
        :param record: see `repeatable`.
        """
        return self._try(lambda: self._repeats(cell, record))

    def _repeats(self, cell: int, record: bytes) -> bool:
        if not record or not self.fresh or self.repeated >= MOST_REPEATED:
            return False
        if self._bytes + len(record) > REPEATED_BYTES or not os.path.exists(f"/proc/{self.pid}"):
            return False
        self.stale = True
        self._link.send(Kind.REPEATABLE, 0, (b"%d" % cell, record))
        self.stale = False
        self.cell, self.repeated, self._bytes = cell, self.repeated + 1, self._bytes + len(record)
        return True

    def _try(self, take: Callable[[], bool]) -> bool:
        """A snapshot that cannot be taken costs nothing: not the cell that it was to be taken for, nor the next."""
        try:
            return take()
        except LinkClosed:
            raise
        except Exception as error:  # an audit hook of the user's that refuses it, or a module that they have patched
            self.why_not = f"A copy could not be made ({type(error).__name__}: {error})."
            return False

    def expire(self) -> None:
        """Something has changed the session since the last snapshot. Called in any thread."""
        self.stale = True

    def doubt(self) -> None:
        """Something may have changed the session by the way: the next cell has a snapshot after it. Called in any
        thread.
        """
        self._doubtful = True

    def switch(self, mode: Mode) -> None:
        """Changes the mode; there are no snapshots of cells from OFF on."""
        self.mode = mode
        if mode is Mode.OFF:
            self.stale, self.cell = True, 0
            self._link.send(Kind.SNAPSHOT, 0, (b"0", b"0"), DISCARD)

    def look(self) -> None:
        """The worker is going to be idle: what runs meanwhile may change the session."""
        try:
            self.stale = self.stale or self._alive()
        except Exception:  # user code has patched what this is seen by
            self.stale = True

    def rollback(self) -> str:
        """Asks the supervisor for the state before the last cell; if there is none, returns, and says why."""
        self.refused.clear()
        self._link.send(Kind.ROLLBACK)
        self.refused.wait()  # for the end of this process, if all goes well
        return "There is no snapshot from before the last cell to go back to."

    def describe(self) -> str:
        """What there is, what it costs, and why there is no more."""
        lines = [f"Snapshots: {self.mode.value}."]
        if not self.cell:
            lines.append("There is none.")
        elif not os.path.exists(f"/proc/{self.pid}"):
            lines.append(f"The one from before In[{self.cell}] is gone, as snapshots are when memory runs short.")
        else:
            private = _private_bytes(self.pid) / 2**20
            took = f"it took {1000 * self.cost:.1f} ms, and has {private:.1f} MiB of its own."
            lines.append(f"There is one from before In[{self.cell}]: {took}")
            if self.repeated:
                lines.append(f"Cells that it does not have, and that would be run again: {self.repeated}.")
        if self.why_not:
            lines.append(f"No newer one is taken: {self.why_not}" if self.cell else self.why_not)
        return "\n".join(lines)

    def _alive(self) -> bool:
        """Whether something may change the session between cells."""
        if self._loop.current is not None and survival.pending(self._loop.current):
            return True
        return bool(survival.foreign_threads())

    def _wanted(self, changed: bool) -> bool:
        if not changed:
            return False
        self.why_not = self._reason()
        return not self.why_not

    def _reason(self) -> str:
        if self.broken:
            return self.broken
        if self.mode is Mode.OFF:
            return "Snapshots are switched off."
        cost = min(self._costs, default=0.0)  # the machine may have been busy, but not each time
        if self.mode is Mode.AUTO and cost > CHEAP and time.monotonic() - self._taken < cost / SHARE:
            return (
                f"Each takes {1000 * cost:.0f} ms, which may be {SHARE:.0%} of the time, and the last one was taken a "
                "moment ago; %snapshot on takes them all the same."
            )
        try:
            return survival.obstacle()
        except OSError as error:
            return f"The system does not tell what is open ({error.strerror})."

    # -- the fork

    def _take(self, flags: int, cell: int) -> bool:
        with self._still() as still:
            if still:
                return self._fork_off(flags, cell)
        self.why_not = "An answer is being made, or the history written, at this moment."
        return False

    def _fork_off(self, flags: int, cell: int) -> bool:
        began, spent = time.perf_counter(), _spent()
        try:
            lost = survival.Lost.now(self._loop.current)
            opened = list(connections.descriptors())
            before = _Before(_random_state(), connections.connected(opened), connections.positions(opened))
            exclusive = connections.exclusive(opened)
            ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        except OSError as error:
            self.why_not = f"The system refuses a copy ({error.strerror})."
            return False
        try:
            self.forking = True
            copy = self._forker.fork(theirs.fileno(), ours.fileno(), exclusive=exclusive)
            self.forking = False
            if copy == 0:
                ours.detach()  # it has been closed
                self._live(theirs, lost, before, cell)
                return True
            self._link.send_descriptor(Kind.SNAPSHOT, (b"%d" % cell, b"%d" % copy), flags, ours.fileno())
        except NoCopy as reason:
            self.why_not, self.broken = str(reason), self._forker.broken
            return False
        except OSError as error:  # the supervisor does not get it, and it ends by itself
            self.why_not = f"The system refuses a copy ({error.strerror})."
            return False
        finally:
            self.forking = False
            ours.close()
            theirs.close()
        self.pid = copy
        self.cost = time.perf_counter() - began
        if not flags:
            self._costs.append(_spent() - spent)
            self._taken = time.monotonic()
            self.stale, self._doubtful, self.cell, self.repeated, self._bytes = False, False, cell, 0, 0
        return False

    # -- the copy

    def _live(self, own: _socket.socket, lost: survival.Lost, before: _Before, cell: int) -> None:
        """Sleeps until the copy ends, or becomes the worker; returns in the latter case only."""
        try:
            os.setpgid(0, 0)
            own = _socket.socket(fileno=private_fd(own.detach()))
            own.setblocking(True)  # whatever user code has made of the default timeout: it would end the copy
            if _is_over(own):
                os._exit(0)
            name = _read("/proc/self/comm") or "python"
            _write("/proc/self/comm", PROCESS_NAME)
            self._abandon()
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (1, 2):
                os.dup2(null, fd)
            os.close(null)
            keep = {own.fileno(), *self._forker.cut, *connections.loop_descriptors(self._loop.current)}
            cut = connections.cut_connections(keep, before.peers, before.places)
            for fd in self._forker.cut:
                os.close(fd)
            files = connections.receive_descriptors(own, len(Files._fields))
            if not files:
                os._exit(0)
            own.close()
            _write("/proc/self/comm", name)
            if before.random is not None:
                sys.modules["random"].setstate(before.random)
            unbound = sum(not server.open() for server in cut.servers)  # before the loop looks at them
            survival.repair(self._loop.current)
            self.stale = not cell  # a copy of a copy is needed before anything else runs
            self.cell = 0
            self._become(Files(*files), lost.sentences(cut.connections, unbound))
            self.stale = True
        except BaseException:
            os._exit(1)  # whatever it was, the supervisor sees that there is no copy any longer


def _is_over(own: _socket.socket) -> bool:
    """Whether the copy has been discarded already."""
    try:
        return not own.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False


def _random_state() -> Any:
    """The state of `random`, which Python gives a new seed in every child."""
    random = sys.modules.get("random")
    try:
        return random.getstate() if random is not None else None
    except Exception:  # half imported, or something of the user's by that name
        return None


def _spent() -> float:
    """Seconds of the processor's time that this thread has used, and children that have been waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.thread_time() + usage.ru_utime + usage.ru_stime


def _private_bytes(pid: int) -> int:
    """The bytes that only process `pid` has; 0 where the system does not tell."""
    lines = _read(f"/proc/{pid}/smaps_rollup").splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_"))


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w") as file:
            file.write(text)
    except OSError:  # a system that does not allow it
        pass
