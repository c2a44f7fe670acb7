"""`kernel.session` and what it sends to, for libraries that speak of messages. No key and no socket is behind them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ipymini_worker import context
from ipymini_worker.publish import Publisher

Message = dict[str, Any]


class PubSocket:
    """Stands for iopub: what `Session.send` is given to publish something."""

    def __init__(self, thread: PubThread) -> None:
        self.io_thread = thread


class PubThread:
    """Stands for the thread that publishes in other kernels; here messages leave in the thread that sends them."""

    def __init__(self) -> None:
        self.thread = threading.main_thread()
        self.socket = PubSocket(self)
        self.background_socket = self.socket

    def schedule(self, function: Callable[[], Any]) -> None:
        """Calls `function`, at once."""
        function()


class ShellStream:
    """Stands for the shell channel; replies leave with their requests, so that nothing is ever to be flushed."""

    def flush(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to do."""

    def closed(self) -> bool:
        """False."""
        return False


class Session:
    """Makes messages and publishes them; the supervisor signs them with the key that it alone has."""

    key = b""
    signature_scheme = "hmac-sha256"
    auth = None

    def __init__(self, publisher: Publisher, iopub: PubSocket) -> None:
        self._publisher = publisher
        self._iopub = iopub
        self.session = _new_id()
        self.username = "username"

    @property
    def bsession(self) -> bytes:
        """The session's id as bytes."""
        return self.session.encode()

    def msg_header(self, msg_type: str) -> Message:
        """A header (protocol: Message header)."""
        return {
            "msg_id": _new_id(),
            "msg_type": msg_type,
            "username": self.username,
            "session": self.session,
            "date": datetime.now(UTC),
            "version": "5.5",
        }

    def msg(
        self,
        msg_type: str,
        content: Mapping[str, Any] | None = None,
        parent: Mapping[str, Any] | None = None,
        header: Message | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Message:
        """A message (protocol: General Message Format), which is not sent. `parent` is a message or a header."""
        header = self.msg_header(msg_type) if header is None else header
        return {
            "header": header,
            "msg_id": header["msg_id"],
            "msg_type": header["msg_type"],
            "parent_header": dict((parent or {}).get("header", parent or {})),
            "content": dict(content or {}),
            "metadata": dict(metadata or {}),
            "buffers": [],
        }

    def send(
        self,
        stream: Any,
        msg_or_type: str | Message,
        content: Mapping[str, Any] | None = None,
        parent: Mapping[str, Any] | None = None,
        ident: Any = None,
        buffers: Sequence[Any] | None = None,
        track: bool = False,
        header: Message | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Message:
        """Publishes a message, as part of the request `parent`, or of the one that the calling code belongs to.

        The supervisor gives what it publishes a header of its own: `msg_id` and `date` of the result are not those
        that a frontend sees. `ident` and `track` are accepted; the topic is the supervisor's.

        :param stream: `kernel.iopub_socket`; for None the message is made and not sent.
        :raises ValueError: `stream` is something else: no reply leaves but through its request; or a buffer is not
            contiguous.
        """
        if isinstance(msg_or_type, str):
            message = self.msg(msg_or_type, content, parent, header, metadata)
        else:
            message = msg_or_type
        buffers = buffers or message.get("buffers") or ()
        if stream is None:
            return message
        if stream is not self._iopub:
            raise ValueError(
                "A cell can only publish messages, to kernel.iopub_socket; replies are sent by the kernel."
            )
        whose = message["parent_header"]
        self._publisher.send(
            message["header"]["msg_type"],
            message["content"],
            message["metadata"],
            buffers,
            context.known(whose) if whose else None,
        )
        return message


def _new_id() -> str:
    """What `uuid.uuid4().hex` gives."""
    digits = os.urandom(16).hex()
    return f"{digits[:12]}4{digits[13:16]}{'89ab'[int(digits[16], 16) & 3]}{digits[17:]}"
