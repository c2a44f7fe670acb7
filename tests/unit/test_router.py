"""The rules of the queue, as properties of whatever may happen in whatever order."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fakes import message
from ipymini_supervisor.lanes import ASIDE, MAIN, SILENT, Request
from ipymini_supervisor.router import QUESTIONS, Action, End, Forward, Interrupt, Nothing, Reply, Router
from ipymini_supervisor.statuses import Status

EXECUTE = "execute_request"
TYPES = [EXECUTE, EXECUTE, EXECUTE, "complete_request", "comm_info_request", "comm_msg", "comm_open"]
Word = tuple[str, int]


def words(actions: list[Action]) -> list[Word]:
    """Actions in short: busy, idle, forward, interrupt, or the status of a reply; each with the request's id."""
    found = []
    for action in actions:
        match action:
            case Status(request, state):
                found.append((str(state), request.id))
            case Reply(request, _, status, _):
                found.append((status, request.id))
            case Forward(request):
                found.append(("forward", request.id))
            case Interrupt(request):
                found.append(("interrupt", request.id))
            case End():
                found.append(("end", 0))
            case Nothing():
                found.append(("nothing", 0))
    return found


class House:
    """A router, and everything that it has asked for."""

    def __init__(self) -> None:
        self.router = Router()
        self.said: list[Word] = []

    def do(self, actions: list[Action]) -> list[Word]:
        said = words(actions)
        self.said += said
        return said

    def asks(
        self, msg_type: str = EXECUTE, stop_on_error: object = True, subshell: str | None = None, session: str = "s"
    ) -> Request:
        content = {"code": "", "stop_on_error": stop_on_error}
        return self.router.request("shell", message(msg_type, content, subshell=subshell, session=session))

    def accepts(
        self, msg_type: str = EXECUTE, stop_on_error: object = True, subshell: str | None = None, session: str = "s"
    ) -> Request:
        request = self.asks(msg_type, stop_on_error, subshell, session)
        self.do(self.router.accept(request))
        return request

    def replies(self, request: Request | None = None, *, error: bool = False, abort: bool = False) -> list[Word]:
        request = request or self.router.active
        assert request is not None
        return self.do(self.router.worker_replied(request.id, b"{}", error=error, abort=abort))


PLACES = [None, None, "a", "b"]


