"""The lanes that requests queue up in: one for each shell, and one for questions. Pure data."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec

from ipymini_supervisor.session import Message

Content = dict[str, Any]

#: The names of the lanes that no frontend has made; those of subshells are unlike them.
MAIN, ASIDE = "", "aside"
#: Message types without a reply.
SILENT = frozenset({"comm_open", "comm_msg", "comm_close"})


class Request(msgspec.Struct, eq=False):
    """A request that was accepted."""

    id: int
    channel: str
    message: Message
    lane: str = MAIN
    queued: str = ""  #: when it came, ISO 8601
    started: str = ""  #: when it was handed to the worker, ISO 8601
    executing: bool = False  #: the worker has said STARTED
    cell: int = 0  #: the prompt number that it executes under
    interrupted: bool = False  #: an interrupt was aimed at it
    again: bool = False  #: a worker died before it had begun with it
    stop_on_error: bool = True
    joined: bool = False  #: it awaits: comm messages may come to it
    unlocked: bool = False  #: so may everything else
    inside: bool = False  #: it has come to a cell that awaits
    abandoned: bool = False  #: it was answered without the worker, which has it all the same
    doomed: bool = False  #: it is of a session that ends at somebody's wish: no other worker gets it
    detour: str = ""  #: the subshell to which it leads the executes of its own session

    @property
    def type(self) -> str:
        """The Jupyter message type."""
        return self.message.header.msg_type

    @property
    def guilty(self) -> bool:
        """Whether no other worker gets it when the one that has it is gone."""
        return self.executing or self.interrupted or self.again or self.doomed


class Lane(msgspec.Struct, eq=False):
    """A queue, and what of it the worker has been handed."""

    name: str
    queue: deque[Request] = msgspec.field(default_factory=deque)
    active: list[Request] = msgspec.field(default_factory=list)
    aborting_until: float = 0.0  #: executes that arrive before are aborted

    @property
    def first(self) -> Request | None:
        """What it executes, rather than what has come to that."""
        return next((r for r in self.active if not r.inside), self.active[0] if self.active else None)

    @property
    def held(self) -> bool:
        """Whether the next request has to wait for an active one."""
        return any(not (request.unlocked or request.inside) for request in self.active)

    @property
    def joined(self) -> bool:
        """Whether comm messages may come to what it executes."""
        return any(request.joined for request in self.active)

    @property
    def over(self) -> bool:
        """Whether there is nothing in it."""
        return not self.active and not self.queue


class Lanes:
    """All of them. Iteration begins with the main one."""

    def __init__(self) -> None:
        self.main = Lane(MAIN)
        self.aside = Lane(ASIDE)
        self.subshells: dict[str, Lane] = {}
        self.detours: dict[str, Lane] = {}  #: by the session of a client, for as long as a cell of it says so
        self._leaving: list[Lane] = []  #: take no more requests

    def __iter__(self) -> Iterator[Lane]:
        yield from (self.main, *self.subshells.values(), *self._leaving, self.aside)

    def add(self, name: str) -> None:
        """A lane for a new subshell."""
        self.subshells[name] = Lane(name)

    def of(self, request: Request) -> Lane:
        """The lane that has handed `request` to the worker.

        :raises LookupError: none has.
        """
        for lane in self:
            if request in lane.active:
                return lane
        raise LookupError(f"request {request.id} is not active")

    def find(self, request_id: int) -> Request:
        """The active request with a number.

        :raises LookupError: there is none.
        """
        for lane in self:
            for request in lane.active:
                if request.id == request_id:
                    return request
        raise LookupError(f"request {request_id} is not active")

    def leave(self, name: str) -> Lane:
        """The lane of a subshell takes no more requests; `forget` it when it is over.

        :raises KeyError: there is none of that name.
        """
        lane = self.subshells.pop(name)
        self.detours = {session: other for session, other in self.detours.items() if other is not lane}
        self._leaving.append(lane)
        return lane

    def forget(self, lane: Lane) -> bool:
        """Whether a lane that was to leave is over now, and gone."""
        if lane not in self._leaving or not lane.over:
            return False
        self._leaving.remove(lane)
        return True
