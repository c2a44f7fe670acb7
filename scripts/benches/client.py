"""A client that costs next to nothing: ZMQ sockets and signatures of its own, and no look into what it does not need.

What arrives is not verified, and content stays bytes, so that what is measured is the kernel.
"""

from __future__ import annotations

import hmac
import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import zmq

_DELIMITER = b"<IDS|MSG>"


class NoAnswer(Exception):
    """A kernel did not do what every kernel has to; one plain sentence says what."""


@dataclass(slots=True)
class Message:
    """A message that has come, and when on the clock of `time.perf_counter`."""

    at: float
    type: str
    parent: str  #: the id of the request that it belongs to
    content: bytes
    raw_metadata: bytes
    buffers: Sequence[Any]

    def json(self) -> dict[str, Any]:
        """The content."""
        decoded: dict[str, Any] = json.loads(self.content)
        return decoded

    def metadata(self) -> dict[str, Any]:
        """The metadata."""
        decoded: dict[str, Any] = json.loads(self.raw_metadata)
        return decoded


@dataclass(slots=True)
class Run:
    """What has come for one request."""

    sent: float
    reply: Message | None = None
    idle: float = 0.0  #: when it came; 0 for not yet
    messages: int = 0  #: on iopub
    first: dict[str, float] = field(default_factory=dict)  #: when the first message of a type came
    text: list[bytes] = field(default_factory=list)  #: contents of its stream messages

    @property
    def over(self) -> bool:
        """Whether there is a reply, and idle."""
        return self.reply is not None and self.idle > 0

    @property
    def seconds(self) -> float:
        """From the request to whatever came last of reply and idle."""
        assert self.reply is not None
        return max(self.reply.at, self.idle) - self.sent


class Client:
    """Sockets for all channels but stdin.

    :param connection: the content of a connection file.
    :param hwm: messages that the iopub socket keeps; 0 for any number.
    """

    def __init__(self, connection: Mapping[str, Any], hwm: int = 0) -> None:
        self._hmac = hmac.new(connection["key"].encode(), digestmod="sha256")
        self._session = uuid.uuid4().hex
        self._count = 0
        self._context = zmq.Context()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._poller = zmq.Poller()
        self.runs: dict[str, Run] = {}
        #: Called with each message on iopub; what it returns is of no interest.
        self.on_publish: Callable[[Message], object] = lambda message: None
        for channel, kind in (("shell", zmq.DEALER), ("control", zmq.DEALER), ("iopub", zmq.SUB), ("hb", zmq.REQ)):
            socket = self._context.socket(kind)
            socket.linger = 0
            socket.reconnect_ivl = 5  # or the start of a kernel would be measured in steps of a tenth of a second
            if channel == "iopub":
                socket.rcvhwm = hwm
                socket.subscribe(b"")
            else:
                socket.sndhwm = socket.rcvhwm = 0
            socket.connect(f"tcp://{connection['ip']}:{connection[f'{channel}_port']}")
            self._sockets[channel] = socket
        for channel in ("shell", "iopub", "control"):
            self._poller.register(self._sockets[channel], zmq.POLLIN)
        self._names = {socket: name for name, socket in self._sockets.items()}

    def close(self) -> None:
        """Closes all sockets."""
        for socket in self._sockets.values():
            socket.close()
        self._context.term()

    def send(
        self, msg_type: str, content: Mapping[str, Any], *, channel: str = "shell", buffers: Sequence[Any] = ()
    ) -> Run:
        """Sends a request; its run is filled by `pump`."""
        self._count += 1
        msg_id = f"{self._session}_{self._count}"
        header = {"msg_id": msg_id, "msg_type": msg_type, "username": "bench", "session": self._session}
        header |= {"date": "2026-01-01T00:00:00.000000Z", "version": "5.4"}
        signed = [json.dumps(header).encode(), b"{}", b"{}", json.dumps(content).encode()]
        digest = self._hmac.copy()
        for part in signed:
            digest.update(part)
        parts = [_DELIMITER, digest.hexdigest().encode(), *signed, *buffers]
        run = self.runs[msg_id] = Run(time.perf_counter())
        self._sockets[channel].send_multipart(parts, copy=len(buffers) == 0)
        return run

    def start(self, code: str, *, history: bool = True) -> Run:
        """Sends a cell."""
        content = {"code": code, "silent": False, "store_history": history, "user_expressions": {}}
        return self.send("execute_request", {**content, "allow_stdin": False, "stop_on_error": True})

    def execute(self, code: str, *, history: bool = True, timeout: float = 60.0) -> Run:
        """Runs a cell to its end.

        :raises NoAnswer: it did not come to one, or to a bad one.
        """
        run = self.finish(self.start(code, history=history), timeout)
        assert run.reply is not None
        if run.reply.json().get("status") != "ok":
            raise NoAnswer(f"A cell failed: {run.reply.content[:300]!r}")
        return run

    def ask(self, msg_type: str, content: Mapping[str, Any], *, channel: str = "shell", timeout: float = 60.0) -> Run:
        """Sends a request and waits for its reply and idle."""
        return self.finish(self.send(msg_type, content, channel=channel), timeout)

    def finish(self, run: Run, timeout: float = 60.0) -> Run:
        """Waits until a request is over."""
        self.wait(lambda: run.over, timeout)
        return run

    def wait(self, done: Callable[[], bool], timeout: float = 60.0) -> None:
        """Takes what comes until `done`.

        :raises NoAnswer: it takes longer than `timeout` seconds.
        """
        end = time.perf_counter() + timeout
        while not done():
            left = end - time.perf_counter()
            if left <= 0 or not self.pump(left):
                raise NoAnswer(f"Something that has to come did not within {timeout:.0f} s.")

    def pump(self, timeout: float) -> bool:
        """Takes what is there, waiting for at most `timeout` seconds; False if there is nothing."""
        ready = self._poller.poll(max(0, int(timeout * 1000)))
        for socket, _ in ready:
            for _ in range(64):
                try:
                    frames = socket.recv_multipart(zmq.NOBLOCK, copy=False)
                except zmq.Again:
                    break
                self._take(self._names[socket], frames)
        return bool(ready)

    def _take(self, channel: str, frames: Sequence[zmq.Frame]) -> None:
        at = time.perf_counter()
        index = next((i for i, frame in enumerate(frames[:4]) if frame.bytes == _DELIMITER), None)
        if index is None:
            return
        header, parent = json.loads(frames[index + 2].bytes), json.loads(frames[index + 3].bytes) or {}
        metadata, content = frames[index + 4].bytes, frames[index + 5].bytes
        message = Message(at, header["msg_type"], parent.get("msg_id", ""), content, metadata, frames[index + 6 :])
        run = self.runs.get(message.parent)
        if channel == "iopub":
            self.on_publish(message)
        if run is None:
            return
        if channel != "iopub":
            run.reply = message
            return
        run.messages += 1
        run.first.setdefault(message.type, at)
        if message.type == "stream":
            run.text.append(content)
        elif message.type == "status" and b'"idle"' in content:
            run.idle = at

    def beat(self, timeout: float = 20.0) -> float:
        """Seconds that a heartbeat takes.

        :raises NoAnswer: nothing comes back.
        """
        socket = self._sockets["hb"]
        begun = time.perf_counter()
        socket.send(b"ping")
        if not socket.poll(int(timeout * 1000)):
            raise NoAnswer("There is no heartbeat.")
        socket.recv()
        return time.perf_counter() - begun
