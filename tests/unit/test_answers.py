"""What the supervisor answers by itself, whatever the worker does."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection
from typing import Any

import msgspec
import pytest

from fakes import Clock, message
from ipymini_supervisor import usage
from ipymini_supervisor.answers import Answers
from ipymini_supervisor.connection import Connection
from ipymini_supervisor.lanes import Request
from ipymini_supervisor.lifecycle import State
from ipymini_supervisor.rollup import Memory
from ipymini_supervisor.router import Router

DUMP = (
    'Thread 0x2 (most recent call first):\n  File "/lib/threading.py", line 5 in wait\n\n'
    'Thread 0x1 (most recent call first):\n  File "<ipython-input-7-0123456789ab>", line 3 in <module>\n'
)


class Rollups:
    """Says what the test wants."""

    def __init__(self) -> None:
        self.memory: Memory | None = Memory(500, 100)
        self.asked: list[set[int]] = []

    def ask(self, pids: Collection[int], done: Callable[[Memory | None], None]) -> None:
        """As `ipymini_supervisor.rollup.Rollups.ask`."""
        self.asked.append(set(pids))
        done(self.memory)


class Worker:
    """One that answers `ping` with `well`, and `dump` with a dump."""

    pid = 1234

    def __init__(self) -> None:
        self.well = True
        self.pings = 0
        self.dumps = 0

    def ping(self, done: Callable[[bool], None]) -> None:
        """At once."""
        self.pings += 1
        done(self.well)

    def dump(self, done: Callable[[str], None], *, deaf: bool) -> None:
        """At once."""
        assert deaf is not self.well
        self.dumps += 1
        done(DUMP)


class House:
    """`Answers` with fakes around it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.router = Router(ready=True)
        self.clock = Clock()
        self.rollups = Rollups()
        self.worker: Any = Worker()
        self.stopped = False
        connection = Connection("tcp", "127.0.0.1", 1, 2, 3, 4, 5, b"key", "hmac-sha256", "", "/x.json")
        self.answers = Answers(connection, self.router, self.rollups, sys.executable, self.clock)  # type: ignore[arg-type]
        monkeypatch.setattr(usage, "cpu_and_memory", lambda pid: (1.5, 1000, self.stopped))

    def request(self, msg_type: str, content: dict[str, Any] | None = None) -> Request:
        return self.router.request("control", message(msg_type, content))

    def runs(self) -> None:
        """A cell executes."""
        request = self.router.request("shell", message("execute_request", {"code": ""}, msg_id="cell"))
        self.router.accept(request)
        self.router.worker_started(request.id, 7)
        self.answers.started()

    def state(self, state: State = State.RUNNING, **content: Any) -> dict[str, Any]:
        """The answer to worker_state_request."""
        told: list[dict[str, Any]] = []
        self.answers.state(self.request("worker_state_request", content), state, self.worker, told.append)
        (answer,) = told
        json.dumps(answer)
        return answer


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    return House(monkeypatch)


def test_kernel_info_knows_its_versions_before_the_worker_tells_them(house: House) -> None:
    request = house.request("kernel_info_request")
    info = house.answers.content(request)
    assert info["language_info"]["version"] == ".".join(map(str, sys.version_info[:3]))
    house.answers.learn("3.99.1", "99.1")
    info = house.answers.content(request)
    assert (info["language_info"]["version"], "99.1" in info["banner"]) == ("3.99.1", True)


def test_worker_that_does_not_tell_its_python_has_the_one_that_was_guessed(house: House) -> None:
    house.answers.learn("", "99.1")
    info = house.answers.content(house.request("kernel_info_request"))
    assert info["language_info"]["version"] == ".".join(map(str, sys.version_info[:3]))


def test_ports_have_both_of_their_names(house: House) -> None:
    content = house.answers.content(house.request("connect_request"))
    for name in ("shell", "iopub", "stdin", "control", "hb"):
        assert content[name] == content[f"{name}_port"] > 0
    assert len({content[name] for name in ("shell", "iopub", "stdin", "control", "hb")}) == 5


def test_request_that_nobody_knows_is_an_error_with_its_name(house: House) -> None:
    content = house.answers.content(house.request("make_coffee_request" + "x" * 1000))
    assert (content["status"], content["ename"]) == ("error", "UnknownRequest")
    assert "make_coffee_request" in content["evalue"]
    assert len(content["evalue"]) < 200


def test_usage_counts_shared_pages_once_and_does_not_look_at_copies_one_by_one(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[set[int], int | None]] = []
    monkeypatch.setattr(usage, "usage", lambda pids, pss: asked.append((pids, pss)) or {"status": "ok"})
    told: list[dict[str, Any]] = []
    house.answers.usage({1, 2, 3}, {3}, told.append)
    house.rollups.memory = None
    house.answers.usage({1, 2, 3}, set(), told.append)
    assert house.rollups.asked == [{1, 2, 3}] * 2
    assert asked == [({1, 2}, 500), ({1, 2, 3}, None)]
    assert told == [{"status": "ok"}] * 2


def test_without_a_worker_it_is_dead(house: House) -> None:
    house.worker = None
    assert house.state(State.BACKOFF) == {"status": "ok", "state": "dead", "cell": None, "seconds": None, "pid": None}


def test_worker_with_nothing_to_do_is_idle(house: House) -> None:
    assert house.state() == {
        "status": "ok",
        "state": "idle",
        "cell": None,
        "seconds": None,
        "pid": 1234,
        "cpu_seconds": 1.5,
        "memory_bytes": 1000,
    }


def test_worker_that_executes_says_which_cell_and_for_how_long(house: House) -> None:
    house.runs()
    house.clock.advance(2.5)
    answer = house.state()
    assert (answer["state"], answer["cell"], answer["msg_id"], answer["seconds"]) == ("running", 7, "cell", 2.5)
    assert "stack" not in answer


def test_worker_that_does_not_answer_is_unresponsive(house: House) -> None:
    house.runs()
    house.worker.well = False
    assert house.state()["state"] == "unresponsive"


@pytest.mark.parametrize("state", [State.STARTING, State.RESUMING])
def test_worker_that_is_not_there_yet_is_starting_and_is_not_asked(house: House, state: State) -> None:
    answer = house.state(state, stack=True)
    assert answer["state"] == "starting"
    assert (house.worker.pings, house.worker.dumps) == (0, 0)


def test_stopped_worker_is_stopped_and_is_not_asked(house: House) -> None:
    house.runs()
    house.stopped = True
    assert house.state(stack=True)["state"] == "stopped"
    assert (house.worker.pings, house.worker.dumps) == (0, 0)


def test_stack_is_that_of_the_main_thread_for_those_who_want_it(house: House) -> None:
    house.runs()
    assert house.state(stack=True)["stack"] == ["Cell In[7], line 3"]


@pytest.mark.parametrize("said", [False, None, 1, "true", [True]])
def test_who_does_not_ask_for_the_stack_does_not_get_it(house: House, said: object) -> None:
    assert "stack" not in house.state(stack=said)
    assert house.worker.dumps == 0


@pytest.mark.parametrize("raw", [b"", b"[]", b"\xff", b"{", b"[" * 100_000])
def test_content_that_makes_no_sense_asks_for_nothing(house: House, raw: bytes) -> None:
    request = house.request("worker_state_request")
    request.message = msgspec.structs.replace(request.message, content=raw)
    told: list[dict[str, Any]] = []
    house.answers.state(request, State.RUNNING, house.worker, told.append)
    assert told[0]["state"] == "idle"
    assert house.worker.dumps == 0
