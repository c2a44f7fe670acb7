"""What the control group says about memory. Linux; elsewhere nothing is known."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def oom_kills() -> int | None:
    """How many processes the system has killed for memory in our cgroup so far; None where that is not counted."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        path = path.lstrip("/")
        if not controllers:  # version 2
            found = _count(_ROOT / path / "memory.events", _ROOT / "memory.events")
        elif "memory" in controllers.split(","):
            found = _count(_ROOT / "memory" / path / "memory.oom_control", _ROOT / "memory" / "memory.oom_control")
        else:
            continue
        if found is not None:
            return found
    return None


def room() -> tuple[int, int]:
    """Free and total bytes of memory, where there is the least: in our control group, or in the machine; zeros where
    that is not known.
    """
    try:
        lines = Path("/proc/meminfo").read_text()
        own = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return 0, 0
    found = {name: 1024 * int(size) for name, size in re.findall(r"^(MemTotal|MemAvailable): +(\d+) kB$", lines, re.M)}
    least = found.get("MemAvailable", 0), found.get("MemTotal", 0)
    for line in own:
        _, controllers, path = line.split(":", 2)
        path = path.lstrip("/")
        if not controllers:
            files, cache = ("memory.current", "memory.max"), "inactive_file"
            folders = (_ROOT / path, _ROOT)
        elif "memory" in controllers.split(","):
            files, cache = ("memory.usage_in_bytes", "memory.limit_in_bytes"), "total_inactive_file"
            folders = (_ROOT / "memory" / path, _ROOT / "memory")
        else:
            continue
        for folder in folders:
            limited = _limited(folder, *files, cache)
            if limited is not None and limited[1] <= least[1]:
                least = min(least, limited)
    return least


def _limited(folder: Path, used: str, limit: str, cache: str) -> tuple[int, int] | None:
    """Free and total bytes in a control group; what it keeps of files that nobody uses counts as free."""
    try:
        total = int((folder / limit).read_text())
        taken = int((folder / used).read_text())
        match = re.search(rf"^{cache} (\d+)$", (folder / "memory.stat").read_text(), re.M)
    except (OSError, ValueError):  # not there, or "max"
        return None
    return max(0, total - taken + (int(match[1]) if match else 0)), total


def _count(*files: Path) -> int | None:
    """The counter in the first file that has it; in a container our own path may not be visible, but the root is."""
    for file in files:
        try:
            match = re.search(r"^oom_kill (\d+)$", file.read_text(), re.M)
        except OSError:
            continue
        if match:
            return int(match[1])
    return None
