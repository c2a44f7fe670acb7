"""From one worker to the next: what happens when it is ready, when it dies, and when there is to be none.

The states are those of `lifecycle`; this is where its deeds are done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from ipymini_supervisor import obituary, tree
from ipymini_supervisor.deaths import Deaths
from ipymini_supervisor.debugger import Debugger
from ipymini_supervisor.ending import Ending
from ipymini_supervisor.frontends import Frontends
from ipymini_supervisor.lifecycle import Deed, Event, Lifecycle, State
from ipymini_supervisor.logs import FACTS
from ipymini_supervisor.process import Process
from ipymini_supervisor.router import Action, Router
from ipymini_supervisor.snapshots import Snapshot, Snapshots
from ipymini_supervisor.speech import Speech
from ipymini_supervisor.subshells import Subshells
from ipymini_supervisor.timers import Timers
from ipymini_supervisor.worker import Worker
from ipymini_worker.wire import CALM, ON, Kind

log = logging.getLogger("ipymini")

EXECUTE = "execute_request"

#: Seconds that a snapshot has to become the worker. It needs milliseconds; but on a machine that swaps, or has much
#: else to do, impatience would cost the session.
RESUME_WITHIN = 10.0


class Succession:
    """Has the worker that there is, and sees to it that there is another one after it.

    :param carry_out: carries out what the router decides.
    :param respawn: starts a worker from nothing.
    :param make: the worker of a process.
    :param below: the pids of all processes below ours; the worker's is not among them where the system does not tell.
    :param renewed: called when a restart in place has been carried out.
    """

    def __init__(
        self,
        router: Router,
        frontends: Frontends,
        speech: Speech,
        deaths: Deaths,
        snapshots: Snapshots,
        subshells: Subshells,
        debugger: Debugger,
        ending: Ending,
        timers: Timers,
        clock: Callable[[], float],
        carry_out: Callable[[Iterable[Action]], None],
        respawn: Callable[[], Process],
        make: Callable[[Process], Worker],
        below: Callable[[], set[int]],
        renewed: Callable[[], None],
    ) -> None:
        self.worker: Worker | None = None
        self.lost = 0  #: workers that have died and were not to
        self._router = router
        self._frontends = frontends
        self._speech = speech
        self._deaths = deaths
        self._snapshots = snapshots
        self._subshells = subshells
        self._debugger = debugger
        self._ending = ending
        self._timers = timers
        self._clock = clock
        self._carry_out = carry_out
        self._respawn = respawn
        self._make = make
        self._below = below
        self._renewed = renewed
        self._lifecycle = Lifecycle()
        self._respawned = False
        self._restoring: Snapshot | None = None  # it is going to become the worker
        self._rolling = False  # the user has asked for an earlier state
        self._copies: set[int] = set()  # snapshots that there were when the restart began
        self._parted = False  # the session is over, and only the worker's process is left of it
        self._begun = -1  # requests that had been begun when the worker died the last time
        self._by_itself = 0  # deaths in a row without a request in between

    @property
    def state(self) -> State:
        """Where the worker is in its life."""
        return self._lifecycle.state

    def happened(self, event: Event) -> None:
        """Moves on, and does what is to be done.

        :raises KeyError: the event cannot happen in this state.
        """
        self._do(self._lifecycle.on(event))

    def begin(self, first: Callable[[], Process]) -> None:
        """Takes the first worker; if that cannot be had (OSError), there will be another one."""
        try:
            self._attach(first())
        except OSError as error:
            self._failed(error)

    def _attach(self, process: Process) -> None:
        """From now on `process` is the worker."""
        self.worker = self._speech.worker = self._make(process)

    def died(self) -> None:
        """The worker's process has ended."""
        worker = self.worker
        assert worker is not None
        death = worker.bury()
        active = self._router.victim  # only now: a reply may have been among the last words
        cells = [request.cell for request in self._router.victims() if request.type == EXECUTE]
        death = death._replace(cell=obituary.culprit(death, cells))
        self._deaths.last = death
        self.worker = None
        self._speech.end()
        self._debugger.died()
        tree.reap_orphans(0)
        state = self._lifecycle.state
        if state in (State.STARTING, State.RUNNING, State.RESUMING) and not self._rolling:
            self.lost += 1
        if state in (State.RUNNING, State.RESUMING) or active is not None:
            self._deaths.keep(death)
        elif state not in (State.STOPPING, State.REPLACING):
            log.error("%s", obituary.sentence(death), extra={FACTS: obituary.record(death)})
        if state in (State.RUNNING, State.RESUMING):
            self._restoring = self._choose()
        if self._restoring is not None:
            self._router.worker_away()
            self.happened(Event.FELL)
        else:
            self._rolling = False
            self._deaths.tell()
            self._debugger.announce()
            self.happened(Event.DIED)

    def _choose(self) -> Snapshot | None:
        """What is to be gone back to; a state that ends its worker by itself is not for ever gone back to."""
        by_itself = self._begun == self._snapshots.requests
        self._begun = self._snapshots.requests
        self._by_itself = self._by_itself + 1 if by_itself else 0
        if self._by_itself > 1:
            log.warning("The worker has died %d times by itself; the session begins anew.", self._by_itself + 1)
            self._snapshots.discard_cells()
        return self._snapshots.earlier() if self._rolling else self._snapshots.latest()

    def _resume(self) -> None:
        """Makes the chosen snapshot the worker; one that is gone makes the next one."""
        snapshot, self._restoring = self._restoring, None
        rolled, self._rolling = self._rolling, False
        assert snapshot is not None
        active = self._router.victim
        cell, content = 0, b""
        if active is not None and active is self._router.active and active.executing and active.type == EXECUTE:
            cell, content = active.cell, bytes(active.message.content)
        self._deaths.goes_back(snapshot, rolled=rolled)
        try:
            process = snapshot.resume()
        except OSError as error:
            log.warning("A snapshot could not be resumed: %s.", error.strerror)
            self._restoring = self._snapshots.latest()
            if self._restoring is not None:
                self.happened(Event.FELL)
            else:
                self._deaths.tell()
                self.happened(Event.DIED)
            return
        self._attach(process)
        worker = self.worker
        assert worker is not None
        flags = (CALM if self._by_itself else 0) | (ON if snapshot.pristine else 0)
        worker.send(Kind.RESUME, 0, (b"%d" % cell, content, *snapshot.records()), flags)
        worker.expect(RESUME_WITHIN, "was killed, because it did not come back from its snapshot")

    def rollback(self) -> None:
        """The user wants to go back to the state before the last cell."""
        if self.worker is None or self._lifecycle.state is not State.RUNNING:
            return
        if not self._snapshots.can_go_back:
            self.worker.send_control(Kind.REFUSED)
            return
        self._rolling = True
        self.worker.condemn("was ended, to go back to the state before the last cell")

    def ready(self, lost: list[str]) -> None:
        """The worker has said HELLO.

        :param lost: what has not survived its way from a snapshot, in sentences.
        """
        if self.worker is not None:
            self.worker.come()
        self._subshells.tell_all()
        deed = self._lifecycle.on(Event.HELLO)
        if deed is Deed.RESTORED:
            self._deaths.tell(lost)
        self._do(deed)

    def _do(self, deed: Deed) -> None:
        match deed:
            case Deed.READY:
                if self._respawned:
                    self._frontends.status("idle")
                self._carry_out(self._router.worker_ready())
            case Deed.RESTORED:
                self._carry_out(self._router.worker_ready())
            case Deed.RESUME:
                self._resume()
            case Deed.RESPAWN:
                self._start()
            case Deed.DELAY:
                self._timers.at(self._clock() + self._lifecycle.delay, self._due)
            case Deed.GIVE_UP:
                log.error("The worker does not start; every execute tries again.")
                self._deaths.refuse()
            case Deed.END:
                self._snapshots.discard()
                self._deaths.tell()
                if self.worker is not None:
                    self._ending.begin(self.worker, ready=self._router.ready)
                    self._interrupt_all()
            case Deed.REPLACE:
                self._replace()
            case Deed.AGAIN:
                self._carry_out(self._router.restart())
                if self._parted:
                    self._renewed()
            case Deed.CLEAR:
                self._ending.sweep(lambda: self.happened(Event.SWEPT))
            case Deed.RENEW:
                self._renew()
            case Deed.FORGO:
                self._snapshots.discard()
            case Deed.SWEEP:
                self._snapshots.discard()
                self._ending.sweep(lambda: self.happened(Event.SWEPT))
            case _:
                pass

    def _interrupt_all(self) -> None:
        self._carry_out([a for lane in self._router.lanes for a in self._router.interrupt(lane.name)])

    def _replace(self) -> None:
        """Ends the session, and keeps what makes the next worker."""
        self._deaths.tell()
        self._copies, self._parted = self._snapshots.pids(), False
        self._snapshots.discard_cells()
        if self.worker is not None:
            self._ending.begin(self.worker, ready=self._router.ready, what="restarts")
            self._interrupt_all()
        self._carry_out(self._router.restart())
        if self.worker is None:
            self.happened(Event.DIED)

    def parted(self) -> None:
        """The worker has said GOODBYE.

        What is left for it to do is to give back what it has, which may take longer than all the rest of a restart.
        So nobody waits for that but the next worker, if nothing else is left of the session.
        """
        if self._lifecycle.state is not State.REPLACING or self.worker is None or self._router.running():
            return
        below, copies = self._below(), self._copies | self._snapshots.pids()  # one may have been made since
        if self.worker.pid in below and below <= copies | {self.worker.pid}:
            self.worker.read_pipes()
            self._part()

    def _part(self) -> None:
        """From now on frontends speak to the next session, and not sooner: they would not know which one they mean."""
        self._parted = True
        self._speech.renew()
        self._debugger.died()
        self._debugger.announce()
        self._debugger.forget()
        self._announce()
        self._renewed()

    def _renew(self) -> None:
        """Begins another session, which can go back to nothing of the one before."""
        self._snapshots.discard_cells()  # its last words may have been of a snapshot
        self._begun, self._by_itself = -1, 0
        if not self._parted:
            self._part()
        self._begin()

    def _due(self) -> None:
        if self._lifecycle.state is State.BACKOFF:
            self.happened(Event.DUE)

    def _start(self) -> None:
        self._announce()
        self._begin()

    def _announce(self) -> None:
        self._respawned = True
        self._frontends.status("restarting")
        self._frontends.status("starting")

    def _begin(self) -> None:
        try:
            self._attach(self._new())
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        self._deaths.last = obituary.Death(127, f"could not be started ({error.strerror})")
        log.error("The worker could not be started: %s.", error.strerror)
        self.happened(Event.DIED)

    def _new(self) -> Process:
        """Another worker, made by the pristine snapshot if there is one.

        :raises OSError: none can be started.
        """
        first = self._snapshots.first()
        if first is not None:
            try:
                process = first.resume()
                process.work.send(Kind.RESUME, 0, (b"0", b""))
                return process
            except OSError as error:
                log.warning("The pristine snapshot could not be resumed: %s.", error.strerror)
        return self._respawn()
