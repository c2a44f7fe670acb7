"""Whom the system ends first when memory runs out (`oom_score_adj`, `man proc`): snapshots, then the worker and what
cells have started, and the supervisor after them.
"""

from __future__ import annotations

#: How much sooner a worker goes than the supervisor: as if it had a tenth of the memory more.
WORKER = 100
#: The score of what goes before everything else.
FIRST = 1000


def expose(pid: int) -> None:
    """Process `pid` is a worker, and what it starts will be like it."""
    _write(pid, min(FIRST, _own() + WORKER))


def sacrifice(pid: int) -> None:
    """Process `pid` is nothing that anybody would miss."""
    _write(pid, FIRST)


def _own() -> int:
    try:
        with open("/proc/self/oom_score_adj") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def _write(pid: int, score: int) -> None:
    try:
        with open(f"/proc/{pid}/oom_score_adj", "w") as file:
            file.write(str(score))
    except OSError:  # it has ended, or the system does not allow it
        pass
