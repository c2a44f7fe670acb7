"""Drives a real worker over its link, frame by frame. Every wait is for an event, and has an end."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ipymini_supervisor.process import Exit, Process, read, spawn
from ipymini_worker.wire import NUDGE_SIGNAL, PARENT, STDERR, Frame, Kind

#: Seconds after which an event that has not come is taken for missing.
PATIENCE = 30.0
#: Seconds after an interrupt at which the supervisor wakes a worker that may have missed it.
NUDGES = (0.01, 0.1, 0.4)


@dataclass
class Event:
    """What a worker said for a request: "stdout", "stderr" with text, or an iopub message type with its content."""

    type: str
    content: Any
    request: int
    metadata: dict[str, Any] = field(default_factory=dict)
    buffers: list[bytes] = field(default_factory=list)
    parent: dict[str, Any] | None = None  #: if it came with the frame


@dataclass
class Answer:
    """Everything that came for one request up to its reply."""

    request: int
    events: list[Event]
    content: dict[str, Any]
    flags: int

    def of(self, event_type: str) -> list[Any]:
        """The contents of the events of one type."""
        return [event.content for event in self.events if event.type == event_type]

    @property
    def stdout(self) -> str:
        """What was printed."""
        return "".join(self.of("stdout"))

    @property
    def stderr(self) -> str:
        """What was printed on stderr."""
        return "".join(self.of("stderr"))

    @property
    def result(self) -> str:
        """The text of the cell's result."""
        (content,) = self.of("execute_result")
        return str(content["data"]["text/plain"])

    @property
    def status(self) -> str:
        """The status of the reply."""
        return str(self.content["status"])

    @property
    def failure(self) -> tuple[str, str]:
        """Name and text of the error, which the reply and the one `error` message agree on."""
        (content,) = self.of("error")
        assert self.status == "error"
        assert (self.content["ename"], self.content["evalue"]) == (content["ename"], content["evalue"])
        return str(content["ename"]), str(content["evalue"])


