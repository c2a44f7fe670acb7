"""Threads that answer requests beside the main one: those of subshells (JEP 91), and one for questions.

All share the shell, its variables, history and count of prompts; each has a gate for interrupts and a loop of its own.
The control thread hands requests to them. A copy of the process has none of them: it is told by the supervisor which
subshells there are.
"""

from __future__ import annotations

import _socket  # see `link`
import contextvars
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from ipymini_worker import context, survival, where
from ipymini_worker.answering import Answering
from ipymini_worker.control import leave
from ipymini_worker.interrupts import ThreadGate
from ipymini_worker.link import Link, LinkClosed, LinkLost, private_fd
from ipymini_worker.loop import Loop
from ipymini_worker.running import Home
from ipymini_worker.shell import WorkerShell
from ipymini_worker.stdin import Stdin
from ipymini_worker.wire import Kind

#: Seconds after which a cell that computes lets a question be answered for a moment, and again.
_SWITCH = 0.0005
#: Bytes that are taken at once from a descriptor that only wakes up.
_ROOM = 4096
#: Seconds that a snapshot waits for an answer that is being made.
_PATIENCE = 0.02


class Requests:
    """Requests that wait for a thread; a `Source` of its loop. Anybody may put, one thread takes."""

    def __init__(self) -> None:
        self._waiting: deque[context.Request | None] = deque()
        ends = [_socket.socket(fileno=private_fd(end.detach())) for end in _socket.socketpair()]
        self._reader, self._writer = ends
        for end in ends:
            end.setblocking(False)

    @property
    def waiting(self) -> bool:
        """Whether there is one; `fileno` tells it as well."""
        return bool(self._waiting)

    def fileno(self) -> int:
        """A descriptor that is readable while there is one."""
        return self._reader.fileno()

    def put(self, request: context.Request) -> None:
        """Adds one.

        :raises LinkLost: user code has closed what it has not opened.
        """
        self._waiting.append(request)
        try:
            self._writer.send(b".")
        except BlockingIOError:  # it is readable, for thousands of reasons
            pass
        except OSError as error:
            raise LinkLost from error

    def end(self) -> None:
        """Nothing is put any longer.

        The thread may see that, and be gone, before this returns: the end to write to is closed here, and only here.

        :raises LinkLost: user code has closed what it has not opened.
        """
        self._waiting.append(None)
        try:
            with suppress(BrokenPipeError):
                self._writer.shutdown(_socket.SHUT_WR)  # a process that cells have forked may have it, too
            self._writer.close()
        except OSError as error:
            raise LinkLost from error

    def take(self) -> context.Request | Literal[False] | None:
        """The next one that waits, None after the last; False if none does, for user code may have written there.

        :raises LinkLost: user code has closed what it has not opened.
        """
        try:
            over = not self._reader.recv(_ROOM)
        except BlockingIOError:
            over = False
        except OSError as error:
            raise LinkLost from error
        if self._waiting:
            return self._waiting.popleft()
        if over:  # the other end is closed, and not by `end`
            raise LinkLost
        return False

    def close(self) -> None:
        """Gives back the descriptor of the thread that takes."""
        self._reader.close()

    def forget(self) -> None:
        """In a copy, which has no such thread: gives both descriptors back."""
        self._reader.close()
        self._writer.close()


class Helper(survival.Renewable):
    """A thread that answers requests, one after the other.

    :param name: of the subshell; empty for questions.
    :param changed: called when a request is over that may have changed the session.
    """

    def __init__(
        self, name: str, shell: WorkerShell, answering: Answering, stdin: Stdin, changed: Callable[[], None]
    ) -> None:
        super().__init__(name=f"subshell-{name}" if name else "ipymini-answers", daemon=True)
        self.subshell = name
        # What an answer looks at may be at a breakpoint.
        self.pydev_do_not_trace = self.is_pydev_daemon_thread = not name
        self.requests = Requests()
        self.at_work = threading.Lock()  # held while a question is answered
        self._shell = shell
        self._answering = answering
        self._stdin = stdin
        self._changed = changed
        self._gate: ThreadGate | None = None
        self._loop: Loop | None = None
        self.request: context.Request | None = None  # the one that it executes, or the last one that it did

    def run(self) -> None:
        """Answers until it is told to end."""
        # The control thread, which starts this one, takes no signals; a program that is started here has to.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self._gate = ThreadGate()
        loop = self._loop = Loop()
        self._shell.settle(Home(self._gate, loop))
        while (request := self._next(loop)) is not None:
            try:
                self._answer(request)
            except LinkClosed as error:
                leave(error)
        loop.end()
        self.requests.close()

    def _next(self, loop: Loop) -> context.Request | None:
        while True:
            try:
                loop.adopt()
                loop.idle(self.requests)
                request = self.requests.take()
                if request is not False:
                    return request
            except LinkClosed as error:
                leave(error)
            except BaseException:  # a task that ends with SystemExit: nothing ends us
                self._shell.showtraceback_as_text()

    def _answer(self, request: context.Request) -> None:
        self.idle, self.request = False, request
        context.enter(request)
        try:
            if self.subshell:
                self._answering.answer(request)
                self._changed()
            else:
                with self.at_work, _hurry():
                    self._answering.answer(request)
        except LinkClosed:
            raise
        except BaseException as error:  # whatever it was, whoever has asked does not wait for ever
            if not request.run.over:
                self._answering.fail(request, error)
        finally:
            self.idle = True

    def executes(self, request: int) -> bool:
        """Whether it is at work on `request`."""
        return self._gate is not None and self._gate.request == request

    def interrupt(self, request: int) -> None:
        """Interrupts `request`, if that is what it executes. Called in the control thread."""
        if self._gate is None or self._stdin.cancel(request) or not self._gate.interrupt(request):
            return
        for pid in _children(self.native_id or 0):
            try:
                if os.getpgid(pid) == pid:
                    os.killpg(pid, signal.SIGINT)
                else:
                    os.kill(pid, signal.SIGINT)
            except OSError:  # it has ended
                continue

    def forget(self) -> None:
        """In a copy: closes what the thread had open."""
        self.requests.forget()
        if self._loop is not None:
            self._loop.abandon()

    def stack(self) -> str:
        """Where it is, most recent call last."""
        frame = where.innermost(self.ident)
        return "".join(traceback.format_stack(frame)) if frame is not None else ""


