"""The flight recorder: what happens in a kernel, in a file that outlives it (`IPYMINI_FLIGHT_RECORDER`); see `flight`.

It is nothing that anybody waits for, or that anything depends on: what cannot be written is said once and left out.
How the file is written says `tape`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import msgspec

from ipymini_supervisor import flight
from ipymini_supervisor.lanes import Request
from ipymini_supervisor.logs import FACTS
from ipymini_supervisor.memory import Pool
from ipymini_supervisor.session import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipymini_supervisor.tape import Tape

log = logging.getLogger("ipymini")

FILE, SIZE, CODE = "IPYMINI_FLIGHT_RECORDER", "IPYMINI_FLIGHT_RECORDER_SIZE", "IPYMINI_FLIGHT_RECORDER_CODE"
EXECUTE = "execute_request"
#: Seconds that the disk has in the end.
PATIENCE = 1.0
#: Seconds between two lines about memory, unless this share of all has come to it.
EVERY, GROWN = 5.0, 0.02
#: Characters of a cell's code, and of any other text, that are kept.
_CODE, _TEXT = 20_000, 2_000


class Recorder:
    """Writes the record of one kernel; without a path, none.

    :param path: of the file.
    :param size: bytes that the record may have, with what it keeps of older lines.
    :param kernel: the kernel's id.
    :param code: whether the code of cells is written, too.
    """

    def __init__(self, path: str, size: int, kernel: str, clock: Callable[[], float], *, code: bool = False) -> None:
        self._path = path
        self._kernel = kernel
        self._clock = clock
        self._code = code
        self._lost = 0  # lines for which there was no room
        self._memory = (float("-inf"), 0)  # when memory was told of, and how much was used
        self._handler = _Handler(self)
        self._tape: Tape | None = None
        if path:
            self._begin(size)

    def _begin(self, size: int) -> None:
        from ipymini_supervisor.tape import Tape  # few kernels have one

        self._tape = Tape(self._path, size // 2, _tell, self._refused)  # there is one older file of the same size
        log.addHandler(self._handler)
        log.setLevel(min(log.getEffectiveLevel(), logging.INFO))
        self.write("start", pid=os.getpid())
        self._tape.start()

    def _refused(self, why: str) -> None:
        log.warning("%s names %s, which cannot be used (%s); nothing is recorded.", FILE, self._path, why)

    @property
    def _on(self) -> bool:
        return self._tape is not None and not self._tape.closed

    # -- what is told

    def request(self, request: Request) -> None:
        """A request has come."""
        if not self._on:
            return
        header = request.message.header
        facts = {"msg_type": header.msg_type[:_TEXT], "msg_id": header.msg_id[:_TEXT], "channel": request.channel}
        if self._code and request.type == EXECUTE:
            facts["code"] = _code(bytes(request.message.content))
        self.write("request", **facts)

    def started(self, request: Request) -> None:
        """The worker executes a request; only of cells there is a line."""
        if self._on and request.type == EXECUTE:
            self.write("started", msg_id=request.message.header.msg_id[:_TEXT], cell=request.cell)

    def reply(self, request: Request, status: str, account: dict[str, Any] | None) -> None:
        """A request has got its reply.

        :param account: what a cell has taken.
        """
        if self._on:
            header = request.message.header
            facts = {"msg_id": header.msg_id[:_TEXT], "msg_type": header.msg_type[:_TEXT], "status": status}
            self.write("reply", **facts, **(account or {}))

    def memory(self, request: Request, pool: Pool, own: int) -> None:
        """Memory was looked at while a request runs; `pool` is the one that is nearest to its end."""
        when, used = self._memory
        if not self._on or (self._clock() - when < EVERY and pool.used - used < GROWN * pool.total):
            return
        self._memory = self._clock(), pool.used
        cell = request.cell if request.type == EXECUTE else 0
        facts = {"msg_id": request.message.header.msg_id[:_TEXT], "cell": cell, "pool": pool.name}
        self.write("memory", **facts, used=pool.used, total=pool.total, own=own)

    def end(self) -> None:
        """The kernel ends in an orderly way."""
        self.write("end")
        self.close()

    def flush(self) -> None:
        """Waits until everything is written, or has waited for long enough."""
        if self._tape is not None:
            self._tape.flush(PATIENCE)

    def close(self) -> None:
        """Nothing is written any longer."""
        log.removeHandler(self._handler)
        if self._on and self._tape is not None and (not self._tape.close(PATIENCE) or self._lost):
            log.warning("The end of the flight record is missing: %s takes nothing.", self._path)

    def write(self, event: str, **facts: object) -> None:
        """Adds a line."""
        if not self._on or self._tape is None:
            return
        if self._lost and self._tape.behind:
            self._lost += 1
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            self.write("lost", lines=lost)
            log.warning("%s takes the flight record again; %d lines are missing.", self._path, lost)
        try:
            entry = {"time": now(), "kernel": self._kernel, "event": event, **facts}
            line = msgspec.json.encode(entry, enc_hook=str) + b"\n"
        except (ValueError, TypeError) as error:
            log.debug("A line of the flight record cannot be written (%s).", error)
            return
        if not self._tape.add(line):
            self._lost = 1
            log.warning("%s takes nothing; lines of the flight record are left out.", self._path)


def _tell(lines: list[bytes]) -> None:
    """Says what ended the kernel before."""
    last = flight.read(lines)
    if said := flight.tell(last):
        log.warning("%s", said, extra={FACTS: last._asdict()})


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
