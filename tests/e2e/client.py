"""A frontend over raw sockets, which sees every message of a kernel, on every channel.

It keeps the account that the protocol promises: every request gets exactly one reply, one busy and one idle; every
message on iopub has a parent header; every message that has a schema keeps to it. A breach fails the test that made
the request, whatever that test was about. Of the kernels that ours is compared with it asks no account.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import zmq
from jupyter_client.session import Session

from .schemas import validate
from .whereabouts import endpoint, whereabouts

Message = dict[str, Any]
Content = dict[str, Any]

#: Seconds for anything to happen; it is reached only by a test that fails.
TIMEOUT = 20.0

_SOCKETS = {"shell": zmq.DEALER, "control": zmq.DEALER, "stdin": zmq.DEALER, "iopub": zmq.SUB, "hb": zmq.REQ}
_WITHOUT_REPLY = frozenset({"comm_open", "comm_msg", "comm_close"})


@dataclass
class Run:
    """All that came for one request. `published` goes on growing when more of it arrives."""

    request: Message
    replies: list[Message] = field(default_factory=list)
    published: list[Message] = field(default_factory=list)

    @property
    def expects_reply(self) -> bool:
        """Whether the protocol has a reply for this request."""
        return self.request["header"]["msg_type"] not in _WITHOUT_REPLY

    @property
    def over(self) -> bool:
        """Whether reply, busy and idle are there."""
        return (bool(self.replies) or not self.expects_reply) and {"busy", "idle"} <= set(self.states)

    @property
    def states(self) -> list[str]:
        """The states that were published for the request."""
        return [m["content"]["execution_state"] for m in self.published if m["msg_type"] == "status"]

    @property
    def reply(self) -> Content:
        """The content of the reply."""
        return self.replies[0]["content"]  # type: ignore[no-any-return]

    @property
    def status(self) -> str:
        """The reply's status: ok, error or aborted."""
        return str(self.reply["status"])

    @property
    def types(self) -> list[str]:
        """The types of what was published, in order, without status and execute_input.

        Text that follows text of the same stream is one: into how many messages it is divided is promised to nobody.
        """
        told = [m for m in self.published if m["msg_type"] not in ("status", "execute_input")]
        stream = [m["content"]["name"] if m["msg_type"] == "stream" else None for m in told]
        return [m["msg_type"] for i, m in enumerate(told) if not (i and stream[i] and stream[i] == stream[i - 1])]

    def contents(self, *types: str) -> list[Content]:
        """The contents of what was published under these types, in order."""
        return [m["content"] for m in self.published if m["msg_type"] in types]

    def text(self, name: str = "stdout") -> str:
        """All that was written to a stream."""
        return "".join(c["text"] for c in self.contents("stream") if c["name"] == name)

    @property
    def result(self) -> str:
        """The text of the result."""
        contents = self.contents("execute_result")
        assert len(contents) == 1, (self.replies, self.published)
        (content,) = contents
        return str(content["data"]["text/plain"])

    @property
    def error(self) -> str:
        """The name of the exception, which the reply and the one `error` message agree on."""
        errors = self.contents("error")
        assert len(errors) == 1, errors
        (content,) = errors
        assert self.status == "error"
        for key in ("ename", "evalue", "traceback"):
            assert content[key] == self.reply[key], (content, self.reply)
        return str(content["ename"])

    @property
    def traceback(self) -> str:
        """The traceback in the reply, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(self.reply["traceback"]))

    def check(self) -> None:
        """One reply, one busy, one idle; what the request published lies between."""
        assert len(self.replies) == (1 if self.expects_reply else 0), self
        assert sorted(self.states) == ["busy", "idle"], self


class Client:
    """A connected frontend.

    :param connection: the content of the connection file.
    :param validate: whether every message is held against its schema; costs half a millisecond for each.
    :param lenient: for kernels that are not ours: schemas, parents and the number of replies are not looked at.
    """

    def __init__(self, connection: Mapping[str, Any], *, validate: bool = True, lenient: bool = False) -> None:
        key = str(connection["key"]).encode()
        self.session = Session(key=key, signature_scheme=connection.get("signature_scheme", "hmac-sha256"))
        self.messages: list[tuple[str, Message]] = []
        self._validate = validate
        self._lenient = lenient
        #: Interrupts a kernel whose kernelspec wants a signal for that, as ipykernel's does.
        self.signal: Callable[[], None] | None = None
        self._runs: dict[str, Run] = {}
        self._answered: set[str] = set()
        self._strays: dict[str, list[Message]] = defaultdict(list)
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._names: dict[Any, str] = {}
        self.sockets: dict[str, zmq.Socket[bytes]] = {}
        self._connection = connection
        for name in _SOCKETS:
            self.connect(name)
        try:
            # From here on nothing that is published is missed.
            if lenient:
                self._subscribed()
            else:
                self.welcome = self.wait(lambda channel, message: message["msg_type"] == "iopub_welcome")
        except BaseException:
            self.drop()
            raise

    def connect(self, name: str) -> None:
        """Connects a channel, or connects it again, under the name that the client has."""
        if name in self.sockets:
            self.disconnect(name)
        self.sockets[name] = socket = self._context.socket(_SOCKETS[name])
        socket.linger = 0
        if _SOCKETS[name] == zmq.DEALER:
            socket.identity = self.session.bsession
        if _SOCKETS[name] == zmq.SUB:
            socket.subscribe(b"")
        socket.connect(endpoint(self._connection, name))
        if name != "hb":
            self._names[socket] = name
            self._poller.register(socket, zmq.POLLIN)

    def disconnect(self, name: str) -> None:
        """Closes a channel."""
        socket = self.sockets.pop(name)
        self._poller.unregister(socket)
        del self._names[socket]
        socket.close()

    def close(self) -> None:
        """Leaves the kernel, after a look at the account of every request."""
        try:
            for run in self._runs.values():
                if run.over and not self._lenient:
                    run.check()
        finally:
            self.drop()

    def drop(self) -> None:
        """Closes the sockets."""
        for socket in self.sockets.values():
            socket.close()
        self._context.term()

    def _subscribed(self) -> None:
        """Asks until something is published: a kernel may welcome only the first of its subscribers."""
        deadline = time.monotonic() + TIMEOUT
        while all(channel != "iopub" for channel, _ in self.messages):
            self.send("kernel_info_request")
            try:
                self.pump(min(deadline, time.monotonic() + 0.2))
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise

    # -- receiving

    def pump(self, deadline: float) -> None:
        """Takes what has arrived, waiting for the first of it.

        :raises TimeoutError: nothing came before `deadline` (on the monotonic clock).
        """
        left = deadline - time.monotonic()
        ready = self._poller.poll(max(0, int(left * 1000)))
        if not ready:
            last = "\n".join(f"{c}: {m['msg_type']} {str(m['content'])[:300]}" for c, m in self.messages[-15:])
            raise TimeoutError(f"nothing came; the last messages were:\n{last}")
        for socket, _ in ready:
            for _ in range(100):  # not for ever, where messages come faster than they are taken
                try:
                    parts = socket.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                self._take(self._names[socket], parts)

    def _take(self, channel: str, parts: list[bytes]) -> None:
        _, rest = self.session.feed_identities(parts)
        message = self.session.deserialize(rest)
        self.messages.append((channel, message))
        parent = (message["parent_header"] or {}).get("msg_id", "")
        run = self._runs.get(parent)
        if not self._lenient:
            self._examine(channel, message, run)
        if run is None:
            self._strays[parent].append(message)
        elif channel == "iopub":
            run.published.append(message)
        elif channel != "stdin":
            run.replies.append(message)

    def _examine(self, channel: str, message: Message, run: Run | None) -> None:
        assert isinstance(message["parent_header"], dict)
        assert message["parent_header"].get("msg_id"), f"no parent: {message}"
        if self._validate:
            validate(message)
        if run is None:
            assert channel == "iopub", f"a reply to somebody else: {message}"
        elif channel not in ("iopub", "stdin"):
            assert message["msg_type"] == run.request["msg_type"].replace("_request", "_reply"), message

    def wait(self, wanted: Callable[[str, Message], bool], *, since: int = 0, timeout: float = TIMEOUT) -> Message:
        """The first message, from number `since` on, that is wanted, by channel and message."""
        deadline = time.monotonic() + timeout
        with self._in_vain(timeout):
            while True:
                for channel, message in self.messages[since:]:
                    if wanted(channel, message):
                        return message
                since = len(self.messages)
                self.pump(deadline)

    def wait_until(self, condition: Callable[[], bool], timeout: float = TIMEOUT) -> None:
        """Takes messages until `condition` holds."""
        deadline = time.monotonic() + timeout
        with self._in_vain(timeout):
            while not condition():
                self.pump(deadline)

    @contextmanager
    def _in_vain(self, timeout: float) -> Iterator[None]:
        """Adds to the message of a wait that ends without what it waited for, where the worker is."""
        try:
            yield
        except TimeoutError as error:
            if timeout < TIMEOUT or self._lenient:
                raise
            where = whereabouts(self._connection)
            raise TimeoutError(f"{error}\n{where}") from None

    def others(self, msg_id: str) -> list[Message]:
        """What was published for a request of somebody else."""
        return self._strays[msg_id]

    # -- asking

    def send(
        self,
        msg_type: str,
        content: Mapping[str, Any] | None = None,
        *,
        channel: str = "shell",
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[bytes] = (),
        subshell: str | None = None,
    ) -> Run:
        """Sends a request; returns its account, which is still empty."""
        message = self.session.msg(msg_type, content=dict(content or {}), metadata=dict(metadata or {}))
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        run = self._runs[message["header"]["msg_id"]] = Run(message)
        self.session.send(self.sockets[channel], message, buffers=list(buffers))
        return run

    def finish(self, run: Run, timeout: float = TIMEOUT) -> Run:
        """Waits until a request is over."""
        self.wait_until(lambda: run.over, timeout)
        if self._lenient:
            self._take_what_is_late()
        else:
            run.check()
        return run

    def _take_what_is_late(self) -> None:
        """Output of others may come after the idle that should end it; a user sees it all the same."""
        try:
            while True:
                self.pump(time.monotonic() + 0.1)
        except TimeoutError:
            pass

    def ask(self, msg_type: str, content: Mapping[str, Any] | None = None, **options: Any) -> Run:
        """Sends a request and waits until it is over."""
        return self.finish(self.send(msg_type, content, **options))

    def start(
        self, code: str, *, metadata: Mapping[str, Any] | None = None, subshell: str | None = None, **options: Any
    ) -> Run:
        """Sends a cell. `options` are fields of the request; input is allowed unless they say otherwise."""
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
        content |= {"allow_stdin": True, "stop_on_error": True, **options}
        return self.send("execute_request", content, metadata=metadata, subshell=subshell)

    def execute(self, code: str, **options: Any) -> Run:
        """Runs a cell to its end."""
        return self.finish(self.start(code, **options))

    def evaluate(self, expression: str) -> str:
        """The text of an expression, without a trace in the session."""
        run = self.execute("", silent=True, user_expressions={"value": expression})
        value = run.reply["user_expressions"]["value"]
        assert value["status"] == "ok", value
        return str(value["data"]["text/plain"])

    def new_subshell(self) -> str:
        """Makes a subshell; returns its id."""
        return str(self.ask("create_subshell_request", channel="control").reply["subshell_id"])

    def wait_input(self, run: Run) -> None:
        """Waits until a cell has begun: in a subshell that is busy beside others, its busy comes at its end."""
        self.wait_until(lambda: any(m["msg_type"] == "execute_input" for m in run.published))

    def wait_busy(self, run: Run) -> None:
        """Waits until a request is under way."""
        self.wait_until(lambda: "busy" in run.states)

    def wait_text(self, run: Run, text: str, name: str = "stdout") -> None:
        """Waits until a cell has printed `text`."""
        self.wait_until(lambda: text in run.text(name))

    def interrupt(self, subshell: str | None = None) -> Run:
        """Asks for an interrupt, and waits for the answer to that."""
        if self.signal is not None:
            self.signal()
            return self.ask("kernel_info_request", channel="control")
        run = self.ask("interrupt_request", channel="control", subshell=subshell)
        assert run.status == "ok"
        return run

    def wait_question(self, run: Run) -> Message:
        """Waits for the question that a cell asks."""
        msg_id = run.request["header"]["msg_id"]
        return self.wait(
            lambda channel, m: (
                channel == "stdin"
                and m["parent_header"]["msg_id"] == msg_id
                and m["header"]["msg_id"] not in self._answered
            )
        )

    def answer(self, question: Message, value: str) -> None:
        """Answers a question."""
        message = self.session.msg("input_reply", content={"value": value}, parent=question)
        self._answered.add(question["header"]["msg_id"])
        self.session.send(self.sockets["stdin"], message)

    def beat(self, payload: bytes = b"ping") -> bytes:
        """Sends a heartbeat; returns what comes back.

        :raises TimeoutError: nothing does.
        """
        socket = self.sockets["hb"]
        socket.send(payload)
        if not socket.poll(int(TIMEOUT * 1000)):
            raise TimeoutError("no heartbeat")
        return socket.recv()
