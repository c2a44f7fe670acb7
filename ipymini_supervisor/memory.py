"""The memory watch: what is done when a cell takes too much. Pure: what is used, and the time, come in as arguments.

Rules:

1. Memory comes out of pools: what `IPYMINI_MEMORY_LIMIT` allows, each control group that the kernel is in, the machine.
2. Each has a soft mark, where the cell is interrupted, and a hard one, where the worker is killed. What the user allows
   has its hard mark at the end; the pools of the system have it before, because at the end the system kills, and in a
   container it may kill everything.
3. A cell answers for what it adds. The marks move with what was used when it began, so that a session that is nearly
   full can still work; and of a pool that others use, too, a kernel has no part that hardly uses it or has not grown.
4. Before a cell is interrupted for a pool of the system, snapshots that can be spared go, and the worker is asked for
   its largest variables. It has `ASK` seconds to answer, or until the way to the hard mark is half gone.
5. The nearer the mark and the faster the growth, the sooner the next look.

Sizes are bytes, times seconds on a clock that never goes back.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple

_MIB, _GIB = 1 << 20, 1 << 30
_UNITS = {"": 1, "K": 1 << 10, "M": _MIB, "G": _GIB, "T": 1 << 40}
#: No worker could run with less.
LEAST = 16 * _MIB
#: The name of the pool that the user allows.
LIMIT = "IPYMINI_MEMORY_LIMIT"
#: How much is left at the soft and at the hard mark: a share, but not more than so many bytes.
SOFT, HARD, ALLOWED = (0.15, 2 * _GIB), (0.05, _GIB), (0.1, 2 * _GIB)
#: Shares of a pool, and of its growth since the cell began, from which on a kernel has a part in it.
PART, GROWTH = 0.1, 0.25
#: Seconds that the worker may take to name its largest variables.
ASK = 1.0
#: Seconds between two looks: the fewest, the most, and as long as nothing can be done.
SOONEST, LATEST, HELPLESS = 0.02, 1.0, 0.1
#: Bytes a second that a cell may fill, whatever it has done so far.
FASTEST = _GIB


class Size(NamedTuple):
    """An amount of memory, in bytes or as a share of what there is."""

    size: int = 0
    share: float = 0.0

    @classmethod
    def read(cls, text: str, least: int = LEAST) -> Size:
        """The size in a text such as "4G", "512M", "1.5GiB", "80%", or a number of bytes; units are powers of 1024.

        :param least: bytes; by default, what any worker needs.
        :raises ValueError: it is none, or too little.
        """
        text = text.strip().upper()
        number = text.rstrip("%KMGTIB ")
        unit = text[len(number) :].strip()
        if not number.isascii() or not number.replace(".", "", 1).isdigit() or len(number) > 20:
            raise ValueError(text)
        value = float(number)
        if unit == "%":
            if not 0 < value <= 100:
                raise ValueError(text)
            return cls(share=value / 100)
        factor = _UNITS.get(unit[:1] if unit != "B" else "")
        if factor is None or (unit and unit not in ("B", unit[0], f"{unit[0]}B", f"{unit[0]}IB")):
            raise ValueError(text)
        if not least <= value * factor < 1 << 60:
            raise ValueError(text)
        return cls(size=int(value * factor))

    def of(self, total: int) -> int:
        """Bytes, where there are `total`."""
        return self.size or int(self.share * total)


class Pool(NamedTuple):
    """One pool at one moment."""

    name: str  #: `LIMIT`, or "machine", or the path of a control group
    used: int
    total: int

    @property
    def allowed(self) -> bool:
        """Whether it is what the user allows, and the kernel's alone."""
        return self.name == LIMIT

    @property
    def short(self) -> bool:
        """Whether there is little left, whoever has taken it."""
        return self.total - self.used < _room(HARD, self.total)


class Deed(enum.Enum):
    """What is to be done."""

    NOTHING = "nothing"
    RELIEVE = "relieve"  #: give up snapshots
    ASK = "ask"  #: ask the worker for its largest variables, and say what comes
    INTERRUPT = "interrupt"
    KILL = "kill"


class Verdict(NamedTuple):
    """What is to be done, for which pool, and the seconds until the next look."""

    deed: Deed
    pool: Pool | None
    wait: float


class _Phase(enum.Enum):
    CALM = "calm"
    ASKED = "asked"
    INTERRUPTED = "interrupted"
    KILLED = "killed"


class _Marks(NamedTuple):
    soft: float
    hard: float