@contextmanager
def _hurry() -> Iterator[None]:
    """The thread gets the interpreter soon each time that it has waited for something; the cell hardly notices."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(min(interval, _SWITCH))
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


class Subshells:
    """All threads of this kind. Used by the control thread, and by the main one around forks.

    :param link: the control socket's.
    """

    def __init__(
        self, link: Link, shell: WorkerShell, answering: Answering, stdin: Stdin, changed: Callable[[], None]
    ) -> None:
        self._link = link
        self._answering = answering
        self._parts = (shell, answering, stdin, changed)
        self._helpers: dict[str, Helper] = {}
        # No thread begins in the middle of a fork: what it holds would be held for ever in the copy.
        self._making = threading.Lock()

    def names(self) -> list[str]:
        """The subshells that there are."""
        return [name for name in list(self._helpers) if name]

    def current(self) -> str | None:
        """The subshell that the calling code runs in; None for the main shell."""
        thread = threading.current_thread()
        return thread.subshell if isinstance(thread, Helper) and thread.subshell else None

    def begin(self, name: str) -> Helper:
        """Starts the thread of a subshell, if it does not run yet.

        :raises OSError: no descriptors are left.
        :raises RuntimeError: no more threads can be had.
        """
        helper = self._helpers.get(name)
        if helper is None:
            with self._making:
                helper = Helper(name, *self._parts)
                helper.start()
                self._helpers[name] = helper
        return helper

    def end(self, name: str) -> None:
        """Ends the thread of a subshell when it has answered what it has."""
        helper = self._helpers.pop(name, None)
        if helper is not None:
            helper.requests.end()

    def hand(self, name: str, request: context.Request) -> None:
        """Gives a request to a subshell, or a question to the thread that answers them; where there can be no thread,
        it gets an error.
        """
        try:
            helper = self.begin(name)
        except (OSError, RuntimeError) as error:
            contextvars.copy_context().run(self._refuse, request, error)
        else:
            helper.requests.put(request)

    def _refuse(self, request: context.Request, error: Exception) -> None:
        context.enter(request)
        self._answering.fail(request, error)

    def executed(self, request: int) -> context.Request | None:
        """The request of that number, if one of the threads executes it."""
        for helper in list(self._helpers.values()):
            if helper.request is not None and helper.request.id == request:
                return helper.request
        return None

    def interrupt(self, request: int, *, stack: bool) -> None:
        """Interrupts a request that one of the threads executes; `stack`: and says in its cell where that is."""
        for helper in list(self._helpers.values()):
            if helper.executes(request):
                if stack:
                    self._link.send(Kind.WHERE, request, (helper.stack().encode("utf-8", "backslashreplace"),))
                helper.interrupt(request)

    @contextmanager
    def still(self) -> Iterator[bool]:
        """For the time of a fork no question is being answered, nor can one begin; False if one takes too long."""
        with self._making:
            helper = self._helpers.get("")
            still = helper is None or helper.at_work.acquire(timeout=_PATIENCE)
            try:
                yield still
            finally:
                if still and helper is not None:
                    helper.at_work.release()

    def forget(self) -> None:
        """In a copy: the threads are not here."""
        for helper in self._helpers.values():
            helper.forget()
        self._helpers.clear()


def _children(thread: int) -> list[int]:
    """The processes that a thread has started, as far as the system tells."""
    try:
        with open(f"/proc/self/task/{thread}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []
