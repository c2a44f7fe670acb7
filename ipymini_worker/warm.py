"""What the first traceback and the first completion need is loaded before, while nothing else is to be done.

The one takes a tenth of a second of the main thread's time, the other a second or two, which must not be in anybody's
way: when a request comes, the work is broken off between two steps, or in the midst of the completer's, which is begun
anew, with what is loaded by then, when it is quiet again. Hazards:

- An import, and the writing of a file, must not be broken off anywhere: a module of the completer's that was ended in
  its midst cannot be imported again. The signal that tells of the request therefore raises nothing: it has the
  interpreter look at each call, and the first one of a function of the completer's own, outside of both, ends the work.
- Nothing of the user's is looked at, and nothing goes on in a thread, which a fork would lose.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from ipymini_worker import survival
from ipymini_worker.interrupts import drop_flag
from ipymini_worker.loop import Loop, Source
from ipymini_worker.wire import NUDGE_SIGNAL

#: Seconds without a request after which it is quiet: after a cell, and before there was one.
_AFTER_CELL, _AT_START = 0.5, 2.0
#: How often it is put off, because others have more to do than the processors can take.
_PUT_OFF = 6
#: Packages whose functions may be broken off, and the file whose may not: it writes, and switches the collector off.
_OURS, _NOT_THIS = (f"{os.sep}jedi{os.sep}", f"{os.sep}parso{os.sep}"), f"{os.sep}parso{os.sep}cache.py"
#: How the file names of the import system's functions begin, which are among the callers of every module's body.
_IMPORT = "<frozen importlib"
#: Linux can be told which signal says that there is something to read; elsewhere it is SIGIO, which nobody minds there.
_SIGNAL = NUDGE_SIGNAL if sys.platform == "linux" else signal.SIGIO


class Asked(BaseException):
    """There is a request."""


class Warmth:
    """Belongs to the main thread.

    :param steps: what has to be done once, one after the other.
    """

    def __init__(self, environment: Mapping[str, str], *steps: Callable[[], None]) -> None:
        self.done = environment.get("IPYMINI_WARM", "").strip() == "0"
        self._steps = list(steps)
        self._quiet = _AT_START

    def cell(self) -> None:
        """There was a cell, and the next one may be typed soon."""
        self._quiet = _AFTER_CELL

    def idle(self, source: Source, loop: Loop) -> None:
        """The worker is going to wait for `source`: returns when that has something to read, or when all is done."""
        if self.done or source.waiting:
            return
        poll = select.poll()
        poll.register(source.fileno(), select.POLLIN)
        try:
            if not _free(loop, poll):
                return
        except Exception:  # user code has closed or patched what this is seen by
            return
        for _ in range(_PUT_OFF):
            if poll.poll(self._quiet * 1000):
                return
            if not _crowded():
                break
        while self._steps:
            try:
                if not _until_asked(self._steps[0], source.fileno(), poll):
                    return
            except Exception:  # what it loads is broken, or missing; whoever asks for it is told
                pass
            del self._steps[0]
        self.done = True


def _traceback() -> None:
    import stack_data  # noqa: F401


def _colours() -> None:
    import pygments.formatters.terminal256
    import pygments.lexers.python  # noqa: F401


def _lexer() -> None:
    from pygments.lexers.python import PythonLexer

    PythonLexer()  # the first one compiles its expressions


#: What the first traceback needs, which takes nine tenths of its time. None is made, for which IPython would look at
#: all modules that the user has.
TRACEBACK = (_traceback, _colours, _lexer)


def completer(shell: Any) -> None:
    """Loads the completer, and has it find its way among the names that every session has."""
    if not getattr(shell.Completer, "use_jedi", True):
        return
    # What the parser has to say is nothing for a cell that logs everything; IPython does this at the first completion.
    logging.getLogger("parso").setLevel(logging.WARNING)
    from ipymini_worker.latecompleter import recursion_limit_kept

    with recursion_limit_kept():
        import jedi  # type: ignore[import-untyped]

    names = {name: shell.user_ns[name] for name in shell.user_ns_hidden if name in shell.user_ns}
    for found in jedi.Interpreter("pri", [names]).complete():
        found.type, found.get_signatures()  # which IPython asks for
    shell.magics_manager.lsmagic()


def _until_asked(work: Callable[[], None], fd: int, poll: select.poll) -> bool:
    """Does the work; returns False if it was broken off, because there is something to read from `fd`."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    before = signal.signal(_SIGNAL, _look_at_calls)
    try:
        if sys.platform == "linux":
            fcntl.fcntl(fd, fcntl.F_SETSIG, _SIGNAL)
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_ASYNC)
        if poll.poll(0):  # it came before there was a signal for it
            return False
        work()
        return True
    except Asked:
        return False
    finally:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)
        signal.signal(_SIGNAL, before)
        sys.setprofile(None)


def _look_at_calls(number: int, frame: FrameType | None) -> None:
    drop_flag()  # which somebody may have left, and with which Python 3.11 would hang
    sys.setprofile(_on_call)


def _on_call(frame: FrameType, event: str, argument: Any) -> None:
    """Ends the work at the first call that may be broken off."""
    if event != "call" or not _breakable(frame):
        return
    above: FrameType | None = frame
    while above is not None:
        name = above.f_code.co_filename
        if name.endswith(_NOT_THIS) or name.startswith(_IMPORT):
            return
        above = above.f_back
    raise Asked


def _breakable(frame: FrameType) -> bool:
    """Whether a function is the completer's, and called by it: not by the collector, for instance."""
    caller = frame.f_back
    return caller is not None and all(
        any(part in code.co_filename for part in _OURS) for code in (frame.f_code, caller.f_code)
    )


def _free(loop: Loop, poll: select.poll) -> bool:
    """Whether nothing of the user's goes on between cells, and nobody watches what Python does.

    :param poll: is to tell as well when the loop of the user's has something to do.
    """
    if loop.toolkit is not None or loop.shared or observed():
        return False
    if loop.current is None or loop.current.is_closed():
        return True
    # What a thread gives to the loop would wait until all is done.
    if survival.pending(loop.current) or survival.foreign_threads():
        return False
    selector: Any = getattr(loop.current, "_selector", None)  # loops that are not Python's own tell nothing
    watched = selector.get_map() if selector is not None else None
    if selector is None or watched is None or len(watched) > 1:
        return False
    if hasattr(selector, "fileno"):
        poll.register(selector.fileno(), select.POLLIN)
    return True


def observed() -> bool:
    """Whether a debugger, a profiler or a tracer looks at what is executed, or at what is allocated."""
    if sys.gettrace() is not None or sys.getprofile() is not None:
        return True
    monitoring, tracemalloc = getattr(sys, "monitoring", None), sys.modules.get("tracemalloc")
    return (tracemalloc is not None and tracemalloc.is_tracing()) or (
        monitoring is not None and any(monitoring.get_tool(number) is not None for number in range(6))
    )


def _crowded() -> bool:
    """Whether much more wants to run than there are processors, as when many kernels start."""
    try:
        with open("/proc/loadavg") as file:
            running = int(file.read().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return False
    return running > 2 * (os.cpu_count() or 1)
