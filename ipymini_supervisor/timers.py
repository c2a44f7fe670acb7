"""Timers: a heap that says how long the loop may sleep. Pure: the time comes in as an argument.

Times are seconds on a clock that never goes back.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class Timer:
    """One appointment; `cancel` may be called at any time."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """It will not happen."""
        self.action = None


class Timers:
    """All appointments of the supervisor."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = count()

    def at(self, when: float, action: Callable[[], None]) -> Timer:
        """Calls `action` at `when`, or as soon as the loop comes by afterwards."""
        timer = Timer(action)
        heapq.heappush(self._heap, (when, next(self._order), timer))
        return timer

    def timeout(self, now: float) -> float | None:
        """Seconds until the next appointment, 0 if it is due; None if there is none."""
        while self._heap and self._heap[0][2].action is None:
            heapq.heappop(self._heap)
        return max(0.0, self._heap[0][0] - now) if self._heap else None

    def run(self, now: float) -> None:
        """Calls what is due, in the order of time."""
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            action, timer.action = timer.action, None
            if action is not None:
                action()
