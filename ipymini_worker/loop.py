"""The asyncio loop of a thread that runs cells: one for the life of the thread, so that tasks go on between cells.

A plain cell runs outside of it, so that `asyncio.run` works there; a cell with a top-level await, or one that needs a
running loop (`asyncio.create_task`), runs in it; and while the thread is idle it runs for the tasks that are left.
Nothing here imports asyncio before user code does: most sessions never need it.
"""

from __future__ import annotations

import contextvars
import select
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import asyncio

    from ipymini_worker.toolkits import Toolkit

T = TypeVar("T")


class Source(Protocol):
    """Where requests come from, as the link."""

    @property
    def waiting(self) -> bool:
        """Whether there is a request that `fileno` knows nothing of."""

    def fileno(self) -> int:
        """The descriptor that becomes readable when there is one."""


class Loop:
    """Runs coroutines of cells, and pending tasks while idle. Belongs to the thread that makes it."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cells: list[asyncio.Task[Any]] = []  # those that run in the loop, the one that it runs for first
        self._running = False  # for a cell
        self._visited = False
        self._left: list[asyncio.AbstractEventLoop] = []
        self.cancelled = False  # an interrupt has cancelled the tasks of cells
        self.owing = False  # an interrupt has come that cells are to be cancelled by, as soon as the loop comes to it
        #: Called when a cell begins to run in the loop, and when it is over.
        self.on_enter: Callable[[], None] = lambda: None
        self.on_leave: Callable[[], None] = lambda: None
        self.toolkit: Toolkit | None = None  # the GUI toolkit that is served while idle

    @property
    def current(self) -> asyncio.AbstractEventLoop | None:
        """The loop; None before user code needed one."""
        return self._loop

    def leave(self) -> bool:
        """Goes on with another loop, and without the tasks of this one; returns whether there was one."""
        if self._loop is None:
            return False
        import asyncio

        self._left.append(self._loop)  # kept, so that nothing is said about tasks that are never done
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        return True

    def abandon(self) -> None:
        """In a copy, which does not have the thread: closes what the loop uses for itself, whatever state it is in."""
        for name in ("_ssock", "_csock", "_selector"):
            part = getattr(self._loop, name, None)
            if part is not None:
                part.close()

    def adopt(self) -> None:
        """Makes the loop the current one again, whatever user code did to it; called between requests."""
        if "asyncio" not in sys.modules:
            return
        import asyncio

        if self._loop is None or self._loop.is_closed():
            try:
                self._loop = _existing() or asyncio.new_event_loop()
            except OSError:  # no descriptors are left; without one nothing waits in a loop
                self._loop = None
                return
        asyncio.set_event_loop(self._loop)

    def idle(self, source: Source) -> None:
        """Returns when `source` has something to read; until then tasks of earlier cells run, and a toolkit is served.

        Raises what the toolkit raises; it is not served any longer then.
        """
        if source.waiting:
            return
        if self.toolkit is not None:
            self._serve(self.toolkit, source.fileno())
        elif self._loop is None:
            poll = select.poll()
            poll.register(source.fileno(), select.POLLIN)
            poll.poll()
        else:
            try:
                self._run_tasks(self._loop, source.fileno())
            except Exception:  # user code has closed or patched what the loop waits with; there will be another one
                self._give_up()

    def _give_up(self) -> None:
        import asyncio

        if self._loop is not None:
            self._left.append(self._loop)
        self._loop = None
        asyncio.set_event_loop(None)

    def end(self) -> None:
        """Cancels what is left, as at the end of `asyncio.run`; the thread runs no more cells."""
        if self._loop is None or self._loop.is_closed():
            return
        import asyncio

        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=1))
        self._loop.close()

    def _run_tasks(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        loop.add_reader(fd, loop.stop)
        try:
            loop.run_forever()
        finally:
            loop.remove_reader(fd)

    def _serve(self, toolkit: Toolkit, fd: int) -> None:
        """Serves a toolkit until `fd` is readable; where asyncio has been used, both in turn."""
        from ipymini_worker.toolkits import SLICE, readable

        while not readable(fd):
            loop = self._loop
            alone = loop is None or loop.is_closed()
            try:
                (toolkit.wait if alone else toolkit.turn)(fd)
            except BaseException:  # the next one might come at once, and again
                self.toolkit = None
                print(
                    f"The events of {toolkit.name} are not served any longer, because of the error that follows; "
                    f"%gui {toolkit.name} switches them on again.",
                    file=sys.stderr,
                )
                raise
            if loop is not None and not alone:
                end = loop.call_later(SLICE, loop.stop)
                try:
                    self._run_tasks(loop, fd)
                finally:
                    end.cancel()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of a cell's coroutine, with its changes of context variables kept for the next cell.

        :raises KeyboardInterrupt: an interrupt ended something else than the cell.
        :raises RuntimeError: called from a coroutine that runs in this loop, as by `%run` of a file that awaits.
        """
        import asyncio

        if threading.get_ident() != self._thread:
            return asyncio.run(coroutine)
        if self._running:
            coroutine.close()
            raise RuntimeError("A cell that awaits cannot run other cells that await; use a cell without await.")
        self.adopt()
        assert self._loop is not None
        context = contextvars.copy_context()
        task = self._add(coroutine, context)
        self.cancelled = self.owing = False
        self._running = True
        self.on_enter()
        try:
            result: T = self._until_done(self._loop, task)
            return result
        finally:
            self._running = self.owing = False
            self.on_leave()
            _keep(context)

    def add(self, coroutine: Coroutine[Any, Any, None], context: contextvars.Context) -> asyncio.Task[None]:
        """Runs the coroutine of another cell beside the one that the loop runs for; returns its task."""
        return self._add(coroutine, context)

    def _add(self, coroutine: Coroutine[Any, Any, T], context: contextvars.Context) -> asyncio.Task[T]:
        assert self._loop is not None
        task = self._loop.create_task(coroutine, context=context)
        self._cells.append(task)
        task.add_done_callback(self._cells.remove)
        return task

    @property
    def shared(self) -> bool:
        """Whether cells are left in the loop that it did not run for."""
        return bool(self._cells)

    def _until_done(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[T]) -> T:
        while True:
            try:
                return loop.run_until_complete(task)
            except KeyboardInterrupt:
                if task.done():
                    raise
                # It was raised in another task, which hogged the loop; the cell is meant all the same.
                self._cancel(None)

    @contextmanager
    def visited(self) -> Iterator[None]:
        """The body is called by the loop, and is not of the cell that the loop runs for."""
        self._visited = True
        try:
            yield
        finally:
            self._visited = False

    def cancel(self) -> None:
        """Interrupts the cells that run in the loop, where they wait."""
        self._cancel(None)

    def _cancel(self, but: asyncio.Task[Any] | None) -> None:
        self.cancelled, self.owing = True, False
        for task in self._cells:
            if task is not but:
                task.cancel()

    def on_sigint(self, signum: int, frame: FrameType | None) -> None:
        """The handler while a cell awaits: raises KeyboardInterrupt in it, or cancels it where it waits."""
        # Raised inside of asyncio's own code, also where a task's step calls it, KeyboardInterrupt would lose a
        # callback and leave the task waiting for ever; there, and where the cell waits, it is cancelled instead.
        import asyncio

        assert self._loop is not None
        __tracebackhide__ = True
        module = frame.f_globals.get("__name__", "") if frame is not None else ""
        current = asyncio.current_task(self._loop)
        if module.partition(".")[0] not in ("asyncio", "selectors") and (current is not None or self._visited):
            if len(self._cells) > 1 or self._visited:
                self._loop.call_soon_threadsafe(self._cancel, current)
            raise KeyboardInterrupt
        self.owing = True  # what the loop has to do before may never end
        self._loop.call_soon_threadsafe(self._cancel, None)


def _existing() -> asyncio.AbstractEventLoop | None:
    """The loop that user code has made the current one, or that Python makes when asked, if it is of use."""
    import asyncio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            loop = asyncio.get_event_loop()
        except RuntimeError:
            return None
    return None if loop.is_closed() or loop.is_running() else loop


def _keep(context: contextvars.Context) -> None:
    """Carries what a coroutine set in its context over to ours."""
    for variable, value in context.items():
        if variable.get(_UNSET) is not value:
            variable.set(value)


_UNSET = object()
