"""Requests that come to a cell while it runs: comm messages while it awaits, or when it asks for them
(`kernel.do_one_iteration()`), and all others once it has called `unlock`.

The supervisor sends them when it is told that they may come. Hazards: while a loop runs for the cell, the loop handles
them, and nobody else may read the link; an iteration in a thread must be over before the cell is.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ipymini_worker import context
from ipymini_worker.answering import Answering
from ipymini_worker.link import Link, LinkClosed
from ipymini_worker.loop import Loop
from ipymini_worker.wire import OVER, UNLOCKED, Frame, Kind


class Joining:
    """Reads the link for the main thread's cell, while that runs. An iteration within an iteration does nothing."""

    def __init__(self, link: Link, loop: Loop, answering: Answering) -> None:
        self._link = link
        self._loop = loop
        self._answering = answering
        self._pid = os.getpid()
        self._iterating = threading.RLock()
        self._inside = False  # a request is being answered within the cell
        self._looped = False  # the loop reads the link
        self._active: context.Request | None = None
        loop.on_enter, loop.on_leave = self._enter, self._leave

    def begin(self, request: context.Request) -> None:
        """From now on others may come to `request`. Called in the main thread, as `end`."""
        if self._pid != os.getpid():  # a copy, made perhaps while a thread that it does not have held the lock
            self._iterating, self._pid = threading.RLock(), os.getpid()
        self._active = request

    def end(self) -> None:
        """No more of that; waits for an iteration in a thread."""
        while self._iterating._is_owned():  # type: ignore[attr-defined]  # an interrupt has left it behind
            self._iterating.release()
        with self._iterating:
            self._active, self._inside = None, False

    # -- while a loop runs for the cell

    def _enter(self) -> None:
        request = self._active
        if request is None or request.run.over or self._loop.current is None:
            return
        self._link.send(Kind.JOINED, request.id)
        self._loop.current.add_reader(self._link.fileno(), self._arrived)
        self._looped = True

    def _leave(self) -> None:
        self._looped = False
        if self._loop.current is not None and not self._loop.current.is_closed():
            self._loop.current.remove_reader(self._link.fileno())

    def _arrived(self) -> None:
        frame = self._link.receive()
        while frame.kind is Kind.REQUEST:
            self._visit(context.Request(frame))
            if not self._link.waiting:
                return
            frame = self._link.receive()
        self._link.give_back([frame])  # STOP is for whoever comes after the cell
        self._leave()

    def _visit(self, request: context.Request) -> None:
        here = contextvars.copy_context()
        here.run(context.enter, request)
        if _is_cell(request):
            task = self._loop.add(self._answering.answer_inside(request), here)
            task.add_done_callback(lambda _: self._see_to_its_end(request), context=here)
            return
        try:
            with self._answering.gate.closed(deliver=True), self._loop.visited():
                here.run(self._answering.answer_visitor, request)
        except KeyboardInterrupt:  # the loop's handler has seen to the cell
            pass

    def _see_to_its_end(self, request: context.Request) -> None:
        """An interrupt may have come between any two lines of what has answered `request`."""
        if not request.over:
            with suppress(LinkClosed):
                self._answering.fail(request, KeyboardInterrupt())

    # -- while no loop does

    def one(self) -> None:
        """Answers one request that waits, if there is one and something executes that it can come to.

        :raises KeyboardInterrupt: the cell is interrupted; the request has its reply.
        """
        if self._active is None or self._looped or not self._iterating.acquire(blocking=False):
            return
        try:
            if self._active is not None and not self._inside:
                self._inside = True
                try:
                    self._answer_one(self._active)
                finally:
                    self._inside = False
        finally:
            self._iterating.release()

    def _answer_one(self, active: context.Request) -> None:
        gate = self._answering.gate  # of the thread that asks, which may be a subshell's
        # Closed for all of it: whatever is asked for here has to come to its end, also when an interrupt comes.
        with gate.closed(deliver=True):
            frames = self._waiting(active)
            asks = (n for n, f in enumerate(frames) if f.kind is Kind.REQUEST and not _is_cell(context.Request(f)))
            # When the cell is over before the request has begun, that waits for its end.
            at = None if gate.pending else next(asks, None)
            frame = None if at is None else frames.pop(at)
            self._link.give_back(frames)
            if frame is not None:
                contextvars.copy_context().run(self._answer_within, context.Request(frame))

    def _answer_within(self, request: context.Request) -> None:
        context.enter(request)
        self._answering.answer_visitor(request)

    def _waiting(self, active: context.Request) -> list[Frame]:
        self._link.send(Kind.MORE, active.id)
        frames: list[Frame] = []
        while (frame := self._link.receive()).kind is not Kind.NOTHING:
            frames.append(frame)
        return frames

    # -- what a cell may ask for

    def unlock(self) -> bool:
        """Lets everything come to the cell that the calling code belongs to; returns False outside of a cell."""
        request = context.current()
        if not executes(request):
            return False
        self._link.send(Kind.JOINED, request.id, (), UNLOCKED)
        return True

    @contextmanager
    def detour(self) -> Iterator[str]:
        """While the body runs, the executes of the client that asked for the cell go to a subshell; gives its name.

        :raises RuntimeError: used outside of a cell.
        """
        request = context.current()
        if not executes(request):
            raise RuntimeError("subshell() can be used inside of a cell only.")
        name = os.urandom(16).hex()
        self._link.send(Kind.DETOUR, request.id, (name.encode(),))
        try:
            yield name
        finally:
            self._link.send(Kind.DETOUR, request.id, (name.encode(),), OVER)


def executes(request: context.Request) -> bool:
    """Whether `request` is a cell that has begun and is not over."""
    return bool(request.id) and not request.run.over and _is_cell(request)


def _is_cell(request: context.Request) -> bool:
    return request.header.get("msg_type") == "execute_request"