class Queue(RuleBasedStateMachine):
    """Rules 1 to 6 of the router, whatever happens, with a main shell and two subshells that come and go."""

    @initialize()
    def begin(self) -> None:
        self.house = House()
        self.router = self.house.router
        self.accepted: dict[int, Request] = {}
        self.answered: dict[int, Request] = {}
        self.again: set[int] = set()
        self.mixed: set[str] = set()  # lanes in which a cell was joined by others
        self.over = False
        self.router.lanes.add("a")

    def _active(self) -> list[Request]:
        return [request for lane in self.router.lanes for request in lane.active]

    def _owes_idle(self) -> bool:
        """Whether a request has had its busy and not its idle: it is active, or was and waits for the next worker."""
        return bool(self.router.running()) or any(request.again for request in self.router.waiting())

    def _pick(self, number: int, requests: list[Request]) -> Request:
        return requests[number % len(requests)]

    @rule(msg_type=st.sampled_from(TYPES), stop=st.booleans(), where=st.sampled_from(PLACES))
    def accept(self, msg_type: str, stop: bool, where: str | None) -> None:
        request = self.house.asks(msg_type, stop, where)
        known = where is None or where in self.router.lanes.subshells
        self.accepted[request.id] = request
        said = self.house.do(self.router.accept(request))
        if self.router.ending or not known:
            assert "forward" not in dict(said)
        if not known and msg_type not in SILENT:
            assert ("error", request.id) in said

    @rule(msg_type=st.sampled_from(["kernel_info_request", "interrupt_request"]))
    def answer(self, msg_type: str) -> None:
        request = self.house.asks(msg_type)
        self.answered[request.id] = request
        owes = self._owes_idle()
        said = self.house.do(self.router.answer(request, {"status": "ok"}))
        idle_last = [("busy", request.id), ("ok", request.id), ("idle", request.id)]
        busy_last = [("ok", request.id), ("idle", request.id), ("busy", request.id)]
        assert said == (busy_last if owes else idle_last)

    @precondition(lambda self: not self.router.ready)
    @rule()
    def worker_ready(self) -> None:
        self.house.do(self.router.worker_ready())

    @precondition(lambda self: any(not request.executing for request in self._active()))
    @rule(number=st.integers(0, 9))
    def started(self, number: int) -> None:
        request = self._pick(number, [request for request in self._active() if not request.executing])
        said = self.house.do(self.router.worker_started(request.id, 3))
        assert said == ([("interrupt", request.id)] if request.interrupted else [])

    @precondition(lambda self: bool(self._active()))
    @rule(number=st.integers(0, 9), error=st.booleans(), abort=st.booleans())
    def replied(self, number: int, error: bool, abort: bool) -> None:
        request = self._pick(number, self._active())
        lane = self.router.lanes.of(request)
        waiting, others = list(lane.queue), [r for r in self.router.waiting() if r not in lane.queue]
        abandoned = request.abandoned
        said = self.house.replies(request, error=error, abort=abort)
        told = {n for word, n in said if word == "aborted"}
        if not self.router.ending:
            executes = {r.id for r in waiting if r.type == EXECUTE}
            assert told == (executes if (abort or request.interrupted) and not abandoned else set())
            assert not told & {r.id for r in others}

    @precondition(lambda self: any(request.executing for request in self._active()))
    @rule(number=st.integers(0, 9), unlocked=st.booleans())
    def joined(self, number: int, unlocked: bool) -> None:
        request = self._pick(number, [request for request in self._active() if request.executing])
        self.mixed.add(request.lane)
        lane = self.router.lanes.of(request)
        self.house.do(self.router.worker_joins(request.id, unlocked=unlocked))
        if self.router.ready and not self.router.ending:
            assert not [r for r in lane.queue if r.type in SILENT]

    @precondition(lambda self: not self.router.lanes.aside.over)
    @rule(number=st.integers(0, 9))
    def give_up(self, number: int) -> None:
        lane = self.router.lanes.aside
        request = self._pick(number, [*lane.active, *lane.queue])
        told = request.abandoned
        said = self.house.do(self.router.give_up(request, {"status": "ok"}))
        assert (("ok", request.id) in said) is not told

    @precondition(lambda self: self.router.ready)
    @rule(status=st.sampled_from(["error", "ok"]), again=st.booleans(), away=st.booleans())
    def lost_worker(self, status: str, again: bool, away: bool) -> None:
        victims, running = self.router.victims(again=again), self.router.running()
        if away:  # it is not told yet
            self.router.worker_away()
            assert not self.router.ready
            assert self.router.running() == running
        others = {"status": "error"}
        said = self.house.do(self.router.worker_lost({"status": status}, status=status, again=again, others=others))
        self.again |= {request.id for request in running if request not in victims}
        assert "forward" not in dict(said)
        for number, request in enumerate(victims):
            word = status if number == 0 else "error"
            assert request.type in SILENT or (word, request.id) in said
        assert not self._active()
        assert all(request.again for request in running if request not in victims)

    @rule(where=st.sampled_from(["", "a", "b"]))
    def interrupt(self, where: str) -> None:
        lanes = self.router.lanes
        said = self.house.do(self.router.interrupt(where))
        aimed = {number for word, number in said if word == "interrupt"}
        if where and where not in lanes.subshells:
            assert said == []
        elif where:
            assert aimed <= {request.id for request in lanes.subshells[where].active}
        elif lanes.main.active:
            first = lanes.main.first
            assert first is not None
            assert aimed == ({first.id} if first.executing else set())
        assert not aimed & {request.id for request in lanes.aside.active}

    @rule(where=st.sampled_from(["a", "b"]), how=st.sampled_from(["add", "delete", "close"]))
    def subshell(self, where: str, how: str) -> None:
        if how == "add" and where not in [lane.name for lane in self.router.lanes]:
            self.router.lanes.add(where)
        elif how != "add" and where in self.router.lanes.subshells:
            lane = self.router.lanes.subshells[where]
            waiting, held = [r.id for r in lane.queue], list(lane.active)
            said = self.house.do(self.router.delete(where) if how == "delete" else self.router.close(where))
            assert where not in self.router.lanes.subshells
            if how == "delete":
                assert [n for word, n in said if word == "aborted"] == [
                    n for n in waiting if self.accepted[n].type not in SILENT
                ]
            assert lane.active == held
            assert (("end", 0) in said) is (not held and not lane.queue)

    @precondition(lambda self: not self.router.ready)
    @rule()
    def refuse(self) -> None:
        self.house.do(self.router.refuse({"status": "error"}))
        assert not list(self.router.waiting())

    @rule(comes=st.booleans())
    def restart(self, comes: bool) -> None:
        """What is there by then is never handed to another worker; what comes meanwhile is lost to nobody."""
        old = {request.id for request in (*self._active(), *self.router.waiting())}
        said = self.house.do(self.router.restart())
        assert not self.router.lanes.subshells
        late = self.house.asks()
        if comes:
            self.accepted[late.id] = late
            said += self.house.do(self.router.accept(late))
        said += self.house.do(self.router.worker_lost({"status": "error"}))
        assert "forward" not in dict(said)
        assert not self._active()
        waiting = {request.id for request in self.router.waiting()}
        assert not waiting & old
        assert (late.id in waiting) is (comes and not self.router.ending)

    @rule()
    def end(self) -> None:
        said = self.house.do(self.router.end())
        assert "forward" not in dict(said)
        assert all(lane.active or not lane.queue for lane in self.router.lanes)

    @rule(wrong=st.integers(0, 100))
    def reply_of_a_request_that_is_not_active(self, wrong: int) -> None:
        if wrong not in {request.id for request in self._active()}:
            for said in (self.router.worker_replied, self.router.worker_started):
                with pytest.raises(LookupError):
                    said(wrong, b"{}")  # type: ignore[arg-type,operator]
            with pytest.raises(LookupError):
                self.router.worker_joins(wrong, unlocked=True)

    @invariant()
    def each_request_gets_its_words_once(self) -> None:
        told: dict[int, list[str]] = defaultdict(list)
        for word, number in self.house.said:
            told[number].append(word)
        waiting = {request.id for request in self.router.waiting()}
        running = {request.id for request in self.router.running()}
        for number, request in self.accepted.items():
            got = [word for word in told[number] if word != "interrupt"]
            forwards, reply = got.count("forward"), [w for w in got if w not in ("busy", "idle", "forward")]
            assert forwards <= 1 + (number in self.again)
            if number in waiting | running:
                assert reply == []
                assert "idle" not in got
                assert (number in waiting) is (forwards == (1 if number in self.again else 0)) or number in running
                assert got.count("busy") <= 1
            else:
                assert len(reply) == (0 if request.type in SILENT else 1)
                assert got.count("busy") == got.count("idle") == 1
                assert not reply or got.index(reply[0]) < got.index("idle")

    @invariant()
    def a_lane_hands_over_one_request_at_a_time_and_only_with_a_worker(self) -> None:
        for lane in self.router.lanes:
            holding = [request for request in lane.active if not (request.unlocked or request.inside)]
            assert len(holding) <= 1
            assert self.router.ready or not lane.active
            if (self.router.ready or self.router.ending) and not lane.active:
                assert not lane.queue

    @invariant()
    def executes_of_a_lane_are_answered_in_the_order_in_which_they_were_asked(self) -> None:
        for lane in self.router.lanes:
            if lane.name in self.mixed or lane.active:
                continue
            replied = [number for word, number in self.house.said if word in ("ok", "error", "aborted")]
            executes = [n for n in replied if n in self.accepted and self.accepted[n].type == EXECUTE]
            executes = [n for n in executes if self.accepted[n].lane == lane.name]
            known = [n for n in executes if self.accepted[n].message.header.subshell_id == (lane.name or None)]
            assert known == sorted(known)

    @invariant()
    def last_status_is_busy_while_a_request_is_active_or_waits_again(self) -> None:
        statuses = [word for word, _ in self.house.said if word in ("busy", "idle")]
        if statuses:
            assert statuses[-1] == ("busy" if self._owes_idle() else "idle")

    def teardown(self) -> None:
        if not hasattr(self, "house"):
            return
        if not self.router.ready:
            self.house.do(self.router.worker_ready())
        while self._active():
            self.house.replies(self._active()[0])
        busy = [number for word, number in self.house.said if word == "busy"]
        idle = [number for word, number in self.house.said if word == "idle"]
        replied = [number for word, number in self.house.said if word in ("ok", "error", "aborted")]
        everybody = {**self.accepted, **self.answered}
        assert sorted(busy) == sorted(idle) == sorted(everybody)
        assert sorted(replied) == sorted(n for n, request in everybody.items() if request.type not in SILENT)


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=300, stateful_step_count=50)


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def running(house: House) -> House:
    """A worker is there and executes request 1."""
    house.router.worker_ready()
    house.accepts()
    return house


