"""Subshells as frontends know them (JEP 91): made, listed and deleted by the supervisor, whatever the worker does.

The lanes have them; the worker is told, and told again when another one takes its place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import msgspec

from ipymini_supervisor.lanes import Content, Request
from ipymini_supervisor.router import Action, End, Router
from ipymini_supervisor.worker import Worker
from ipymini_worker.wire import OVER, Kind, WireError

#: Message types that are about subshells.
REQUESTS = frozenset({"create_subshell_request", "delete_subshell_request", "list_subshell_request"})
#: The longest name that a worker may give to one, in characters.
_NAME = 64


class Subshells:
    """Answers what is asked about subshells, and tells the worker.

    :param worker: the worker that there is; None between two of them.
    :param carry_out: carries out what the router decides.
    """

    def __init__(
        self, router: Router, worker: Callable[[], Worker | None], carry_out: Callable[[Iterable[Action]], None]
    ) -> None:
        self._router = router
        self._worker = worker
        self._carry_out = carry_out

    def answer(self, request: Request) -> Content:
        """The content of the reply to one of `REQUESTS` (protocol: Create, delete and list subshell).

        :returns: an error in one plain sentence for a subshell that there is not.
        """
        lanes = self._router.lanes
        if request.type == "list_subshell_request":
            return {"status": "ok", "subshell_id": list(lanes.subshells)}
        if request.type == "create_subshell_request":
            name = os.urandom(16).hex()
            self._add(name)
            return {"status": "ok", "subshell_id": name}
        name = _name(request)
        if name not in lanes.subshells:
            sentence = f"There is no subshell {name!r:.80}; it may have been deleted."
            return {"status": "error", "ename": "UnknownSubshell", "evalue": sentence, "traceback": []}
        self._carry_out(self._router.delete(name))
        return {"status": "ok"}

    def detour(self, request_id: int, name: str, *, over: bool) -> None:
        """A cell leads the executes of its client to a subshell, or does so no longer.

        :raises WireError: the worker makes no sense.
        :raises LookupError: that request is not active.
        """
        request, lanes = self._router.lanes.find(request_id), self._router.lanes
        if over:
            if request.detour == name and name in lanes.subshells:
                self._carry_out(self._router.close(name))
            return
        if not name.isalnum() or len(name) > _NAME or name in lanes.subshells:
            raise WireError("a subshell with an impossible name")
        if request.detour in lanes.subshells:
            self._carry_out(self._router.close(request.detour))
        self._add(name)
        request.detour = name
        lanes.detours[request.message.header.session] = lanes.subshells[name]

    def _add(self, name: str) -> None:
        self._router.lanes.add(name)
        self._tell(name)

    def tell_all(self) -> None:
        """There is another worker, which knows of none."""
        for lane in self._router.lanes:
            if lane.name and lane is not self._router.lanes.aside:
                self._tell(lane.name)

    def ended(self, action: End) -> None:
        """A subshell is over."""
        self._tell(action.subshell, OVER)

    def _tell(self, name: str, flags: int = 0) -> None:
        worker = self._worker()
        if worker is not None:
            worker.send_control(Kind.SUBSHELL, 0, (name.encode(),), flags)


def _name(request: Request) -> str:
    try:
        return str(msgspec.json.decode(request.message.content, type=dict).get("subshell_id", ""))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
