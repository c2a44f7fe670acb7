"""The end of the kernel: the worker first, then everything that it has started, within a time."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable

from ipymini_supervisor import tree
from ipymini_supervisor.sockets import Sockets
from ipymini_supervisor.timers import Timers
from ipymini_supervisor.worker import Worker
from ipymini_worker.wire import Kind

log = logging.getLogger("ipymini")


class Ending:
    """STOP, SIGTERM and SIGKILL for the worker in the first half of the grace; SIGTERM and SIGKILL for the rest then.

    :param find: the pids of all that the worker has left behind.
    :param grace: seconds that all of it may take.
    """

    def __init__(
        self,
        sockets: Sockets,
        timers: Timers,
        clock: Callable[[], float],
        find: Callable[[], set[int]],
        grace: float,
    ) -> None:
        self.grace = grace
        self._sockets = sockets
        self._timers = timers
        self._clock = clock
        self._find = find
        self._sweep: tree.Sweep | None = None

    def begin(self, worker: Worker, *, ready: bool, what: str = "shuts down") -> None:
        """Makes the worker end.

        :param ready: whether it has said HELLO; if not, it has nothing to lose yet.
        :param what: the kernel does.
        """
        worker.explain(f"was ended, because the kernel {what}")
        worker.send(Kind.STOP)
        if not ready:
            worker.signal(signal.SIGTERM)
        at = self._clock()
        self._timers.at(at + 0.3 * self.grace, lambda: self._press(worker, signal.SIGTERM))
        self._timers.at(at + 0.5 * self.grace, lambda: self._press(worker, signal.SIGKILL))

    def _press(self, worker: Worker, number: signal.Signals) -> None:
        if not worker.buried:
            log.warning("The worker has not ended; %s.", number.name)
            worker.signal(number)

    def sweep(self, done: Callable[[], None]) -> None:
        """Ends what is left; calls `done` when nothing is, or when the time is over."""

        def swept(survivors: set[int]) -> None:
            if survivors:
                log.error("These processes could not be ended: %s.", ", ".join(map(str, sorted(survivors))))
            done()

        self._sweep = tree.Sweep(self._sockets, self._timers, self._clock, self._find, self.grace / 4, swept)

    def handle(self, ready: set[str | int]) -> None:
        """Takes note of processes that have ended."""
        if self._sweep is not None:
            self._sweep.handle(ready)
