"""What a signal's handler is, and how it is set, in as little time as possible.

The gate for interrupts asks some thirty times in a cell. Python's `signal` tries to make a member of an enumeration of
each answer, which for a function fails, and costs more than all else that the gate does: this is what it calls.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # it has no types; those of `signal`, which is made of it, hold
from collections.abc import Callable
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]

#: As `signal.getsignal`; 0 and 1 are the system's own handlers.
get_handler: Callable[[int], Handler | int | None] = _signal.getsignal
#: As `signal.signal`.
set_handler: Callable[[int, Handler | int | None], object] = _signal.signal
#: As `signal.pthread_sigmask`.
set_mask: Callable[[int, tuple[int, ...]], object] = _signal.pthread_sigmask
