"""The flight recorder: what happens in a kernel, in a file that outlives it (`IPYMINI_FLIGHT_RECORDER`); see `flight`.

It is nothing that anybody waits for, or that anything depends on: what cannot be written is said once and left out.
Lines are only ever added. A file that is full becomes FILE.1, and the one that had this name before is gone.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
from collections.abc import Callable
from typing import Any

import msgspec

from ipymini_supervisor import flight
from ipymini_supervisor.lanes import Request
from ipymini_supervisor.logs import FACTS
from ipymini_supervisor.memory import Pool
from ipymini_supervisor.session import now

log = logging.getLogger("ipymini")

FILE, SIZE, CODE = "IPYMINI_FLIGHT_RECORDER", "IPYMINI_FLIGHT_RECORDER_SIZE", "IPYMINI_FLIGHT_RECORDER_CODE"
EXECUTE = "execute_request"
#: Bytes of the end of a record that are read for what ended the kernel that wrote it.
TAIL = 1 << 18
#: Seconds between two lines about memory, unless this share of all has come to it.
EVERY, GROWN = 5.0, 0.02
#: Characters of a cell's code, and of any other text, that are kept.
_CODE, _TEXT = 20_000, 2_000


class Recorder:
    """Writes the record of one kernel; without a path, none.

    :param path: of the file; what is no file of ours is refused, with a sentence in the log.
    :param size: bytes that the record may have, with what it keeps of older lines.
    :param kernel: the kernel's id.
    :param code: whether the code of cells is written, too.
    """

    def __init__(self, path: str, size: int, kernel: str, clock: Callable[[], float], *, code: bool = False) -> None:
        self._path = path
        self._most = size // 2  # there is one older file of the same size
        self._kernel = kernel
        self._clock = clock
        self._code = code
        self._fd: int | None = None
        self._size = 0
        self._whole = True  # whether the file ends with a whole line
        self._failing = False
        self._memory = (float("-inf"), 0)  # when memory was told of, and how much was used
        self._handler = _Handler(self)
        if path:
            self._begin()

    def _begin(self) -> None:
        try:
            self._open()
            last = flight.read(self._tail())
        except OSError as error:
            self.close()
            log.warning("%s names %s, which cannot be used (%s); nothing is recorded.", FILE, self._path, _why(error))
            return
        if said := flight.tell(last):
            log.warning("%s", said, extra={FACTS: last._asdict()})
        log.addHandler(self._handler)
        log.setLevel(min(log.getEffectiveLevel(), logging.INFO))
        self.write("start", pid=os.getpid())

    def _open(self) -> None:
        """Opens the file, or makes it.

        :raises OSError: it cannot be had, or is none that we should write to.
        """
        # Not blocking: somebody's pipe would hold us, and so would a lock that another kernel has.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(self._path, flags, 0o600)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(0, "it is not a file")
            if found.st_uid != os.geteuid() or found.st_nlink != 1:
                raise OSError(0, "it is somebody else's, or has other names")
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OSError(0, "another kernel writes to it") from None
            except OSError:  # a file system that knows no locks
                pass
            self._size = found.st_size
            self._whole = not found.st_size or os.pread(fd, 1, found.st_size - 1) == b"\n"
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _tail(self) -> list[bytes]:
        assert self._fd is not None
        return os.pread(self._fd, TAIL, max(0, self._size - TAIL)).split(b"\n")

    # -- what is told

    def request(self, request: Request) -> None:
        """A request has come."""
        if self._fd is None:
            return
        header = request.message.header
        facts = {"msg_type": header.msg_type[:_TEXT], "msg_id": header.msg_id[:_TEXT], "channel": request.channel}
        if self._code and request.type == EXECUTE:
            facts["code"] = _code(bytes(request.message.content))
        self.write("request", **facts)

    def started(self, request: Request) -> None:
        """The worker executes a request; only of cells there is a line."""
        if self._fd is not None and request.type == EXECUTE:
            self.write("started", msg_id=request.message.header.msg_id[:_TEXT], cell=request.cell)

    def reply(self, request: Request, status: str, account: dict[str, Any] | None) -> None:
        """A request has got its reply.

        :param account: what a cell has taken.
        """
        if self._fd is not None:
            header = request.message.header
            facts = {"msg_id": header.msg_id[:_TEXT], "msg_type": header.msg_type[:_TEXT], "status": status}
            self.write("reply", **facts, **(account or {}))

    def memory(self, request: Request, pool: Pool, own: int) -> None:
        """Memory was looked at while a request runs; `pool` is the one that is nearest to its end."""
        when, used = self._memory
        if self._fd is None or (self._clock() - when < EVERY and pool.used - used < GROWN * pool.total):
            return
        self._memory = self._clock(), pool.used
        cell = request.cell if request.type == EXECUTE else 0
        facts = {"msg_id": request.message.header.msg_id[:_TEXT], "cell": cell, "pool": pool.name}
        self.write("memory", **facts, used=pool.used, total=pool.total, own=own)

    def end(self) -> None:
        """The kernel ends in an orderly way."""
        if self._fd is not None:
            self.write("end")
        self.close()

    def close(self) -> None:
        """Nothing is written any longer."""
        log.removeHandler(self._handler)
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    # -- the file

    def write(self, event: str, **facts: object) -> None:
        """Adds a line."""
        if self._fd is None:
            return
        entry = {"time": now(), "kernel": self._kernel, "event": event, **facts}
        try:
            line = msgspec.json.encode(entry, enc_hook=str) + b"\n"
            if self._size + len(line) > self._most:
                self._turn()
            self._add(line if self._whole else b"\n" + line)
            self._failing = False
        except (OSError, ValueError, TypeError) as error:
            if not self._failing:
                self._failing = True
                log.warning("The flight recorder cannot write to %s (%s).", self._path, _why(error))

    def _add(self, line: bytes) -> None:
        if self._fd is None:
            return
        written = os.write(self._fd, line)
        self._size += written
        self._whole = written == len(line)
        if not self._whole:
            raise OSError(0, "there is no room")

    def _turn(self) -> None:
        """Begins a new file."""
        assert self._fd is not None
        os.replace(self._path, f"{self._path}.1")
        old, self._fd = self._fd, None
        os.close(old)
        self._open()


class _Handler(logging.Handler):
    """Records what is logged."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(logging.INFO)
        self._recorder = recorder

    def emit(self, record: logging.LogRecord) -> None:
        """Adds a line."""
        facts = getattr(record, FACTS, None)
        message = record.getMessage()[:_TEXT]
        self._recorder.write("log", level=record.levelname, message=message, **({FACTS: facts} if facts else {}))


def _code(content: bytes) -> str:
    try:
        return str(msgspec.json.decode(content, type=dict[str, Any]).get("code"))[:_CODE]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
