"""When memory runs short, snapshots go before a cell has to."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ipymini_supervisor.rollup import Memory, Rollups
from ipymini_supervisor.snapshots import Snapshots

log = logging.getLogger("ipymini")

#: The session as it is before the cell is given up only for so much of the memory: what grows is the cell, and it is
#: the cell that has to end if there is nothing else to be had.
WORTH = 0.02
#: Seconds after which it is asked again what that one is worth.
AGAIN = 0.25


class Relief:
    """Discards snapshots; none of a worker that ends: it gives back all that it has, and they are what is left.

    :param leaving: whether the worker has begun to end, or there is none.
    """

    def __init__(
        self, snapshots: Snapshots, rollups: Rollups, clock: Callable[[], float], leaving: Callable[[], bool]
    ) -> None:
        self._snapshots = snapshots
        self._rollups = rollups
        self._clock = clock
        self._leaving = leaving
        self._asked = float("-inf")

    @property
    def spare(self) -> bool:
        """Whether there are some besides that of the session as it is."""
        kept = self._snapshots
        return kept.previous is not None or (kept.pristine is not None and kept.pristine is not kept.current)

    def relieve(self, total: int) -> None:
        """Gives up those that can be spared; with none of them left, that of the session if it is worth it.

        :param total: bytes of memory that there are in all.
        """
        snapshots = self._snapshots
        if self._leaving():
            return
        if self.spare:
            log.warning("Memory runs short: the snapshots that are not needed most were given up.")
            snapshots.discard_spare()
            return
        current = snapshots.current
        if current is None or self._clock() - self._asked < AGAIN:
            return
        self._asked = self._clock()

        def weigh(memory: Memory | None) -> None:
            # What it has shared with a worker that has ended meanwhile is its own by now.
            worth = memory is not None and memory.private > WORTH * total
            if worth and snapshots.current is current and not self._leaving():
                log.warning("Memory runs short: the snapshot from before In[%d] was given up.", current.cell)
                snapshots.discard_cells()
                snapshots.discard_spare()  # it may be the pristine one, and the worker has to see that it is gone

        self._rollups.ask({current.pid}, weigh)
