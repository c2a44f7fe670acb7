"""Short-lived processes for tests of what is about processes: forked here, waited for, and ended by their pids."""

from __future__ import annotations

import gc
import itertools
import json
import os
import select
import signal
import socket
import tempfile
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from ipymini_supervisor.snapshots import Snapshot

#: Seconds that anything here may take; nothing takes them where all is well.
PATIENCE = 20.0
#: No process has such a number: it is over the most that Linux hands out.
_NOBODY = 1 << 23


def readable(fd: int, seconds: float = PATIENCE) -> bool:
    """Whether `fd` becomes readable within `seconds`."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def ended(pid: int, seconds: float = PATIENCE) -> bool:
    """Whether process `pid` ends within `seconds`; its exit status is not taken. Linux."""
    fd = os.pidfd_open(pid)
    try:
        return readable(fd, seconds)
    finally:
        os.close(fd)


class Forks:
    """Children of the test process; `end` leaves none of them."""

    def __init__(self) -> None:
        self._pids: list[int] = []

    def start(self, body: Callable[[], object], keep: Iterable[int] = ()) -> int:
        """Runs `body` in a child, which ends with 0, or with 1 if it raises; returns the pid when it has begun.

        :param keep: descriptors that stay open in it, besides the three standard ones.
        """
        begun, inherited = os.pipe()
        collects = gc.isenabled()
        gc.disable()  # a collection in the child would write to all that the two share
        pid = os.fork()
        if collects and pid:
            gc.enable()
        if pid == 0:
            status = 1
            try:
                os.setpgid(0, 0)
                last = 2
                for fd in [*sorted(keep), 1 << 16]:
                    os.closerange(last + 1, fd)
                    last = fd
                body()
                status = 0
            except BaseException:
                os.write(2, traceback.format_exc().encode())
            finally:
                os._exit(status)
        self._pids.append(pid)
        os.close(inherited)
        assert readable(begun)  # the end of the pipe: by now the child has closed what it is not to keep
        os.close(begun)
        return pid

    def result(self, body: Callable[[], Any], keep: Iterable[int] = ()) -> Any:
        """What `body` returns in a child, by way of JSON; an error of it is one of the test."""
        with tempfile.TemporaryFile() as file:

            def answer() -> None:
                try:
                    said = {"result": body()}
                except BaseException:
                    said = {"error": traceback.format_exc()}
                os.write(file.fileno(), json.dumps(said).encode())

            pid = self.start(answer, [file.fileno(), *keep])
            assert ended(pid), "the child does not end"
            assert self.status(pid) == 0
            file.seek(0)
            said = json.load(file)
        assert "error" not in said, said["error"]
        return said["result"]

    def status(self, pid: int) -> int:
        """Waits for a child; its exit status, or minus the signal."""
        self._pids.remove(pid)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def forget(self, pid: int) -> None:
        """The exit status of this one is taken elsewhere."""
        self._pids.remove(pid)

    def end(self) -> None:
        """Ends those that are left."""
        for pid in self._pids[:]:
            try:
                os.kill(pid, signal.SIGKILL)
                self.status(pid)
            except (ProcessLookupError, ChildProcessError):  # the product has taken it
                continue
        self._pids.clear()


class Peers:
    """Snapshots without processes: who holds the other end of their sockets sees whether they were discarded."""

    def __init__(self) -> None:
        self._ends: dict[int, socket.socket] = {}
        self._numbers = itertools.count(_NOBODY)

    def snapshot(self, cell: int = 1) -> Snapshot:
        """One more, with a pid that nobody has."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = next(self._numbers)
        theirs.setblocking(False)
        self._ends[pid] = theirs
        return Snapshot(ours.detach(), pid, cell)

    def alive(self) -> set[int]:
        """The pids of those that have not been discarded."""
        return {pid for pid in self._ends if self._sleeps(pid)}

    def _sleeps(self, pid: int) -> bool:
        try:
            self._ends[pid].recv(1)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        """Closes the other ends."""
        for end in self._ends.values():
            end.close()