def test_nothing_is_forwarded_before_the_worker_is_ready(house: House) -> None:
    house.accepts()
    house.accepts()
    assert house.said == []
    assert house.do(house.router.worker_ready()) == [("busy", 1), ("forward", 1)]


def test_next_request_is_forwarded_when_the_active_one_is_over(running: House) -> None:
    running.accepts()
    assert running.replies() == [("ok", 1), ("idle", 1), ("busy", 2), ("forward", 2)]


def test_failed_request_aborts_executes_but_not_comm_messages(running: House) -> None:
    running.accepts()
    running.accepts("comm_msg")
    running.accepts()
    assert running.replies(error=True, abort=True) == [
        *[("error", 1), ("idle", 1)],
        *[("busy", 2), ("aborted", 2), ("idle", 2)],
        *[("busy", 4), ("aborted", 4), ("idle", 4)],
        *[("busy", 3), ("forward", 3)],
    ]


def test_failed_request_that_says_stop_on_error_false_aborts_nothing(running: House) -> None:
    running.accepts()
    assert running.replies(error=True) == [("error", 1), ("idle", 1), ("busy", 2), ("forward", 2)]


@pytest.mark.parametrize(("said", "aborted"), [(True, True), (False, False), (None, True), ("no", True)])
def test_worker_that_dies_aborts_what_is_queued_unless_the_request_said_otherwise(
    house: House, said: object, aborted: bool
) -> None:
    house.router.worker_ready()
    house.accepts(stop_on_error=said)
    house.accepts()
    house.router.worker_started(1, 1)
    words = house.do(house.router.worker_lost({"status": "error"}))
    assert words[:2] == [("error", 1), ("idle", 1)]
    assert (("aborted", 2) in words) is aborted
    assert len(house.router.lanes.main.queue) == (0 if aborted else 1)


