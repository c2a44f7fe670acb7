"""Interrupts, carried out: what each rung of the ladder does to the worker and says in the cell."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from ipymini_supervisor import stack, tree
from ipymini_supervisor.frontends import Frontends
from ipymini_supervisor.ladder import Ladder, Rung
from ipymini_supervisor.lanes import MAIN, Request
from ipymini_supervisor.router import Action, Router
from ipymini_supervisor.settings import Settings
from ipymini_supervisor.timers import Timers
from ipymini_supervisor.worker import Worker
from ipymini_worker.wire import NUDGE_AFTER, NUDGE_SIGNAL, Kind
from ipymini_worker.wire import STACK as WITH_STACK

log = logging.getLogger("ipymini")

#: Seconds after which a cell that has not ended is told what a second interrupt does.
HINT_AFTER = 1.0
#: Seconds after which a worker has been heard that may have said that the cell is over.
HEARD = 0.01
#: Seconds after which SIGINT is sent although it is not known yet where the worker is.
LOOK_WITHIN = 0.3
_SIGNALLED = {
    Rung.NONE: None,
    Rung.INTERRUPT: "SIGINT",
    Rung.STACK: "SIGINT",
    Rung.KILL: "SIGKILL",
}


class Interrupts:
    """Climbs the ladder for what a shell executes.

    :param carry_out: carries out what a rung brings that is climbed without being asked for.
    """

    def __init__(
        self,
        router: Router,
        frontends: Frontends,
        timers: Timers,
        clock: Callable[[], float],
        settings: Settings,
        carry_out: Callable[[list[Action]], None],
    ) -> None:
        self._router = router
        self._frontends = frontends
        self._timers = timers
        self._clock = clock
        self._ladder = Ladder(settings.interrupt_kill_after)
        self._carry_out = carry_out
        self._last = Rung.NONE
        self._target = ""

    def ask(self, worker: Worker | None, subshell: str = MAIN) -> list[Action]:
        """Somebody wants what a shell executes to be interrupted; returns what the supervisor has to carry out.

        :param subshell: the main shell is meant where there is no other word; if that is idle, all subshells are.
        """
        request = self._router.aimed(subshell)
        if request is None or worker is None:
            self._last = Rung.NONE
            return self._router.interrupt(subshell)
        self._target = "the worker's process group" if request.lane == MAIN else "the thread of the subshell"
        self._last, climbed = self._ladder.ask(request.id, self._clock())
        if not climbed:
            return []
        log.info("Interrupt, rung %d (%s), in cell [%d].", self._last, self._last.name.lower(), request.cell)
        if self._last is Rung.KILL:
            worker.condemn("was killed after three interrupts")
            return []
        if self._last is Rung.INTERRUPT:
            self._timers.at(self._clock() + HINT_AFTER, lambda: self._hint(request))
        climb = self._ladder.next_climb()
        if climb is not None:
            self._timers.at(self._clock() + climb, lambda: self._climb(request, worker))
        if self._last is Rung.STACK and request.lane == MAIN:
            self._look_first(request, worker)
            return []
        return self._router.interrupt(subshell)

    def _look_first(self, request: Request, worker: Worker) -> None:
        """Sends SIGINT when it is known where the worker is, or soon: afterwards it may be in what handles that."""
        due = [request]

        def send() -> None:
            if due and self._runs(due.pop()) and not worker.buried:
                self._carry_out(self._router.interrupt(MAIN))

        def looked(dump: str) -> None:
            send()
            if not worker.buried:  # else there is an obituary
                self._say_where(request, stack.show(stack.parse(dump, main=True)))

        worker.dump(looked)
        if due:
            self._timers.at(self._clock() + LOOK_WITHIN, send)

    def reply(self) -> dict[str, Any]:
        """The content of interrupt_reply (protocol: Kernel interrupt), with the rung and what was signalled."""
        signalled = _SIGNALLED[self._last]
        target = self._target if signalled else None
        return {"status": "ok", "rung": int(self._last), "signal": signalled, "target": target}

    def signal(self, request: Request, worker: Worker) -> None:
        """Sends SIGINT, and sees to it that it is not slept over; to a thread the worker has to pass the word on."""
        if request.lane != MAIN:
            worker.send_control(Kind.INTERRUPT, request.id, (), WITH_STACK if self._stuck(request) else 0)
            return
        since = time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else 0.0
        told: set[int] = set()
        worker.send_control(Kind.INTERRUPT, request.id)
        worker.signal(signal.SIGINT)
        self._nudge_later(request, worker, since, told, NUDGE_AFTER)

    def _nudge_later(
        self, request: Request, worker: Worker, since: float, told: set[int], after: tuple[float, ...]
    ) -> None:
        if after:
            self._timers.at(self._clock() + after[0], lambda: self._nudge(request, worker, since, told, after[1:]))

    def _nudge(self, request: Request, worker: Worker, since: float, told: set[int], after: tuple[float, ...]) -> None:
        if not self._runs(request):
            return
        self._nudge_later(request, worker, since, told, after)
        worker.signal_alone(NUDGE_SIGNAL)
        # C code that waits for a program which it was about to start (os.system) has not passed the signal on.
        for pid in tree.newborn(worker.pid, since) - told:
            told.add(pid)
            try:
                os.kill(pid, signal.SIGINT)
            except (ProcessLookupError, PermissionError):  # gone, or of another user's, as of `sudo`
                pass

    def _climb(self, request: Request, worker: Worker) -> None:
        if self._runs(request):
            self._carry_out(self.ask(worker, request.lane))

    def _hint(self, request: Request) -> None:
        """Not at once: when we stood still, it may have been over for long."""
        self._timers.at(self._clock() + HEARD, lambda: self._say_hint(request))

    def _say_hint(self, request: Request) -> None:
        if self._runs(request) and self._ladder.rung(request.id) is Rung.INTERRUPT:
            self._say(request, "SIGINT was sent, and the cell still runs. Interrupt again to see where it is stuck.")

    def _runs(self, request: Request) -> bool:
        return request in self._router.running()

    def _stuck(self, request: Request) -> bool:
        return self._ladder.rung(request.id) is Rung.STACK

    def tell_where(self, request_id: int, text: str) -> None:
        """The worker has said where a request of a subshell is stuck.

        :raises LookupError: that request is not active.
        """
        self._say_where(self._router.lanes.find(request_id), stack.show(stack.read(text)))

    def _say_where(self, request: Request, lines: list[str]) -> None:
        if not self._runs(request):
            return
        lines = lines or ["Its Python stack cannot be had; it may be stopped."]
        again = "SIGINT was sent again. Interrupt once more to kill the worker."
        self._say(request, "\n".join(["The cell still runs after an interrupt.", *lines, again]))

    def _say(self, request: Request, text: str) -> None:
        self._frontends.text("stderr", f"{text}\n", request.message.header_bytes)
