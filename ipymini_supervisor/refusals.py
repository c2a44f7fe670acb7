"""Messages that were dropped: counted all, told of seldom. Pure: no I/O, no clock.

Whoever can reach a socket can send rubbish as fast as the machine allows; a line in the log for each piece would fill
the disk. So each kind is told of at most once a minute, in a sentence that says how many there were.
"""

from __future__ import annotations

#: Seconds between two sentences about the same kind.
INTERVAL = 60.0
#: Kinds that are told apart; there are far fewer, unless somebody lets content into a reason.
_KINDS = 100
_OTHERS = ("any channel", "for other reasons")


class Refusals:
    """Counts what was dropped, by channel and reason."""

    def __init__(self) -> None:
        self.total = 0
        self._last: dict[tuple[str, str], float] = {}  # when each kind was told of
        self._untold: dict[tuple[str, str], int] = {}

    def count(self, channel: str, why: str, now: float) -> str | None:
        """Another one was dropped; returns a sentence if it is time for one.

        :param why: completes "a message on shell …"; it quotes nothing of the message.
        :param now: seconds on a clock that never goes back.
        """
        self.total += 1
        kind = (channel, why)
        if kind not in self._last and len(self._last) >= _KINDS:
            kind = _OTHERS
        self._untold[kind] = self._untold.get(kind, 0) + 1
        if kind in self._last and now - self._last[kind] < INTERVAL:
            return None
        self._last[kind] = now
        return _sentence(kind, self._untold.pop(kind))

    def rest(self) -> list[str]:
        """Sentences about what nobody was told of yet; for the end of the kernel."""
        untold, self._untold = self._untold, {}
        return [_sentence(kind, number) for kind, number in untold.items()]


def _sentence(kind: tuple[str, str], number: int) -> str:
    channel, why = kind
    return f"Dropped {'a message' if number == 1 else f'{number} messages'} on {channel} {why}."
