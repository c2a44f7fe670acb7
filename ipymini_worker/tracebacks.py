"""Tracebacks that are too long to be made: IPython takes a tenth of a millisecond and more for each frame."""

from __future__ import annotations

from types import TracebackType

#: Frames that are kept at each end of a traceback; Python's own limit of recursion lets none become longer.
KEPT = 600


def shorten(error: BaseException | None) -> None:
    """Leaves the frames in the middle out, of an exception and of those that it was raised for.

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
        error.__traceback__ = _shortened(error.__traceback__)
        pending += [error.__cause__, error.__context__]
        if isinstance(error, BaseExceptionGroup):
            pending += error.exceptions


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
        last = TracebackType(last, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return last
