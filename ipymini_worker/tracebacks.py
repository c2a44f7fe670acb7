"""Exceptions of which IPython can make no traceback: it takes a tenth of a millisecond and more for each frame, so that
some are too long, and it wants a line of each frame, which not every frame has. And it hides no frame at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

#: Frames that are kept at each end of a traceback; Python's own limit of recursion lets none become longer.
KEPT = 600
#: Modules of ours, by how their names begin: all, and the one where what raises interrupts is.
_WORKER, _INTERRUPTS = "ipymini_worker.", "ipymini_worker.interrupts"


def shorten(error: BaseException | None) -> None:
    """Leaves the frames in the middle out, of an exception and of those that it was raised for; each frame has a line.

    The limit of recursion may have been set to a million, and a million frames take minutes, in which nothing that the
    user does helps.
    """
    seen: set[int] = set()
    pending = [error]
    while pending:
        error = pending.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        ours = _WORKER if isinstance(error, KeyboardInterrupt) else _INTERRUPTS
        error.__traceback__ = _numbered(_shortened(_ended(error.__traceback__, ours)))
        pending += [error.__cause__, error.__context__]
        if isinstance(error, BaseExceptionGroup):
            pending += error.exceptions


def _ended(first: TracebackType | None, ours: str) -> TracebackType | None:
    """Ends where user code was interrupted, and not in what has interrupted it, or in what it had called of ours: a
    `print` is the user's line, and how it is carried out says nothing, and takes a tenth of a second to be shown.
    """
    last, place = None, first
    while place is not None:
        if not str(place.tb_frame.f_globals.get("__name__")).startswith(ours):
            last = place
        place = place.tb_next
    if last is not None and last.tb_next is not None:
        last.tb_next = None
    return first


def _shortened(first: TracebackType | None) -> TracebackType | None:
    length, place = 0, first
    while place is not None:
        length, place = length + 1, place.tb_next
    if length <= 2 * KEPT:
        return first
    last = first
    for _ in range(length - KEPT):
        assert last is not None
        last = last.tb_next
    kept = []
    place = first
    for _ in range(KEPT):
        assert place is not None
        kept.append(place)
        place = place.tb_next
    for one in reversed(kept):  # new ones: the old ones may be looked at by user code
        last = _entry(one, last)
    return last


def _numbered(first: TracebackType | None) -> TracebackType | None:
    """An interrupt may come between two lines, as while a generator begins: then the code's first line has to do."""
    entries = []
    place = first
    while place is not None:
        entries.append(place)
        place = place.tb_next
    if all(_line(entry) is not None for entry in entries):
        return first
    last = None
    for entry in reversed(entries):
        last = _entry(entry, last)
    return last


def with_lines(get_records: Callable[..., Any]) -> Callable[..., Any]:
    """IPython's `get_records`, for which a frame without source has the line that it is at, which may be none."""

    def records(*args: Any, **kwargs: Any) -> Any:
        found = get_records(*args, **kwargs)
        for record in found:
            if getattr(record, "lineno", 0) is None:
                record.lineno = record.code.co_firstlineno
        return found

    return records


def _entry(like: TracebackType, following: TracebackType | None) -> TracebackType:
    line = _line(like)
    return TracebackType(
        following, like.tb_frame, like.tb_lasti, like.tb_frame.f_code.co_firstlineno if line is None else line
    )


def _line(entry: TracebackType) -> int | None:
    return entry.tb_lineno  # None where the instruction belongs to no line; to type checkers it is a number