class Worker:
    """A worker that was spawned as the supervisor does it, and this process in the place of the supervisor."""

    def __init__(
        self,
        environment: Mapping[str, str],
        arguments: Sequence[str] = (),
        python: str = sys.executable,
        connection_file: str = "/nowhere/kernel-1.json",
    ) -> None:
        self.process: Process = spawn(python, connection_file, arguments, environment)
        self.events: list[Event] = []
        self.frames: list[Frame] = []
        self.raw = {"stdout": b"", "stderr": b"", "fault": b""}
        self.exit: Exit | None = None
        self._started: set[int] = set()
        self._replies: dict[int, Frame] = {}
        self._questions: list[tuple[int, dict[str, Any]]] = []
        self._last = 0
        self._nudges: list[float] = []  # when the last interrupt is followed up
        self.hello: dict[str, Any] = {}

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self.process.pid

    # -- waiting

    def wait(self, happened: Callable[[], object]) -> None:
        """Takes in what comes until `happened()` is true."""
        end = time.monotonic() + PATIENCE
        while not happened():
            left = end - time.monotonic()
            if left <= 0:
                # Tests that share this worker have to fail at once, instead of waiting in vain one after the other.
                self.process.signal(signal.SIGKILL)
                raise AssertionError(f"did not happen; stderr: {self.raw['stderr'].decode()}{self.text('stderr')}")
            assert self.exit is None, f"the worker has ended: {self.exit} {self.raw['stderr'].decode()}"
            self._take(left)

    def _take(self, seconds: float) -> None:
        process, poll = self.process, select.poll()
        for fd in process.descriptors:
            if not (fd == process.work.fileno() and process.work.ended) and fd != process.control.fileno():
                poll.register(fd, select.POLLIN)
        if process.work.writing:
            poll.register(process.work.fileno(), select.POLLIN | select.POLLOUT)
        if self._nudges:
            seconds = max(0.0, min(seconds, self._nudges[0] - time.monotonic()))
        ready = {fd for fd, _ in poll.poll(seconds * 1000)}
        if self._nudges and time.monotonic() >= self._nudges[0]:
            self._nudges.pop(0)
            os.kill(self.pid, NUDGE_SIGNAL)
        process.work.flush()
        if process.work.fileno() in ready:
            for frame in process.work.receive():
                self._frame(frame)
        for fd in list(process.pipes):
            if fd in ready:
                self._pipe(fd)
        if process.exit_fd in ready:
            self._drain()
            self.exit = process.reap()

    def _pipe(self, fd: int) -> bool:
        data = read(fd)
        if data == b"":
            self.process.end_pipe(fd)
        elif data is not None:
            self.raw[self.process.pipe_name(fd)] += data
        return bool(data)

    def _drain(self) -> None:
        while not self.process.work.ended and (frames := self.process.work.receive() or self.process.work.partial):
            for frame in frames if isinstance(frames, list) else ():
                self._frame(frame)
        for fd in list(self.process.pipes):
            while self._pipe(fd):
                pass

    def _frame(self, frame: Frame) -> None:
        self.frames.append(frame)
        parts = list(frame.parts)
        parent = json.loads(bytes(parts.pop(0))) if frame.flags & PARENT and len(parts) > 1 else None
        match frame.kind:
            case Kind.HELLO:
                self.hello = json.loads(bytes(parts[0]))
            case Kind.STREAM:
                name = "stderr" if frame.flags & STDERR else "stdout"
                self.events.append(Event(name, bytes(parts[0]).decode(), frame.request, parent=parent))
            case Kind.PUBLISH:
                name, metadata, content, *buffers = (bytes(part) for part in parts)
                event = Event(name.decode(), json.loads(content), frame.request, json.loads(metadata), buffers, parent)
                self.events.append(event)
            case Kind.STARTED:
                self._started.add(frame.request)
            case Kind.INPUT_REQUEST:
                self._questions.append((frame.request, json.loads(bytes(parts[0]))))
            case Kind.REPLY:
                self._replies[frame.request] = frame

    # -- what a supervisor does

    def ready(self) -> Worker:
        """Waits for HELLO."""
        self.wait(lambda: self.hello)
        return self

    def ask(
        self,
        msg_type: str,
        content: object,
        metadata: object = None,
        buffers: Sequence[bytes] = (),
    ) -> int:
        """Sends a request; returns its number. The id of its header is that number."""
        self._last += 1
        header = {"msg_id": str(self._last), "msg_type": msg_type, "session": "s", "username": "u"}
        parts = [json.dumps(part).encode() for part in (header, {}, {} if metadata is None else metadata, content)]
        self.process.work.send(Kind.REQUEST, self._last, (*parts, *buffers))
        return self._last

    def start(self, code: str, **options: Any) -> int:
        """Sends an execute_request; returns its number when the worker has said STARTED."""
        metadata = options.pop("metadata", None)
        request = self.ask("execute_request", {"code": code, "allow_stdin": False, **options}, metadata)
        self.wait(lambda: request in self._started)
        return request

    def answer(self, request: int) -> Answer:
        """Waits for the reply to a request."""
        self.wait(lambda: request in self._replies)
        frame = self._replies[request]
        content = bytes(frame.parts[0])
        events = [event for event in self.events if event.request == request]
        return Answer(request, events, json.loads(content) if content else {}, frame.flags)

    def run(self, code: str, **options: Any) -> Answer:
        """Executes a cell to its end."""
        return self.answer(self.start(code, **options))

    def good(self, code: str, **options: Any) -> Answer:
        """Executes a cell that must succeed."""
        answer = self.run(code, **options)
        assert answer.status == "ok", answer.content
        return answer

    def get(self, msg_type: str, content: object, metadata: object = None) -> dict[str, Any]:
        """The content of the reply to a request of another type."""
        return self.answer(self.ask(msg_type, content, metadata)).content

    def interrupt(self) -> None:
        """SIGINT for the latest request, as the supervisor sends it."""
        self.process.control.send(Kind.INTERRUPT, self._last)
        self.process.signal(signal.SIGINT)
        now = time.monotonic()
        self._nudges = [now + delay for delay in NUDGES]

    def question(self) -> tuple[int, dict[str, Any]]:
        """Waits for an input_request; returns whose it is and its content."""
        self.wait(lambda: self._questions)
        return self._questions.pop(0)

    def reply_input(self, request: int, value: str) -> None:
        """Sends the user's answer to a question."""
        self.process.control.send(Kind.INPUT_REPLY, request, (json.dumps({"value": value}).encode(),))

    def prints(self, text: str) -> None:
        """Waits until `text` has been printed, by whatever request."""
        self.wait(lambda: text in self.text("stdout"))

    def text(self, name: str) -> str:
        """Everything that came on one stream through the link."""
        return "".join(event.content for event in self.events if event.type == name)

    def ended(self) -> Exit:
        """Waits for the end of the process."""
        if self.exit is None:
            self.wait_for_end()
        assert self.exit is not None
        return self.exit

    def wait_for_end(self) -> None:
        """As `wait`, for the end itself."""
        end = time.monotonic() + PATIENCE
        while self.exit is None:
            left = end - time.monotonic()
            assert left > 0, "the worker did not end"
            self._take(left)

    def stop(self) -> Exit:
        """Asks the worker to end, and waits until it has."""
        self.process.work.send(Kind.STOP)
        return self.ended()

    def close(self) -> None:
        """Ends the worker in any case, and gives everything back."""
        if self.exit is None:
            self.process.signal(signal.SIGKILL)
            poll = select.poll()
            poll.register(self.process.exit_fd, select.POLLIN)
            assert poll.poll(PATIENCE * 1000)
            self.exit = self.process.reap()
        self.process.close()


def gone(pidfd: int) -> bool:
    """Waits until the process of a pidfd, which is closed, has ended; ends it and returns False if it does not."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    try:
        if poll.poll(PATIENCE * 1000):
            return True
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return False
    finally:
        os.close(pidfd)


def environment_in(folder: Path) -> dict[str, str]:
    """The environment of a worker whose files are all in `folder`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("IPYTHON", "JPY_", "MPL", "PYTEST"))}
    ours = {"HOME": str(folder), "IPYTHONDIR": str(folder / "ipython"), "MPLCONFIGDIR": str(folder / "mpl")}
    # Copies of the worker would be left to whoever adopts orphans.
    return {**kept, **ours, "IPYMINI_SNAPSHOTS": "off", "IPYMINI_WARM": "0"}


class Start(Protocol):
    """Starts a worker."""

    def __call__(self, *arguments: str, connection_file: str = ...) -> Worker: ...
