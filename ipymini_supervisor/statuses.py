"""Busy and idle: each request gets both once, and the last one that a frontend sees is true. Pure.

Frontends show the last status that they have seen, whoever it belongs to. So of all requests that run one has had its
busy; the idle of every other one comes before its busy, and when the one that had it is over, the next one gets it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ipymini_supervisor.lanes import Request


class Status(msgspec.Struct, frozen=True):
    """Publish a status for a request."""

    request: Request
    state: Literal["busy", "idle"]


class Statuses:
    """What has been published of the requests that run."""

    def __init__(self) -> None:
        self._announced: Request | None = None  # has had its busy, and not its idle
        self._unannounced: list[Request] = []  # are owed both

    def begun(self, request: Request) -> list[Status]:
        """A request runs: what is to be published now."""
        if self._announced is not None:
            self._unannounced.append(request)
            return []
        self._announced = request
        return [Status(request, "busy")]

    def over(self, request: Request) -> list[Status]:
        """It runs no longer: what is to be published now."""
        if request is not self._announced:
            self._unannounced.remove(request)
            return [Status(request, "idle"), Status(request, "busy")]
        self._announced = self._unannounced.pop(0) if self._unannounced else None
        idle = Status(request, "idle")
        return [idle] if self._announced is None else [idle, Status(self._announced, "busy")]
