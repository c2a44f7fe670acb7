"""Which request a piece of user code belongs to.

The request is a context variable, so that a task goes on printing into the cell that created it. A thread belongs to
the request that started it, whatever runs meanwhile; one that Python has not started belongs to the active request.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from ipymini_worker import jsonable, wire

T = TypeVar("T")
#: Where a thread keeps the request that started it.
_STARTED_BY = "_ipymini_request"
#: Characters of a cell's printed text that are kept for magics that write notebooks.
RECORDED = 1 << 20


class BadRequest(Exception):
    """A request that makes no sense; one plain sentence says why."""


class Failure(NamedTuple):
    """What an `error` message says (protocol: Execution errors)."""

    ename: str
    evalue: str
    traceback: list[str]


@dataclass(slots=True, eq=False)
class Run:
    """What a request has come to so far. Several may run at once, in several threads or in one loop."""

    count: int | None = None  #: the prompt number that it has been given
    counted: bool = False  #: IPython has gone on to the next number
    failure: Failure | None = None  #: what was published as its error
    failed: bool = False  #: something went wrong that IPython goes on after
    shown: int = 0  #: tracebacks
    displaying: bool = False  #: its result is being displayed
    result: Any = None  #: IPython's own record of it
    unsaid: bytes = b""  #: frames that leave with the next one of its own, or before user code runs
    repeats: Any = None  #: a `repeatable.Cell`, until is known whether it is one
    record: bytes = b""  #: what repeats it; nothing if it is not to be repeated
    parsed: Any = None  #: its code as a `large.Parsed`, until that is compiled
    recorded: int = 0  #: characters that it has printed, as far as they are counted
    tape: Any = None  #: where they are kept, a `running.Tape`
    payload: list[dict[str, Any]] = field(default_factory=list)
    allow_stdin: bool = False
    aborts: bool = False  #: an error of it aborts what is queued behind
    exit_asked: bool = False
    over: bool = False
    why: str = ""  #: why it is interrupted, in a sentence, if nobody has asked for that


class Request:
    """A Jupyter request as the worker sees it; decoded when somebody asks."""

    __slots__ = ("_header", "asking", "frame", "header_bytes", "id", "run")

    def __init__(self, frame: wire.Frame) -> None:
        self.id = frame.request
        self.frame: wire.Frame | None = frame
        self.header_bytes = bytes(frame.parts[0])
        self._header: dict[str, Any] | None = None
        self.run = Run()
        self.asking = threading.Lock()  # held by the thread that waits for the answer to a question

    @property
    def header(self) -> dict[str, Any]:
        """The request's own header, which is the parent header of what it publishes."""
        if self._header is None:
            self._header = _decoded(self.header_bytes)
        return self._header

    @property
    def parts(self) -> Sequence[wire.Part]:
        """Parent header, metadata, content and buffers; empty once the request is over."""
        return self.frame.parts[1:] if self.frame is not None else (b"{}", b"{}", b"{}")

    def message(self) -> dict[str, Any]:
        """The request as a Jupyter message (protocol: General Message Format), buffers as memoryviews.

        :raises BadRequest: a part of it is not JSON.
        """
        parent, metadata, content, *buffers = self.parts
        try:
            decoded = [_decoded(part) for part in (parent, metadata, content)]
        except (ValueError, RecursionError):
            raise BadRequest("The request cannot be read: a part of it is not JSON.") from None
        return {
            "header": self.header,
            "msg_id": self.header.get("msg_id", ""),
            "msg_type": self.header.get("msg_type", ""),
            "parent_header": decoded[0],
            "metadata": decoded[1],
            "content": decoded[2],
            "buffers": [memoryview(b) for b in buffers],
        }

    @property
    def over(self) -> bool:
        """Whether it has been answered."""
        return self.frame is None

    def forget(self) -> None:
        """Lets go of everything but the header: tasks and threads may refer to a request for as long as they live."""
        self.frame = None
        self.run.over = True
        self.run.result = self.run.parsed = self.run.repeats = self.run.tape = None


def _decoded(part: wire.Part) -> Any:
    """What a part of a message says.

    :raises ValueError: it is not JSON in UTF-8.
    :raises RecursionError: it is nested too deeply.
    """
    # `json.loads` of bytes looks for other encodings first.
    return json.loads(str(part, "utf-8", "surrogatepass")) if part != b"{}" else {}


#: What there is before the first request.
NO_REQUEST = Request(wire.Frame(wire.Kind.REQUEST, 0, 0, (b"{}", b"{}", b"{}", b"{}")))

_current: ContextVar[Request | None] = ContextVar("ipymini_request", default=None)
_active = NO_REQUEST


def activate(request: Request) -> None:
    """Makes `request` the one that code without a context belongs to, and that of the context that calls."""
    global _active
    _active = request
    _current.set(request)


def enter(request: Request) -> Token[Request | None]:
    """Makes `request` the one that the calling context belongs to, until `leave` gets the token."""
    return _current.set(request)


def leave(token: Token[Request | None]) -> None:
    """Undoes `enter`.

    :raises ValueError: the token is from another context.
    """
    _current.reset(token)


def known(parent: object) -> Request:
    """The request that user code means by a message, or a header, that it had from us; a message of nobody's becomes
    one that nothing but its publishes belongs to. What is no message at all stands for the active request.
    """
    message: Mapping[str, Any] = parent if isinstance(parent, Mapping) else {}
    header = message.get("header", message)
    msg_id = header.get("msg_id") if isinstance(header, Mapping) else None
    for request in (current(), _active):
        if not msg_id or request.header.get("msg_id") == msg_id:
            return _active if not msg_id else request
    parts = [jsonable.encode(message.get(name, {})) for name in ("parent_header", "metadata", "content")]
    # Questions that are asked on its behalf go to whoever asked for the active one.
    return Request(wire.Frame(wire.Kind.REQUEST, _active.id, 0, (jsonable.encode(header), *parts)))


def current() -> Request:
    """The request that the calling code belongs to."""
    request = _current.get()
    if request is None:
        # Not `threading.current_thread()`: for a thread of native code it makes an entry that stays.
        thread = threading._active.get(threading.get_ident())  # type: ignore[attr-defined]
        request = getattr(thread, _STARTED_BY, NO_REQUEST)
    # What start-up files have begun has no cell to go to.
    return _active if request is NO_REQUEST else request


def run(request: Request, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """What `function` returns, called as code of a request."""
    __tracebackhide__ = True
    token = _current.set(request)
    try:
        return function(*args, **kwargs)
    finally:
        _current.reset(token)


def follow_threads() -> None:
    """From now on a thread belongs to the request that starts it.

    `Thread.start` is the one place that every kind of thread passes: subclasses have a `run` of their own, and contexts
    are handed down from Python 3.14 on only, and not always there.
    """
    start = threading.Thread.start

    def start_for_request(self: threading.Thread) -> None:
        setattr(self, _STARTED_BY, current())
        start(self)

    start_for_request.__doc__, start_for_request.__name__ = start.__doc__, start.__name__
    threading.Thread.start = start_for_request  # type: ignore[method-assign]


def active() -> Request:
    """The request that is executing, or the last one that was."""
    return _active
