"""Asks running kernels over their control channel, as any frontend may: for the commands, never in a kernel."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import zmq

from ipymini_supervisor.connection import Connection
from ipymini_supervisor.session import MessageError, Session

Content = dict[str, Any]

#: Most bytes of an answer that are taken.
_LARGEST = 16 << 20
#: Seconds that it may take to find out whether somebody listens at an address.
_LISTENS_WITHIN = 0.5


def ask(
    connections: Sequence[Connection], msg_type: str, content: Content | None = None, *, within: float = 2.0
) -> list[Content | None]:
    """The contents of the kernels' replies to a request, in the order of `connections`; None for one without an answer.

    All are asked at the same time. One that nobody listens for is not waited for.

    :param within: seconds that all of them have together.
    """
    asked = [_Asked(c, msg_type, content or {}) if _listens(c) else None for c in connections]
    try:
        poller = zmq.Poller()
        waiting = {one.socket: one for one in asked if one is not None}
        for each in waiting:
            poller.register(each, zmq.POLLIN)
        deadline = time.monotonic() + within
        while waiting and (left := deadline - time.monotonic()) > 0:
            for ready, _ in poller.poll(max(1, int(1000 * left))):
                if waiting[ready].take():
                    poller.unregister(ready)
                    del waiting[ready]
    finally:
        for one in asked:
            if one is not None:
                one.close()
    return [None if one is None else one.answer for one in asked]


class _Asked:
    """One kernel, and what it says."""

    def __init__(self, connection: Connection, msg_type: str, content: Content) -> None:
        self.answer: Content | None = None
        self._wanted = msg_type.removesuffix("request") + "reply"
        self._session = Session(connection.key, connection.signature_scheme)
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.maxmsgsize = _LARGEST
        if connection.curve_publickey:
            self.socket.curve_serverkey = connection.curve_publickey
            self.socket.curve_publickey, self.socket.curve_secretkey = zmq.curve_keypair()
        endpoint = connection.endpoint("control")
        if ":" in endpoint.removeprefix("tcp://").rpartition(":")[0]:
            self.socket.ipv6 = True
        self.socket.connect(_reachable(endpoint))
        self.socket.send_multipart(self._session.pack(msg_type, content))

    def take(self) -> bool:
        """Takes a message; returns whether it is the answer. What is not signed with the kernel's key is no answer."""
        try:
            message = self._session.unpack(self.socket.recv_multipart())
            if message.header.msg_type != self._wanted:
                return False
            self.answer = msgspec.json.decode(message.content, type=dict[str, Any])
        except (MessageError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        return True

    def close(self) -> None:
        """Leaves the kernel."""
        self.socket.close()
        self._context.term()


def _reachable(endpoint: str) -> str:
    """Where somebody who listens on all interfaces can be reached from here."""
    return endpoint.replace("tcp://0.0.0.0:", "tcp://127.0.0.1:").replace("tcp://*:", "tcp://127.0.0.1:")


def _listens(connection: Connection) -> bool:
    """Whether there is a process at the address; ZMQ itself would go on trying."""
    endpoint = _reachable(connection.endpoint("control"))
    kind, _, address = endpoint.partition("://")
    try:
        if kind == "ipc":
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(address)
        else:
            host, _, port = address.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), _LISTENS_WITHIN).close()
    except OSError:
        return False
    return True


def alive(pid: int) -> bool:
    """Whether a process is there, that of another user included."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
