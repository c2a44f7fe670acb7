"""The connections of a bound socket, as the system sees them: libzmq does not tell which of them stands still."""

from __future__ import annotations

import _socket  # see `spawning`
import fcntl
import os
import select
import stat
import struct
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def waiting(address: str) -> dict[int, int]:
    """The connections that take no more bytes at the moment, by descriptor: how many the other side has yet to take.

    :param address: where we listen: a path, or a host and a port with a colon between them.
    """
    found = {}
    with _connections(address) as connections:
        for fd, connection in connections.items():
            if not _writable(connection):
                found[fd] = _unread(connection)
    return found


def end(address: str, before: Mapping[int, int]) -> tuple[int, int]:
    """Ends those connections whose other side has taken nothing since.

    :param before: what `waiting` has found a while ago.
    :returns: how many were ended, and how many are left.
    """
    ended = 0
    with _connections(address) as connections:
        for fd, connection in connections.items():
            if fd in before and not _writable(connection) and _unread(connection) == before[fd]:
                try:
                    connection.shutdown(_socket.SHUT_RDWR)
                except OSError:  # it has ended by itself
                    continue
                ended += 1
        return ended, len(connections) - ended


@contextmanager
def _connections(address: str) -> Iterator[dict[int, _socket.socket]]:
    # By duplicates: libzmq, in its own thread, may close a descriptor at any moment, and the number may be another
    # socket's the next moment.
    found = {}
    try:
        for fd in [int(name) for name in os.listdir("/dev/fd") if _is_socket(int(name))]:
            try:
                duplicate = _socket.socket(fileno=os.dup(fd))
            except OSError:  # it has gone meanwhile
                continue
            if _is_at(duplicate, address):
                found[fd] = duplicate
            else:
                duplicate.close()
        yield found
    finally:
        for duplicate in found.values():
            duplicate.close()


def _is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False


def _is_at(connection: _socket.socket, address: str) -> bool:
    try:
        connection.getpeername()  # fails for the one that listens
        name = connection.getsockname()
    except OSError:
        return False
    # Who listens at every address of the machine has connections at one of them each; the port is ours alone.
    return str(name[1]) == address.rpartition(":")[2] if isinstance(name, tuple) else name == address


def _writable(connection: _socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    return bool(poll.poll(0))


def _unread(connection: _socket.socket) -> int:
    """The bytes that wait in the system; 0 where it does not say."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0])
    except OSError:
        return 0
