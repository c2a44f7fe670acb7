"""The five Jupyter sockets, and the poll over them and everything else. The only module that imports zmq."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import zmq

from ipymini_supervisor import peers
from ipymini_supervisor.connection import Connection
from ipymini_supervisor.connectionfile import ConnectionFileError, check_folder
from ipymini_supervisor.session import DELIMITER, LARGEST, MOST_PARTS

Part = bytes | bytearray | memoryview

_MORE = zmq.NOBLOCK | zmq.SNDMORE
_TYPES = {
    "shell": zmq.ROUTER,
    "control": zmq.ROUTER,
    "stdin": zmq.ROUTER,
    "hb": zmq.ROUTER,
    "iopub": zmq.XPUB,
}
#: Messages for one subscriber that libzmq keeps before it takes no more. Those below `_COPIED` are small; of larger
#: ones bytes are counted: see `_LARGE`.
_IOPUB_HWM = 256
#: Messages of one frontend that libzmq takes in before the others wait in the frontend: nothing is lost, and whoever
#: sends faster than we can look at it fills its own memory and not ours.
_REQUESTS_HWM = 256
#: Heartbeats that wait for a frontend that does not take them; further ones are dropped.
_BEATS_HWM = 16
#: Most bytes of a heartbeat, and of the topic of a subscription.
_SMALL = 1 << 16
#: Bytes up to which a message is copied: below, a copy costs less than the thread that pyzmq has for the other way. Of
#: what is not copied is known when it has left.
_COPIED = 1 << 16
#: Parts from the delimiter on that are read as bytes: delimiter, signature, header, parent, metadata, content.
_HEAD = 6
#: Bytes of large messages that libzmq keeps for subscribers before iopub takes no more; the last one may exceed it.
_LARGE = 16 << 20


class BindError(Exception):
    """An address of the connection file cannot be used; one plain sentence says why."""


class Sockets:
    """Bound sockets by channel name: shell, control, stdin, hb, iopub.

    :param limit: most bytes of a message. A part that is larger ends the connection that it comes on before memory is
        taken for it; of a message that is larger as a whole only the beginning is received.
    """

    def __init__(self, limit: int = LARGEST) -> None:
        self._limit = limit
        self._context = zmq.Context()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._send: dict[str, Callable[..., object]] = {}  # sends one part, by the name of a socket
        self._names: dict[Any, str | int] = {}
        self._poller = zmq.Poller()
        self._paths: list[str] = []
        self._iopub = ""
        self._large: deque[tuple[zmq.MessageTracker, int]] = deque()  # parts that have not left, in order
        self._large_size = 0

    def bind(self, connection: Connection) -> None:
        """Binds all five; encrypted, if the connection has keys for that (CURVE, as server).

        :raises BindError: one of the addresses is in use, not ours, or does not belong to this machine, or the keys
            are no pair.
        """
        secret, public = connection.curve_secretkey, connection.curve_publickey
        if secret and not zmq.has("curve"):
            raise BindError("The connection file asks for encryption, and this pyzmq is built without CURVE.")
        if secret and zmq.curve_public(secret) != public:
            raise BindError("The CURVE keys of the connection file do not belong together; let it be written again.")
        old = os.umask(0o077)  # for the sockets of the ipc transport
        try:
            for name, kind in _TYPES.items():
                self._bind(name, kind, connection)
        except BaseException:
            self.close()
            raise
        finally:
            os.umask(old)

    def _bind(self, name: str, kind: int, connection: Connection) -> None:
        endpoint = connection.endpoint(name)
        path = endpoint.removeprefix("ipc://") if connection.transport == "ipc" else ""
        if path:
            _check_place(path)
        socket = self._context.socket(kind)
        self._sockets[name] = socket
        # Without what pyzmq does for kinds of sockets that we have not: half the time, for each of seven parts.
        self._send[name] = super(zmq.Socket, socket).send
        socket.linger = 1000
        socket.copy_threshold = _COPIED
        socket.maxmsgsize = self._limit if name in ("shell", "control", "stdin") else min(self._limit, _SMALL)
        if connection.curve_secretkey:
            socket.curve_secretkey = connection.curve_secretkey
            socket.curve_publickey = connection.curve_publickey
            socket.curve_server = True
        if kind == zmq.ROUTER:
            socket.router_handover = 1  # a frontend that comes back under its old identity gets its replies
            socket.sndhwm = _BEATS_HWM if name == "hb" else 0  # a reply is never dropped
            socket.rcvhwm = _REQUESTS_HWM
            # A frontend connects its channels one by one: a question to one that is not there yet must not vanish.
            socket.router_mandatory = int(name == "stdin")
        else:
            socket.sndhwm = _IOPUB_HWM
            socket.setsockopt(zmq.XPUB_NODROP, 1)
            socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # every subscriber is counted and welcomed
        if ":" in endpoint.removeprefix("tcp://").rpartition(":")[0]:
            socket.ipv6 = True
        try:
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            reason = "is already in use" if error.errno == zmq.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise BindError(
                f"The {name} address {endpoint} {reason}; start the kernel with another connection file."
            ) from None
        if path:
            self._paths.append(path)
        if name == "iopub":
            self._iopub = endpoint.partition("://")[2]
        self._names[socket] = name
        self._poller.register(socket, zmq.POLLIN)

    def watch(self, fd: int, *, read: bool = True, write: bool = False) -> None:
        """Makes `poll` report `fd` as well, when it can be read or written."""
        self._poller.register(fd, (zmq.POLLIN if read else 0) | (zmq.POLLOUT if write else 0))

    def ignore(self, fd: int) -> None:
        """`poll` does not report `fd` any longer."""
        if fd in self._poller:
            self._poller.unregister(fd)

    def poll(self, timeout: float | None) -> set[str | int]:
        """Waits for at most `timeout` seconds; returns names of channels and numbers of descriptors with news."""
        milliseconds = None if timeout is None else -int(-timeout * 1000 // 1)
        try:
            ready = self._poller.poll(milliseconds)
        except InterruptedError:
            return set()
        return {self._names.get(socket, socket) for socket, _ in ready}

    def receive(self, channel: str) -> list[bytes] | None:
        """The parts of the next message on `channel`, buffers as views of what was received; None if there is none.

        Of a message with more than `MOST_PARTS`, or that is larger than the limit, so much that this can be seen.
        """
        socket = self._sockets[channel]
        try:
            parts = [socket.recv(zmq.NOBLOCK)]
            size = len(parts[0])
            head = _HEAD if parts[0] == DELIMITER else MOST_PARTS
            while socket.get(zmq.RCVMORE):  # `rcvmore` takes three times as long
                part: Any
                if len(parts) >= head:
                    part = socket.recv(zmq.NOBLOCK, copy=False).buffer
                else:
                    part = socket.recv(zmq.NOBLOCK)
                    if head == MOST_PARTS and part == DELIMITER:
                        head = len(parts) + _HEAD
                if len(parts) <= MOST_PARTS and size <= self._limit:
                    parts.append(part)
                    size += len(part)
        except zmq.ZMQError:
            return None
        return parts

    def send(self, channel: str, parts: Sequence[Part]) -> bool:
        """Sends a message; False if the socket takes nothing at the moment. Large parts are not copied."""
        socket = self._sockets[channel]
        try:
            if channel == "hb":
                # libzmq itself looks once in a millisecond only at what was taken; a frontend that is quick would seem
                # to have taken nothing by then, and the next heartbeat would be dropped.
                socket.get(zmq.EVENTS)
            if channel == "iopub" and (size := sum(map(len, parts))) >= _COPIED:
                return self._send_large(socket, parts, size)
            # Not `send_multipart`, which costs twice as much.
            send = self._send[channel]
            for part in parts[:-1]:
                send(part, _MORE, True)
            send(parts[-1], zmq.NOBLOCK, True)
        except zmq.ZMQError:
            return False
        return True

    def _send_large(self, socket: zmq.Socket[bytes], parts: Sequence[Part], size: int) -> bool:
        while self._large and self._large[0][0].done:
            self._large_size -= self._large.popleft()[1]
        if self._large_size >= _LARGE:
            # A subscriber to other topics may keep the first one for longer than others keep the rest.
            self._large = deque(entry for entry in self._large if not entry[0].done)
            self._large_size = sum(size for _, size in self._large)
            if self._large_size >= _LARGE:
                return False
        frames: list[Any] = list(parts)
        large = [at for at, part in enumerate(parts) if len(part) >= _COPIED]
        # The whole message counts as long as its last large part, or its largest, has not left: parts may be many, and
        # one that is a view keeps all that came with it.
        large = large or [max(range(len(parts)), key=lambda at: len(parts[at]))]
        for at in large:
            frames[at] = zmq.Frame(parts[at], track=True, copy=False)
        socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
        self._large.append((frames[large[-1]].tracker, size))
        self._large_size += size
        return True

    def waiting(self) -> dict[int, int]:
        """The subscribers of iopub that take nothing at the moment; see `peers.waiting`."""
        return peers.waiting(self._iopub)

    def give_up(self, before: Mapping[int, int]) -> tuple[int, int]:
        """Ends the connections of subscribers that have taken nothing since `before`; see `peers.end`."""
        return peers.end(self._iopub, before)

    def close(self) -> None:
        """Closes everything, after what was sent has left, or a second has passed."""
        for socket in self._sockets.values():
            socket.close()
        self._context.term()
        for path in self._paths:
            try:
                os.unlink(path)
            except OSError:
                pass


def _check_place(path: str) -> None:
    """Makes sure that a socket at `path` replaces nothing but a socket, in a folder where nobody else can replace it.

    :raises BindError: it would.
    """
    try:
        check_folder(os.path.dirname(path) or ".")
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise BindError(f"{path} is in the way of a socket; start the kernel with another connection file.")
    except FileNotFoundError:
        pass
    except ConnectionFileError as error:
        raise BindError(str(error)) from None
    except OSError as error:
        raise BindError(f"No socket can be made at {path} ({(error.strerror or str(error)).lower()}).") from None
