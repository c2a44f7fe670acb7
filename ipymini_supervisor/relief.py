"""When memory runs short, snapshots go before the system has to kill something.

It is looked at while a cell runs, and only then: an idle kernel needs no more memory than it has.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ipymini_supervisor import cgroup
from ipymini_supervisor.rollup import Memory, Rollups
from ipymini_supervisor.snapshots import Snapshots
from ipymini_supervisor.timers import Timer, Timers

log = logging.getLogger("ipymini")

#: Seconds between two looks.
INTERVAL = 0.25
#: Memory is short when less than this share of it is free, or less than so many bytes if that is less.
SHARE, ENOUGH = 0.05, 1 << 30
#: The session as it is before the cell is given up only for so much of the memory: what grows is the cell, and it is
#: the cell that the system ends if there is nothing else to be had.
WORTH = 0.02


class Relief:
    """Discards snapshots.

    :param busy: whether a cell runs.
    :param room: free and total bytes of memory.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        rollups: Rollups,
        timers: Timers,
        clock: Callable[[], float],
        busy: Callable[[], bool],
        room: Callable[[], tuple[int, int]] = cgroup.room,
    ) -> None:
        self._snapshots = snapshots
        self._rollups = rollups
        self._timers = timers
        self._clock = clock
        self._busy = busy
        self._room = room
        self._timer: Timer | None = None

    def watch(self) -> None:
        """A cell begins to run."""
        if self._timer is None and self._snapshots.pids():
            self._timer = self._timers.at(self._clock() + INTERVAL, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._busy():
            return
        free, total = self._room()
        if total and free < min(SHARE * total, ENOUGH):
            self._relieve(total)
        self.watch()

    def _relieve(self, total: int) -> None:
        snapshots = self._snapshots
        if snapshots.previous is not None or snapshots.pristine is not None:
            log.warning("Memory runs short: the snapshots that are not needed most were given up.")
            snapshots.discard_spare()
            return
        current = snapshots.current
        if current is None:
            return

        def weigh(memory: Memory | None) -> None:
            if memory is not None and memory.private > WORTH * total and snapshots.current is current:
                log.warning("Memory runs short: the snapshot from before In[%d] was given up.", current.cell)
                snapshots.discard_cells()

        self._rollups.ask({current.pid}, weigh)
