"""What a flight record says about the end of the kernel that wrote it. Pure.

A record is a file of JSON objects, one a line, each with `time`, `kernel` and `event`:

- `start` (`pid`) and `end`: of a kernel's life; one without `end` has ended without a goodbye.
- `request` (`msg_type`, `msg_id`, `channel`; `code` if that was asked for): somebody asks for something.
- `started` (`msg_id`, `cell`): the worker executes a cell.
- `reply` (`msg_id`, `msg_type`, `status`, and of a cell its account).
- `memory` (`used`, `total`, `pool`, `own`, `msg_id`, `cell`): bytes, while something runs.
- `lost` (`lines`): so many are missing here, because the disk took nothing.
- `log` (`level`, `message`, `facts`): what the log says: deaths, interrupts, warnings.

Anything else, and what is no object at all, is skipped: a line may be cut, or from another version.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from ipymini_supervisor.memory import human

#: From this share of what there was on, memory is named as what may have been the cause.
_NEAR = 0.85


class Last(NamedTuple):
    """The end of a record."""

    time: str = ""  #: of the last line
    pid: int = 0
    ended: bool = True  #: with a goodbye, or there was no kernel
    cells: tuple[int, ...] = ()  #: prompt numbers of the cells that were executing
    used: int = 0  #: bytes, at the last look
    total: int = 0
    message: str = ""  #: the last that was logged


def read(lines: Iterable[bytes]) -> Last:
    """The end of a record; `lines` may begin anywhere in it."""
    last = Last()
    running: dict[str, int] = {}
    for line in lines:
        try:
            entry = msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        event, msg_id = entry.get("event"), str(entry.get("msg_id"))
        if event == "start":
            last, running = Last(pid=_number(entry, "pid")), {}
        elif event in ("started", "memory") and _number(entry, "cell"):
            running[msg_id] = _number(entry, "cell")
        elif event == "reply":
            running.pop(msg_id, None)
        elif event == "log":
            last = last._replace(message=str(entry.get("message", ""))[:1000])
        if event == "memory":
            last = last._replace(used=_number(entry, "used"), total=_number(entry, "total"))
        last = last._replace(time=str(entry.get("time", ""))[:40], ended=event == "end")
    return last._replace(cells=tuple(sorted(running.values())[:10]))


def tell(last: Last) -> str:
    """One sentence about the end of the kernel before; empty if there is nothing to be told."""
    if last.ended:
        return ""
    said = "The previous kernel on this record ended without saying goodbye"
    if last.cells:
        said += f" while executing {' and '.join(f'In[{cell}]' for cell in last.cells)}"
        if last.total:
            said += f", at {human(last.used)} of {human(last.total)}"
    said += f"; its last line is from {last.time}."
    if last.cells and last.total and last.used >= _NEAR * last.total:
        said += " Memory may have run out."
    return said


def _number(entry: dict[str, Any], name: str) -> int:
    value = entry.get(name)
    return value if type(value) is int and 0 <= value < 1 << 60 else 0
