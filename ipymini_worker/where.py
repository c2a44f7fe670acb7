"""Where a thread is, in the words of faulthandler, as long as Python code can run that says so.

faulthandler's own look, on a signal, comes between any two machine instructions. Where the interpreter is about to call
or to leave a function it finds half a frame, and about one look in some hundreds at a busy thread ends the process. A
look with the interpreter's lock held finds whole frames only; the signal is for a worker in which no Python code runs.
"""

from __future__ import annotations

import gc
import sys
from types import FrameType

#: Frames that are told, and characters of each name, as faulthandler has it.
_FRAMES, _CHARACTERS = 100, 500


def frames() -> dict[int, FrameType]:
    """`sys._current_frames()`, the innermost frame of each thread. Up to Python 3.11 the collector may begin in the
    midst of it, and a finalizer that lets another thread start one would wait for a lock that it holds, for ever.
    """
    if sys.version_info >= (3, 12) or not gc.isenabled():
        return sys._current_frames()
    gc.disable()
    try:
        return sys._current_frames()
    finally:
        gc.enable()


def innermost(thread: int | None) -> FrameType | None:
    """The innermost frame of a thread; None where there is none, or an audit hook of the user's refuses it."""
    try:
        return frames().get(thread or 0)
    except Exception:
        return None


def stack(thread: int | None) -> str:
    """The stack of a thread, most recent call first; "" where Python runs without the lock.

    :param thread: its identifier, as `threading.get_ident` has it.
    """
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return ""
    lines = ["Stack (most recent call first):"]
    frame = frames().get(thread or 0)
    while frame is not None:
        if len(lines) > _FRAMES:
            lines.append("  ...")
            break
        code = frame.f_code
        line = frame.f_lineno or code.co_firstlineno  # it is at no line where it begins
        lines.append(f'  File "{_plain(code.co_filename)}", line {line} in {_plain(code.co_name)}')
        frame = frame.f_back
    return "\n".join(lines) + "\n"


def _plain(name: str) -> str:
    return name[:_CHARACTERS].replace("\n", "\\n").replace("\r", "\\r")