def test_request_that_the_worker_died_with_is_not_replayed(running: House) -> None:
    running.router.worker_started(1, 1)
    running.router.worker_lost({"status": "error"})
    assert running.do(running.router.worker_ready()) == []


def test_request_that_the_worker_had_not_begun_with_waits_for_the_next_one_but_only_once(running: House) -> None:
    assert running.do(running.router.worker_lost({"status": "error"})) == []
    assert running.do(running.router.worker_ready()) == [("forward", 1)]
    assert running.do(running.router.worker_lost({"status": "error"})) == [("error", 1), ("idle", 1)]
    assert running.do(running.router.worker_ready()) == []


def test_interrupted_request_does_not_wait_for_the_next_worker(running: House) -> None:
    running.router.interrupt()
    assert running.do(running.router.worker_lost({"status": "error"})) == [("error", 1), ("idle", 1)]


def test_request_that_had_not_begun_gets_the_error_when_the_next_worker_is_in_another_state(running: House) -> None:
    running.accepts("comm_msg")
    assert running.do(running.router.worker_lost({"status": "error"}, again=False)) == [("error", 1), ("idle", 1)]
    assert running.do(running.router.worker_ready()) == [("busy", 2), ("forward", 2)]


def test_request_that_had_waited_for_this_worker_gets_its_words_once_when_it_is_lost_again(running: House) -> None:
    running.router.worker_lost({"status": "error"})
    running.do(running.router.worker_ready())
    assert running.do(running.router.worker_lost({"status": "error"}, again=False)) == [("error", 1), ("idle", 1)]


