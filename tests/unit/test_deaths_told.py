"""What is said when a worker has died: to whom, when, and what becomes of the request that it was executing."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator

import pytest

from fakes import KEY, Clock, Received, Sockets, message
from forks import Peers
from ipymini_supervisor.deaths import Deaths
from ipymini_supervisor.frontends import Frontends
from ipymini_supervisor.obituary import MIME, Death
from ipymini_supervisor.outbox import Outbox
from ipymini_supervisor.router import Action, Forward, Reply, Request, Router
from ipymini_supervisor.session import Session
from ipymini_supervisor.snapshots import Snapshot
from ipymini_supervisor.statuses import Status

SEGFAULT = Death(-signal.SIGSEGV, cell=7)
EXECUTE = "execute_request"


class House:
    """`Deaths` with a router, frontends and a snapshot."""

    def __init__(self) -> None:
        self.peers = Peers()
        self.sockets = Sockets()
        self.outbox = Outbox()
        self.outbox.subscribers = 1
        self.frontends = Frontends(Session(KEY), self.sockets, self.outbox, Clock())  # type: ignore[arg-type]
        self.router = Router(ready=True)
        self.replies: list[Reply] = []
        self.forwarded: list[int] = []
        self.deaths = Deaths(self.router, self.frontends, Clock(), self._carry_out)

    def _carry_out(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Status(request, state):
                    self.frontends.status(state, request)
                case Reply():
                    self.replies.append(action)
                case Forward(request):
                    self.forwarded.append(request.id)
                case _:
                    raise AssertionError(action)

    def asks(self, msg_type: str = EXECUTE, *, started: bool = False) -> Request:
        """A request; the worker has begun with it if `started`."""
        request = self.router.request("shell", message(msg_type, {"code": ""}, msg_id=f"asked {msg_type}"))
        self._carry_out(self.router.accept(request))
        self.frontends.remember(request)
        if started:
            self._carry_out(self.router.worker_started(request.id, 7))
        self.published()
        return request

    def snapshot(self, cell: int, started: int) -> Snapshot:
        """One from before `cell`; since then `started` cells have begun."""
        made = self.peers.snapshot(cell)
        made.started = started
        return made

    def goes_back(self, cell: int, started: int, *, rolled: bool = False) -> None:
        """The worker dies, and a snapshot becomes the worker."""
        self.router.worker_away()
        snapshot = self.snapshot(cell, started)
        self.deaths.goes_back(snapshot, rolled=rolled)
        snapshot.discard()

    def published(self) -> list[Received]:
        """What has gone out on iopub since the last call."""
        self.frontends.flush_text()
        self.outbox.pump(lambda parts: self.sockets.send("iopub", parts), 0.0)
        found, self.sockets.sent = [Received(parts) for _, parts in self.sockets.sent], []
        return found

    def texts(self) -> list[tuple[str, str]]:
        """The text that has gone out: name of the stream, text."""
        return [(m.content["name"], m.content["text"]) for m in self.published() if m.type == "stream"]


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.peers.close()


def test_cell_gets_the_error_and_so_does_everybody_who_watches(house: House) -> None:
    request = house.asks(started=True)
    house.deaths.keep(SEGFAULT)
    assert house.published() == []
    house.deaths.tell()
    error, idle = house.published()
    assert (error.type, idle.type) == ("error", "status")
    assert error.parent["msg_id"] == idle.parent["msg_id"] == request.message.header.msg_id
    assert error.content["evalue"] == "The worker died of SIGSEGV (segmentation fault) in cell [7]."
    assert error.metadata[MIME]["signal"] == "SIGSEGV"
    assert error.metadata[MIME]["restored"] is None
    (reply,) = house.replies
    assert isinstance(reply.content, dict)
    assert (reply.status, reply.content["status"], reply.content["execution_count"]) == ("error", "error", 7)
    assert {key: reply.content[key] for key in error.content} == error.content


def test_details_follow_the_error_as_html_alone(house: House) -> None:
    request = house.asks(started=True)
    house.deaths.keep(SEGFAULT._replace(stderr="words\n" * 20))
    house.deaths.tell()
    error, folded, _idle = house.published()
    assert (error.type, folded.type) == ("error", "display_data")
    assert folded.parent["msg_id"] == request.message.header.msg_id
    assert list(folded.content["data"]) == ["text/html"]


def test_death_is_told_once(house: House) -> None:
    house.asks(started=True)
    house.deaths.keep(SEGFAULT)
    house.deaths.tell()
    house.published()
    house.deaths.tell()
    house.deaths.tell(["1 thread did not survive: x."])
    assert (house.published(), len(house.replies)) == ([], 1)


def test_nothing_is_told_when_nobody_died(house: House) -> None:
    house.asks(started=True)
    house.deaths.tell()
    assert (house.published(), house.replies) == ([], [])
    assert house.router.active is not None


def test_of_several_deaths_on_the_way_the_first_is_told(house: House) -> None:
    house.asks(started=True)
    house.deaths.keep(SEGFAULT)
    house.deaths.keep(Death(-signal.SIGKILL, "was killed, because it did not come back from its snapshot"))
    house.deaths.tell()
    assert house.published()[0].metadata[MIME]["signal"] == "SIGSEGV"


def test_idle_worker_that_died_is_one_line_of_text(house: House) -> None:
    house.deaths.keep(Death(-signal.SIGKILL))
    house.deaths.tell()
    said = "The worker died of SIGKILL (killed from outside). Its variables are lost.\n"
    assert house.texts() == [("stderr", said)]
    assert not house.replies


def test_idle_worker_that_is_restored_says_what_was_lost_on_the_way(house: House) -> None:
    house.deaths.keep(Death(-signal.SIGKILL))
    house.goes_back(4, 0)
    house.deaths.tell(["1 thread did not survive: ticker."])
    said = "Restored to the state after the last cell. 1 thread did not survive: ticker.\n"
    assert house.texts() == [("stderr", f"The worker died of SIGKILL (killed from outside). {said}")]


def test_other_request_that_the_worker_died_with_gets_the_error_and_the_user_the_text(house: House) -> None:
    house.asks("complete_request", started=True)
    house.deaths.keep(Death(-signal.SIGSEGV))
    house.deaths.tell()
    (stream, _) = house.published()
    assert (stream.type, stream.parent["msg_id"]) == ("stream", "asked complete_request")
    assert [reply.status for reply in house.replies] == ["error"]


def test_cell_that_had_not_begun_waits_for_the_next_worker_and_is_not_blamed(house: House) -> None:
    request = house.asks()
    house.deaths.keep(Death(-signal.SIGSEGV))
    house.deaths.tell()
    (stream,) = house.published()
    assert stream.type == "stream"
    assert not house.replies
    house._carry_out(house.router.worker_ready())
    assert house.forwarded == [request.id, request.id]


@pytest.mark.parametrize(
    ("executing", "cell", "started", "back"),
    [
        (True, 7, 1, "the state before In[7]."),
        (True, 7, 0, "the state before In[7]."),
        (True, 5, 2, "the state before In[5]; what ran since then is lost."),
        (False, 8, 0, "the state after the last cell."),
        (False, 7, 1, "the state before In[7]; what ran since then is lost."),
    ],
)
def test_what_is_gone_back_to_is_told_as_it_is(
    house: House, executing: bool, cell: int, started: int, back: str
) -> None:
    if executing:
        house.asks(started=True)
    house.deaths.keep(SEGFAULT)
    house.goes_back(cell, started)
    house.deaths.tell([])
    first = house.published()[0]
    told = first.content["traceback"][-1] if executing else first.content["text"].strip()
    assert told.endswith(f"Restored to {back}")
    if executing:
        assert first.metadata[MIME]["restored"] == f"Restored to {back}"


def test_completion_that_runs_does_not_count_as_a_cell_that_has_begun(house: House) -> None:
    house.asks("complete_request", started=True)
    house.deaths.keep(SEGFAULT)
    house.goes_back(8, 0)
    house.deaths.tell([])
    assert "Restored to the state after the last cell." in house.published()[0].content["text"]


def test_cell_that_had_not_begun_goes_on_in_a_snapshot_of_the_session_as_it_was(house: House) -> None:
    request = house.asks()
    house.deaths.keep(Death(-signal.SIGSEGV))
    house.goes_back(8, 0)
    house.deaths.tell([])
    assert not house.replies
    house._carry_out(house.router.worker_ready())
    assert house.forwarded == [request.id, request.id]


def test_cell_that_had_not_begun_does_not_run_in_an_older_state(house: House) -> None:
    """It would find variables missing, or as they were long ago."""
    house.asks()
    house.deaths.keep(Death(-signal.SIGSEGV))
    house.goes_back(5, 2)
    house.deaths.tell([])
    assert house.published()[0].type == "error"
    assert [reply.status for reply in house.replies] == ["error"]
    house._carry_out(house.router.worker_ready())
    assert len(house.forwarded) == 1


def test_cell_that_had_not_begun_waits_when_there_is_a_respawn_after_all(house: House) -> None:
    """A snapshot was chosen, too old for the cell, and could not be resumed: a new worker has no state at all."""
    house.asks()
    house.deaths.keep(Death(-signal.SIGSEGV))
    house.goes_back(5, 2)
    house.deaths.tell()
    assert not house.replies
    assert house.router.lanes.main.queue


def test_rollback_is_no_error(house: House) -> None:
    house.asks(started=True)
    house.asks()
    house.deaths.keep(Death(-signal.SIGKILL, "was ended, to go back to the state before the last cell", cell=7))
    house.goes_back(6, 2, rolled=True)
    house.deaths.tell(["1 child process did not survive."])
    stream, idle = house.published()
    said = "Rolled back to the state before In[6]. 1 child process did not survive.\n"
    assert (stream.content, idle.type) == ({"name": "stdout", "text": said}, "status")
    (reply,) = house.replies
    assert isinstance(reply.content, dict)
    assert (reply.status, reply.content["status"], reply.content["execution_count"]) == ("ok", "ok", 7)
    assert len(house.router.lanes.main.queue) == 1


def test_death_on_the_way_back_after_a_rollback_is_told_as_what_it_is(house: House) -> None:
    """The earlier state could not be had: that is no rollback."""
    house.asks(started=True)
    house.deaths.keep(Death(-signal.SIGKILL, "was ended, to go back to the state before the last cell", cell=7))
    house.goes_back(6, 2, rolled=True)
    house.deaths.tell()
    error = house.published()[0]
    assert error.type == "error"
    assert "Variables are lost" in error.content["traceback"][-1]


def test_after_a_rollback_a_death_is_an_error_again(house: House) -> None:
    house.asks(started=True)
    house.deaths.keep(Death(-signal.SIGKILL, "was ended, to go back", cell=7))
    house.goes_back(6, 2, rolled=True)
    house.deaths.tell([])
    house._carry_out(house.router.worker_ready())
    house.asks(started=True)
    house.deaths.keep(SEGFAULT)
    house.goes_back(7, 1)
    house.deaths.tell([])
    assert house.published()[0].type == "error"


def test_everybody_is_told_why_there_is_no_worker(house: House) -> None:
    house.router.ready = False
    house.asks()
    house.asks("complete_request")
    house.asks("comm_msg")
    house.deaths.last = Death(1, stderr="ModuleNotFoundError: No module named 'IPython'\n")
    house.deaths.refuse()
    published = house.published()
    assert [m.parent["msg_id"] for m in published if m.type == "error"] == [f"asked {EXECUTE}"]
    assert [reply.request.type for reply in house.replies] == [EXECUTE, "complete_request"]
    for reply in house.replies:
        assert isinstance(reply.content, dict)
        assert reply.content["status"] == reply.status == "error"
        assert "No worker can be started" in reply.content["evalue"]
        assert "No module named 'IPython'" in reply.content["traceback"][-1]
    assert not house.router.lanes.main.queue
