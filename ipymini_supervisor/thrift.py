"""Memory for messages: kept at hand while many come, given back to the system when they have passed.

A page that the system hands out anew costs a microsecond or more. Each copy of a message of a megabyte has 256 of them,
which takes longer than all else that is done with it, if the allocator gives memory back at once and asks for it again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ipymini_supervisor.timers import Timers

#: Bytes of messages from which on there may be something to give back.
MUCH = 1 << 20
#: Seconds without as much after which it is given back; that takes some milliseconds.
REST = 0.5
#: Bytes of a block from which on it is a mapping of its own, and how many may be kept at the end of the heap.
_MAPPED, _KEPT = 4 << 20, 32 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


class Thrift:
    """Gives memory back once after each flood.

    :param give_back: does it.
    """

    def __init__(self, timers: Timers, clock: Callable[[], float], give_back: Callable[[], None] | None = None) -> None:
        self._timers = timers
        self._clock = clock
        self._give_back = give_back or trim
        self._bytes = 0
        self._waiting = False

    def passed(self, size: int) -> None:
        """Messages of `size` bytes have come or gone."""
        self._bytes += size
        if self._bytes >= MUCH and not self._waiting:
            self._wait()

    def _wait(self) -> None:
        self._waiting, self._bytes = True, 0
        self._timers.at(self._clock() + REST, self._look)

    def _look(self) -> None:
        self._waiting = False
        if self._bytes >= MUCH:
            self._wait()
        else:
            self._give_back()


def keep() -> None:
    """From now on the allocator keeps what is freed, up to `_KEPT`. GNU's; others do as they like."""
    libc = _libc()
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT)


def trim() -> None:
    """The allocator gives back what it keeps."""
    libc = _libc()
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _libc() -> Any:
    if sys.platform != "linux":
        return None
    import ctypes

    return ctypes.CDLL(None)
