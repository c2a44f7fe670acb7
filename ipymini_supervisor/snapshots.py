"""The snapshots that there are: sleeping copies of the worker, each at the other end of a socket.

A copy ends when its socket is closed, ours or by our death; so none can be left behind.
"""

from __future__ import annotations

import _socket  # see `spawning`
import array
import logging
import os
from collections.abc import Sequence

from ipymini_supervisor import oomscore, process
from ipymini_supervisor.process import Process
from ipymini_worker.wire import MOST_REPEATED, REPEATED_BYTES

log = logging.getLogger("ipymini")


class Snapshot:
    """One copy.

    :param fd: the socket that it sleeps on; belongs to this object.
    :param pid: of the copy.
    :param cell: the prompt number of the cell that it was taken before.
    :raises OSError: `fd` is no socket.
    """

    def __init__(self, fd: int, pid: int, cell: int) -> None:
        try:
            self._socket = _socket.socket(fileno=fd)
        except OSError:
            os.close(fd)
            raise
        self._socket.setblocking(False)
        self.pid = pid
        self.pristine = False
        self.taken = self.cell = cell  #: and then the number that it stands for, with what is repeated
        self.started = 0  #: cells that have begun since it was taken, and are not repeated
        self._repeated: list[tuple[int, bytes]] = []  # cells after it: what `cell` was before, and the record
        self._bytes = 0  # of the records

    def stand_for(self, cell: int) -> None:
        """The pristine one is the session before cell `cell`."""
        self.taken = self.cell = cell
        self.started = 0
        self._repeated.clear()
        self._bytes = 0
        oomscore.expose(self.pid)

    def repeats(self, cell: int, record: bytes) -> None:
        """See `Snapshots.repeats`."""
        self._bytes += len(record)
        if len(self._repeated) >= MOST_REPEATED or self._bytes > REPEATED_BYTES:
            raise ValueError("too many cells to be repeated")
        self._repeated.append((self.cell, record))
        self.cell, self.started = cell, max(0, self.started - 1)

    @property
    def repeats_some(self) -> bool:
        """Whether a cell with a prompt number is repeated after it."""
        return self.cell != self.taken

    def records(self) -> list[bytes]:
        """The cells that are to be repeated when it has become the worker, in their order."""
        return [record for _, record in self._repeated]

    def forget_last(self) -> bool:
        """Goes back to before the last cell that has a prompt number, if that is one that is repeated."""
        if not self.repeats_some:
            return False
        now = self.cell
        while self.cell == now:
            self.cell, record = self._repeated.pop()
            self._bytes -= len(record)
            self.started += 1
        return True

    def resume(self) -> Process:
        """Makes it the worker; it is no snapshot any longer.

        :raises OSError: it has ended.
        """
        oomscore.expose(self.pid)

        def wake(files: Sequence[int]) -> None:
            rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", files))
            self._socket.sendmsg([b"R"], [rights])

        try:
            return process.resume(self.pid, wake)
        finally:
            self._socket.close()

    def sacrifice(self) -> None:
        """When memory runs out it goes before everything else."""
        oomscore.sacrifice(self.pid)

    def discard(self) -> None:
        """Ends it."""
        self._socket.close()


class Snapshots:
    """All of them: the pristine one, that of the session as it is, and that from before the last cell."""

    def __init__(self) -> None:
        self.pristine: Snapshot | None = None
        self.current: Snapshot | None = None
        self.previous: Snapshot | None = None
        self._far = False  # `previous` is from before more than the last cell: good after a death, not for going back
        self.requests = 0  #: that workers have begun with, ever

    def add(self, snapshot: Snapshot, *, pristine: bool) -> None:
        """Takes a new one in, and discards those that it replaces."""
        if pristine:
            snapshot.pristine = True
            replaced, self.pristine = self.pristine, snapshot
            snapshot.sacrifice()
        elif self.current is not None and (self.current.cell != snapshot.cell or self.current.forget_last()):
            self._far = False
            replaced, self.previous, self.current = self.previous, self.current, snapshot
            self.previous.sacrifice()
        else:
            replaced, self.current = self.current, snapshot
        self._let_go(replaced)

    def missed(self) -> None:
        """There was one, but it has not arrived: none is that of the session as it is."""
        if self.current is not None:
            replaced, self.previous, self.current = self.previous, self.current, None
            self._let_go(replaced)

    def base(self, cell: int) -> None:
        """The pristine one is that of the session as it is, before cell `cell`, too."""
        self.discard_cells()
        if self.pristine is not None:
            self.current = self.pristine
            self.current.stand_for(cell)

    def _let_go(self, *snapshots: Snapshot | None) -> None:
        """Discards those that are not needed for anything any longer."""
        for snapshot in snapshots:
            if snapshot is None or snapshot in (self.current, self.previous):
                continue
            if snapshot is self.pristine:
                snapshot.sacrifice()
            else:
                snapshot.discard()

    def repeats(self, cell: int, record: bytes) -> None:
        """The session as it is differs from its snapshot by one cell more, which can be repeated.

        :param cell: the prompt number of the next cell.
        :raises ValueError: there are too many.
        """
        if self.current is not None:
            self.current.repeats(cell, record)

    def request_started(self, *, cell: bool) -> None:
        """The worker begins with a request; `cell` if it is a cell."""
        self.requests += 1
        if not cell:
            return
        for snapshot in (self.current, self.previous):
            if snapshot is not None:
                snapshot.started += 1

    def latest(self) -> Snapshot | None:
        """The best one to go back to; it is the caller's."""
        found, self.current = self.current, None
        if found is None:
            found, self.previous = self.previous, None
        elif found.repeats_some:  # what it goes on with is repeated no more
            self._far = True
        return self._given(found)

    def _given(self, found: Snapshot | None) -> Snapshot | None:
        """`found`, which is the caller's from now on."""
        if found is self.pristine:
            self.pristine = None
        if found is self.current:
            self.current = None
        if found is self.previous:
            self.previous = None
        return found

    @property
    def can_go_back(self) -> bool:
        """Whether there is a state from before the last cell."""
        if self.current is not None and self.current.repeats_some:
            return True
        return self.previous is not None and not self._far

    def earlier(self) -> Snapshot | None:
        """The one from before the last cell; it is the caller's, and that of the session as it is is discarded."""
        if not self.can_go_back:
            return None
        if self.current is not None and self.current.forget_last():
            self._far = True
            return self.latest()
        found = self._given(self.previous)
        if found is not None:
            later, self.current = self.current, None
            self._let_go(later)
        return found

    def first(self) -> Snapshot | None:
        """The pristine one; it is the caller's."""
        return self._given(self.pristine)

    def discard_cells(self) -> None:
        """Nobody wants to go back any longer."""
        cells = self.current, self.previous
        self.current = self.previous = None
        self._let_go(*cells)

    def discard_spare(self) -> None:
        """Ends all but that of the session as it is."""
        spare = self.previous, self.pristine
        self.previous = self.pristine = None
        if self.current is not None and self.current.pristine:
            self.pristine = self.current
        self._let_go(*spare)

    def discard(self) -> None:
        """Ends all of them."""
        every = {self.pristine, self.current, self.previous}
        self.pristine = self.current = self.previous = None
        self._let_go(*every)

    def pids(self) -> set[int]:
        """The process ids of all copies."""
        return {s.pid for s in (self.pristine, self.current, self.previous) if s is not None}
