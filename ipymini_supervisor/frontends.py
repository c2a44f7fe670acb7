"""Everything that is said to frontends, in the words of the Jupyter protocol."""

from __future__ import annotations

import codecs
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ipymini_supervisor.lanes import Request
from ipymini_supervisor.outbox import Outbox
from ipymini_supervisor.session import Part, Session
from ipymini_supervisor.sockets import Sockets

#: Finished requests whose headers are kept, for what threads and tasks publish as their parts later.
_REMEMBERED = 256
#: Bytes of stream text that are joined into one message at the most.
_JOINED = 1 << 18


class Asker(NamedTuple):
    """What is kept of a request when it is over."""

    header_bytes: bytes
    idents: tuple[bytes, ...]


class Frontends:
    """Sends replies and publishes; keeps the parents of requests, and stream text that may still grow."""

    def __init__(self, session: Session, sockets: Sockets, outbox: Outbox, clock: Callable[[], float]) -> None:
        self._session = session
        self._sockets = sockets
        self._outbox = outbox
        self._clock = clock
        self._topic = f"kernel.{session.id}.".encode()
        self._requests: OrderedDict[int, Asker] = OrderedDict()
        #: For what belongs to no request: a parent header is never empty, because clients look into it.
        self._no_parent = session.header("kernel_started")
        self._text: list[str] = []
        self._text_size = 0
        self._text_of: tuple[str, bytes] = ("", b"")
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}

    def remember(self, request: Request) -> None:
        """Keeps a request, so that what is published for its id finds its parent."""
        self._requests.pop(request.id, None)
        self._requests[request.id] = Asker(request.message.header_bytes, request.message.idents)
        if len(self._requests) > _REMEMBERED:
            self._requests.popitem(last=False)

    def parent(self, request_id: int) -> bytes:
        """The header of a request; of one long gone, that of the last one."""
        request = self._requests.get(request_id)
        if request is None and request_id and self._requests:
            request = next(reversed(self._requests.values()))
        return self._no_parent if request is None else request.header_bytes

    def last_parent(self) -> bytes:
        """The header of the last request that was made."""
        return self.parent(next(reversed(self._requests), 0))

    def idents(self, request_id: int) -> tuple[bytes, ...] | None:
        """Who made a request; None if it is not known any longer."""
        request = self._requests.get(request_id)
        return None if request is None else request.idents

    @property
    def has_text(self) -> bool:
        """Whether there is stream text that has not been published."""
        return bool(self._text)

    @property
    def text_ends_line(self) -> bool:
        """Whether the stream text that is there ends with a line."""
        return bool(self._text) and self._text[-1].endswith("\n")

    @property
    def text_parent(self) -> bytes:
        """The header of the request that the stream text belongs to."""
        return self._text_of[1]

    def status(self, state: str, request: Request | None = None) -> None:
        """Publishes a status (protocol: Kernel status); without a request, one of the kernel's own life."""
        parent = self._no_parent if request is None else request.message.header_bytes
        self.publish("status", {"execution_state": state}, parent)

    def publish(
        self,
        msg_type: str,
        content: Part | dict[str, Any],
        parent: Part,
        metadata: Part | dict[str, Any] = b"{}",
        buffers: Sequence[Part] = (),
    ) -> None:
        """Publishes a message, after the stream text that came before it."""
        self.flush_text()
        self._add(msg_type, content, bytes(parent), metadata, buffers)

    def _add(
        self,
        msg_type: str,
        content: Part | dict[str, Any],
        parent: bytes,
        metadata: Part | dict[str, Any] = b"{}",
        buffers: Sequence[Part] = (),
    ) -> None:
        topic = self._topic + msg_type.encode()
        self._outbox.add(self._session.pack(msg_type, content, parent, metadata, buffers, (topic,)), self._clock())

    def text(self, name: str, text: str, parent: bytes) -> None:
        """Takes stream text, which is published before whatever follows it, or by `flush_text`."""
        if (name, parent) != self._text_of:
            self.flush_text()
            self._text_of = (name, parent)
        self._text.append(text)
        self._text_size += len(text)
        if self._text_size > _JOINED:
            self.flush_text()

    def raw_text(self, name: str, data: bytes, parent: bytes) -> None:
        """Takes what was written to a real descriptor; it may end in the middle of a character."""
        if name not in self._decoders:
            self._decoders[name] = codecs.getincrementaldecoder("utf-8")("replace")
        self.text(name, self._decoders[name].decode(data), parent)

    def end_raw_text(self, parent: bytes) -> None:
        """What native code has begun to write and not completed belongs to the cell that wrote it."""
        for name, decoder in self._decoders.items():
            if rest := decoder.decode(b"", True):
                self.text(name, rest, parent)

    def flush_text(self) -> None:
        """Publishes the stream text that is there (protocol: Streams)."""
        if self._text:
            text, self._text, self._text_size = "".join(self._text), [], 0
            name, parent = self._text_of
            if text:
                self._add("stream", {"name": name, "text": text}, parent)

    def reply(
        self,
        request: Request,
        content: Part | dict[str, Any],
        status: str,
        buffers: Sequence[Part] = (),
        more: dict[str, Any] | None = None,
    ) -> None:
        """Sends the reply to whoever made the request, and to nobody else.

        :param more: metadata besides ipykernel's.
        """
        metadata = {
            "started": request.started,
            "dependencies_met": True,
            "engine": self._session.id,
            "status": status,
            **(more or {}),
        }
        message = request.message
        parts = self._session.pack(
            request.type.removesuffix("request") + "reply" if request.type.endswith("_request") else request.type,
            content,
            message.header_bytes,
            metadata,
            buffers,
            message.idents,
        )
        self._sockets.send(request.channel, parts)

    def ask(self, request_id: int, content: Part) -> bool:
        """Sends an input_request to the frontend that made the request; False if its stdin channel is not there."""
        request = self._requests.get(request_id)
        if request is None:
            return False
        self.flush_text()
        parts = self._session.pack("input_request", content, request.header_bytes, idents=request.idents)
        return self._sockets.send("stdin", parts)

    def welcome(self, topic: bytes) -> None:
        """Tells a new subscriber that it will miss nothing from now on (JEP 65).

        Not where far more waits than the worker may say: subscriptions may come in floods, and need no key.
        """
        content = {"subscription": topic.decode("utf-8", "replace")}
        parts = self._session.pack("iopub_welcome", content, self._no_parent, idents=(topic,))
        if not self._sockets.send("iopub", parts) and not self._outbox.overfull:
            self._outbox.add(parts, self._clock())


def decode_text(data: Part) -> str:
    """Text of a frame; what is not UTF-8 is replaced."""
    return str(data, "utf-8", "replace")
