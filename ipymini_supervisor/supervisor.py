"""Composition root of the supervisor: one thread, one loop; events in, actions out.

It never blocks, never runs user code and never trusts the worker. Each pass of the loop looks at heartbeat and
control first, then at the other channels, then at the worker, so that whatever the worker does, control is answered.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import msgspec

from ipymini_supervisor import threads, tree
from ipymini_supervisor.answers import Answers
from ipymini_supervisor.carrying import Carrier
from ipymini_supervisor.connection import Connection
from ipymini_supervisor.deaths import Deaths
from ipymini_supervisor.debugger import Debugger
from ipymini_supervisor.ending import Ending
from ipymini_supervisor.facts import Facts
from ipymini_supervisor.flow import Flow
from ipymini_supervisor.frontends import Frontends
from ipymini_supervisor.guardian import Guardian
from ipymini_supervisor.inplace import Line
from ipymini_supervisor.interrupts import Interrupts
from ipymini_supervisor.lanes import MAIN, Request
from ipymini_supervisor.later import catch_up
from ipymini_supervisor.ledger import Ledger
from ipymini_supervisor.lifecycle import Event, State
from ipymini_supervisor.logs import FACTS, kernel_id
from ipymini_supervisor.outbox import SETTLE, Outbox
from ipymini_supervisor.process import Process
from ipymini_supervisor.questions import Questions
from ipymini_supervisor.recorder import Recorder
from ipymini_supervisor.refusals import Refusals
from ipymini_supervisor.relief import Relief
from ipymini_supervisor.rollup import Rollups
from ipymini_supervisor.router import Action, Router
from ipymini_supervisor.session import Message, MessageError, Session, is_object, now
from ipymini_supervisor.settings import Settings
from ipymini_supervisor.snapshots import Snapshots
from ipymini_supervisor.sockets import Sockets
from ipymini_supervisor.speech import Speech
from ipymini_supervisor.stack import Cells
from ipymini_supervisor.subshells import REQUESTS as SUBSHELL_REQUESTS
from ipymini_supervisor.subshells import Subshells
from ipymini_supervisor.succession import EXECUTE, Succession
from ipymini_supervisor.surroundings import Surroundings
from ipymini_supervisor.thrift import Thrift
from ipymini_supervisor.timers import Timers
from ipymini_supervisor.watch import Watch
from ipymini_supervisor.worker import Worker

log = logging.getLogger("ipymini")

#: Request types that the worker answers.
WORKER_REQUESTS = frozenset(
    {
        *("execute_request", "complete_request", "inspect_request", "history_request", "is_complete_request"),
        *("comm_info_request", "comm_open", "comm_msg", "comm_close"),
    }
)
#: Messages that are taken from one channel before the others are looked at.
_BATCH = 64
#: Seconds after which the start is over, and what it has left out may be loaded.
_SETTLED = 1.0
#: Passes of the loop that may fail one after the other.
_FAILURES = 100


class Supervisor:
    """The running kernel.

    :param first: takes the worker that was spawned before anything else.
    :param respawn: starts another one.
    :param python: path of the worker's interpreter.
    :param mark: the value of the mark that all descendants have in their environment.
    :param settings: what the environment says.
    :param line: to the provisioner that wants restarts to be carried out in place; None if there is none.
    """

    def __init__(
        self,
        connection: Connection,
        session: Session,
        sockets: Sockets,
        first: Callable[[], Process],
        respawn: Callable[[], Process],
        python: str,
        mark: str,
        settings: Settings,
        line: Line | None = None,
    ) -> None:
        self._session = session
        self._sockets = sockets
        self._line = line
        self._clock = time.monotonic
        self._refusals = Refusals()
        self._timers = Timers()
        kernel, record = kernel_id(connection.path), settings.recorder
        self._recorder = Recorder(record, settings.recorder_size, kernel, self._clock, code=settings.recorder_code)
        outbox = Outbox(self._clock() + SETTLE)
        self._frontends = Frontends(session, sockets, outbox, self._clock)
        patience = settings.slow_subscriber_timeout
        self._thrift = Thrift(self._timers, self._clock)
        self._flow = Flow(sockets, outbox, self._frontends, self._timers, self._clock, patience, self._thrift.passed)
        self._router = Router(settings.stop_on_error_timeout)
        self._snapshots = Snapshots()
        cells = Cells()
        self._rollups = Rollups(sockets, self._timers, self._clock)
        self._interrupts = Interrupts(
            self._router, self._frontends, self._timers, self._clock, settings, self._carry_out
        )
        self._ledger = Ledger(lambda: None if self._worker is None else self._worker.pid, self._clock)
        self._subshells = Subshells(self._router, lambda: self._worker, self._carry_out)
        self._questions = Questions(self._router, lambda: self._worker, self._timers, self._clock, self._carry_out)
        self._debugger = Debugger(
            self._router, self._frontends, lambda: self._worker, self._timers, self._clock, self._carry_out
        )
        facts = Facts(os.environ, self._clock, lambda: len(self._snapshots.pids()), lambda: self._succession.lost)
        self._answers = Answers(connection, self._router, self._rollups, python, self._clock, facts.content)
        self._guardian = Guardian(mark, os.environ)
        self._watch = Watch(
            self._router,
            self._frontends,
            Relief(self._snapshots, self._rollups, self._clock, self._leaving),
            self._rollups,
            self._timers,
            self._clock,
            self._carry_out,
            lambda: self._worker,
            settings.memory_limit,
            lambda: self._family() - {os.getpid()} - self._snapshots.pids(),
            self._snapshots.pids,
            self._recorder.memory,
        )
        self._speech = Speech(
            self._router,
            self._frontends,
            self._answers,
            self._snapshots,
            self._interrupts,
            self._subshells,
            self._debugger,
            cells,
            self._timers,
            self._clock,
            self._carry_out,
            lambda lost: self._succession.ready(lost),
            lambda: self._succession.rollback(),
            self._recorder.started,
            self._watch.answered,
            lambda: self._succession.parted(),
            self._stop,
        )
        self._carrier = Carrier(
            self._router,
            self._frontends,
            self._ledger,
            self._recorder,
            self._subshells,
            self._debugger,
            self._watch,
            lambda: self._worker,
            self._signal,
        )
        self._ending = Ending(
            sockets,
            self._timers,
            self._clock,
            lambda: tree.descendants(mark, self._guardian.pid) - self._snapshots.pids(),
            settings.shutdown_grace,
        )
        self._surroundings = Surroundings(
            sockets,
            self._ending,
            os.environ,
            line,
            lambda: self._worker.pid if self._worker is not None else 0,
            lambda: self._carry_out(self._interrupt()),
            self._stop,
        )
        self._deaths = Deaths(self._router, self._frontends, self._clock, self._carry_out)
        self._succession = Succession(
            self._router,
            self._frontends,
            self._speech,
            self._deaths,
            self._snapshots,
            self._subshells,
            self._debugger,
            self._ending,
            self._timers,
            self._clock,
            self._carry_out,
            respawn,
            lambda process: Worker(
                process, sockets, self._timers, self._clock, self._speech.frame, self._speech.text, cells
            ),
            lambda: tree.family(os.getpid()) - {os.getpid(), self._guardian.pid},
            lambda: None if line is None else line.done(),
        )
        self._frontends.status("starting")
        self._succession.begin(first)

    # -- the loop

    def run(self) -> int:
        """Runs until the kernel has been shut down; returns the exit status."""
        failures = 0
        log.info("The kernel has started.", extra={FACTS: {"pid": os.getpid()}})
        self._timers.at(self._clock() + _SETTLED, catch_up)
        try:
            while self._succession.state is not State.EXITED:
                try:
                    self._pass()
                    failures = 0
                except Exception:
                    # A bug of ours costs one event, not the session; one that comes again and again has to end.
                    failures += 1
                    with suppress(Exception):  # what shows it cannot be loaded
                        log.exception("Something went wrong in the supervisor; it goes on.")
                    if failures > _FAILURES:
                        raise
        finally:
            self._leave()
        return 0

    def _pass(self) -> None:
        self._flow.pump(self._worker)
        worker = self._worker  # only this one was asked: another's descriptors may get numbers that were ready
        ready = self._sockets.poll(self._timers.timeout(self._clock()))
        self._timers.run(self._clock())
        for channel in ("hb", "control"):
            if channel in ready:
                self._channel(channel)
        self._surroundings.handle(ready)
        for channel in ("iopub", "stdin", "shell"):
            if channel in ready:
                self._channel(channel)
        # Before the worker: its death opens descriptors that may have the numbers of those that were ready.
        self._ending.handle(ready)
        self._rollups.handle(ready)
        if worker is not None and worker is self._worker and worker.handle(ready):
            self._succession.died()

    def _channel(self, channel: str) -> None:
        for _ in range(_BATCH):
            parts = self._sockets.receive(channel)
            if parts is None:
                return
            if channel == "hb":
                self._sockets.send("hb", parts)
            elif channel == "iopub":
                self._flow.subscription(parts[0])
            else:
                self._message(channel, parts)

    def _message(self, channel: str, parts: list[bytes]) -> None:
        self._thrift.passed(sum(map(len, parts)))
        try:
            message = self._session.unpack(parts)
            if channel == "stdin" and not (message.header.msg_type == "input_reply" and is_object(message.content)):
                raise MessageError("that is no answer to a question")
        except MessageError as error:
            if sentence := self._refusals.count(channel, str(error), self._clock()):
                log.warning("%s", sentence)
            return
        if channel == "stdin":
            self._speech.answered(message)
        else:
            self._on_request(channel, message)

    def _carry_out(self, actions: Iterable[Action]) -> None:
        self._carrier.carry_out(actions)

    # -- frontends

    def _on_request(self, channel: str, message: Message) -> None:
        request = self._router.request(channel, message)
        self._recorder.request(request)
        kind = request.type
        if kind in WORKER_REQUESTS:
            request.queued = now()
            self._carry_out(self._router.accept(request, self._clock()))
            self._questions.watch(request)
            if self._succession.state is State.FATAL:
                if kind == EXECUTE:
                    self._succession.happened(Event.ASKED)
                else:
                    self._deaths.refuse()
        elif not is_object(message.content):
            self._carry_out(self._router.answer(request, self._answers.senseless(request)))
        elif kind == "interrupt_request":
            aim = message.header.subshell_id or MAIN
            self._carry_out([*self._interrupt(aim), *self._router.answer(request, self._interrupts.reply())])
        elif kind in SUBSHELL_REQUESTS:
            self._carry_out(self._router.answer(request, self._subshells.answer(request)))
        elif kind == "debug_request":
            self._debugger.request(request)
        elif kind == "shutdown_request":
            self._on_shutdown(request)
        elif kind == "usage_request":
            self._answers.usage(
                self._family(),
                self._snapshots.pids(),
                lambda content: self._carry_out(self._router.answer(request, content)),
            )
        elif kind == "worker_state_request":
            self._answers.state(
                request,
                self._succession.state,
                self._worker,
                lambda content: self._carry_out(self._router.answer(request, content)),
            )
        else:
            self._carry_out(self._router.answer(request, self._answers.content(request)))

    def _on_shutdown(self, request: Request) -> None:
        restart = bool(msgspec.json.decode(request.message.content, type=dict).get("restart", False))
        content = {"status": "ok", "restart": restart}
        self._carry_out(self._router.answer(request, content))
        self._frontends.publish("shutdown_reply", content, request.message.header_bytes)
        if restart and self._line is not None and self._line.open():
            self._line.begin(request.message.header.session)
            self._succession.happened(Event.RESTART)
        else:
            self._stop()

    def _interrupt(self, subshell: str = MAIN) -> list[Action]:
        # What the worker was executing is over already when a snapshot is on its way to take its place.
        return [] if self._succession.state is State.RESUMING else self._interrupts.ask(self._worker, subshell)

    def _signal(self, request: Request) -> None:
        if self._worker is not None:
            self._interrupts.signal(request, self._worker)

    # -- the worker

    def _family(self) -> set[int]:
        known = set() if self._worker is None else {self._worker.pid}  # not every system tells who has started whom
        return (tree.family(os.getpid()) | known) - {self._guardian.pid}

    def _leaving(self) -> bool:
        return self._worker is None or threads.leaving(self._worker.pid)

    @property
    def _worker(self) -> Worker | None:
        return self._succession.worker

    # -- the end

    def _stop(self) -> None:
        self._succession.happened(Event.STOP)
        self._carry_out(self._router.end())

    def _leave(self) -> None:
        for sentence in self._refusals.rest():
            log.warning("%s", sentence)
        if self._worker is not None:
            self._worker.signal(signal.SIGKILL)
            self._worker.bury()
        self._flow.drain()
        self._rollups.close()
        self._ledger.close()
        self._debugger.clean()
        self._snapshots.discard()
        self._guardian.dismiss()
        self._surroundings.close()
        self._sockets.close()
        log.info("The kernel has ended.")
        self._recorder.end()
        if self._line is not None:
            self._line.close()
