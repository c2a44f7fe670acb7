"""Carries out what the router decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from ipymini_supervisor.debugger import Debugger
from ipymini_supervisor.frontends import Frontends
from ipymini_supervisor.lanes import ASIDE, MAIN, Request
from ipymini_supervisor.ledger import KEY, Ledger
from ipymini_supervisor.recorder import Recorder
from ipymini_supervisor.router import Action, End, Forward, Interrupt, Nothing, Reply, Router
from ipymini_supervisor.session import now
from ipymini_supervisor.statuses import Status
from ipymini_supervisor.subshells import Subshells
from ipymini_supervisor.succession import EXECUTE
from ipymini_supervisor.watch import Watch
from ipymini_supervisor.worker import Worker
from ipymini_worker.wire import Kind


class Carrier:
    """Carries out actions: requests are handed on first, so that the worker goes on while frontends are told; it is
    heard only when they have been.

    :param worker: the one that there is.
    :param signal: interrupts a request.
    """

    def __init__(
        self,
        router: Router,
        frontends: Frontends,
        ledger: Ledger,
        recorder: Recorder,
        subshells: Subshells,
        debugger: Debugger,
        watch: Watch,
        worker: Callable[[], Worker | None],
        signal: Callable[[Request], None],
    ) -> None:
        self._router = router
        self._frontends = frontends
        self._ledger = ledger
        self._recorder = recorder
        self._subshells = subshells
        self._debugger = debugger
        self._watch = watch
        self._worker = worker
        self._signal = signal

    def carry_out(self, actions: Iterable[Action]) -> None:
        """Carries them out; a request that cannot be handed on costs no other one its reply."""
        actions = list(actions)
        # Before the worker is handed the next cell, which it is not to be charged for.
        over = [action.request for action in actions if isinstance(action, Reply) and action.request.type == EXECUTE]
        accounts = {request.id: self._ledger.end(request) for request in over}
        try:
            for action in actions:
                if isinstance(action, Forward):
                    self._forward(action.request)
        finally:
            for action in actions:
                match action:
                    case Status(request, state):
                        self._frontends.status(state, request)
                    case Reply(request, content, status, buffers):
                        account = accounts.get(request.id)
                        self._recorder.reply(request, status, account)
                        more = {} if account is None else {KEY: account}
                        self._frontends.reply(request, content, status, buffers, more)
                    case Interrupt(request):
                        self._debugger.release(request, partial(self._signal, request))
                    case End():
                        self._subshells.ended(action)
                    case Nothing():
                        if (worker := self._worker()) is not None:
                            worker.send(Kind.NOTHING)

    def _forward(self, request: Request) -> None:
        worker, message = self._worker(), request.message
        request.started = now()
        assert worker is not None
        # Only now: what is published belongs to a request that was handed over, and the latest is the last.
        for other in self._router.running():  # cells are not forgotten, however many requests come to them meanwhile
            if not other.inside:
                self._frontends.remember(other)
        self._frontends.remember(request)
        parts = (message.header_bytes, message.parent, message.metadata, message.content, *message.buffers)
        self._watch.begin()
        if request.type == EXECUTE:
            self._ledger.begin(request)
        if request.lane == MAIN:
            worker.send(Kind.REQUEST, request.id, parts)
        else:
            name = "" if request.lane == ASIDE else request.lane
            worker.send_control(Kind.ASIDE, request.id, (name.encode(), *parts))
