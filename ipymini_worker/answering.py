"""From a request to its reply: STARTED, the work of `requests`, what is left to be written, and REPLY."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from ipymini_worker import context, jsonable, survival
from ipymini_worker.identity.handlers import Handlers
from ipymini_worker.interrupts import Gate, ThreadGate
from ipymini_worker.link import Link, LinkClosed
from ipymini_worker.publish import Publisher
from ipymini_worker.requests import Requests
from ipymini_worker.shell import WorkerShell
from ipymini_worker.stdin import Stdin
from ipymini_worker.streams import OutStream
from ipymini_worker.wire import ABORT, ERROR, EXIT, Kind, encode

Content = dict[str, Any]

#: Bytes of a cell up to which that it has begun is said with what comes first of it; a larger one may not come so far.
_QUICK = 1 << 20


class Answering:
    """Answers requests in whatever thread it is called in: the main one, or one that has settled in the shell.

    :param handlers: what user code may have put in between.
    :param streams: what `sys.stdout` and `sys.stderr` are to begin with.
    """

    def __init__(
        self,
        link: Link,
        shell: WorkerShell,
        requests: Requests,
        handlers: Handlers,
        publisher: Publisher,
        stdin: Stdin,
        streams: Sequence[OutStream],
    ) -> None:
        self._link = link
        self._shell = shell
        self._requests = requests
        self._handlers = handlers
        self._publisher = publisher
        self._stdin = stdin
        self._streams = streams
        self._libc: Any = None

    @property
    def gate(self) -> Gate | ThreadGate:
        """The gate for interrupts of the calling thread."""
        return self._shell.gate

    def answer(self, request: context.Request, finish: Callable[[], None] = lambda: None) -> None:
        """Answers a request of which the calling thread has no other.

        :param finish: called when user code is over, before the reply.
        :raises LinkClosed: the supervisor is gone.
        """
        gate = self._shell.gate
        gate.begin(request.id)
        try:
            self._begin(request)
            reply = self._handlers.answer(request.message())
        except LinkClosed:
            raise
        except BaseException as error:
            reply = self._failed(request, error)
        gate.shut()
        finish()
        self._link.recover()
        self._end(request, reply)

    def answer_visitor(self, request: context.Request) -> None:
        """Answers a request in the midst of a cell. The gate, which is that cell's, has to be closed: an interrupt that
        comes past all of this would leave the request without an end.

        :raises LinkClosed: the supervisor is gone.
        :raises KeyboardInterrupt: one came, which the cell is meant by; the request has its reply.
        """
        interrupted = False
        try:
            self._begin(request)
            reply = self._handlers.answer(request.message())
        except LinkClosed:
            raise
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            reply = self._failed(request, error)
        self._end(request, reply)
        if interrupted:
            raise KeyboardInterrupt

    async def answer_inside(self, request: context.Request) -> None:
        """Answers an execute request beside a cell that awaits.

        :raises LinkClosed: the supervisor is gone.
        """
        try:
            self._begin(request)
            message = request.message()
            kept = self._handlers.replaced("execute_request")
            reply = self._handlers.answer(message) if kept else await self._requests.execute_inside(message)
        except LinkClosed:
            raise
        except BaseException as error:
            reply = self._failed(request, error)
        with self._shell.gate.closed(deliver=True):
            self._end(request, reply)

    def _begin(self, request: context.Request) -> None:
        for name, stream in zip(("stdout", "stderr"), self._streams, strict=True):
            # A cell has taken it away, and no later one could give it back, or say what it is.
            if not callable(getattr(getattr(sys, name, None), "write", None)):
                setattr(sys, name, stream)
        count = b"%d" % self._shell.execution_count
        quick = sum(map(len, request.parts)) <= _QUICK
        if quick and _executes(request) and self._handlers.untouched("execute_request"):
            request.run.unsaid = b"".join(encode(Kind.STARTED, request.id, (count,)))
        else:
            self._link.send(Kind.STARTED, request.id, (count,))

    def _end(self, request: context.Request, reply: Content | None) -> None:
        self._flush()
        thread = threading.current_thread()
        if isinstance(thread, survival.Renewable):
            thread.idle = True  # before anybody hears of it, and goes on
        flags = 0
        if reply is not None and reply.get("status") == "error":
            flags = ERROR | (ABORT if request.run.aborts else 0)
        if request.run.exit_asked:
            flags |= EXIT
        self._reply(request, reply, flags)

    def fail(self, request: context.Request, error: BaseException) -> None:
        """Answers a request that an error came past everything of. If this fails, too, the worker has to end, and the
        supervisor answers.
        """
        self._reply(request, self._failed(request, error), ERROR | ABORT)

    def _reply(self, request: context.Request, reply: Content | None, flags: int) -> None:
        content = jsonable.encode(reply) if reply is not None else b""
        request.forget()  # before the reply: nobody can be asked in the name of a request that is over
        self._stdin.give_up(request.id)
        unsaid, request.run.unsaid = request.run.unsaid, b""
        self._link.send(Kind.REPLY, request.id, (content,), flags, before=unsaid)

    def _failed(self, request: context.Request, error: BaseException) -> Content:
        """The reply to a request that our side of the work did not survive: bad input, or an interrupt."""
        name, text = type(error).__name__, str(error)
        content: Content = {"status": "error", "ename": name, "evalue": text, "traceback": []}
        if _executes(request):
            content |= {"execution_count": self._shell.execution_count, "user_expressions": {}, "payload": []}
            content["traceback"] = [f"{name}: {text}"]
            self._publisher.send("error", {key: content[key] for key in ("ename", "evalue", "traceback")})
        return content

    def _flush(self) -> None:
        """C libraries keep what they print to a pipe until somebody asks for it."""
        for stream in self._streams:
            stream.flush()
        try:
            if self._libc is None and "ctypes" in sys.modules:
                self._libc = sys.modules["ctypes"].CDLL(None)
            if self._libc is not None:
                self._libc.fflush(None)
        except Exception:  # user code has made something else of ctypes
            self._libc = None


def _executes(request: context.Request) -> bool:
    return request.header.get("msg_type") == "execute_request"
