"""Memory of processes that share pages, each page counted once: what the system tells in `smaps_rollup`.

For a large process the system needs a tenth of a second to add it up. The supervisor has no time for that; another
program reads it, and the answer comes through a pipe. Linux; elsewhere nothing is known.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection
from typing import NamedTuple

from ipymini_supervisor.sockets import Sockets
from ipymini_supervisor.timers import Timer, Timers

#: Seconds after which the answer is not waited for: a process may be in a state in which it cannot be looked at.
LATE = 2.0
_READER = "/bin/cat"


class Memory(NamedTuple):
    """Bytes of some processes together."""

    proportional: int  #: resident; what is shared by n processes counts as one n-th in each of them
    private: int  #: what would be free if they were gone


class Rollups:
    """Asks for the memory of processes, without waiting for the answer."""

    def __init__(self, sockets: Sockets, timers: Timers, clock: Callable[[], float]) -> None:
        self._sockets = sockets
        self._timers = timers
        self._clock = clock
        self._pending: dict[int, tuple[bytes, Callable[[Memory | None], None], Timer]] = {}

    def ask(self, pids: Collection[int], done: Callable[[Memory | None], None]) -> None:
        """Calls `done` with the memory of those of `pids` that there still are; with None if it is not known."""
        if sys.platform != "linux" or not pids:
            done(None)
            return
        try:
            reading, writing = os.pipe()
        except OSError:
            done(None)
            return
        try:
            # Nobody else may read our own (see `secrecy`), and it is small.
            files = [f"/proc/{pid}/smaps_rollup" for pid in pids if pid != os.getpid()]
            actions = [
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, writing, 1),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ]
            os.posix_spawn(_READER, [_READER, *files], {}, file_actions=actions)
        except OSError:
            os.close(reading)
            done(None)
            return
        finally:
            os.close(writing)
        os.set_blocking(reading, False)
        late = self._timers.at(self._clock() + LATE, lambda: self._late(reading))
        self._pending[reading] = (_own() if os.getpid() in pids else b"", done, late)
        self._sockets.watch(reading)

    def handle(self, ready: set[str | int]) -> None:
        """Takes what has been answered."""
        for fd in [fd for fd in self._pending if fd in ready]:
            text, done, late = self._pending[fd]
            try:
                data = os.read(fd, 65536)
            except BlockingIOError:
                continue
            if data:
                self._pending[fd] = (text + data, done, late)
                continue
            self._close(fd)
            done(parse(text) if text else None)

    def _late(self, fd: int) -> None:
        done = self._pending[fd][1]
        self._close(fd)
        done(None)

    def close(self) -> None:
        """Nobody waits for an answer any longer."""
        for fd in list(self._pending):
            self._close(fd)

    def _close(self, fd: int) -> None:
        self._pending.pop(fd)[2].cancel()
        self._sockets.ignore(fd)
        os.close(fd)


def _own() -> bytes:
    try:
        with open("/proc/self/smaps_rollup", "rb") as file:
            return file.read()
    except OSError:
        return b""


def parse(text: bytes) -> Memory:
    """The sums over all processes in the text of one or more `smaps_rollup` files (`man proc`)."""
    proportional = private = 0
    for line in text.splitlines():
        name, _, rest = line.partition(b":")
        value = rest.split()
        if len(value) == 2 and value[0].isdigit() and value[1] == b"kB":
            if name == b"Pss":
                proportional += 1024 * int(value[0])
            elif name.startswith(b"Private_"):
                private += 1024 * int(value[0])
    return Memory(proportional, private)
