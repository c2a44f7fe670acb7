"""The memory watch, carried out: when it looks, whom it asks and interrupts, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import pytest

from fakes import KEY, Clock, Received, Sockets, message
from ipymini_supervisor.frontends import Frontends
from ipymini_supervisor.lanes import Request
from ipymini_supervisor.memory import ASK, HELPLESS, LATEST, Pool, Size
from ipymini_supervisor.outbox import Outbox
from ipymini_supervisor.rollup import Memory
from ipymini_supervisor.router import Interrupt, Router
from ipymini_supervisor.session import Session
from ipymini_supervisor.timers import Timers
from ipymini_supervisor.watch import FIRST, TrueSize, Watch
from ipymini_worker.wire import Kind

GIB = 1 << 30
MACHINE = Pool("machine", 2 * GIB, 64 * GIB)
TABLE = "The largest variables:\n  data  list of 7  3.0 GiB"


class Worker:
    """Keeps what is done to it."""

    def __init__(self) -> None:
        self.told: list[tuple[Kind, int, str]] = []
        self.reasons: list[str] = []

    def send_control(self, kind: Kind, request: int, parts: tuple[bytes]) -> None:
        """As in the real one."""
        self.told.append((kind, request, parts[0].decode()))

    def condemn(self, reason: str) -> None:
        """As in the real one."""
        self.reasons.append(reason)


class Relief:
    """Keeps what it is asked for."""

    def __init__(self) -> None:
        self.spare = False
        self.asked: list[int] = []

    def relieve(self, total: int) -> None:
        """As in the real one."""
        self.asked.append(total)
        self.spare = False


class Rollups:
    """Keeps questions until the test answers them."""

    def __init__(self) -> None:
        self.asked: list[set[int]] = []
        self._done: list[Callable[[Memory | None], None]] = []

    def ask(self, pids: Collection[int], done: Callable[[Memory | None], None]) -> None:
        """As in the real one."""
        self.asked.append(set(pids))
        self._done.append(done)

    def answer(self, proportional: int | None) -> None:
        """Answers the next question."""
        self._done.pop(0)(None if proportional is None else Memory(proportional, 0))


class House:
    """`Watch` with fakes around it."""

    def __init__(self, limit: Size | None = None) -> None:
        self.clock = Clock()
        self.timers = Timers()
        self.sockets = Sockets()
        self.outbox = Outbox()
        self.outbox.subscribers = 1
        self.router = Router(ready=True)
        self.worker: Any = Worker()
        self.relief = Relief()
        self.rollups = Rollups()
        self.weights = {7: GIB}
        self.pools = [MACHINE]
        self.looked = 0
        self.recorded: list[tuple[int, str, int]] = []
        self.interrupted: list[int] = []
        frontends = Frontends(Session(KEY), self.sockets, self.outbox, self.clock)  # type: ignore[arg-type]
        self.frontends = frontends
        self.watch = Watch(
            self.router,
            frontends,
            self.relief,  # type: ignore[arg-type]
            self.rollups,  # type: ignore[arg-type]
            self.timers,
            self.clock,
            self._carry_out,
            lambda: self.worker,
            limit,
            lambda: set(self.weights),
            lambda: {99},
            lambda request, pool, own: self.recorded.append((request.id, pool.name, own)),
            self._look,
            lambda pids: {pid: self.weights[pid] for pid in pids},
        )

    def _look(self) -> list[Pool]:
        self.looked += 1
        return list(self.pools)

    def _carry_out(self, actions: Any) -> None:
        for action in actions:
            if isinstance(action, Interrupt):
                self.interrupted.append(action.request.id)

    def runs(self, subshell: str | None = None, msg_id: str = "asked") -> Request:
        """A cell executes."""
        request = self.router.request("shell", message("execute_request", {"code": ""}, msg_id, subshell=subshell))
        self.router.accept(request)
        self.watch.begin()
        self.router.worker_started(request.id, 7)
        return request

    def waits(self, seconds: float) -> None:
        """Time passes, and the loop comes by whenever it is to."""
        end = self.clock() + seconds
        while (left := self.timers.timeout(self.clock())) is not None and self.clock() + left <= end:
            self.clock.advance(left)
            self.timers.run(self.clock())
        self.clock.advance(max(0.0, end - self.clock()))

    def uses(self, size: float) -> None:
        """The worker, and nobody else, has so many bytes; a moment passes."""
        self.weights = {7: int(size)}
        self.pools = [MACHINE._replace(used=int(size) + GIB)]
        self.waits(LATEST)

    def said(self) -> dict[str, str]:
        """What cells have been told on stderr, by the id of their request."""
        self.frontends.flush_text()
        self.outbox.pump(lambda parts: self.sockets.send("iopub", parts), 0.0)
        found, self.sockets.sent = [Received(parts) for _, parts in self.sockets.sent], []
        assert {m.content["name"] for m in found} <= {"stderr"}
        return {m.parent["msg_id"]: m.content["text"] for m in found}


@pytest.fixture
def house() -> House:
    """With 4 GiB allowed."""
    return House(Size(4 * GIB))


def test_nothing_is_looked_at_while_nothing_runs(house: House) -> None:
    assert house.timers.timeout(house.clock()) is None
    request = house.runs()
    house.waits(10 * LATEST)
    looked = house.looked
    assert looked >= 10
    house.router.worker_replied(request.id, b"{}")
    house.waits(10 * LATEST)
    assert house.looked == looked
    assert house.timers.timeout(house.clock()) is None


def test_cell_that_is_soon_over_is_not_looked_at(house: House) -> None:
    for _ in range(3):
        house.router.worker_replied(house.runs().id, b"{}")
    assert house.timers.timeout(house.clock()) == pytest.approx(FIRST)
    house.waits(FIRST)
    assert house.looked == 0


def test_nothing_is_looked_at_without_a_worker(house: House) -> None:
    house.runs()
    house.worker = None
    house.waits(LATEST)
    assert house.looked == 0


def test_where_the_system_does_not_tell_it_is_not_asked_again(house: House) -> None:
    house.pools = []
    house.runs()
    house.waits(10 * LATEST)
    assert house.looked == 1


def test_worker_is_asked_for_its_largest_variables_and_then_interrupted(house: House) -> None:
    request = house.runs()
    house.uses(GIB)
    assert house.worker.told == []
    house.uses(3.7 * GIB)
    sentence = "The cell was interrupted, because the kernel uses 3.7 GiB of 4.0 GiB allowed (IPYMINI_MEMORY_LIMIT)."
    ((kind, number, told),) = house.worker.told
    assert (kind, number, told) == (Kind.MEMORY, request.id, sentence)


def asked(house: House) -> Request:
    request = house.runs()
    house.uses(GIB)
    house.weights = {7: int(3.7 * GIB)}
    while not house.worker.told:
        house.waits(house.timers.timeout(house.clock()) or 0.0)
    assert house.interrupted == []
    assert house.said() == {}
    return request


def test_cell_is_told_why_it_is_interrupted(house: House) -> None:
    request = asked(house)
    house.watch.answered(request.id, TABLE)
    assert house.interrupted == [request.id]
    assert house.said() == {"asked": f"{house.worker.told[0][2]}\n{TABLE}\n"}
    house.watch.answered(request.id, TABLE)
    house.waits(10 * LATEST)
    assert house.interrupted == [request.id]
    assert house.said() == {}
    assert house.worker.reasons == []


def test_it_is_interrupted_also_when_the_worker_does_not_answer(house: House) -> None:
    request = asked(house)
    house.waits(ASK / 2)
    assert house.interrupted == []
    house.waits(ASK)
    assert house.interrupted == [request.id]
    assert house.said()["asked"].endswith("The worker does not answer, so that its variables cannot be shown.\n")
    house.watch.answered(request.id, TABLE)
    assert house.interrupted == [request.id]
    assert house.said() == {}


def test_worker_is_told_when_its_cell_is_not_interrupted_after_all(house: House) -> None:
    """Or the next interrupt would be said to be one for memory."""
    request = asked(house)
    house.weights = {7: GIB}
    house.waits(ASK)
    assert house.worker.told[1:] == [(Kind.MEMORY, request.id, "")]
    house.watch.answered(request.id, TABLE)
    assert house.interrupted == []


def test_answer_that_comes_after_the_cell_interrupts_nothing(house: House) -> None:
    request = asked(house)
    house.router.worker_replied(request.id, b"{}")
    house.watch.answered(request.id, TABLE)
    assert house.interrupted == []
    assert house.said() == {}


def test_answer_for_a_cell_that_is_over_does_not_interrupt_the_next_one(house: House) -> None:
    """Which may have begun already: the answer comes another way than the reply."""
    request = asked(house)
    house.router.worker_replied(request.id, b"{}")
    house.runs(msg_id="next")
    house.watch.answered(request.id, TABLE)
    assert house.interrupted == []
    assert house.said() == {}


def test_answer_that_nobody_has_asked_for_changes_nothing(house: House) -> None:
    request = house.runs()
    house.watch.answered(request.id, TABLE)
    assert house.interrupted == []


def test_while_the_system_counts_it_is_looked_at_again_soon(house: House) -> None:
    """What two processes share is not known at once, and what is not known may be near the limit."""
    house.runs()
    house.uses(GIB)
    house.weights = {7: 2 * GIB, 8: int(1.5 * GIB)}
    house.waits(house.timers.timeout(house.clock()) or 0.0)
    wait = house.timers.timeout(house.clock())
    assert wait == pytest.approx(HELPLESS)


def test_answer_without_end_is_cut(house: House) -> None:
    house.watch.answered(asked(house).id, "x" * 1_000_000)
    assert len(house.said()["asked"]) < 3000


def test_all_cells_that_run_are_interrupted_and_told(house: House) -> None:
    house.router.lanes.add("one")
    first, second = house.runs(), house.runs("one", "other")
    house.uses(GIB)
    house.weights = {7: int(3.7 * GIB)}
    house.waits(2 * LATEST)
    assert sorted(house.interrupted) == [first.id, second.id]
    assert house.said().keys() == {"asked", "other"}


def test_cells_of_subshells_are_interrupted_where_the_main_shell_is_idle(house: House) -> None:
    house.router.lanes.add("one")
    request = house.runs("one")
    house.uses(GIB)
    house.weights = {7: int(3.7 * GIB)}
    house.waits(2 * LATEST)
    assert house.interrupted == [request.id]


def test_worker_that_goes_on_is_killed_once(house: House) -> None:
    house.runs()
    house.uses(GIB)
    house.uses(4.1 * GIB)
    house.waits(10 * LATEST)
    assert house.worker.reasons == ["was killed, because it used 4.1 GiB of 4.0 GiB allowed (IPYMINI_MEMORY_LIMIT)"]


def test_share_is_one_of_the_least_that_the_system_has() -> None:
    house = House(Size(share=0.5))
    house.pools = [MACHINE, Pool("/group", 0, 8 * GIB)]
    house.weights = {7: int(4.1 * GIB)}
    house.runs()
    house.waits(LATEST)
    assert house.worker.reasons == ["was killed, because it used 4.1 GiB of 4.0 GiB allowed (IPYMINI_MEMORY_LIMIT)"]


def test_snapshots_go_when_memory_is_short_whoever_has_taken_it() -> None:
    house = House()
    house.pools = [MACHINE, Pool("/group", 8 * GIB - 1, 8 * GIB)]
    house.runs()
    house.waits(LATEST)
    assert house.relief.asked[:1] == [8 * GIB]
    assert house.worker.told == []


def test_snapshots_go_before_the_cell_has_to() -> None:
    house = House()
    house.relief.spare = True
    house.pools = [Pool("/group", 2 * GIB, 8 * GIB)]
    house.runs()
    house.waits(LATEST)
    house.pools = [Pool("/group", 7 * GIB, 8 * GIB)]
    house.weights = {7: 6 * GIB}
    while not house.worker.told:
        assert bool(house.relief.asked) is not house.relief.spare
        house.waits(house.timers.timeout(house.clock()) or 0.0)
    assert house.relief.asked
    assert "7.0 GiB of 8.0 GiB allowed to its control group are used, 6.0 GiB by this kernel" in house.worker.told[0][2]


class Sizes:
    """`TrueSize` with fakes around it; 100 bytes are allowed."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.rollups = Rollups()
        self.true = TrueSize(self.rollups, self.clock, lambda: {99})  # type: ignore[arg-type]

    def estimate(self, **weights: int) -> int | None:
        return self.true.estimate({ord(name): size for name, size in weights.items()}, 100)


