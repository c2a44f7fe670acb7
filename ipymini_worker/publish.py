"""What leaves for the frontends: iopub messages of the request that the calling code belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ipymini_worker import context, jsonable
from ipymini_worker.link import Link
from ipymini_worker.wire import PARENT, Kind, Part


class Publisher:
    """Sends iopub messages; one for the whole worker, usable from any thread."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def send(
        self,
        msg_type: str,
        content: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
        buffers: Iterable[Any] = (),
        request: context.Request | None = None,
        before: bytes = b"",
    ) -> None:
        """Publishes one message (protocol: Messages on the IOPub channel).

        :param buffers: objects with a contiguous buffer, sent as they are.
        :param request: what the message is part of, if it is not the request that the calling code belongs to.
        :param before: see `Link.send`.
        :raises ValueError: a buffer is not contiguous.
        """
        encoded = jsonable.encode(metadata) if metadata else b"{}"
        parts: list[Part] = [msg_type.encode(), encoded, jsonable.encode(content)]
        parts += [_flat(buffer) for buffer in buffers]
        request = request or context.current()
        if request is context.active():
            self._link.send(Kind.PUBLISH, request.id, parts, before=before)
        else:
            self._link.send(Kind.PUBLISH, request.id, [request.header_bytes, *parts], PARENT, before=before)

    def say(self, frames: bytes) -> None:
        """Sends frames that are encoded already."""
        self._link.send_encoded(frames)


def _flat(buffer: Any) -> Part:
    view = memoryview(buffer)
    if not view.contiguous:
        raise ValueError(f"Buffer {buffer!r:.80} is not contiguous; pass a contiguous copy of it.")
    if not view.nbytes:
        return b""
    return view.cast("B") if view.c_contiguous else view.tobytes("A")
