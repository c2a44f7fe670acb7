"""`kernel.io_loop`: the asyncio loop of the worker in the form that libraries expect."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    from ipymini_worker.loop import Loop


class AsyncioLoop:
    """What is used of tornado's loop, where tornado is not installed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.asyncio_loop = loop

    def time(self) -> float:
        """Seconds on the clock of `call_at`."""
        return self.asyncio_loop.time()

    def add_callback(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Calls `callback` soon, in the main thread: while a cell awaits, or after it. From any thread."""
        self.asyncio_loop.call_soon_threadsafe(lambda: callback(*args, **kwargs))

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        """Calls `callback` after `delay` seconds."""
        return self.asyncio_loop.call_later(delay, lambda: callback(*args, **kwargs))

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        """Calls `callback` at the time `when`."""
        return self.asyncio_loop.call_at(when, lambda: callback(*args, **kwargs))


def io_loop(loop: Loop) -> Any:
    """Tornado's view of `loop` where tornado is installed, else our own. To be asked for in the main thread."""
    import asyncio  # noqa: F401  # without it there is no loop to adopt

    loop.adopt()
    current = loop.current
    assert current is not None
    try:
        from tornado.ioloop import IOLoop
    except ImportError:
        return AsyncioLoop(current)
    return IOLoop.current()
