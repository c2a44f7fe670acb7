"""How actions are carried out: the worker goes on first, and no request that fails there costs another one its reply."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fakes import message
from ipymini_supervisor.carrying import Carrier
from ipymini_supervisor.lanes import Request
from ipymini_supervisor.ledger import KEY
from ipymini_supervisor.router import Forward, Interrupt, Nothing, Reply
from ipymini_supervisor.statuses import Status
from ipymini_worker.wire import Kind


class House:
    """Everything that actions are carried out with, which writes down what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.broken = False
        parts: dict[str, Any] = {
            "router": SimpleNamespace(running=list),
            "frontends": SimpleNamespace(
                status=lambda state, request: self.said.append((state, request.id)),
                reply=lambda request, content, status, buffers, more: self.said.append(("reply", request.id, more)),
                remember=lambda request: None,
            ),
            "ledger": SimpleNamespace(
                begin=lambda request: self.said.append(("begins", request.id)),
                end=lambda request: self.said.append(("ends", request.id)) or {"of": request.id},
            ),
            "recorder": SimpleNamespace(reply=lambda *_: None),
            "subshells": None,
            "debugger": SimpleNamespace(release=lambda request, then: then()),
            "watch": SimpleNamespace(begin=lambda: None),
        }
        self.carrier = Carrier(**parts, worker=lambda: self, signal=self._signal)  # type: ignore[arg-type,return-value]

    def _signal(self, request: Request) -> None:
        self.said.append(("interrupt", request.id))

    def send(self, kind: Kind, number: int = 0, parts: Any = ()) -> None:
        """As the worker's."""
        if self.broken:
            raise ValueError("too large")
        self.said.append((kind.name, number))


def cell(number: int) -> Request:
    return Request(number, "shell", message("execute_request", {"code": ""}))


def test_worker_goes_on_before_frontends_are_told() -> None:
    house, first, second = House(), cell(1), cell(2)
    house.carrier.carry_out(
        [
            Reply(first, b"{}"),
            Status(first, "idle"),
            Status(second, "busy"),
            Forward(second),
            Interrupt(second),
            Nothing(),
        ]
    )
    assert house.said == [
        ("ends", 1),
        ("begins", 2),
        ("REQUEST", 2),
        ("reply", 1, {KEY: {"of": 1}}),
        ("idle", 1),
        ("busy", 2),
        ("interrupt", 2),
        ("NOTHING", 0),
    ]


def test_request_that_cannot_be_handed_on_costs_no_other_one_its_reply() -> None:
    house, first, second = House(), cell(1), cell(2)
    house.broken = True
    with pytest.raises(ValueError, match="too large"):
        house.carrier.carry_out([Reply(first, b"{}"), Status(first, "idle"), Forward(second), Status(second, "busy")])
    assert house.said[2:] == [("reply", 1, {KEY: {"of": 1}}), ("idle", 1), ("busy", 2)]
