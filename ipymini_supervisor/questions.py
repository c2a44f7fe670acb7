"""Questions that are asked while a cell runs: whoever waits for too long is told that there is nothing to be told."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from ipymini_supervisor.lanes import ASIDE, Content, Request
from ipymini_supervisor.router import Action, Router
from ipymini_supervisor.timers import Timers
from ipymini_supervisor.worker import Worker

#: Seconds after which it is looked whether the worker can answer at all: not while C code keeps Python from running.
WITHIN = 2.0
#: Seconds that an answer may take when it can.
LONGEST = 10.0


class Questions:
    """Watches over the answers.

    :param worker: the worker that there is; None between two of them.
    :param clock: seconds on a clock that never goes back.
    :param carry_out: carries out what the router decides.
    """

    def __init__(
        self,
        router: Router,
        worker: Callable[[], Worker | None],
        timers: Timers,
        clock: Callable[[], float],
        carry_out: Callable[[Iterable[Action]], None],
    ) -> None:
        self._router = router
        self._worker = worker
        self._timers = timers
        self._clock = clock
        self._carry_out = carry_out

    def watch(self, request: Request) -> None:
        """`request` has been accepted; if it is a question that came while a cell runs, its time begins."""
        if request.lane == ASIDE:
            end = self._clock() + LONGEST
            self._timers.at(self._clock() + WITHIN, lambda: self._late(request, end))

    def _late(self, request: Request, end: float) -> None:
        worker = self._worker()
        if worker is None or not self._router.ready:  # another one is on its way
            self._later(request, end, alive=True)
        elif request in self._router.lanes.aside.active or request in self._router.lanes.aside.queue:
            worker.ping(lambda alive: self._later(request, end, alive=alive))

    def _later(self, request: Request, end: float, *, alive: bool) -> None:
        if alive and self._clock() < end:
            self._timers.at(self._clock() + WITHIN, lambda: self._late(request, end))
        else:
            self._carry_out(self._router.give_up(request, nothing(request)))


def nothing(request: Request) -> Content:
    """The reply to a question that nobody can answer: an empty one (protocol: Messages on the shell channel)."""
    match request.type:
        case "complete_request":
            at = _cursor(request)
            return {"status": "ok", "matches": [], "cursor_start": at, "cursor_end": at, "metadata": {}}
        case "inspect_request":
            return {"status": "ok", "found": False, "data": {}, "metadata": {}}
        case "history_request":
            return {"status": "ok", "history": []}
        case "comm_info_request":
            return {"status": "ok", "comms": {}}
        case _:
            return {"status": "unknown"}


class _Position(msgspec.Struct):
    code: str = ""
    cursor_pos: int | None = None


def _cursor(request: Request) -> int:
    try:
        position = msgspec.json.decode(request.message.content, type=_Position)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    return len(position.code) if position.cursor_pos is None else position.cursor_pos
