"""What each rung of the ladder does to the worker, and says in the cell."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from fakes import KEY, Clock, Received, Sockets, message
from ipymini_supervisor import interrupts as module
from ipymini_supervisor import tree
from ipymini_supervisor.frontends import Frontends
from ipymini_supervisor.interrupts import HEARD, HINT_AFTER, LOOK_WITHIN, Interrupts
from ipymini_supervisor.ladder import GAP
from ipymini_supervisor.outbox import Outbox
from ipymini_supervisor.router import Action, Interrupt, Request, Router
from ipymini_supervisor.session import Session
from ipymini_supervisor.settings import Settings
from ipymini_supervisor.timers import Timers
from ipymini_worker.wire import NUDGE_AFTER, NUDGE_SIGNAL, Kind

DUMP = 'Current thread 0x1 (most recent call first):\n  File "<ipython-input-7-0123456789ab>", line 3 in <module>\n'
GROUP = "the worker's process group"


class Worker:
    """Keeps what is done to it."""

    pid = 1234
    buried = False

    def __init__(self) -> None:
        self.signals: list[tuple[str, int]] = []
        self.told: list[tuple[Kind, int]] = []
        self.reasons: list[str] = []
        self.dumps: list[Callable[[str], None]] = []

    def signal(self, number: int) -> None:
        """To the group."""
        self.signals.append(("group", number))

    def signal_alone(self, number: int) -> None:
        """To nobody else."""
        self.signals.append(("alone", number))

    def send_control(self, kind: Kind, request: int = 0) -> None:
        """As in the real one."""
        self.told.append((kind, request))

    def condemn(self, reason: str) -> None:
        """As in the real one."""
        self.reasons.append(reason)

    def dump(self, done: Callable[[str], None]) -> None:
        """The test answers."""
        self.dumps.append(done)


class House:
    """`Interrupts` with fakes around it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kill_after: float | None = None) -> None:
        self.clock = Clock()
        self.timers = Timers()
        self.sockets = Sockets()
        self.outbox = Outbox()
        self.outbox.subscribers = 1
        self.router = Router(ready=True)
        self.worker: Any = Worker()
        self.newborn: list[tuple[set[int], float]] = []
        self.born: set[int] = set()
        self.killed: list[tuple[int, int]] = []
        self.frontends = Frontends(Session(KEY), self.sockets, self.outbox, self.clock)  # type: ignore[arg-type]
        settings = Settings(interrupt_kill_after=kill_after)
        self.interrupts = Interrupts(self.router, self.frontends, self.timers, self.clock, settings, self.carry_out)
        monkeypatch.setattr(tree, "newborn", lambda group, since: set(self.born))
        monkeypatch.setattr(os, "kill", self._kill)

    def _kill(self, pid: int, number: int) -> None:
        self.killed.append((pid, number))
        if pid == 404:
            raise ProcessLookupError
        if pid == 403:
            raise PermissionError

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            assert isinstance(action, Interrupt)
            self.interrupts.signal(action.request, self.worker)

    def runs(self) -> Request:
        """A cell executes."""
        request = self.router.request("shell", message("execute_request", {"code": ""}))
        self.router.accept(request)
        self.router.worker_started(request.id, 7)
        return request

    def asks(self) -> tuple[int, str | None]:
        """Somebody asks for an interrupt: the rung, and what was signalled."""
        self.carry_out(self.interrupts.ask(self.worker))
        reply = self.interrupts.reply()
        assert reply["status"] == "ok"
        assert reply["target"] == (GROUP if reply["signal"] else None)
        return reply["rung"], reply["signal"]

    def waits(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.timers.run(self.clock())

    def said(self) -> list[tuple[str, str]]:
        """What the cell has been told: the stream and the text."""
        self.frontends.flush_text()
        self.outbox.pump(lambda parts: self.sockets.send("iopub", parts), 0.0)
        found, self.sockets.sent = [Received(parts) for _, parts in self.sockets.sent], []
        assert all(m.parent["msg_id"] == "asked" for m in found)
        return [(m.content["name"], m.content["text"]) for m in found]


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    return House(monkeypatch)


def test_interrupt_of_nothing_signals_nobody(house: House) -> None:
    assert house.asks() == (0, None)
    house.worker = None
    assert house.asks() == (0, None)
    assert house.timers.timeout(0) is None


def test_first_interrupt_is_sigint_and_the_worker_is_told_which_request_is_meant(house: House) -> None:
    request = house.runs()
    assert house.asks() == (1, "SIGINT")
    assert house.worker.told == [(Kind.INTERRUPT, request.id)]
    assert house.worker.signals == [("group", signal.SIGINT)]


def test_double_click_is_one_interrupt(house: House) -> None:
    house.runs()
    house.asks()
    house.clock.advance(GAP / 2)
    assert house.asks() == (1, "SIGINT")
    assert house.worker.signals == [("group", signal.SIGINT)]


def test_cell_that_goes_on_is_nudged_and_one_that_has_ended_is_not(house: House) -> None:
    request = house.runs()
    house.asks()
    house.waits(NUDGE_AFTER[0])
    assert house.worker.signals[1:] == [("alone", NUDGE_SIGNAL)]
    house.router.worker_replied(request.id, b"{}")
    house.runs()
    house.waits(10.0)
    assert len(house.worker.signals) == 2


def test_program_that_was_about_to_be_started_gets_its_sigint_once(house: House) -> None:
    house.runs()
    house.asks()
    house.born = {77, 403, 404}
    house.waits(NUDGE_AFTER[0])
    house.born = {77, 78}
    house.waits(NUDGE_AFTER[-1])
    assert sorted(house.killed) == [(pid, signal.SIGINT) for pid in (77, 78, 403, 404)]


def test_cell_that_goes_on_is_told_what_a_second_interrupt_does(house: House) -> None:
    house.runs()
    house.asks()
    house.waits(HINT_AFTER * 0.9)
    assert house.said() == []
    house.waits(HINT_AFTER * 0.2)
    house.waits(HEARD)
    ((name, text),) = house.said()
    assert name == "stderr"
    assert text == "SIGINT was sent, and the cell still runs. Interrupt again to see where it is stuck.\n"


def test_cell_that_has_ended_is_told_nothing(house: House) -> None:
    request = house.runs()
    house.asks()
    house.router.worker_replied(request.id, b"{}")
    house.waits(HINT_AFTER)
    house.waits(HEARD)
    assert house.said() == []


def test_cell_that_ended_while_we_stood_still_is_told_nothing(house: House) -> None:
    request = house.runs()
    house.asks()
    house.waits(10.0)
    house.router.worker_replied(request.id, b"{}")
    house.waits(HEARD)
    assert house.said() == []


def test_nudges_do_not_come_at_once_when_we_stood_still(house: House) -> None:
    house.runs()
    house.asks()
    for number in range(1, len(NUDGE_AFTER) + 1):
        house.waits(10.0)
        assert house.worker.signals.count(("alone", NUDGE_SIGNAL)) == number
    house.waits(10.0)
    assert house.worker.signals.count(("alone", NUDGE_SIGNAL)) == len(NUDGE_AFTER)


def test_second_interrupt_shows_the_stack_and_sends_sigint_again(house: House) -> None:
    house.runs()
    house.asks()
    house.clock.advance(GAP)
    assert house.asks() == (2, "SIGINT")
    assert house.worker.signals.count(("group", signal.SIGINT)) == 1  # first the look: then it may be somewhere else
    house.worker.dumps.pop()(DUMP)
    assert house.worker.signals.count(("group", signal.SIGINT)) == 2
    ((_, text),) = house.said()
    lines = text.splitlines()
    assert lines[0] == "The cell still runs after an interrupt."
    assert "Cell In[7], line 3" in text
    assert lines[-1] == "SIGINT was sent again. Interrupt once more to kill the worker."
    house.waits(HINT_AFTER)
    assert house.said() == []


def test_sigint_does_not_wait_for_a_look_that_takes_long(house: House) -> None:
    house.runs()
    house.asks()
    house.clock.advance(GAP)
    house.asks()
    house.waits(LOOK_WITHIN)
    assert house.worker.signals.count(("group", signal.SIGINT)) == 2
    house.worker.dumps.pop()(DUMP)
    assert house.worker.signals.count(("group", signal.SIGINT)) == 2
    assert "Cell In[7], line 3" in house.said()[0][1]


def test_where_a_worker_was_that_has_died_is_for_the_obituary_to_say(house: House) -> None:
    house.runs()
    house.asks()
    house.clock.advance(GAP)
    house.asks()
    house.worker.buried = True
    house.worker.dumps.pop()(DUMP)
    assert house.said() == []
    assert house.worker.signals.count(("group", signal.SIGINT)) == 1


def test_worker_that_does_not_tell_where_it_is_may_be_stopped(house: House) -> None:
    house.runs()
    house.asks()
    house.clock.advance(GAP)
    house.asks()
    house.worker.dumps.pop()("")
    assert "Its Python stack cannot be had; it may be stopped." in house.said()[0][1]


def test_stack_that_comes_after_the_cell_has_ended_is_not_shown(house: House) -> None:
    request = house.runs()
    house.asks()
    house.clock.advance(GAP)
    house.asks()
    house.router.worker_replied(request.id, b"{}")
    house.worker.dumps.pop()(DUMP)
    assert house.said() == []


def test_third_interrupt_kills_the_worker_and_a_fourth_does_nothing(house: House) -> None:
    house.runs()
    rungs = []
    for _ in range(4):
        rungs.append(house.asks())
        house.clock.advance(GAP)
    assert rungs == [(1, "SIGINT"), (2, "SIGINT"), (3, "SIGKILL"), (3, "SIGKILL")]
    assert house.worker.reasons == ["was killed after three interrupts"]


def test_every_cell_begins_at_the_bottom(house: House) -> None:
    request = house.runs()
    house.asks()
    house.clock.advance(GAP)
    house.asks()
    house.router.worker_replied(request.id, b"{}")
    house.clock.advance(GAP)
    assert house.asks() == (0, None)
    house.runs()
    assert house.asks() == (1, "SIGINT")


def test_ladder_climbs_by_itself_when_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(monkeypatch, kill_after=10.0)
    house.runs()
    house.asks()
    house.waits(5.0)
    assert len(house.worker.dumps) == 1
    house.waits(5.0)
    assert house.worker.reasons == ["was killed after three interrupts"]


def test_ladder_does_not_climb_after_the_cell_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(monkeypatch, kill_after=10.0)
    request = house.runs()
    house.asks()
    house.router.worker_replied(request.id, b"{}")
    house.runs()
    house.waits(100.0)
    assert (house.worker.dumps, house.worker.reasons) == ([], [])


def test_request_that_has_not_begun_is_signalled_when_it_has(house: House) -> None:
    request = house.router.request("shell", message("execute_request", {"code": ""}))
    house.router.accept(request)
    assert house.asks() == (1, "SIGINT")
    assert house.worker.signals == []
    house.carry_out(house.router.worker_started(request.id, 7))
    assert house.worker.signals == [("group", signal.SIGINT)]


def test_elsewhere_nothing_is_known_of_when_a_process_began(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    since: list[float] = []
    monkeypatch.setattr(module.sys, "platform", "darwin")
    monkeypatch.setattr(tree, "newborn", lambda group, at: since.append(at) or set())
    house.runs()
    house.asks()
    for after in NUDGE_AFTER:
        house.waits(after)
    assert since == [0.0] * len(NUDGE_AFTER)