def test_request_that_ends_well_with_its_worker_aborts_nothing(running: House) -> None:
    running.router.worker_started(1, 1)
    running.accepts()
    assert running.do(running.router.worker_lost({"status": "ok"}, status="ok")) == [("ok", 1), ("idle", 1)]
    assert running.do(running.router.worker_ready()) == [("busy", 2), ("forward", 2)]


def test_worker_that_is_lost_while_nothing_runs_is_nothing_to_anybody(house: House) -> None:
    house.router.worker_ready()
    assert house.do(house.router.worker_lost({"status": "error"}, again=False)) == []
    assert not house.router.ready


@pytest.mark.parametrize("msg_type", ["kernel_info_request", "usage_request"])
def test_last_status_is_busy_while_a_request_waits_for_the_next_worker(running: House, msg_type: str) -> None:
    """Frontends show the last one, and there is no other busy when the next worker gets it."""
    running.router.worker_lost({"status": "error"})
    said = running.do(running.router.answer(running.asks(msg_type), {"status": "ok"}))
    assert said == [("ok", 2), ("idle", 2), ("busy", 2)]
    assert running.do(running.router.worker_ready()) == [("forward", 1)]


def test_while_the_worker_is_away_its_request_is_kept_and_no_other_begins(running: House) -> None:
    running.router.worker_started(1, 1)
    running.router.worker_away()
    running.accepts()
    assert running.said == [("busy", 1), ("forward", 1)]
    assert running.router.victim is running.router.active
    assert running.router.active is not None
    said = running.do(running.router.worker_lost({"status": "error"}))
    assert said == [("error", 1), ("idle", 1), ("busy", 2), ("aborted", 2), ("idle", 2)]


def test_request_that_had_not_begun_is_nobodys_fault_while_the_worker_is_away(running: House) -> None:
    running.router.worker_away()
    assert running.router.victim is None
    assert running.router.active is not None
    assert running.do(running.router.end()) == []  # a kernel that ends runs nothing any longer, so that one is lost
    assert running.router.victim is running.router.active


def test_interrupt_that_comes_before_started_is_delivered_then(running: House) -> None:
    assert running.do(running.router.interrupt()) == []
    assert running.do(running.router.worker_started(1, 7)) == [("interrupt", 1)]
    assert running.router.active is not None
    assert running.router.active.cell == 7


def test_interrupt_hits_no_other_request_than_the_active_one(running: House) -> None:
    running.router.worker_started(1, 1)
    running.accepts("comm_msg")
    assert running.do(running.router.interrupt()) == [("interrupt", 1)]
    assert running.replies(error=True)[-1] == ("forward", 2)
    assert running.do(running.router.worker_started(2, 1)) == []


def test_every_interrupt_of_an_executing_request_is_delivered(running: House) -> None:
    running.router.worker_started(1, 1)
    assert running.do(running.router.interrupt()) == running.do(running.router.interrupt()) == [("interrupt", 1)]


def test_interrupted_request_aborts_what_is_queued_even_if_it_ends_well(running: House) -> None:
    running.router.worker_started(1, 1)
    running.router.interrupt()
    running.accepts()
    assert ("aborted", 2) in running.replies()


def test_interrupt_while_idle_does_nothing(house: House) -> None:
    house.router.worker_ready()
    assert house.router.interrupt() == []
    request = house.accepts()
    assert house.do(house.router.worker_started(request.id, 1)) == []


