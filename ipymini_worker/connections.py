"""Pipes, sockets, terminals and locked files: what a copy must not keep from others, nor from the worker itself.

Linux only. It works on descriptors, whoever has opened them.
"""

from __future__ import annotations

import _socket  # see `link`
import fcntl
import os
import select
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

_TERMINALS = ("/dev/ptmx", "/dev/pts/")
_CONNECTIONS = ("pipe:", "socket:", *_TERMINALS)


def descriptors() -> Iterator[tuple[int, str]]:
    """The open descriptors of this process with what they refer to, but for the three standard ones."""
    for name in os.listdir("/proc/self/fd"):
        try:
            fd = int(name)
            if fd > 2:
                yield fd, os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the one that listdir itself used
            continue


class Server(NamedTuple):
    """A bound socket that others come to: it can be made again when the original is gone."""

    fd: int
    family: int
    kind: int
    address: Any
    blocking: bool

    @classmethod
    def of(cls, fd: int) -> Server | None:
        """What is needed to make `fd` again; None if that cannot be done."""
        with closing(_socket.socket(fileno=os.dup(fd))) as sock:
            if sock.family not in (_socket.AF_INET, _socket.AF_INET6):
                return None
            listens = sock.type == _socket.SOCK_STREAM and sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN)
            if listens or (sock.type == _socket.SOCK_DGRAM and sock.getsockname()[1]):
                return cls(fd, sock.family, sock.type, sock.getsockname(), os.get_blocking(fd))
        return None

    def open(self) -> bool:
        """Binds it again, in the place of whatever `fd` is by now; returns whether that worked."""
        try:
            with closing(_socket.socket(self.family, self.kind)) as sock:
                sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
                sock.bind(self.address)
                if self.kind == _socket.SOCK_STREAM:
                    sock.listen()
                sock.setblocking(self.blocking)
                _replace(self.fd, os.dup(sock.fileno()))
        except OSError:
            return False
        return True


class Cut(NamedTuple):
    """What was cut off."""

    connections: int  #: pipes, sockets and terminals whose other ends were still there
    servers: list[Server]


