"""`%gui`: the events of a GUI toolkit are served while the worker waits for the next request.

How a toolkit is served is IPython's knowledge, its input hooks (`IPython.terminal.pt_inputhooks`): functions that run
the toolkit's own event loop until there is something to read. Nothing here knows a toolkit by itself.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable
from importlib import import_module
from types import TracebackType

from IPython.core.error import UsageError

#: Names of `%gui` and `%matplotlib` that need nothing of this: what they draw is in the notebook, or in a file, and
#: asyncio's tasks run in any case.
_WITHOUT_EVENTS = frozenset({"", "inline", "agg", "ipympl", "widget", "nbagg", "notebook", "webagg", "none", "asyncio"})
#: Seconds that toolkit and asyncio have in turn, where both have work.
SLICE = 0.01
#: Seconds until a hook that had nothing to do is asked again, as that of Tk before there is a window.
_REST = 0.05


class Context:
    """What an input hook is given.

    :param fd: what becomes readable when the hook has to return.
    :param ready: whether it has to return now, for hooks that ask from time to time.
    """

    def __init__(self, fd: int, ready: Callable[[], bool]) -> None:
        self._fd = fd
        self._ready = ready

    def fileno(self) -> int:
        """What becomes readable when the hook has to return."""
        return self._fd

    def input_is_ready(self) -> bool:
        """Whether the hook has to return now."""
        return self._ready()


class Toolkit:
    """A toolkit that is served. Belongs to the main thread.

    :param name: as `%gui` has it.
    :param hook: IPython's input hook.
    """

    def __init__(self, name: str, hook: Callable[[Context], object]) -> None:
        self.name = name
        self._hook = hook

    def begin(self) -> None:
        """Lets the hook make what the toolkit needs, as Qt its application, so that the cell that asks has it."""
        with _Readable() as always:
            self._turn(always, lambda: False)

    def wait(self, fd: int) -> None:
        """Serves events until `fd` is readable, or the hook has had enough. Raises what the hook raises."""
        self._hook(Context(fd, lambda: readable(fd)))
        readable(fd, _REST)  # a hook that returns by itself must not be called without a pause

    def turn(self, fd: int) -> None:
        """Serves the events that have come, for `SLICE` seconds at most if `fd` is not readable before."""
        with _Readable() as always:
            self._turn(always, lambda: readable(fd))

    def _turn(self, always: int, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + SLICE
        self._hook(Context(always, lambda: time.monotonic() >= end or ready()))


class _Readable:
    """A descriptor that is always readable: a hook that waits for it comes back when it has served what there is."""

    def __enter__(self) -> int:
        self._fd, there = os.pipe()
        os.write(there, b" ")
        os.close(there)
        return self._fd

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._fd)


def readable(fd: int, seconds: float = 0.0) -> bool:
    """Whether `fd` is readable, or becomes so within `seconds`."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def find(name: str | None) -> Toolkit | None:
    """The toolkit of a name; None for names that need no events.

    :raises UsageError: there is none, or it cannot be used here; one plain sentence says why.
    """
    if name is None or name.lower() in _WITHOUT_EVENTS:
        return None
    from IPython.terminal.pt_inputhooks import UnknownBackend, backends, get_inputhook_name_and_func, registered

    try:
        found, hook = get_inputhook_name_and_func(name)
    except UnknownBackend:
        known = ", ".join(sorted({*backends, *registered}))
        raise UsageError(f"There is no GUI toolkit {name!r}; those that IPython knows are {known}.") from None
    except Exception as error:  # whatever the import of a toolkit raises
        raise UsageError(f"The GUI toolkit {name!r} cannot be used: {sentence(error)}") from None
    toolkit = Toolkit(found, hook)
    try:
        toolkit.begin()
    except Exception as error:  # whatever the toolkit raises
        raise UsageError(f"The GUI toolkit {name!r} cannot be used: {sentence(error)}") from None
    return toolkit


def sentence(error: BaseException) -> str:
    """The first line of what an exception says; its name if it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0].rstrip(".:") if lines else type(error).__name__
    return f"{text}."


def backend() -> str:
    """The name of matplotlib's backend, or that which it will have when it is imported; "" if it has to choose one."""
    matplotlib = sys.modules.get("matplotlib")
    if matplotlib is None:
        return os.environ.get("MPLBACKEND", "")
    name = dict.get(matplotlib.rcParams, "backend")
    return name if isinstance(name, str) else ""


def is_inline(name: str) -> bool:
    """Whether a backend is the one that draws into the notebook, which IPython has to prepare."""
    return name == "inline" or name.endswith("matplotlib_inline.backend_inline")


def restore_backend(name: str) -> None:
    """Chooses a backend again, after another one that could not be used."""
    if name and "matplotlib" in sys.modules and name != backend():
        import_module("matplotlib.pyplot").switch_backend(name)
