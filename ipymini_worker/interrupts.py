"""Whom a SIGINT reaches. The supervisor aims an interrupt at one request; between requests nobody is at home.

The handler is the user's (Python's own to begin with, as `signal.getsignal` in a cell must show) exactly while user
code runs. At all other times it only makes a note: an interrupt must not break off an import of ours, or the making
of a traceback. One that comes before the user code of its request has begun is raised when it does.

The supervisor sends SIGINT only after STARTED and before it has seen the reply, and the next request only afterwards:
one that comes late is noted before `begin` forgets all notes, as it is handled before the next request has been read.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ipymini_worker import where
from ipymini_worker.signals import Handler, get_handler, set_handler, set_mask
from ipymini_worker.wire import DUMP_SIGNAL, NUDGE_AFTER, NUDGE_SIGNAL

#: Seconds that the supervisor's word may take to come after its signal, and looks for it meanwhile.
_WORD_WITHIN, _LOOKS = 0.05, 50
#: The library's own, whatever user code makes of them.
_now, _sleep = time.monotonic, time.sleep


class Gate:
    """Opens for the time that user code runs. Belongs to the main thread."""

    def __init__(self) -> None:
        self._noted = False
        self._user: Handler | int | None = signal.default_int_handler  # what SIGINT does where user code runs
        self._installed: Handler | int | None = None
        self._resting: Handler | int | None = None  # of the user code in the midst of which the gate is closed
        self._quiet: Handler = self._note
        self._told = threading.Event()
        self._told_at = 0.0
        self._words = 0  # of the supervisor's, in all
        self._lost = 0  # after how many of them an interrupt was lost that is to be raised once more
        #: Called in the main thread a moment after an interrupt that has not ended the request; must raise nothing.
        self.on_nudge: Callable[[], None] = lambda: None
        #: Whether an interrupt has come that has had no effect yet; it is raised once more when the supervisor nudges.
        self.owing: Callable[[], bool] = lambda: False
        set_handler(signal.SIGINT, self._quiet)
        set_handler(NUDGE_SIGNAL, self._nudged)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self._noted = True

    def mind_lost(self) -> None:
        """From now on an interrupt that Python ignores, because it came in a finalizer or in the callback of a weak
        reference, is raised once more when the supervisor nudges.
        """
        report = sys.unraisablehook

        def on_unraisable(unraisable: sys.UnraisableHookArgs, /) -> None:
            if unraisable.exc_type is KeyboardInterrupt and _in_main_thread() and self._nudge_comes():
                self._lost = self._words  # nothing may follow that a nudge could be raised in
            else:
                report(unraisable)

        sys.unraisablehook = on_unraisable

    def _nudge_comes(self) -> bool:
        """Whether the supervisor has asked for an interrupt, and has a nudge yet to send. Takes no lock: a finalizer
        may run where `was_interrupted` holds one.
        """
        for _ in range(_LOOKS):
            if self._told.is_set() and _now() - self._told_at < sum(NUDGE_AFTER):
                return True
            _sleep(_WORD_WITHIN / _LOOKS)
        return False

    def forked(self) -> None:
        """This is a process that user code has forked: nobody nudges it."""
        self._told = threading.Event()

    def _nudged(self, signum: int, frame: FrameType | None) -> None:
        __tracebackhide__ = True
        self.on_nudge()
        lost, self._lost = self._lost, 0
        if (lost and lost == self._words) or self.owing():  # else it was another interrupt that was lost
            handler = get_handler(signal.SIGINT)
            if callable(handler):
                handler(signal.SIGINT, frame)

    def begin(self, request: int = 0) -> None:
        """A request begins: what came before was not meant for it."""
        self.shut()
        if _in_main_thread():
            # An earlier cell may have blocked them, and every interrupt would have to kill. What is pending comes now.
            set_mask(signal.SIG_UNBLOCK, (signal.SIGINT, NUDGE_SIGNAL, DUMP_SIGNAL))
        self._noted, self._lost, self._resting = False, 0, None
        self._told.clear()

    def tell(self) -> None:
        """The supervisor says that it interrupts the active request; called in the control thread."""
        self._told_at = _now()
        self._words += 1
        self._told.set()

    def was_interrupted(self) -> bool:
        """Whether the active request was interrupted, also where user code or asyncio have a handler of their own."""
        return self._told.wait(_WORD_WITHIN)  # the word comes by another way than the signal

    def usual(self) -> bool:
        """Whether SIGINT, where user code runs, does what it does in every Python."""
        return self._user is signal.default_int_handler

    @property
    def pending(self) -> bool:
        """Whether an interrupt has come at the shut gate that nobody has been given yet."""
        return self._noted

    @property
    def is_open(self) -> bool:
        """Whether user code runs that an interrupt reaches; asked in the main thread."""
        return get_handler(signal.SIGINT) is not self._quiet

    @contextmanager
    def opened(self, handler: Handler | None = None, *, noted: bool = True) -> Iterator[None]:
        """Lets interrupts through while the body, which is user code, runs. A gate that is open stays as it is; one
        that is closed in the midst of user code opens for the handler of that.

        :param handler: takes the place of Python's own handler; a handler that the user has set comes before it.
        :param noted: whether an interrupt that came earlier in this request is raised now.
        :raises KeyboardInterrupt: one came, now or earlier. The gate is shut by then.
        """
        if get_handler(signal.SIGINT) is not self._quiet or not _in_main_thread():
            yield
            return
        to = self._user if self._resting is None else self._resting
        python = to is signal.default_int_handler
        self._installed = handler if handler is not None and python else to
        try:
            try:
                set_handler(signal.SIGINT, self._installed)
                if noted:
                    self._deliver(to)
                yield
            finally:
                self.shut()
        except KeyboardInterrupt:
            self.shut()  # the interrupt may have hit the line above
            raise

    def _deliver(self, handler: Handler | int | None) -> None:
        """Gives an interrupt that came at a closed gate to `handler`; only when later ones find that handler."""
        if self._noted:
            self._noted = False
            if callable(handler):
                handler(signal.SIGINT, None)  # Python's own raises KeyboardInterrupt

    @contextmanager
    def closed(self, *, deliver: bool) -> Iterator[None]:
        """Keeps interrupts out while the body, which is work for user code, runs in the middle of it.

        :param deliver: whether one that comes meanwhile is raised afterwards; else before the next statement.
        :raises KeyboardInterrupt: one came meanwhile.
        """
        handler = get_handler(signal.SIGINT)
        if handler is self._quiet or not _in_main_thread():
            yield
            return
        set_handler(signal.SIGINT, self._quiet)
        outer, installed, self._resting = self._resting, self._installed, handler
        try:
            yield
        finally:
            # It may have been opened meanwhile, for code that has a handler of its own.
            handler, self._resting, self._installed = self._resting, outer, installed
            set_handler(signal.SIGINT, handler)
            if deliver:
                self._deliver(handler)

    def shut(self) -> None:
        """Lets no interrupt through from now on; what user code has made of the handler is kept for the next time."""
        if not _in_main_thread():
            return
        now = get_handler(signal.SIGINT)
        while now is not self._quiet:
            if now is not self._installed and self._resting is not None:
                self._resting = now
            elif now is not self._installed:
                self._user = now
            try:
                set_handler(signal.SIGINT, self._quiet)
            except KeyboardInterrupt:  # it was pending, and the handler is still the old one
                self._noted = True  # for the next statement of the cell
            now = get_handler(signal.SIGINT)


class ThreadGate:
    """A gate of a thread that no signal reaches: an interrupt is an exception that another thread sets in it.

    Belongs to the thread that makes it, but for `interrupt`.
    """

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._request = 0
        self._open = False
        self._noted = False
        self._told = False
        self._handler: Handler | None = None
        self._resting: Handler | None = None  # of the user code in the midst of which the gate is closed

    @property
    def request(self) -> int:
        """The request that the thread executes, or the last one that it did."""
        return self._request

    def begin(self, request: int = 0) -> None:
        """A request begins: what came before was not meant for it."""
        self.shut()
        with self._lock:
            self._request, self._noted, self._told, self._resting = request, False, False, None

    def interrupt(self, request: int) -> bool:
        """Interrupts `request`; returns whether it is what the thread executes. Called in any other thread."""
        with self._lock:
            if request != self._request:
                return False
            self._told = True
            if not self._open:
                self._noted = True
                return True
            try:
                if self._handler is None:
                    raise KeyboardInterrupt
                self._handler(signal.SIGINT, where.innermost(self._thread))
            except KeyboardInterrupt:
                _set_in(self._thread, KeyboardInterrupt)
                _wake_loop(where.innermost(self._thread))
        return True

    def was_interrupted(self) -> bool:
        """Whether the request was interrupted."""
        return self._told

    @property
    def pending(self) -> bool:
        """As `Gate.pending`."""
        return self._noted

    @property
    def is_open(self) -> bool:
        """As `Gate.is_open`; asked in the thread that it belongs to."""
        return self._open

    @contextmanager
    def opened(self, handler: Handler | None = None, *, noted: bool = True) -> Iterator[None]:
        """As `Gate.opened`.

        :raises KeyboardInterrupt: one came, now or earlier. The gate is shut by then.
        """
        __tracebackhide__ = True
        if self._open or threading.get_ident() != self._thread:
            yield
            return
        try:
            try:
                self._enter(handler or self._resting)
                if noted:
                    self._deliver()
                yield
            finally:
                self.shut()
        except KeyboardInterrupt:
            self.shut()  # the interrupt may have hit the line above
            raise

    def _enter(self, handler: Handler | None) -> None:
        with self._lock:
            self._open, self._handler = True, handler

    def _deliver(self) -> None:
        __tracebackhide__ = True
        if self._noted:
            self._noted = False
            if self._handler is None:
                raise KeyboardInterrupt
            self._handler(signal.SIGINT, None)

    @contextmanager
    def closed(self, *, deliver: bool) -> Iterator[None]:
        """As `Gate.closed`.

        :raises KeyboardInterrupt: one came meanwhile.
        """
        if not self._open or threading.get_ident() != self._thread:
            yield
            return
        handler = self._handler
        self.shut()
        outer, self._resting = self._resting, handler
        try:
            yield
        finally:
            self._resting = outer
            self._enter(handler)
            if deliver:
                self._deliver()

    def shut(self) -> None:
        """Lets no interrupt through from now on; one that is on its way is noted."""
        while True:
            try:
                with self._lock:
                    self._open = False
                    if self._told:
                        _set_in(self._thread, None)
                return
            except KeyboardInterrupt:
                self._noted = True


def _wake_loop(frame: FrameType | None) -> None:
    """Ends the wait of an asyncio loop that a thread runs by itself, as in `asyncio.run`: an exception that is set in
    the thread is raised only when it goes on.
    """
    while frame is not None:
        if frame.f_code.co_name == "run_forever" and "asyncio" in frame.f_globals.get("__name__", ""):
            frame.f_locals["self"].call_soon_threadsafe(lambda: None)
            return
        frame = frame.f_back


def _set_in(thread: int, error: type[BaseException] | None) -> None:
    """Sets an exception in a thread, which is raised when it comes to its next bytecode; None takes it back."""
    _set_exception(thread, error)
    drop_flag()


def drop_flag() -> None:
    """Takes back what tells all threads that one of them has an exception to raise.

    Up to Python 3.12 that is done by a thread that gets its exception, and by nobody else. As long as the flag is set,
    all loops are slow, and Python 3.11 never comes to the first line of a function that is traced or profiled. So the
    calling thread gets one; whoever else has one finds it when it has the interpreter again.
    """
    if sys.version_info < (3, 13):
        try:
            _set_exception(threading.get_ident(), _Nothing)
            for _ in range(3):
                pass
        except _Nothing:
            pass


class _Nothing(BaseException):
    """Raised and caught by `drop_flag`."""


def _set_exception(thread: int, error: type[BaseException] | None) -> None:
    import ctypes

    value = ctypes.py_object(error) if error is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), value)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def not_swallowed() -> Iterator[None]:
    """Raises KeyboardInterrupt after the body if one was raised in it and caught: IPython's ways to run a program
    end the program and then go on as if nothing had been asked of them.
    """
    seen = over = False

    def on_sigint(signum: int, frame: FrameType | None) -> None:
        nonlocal seen
        __tracebackhide__ = True
        seen = True
        if not over:
            raise KeyboardInterrupt

    if not _in_main_thread() or get_handler(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    set_handler(signal.SIGINT, on_sigint)
    try:
        yield
    except Exception:
        if seen:  # the program's end is reported as an error
            raise KeyboardInterrupt from None
        raise
    finally:
        over = True  # from here on it only notes: this handler must not stay, and be taken for the user's
        if get_handler(signal.SIGINT) is on_sigint:
            set_handler(signal.SIGINT, signal.default_int_handler)
    if seen:
        raise KeyboardInterrupt
