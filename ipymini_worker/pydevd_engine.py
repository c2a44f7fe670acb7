"""pydevd, which is what debugpy debugs with, in this process and without an adapter: it speaks DAP into a pipe that is
no descriptor, so that there is no port to connect to, no process to end, and nothing that user code could close.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

Message = dict[str, Any]

#: Threads of ours, which must answer while user code is stopped.
_OURS = frozenset({"ipymini-control", "ipymini-answers", "ipymini-debugger", "IPythonHistorySavingThread"})
#: What pydevd calls a thread that is stopped.
_SUSPENDED = 2


class DebuggerError(Exception):
    """Why debugging is not possible, as one plain sentence."""


class _Pipe:
    """What pydevd takes for a connected socket.

    :param take: called with each message that pydevd sends, in a thread of pydevd's.
    """

    def __init__(self, take: Callable[[Message], None]) -> None:
        self._take = take
        self._incoming: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._outgoing = b""
        self._ended = False

    def write(self, message: Message) -> None:
        """Hands a message to pydevd."""
        body = json.dumps(message).encode()
        self._incoming.put(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    def recv(self, size: int) -> bytes:
        data = b"" if self._ended else self._incoming.get()
        self._ended = not data
        return data

    def sendall(self, data: bytes) -> None:
        self._outgoing += data
        while True:
            head, separator, rest = self._outgoing.partition(b"\r\n\r\n")
            size = int(head.rpartition(b":")[2]) if separator else 0
            if not separator or len(rest) < size:
                return
            self._outgoing = rest[size:]
            self._take(json.loads(rest[:size]))

    def send(self, data: bytes) -> int:
        self.sendall(data)
        return len(data)

    def settimeout(self, seconds: float | None) -> None:
        pass

    def shutdown(self, how: int) -> None:
        self._incoming.put(b"")

    def close(self) -> None:
        self._incoming.put(b"")


class Engine:
    """pydevd from its start to its end; there is one at a time in a process.

    :param take: called with each message that pydevd sends, in a thread of pydevd's.
    :param changes: `changes` of the one before. Where code can stop is kept by pydevd under the number of changes that
        the breakpoints had; if it counted from 0 again, equal code would stop where it did in another session.
    :raises DebuggerError: there is no debugpy, or somebody else debugs already.
    """

    def __init__(self, take: Callable[[Message], None], changes: int) -> None:
        self._hook = sys.breakpointhook
        self._interrupted: set[int] = set()  # threads that have been interrupted while they waited
        self._pipe = _Pipe(take)
        self._pydevd, self._constants = _load()
        if self._constants.get_global_debugger() is not None:
            raise DebuggerError("A debugger is attached already, by debugpy or pydevd in a cell.")
        for thread in threading.enumerate():
            if thread.name in _OURS:
                thread.pydev_do_not_trace = thread.is_pydev_daemon_thread = True  # type: ignore[attr-defined]
        connect, self._pydevd.start_client = self._pydevd.start_client, lambda host, port: self._pipe
        try:
            self._pydevd.settrace(
                host="nobody",
                port=0,
                suspend=False,
                wait_for_ready_to_run=False,
                notify_stdin=False,
                patch_multiprocessing=False,
                protocol="dap",
            )
        finally:
            self._pydevd.start_client = connect
        debugger = self._constants.get_global_debugger()
        debugger.mtime += changes
        # What stops is the thread that comes to a breakpoint: a cell in another one may be what somebody waits for.
        debugger.multi_threads_single_notification = False
        debugger.do_wait_suspend = partial(self._wait, debugger.do_wait_suspend)
        self.alive = True

    def write(self, message: Message) -> None:
        """Hands a request to pydevd.

        :raises DebuggerError: it knows none of this name, and would say nothing.
        """
        processor = importlib.import_module("_pydevd_bundle.pydevd_process_net_command_json").PyDevJsonCommandProcessor
        if getattr(processor, f"on_{str(message['command']).lower()}_request", None) is None:
            raise DebuggerError(f"The debugger does not know the request {message['command']!r:.80}.")
        self._pipe.write(message)

    def trace(self) -> None:
        """The calling thread is going to run user code, and may have lost what pydevd traces with, or have it still."""
        self._interrupted.discard(threading.get_ident())
        debugger = self._constants.get_global_debugger() if self.alive else None
        if debugger is not None:
            self._resume(threading.current_thread())  # from a step that has led off the end of the cell before
            debugger.enable_tracing()
        elif "pydev" in type(sys.gettrace()).__module__:
            sys.settrace(None)

    def leave(self) -> None:
        """In a process that user code has forked: nobody would let it go on at a breakpoint."""
        if not self.alive:
            return
        self.alive = False
        sys.settrace(None)
        threading.settrace(None)
        if sys.version_info >= (3, 12):
            with contextlib.suppress(ValueError):
                sys.monitoring.set_events(sys.monitoring.DEBUGGER_ID, 0)

    def interrupt(self, thread: threading.Thread) -> bool:
        """Interrupts a thread that waits at a breakpoint; returns whether it does. It goes on with the interrupt, and
        does not stop again before the next cell.
        """
        if getattr(getattr(thread, "additional_info", None), "pydev_state", 0) != _SUSPENDED:
            return False
        self._interrupted.add(thread.ident or 0)
        self._resume(thread)
        return True

    def _wait(self, wait: Callable[..., Any], thread: threading.Thread, *arguments: Any, **options: Any) -> Any:
        """In the place of pydevd's function in which a thread waits at a breakpoint: an interrupt that was raised in
        the midst of that would leave it half done.
        """
        __tracebackhide__ = True
        me = threading.get_ident()
        if me in self._interrupted:
            self._resume(thread)
            return None
        result = wait(thread, *arguments, **options)
        if me in self._interrupted:
            if threading.current_thread() is not threading.main_thread():
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGINT)
        return result

    def _resume(self, thread: threading.Thread) -> None:
        lifecycle = importlib.import_module("_pydevd_bundle.pydevd_thread_lifecycle")
        lifecycle.resume_threads(self._constants.get_thread_id(thread))

    def stop(self) -> int:
        """Ends it: threads go on, none is traced, and those of pydevd are gone; returns the number of changes."""
        self.alive = False
        changes = int(getattr(self._constants.get_global_debugger(), "mtime", 0)) + 1
        for thread in threading.enumerate():
            if getattr(thread, "additional_info", None) is not None:
                self._resume(thread)  # or pydevd would still take it for one that is stopped, in the next session
        self._pydevd.stoptrace()
        sys.breakpointhook = self._hook
        return changes


def _load() -> tuple[Any, Any]:
    """pydevd, and its constants; imported when it is needed first."""
    quiet = "PYDEVD_DISABLE_FILE_VALIDATION"  # it would warn, on stderr, of modules that are frozen into Python
    given = os.environ.get(quiet)
    os.environ[quiet] = "1"
    try:
        importlib.import_module("debugpy._vendored.force_pydevd")
        return importlib.import_module("pydevd"), importlib.import_module("_pydevd_bundle.pydevd_constants")
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != "debugpy":
            raise DebuggerError(f"debugpy cannot be imported ({error}).") from None
        raise DebuggerError("Debugging needs debugpy, which the environment of the cells does not have.") from None
    finally:
        if given is None:
            del os.environ[quiet]


def without_debugger(entry: TracebackType | None) -> None:
    """Takes pydevd's frames, and ours between them, from the end of the traceback of an interrupt."""
    kept = None
    while entry is not None:
        code = entry.tb_frame.f_code
        if "pydev" not in f"{code.co_filename} {code.co_name}":
            kept = entry
        entry = entry.tb_next
    if kept is not None:
        kept.tb_next = None
