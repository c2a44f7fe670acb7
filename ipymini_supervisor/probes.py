"""How a worker is: whether Python code can run in it, and where it is.

Where it is, it says itself as long as it can. Else faulthandler says it on a signal, which a worker does not always
survive while Python code runs in it, see `ipymini_worker.where`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from ipymini_supervisor import stack, threads
from ipymini_supervisor.process import Process
from ipymini_supervisor.timers import Timer, Timers
from ipymini_worker.wire import DUMP_SIGNAL, STACK, Frame, Kind, Part

#: Bytes of faulthandler's words that are kept.
_FAULT = 65536
#: How a dump begins that was asked for, and what a fatal error's has.
_ASKED, _FATAL = b"Stack (most recent call first)", b"Fatal Python error"
#: Seconds that a stack dump may take to begin, and that it has ended after when nothing more comes.
DUMP_BEGINS, DUMP_ENDS = 0.2, 0.03
#: Seconds that a worker that is well takes at most to answer PING, and that it has on a machine that is busy.
PONG_WITHIN, PONG_AT_LAST = 0.05, 0.2
#: Seconds that it has on such a machine to say where it is, and for its dump if it does not; soon it may be killed.
WHERE_AT_LAST = 0.5


class Send(Protocol):
    """As `Worker.send_control`."""

    def __call__(self, kind: Kind, request: int = 0, parts: Iterable[Part] = (), flags: int = 0) -> None: ...


class Probes:
    """Belongs to a worker.

    :param clock: seconds on a clock that never goes back.
    :param send: sends a frame on the control socket.
    :param hear: takes what has come from there.
    :param hear_fault: takes what faulthandler has written.
    :param cells: names the cells in what faulthandler says.
    :param look: at the threads of a process.
    """

    def __init__(
        self,
        process: Process,
        timers: Timers,
        clock: Callable[[], float],
        send: Send,
        hear: Callable[[], None],
        hear_fault: Callable[[], None],
        cells: stack.Cells,
        look: Callable[[int], threads.Threads],
    ) -> None:
        self._process = process
        self._timers = timers
        self._clock = clock
        self._send = send
        self._hear = hear
        self._hear_fault = hear_fault
        self._cells = cells
        self._look = look
        self._pings: dict[int, tuple[Callable[[str | None], None], Timer]] = {}
        self._last_ping = 0
        self._fault = b""
        self._dumps: list[Callable[[str], None]] = []
        self._dump_timer: Timer | None = None
        self._dump_late = False
        self._dump_began = 0.0
        self._dump_threads: threads.Threads = {}
        self._ended = False

    # -- whether Python code can run

    def ping(self, done: Callable[[bool], None]) -> None:
        """Calls `done` with whether Python code can run in the worker, which takes a moment."""
        self._ping(lambda answer: done(answer is not None), 0, PONG_AT_LAST)

    def _ping(self, done: Callable[[str | None], None], flags: int, at_last: float) -> None:
        self._last_ping += 1
        number = self._last_ping
        self._pings[number] = (done, self._pong_late(number, self._clock(), at_last))
        self._send(Kind.PING, number, (), flags)

    def _pong_late(self, number: int, asked: float, at_last: float, *, patient: bool = True) -> Timer:
        """Waits on: a worker that could run and has no CPU for it is not one that does not listen.

        :param patient: whether it gets as much time once more if the whole machine stood still.
        """
        began, before = self._clock(), self._look(self._process.pid)

        def judge() -> None:
            self._hear()  # it may be us who are late
            if number not in self._pings:
                return
            at = self._clock()
            starved = at - asked < at_last and threads.starved(before, self._look(self._process.pid), at - began)
            stood = patient and at - began > 2 * PONG_WITHIN  # we did, for one
            if starved or stood:
                again = self._pong_late(number, at if stood else asked, at_last, patient=patient and not stood)
                self._pings[number] = (self._pings[number][0], again)
            else:
                self._answer(number, None)

        return self._timers.at(began + PONG_WITHIN, judge)

    def pong(self, frame: Frame) -> None:
        """Takes a PONG; one that nobody waits for is ignored."""
        if frame.request in self._pings:
            self._answer(frame.request, "".join(str(part[:_FAULT], "utf-8", "replace") for part in frame.parts))

    def _answer(self, number: int, answer: str | None) -> None:
        done, timer = self._pings.pop(number, (None, None))
        if done is not None and timer is not None:
            timer.cancel()
            done(answer)

    # -- where it is

    def dump(self, done: Callable[[str], None], *, deaf: bool = False) -> None:
        """Calls `done` with where the main thread is, in faulthandler's words; with "" if that cannot be told.

        :param deaf: whether the worker has just not answered PING, and need not be asked.
        """
        if self._ended:
            done("")
            return
        self._dumps.append(done)
        if len(self._dumps) > 1:
            return
        if deaf:
            self._signal_dump()
        else:
            self._ping(self._told_where, STACK, WHERE_AT_LAST)

    def _told_where(self, answer: str | None) -> None:
        if answer:
            self._answer_dumps(answer)
        elif not self._ended:
            self._signal_dump()

    def _signal_dump(self) -> None:
        self._fault = b""
        self._dump_began, self._dump_threads = self._clock(), self._look(self._process.pid)
        self._process.signal_alone(DUMP_SIGNAL)
        self._dump_again_in(DUMP_BEGINS)

    def fault(self, data: bytes) -> None:
        """Takes what faulthandler has written, because it was asked to, or because the worker dies."""
        self._fault = (self._fault + data)[-_FAULT:]
        if self._dump_timer is not None and self._clock() - self._dump_began < WHERE_AT_LAST:
            self._dump_again_in(DUMP_ENDS)

    def _dump_again_in(self, seconds: float) -> None:
        if self._dump_timer is not None:
            self._dump_timer.cancel()
        self._dump_timer = self._timers.at(self._clock() + seconds, self._dumped)

    def _dumped(self) -> None:
        self._dump_timer = None
        if self._dump_goes_on():
            return
        complete = stack.is_complete(self._fault) or not self._fault
        if not complete and not self._dump_late:
            self._dump_late = True  # the thread that matters comes last, and the machine is busy
            self._dump_again_in(DUMP_BEGINS)
            return
        self._dump_late = False
        text, self._fault = self._fault.decode("utf-8", "replace"), b""
        self._answer_dumps(text)

    def _dump_goes_on(self) -> bool:
        """Waits on for a dump that has come while we stood still, and for a worker that has no CPU for it."""
        size = len(self._fault)
        self._hear_fault()
        passed = self._clock() - self._dump_began
        if passed >= WHERE_AT_LAST:
            return False
        if len(self._fault) > size:
            self._dump_again_in(DUMP_ENDS)
        elif not self._fault and threads.starved(self._dump_threads, self._look(self._process.pid), passed):
            self._dump_again_in(DUMP_BEGINS)
        return self._dump_timer is not None

    def _answer_dumps(self, text: str) -> None:
        waiting, self._dumps = self._dumps, []
        text = self._cells.named(text)
        for done in waiting:
            done(text)

    # -- the end

    def end(self) -> str:
        """The worker has ended: everybody who waits is told; returns what faulthandler has said at last."""
        if self._dump_timer is not None:  # until its time it would keep the worker, and half a megabyte of buffers
            self._dump_timer.cancel()
        elif self._fault.startswith(_ASKED) and _FATAL not in self._fault:
            self._fault = b""  # a dump that came when nobody waited for it any longer, and not of what it died of
        self._ended = True
        fault = self._fault.decode("utf-8", "replace")
        self._answer_dumps(fault)
        for number in list(self._pings):
            self._answer(number, None)
        return self._cells.named(fault)