def test_message_without_reply_gets_busy_and_idle(house: House) -> None:
    house.router.worker_ready()
    house.accepts("comm_msg")
    house.replies()
    assert house.said == [("busy", 1), ("forward", 1), ("idle", 1)]


def test_kernel_that_ends_aborts_what_waits_and_what_comes_after_the_active_request(running: House) -> None:
    running.accepts()
    assert running.do(running.router.end()) == []
    running.accepts("comm_info_request")
    assert running.said[-3:] == [("aborted", 3), ("idle", 3), ("busy", 3)]  # nobody would answer it
    assert running.replies() == [
        *[("ok", 1), ("idle", 1)],
        *[("busy", 2), ("aborted", 2), ("idle", 2)],
    ]
    running.accepts()
    assert running.said[-3:] == [("busy", 4), ("aborted", 4), ("idle", 4)]


def test_restart_aborts_what_waits_after_the_active_request_and_keeps_what_comes(running: House) -> None:
    running.accepts()
    assert running.do(running.router.restart()) == []  # replies keep their order
    new = running.accepts()
    assert running.do(running.router.worker_lost({"status": "error"})) == [
        *[("error", 1), ("idle", 1)],
        *[("busy", 2), ("aborted", 2), ("idle", 2)],
    ]
    assert running.do(running.router.worker_ready()) == [("busy", new.id), ("forward", new.id)]


def test_restart_ends_the_time_in_which_executes_are_aborted() -> None:
    router = Router(patience=60.0)
    house = House()
    house.router = router
    house.do(router.worker_ready())
    house.accepts()
    house.do(router.worker_replied(1, b"{}", error=True, abort=True, now=1.0))
    house.do(router.restart())
    request = house.asks()
    assert house.do(router.accept(request, now=2.0)) == []
    assert house.do(router.worker_ready()) == [("busy", request.id), ("forward", request.id)]


def test_restart_ends_subshells(running: House) -> None:
    running.router.lanes.add("a")
    running.accepts(subshell="a")
    running.do(running.router.restart())
    assert not running.router.lanes.subshells
    running.do(running.router.worker_lost({"status": "error"}))
    assert [lane.name for lane in running.router.lanes] == [MAIN, ASIDE]


def test_stop_on_error_is_read_from_executes_only(house: House) -> None:
    assert house.asks(EXECUTE, False).stop_on_error is False
    assert house.asks("comm_msg", False).stop_on_error is True


def test_ids_are_unlike_each_other(house: House) -> None:
    assert len({house.asks().id for _ in range(50)}) == 50


# -- several at once


@pytest.fixture
def several(running: House) -> House:
    """The main shell executes request 1, and there is a subshell."""
    running.router.worker_started(1, 1)
    running.router.lanes.add("a")
    return running


def test_subshell_has_a_queue_of_its_own(several: House) -> None:
    first, second = several.accepts(subshell="a"), several.accepts(subshell="a")
    assert several.said == [("busy", 1), ("forward", 1), ("forward", first.id)]
    said = several.replies(first)
    assert said == [("ok", 2), ("idle", 2), ("busy", 2), ("forward", second.id)]
    assert several.router.active is not None
    assert several.router.active.id == 1


def test_busy_comes_when_the_one_that_had_it_is_over(several: House) -> None:
    """The last status is busy as long as anything runs, and each has its own once."""
    several.accepts(subshell="a")
    assert several.replies() == [("ok", 1), ("idle", 1), ("busy", 2)]
    assert several.replies(several.router.running()[0]) == [("ok", 2), ("idle", 2)]


def test_error_in_a_subshell_aborts_its_own_queue_only(several: House) -> None:
    several.accepts()
    first = several.accepts(subshell="a")
    second = several.accepts(subshell="a")
    said = several.replies(first, error=True, abort=True)
    assert [n for word, n in said if word == "aborted"] == [second.id]


@pytest.mark.parametrize("msg_type", [EXECUTE, "complete_request", "comm_msg"])
def test_subshell_that_nobody_knows_is_an_error(several: House, msg_type: str) -> None:
    request = several.accepts(msg_type, subshell="nobody")
    reply = [] if msg_type in SILENT else [("error", request.id)]
    assert several.said[2:] == [*reply, ("idle", request.id), ("busy", request.id)]


