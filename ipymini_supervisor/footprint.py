"""The memory of processes, quickly: what `/proc` keeps ready. Linux; elsewhere nothing is known.

Pages of a process's own, in memory or swapped out, and memory that it shares with others by its own will; not files.
What processes have in common since a fork counts in each of them: a sum over several is what they have at the most.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection

_COUNTS = re.compile(rb"^(?:RssAnon|RssShmem|VmSwap):\s+(\d+) kB$", re.M)


def footprint(pids: Collection[int]) -> dict[int, int]:
    """The bytes of processes, by pid; of one that has ended, none."""
    return {pid: _one(pid) for pid in pids}


def _one(pid: int) -> int:
    if sys.platform != "linux":
        return 0
    try:
        fd = os.open(f"/proc/{pid}/status", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return 1024 * sum(map(int, _COUNTS.findall(os.read(fd, 1 << 14))))
    except OSError:
        return 0
    finally:
        os.close(fd)
