"""The worker as the supervisor sees it: what it says, what its descriptors say, and how it can be made to end.

One object for each worker process. It never blocks, and takes nothing that comes from the worker on trust.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterable

import msgspec

from ipymini_supervisor import cgroup, stack, threads
from ipymini_supervisor.link import Link
from ipymini_supervisor.obituary import Death
from ipymini_supervisor.probes import Probes
from ipymini_supervisor.process import Process, read
from ipymini_supervisor.sockets import Sockets
from ipymini_supervisor.timers import Timer, Timers
from ipymini_worker.wire import Frame, Kind, Part, WireError

log = logging.getLogger("ipymini")

#: Bytes of native stderr that are kept.
_TAIL = 16384
#: Reads of the link after which what was said before something was written to a pipe has been taken: it holds no more
#: than a megabyte or two; but one read ends where a descriptor has come along.
_CAUGHT_UP = 32
#: Reads of the link of a worker that has ended, which are more than a socket holds.
_LAST_WORDS = 1000
#: What is heard of those of a worker that was killed: what it has done does not count any longer, but it was seen to
#: print, or would have been by a frontend that reads faster.
_OUTPUT, _ALL = frozenset({Kind.STREAM, Kind.PUBLISH}), frozenset(Kind)
#: Output that comes in so many reads, each within so many seconds of the one before and of less than so many bytes, may
#: gather for as long before the next read: else each line, or display, would cost both processes a pass of the loop.
#: What follows it waits no longer than that.
FLOOD, GATHER, LITTLE = 16, 0.001, 1 << 16


class Worker:
    """A spawned worker.

    :param on_frame: called for each frame; what it raises as `WireError` or `LookupError` condemns the worker.
    :param on_text: called with "stdout" or "stderr" and bytes that were written to the real descriptors.
    :param cells: names the cells in what faulthandler says.
    :param clock: seconds on a clock that never goes back.
    :param look: at the threads of a process.
    """

    def __init__(
        self,
        process: Process,
        sockets: Sockets,
        timers: Timers,
        clock: Callable[[], float],
        on_frame: Callable[[Frame], None],
        on_text: Callable[[str, bytes], None],
        cells: stack.Cells,
        look: Callable[[int], threads.Threads] = threads.look,
    ) -> None:
        self.pid = process.pid
        self._process = process
        self._sockets = sockets
        self._timers = timers
        self._clock = clock
        self._on_frame = on_frame
        self._on_text = on_text
        self._cells = cells
        self._born = clock()
        self._oom_kills = cgroup.oom_kills()
        self._reason = ""
        self._heard = _ALL
        self._stderr = b""
        self._reading = True
        self._listened = self._born  # since when it has been listened to, while it is
        self._expected: Timer | None = None
        self._closed_timer: Timer | None = None
        self._gather_timer: Timer | None = None
        self._outputs = 0  # reads of nothing but output that came one soon after the other
        self._last_output = 0.0
        self._probes = Probes(process, timers, clock, self.send_control, self._hear, self._hear_fault, cells, look)
        self._watch()

    @property
    def buried(self) -> bool:
        """Whether it has ended, and everything that it left was taken."""
        return self._process.reaped

    # -- what it says

    @property
    def reading(self) -> bool:
        """Whether the worker is listened to. While it is not, it has to wait with what it wants to say."""
        return self._reading

    @reading.setter
    def reading(self, value: bool) -> None:
        if value is not self._reading:
            self._reading = value
            self._listened = self._clock()
            self._watch()

    def _watch(self) -> None:
        process = self._process
        for fd in process.descriptors:
            self._sockets.ignore(fd)
        self._sockets.watch(process.exit_fd)
        for link in (process.work, process.control):
            listening = link is process.control or (self._reading and self._gather_timer is None)
            if not link.ended and (listening or link.writing):
                self._sockets.watch(link.fileno(), read=listening, write=link.writing)
        for fd in process.pipes:
            if self._reading or process.pipe_name(fd) == "fault":
                self._sockets.watch(fd)

    def handle(self, ready: set[str | int]) -> bool:
        """Takes what is there to be taken; returns whether the process has ended."""
        process = self._process
        pipes = [fd for fd in process.pipes if fd in ready]
        for link in (process.control, process.work):
            # What was said before something was written to a pipe may have come after the look that found the pipe
            # readable and the link not: descriptors are looked at one after the other.
            late = bool(pipes) and link is process.work and not link.ended
            reads = _CAUGHT_UP if late else int(link.fileno() in ready)
            while reads and self._read_link(link):
                reads -= 1
        for fd in pipes:
            if fd in process.pipes:  # not if what was said has taken it already
                self._read_pipe(fd)
        return process.exit_fd in ready

    def _read_link(self, link: Link) -> bool:
        """Reads once; returns whether there may be more."""
        if link.writing:
            link.flush()
            if not link.writing:
                self._watch()
        if not self._reading and link is self._process.work:
            return False
        try:
            frames = link.receive()
            for frame in frames:
                if frame.kind is Kind.PONG:
                    self._probes.pong(frame)
                elif frame.kind in self._heard:
                    self._on_frame(frame)
            if frames and link is self._process.work:
                self._gather(frames)
            link.check()
        except (WireError, LookupError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            link.ended = True  # or it would be read again and again until the worker has ended
            self._sockets.ignore(link.fileno())
            self.condemn(f"was killed, because what it sent was not understood ({error})")
            return False
        if link.ended:
            # User code may have closed it, or a C library; without its link a worker is of no use.
            self._sockets.ignore(link.fileno())
            if self._closed_timer is None:
                reason = "was killed, because it had closed its link"
                self._closed_timer = self._timers.at(self._clock() + 0.5, lambda: self.condemn(reason))
        return bool(frames) or (link.partial and not link.ended)

    def _gather(self, frames: list[Frame]) -> None:
        at = self._clock()
        output = all(frame.kind in _OUTPUT for frame in frames)
        little = output and sum(len(part) for frame in frames for part in frame.parts) < LITTLE
        self._outputs = self._outputs + 1 if little and at - self._last_output < GATHER else 0
        self._last_output = at
        if self._outputs >= FLOOD and self._gather_timer is None:
            self._sockets.ignore(self._process.work.fileno())
            self._gather_timer = self._timers.at(at + GATHER, self._gathered)

    def _gathered(self) -> None:
        self._gather_timer = None
        self._outputs = FLOOD  # the next pause is due at once
        self._last_output = self._clock()
        self._watch()

    def descriptor(self) -> int:
        """The descriptor that came with the frame that is being handled.

        :raises DescriptorLost: there was no room for it.
        :raises WireError: none did.
        """
        return self._process.work.descriptor()

    def read_pipes(self) -> None:
        """Takes what native code has written so far."""
        for fd in self._process.pipes:
            self._read_pipe(fd)

    def _read_pipe(self, fd: int) -> None:
        process = self._process
        name = process.pipe_name(fd)
        for _ in range(16):  # as much as a pipe can hold, and no more: others wait
            data = read(fd)
            if data is None:
                return
            if not data:
                self._sockets.ignore(fd)
                process.end_pipe(fd)
                return
            if name == "fault":
                self._probes.fault(data)
                continue
            if name == "stderr":
                self._stderr = (self._stderr + data)[-_TAIL:]
            self._on_text(name, data)

    # -- what it is told

    def send(self, kind: Kind, request: int = 0, parts: Iterable[Part] = (), flags: int = 0) -> None:
        """Sends a frame on the work socket."""
        self._send(self._process.work, kind, request, parts, flags)

    def send_control(self, kind: Kind, request: int = 0, parts: Iterable[Part] = (), flags: int = 0) -> None:
        """Sends a frame on the control socket."""
        self._send(self._process.control, kind, request, parts, flags)

    def _send(self, link: Link, kind: Kind, request: int, parts: Iterable[Part], flags: int = 0) -> None:
        if link.ended:
            return
        link.send(kind, request, parts, flags)
        if link.writing:
            self._watch()

    def signal(self, number: int) -> None:
        """Sends a signal to the process group."""
        self._process.signal(number)

    def signal_alone(self, number: int) -> None:
        """Sends a signal to the worker's main thread and to nobody else."""
        self._process.signal_alone(number)

    def condemn(self, reason: str) -> None:
        """Kills the worker; its death is handled when it has happened.

        :param reason: the rest of a sentence that begins with "The worker".
        """
        if self._process.reaped:
            return
        if not self._reason:
            self._reason = reason
            log.info("The worker %s.", reason)
        self._process.signal(signal.SIGKILL)

    def expect(self, seconds: float, reason: str) -> None:
        """Condemns the worker for `reason` when it has been listened to for `seconds` and has not come.

        What it says while it is not listened to, because a frontend reads slowly, may have been said long ago.
        """

        def judge() -> None:
            if self._reading and self._clock() - self._listened >= seconds:
                self.condemn(reason)
            else:
                again()

        def again() -> None:
            since = self._listened if self._reading else self._clock()
            self._expected = self._timers.at(since + seconds, judge)

        again()

    def come(self) -> None:
        """It is not expected any longer."""
        if self._expected is not None:
            self._expected.cancel()
            self._expected = None

    def explain(self, reason: str) -> None:
        """Says beforehand what the worker will have died of, if it does not end by itself."""
        self._reason = reason

    # -- how it is

    def ping(self, done: Callable[[bool], None]) -> None:
        """Calls `done` with whether Python code can run in the worker, which takes a moment."""
        self._probes.ping(done)

    def dump(self, done: Callable[[str], None], *, deaf: bool = False) -> None:
        """Calls `done` with where the worker is; see `Probes.dump`."""
        self._probes.dump(done, deaf=deaf)

    def _hear(self) -> None:
        if not self._process.control.ended:
            self._read_link(self._process.control)

    def _hear_fault(self) -> None:
        for fd in self._process.pipes:
            if self._process.pipe_name(fd) == "fault":
                self._read_pipe(fd)

    # -- how it ended

    def bury(self) -> Death:
        """Takes everything that is left of a process that has ended, and its exit status."""
        process = self._process
        self._reading = True
        if self._reason:
            self._heard = _OUTPUT
        for _ in range(_LAST_WORDS):  # it may have children that still write
            if process.work.ended or not self._read_link(process.work):
                break
        self.read_pipes()
        for fd in process.descriptors:
            self._sockets.ignore(fd)
        status, peak = process.reap()
        process.close()
        for timer in (self._closed_timer, self._gather_timer, self._expected):
            if timer is not None:  # until its time it would keep the worker, and half a megabyte of buffers
                timer.cancel()
        fault = self._probes.end()
        kills = cgroup.oom_kills()
        return Death(
            status=status,
            reason=self._reason,
            fault=fault,
            stderr=self._cells.named(self._stderr.decode("utf-8", "replace")),  # Python may have put the stack there
            peak=peak,
            uptime=self._clock() - self._born,
            oom_kills=None if kills is None or self._oom_kills is None else kills - self._oom_kills,
        )
