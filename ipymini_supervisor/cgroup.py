"""What the system says about memory: the control groups that we are in, and the machine. Linux; elsewhere nothing is
known.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from ipymini_supervisor.memory import Pool

_PROC, _ROOT = "/proc", "/sys/fs/cgroup"
#: Of a pool that is used less than this no more is read: what it keeps of files makes no difference.
_ENOUGH = 0.75


def oom_kills() -> int | None:
    """How many processes the system has killed for memory in our cgroup so far; None where that is not counted."""
    for version, folder in _groups():
        # In a container our own path may not be visible, but the root is.
        file = "memory.events" if version == 2 else "memory.oom_control"
        try:
            match = re.search(r"^oom_kill (\d+)$", _read(folder, file), re.M)
        except OSError:
            continue
        if match:
            return int(match[1])
    return None


def pools() -> list[Pool]:
    """The machine, and all control groups with a limit below its memory, from our own one upwards.

    What is kept of files counts as free: the system takes it back when it needs it. So does free swap space.
    """
    machine = _machine()
    if machine is None:
        return []
    found = [machine]
    for version, folder in _groups():
        pool = _pool(version, folder)
        if pool is not None and pool.total <= machine.total:
            found.append(pool)
    return found


def _groups() -> Iterator[tuple[int, str]]:
    """Version and folder of the control groups that may count our memory: ours, those above it, the root."""
    try:
        lines = _read(_PROC, "self/cgroup").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            version, root = 2, _ROOT
        elif "memory" in controllers.split(","):
            version, root = 1, os.path.join(_ROOT, "memory")
        else:
            continue
        names = [name for name in path.split("/") if name]
        if ".." not in names:  # else it is above what the container shows us
            for count in range(len(names), 0, -1):
                yield version, os.path.join(root, *names[:count])
        yield version, root


def _machine() -> Pool | None:
    try:
        text = _read(_PROC, "meminfo")
    except OSError:
        return None
    wanted = "MemTotal|MemAvailable|SwapTotal|SwapFree"
    found = {name: 1024 * int(size) for name, size in re.findall(rf"^({wanted}): +(\d+) kB$", text, re.M)}
    total = found.get("MemTotal", 0) + found.get("SwapTotal", 0)
    free = found.get("MemAvailable", 0) + found.get("SwapFree", 0)
    return Pool("machine", total - min(free, total), total) if total and "MemAvailable" in found else None


def _pool(version: int, folder: str) -> Pool | None:
    if version == 2:
        used, limit, files = "memory.current", "memory.max", "inactive_file|active_file"
    else:
        used, limit, files = "memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file|total_active_file"
    try:
        total = int(_read(folder, limit))
        taken = int(_read(folder, used))
        if taken > _ENOUGH * total:
            stat = _read(folder, "memory.stat")
            taken -= sum(map(int, re.findall(rf"^(?:{files}) (\d+)$", stat, re.M)))
    except (OSError, ValueError):  # not there, or "max"
        return None
    return Pool(folder, max(0, taken), total) if total > 0 else None


def _read(folder: str, name: str) -> str:
    with open(os.path.join(folder, name), encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
