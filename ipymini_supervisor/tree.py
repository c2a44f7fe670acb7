"""The process tree: everything that cells have started, found and ended.

A descendant is found by its line of parents (the supervisor is a subreaper, so that orphans come to it), and by the
mark that it has inherited in its environment, whatever it did to its session or its parents.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable

from ipymini_supervisor.process import ExitWatch
from ipymini_supervisor.sockets import Sockets
from ipymini_supervisor.timers import Timer, Timers

MARK = "IPYMINI_KERNEL_ID"


def reap_orphans(but: int) -> None:
    """Takes the exit status of every orphan that has ended, so that no zombie stays.

    :param but: pid of the worker, whose exit status is taken elsewhere.
    """
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid in (0, but):
            return
        os.waitpid(found.si_pid, os.WNOHANG)


def descendants(mark: str, guardian: int | None) -> set[int]:
    """The pids of all that the kernel has started and that have not ended.

    :param mark: the value of the mark in their environment.
    :param guardian: pid of ours that is none of theirs.
    """
    if sys.platform != "linux":
        import psutil

        found = {p.pid for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE}
        return found - {guardian}
    parents: dict[int, int] = {}
    marked: set[int] = set()
    wanted = f"{MARK}={mark}".encode()
    own = os.getpid()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
            if state in (b"Z", b"X"):
                continue
            parents[int(name)] = int(parent)
            with open(f"/proc/{name}/environ", "rb") as file:
                if wanted in file.read().split(b"\0"):
                    marked.add(int(name))
        except OSError:  # it has ended meanwhile, or is another user's
            continue
    ours = {pid for pid in parents if pid in marked or _leads_to(own, pid, parents)}
    return ours - {own, guardian}


def family(pid: int) -> set[int]:
    """The pids of `pid` and of all below it, without a look at the rest of the machine; only `pid` where that fails."""
    found: set[int] = set()
    pending = [pid]
    while pending:
        one = pending.pop()
        found.add(one)
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{task}/children") as file:
                    pending += [child for child in map(int, file.read().split()) if child not in found]
        except OSError:  # it has ended meanwhile, or the system does not tell
            continue
    return found


def newborn(group: int, since: float) -> set[int]:
    """The pids in a process group that have begun at `since` or later, but for its leader. Linux; elsewhere none.

    :param since: seconds since the machine was booted; what is told about processes has a grain of some 10 ms.
    """
    if sys.platform != "linux":
        return set()
    ticks = int(since * os.sysconf("SC_CLK_TCK"))
    found: set[int] = set()
    for pid in family(group) - {group}:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            if int(fields[2]) == group and int(fields[19]) >= ticks:
                found.add(pid)
        except OSError:  # it has ended meanwhile
            continue
    return found


def _leads_to(ancestor: int, pid: int, parents: dict[int, int]) -> bool:
    seen: set[int] = set()
    while pid in parents and pid not in seen:
        seen.add(pid)
        pid = parents[pid]
        if pid == ancestor:
            return True
    return False


class Sweep:
    """Ends processes: SIGTERM, a grace, SIGKILL; waits for each without blocking.

    :param find: the pids that are to be ended; asked again until there are none.
    :param grace: seconds between SIGTERM and SIGKILL, and after it, however many come up meanwhile.
    :param done: called once, with the pids that could not be ended.
    """

    def __init__(
        self,
        sockets: Sockets,
        timers: Timers,
        clock: Callable[[], float],
        find: Callable[[], set[int]],
        grace: float,
        done: Callable[[set[int]], None],
    ) -> None:
        self._sockets = sockets
        self._timers = timers
        self._clock = clock
        self._find = find
        self._grace = grace
        self._done = done
        self._watches: dict[int, ExitWatch] = {}
        self._timer: Timer | None = None
        self._signal = signal.SIGTERM
        self._due = clock() + grace
        self._look()

    def handle(self, ready: set[str | int]) -> None:
        """Takes note of those that have ended; looks again when all have."""
        if self._timer is None:  # it is over: whoever ends from now on is somebody else's to reap
            return
        for pid, watch in list(self._watches.items()):
            if watch.fileno() in ready:
                self._forget(pid)
        reap_orphans(0)
        if not self._watches:
            self._look()

    def _look(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pids = self._find()
        self._send(pids)
        if self._watches:
            self._timer = self._timers.at(self._due, self._late)
        else:
            self._done(set())

    def _send(self, pids: Iterable[int]) -> None:
        for pid in pids:
            try:
                if pid not in self._watches:
                    watch = ExitWatch(pid)
                    self._watches[pid] = watch
                    self._sockets.watch(watch.fileno())
            except OSError:  # it has ended, or no descriptors are left
                pass
            try:
                os.kill(pid, self._signal)
            except ProcessLookupError:
                self._forget(pid)
            except PermissionError:
                pass  # it runs as another user; it is among those that could not be ended unless it ends by itself

    def _late(self) -> None:
        if self._signal == signal.SIGTERM:
            self._signal = signal.SIGKILL
            self._send(self._find())
            self._due = self._clock() + self._grace
            self._timer = self._timers.at(self._due, self._late)
            return
        left = set(self._watches)
        for pid in left:
            self._forget(pid)
        self._timer = None
        self._done(left)

    def _forget(self, pid: int) -> None:
        watch = self._watches.pop(pid, None)
        if watch is not None:
            self._sockets.ignore(watch.fileno())
            watch.close()
