"""What the environment says about how the supervisor behaves. Bad values are named in the log and left out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

from ipymini_supervisor.limits import CAP
from ipymini_supervisor.memory import LIMIT, Size
from ipymini_supervisor.recorder import CODE, FILE, SIZE
from ipymini_worker.wire import LIMIT as LARGEST_FRAME

log = logging.getLogger("ipymini")

#: Bytes of a flight record; in less there would be nothing of what went before.
LEAST_RECORD = 1 << 16
#: Bytes of a message that are accepted, whatever is asked for: in a frame of the link it has to have room.
MOST = LARGEST_FRAME - (1 << 20)


class Settings(NamedTuple):
    """Settings with their defaults; times in seconds."""

    #: Time that a shutdown may take in all before what is left is named in the log and left behind.
    shutdown_grace: float = 5.0
    #: Time after which an interrupt has climbed to the kill by itself; None: it never does.
    interrupt_kill_after: float | None = None
    #: Time that a subscriber of iopub may stand still while there is something for it before it is given up on.
    slow_subscriber_timeout: float = 10.0
    #: Time after an error for which executes that arrive are aborted.
    stop_on_error_timeout: float = 0.0

    #: Most bytes of a message from a frontend.
    max_message: int = 1 << 30
    #: Whether messages may be unsigned where others than this machine can connect.
    allow_unsigned: bool = False
    #: What the kernel's processes may have together; None: as much as there is.
    memory_limit: Size | None = None
    #: What each of them may have of its own; see `limits`, which reads it earlier.
    memory_cap: Size | None = None
    #: The path of the flight record; empty for none. Bytes that it may have; whether cells' code is in it.
    recorder: str = ""
    recorder_size: int = 4 << 20
    recorder_code: bool = False

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """The settings in `IPYMINI_SHUTDOWN_GRACE`, `IPYMINI_INTERRUPT_KILL_AFTER`, `IPYMINI_SLOW_SUBSCRIBER_TIMEOUT`,
        `IPYMINI_STOP_ON_ERROR_TIMEOUT`, `IPYMINI_MAX_MESSAGE`, `IPYMINI_ALLOW_UNSIGNED`,
        `IPYMINI_MEMORY_LIMIT` and `IPYMINI_MEMORY_CAP`, and those of the flight recorder.
        """
        grace = _seconds(environment, "IPYMINI_SHUTDOWN_GRACE")
        slow = _seconds(environment, "IPYMINI_SLOW_SUBSCRIBER_TIMEOUT")
        return cls(
            shutdown_grace=cls._field_defaults["shutdown_grace"] if grace is None else grace,
            interrupt_kill_after=_seconds(environment, "IPYMINI_INTERRUPT_KILL_AFTER"),
            slow_subscriber_timeout=cls._field_defaults["slow_subscriber_timeout"] if slow is None else slow,
            stop_on_error_timeout=_seconds(environment, "IPYMINI_STOP_ON_ERROR_TIMEOUT", zero=True) or 0.0,
            max_message=_bytes(environment, "IPYMINI_MAX_MESSAGE") or cls._field_defaults["max_message"],
            allow_unsigned=environment.get("IPYMINI_ALLOW_UNSIGNED", "") == "1",
            memory_limit=_size(environment, LIMIT),
            memory_cap=_size(environment, CAP),
            recorder=environment.get(FILE, ""),
            recorder_size=_record_size(environment) or cls._field_defaults["recorder_size"],
            recorder_code=environment.get(CODE, "") == "1",
        )


def _seconds(environment: Mapping[str, str], name: str, *, zero: bool = False) -> float | None:
    text = environment.get(name, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (0 < value < 1e6 or (zero and value == 0)):
        log.warning("%s is %r; it has to be a number of seconds, and is left out.", name, text)
        return None
    return value


def _bytes(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    if not text:
        return None
    # Below a few kilobytes no frontend could ask for anything.
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) >= 1 << 12):
        log.warning("%s is %r; it has to be a number of bytes, 4096 or more, and is left out.", name, text)
        return None
    return min(int(text), MOST)


def _size(environment: Mapping[str, str], name: str) -> Size | None:
    """The amount of memory in a variable; None if it is not set, or makes no sense."""
    text = environment.get(name, "")
    if not text:
        return None
    try:
        return Size.read(text)
    except ValueError:
        log.warning("%s is %r; it has to be a size of 16M or more, such as 4G, or 80%%, and is left out.", name, text)
        return None


def _record_size(environment: Mapping[str, str]) -> int | None:
    text = environment.get(SIZE, "")
    if not text:
        return None
    try:
        return Size.read(text, LEAST_RECORD).of(0) or None
    except ValueError:
        log.warning("%s is %r; it has to be a size of 64K or more, such as 4M, and is left out.", SIZE, text)
        return None