@pytest.fixture
def sizes() -> Sizes:
    return Sizes()


def test_one_process_shares_nothing(sizes: Sizes) -> None:
    assert sizes.estimate(a=95) == 95
    assert sizes.rollups.asked == []


def test_where_there_is_enough_nobody_is_asked(sizes: Sizes) -> None:
    assert sizes.estimate(a=30, b=39) == 69
    assert sizes.rollups.asked == []


def test_it_is_asked_what_several_share_and_until_then_nothing_is_done(sizes: Sizes) -> None:
    assert sizes.estimate(a=90, b=90) is None
    assert sizes.rollups.asked == [{ord("a"), ord("b"), 99}]
    assert sizes.estimate(a=95, b=90) is None
    assert len(sizes.rollups.asked) == 1
    sizes.rollups.answer(92)
    assert sizes.estimate(a=90, b=90) == 92
    assert sizes.estimate(a=95, b=90) == 97
    assert len(sizes.rollups.asked) == 1


def test_one_that_has_it_all_is_not_waited_for(sizes: Sizes) -> None:
    assert sizes.estimate(a=100, b=10) == 100
    sizes.rollups.answer(60)
    assert sizes.estimate(a=30, c=105) == 105


def test_where_it_is_not_known_the_largest_counts(sizes: Sizes) -> None:
    sizes.estimate(a=90, b=80)
    sizes.rollups.answer(None)
    assert sizes.estimate(a=90, b=80) == 90
    assert sizes.estimate(a=95, b=80) == 95


