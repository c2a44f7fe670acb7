"""The memory watch, carried out: what `memory` decides is done to snapshots, cells and the worker.

Nothing is looked at while nothing runs: an idle kernel makes no wake-ups.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable

from ipymini_supervisor import cgroup, memory
from ipymini_supervisor.footprint import footprint
from ipymini_supervisor.frontends import Frontends
from ipymini_supervisor.lanes import Request
from ipymini_supervisor.memory import LIMIT, Deed, Guard, Pool, Size, Verdict
from ipymini_supervisor.relief import Relief
from ipymini_supervisor.rollup import Memory, Rollups
from ipymini_supervisor.router import Action, Router
from ipymini_supervisor.timers import Timer, Timers
from ipymini_supervisor.worker import Worker
from ipymini_worker.wire import Kind

log = logging.getLogger("ipymini")

#: Seconds from the beginning of a cell to the first look at the most.
FIRST = 0.05
#: Characters of what the worker says about its variables that are shown.
_SHOWN = 2000


class Watch:
    """Watches while something runs.

    :param carry_out: carries out what the router decides.
    :param limit: what the user allows the kernel; None: as much as there is.
    :param family: the processes of the kernel, without the supervisor and snapshots.
    :param copies: the processes that are snapshots.
    :param record: is told what is seen: what runs, the pool that is nearest to its end, the bytes of the kernel.
    :param pools: what the system has.
    """

    def __init__(
        self,
        router: Router,
        frontends: Frontends,
        relief: Relief,
        rollups: Rollups,
        timers: Timers,
        clock: Callable[[], float],
        carry_out: Callable[[Iterable[Action]], None],
        worker: Callable[[], Worker | None],
        limit: Size | None,
        family: Callable[[], set[int]],
        copies: Callable[[], set[int]],
        record: Callable[[Request, Pool, int], None],
        pools: Callable[[], list[Pool]] = cgroup.pools,
        weigh: Callable[[Collection[int]], dict[int, int]] = footprint,
    ) -> None:
        self._router = router
        self._frontends = frontends
        self._relief = relief
        self._timers = timers
        self._clock = clock
        self._carry_out = carry_out
        self._worker = worker
        self._limit = limit
        self._family = family
        self._record = record
        self._pools = pools
        self._weigh = weigh
        self._true = TrueSize(rollups, clock, copies)
        self._guard = Guard()
        self._timer: Timer | None = None
        self._wait = FIRST
        self._seen = 0  # the request that was looked at last
        self._sentence = ""  # what an interrupted cell is told

    def begin(self) -> None:
        """The worker is handed something to do."""
        if self._timer is None:
            self._again(min(self._wait, FIRST))

    def _again(self, seconds: float) -> None:
        self._timer = self._timers.at(self._clock() + seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        running, worker = self._router.running(), self._worker()
        if not running or worker is None:
            return
        began = self._clock()
        weights = self._weigh(self._family())
        own = sum(weights.values())
        pools = self._pools()
        if not pools:
            return  # this system does not tell
        for pool in pools:
            if pool.short:
                self._relief.relieve(pool.total)
                break
        wait = memory.LATEST
        if self._limit is not None:
            allowed = self._limit.of(min(pool.total for pool in pools))
            used = self._true.estimate(weights, allowed)
            if used is not None:
                pools.append(Pool(LIMIT, used, allowed))
            else:  # it is near, and how near will be known in a moment
                wait = memory.HELPLESS
        if running[0].id != self._seen:
            self._seen = running[0].id
            log.debug("Memory of %s is watched from %s on.", running[0].message.header.msg_id, memory.human(own))
        asking = self._guard.asking
        verdict = self._guard.look(began, self._clock(), running[0].id, pools, own, spare=self._relief.spare)
        # However long it takes to look, it takes no more than half of the time.
        self._wait = max(min(verdict.wait, wait), self._clock() - began)
        self._record(running[0], max(pools, key=lambda pool: pool.used / pool.total), own)
        self._do(verdict, own, running, worker)
        if asking and verdict.deed is Deed.NOTHING and not self._guard.asking:
            worker.send_control(Kind.MEMORY, running[0].id, (b"",))
        self._again(self._wait)

    def _do(self, verdict: Verdict, own: int, running: list[Request], worker: Worker) -> None:
        pool = verdict.pool
        if pool is None:
            return
        match verdict.deed:
            case Deed.RELIEVE:
                self._relief.relieve(pool.total)
            case Deed.ASK:
                if not pool.allowed:
                    self._relief.relieve(pool.total)
                self._sentence = f"The cell was interrupted, because {memory.said(pool, own, now=True)}."
                worker.send_control(Kind.MEMORY, running[0].id, (self._sentence.encode(),))
            case Deed.INTERRUPT:
                self._interrupt("The worker does not answer, so that its variables cannot be shown.")
            case Deed.KILL:
                worker.condemn(f"was killed, because {memory.said(pool, own, now=False)}")
            case _:
                pass

    def answered(self, request: int, variables: str) -> None:
        """The worker has named its largest variables, for a request; which may be over by now, and another one runs."""
        running = self._router.running()
        if self._guard.asking and running and running[0].id == request == self._seen:
            self._guard.answered()
            self._interrupt(variables[:_SHOWN])

    def _interrupt(self, variables: str) -> None:
        log.warning("%s", self._sentence)
        lanes = self._router.lanes
        for lane in (lanes.main, *lanes.subshells.values()):
            if lane.first is not None and lane.first.type == "execute_request":
                text = f"{self._sentence}\n{variables}\n"
                self._frontends.text("stderr", text, lane.first.message.header_bytes)
        # An interrupt of the main shell is one of all subshells if that is idle.
        names = [lanes.main.name, *lanes.subshells] if lanes.main.active else [lanes.main.name]
        self._carry_out([action for name in names for action in self._router.interrupt(name)])


class TrueSize:
    """What several processes have, each page counted once. It takes the system a while to add that up, so it is asked
    for only where it matters: where what they have at the most comes near to what they may have.
    """

    #: The share of what is allowed from which on it matters.
    NEAR = 0.7
    #: Seconds after which it is asked for again, and that pass before it is.
    AGAIN, PAUSE = 1.0, 0.1
    #: The share of what is allowed that may come to it before it is asked for again.
    GROWN = 0.02

    def __init__(self, rollups: Rollups, clock: Callable[[], float], copies: Callable[[], set[int]]) -> None:
        self._rollups = rollups
        self._clock = clock
        self._copies = copies
        self._asking = False
        self._known: tuple[float, int, dict[int, int]] | None = None  # when, what it was, what it was at the most

    def estimate(self, weights: dict[int, int], allowed: int) -> int | None:
        """Bytes of some processes together; None as long as the system counts, unless one has all that is allowed.

        :param weights: what each has, by pid, with what it may share with the others.
        """
        most = sum(weights.values())
        if len(weights) < 2 or most < self.NEAR * allowed:
            self._known = None
            return most
        if not self._asking and self._old(weights, allowed):
            self._asking = True
            self._rollups.ask(weights.keys() | self._copies(), lambda memory: self._told(memory, weights))
        least = max(weights.values())
        if self._known is None:
            return least if least >= allowed else None
        _, true, then = self._known
        return max(least, min(most, true + _growth(then, weights)))

    def _old(self, weights: dict[int, int], allowed: int) -> bool:
        if self._known is None:
            return True
        when, _, then = self._known
        changed = then.keys() != weights.keys() or _growth(then, weights) > self.GROWN * allowed
        return self._clock() - when > (self.PAUSE if changed else self.AGAIN)

    def _told(self, memory: Memory | None, weights: dict[int, int]) -> None:
        self._asking = False
        # Where it is not known, the largest of them is sure to have what it has.
        true = max(weights.values()) if memory is None else memory.proportional
        self._known = self._clock(), true, weights


def _growth(then: dict[int, int], now: dict[int, int]) -> int:
    """What has come to processes since then. Of one that is new it is not known how much it shares with others."""
    return sum(max(0, now[pid] - before) for pid, before in then.items() if pid in now)
