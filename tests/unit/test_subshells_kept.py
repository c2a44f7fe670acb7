"""Subshells in the supervisor: what is answered, what the worker is told, and what it may say."""

from __future__ import annotations

from typing import Any

import pytest

from fakes import message
from ipymini_supervisor.lanes import Request
from ipymini_supervisor.router import Action, End, Router
from ipymini_supervisor.subshells import Subshells
from ipymini_worker.wire import OVER, Kind, WireError


class Worker:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def send_control(self, kind: Kind, request: int, parts: tuple[bytes, ...], flags: int = 0) -> None:
        """As in the real one."""
        assert (kind, request) == (Kind.SUBSHELL, 0)
        self.told.append((parts[0].decode(), flags))


class House:
    """`Subshells` with a router and a worker."""

    def __init__(self) -> None:
        self.router = Router(ready=True)
        self.worker: Any = Worker()
        self.subshells = Subshells(self.router, lambda: self.worker, self.carry_out)

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, End):
                self.subshells.ended(action)

    def asks(self, kind: str, content: object = None) -> dict[str, Any]:
        request = self.router.request("control", message(f"{kind}_subshell_request", content))  # type: ignore[arg-type]
        return self.subshells.answer(request)

    def runs(self, session: str = "s") -> Request:
        request = self.router.request("shell", message("execute_request", {"code": ""}, session=session))
        self.router.accept(request)
        self.router.worker_started(request.id, 1)
        return request


@pytest.fixture
def house() -> House:
    return House()


def test_subshell_is_made_listed_and_deleted_and_the_worker_is_told(house: House) -> None:
    name = house.asks("create")["subshell_id"]
    assert house.asks("list") == {"status": "ok", "subshell_id": [name]}
    assert house.asks("delete", {"subshell_id": name}) == {"status": "ok"}
    assert house.asks("list")["subshell_id"] == []
    assert house.worker.told == [(name, 0), (name, OVER)]


def test_names_are_unlike_each_other(house: House) -> None:
    assert len({house.asks("create")["subshell_id"] for _ in range(20)}) == 20


@pytest.mark.parametrize("content", [{}, {"subshell_id": 1}, {"subshell_id": "x" * 1000}, [], None])
def test_subshell_that_there_is_not_cannot_be_deleted(house: House, content: object) -> None:
    reply = house.asks("delete", content)
    assert (reply["status"], reply["ename"]) == ("error", "UnknownSubshell")
    assert len(reply["evalue"]) < 200


def test_next_worker_is_told_which_there_are(house: House) -> None:
    names = [house.asks("create")["subshell_id"] for _ in range(2)]
    house.worker = None
    names.append(house.asks("create")["subshell_id"])
    house.worker = Worker()
    house.subshells.tell_all()
    assert house.worker.told == [(name, 0) for name in names]


def test_cell_leads_its_client_to_a_subshell_until_it_says_otherwise(house: House) -> None:
    request = house.runs()
    house.subshells.detour(request.id, "abc", over=False)
    assert house.router.lanes.detours["s"].name == "abc"
    house.subshells.detour(request.id, "another", over=True)
    assert "abc" in house.router.lanes.subshells
    house.subshells.detour(request.id, "abc", over=True)
    assert house.router.lanes.detours == {}
    house.subshells.detour(request.id, "abc", over=True)
    assert house.worker.told == [("abc", 0), ("abc", OVER)]


def test_second_detour_of_a_cell_ends_the_first(house: House) -> None:
    request = house.runs()
    for name in ("one", "two"):
        house.subshells.detour(request.id, name, over=False)
    assert list(house.router.lanes.subshells) == ["two"]


def test_cell_that_is_over_leads_nobody(house: House) -> None:
    request = house.runs()
    house.subshells.detour(request.id, "abc", over=False)
    house.carry_out(house.router.worker_replied(request.id, b"{}"))
    assert (house.router.lanes.detours, house.worker.told) == ({}, [("abc", 0), ("abc", OVER)])


@pytest.mark.parametrize("name", ["", "x" * 65, "with space", "../x", "aside!", "taken"])
def test_worker_is_not_trusted_with_names(house: House, name: str) -> None:
    request = house.runs()
    house.router.lanes.add("taken")
    with pytest.raises(WireError):
        house.subshells.detour(request.id, name, over=False)
    with pytest.raises(LookupError):
        house.subshells.detour(request.id + 1, "abc", over=False)