@pytest.mark.parametrize("msg_type", sorted(QUESTIONS))
def test_question_is_asked_while_the_main_shell_is_busy(several: House, msg_type: str) -> None:
    request = several.accepts(msg_type)
    assert several.said[-1] == ("forward", request.id)
    assert request.lane == ASIDE
    assert several.replies(request) == [("ok", request.id), ("idle", request.id), ("busy", request.id)]


def test_questions_are_answered_one_after_the_other_even_when_the_cell_has_ended(several: House) -> None:
    first, second = several.accepts("complete_request"), several.accepts("inspect_request")
    several.replies()
    third = several.accepts("complete_request")
    assert third.lane == ASIDE
    assert several.replies(first)[-1] == ("forward", second.id)
    assert several.replies(second)[-1] == ("forward", third.id)
    several.replies(third)
    assert several.accepts("complete_request").lane == MAIN


def test_question_that_nobody_answers_is_given_up_and_what_the_worker_says_of_it_later_is_dropped(
    several: House,
) -> None:
    first, second = several.accepts("complete_request"), several.accepts("complete_request")
    for request in (second, first):
        said = several.do(several.router.give_up(request, {"status": "ok"}))
        assert said == [("ok", request.id), ("idle", request.id), ("busy", request.id)]
        assert several.do(several.router.give_up(request, {"status": "ok"})) == []
    third = several.accepts("complete_request")
    assert third in several.router.lanes.aside.queue  # the worker is at the first one
    assert several.replies(first) == [("forward", third.id)]


def test_question_is_asked_once_more_when_a_cell_took_the_worker_and_not_when_it_did_so_itself(several: House) -> None:
    question = several.accepts("complete_request")
    several.router.worker_started(question.id, 0)
    said = several.do(several.router.worker_lost({"status": "error"}))
    assert [n for word, n in said if word == "error"] == [1]
    assert several.do(several.router.worker_ready()) == [("forward", question.id)]
    several.router.worker_started(question.id, 0)
    said = several.do(several.router.worker_lost({"status": "error"}))
    assert [n for word, n in said if word == "error"] == [question.id]


def test_question_that_was_given_up_dies_with_its_worker(several: House) -> None:
    request = several.accepts("complete_request")
    several.do(several.router.give_up(request, {"status": "ok"}))
    several.do(several.router.worker_lost({"status": "error"}))
    assert several.router.lanes.aside.over


def test_question_that_was_given_up_is_not_waited_for_in_the_session_after_a_restart(several: House) -> None:
    """There is nobody who could ever answer it, and every question after it would wait as well."""
    request = several.accepts("complete_request")
    several.do(several.router.give_up(request, {"status": "ok"}))
    several.replies()
    several.do(several.router.restart())
    several.do(several.router.worker_ready())
    following = several.accepts("complete_request")
    assert several.said[-1] == ("forward", following.id)


def test_comm_messages_come_to_a_cell_that_awaits(several: House) -> None:
    first = several.accepts("comm_msg")
    assert several.said[-1] == ("forward", 1)
    assert several.do(several.router.worker_joins(1, unlocked=False)) == [("forward", first.id)]
    second, cell = several.accepts("comm_msg"), several.accepts()
    assert several.said[-1] == ("forward", second.id)
    assert several.replies(first) == [("idle", first.id), ("busy", first.id)]
    assert several.replies() == [("ok", 1), ("idle", 1), ("busy", second.id), ("forward", cell.id)]


def test_cell_that_asks_gets_the_comm_messages_that_wait_and_then_the_word_that_there_is_nothing_more(
    several: House,
) -> None:
    assert several.do(several.router.worker_asks(1)) == [("nothing", 0)]
    several.accepts()
    first, second = several.accepts("comm_msg"), several.accepts("comm_msg")
    assert several.said[-2:] == [("forward", first.id), ("forward", second.id)]  # it has asked before
    assert several.do(several.router.worker_asks(1)) == [("nothing", 0)]
    with pytest.raises(LookupError):
        several.router.worker_asks(99)


