"""`sys.stdout` and `sys.stderr` of user code: text goes to the link at once, as part of the request it belongs to.

There is no buffer and no timer here: what was printed is in the supervisor's hands when `print` returns, so that a
crash loses nothing. Only the line's end, which `print` writes by a second call, is waited for (`printing`). The
supervisor joins what arrives close together.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ipymini_worker import context, printing
from ipymini_worker.identity.parents import HeaderParent
from ipymini_worker.link import Link, LinkClosed
from ipymini_worker.wire import PARENT, STDERR, Kind


class OutStream(HeaderParent, io.TextIOBase):
    """A text stream that publishes (protocol: Streams).

    :param fd: 1 or 2, the descriptor that `fileno` gives, which the supervisor reads as well.
    """

    def __init__(self, link: Link, fd: int) -> None:
        super().__init__()
        self._link: Link | None = link
        self._fd = fd
        self._flags = STDERR if fd == 2 else 0
        self._buffer = _Bytes(self)
        #: Is told the name of the stream, what is written, and for whom.
        self.recorder: Callable[[str, str, context.Run], None] | None = None
        self._channel = "stderr" if fd == 2 else "stdout"
        self.name = f"<{self._channel}>"
        self.mode = "w"

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Always UTF-8."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """Nothing that a string may hold can fail to be printed."""
        return "backslashreplace"

    @property
    def newlines(self) -> None:  # type: ignore[override]
        """Line ends are passed on as they are."""
        return

    @property
    def line_buffering(self) -> bool:
        """True, as for a terminal: nothing is held back for longer than a line."""
        return True

    @property
    def buffer(self) -> io.BufferedIOBase:
        """The same stream for bytes."""
        return self._buffer

    def _is_master_process(self) -> bool:
        """False in a process that user code forked; libraries ask for it under this name."""
        return self._link is not None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """The real descriptor, so that the stream can be given to a subprocess or to faulthandler."""
        return self._fd

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        """Publishes `text`; returns its length in characters.

        :raises TypeError: `text` is not a string.
        """
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if not text:
            return 0
        if text == "\n":
            more, data = False, b"\n"
        else:
            more, data = False, text.encode("utf-8", "backslashreplace")
            if text[-1] != "\n" and text != printing.SPACE:
                try:
                    # Not `_getframe().f_back`: a frame that somebody has looked at costs more when it ends.
                    more = printing.ends_line(sys._getframe(1))
                except ValueError:  # called by native code that nobody in Python has called
                    more = False
        request, link = context.current(), self._link
        if link is not None and request is context.active():
            try:
                link.send_text(request.id, data, self._flags, more)
            except LinkClosed:
                self._write_fd(data)
        else:
            self._publish(data, request)
        if self.recorder is not None and request.run.recorded <= context.RECORDED:
            self.recorder(self._channel, text, request.run)
        return len(text)

    def _publish(self, data: bytes, request: context.Request) -> None:
        """What is not the active request's, or has no link any longer."""
        if self._link is None:
            self._write_fd(data)
            return
        try:
            self._link.send(Kind.STREAM, request.id, (request.header_bytes, data), self._flags | PARENT)
        except LinkClosed:
            self._write_fd(data)

    def _write_fd(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def detach_link(self) -> None:
        """From now on text goes to the descriptor: in a process that user code forked, the link is not ours."""
        self._link = None

    def flush(self) -> None:
        """Nothing is held back but what waits for its line's end."""
        if self._link is not None:
            with suppress(LinkClosed):  # whoever has something to say is told
                self._link.flush_text()

    def close(self) -> None:
        """Ignored: a library that closes `sys.stdout` must not silence the notebook."""

    def reconfigure(self, **options: Any) -> None:
        """Accepted and ignored: encoding and buffering are the link's."""


class _Bytes(io.BufferedIOBase):
    """Bytes written by user code, decoded as they come; nothing is held back but the beginning of a character."""

    def __init__(self, stream: OutStream) -> None:
        super().__init__()
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return False

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._stream.write(self._decode(bytes(view)))
        return len(view)

    def close(self) -> None:
        """Ignored, as for the stream."""
