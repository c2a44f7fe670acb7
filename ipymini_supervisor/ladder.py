"""The interrupt ladder: what one more interrupt of the same cell means. Pure.

Rules:

1. The first interrupt of a request sends SIGINT. The second, while the same request still runs, shows where it is
   stuck and sends SIGINT again. The third kills the worker.
2. Interrupts that come closer together than `GAP` seconds are one: nobody loses a session to a double click.
3. With `kill_after`, the ladder climbs by itself: the second rung at half of that time, the third at its end.
"""

from __future__ import annotations

import enum

GAP = 0.5


class Rung(enum.IntEnum):
    """How far an interrupt goes."""

    NONE = 0  #: nothing runs
    INTERRUPT = 1  #: SIGINT
    STACK = 2  #: the stack on stderr, and SIGINT again
    KILL = 3  #: SIGKILL


class Ladder:
    """Where on the ladder the active request is.

    :param kill_after: seconds from the first interrupt until the ladder has climbed by itself; None: it does not.
    """

    def __init__(self, kill_after: float | None = None) -> None:
        self.kill_after = kill_after
        self._request = 0
        self._rung = Rung.NONE
        self._since = 0.0

    def ask(self, request: int, now: float) -> tuple[Rung, bool]:
        """Somebody asks for an interrupt: the rung that it has come to, and whether that rung is to be carried out."""
        if request != self._request:
            self._request, self._rung = request, Rung.NONE
        elif now - self._since < GAP or self._rung is Rung.KILL:
            return self._rung, False
        self._rung = Rung(self._rung + 1)
        self._since = now
        return self._rung, True

    def rung(self, request: int) -> Rung:
        """How far up `request` is."""
        return self._rung if request == self._request else Rung.NONE

    def next_climb(self) -> float | None:
        """Seconds after which the ladder climbs one rung by itself; None if it does not."""
        if self.kill_after is None or self._rung is Rung.KILL:
            return None
        return max(self.kill_after / 2, GAP)