def test_process_that_is_new_is_not_known_to_have_anything_of_its_own(sizes: Sizes) -> None:
    """One that was forked has all that the other has, and no more."""
    sizes.estimate(a=50, b=50)
    sizes.rollups.answer(60)
    sizes.clock.advance(TrueSize.PAUSE * 1.1)
    assert sizes.estimate(a=50, b=50, c=50, d=50) == 60
    assert len(sizes.rollups.asked) == 2


def test_it_is_asked_again_after_a_while(sizes: Sizes) -> None:
    sizes.estimate(a=50, b=50)
    sizes.rollups.answer(60)
    sizes.clock.advance(TrueSize.AGAIN * 0.9)
    sizes.estimate(a=50, b=50)
    assert len(sizes.rollups.asked) == 1
    sizes.clock.advance(TrueSize.AGAIN * 0.2)
    sizes.estimate(a=50, b=50)
    assert len(sizes.rollups.asked) == 2


def test_it_is_not_asked_all_the_time(sizes: Sizes) -> None:
    sizes.estimate(a=50, b=50)
    sizes.rollups.answer(60)
    sizes.estimate(a=60, c=50)
    assert len(sizes.rollups.asked) == 1
    sizes.clock.advance(TrueSize.PAUSE * 1.1)
    sizes.estimate(a=60, c=50)
    assert len(sizes.rollups.asked) == 2


def test_copy_that_is_just_being_made_changes_nothing(house: House) -> None:
    """It has all that the worker has, and is not known yet at the first look at a cell."""
    house.runs()
    house.weights = {7: int(3.7 * GIB), 8: int(3.7 * GIB)}
    house.waits(FIRST)
    assert house.looked == 1
    house.weights = {7: int(3.7 * GIB)}
    house.waits(10 * LATEST)
    assert house.worker.told == []
    house.weights = {7: int(3.9 * GIB)}
    house.waits(LATEST)
    assert len(house.worker.told) == 1


def test_each_look_is_told_to_the_record_with_the_pool_that_is_nearest_to_its_end(house: House) -> None:
    request = house.runs()
    house.waits(LATEST)
    house.pools = [MACHINE, Pool("/group", GIB, GIB + 1)]
    house.waits(LATEST)
    assert house.recorded[0] == (request.id, "IPYMINI_MEMORY_LIMIT", GIB)
    assert house.recorded[-1] == (request.id, "/group", GIB)