class Guard:
    """Looks after the cells of a kernel, one after the other."""

    def __init__(self) -> None:
        self._cell = 0
        self._phase = _Phase.CALM
        self._asked, self._asked_for = 0.0, ""
        self._base: dict[str, int] = {}  # used at the first look at the cell, by pool
        self._own_base = 0  # the least that the kernel had since
        self._last: dict[str, int] = {}  # used at the last look
        self._when = 0.0  # the last look was begun

    @property
    def asking(self) -> bool:
        """Whether the worker has been asked for its largest variables, and has to be interrupted yet."""
        return self._phase is _Phase.ASKED

    def answered(self) -> None:
        """The worker has named its largest variables; the cell is interrupted."""
        self._phase = _Phase.INTERRUPTED

    def look(self, began: float, now: float, cell: int, pools: Sequence[Pool], own: int, *, spare: bool) -> Verdict:
        """Judges what is seen.

        :param began: when it was begun to look; on a busy machine that may be a while ago, and no growth is as fast
            as it seems.
        :param cell: a number that is another one for each cell.
        :param own: bytes that the kernel's processes have.
        :param spare: whether there are snapshots that can be given up.
        """
        if cell != self._cell:
            self._cell, self._phase, self._base, self._own_base = cell, _Phase.CALM, {}, own
        self._own_base = min(self._own_base, own)  # a copy that has just been made may have counted as well
        seconds, self._when = max(SOONEST, now - self._when), began
        deed, cause, wait = Deed.NOTHING, None, LATEST
        for pool in pools:
            base = self._base.setdefault(pool.name, pool.used)
            rate = max(0.0, (pool.used - self._last.get(pool.name, pool.used)) / seconds)
            self._last[pool.name] = pool.used
            marks = _marks(pool, base)
            helpless = pool.used >= marks.soft and not self._has_part(pool, base, own)
            wait = min(wait, HELPLESS if helpless else _wait(pool, marks, rate))
            if helpless:
                continue
            found = self._judge(now, pool, marks, rate, spare)
            if _ORDER.index(found) > _ORDER.index(deed):
                deed, cause = found, pool
        if deed is Deed.ASK and cause is not None:
            self._asked_for = cause.name
        self._happened(deed, now, pools)
        return Verdict(deed, cause, SOONEST if deed is not Deed.NOTHING or self.asking else wait)

    def _has_part(self, pool: Pool, base: int, own: int) -> bool:
        grown = own - self._own_base
        return pool.allowed or (own >= PART * pool.total and grown > 0 and grown >= GROWTH * (pool.used - base))

    def _judge(self, now: float, pool: Pool, marks: _Marks, rate: float, spare: bool) -> Deed:
        if self._phase is _Phase.KILLED or pool.used < marks.soft:
            return Deed.NOTHING
        # At the next look but one it would be too late.
        late = not pool.allowed and pool.used + 2 * SOONEST * rate >= pool.total
        if pool.used >= marks.hard or late:
            return Deed.KILL
        if self._phase is _Phase.CALM:
            return Deed.RELIEVE if spare and not pool.allowed else Deed.ASK
        waited = now - self._asked >= ASK or pool.used >= (marks.soft + marks.hard) / 2
        return Deed.INTERRUPT if self._phase is _Phase.ASKED and waited else Deed.NOTHING

    def _happened(self, deed: Deed, now: float, pools: Sequence[Pool]) -> None:
        if deed is Deed.ASK:
            self._phase, self._asked = _Phase.ASKED, now
        elif deed is Deed.INTERRUPT:
            self._phase = _Phase.INTERRUPTED
        elif deed is Deed.KILL:
            self._phase = _Phase.KILLED
        elif self.asking and self._is_calm(pools):
            self._phase = _Phase.CALM  # it has been given back by itself

    def _is_calm(self, pools: Sequence[Pool]) -> bool:
        """Whether nothing is above its mark; a pool of which nothing is known at the moment may still be."""
        known = any(pool.name == self._asked_for for pool in pools)
        return known and all(pool.used < _marks(pool, self._base[pool.name]).soft for pool in pools)


#: What counts more comes later.
_ORDER = (Deed.NOTHING, Deed.RELIEVE, Deed.ASK, Deed.INTERRUPT, Deed.KILL)


def _room(mark: tuple[float, int], total: int) -> float:
    share, most = mark
    return min(share * total, most)


def _marks(pool: Pool, base: int) -> _Marks:
    left = max(0, pool.total - base)
    soft = pool.total - _room(ALLOWED if pool.allowed else SOFT, pool.total)
    soft = max(soft, base + left / 2)
    if pool.allowed:
        return _Marks(soft, pool.total)
    return _Marks(soft, max(pool.total - _room(HARD, pool.total), base + 3 * left / 4))


def _wait(pool: Pool, marks: _Marks, rate: float) -> float:
    """Seconds in which no more than half of the way to the next mark is gone."""
    way = (marks.soft if pool.used < marks.soft else marks.hard) - pool.used
    return min(LATEST, max(SOONEST, way / 2 / max(rate, FASTEST)))


def said(pool: Pool, own: int, *, now: bool) -> str:
    """What is used of a pool, or was, as the rest of a sentence about the worker.

    :param own: bytes of it that this kernel has.
    """
    much = f"{human(pool.used)} of {human(pool.total)} allowed"
    if pool.allowed:
        return f"{'the kernel uses' if now else 'it used'} {much} ({LIMIT})"
    are = "are" if now else "were"
    if pool.name == "machine":
        much = f"{human(pool.used)} of the machine's {human(pool.total)}"
    else:
        much = f"{much} to its control group"
    return f"{much} {are} used, {human(own)} by this kernel"


def human(size: float) -> str:
    """A size for people."""
    if size >= _GIB:
        return f"{size / _GIB:.1f} GiB"
    return f"{size / _MIB:,.0f} MiB"
