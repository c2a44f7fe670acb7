"""What the worker says, turned into what frontends hear."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ipymini_supervisor.answers import Answers
from ipymini_supervisor.debugger import Debugger
from ipymini_supervisor.frontends import Frontends, decode_text
from ipymini_supervisor.interrupts import Interrupts
from ipymini_supervisor.lanes import Request
from ipymini_supervisor.link import DescriptorLost
from ipymini_supervisor.router import Action, Router
from ipymini_supervisor.session import Message, Part
from ipymini_supervisor.snapshots import Snapshot, Snapshots
from ipymini_supervisor.stack import Cells
from ipymini_supervisor.subshells import Subshells
from ipymini_supervisor.timers import Timer, Timers
from ipymini_supervisor.worker import Worker
from ipymini_worker.wire import (
    ABORT,
    BASE,
    DISCARD,
    ERROR,
    EXIT,
    LONGEST_QUESTION,
    LONGEST_REPEATED,
    OVER,
    PARENT,
    PRISTINE,
    STDERR,
    UNLOCKED,
    WIRE_VERSION,
    Frame,
    Kind,
    WireError,
)

log = logging.getLogger("ipymini")

#: Seconds after which a frontend whose stdin channel is not connected is asked again, at first and in the end.
ASK_AGAIN, ASK_SELDOM = 0.01, 1.0
#: Seconds between the reply of a cell that said `exit` and the end: the frontend that reads it may look at once
#: whether the kernel still lives.
EXIT_AFTER = 0.25
#: Questions to frontends that may wait for an answer.
QUESTIONS = 1000
#: Bytes of names, stacks and tables that are taken: it takes time to decode them.
_WORDS = 1 << 16
#: The largest process id that there can be.
_LAST_PID = (1 << 22) - 1


class Speech:
    """Handles the frames and the raw output of one worker.

    :param carry_out: carries out what the router decides.
    :param on_ready: called when the worker takes requests, with what it has lost on its way, in sentences.
    :param on_rollback: called when it wants to be replaced by an earlier state of itself.
    :param on_started: called when it executes a request.
    :param on_largest: called with its largest variables, as text, when it was asked for them.
    :param on_goodbye: called when everything that was to be done before its end has been done.
    :param on_exit: called when user code asks the whole kernel to end.
    """

    def __init__(
        self,
        router: Router,
        frontends: Frontends,
        answers: Answers,
        snapshots: Snapshots,
        interrupts: Interrupts,
        subshells: Subshells,
        debugger: Debugger,
        cells: Cells,
        timers: Timers,
        clock: Callable[[], float],
        carry_out: Callable[[Iterable[Action]], None],
        on_ready: Callable[[list[str]], None],
        on_rollback: Callable[[], None],
        on_started: Callable[[Request], None],
        on_largest: Callable[[int, str], None],
        on_goodbye: Callable[[], None],
        on_exit: Callable[[], None],
    ) -> None:
        self.worker: Worker  # set by whoever makes both
        self._router = router
        self._frontends = frontends
        self._answers = answers
        self._snapshots = snapshots
        self._interrupts = interrupts
        self._subshells = subshells
        self._debugger = debugger
        self._cells = cells
        self._timers = timers
        self._clock = clock
        self._carry_out = carry_out
        self._on_ready = on_ready
        self._on_rollback = on_rollback
        self._on_started = on_started
        self._on_largest = on_largest
        self._on_goodbye = on_goodbye
        self._on_exit = on_exit
        self._asking: list[int] = []  # requests that wait for an input_reply, the latest last
        self._exit: Timer | None = None  # user code has asked the whole kernel to end

    def text(self, name: str, data: bytes) -> None:
        """What was written to the real descriptors belongs to the cell that runs, or to the last one that did."""
        active = self._router.active
        parent = active.message.header_bytes if active is not None else self._frontends.last_parent()
        self._frontends.raw_text(name, data, parent)

    def frame(self, frame: Frame) -> None:
        """Handles one frame.

        :raises WireError: the worker cannot be trusted.
        :raises LookupError: it speaks of a request that is not active.
        """
        parts, number = frame.parts, frame.request
        match frame.kind:
            case Kind.STREAM:
                parent = bytes(parts[0]) if frame.flags & PARENT else self._frontends.parent(number)
                name = "stderr" if frame.flags & STDERR else "stdout"
                self._frontends.text(name, decode_text(parts[-1]), parent)
            case Kind.PUBLISH:
                self._publish(frame)
            case Kind.STARTED:
                self._carry_out(self._router.worker_started(number, _number(parts[0])))
                request = self._router.lanes.find(number)
                self._on_started(request)
                if request is self._router.active:
                    self._answers.started()
                self._snapshots.request_started(cell=request.type == "execute_request")
            case Kind.REPLY:
                self._reply(frame)
            case Kind.INPUT_REQUEST:
                if len(self._asking) >= QUESTIONS or len(parts[0]) > LONGEST_QUESTION:
                    raise WireError("too many questions, or too long a one")
                self._asking.append(number)
                self._ask(number, bytes(parts[0]), ASK_AGAIN)
            case Kind.HELLO:
                self._hello(parts[0])
            case Kind.SNAPSHOT:
                self._snapshot(frame)
            case Kind.REPEATABLE:
                self._repeatable(_number(parts[0]), parts[1])
            case Kind.MORE:
                self._carry_out(self._router.worker_asks(number))
            case Kind.CELL:
                self._cells.learn(_number(parts[0]), decode_text(parts[1][:_WORDS]))
            case Kind.ROLLBACK:
                self._on_rollback()
            case Kind.JOINED:
                self._carry_out(self._router.worker_joins(number, unlocked=bool(frame.flags & UNLOCKED)))
            case Kind.DETOUR:
                self._subshells.detour(number, decode_text(parts[0][:_WORDS]), over=bool(frame.flags & OVER))
            case Kind.DEBUGGED:
                self._debugger.frame(frame)
            case Kind.WHERE:
                self._interrupts.tell_where(number, self._cells.named(decode_text(parts[0][-_WORDS:])))
            case Kind.LARGEST:
                self._on_largest(number, decode_text(parts[0][:_WORDS]))
            case Kind.GOODBYE:
                self._on_goodbye()

    def _publish(self, frame: Frame) -> None:
        parts = frame.parts
        parent = self._frontends.parent(frame.request)
        if frame.flags & PARENT:
            parent, parts = bytes(parts[0]), parts[1:]
        if len(parts) < 3:
            raise WireError("PUBLISH has too few parts")
        msg_type, metadata, content, *buffers = parts
        _check_end("PUBLISH", content)
        self._frontends.publish(decode_text(msg_type), content, parent, metadata, buffers)

    def _reply(self, frame: Frame) -> None:
        self.worker.read_pipes()  # what native code wrote before comes before
        self._frontends.end_raw_text(self._frontends.parent(frame.request))
        content, *buffers = frame.parts
        if len(content):  # what a comm's message gets is none
            _check_end("REPLY", content)
        self._asking = [request for request in self._asking if request != frame.request]
        self._carry_out(
            self._router.worker_replied(
                frame.request,
                content,
                error=bool(frame.flags & ERROR),
                abort=bool(frame.flags & ABORT),
                buffers=tuple(buffers),
                now=self._clock(),
            )
        )
        if frame.flags & EXIT:
            log.info("User code asked the kernel to exit.")
            self._exit = self._timers.at(self._clock() + EXIT_AFTER, self._on_exit)

    def _hello(self, content: Part) -> None:
        hello = msgspec.json.decode(content, type=dict[str, Any])
        if hello.get("wire") != WIRE_VERSION or hello.get("pid") != self.worker.pid:
            raise WireError("HELLO is not that of the worker that was started")
        self._answers.learn(
            str(hello.get("python", "")), str(hello.get("ipython", "")), debugger=hello.get("debugger") is True
        )
        log.info("Worker %d is ready.", self.worker.pid)
        lost = hello.get("lost")
        self._on_ready([str(item)[:1000] for item in lost[:10]] if isinstance(lost, list) else [])
        self._debugger.announce()
        self._debugger.hello(hello)

    def _snapshot(self, frame: Frame) -> None:
        if frame.flags & DISCARD:
            self._snapshots.discard_cells()
            return
        if frame.flags & BASE:
            self._snapshots.base(_number(frame.parts[0]))
            return
        cell, pid = _number(frame.parts[0]), _number(frame.parts[1])
        if not 1 < pid <= _LAST_PID:
            raise WireError("a snapshot with an impossible process id")
        try:
            snapshot = Snapshot(self.worker.descriptor(), pid, cell)
        except DescriptorLost:  # the copy ends by itself: nobody has its socket
            if not frame.flags & PRISTINE:
                self._snapshots.missed()
            log.warning("A snapshot was lost, because the supervisor can open no more files.")
            return
        except OSError:
            raise WireError("a snapshot without a socket") from None
        self._snapshots.add(snapshot, pristine=bool(frame.flags & PRISTINE))

    def _repeatable(self, cell: int, record: Part) -> None:
        if len(record) > LONGEST_REPEATED:
            raise WireError("a cell that is too long to be repeated")
        try:
            self._snapshots.repeats(cell, bytes(record))
        except ValueError as error:
            raise WireError(str(error)) from None

    def _ask(self, request_id: int, content: bytes, again: float) -> None:
        """Asks the frontend; as long as its stdin channel is not there yet, or not again, tries once more later."""
        if request_id in self._asking and not self._frontends.ask(request_id, content):
            self._timers.at(self._clock() + again, lambda: self._ask(request_id, content, min(2 * again, ASK_SELDOM)))

    def answered(self, message: Message) -> None:
        """An input_reply has come; it goes to the latest question that its sender was asked."""
        for request_id in reversed(self._asking):
            if self._frontends.idents(request_id) == message.idents:
                self._asking.remove(request_id)
                self.worker.send_control(Kind.INPUT_REPLY, request_id, (message.content,))
                return

    def end(self) -> None:
        """The worker is dead: its questions are of no use any longer."""
        self._asking.clear()

    def renew(self) -> None:
        """A restart in place has begun another session, which has not asked the kernel to end."""
        if self._exit is not None:
            self._exit.cancel()
            self._exit = None


def _number(part: Part) -> int:
    """A small number in decimal digits, as the worker sends it."""
    digits = bytes(part)
    if not digits.isdigit() or len(digits) > 18:
        raise WireError("a number was expected")
    return int(digits)


def _check_end(name: str, content: Part) -> None:
    """A content is passed on as it is; but one whose end is missing is none, and no frontend could read it.

    :raises WireError: it is cut off, as when something else was written into the midst of the frame.
    """
    if bytes(content[-1:]) != b"}":
        raise WireError(f"{name} with a content that is cut off")
