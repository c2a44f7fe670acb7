"""Questions that nobody answers in time, and what is said instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fakes import Clock, message
from ipymini_supervisor.lanes import ASIDE, Request
from ipymini_supervisor.questions import LONGEST, WITHIN, Questions, nothing
from ipymini_supervisor.router import Action, Reply, Router
from ipymini_supervisor.timers import Timers


class House:
    """`Questions` with a router, while a cell runs."""

    def __init__(self) -> None:
        self.router = Router(ready=True)
        self.timers, self.clock = Timers(), Clock()
        self.replies: list[int] = []
        self.alive = False
        self.worker: Any = self
        self.questions = Questions(self.router, lambda: self.worker, self.timers, self.clock, self.carry_out)
        self.asks("execute_request")

    def carry_out(self, actions: list[Action]) -> None:
        self.replies += [action.request.id for action in actions if isinstance(action, Reply)]

    def ping(self, done: Callable[[bool], None]) -> None:
        """As the worker's."""
        done(self.alive)

    def asks(self, msg_type: str) -> Request:
        request = self.router.request("shell", message(msg_type, {"code": ""}))
        self.router.accept(request)
        self.questions.watch(request)
        return request

    def waits(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.timers.run(self.clock())


def test_question_is_answered_without_the_worker_when_its_time_is_over() -> None:
    house = House()
    first = house.asks("complete_request")
    house.waits(WITHIN / 2)
    second = house.asks("inspect_request")
    house.waits(WITHIN / 2)
    assert house.replies == [first.id]
    house.waits(WITHIN / 2)
    assert house.replies == [first.id, second.id]


@pytest.mark.parametrize("there", [True, False])
def test_question_that_takes_long_is_waited_for_as_long_as_python_runs_or_another_worker_comes(there: bool) -> None:
    house = House()
    house.alive = True
    if not there:
        house.router.ready = house.alive = False
    question = house.asks("complete_request")
    while house.clock.time < 1000.0 + LONGEST - WITHIN:
        house.waits(WITHIN)
        assert house.replies == []
    house.waits(WITHIN)
    house.waits(WITHIN)
    assert house.replies == [question.id]


def test_question_that_was_answered_is_left_alone_and_so_is_every_other_request() -> None:
    house = House()
    question = house.asks("complete_request")
    assert question.lane == ASIDE
    house.router.worker_replied(question.id, b"{}")
    house.asks("comm_msg")
    house.waits(2 * WITHIN)
    assert house.replies == []


@pytest.mark.parametrize(
    ("content", "at"),
    [({"code": "abc"}, 3), ({"code": "abc", "cursor_pos": 1}, 1), ({"code": "é😀"}, 2), ({}, 0), ({"code": 1}, 0)],
)
def test_completion_that_cannot_be_made_is_empty_and_stands_at_the_cursor(content: dict[str, Any], at: int) -> None:
    reply = nothing(Router().request("shell", message("complete_request", content)))
    assert (reply["matches"], reply["cursor_start"], reply["cursor_end"]) == ([], at, at)
