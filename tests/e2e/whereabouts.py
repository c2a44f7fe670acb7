"""Where the channels of a kernel are, and where its worker is, for the message of a test that waits in vain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psutil
import zmq
from jupyter_client.session import Session

#: Milliseconds that the answer may take.
_WITHIN = 3000


def endpoint(connection: Mapping[str, Any], channel: str) -> str:
    """The address of a channel in a connection file."""
    separator = ":" if connection["transport"] == "tcp" else "-"
    return f"{connection['transport']}://{connection['ip']}{separator}{connection[f'{channel}_port']}"


def whereabouts(connection: Mapping[str, Any]) -> str:
    """The worker's state, its Python stack and its threads, as far as the kernel answers at all."""
    key = str(connection["key"]).encode()
    session = Session(key=key, signature_scheme=connection.get("signature_scheme", "hmac-sha256"))
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(endpoint(connection, "control"))
        session.send(socket, "worker_state_request", {"stack": True})
        if not socket.poll(_WITHIN):
            return "the kernel does not answer on control"
        state = session.deserialize(session.feed_identities(socket.recv_multipart())[1])["content"]
    stack = "\n".join(state.pop("stack", None) or [])
    return f"the worker: {state}\n{stack}\n{_threads(state.get('pid'))}"


def _threads(pid: int | None) -> str:
    try:
        process = psutil.Process(pid) if pid else None
        return "" if process is None else f"{process.status()}, {process.num_threads()} threads, {process.cpu_times()}"
    except psutil.Error as error:
        return str(error)