def test_everything_comes_to_a_cell_that_is_unlocked_one_after_the_other(several: House) -> None:
    first, second = several.accepts(), several.accepts()
    assert several.do(several.router.worker_joins(1, unlocked=True)) == [("forward", first.id)]
    assert several.replies(first)[-1] == ("forward", second.id)
    assert several.replies() == [("ok", 1), ("idle", 1), ("busy", second.id)]
    assert several.replies(second) == [("ok", second.id), ("idle", second.id)]


def test_interrupt_is_for_the_main_shell_and_for_subshells_if_that_is_idle(several: House) -> None:
    several.router.lanes.add("b")
    a, b = several.accepts(subshell="a"), several.accepts(subshell="b")
    several.router.worker_started(a.id, 2)
    assert several.do(several.router.interrupt()) == [("interrupt", 1)]
    assert several.do(several.router.interrupt("a")) == [("interrupt", a.id)]
    several.replies()
    assert several.do(several.router.interrupt()) == [("interrupt", a.id)]
    assert several.do(several.router.worker_started(b.id, 3)) == [("interrupt", b.id)]
    assert several.do(several.router.interrupt("nobody")) == []


def test_death_is_told_to_all_that_were_executing(several: House) -> None:
    executing, waiting = several.accepts(subshell="a"), several.accepts(subshell="a")
    several.router.worker_started(executing.id, 2)
    question = several.accepts("complete_request")
    said = several.do(several.router.worker_lost({"status": "error"}))
    assert [n for word, n in said if word == "error"] == [1, executing.id]
    assert [n for word, n in said if word == "aborted"] == [waiting.id]
    assert several.do(several.router.worker_ready()) == [("forward", question.id)]


def test_deleted_subshell_aborts_what_waits_and_ends_when_it_is_idle(several: House) -> None:
    executing, waiting = several.accepts(subshell="a"), several.accepts(subshell="a")
    said = several.do(several.router.delete("a"))
    assert said == [("aborted", waiting.id), ("idle", waiting.id), ("busy", waiting.id)]
    assert several.replies(executing)[-1] == ("end", 0)
    with pytest.raises(KeyError):
        several.router.delete("a")


def test_cell_leads_the_executes_of_its_own_client_to_a_subshell(several: House) -> None:
    several.router.lanes.detours["s"] = several.router.lanes.subshells["a"]
    one, two = several.accepts(session="s"), several.accepts(session="another")
    assert (one.lane, two.lane) == ("a", MAIN)
    assert several.accepts("comm_msg", session="s").lane == MAIN
    assert several.do(several.router.close("a")) == []
    assert several.accepts(session="s").lane == MAIN
    assert several.replies(one)[-1] == ("end", 0)


def test_executes_that_come_soon_after_an_error_are_aborted_if_that_is_wanted(house: House) -> None:
    house.router.patience = 2.0
    house.router.worker_ready()
    house.accepts()
    house.do(house.router.worker_replied(1, b"{}", error=True, abort=True, now=10.0))
    soon, question, later = house.asks(), house.asks("comm_info_request"), house.asks()
    assert ("aborted", soon.id) in house.do(house.router.accept(soon, 11.9))
    assert ("forward", question.id) in house.do(house.router.accept(question, 11.9))
    house.replies(question)
    assert ("forward", later.id) in house.do(house.router.accept(later, 12.0))


def test_executes_that_come_soon_after_a_death_are_aborted_if_that_is_wanted(running: House) -> None:
    running.router.patience = 2.0
    running.router.worker_started(1, 1)
    running.do(running.router.worker_lost({"status": "error"}, 10.0))
    running.do(running.router.worker_ready())
    soon, later = running.asks(), running.asks()
    assert ("aborted", soon.id) in running.do(running.router.accept(soon, 11.9))
    assert ("forward", later.id) in running.do(running.router.accept(later, 12.0))
