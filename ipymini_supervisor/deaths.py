"""What is said to frontends when a worker has died, or cannot be started."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from ipymini_supervisor import obituary
from ipymini_supervisor.frontends import Frontends
from ipymini_supervisor.lanes import Request
from ipymini_supervisor.logs import FACTS
from ipymini_supervisor.obituary import Death
from ipymini_supervisor.router import Action, Router
from ipymini_supervisor.snapshots import Snapshot

log = logging.getLogger("ipymini")
_NOTHING: dict[str, Any] = {"user_expressions": {}, "payload": []}


class Deaths:
    """Tells those concerned, once each; when there is a snapshot, only when it has become the worker.

    :param carry_out: carries out what the router decides.
    """

    def __init__(
        self,
        router: Router,
        frontends: Frontends,
        clock: Callable[[], float],
        carry_out: Callable[[Iterable[Action]], None],
    ) -> None:
        self._router = router
        self._frontends = frontends
        self._clock = clock
        self._carry_out = carry_out
        self.last = Death(0)
        self._untold: Death | None = None
        self._back = ""  # what is gone back to
        self._fresh = True  # whether that is the state in which the active request was to run
        self._rolled = False

    def keep(self, death: Death) -> None:
        """A worker has died; it is told later. Of several on the way from one to the next the first is told."""
        if self._untold is None:
            self._untold = death

    def goes_back(self, snapshot: Snapshot, *, rolled: bool) -> None:
        """`snapshot` becomes the worker; `rolled` if the user wants it so."""
        active = self._router.victim
        executing = active is not None and active.executing and active.type == "execute_request"
        begun = [r for r in self._router.victims() if r.executing and r.type == "execute_request"]
        self._fresh = snapshot.started <= len(begun)
        self._rolled = rolled
        if rolled or (self._fresh and executing):
            self._back = f"the state before In[{snapshot.cell}]."
        elif self._fresh:
            self._back = "the state after the last cell."
        else:
            self._back = f"the state before In[{snapshot.cell}]; what ran since then is lost."

    def tell(self, lost: list[str] | None = None) -> None:
        """Tells that the worker is dead, if that has not been told, before anything is said about another one.

        :param lost: what has not survived the way back to a snapshot, in sentences; None if there was none.
        """
        death, self._untold = self._untold, None
        if death is None:
            return
        if lost is not None:
            death = death._replace(restored=" ".join([f"Restored to {self._back}", *lost]))
            if self._rolled:
                self._tell_rolled(death, " ".join([f"Rolled back to {self._back}", *lost]))
                return
        log.error("%s", obituary.sentence(death), extra={FACTS: obituary.record(death)})
        self._tell(death)

    def _tell(self, death: Death) -> None:
        again = not death.restored or self._fresh
        content = obituary.error(death)
        victims = self._router.victims(again=again)
        if not self._publish(death, content, victims):
            parent = victims[0].message.header_bytes if victims else self._frontends.parent(0)
            outcome = death.restored or "Its variables are lost."
            self._frontends.text("stderr", f"{content['evalue']} {outcome}\n", parent)
            self._frontends.flush_text()
        counted = {"execution_count": death.cell, **_NOTHING}
        reply = {"status": "error", **content, **counted}
        self._carry_out(self._router.worker_lost(reply, again=again, now=self._clock()))

    def _publish(self, death: Death, content: dict[str, Any], victims: list[Request]) -> bool:
        """Publishes the error of all cells among the victims; returns whether there were any.

        The details come apart from it, and as HTML alone, so that what shows text says nothing twice.
        """
        facts = {obituary.MIME: obituary.record(death)}
        html = obituary.details(death)
        folded = {"data": {"text/html": html}, "metadata": {}, "transient": {}} if html else None
        cells = [request for request in victims if request.type == "execute_request"]
        for cell in cells:
            self._frontends.publish("error", content, cell.message.header_bytes, facts)
            if folded:
                self._frontends.publish("display_data", folded, cell.message.header_bytes)
        return bool(cells)

    def _tell_rolled(self, death: Death, said: str) -> None:
        log.info("%s", said)
        active = self._router.active
        parent = self._frontends.parent(0) if active is None else active.message.header_bytes
        self._frontends.text("stdout", f"{said}\n", parent)
        content = {"status": "ok", "execution_count": death.cell, **_NOTHING}
        error = obituary.error(death)
        self._publish(death, error, self._router.victims()[1:])
        others = {"status": "error", **error, **_NOTHING}
        self._carry_out(self._router.worker_lost(content, status="ok", others=others, now=self._clock()))

    def refuse(self) -> None:
        """Tells everybody who waits why there is no worker."""
        content = obituary.failed_start(self.last)
        for request in self._router.waiting():
            if request.type == "execute_request":
                self._frontends.publish("error", content, request.message.header_bytes)
        self._carry_out(self._router.refuse({"status": "error", **content}))
