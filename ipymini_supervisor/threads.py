"""The threads of another process as the system sees them: whether it does not run, or is kept from running. Linux."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

_TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds


class Thread(NamedTuple):
    """One thread at one moment."""

    state: str  #: as in `ps`: R runs or would, D waits for a disk or a page, S sleeps
    cpu: float  #: seconds that it has had a CPU


Threads = Mapping[int, Thread]
#: A flag of the system's, for a process that has begun to end: its memory goes before anybody is told of its end.
_EXITING = 0x4


def look(pid: int) -> Threads:
    """All threads of a process, by their ids; empty where the system does not tell."""
    found = {}
    try:
        for tid in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{tid}/stat", "rb") as file:
                # The name comes before, in parentheses, and may have anything in it.
                fields = file.read().rpartition(b")")[2].split()
            found[int(tid)] = Thread(fields[0].decode(), (int(fields[11]) + int(fields[12])) * _TICK)
    except (OSError, IndexError, ValueError):  # it has ended, or one of them has
        pass
    return found


def leaving(pid: int) -> bool:
    """Whether a process has begun to end, or is gone; False where the system does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return bool(int(fields[6]) & _EXITING)
    except (OSError, IndexError, ValueError):
        return os.path.isdir("/proc/self")


def starved(before: Threads, after: Threads, seconds: float) -> bool:
    """Whether a thread had something to do between two looks and had no CPU for most of the time, or no memory yet.

    Then nothing can be said about the process; nor can it where the system does not tell.
    """
    if not after:
        return True
    for tid, thread in after.items():
        had = thread.cpu - before[tid].cpu if tid in before else 0.0
        if thread.state == "D" or (thread.state == "R" and had < seconds / 2):
            return True
    return False
