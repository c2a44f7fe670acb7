"""Kernels as a table, for people who look. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HEAD = ("KERNEL", "PID", "STATE", "CELL", "FOR", "CPU", "MEMORY", "SNAPSHOTS", "DEATHS", "UP", "NOTEBOOK")
#: The columns of numbers, which end at the right.
_NUMBERS = frozenset({"PID", "CELL", "FOR", "CPU", "MEMORY", "SNAPSHOTS", "DEATHS", "UP"})
#: Characters of a kernel's id that are shown; of two that are alike in these, as many as it takes.
_SHORT = 8


def rows(kernels: Sequence[Mapping[str, Any]], share: Mapping[str, float] | None = None) -> list[tuple[str, ...]]:
    """The rows below `HEAD`.

    :param kernels: as `operate.record` makes them.
    :param share: of a processor that each uses now, by id; without it the time is shown that it has used.
    """
    ids = [str(kernel["id"]) for kernel in kernels]
    short = {id: next((id[:n] for n in range(_SHORT, len(id)) if _only(id[:n], ids)), id) for id in ids}
    return [
        (
            short[str(k["id"])],
            _number(k["pid"]),
            str(k["state"]),
            f"[{k['cell']}]" if k["cell"] else "",
            duration(k["seconds"]),
            f"{100 * share[k['id']]:.0f} %" if share is not None and k["id"] in share else duration(k["cpu_seconds"]),
            size(k["memory_bytes"]),
            _number(k["snapshots"]),
            _number(k["deaths"]),
            duration(k["uptime_seconds"]),
            _plain(k["notebook"] or ""),
        )
        for k in kernels
    ]


def table(kernels: Sequence[Mapping[str, Any]], share: Mapping[str, float] | None = None) -> list[str]:
    """The lines of a table with a head."""
    lines = [HEAD, *rows(kernels, share)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEAD))]
    aligned = (
        "  ".join(
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for name, cell, width in zip(HEAD, line, widths, strict=True)
        )
        for line in lines
    )
    return [line.rstrip() for line in aligned]


def duration(seconds: float | None) -> str:
    """A time in one or two units, as "0.4 s", "12 s", "3:07", "2 h 05", "4 d 11 h"; empty for None."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 60:
        return f"{whole} s"
    if hours < 1:
        return f"{minutes}:{whole % 60:02}"
    return f"{hours} h {minutes % 60:02}" if days < 2 else f"{days} d {hours % 24:02} h"


def size(count: int | None) -> str:
    """Bytes in megabytes or gigabytes; empty for None."""
    if count is None:
        return ""
    return f"{count / 1e6:.0f} MB" if count < 9.995e8 else f"{count / 1e9:.1f} GB"


def _only(start: str, ids: Sequence[str]) -> bool:
    return sum(id.startswith(start) for id in ids) == 1


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _plain(text: str) -> str:
    """Without what a terminal would take for a command: a notebook may be called anything."""
    return "".join(c if c.isprintable() else "?" for c in text)