def receive_descriptors(sock: _socket.socket, count: int) -> list[int]:
    """Waits for a byte with so many descriptors; none if there is an end of file, or if it is not as many."""
    size = struct.calcsize("i")
    data, told, _, _ = sock.recvmsg(1, _socket.CMSG_LEN(count * size))
    found: list[int] = []
    for level, kind, content in told:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            found.extend(fd for (fd,) in struct.iter_unpack("i", content[: len(content) // size * size]))
    return found if data and len(found) == count else []


def connected(opened: Iterable[tuple[int, str]] | None = None) -> frozenset[int]:
    """The pipes, sockets and terminals of this process whose other ends are there.

    :param opened: what `descriptors` has just given.
    """
    found = {fd for fd, target in opened or descriptors() if target.startswith(_CONNECTIONS)}
    poll = select.poll()
    for fd in found:
        poll.register(fd, 0)
    return frozenset(found - {fd for fd, events in poll.poll(0) if events})  # gone, failed, or closed meanwhile


def positions(opened: Iterable[tuple[int, str]]) -> dict[int, int]:
    """Where the files of this process are read or written next, by descriptor: a copy shares that until it has opened
    them anew.

    :param opened: what `descriptors` has just given.
    """
    found = {}
    for fd, target in opened:
        if target.startswith("/") and not target.startswith("/dev/"):
            try:
                found[fd] = os.lseek(fd, 0, os.SEEK_CUR)
            except OSError:  # closed meanwhile, or nothing that has a position
                continue
    return found


def exclusive(opened: Iterable[tuple[int, str]]) -> bool:
    """Whether this process has what only one can have: an address that it is bound to, or a lock on a file.

    A copy has it, too, until it has cut it off, and whoever gives it back in the original finds it taken.

    :param opened: what `descriptors` has just given.
    """
    return any(
        _is_bound(fd) if target.startswith("socket:") else target.startswith("/") and _is_locked(fd)
        for fd, target in opened
    )


def _is_bound(fd: int) -> bool:
    """To an address at which it waits for others; one that is connected has some address, too, but nobody wants it."""
    try:
        with closing(_socket.socket(fileno=os.dup(fd))) as sock:
            name = sock.getsockname()
            bound = bool(name[1] if isinstance(name, tuple) else name)
            return bound and not _is_connected(sock)
    except OSError:  # closed meanwhile
        return False


def _is_connected(sock: _socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _is_locked(fd: int) -> bool:
    """By a lock that a fork shares, which those of `lockf` are not."""
    try:
        with open(f"/proc/self/fdinfo/{fd}") as file:
            return any(line.startswith("lock:") and ("FLOCK" in line or "OFDLCK" in line) for line in file)
    except OSError:
        return False


def cut_connections(
    keep: set[int], peers: frozenset[int] | None = None, places: Mapping[int, int] | None = None
) -> Cut:
    """Gives up the copy's ends of pipes, sockets and terminals, as if the other side had gone.

    Otherwise the copy would keep them open after the original has closed them, and whoever reads at the other end
    would wait for ever. The numbers stay taken, so that objects that refer to them find a plain end of file. Files are
    opened anew, with a position of their own and without the locks (`man flock`) that the copy would keep.

    :param keep: those that are to stay.
    :param peers: those whose other ends were there, at the moment of the fork: a worker that has died since has taken
        them with it. Without it, those whose other ends are there now.
    :param places: the `positions` of files at that moment; the worker may have gone on since. Without it, as they are.
    """
    if peers is None:
        peers = connected()
    count = 0
    servers = []
    for fd, target in list(descriptors()):
        if fd in keep:
            continue
        try:
            mode = os.fstat(fd).st_mode
            alive = fd in peers
            if stat.S_ISSOCK(mode):
                server = Server.of(fd)
                if server is not None:
                    servers.append(server)
                alive = alive and server is None
                _replace(fd, _nobody(fd))
            elif stat.S_ISFIFO(mode):
                reading = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
                r, w = os.pipe()
                os.close(w if reading else r)
                _replace(fd, r if reading else w)
            elif stat.S_ISCHR(mode) and target.startswith(_TERMINALS):
                _replace(fd, os.open(os.devnull, os.O_RDWR))
            else:
                if stat.S_ISREG(mode):
                    _reopen(fd, (places or {}).get(fd))
                continue
            count += alive
        except OSError:  # closed meanwhile, or no descriptors are left
            continue
    return Cut(count, servers)


def _nobody(fd: int) -> int:
    """A socket in the place of `fd` with nobody at the other end."""
    with closing(_socket.socket(fileno=os.dup(fd))) as old:
        if old.type == _socket.SOCK_DGRAM or old.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
            # Never ready, or a loop that serves it would have no rest.
            family = _socket.AF_UNIX if old.family == _socket.AF_UNIX else _socket.AF_INET
            return _socket.socket(family, _socket.SOCK_DGRAM).detach()
    here, there = _socket.socketpair()
    there.close()
    return here.detach()


def _reopen(fd: int, place: int | None) -> None:
    """The same file at that place, or at the same one, but not the same open file."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    kept = flags & (os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK | os.O_SYNC | os.O_CLOEXEC)
    anew = os.open(f"/proc/self/fd/{fd}", kept)
    os.lseek(anew, os.lseek(fd, 0, os.SEEK_CUR) if place is None else place, os.SEEK_SET)
    _replace(fd, anew)


def _replace(fd: int, by: int) -> None:
    try:
        os.dup2(by, fd, inheritable=os.get_inheritable(fd))
    finally:
        os.close(by)


def loop_descriptors(loop: Any) -> set[int]:
    """The descriptors that an asyncio loop uses for itself."""
    found = set()
    for name in ("_ssock", "_csock", "_selector"):
        part = getattr(loop, name, None)
        try:
            if part is not None:
                found.add(part.fileno())
        except (AttributeError, ValueError, OSError):
            continue
    return found - {-1}


def wait_readable(fd: int, seconds: float) -> bool:
    """Whether `fd` becomes readable within `seconds`."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
