"""The memory watch as a state machine: sizes, marks, who has a part in what, and when the next look is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipymini_supervisor.memory import (
    ASK,
    HELPLESS,
    LATEST,
    LEAST,
    LIMIT,
    SOONEST,
    Deed,
    Guard,
    Pool,
    Size,
    human,
    said,
)

GIB, MIB = 1 << 30, 1 << 20
GROUP, MACHINE = "/sys/fs/cgroup/a", "machine"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4G", 4 * GIB),
        ("4g", 4 * GIB),
        ("4 GiB", 4 * GIB),
        (" 4GB ", 4 * GIB),
        ("1.5G", 3 * GIB // 2),
        ("512M", 512 * MIB),
        ("512mib", 512 * MIB),
        ("1048576K", GIB),
        ("2T", 2048 * GIB),
        (str(GIB), GIB),
        (f"{GIB}B", GIB),
        ("16M", LEAST),
    ],
)
def test_size_in_bytes(text: str, size: int) -> None:
    assert Size.read(text) == Size(size)
    assert Size.read(text).of(100) == size


@pytest.mark.parametrize(("text", "share"), [("80%", 0.8), ("100 %", 1.0), ("12.5%", 0.125)])
def test_size_as_a_share(text: str, share: float) -> None:
    assert Size.read(text) == Size(share=share)
    assert Size.read(text).of(1000) == int(1000 * share)


BAD = ["", "much", "G", "%", "4X", "4GG", "4G4", "4%G", "4G%", "-4G", "+4G", "1e9", "0", "0%", "101%", "15M", "4", "nan%",
       "inf", "1.2.3G", ".", "².5G", "٤G", "4IB", "4 I", "9" * 30, "999999999T"]  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Size.read(text)


@given(st.text(alphabet="0123456789.%KMGTIB +-eEx", max_size=12) | st.text(max_size=12))
def test_any_text_is_a_size_of_some_sense_or_none(text: str) -> None:
    try:
        size = Size.read(text)
    except ValueError:
        return
    assert (LEAST <= size.size < 1 << 60) != (0 < size.share <= 1)


@given(st.floats(16, 1e6), st.sampled_from("MGT"), st.sampled_from(["", "B", "iB"]))
def test_sizes_that_are_written_are_read(value: float, unit: str, rest: str) -> None:
    factor = {"M": MIB, "G": GIB, "T": 1024 * GIB}[unit]
    assert Size.read(f"{value:.3f}{unit}{rest}").size == int(float(f"{value:.3f}") * factor)


@pytest.mark.parametrize(
    ("size", "text"), [(4.1 * GIB, "4.1 GiB"), (GIB, "1.0 GiB"), (1023 * MIB, "1,023 MiB"), (0, "0 MiB")]
)
def test_size_for_people(size: float, text: str) -> None:
    assert human(size) == text


class House:
    """A guard, and what it sees: of one pool, `used` bytes and all growth of it are the kernel's."""

    def __init__(self, name: str = GROUP, total: int = 4 * GIB) -> None:
        self.guard = Guard()
        self.now = 100.0
        self.cell = 1
        self.name, self.total = name, total
        self.spare = False

    def look(self, share: float, own: float | None = None, seconds: float = 1.0) -> Deed:
        """Time passes, and so much of the pool is used, of which `own` is ours."""
        self.now += seconds
        pool = Pool(self.name, int(share * self.total), self.total)
        mine = share if own is None else own
        verdict = self.guard.look(self.now, self.now, self.cell, [pool], int(mine * self.total), spare=self.spare)
        self.wait = verdict.wait
        assert (verdict.pool is None) == (verdict.deed is Deed.NOTHING)
        assert SOONEST <= verdict.wait <= LATEST
        return verdict.deed


@pytest.fixture(params=[GROUP, MACHINE, LIMIT])
def house(request: pytest.FixtureRequest) -> House:
    return House(request.param)


def test_cell_that_grows_is_asked_interrupted_and_killed(house: House) -> None:
    soft, hard = (0.91, 1.0) if house.name == LIMIT else (0.86, 0.96)
    assert house.look(0.3) is Deed.NOTHING
    assert house.look(soft - 0.02, seconds=10) is Deed.NOTHING
    assert house.look(soft, seconds=10) is Deed.ASK
    assert house.guard.asking
    assert house.look(soft, seconds=SOONEST) is Deed.NOTHING
    house.guard.answered()
    assert not house.guard.asking
    assert house.look(soft, seconds=ASK) is Deed.NOTHING  # it has been interrupted by whoever took the answer
    assert house.look(hard, seconds=10) is Deed.KILL
    assert house.look(hard, seconds=10) is Deed.NOTHING


def test_worker_that_does_not_answer_is_not_waited_for(house: House) -> None:
    soft = 0.91 if house.name == LIMIT else 0.86
    house.look(0.3)
    assert house.look(soft, seconds=10) is Deed.ASK
    assert house.look(soft, seconds=ASK / 2) is Deed.NOTHING
    assert house.wait == SOONEST
    assert house.look(soft, seconds=ASK / 2) is Deed.INTERRUPT
    assert house.look(soft, seconds=ASK) is Deed.NOTHING


def test_nor_is_it_when_half_of_what_is_left_is_gone() -> None:
    house = House(LIMIT)
    house.look(0.3)
    assert house.look(0.91, seconds=10) is Deed.ASK
    assert house.look(0.94, seconds=SOONEST) is Deed.NOTHING
    assert house.look(0.96, seconds=SOONEST) is Deed.INTERRUPT


def test_what_was_given_back_while_the_worker_was_asked_interrupts_nothing(house: House) -> None:
    house.look(0.3)
    assert house.look(0.91, seconds=10) is Deed.ASK
    assert house.look(0.5, seconds=SOONEST) is Deed.NOTHING
    assert not house.guard.asking
    assert house.look(0.5, seconds=ASK) is Deed.NOTHING
    assert house.look(0.91, seconds=10) is Deed.ASK


def test_pool_of_which_nothing_is_known_has_given_nothing_back() -> None:
    """As while the system counts what several processes share."""
    house = House(LIMIT)
    house.look(0.3)
    assert house.look(0.91, seconds=10) is Deed.ASK
    house.guard.look(house.now, house.now, house.cell, [Pool(MACHINE, GIB, 64 * GIB)], GIB, spare=False)
    assert house.guard.asking


@pytest.mark.parametrize("name", [GROUP, MACHINE])
def test_snapshots_go_before_a_cell_has_to(name: str) -> None:
    house = House(name)
    house.spare = True
    house.look(0.3)
    assert house.look(0.86, seconds=10) is Deed.RELIEVE
    house.spare = False
    assert house.look(0.86, seconds=10) is Deed.ASK


def test_snapshots_are_no_part_of_what_is_allowed() -> None:
    house = House(LIMIT)
    house.spare = True
    house.look(0.3)
    assert house.look(0.91, seconds=10) is Deed.ASK


def test_session_that_is_nearly_full_can_still_work(house: House) -> None:
    """The marks are in the middle of what is left, and three quarters of the way; what is allowed stays allowed."""
    assert house.look(0.92) is Deed.NOTHING
    assert house.look(0.95, seconds=10) is Deed.NOTHING
    assert house.look(0.965, seconds=10) is Deed.ASK
    assert house.look(0.975, seconds=10) is Deed.INTERRUPT
    assert house.look(1.0 if house.name == LIMIT else 0.985, seconds=10) is Deed.KILL


def test_every_cell_answers_for_itself(house: House) -> None:
    house.look(0.3)
    assert house.look(0.91, seconds=10) is Deed.ASK
    house.cell = 2
    assert house.look(0.91) is Deed.NOTHING
    assert not house.guard.asking
    assert house.look(0.96, seconds=10) is Deed.ASK


@pytest.mark.parametrize("name", [GROUP, MACHINE])
@pytest.mark.parametrize("own", [[0.02, 0.09], [0.5, 0.5], [0.5, 0.49], [0.3, 0.4]])
def test_kernel_does_not_answer_for_what_others_take(name: str, own: list[float]) -> None:
    """It hardly uses the pool, or has not grown, or not as much as the others."""
    house = House(name)
    assert house.look(0.5, own[0]) is Deed.NOTHING
    assert house.look(0.99, own[1], seconds=10) is Deed.NOTHING
    assert house.wait == HELPLESS


def test_kernel_that_hardly_uses_the_pool_does_not_answer_for_it() -> None:
    house = House()
    assert house.look(0.7, 0.02) is Deed.NOTHING
    assert house.look(0.9, 0.09, seconds=10) is Deed.NOTHING
    assert house.look(0.9, 0.11, seconds=10) is Deed.ASK


def test_kernel_with_a_part_in_it_answers() -> None:
    house = House()
    assert house.look(0.5, 0.1) is Deed.NOTHING
    assert house.look(0.86, 0.2, seconds=10) is Deed.ASK


def test_copy_that_counted_at_first_hides_no_growth() -> None:
    house = House()
    assert house.look(0.5, 0.8) is Deed.NOTHING
    assert house.look(0.5, 0.4) is Deed.NOTHING
    assert house.look(0.86, 0.7, seconds=10) is Deed.ASK


def test_large_machine_is_not_full_with_much_left() -> None:
    house = House(MACHINE, total=256 * GIB)
    house.look(0.3)
    assert house.look(0.99, seconds=100) is Deed.NOTHING  # 2.6 GiB
    assert house.look(0.993, seconds=100) is Deed.ASK


def test_who_would_be_too_late_at_the_next_look_is_not_waited_for() -> None:
    house = House(GROUP, total=512 * MIB)
    house.look(0.5)
    assert house.look(0.84, seconds=10) is Deed.NOTHING
    assert house.look(0.93, seconds=0.02) is Deed.KILL
    # What we allow can be exceeded; nothing happens that we do not do.
    house = House(LIMIT, total=512 * MIB)
    house.look(0.5)
    house.look(0.84, seconds=10)
    assert house.look(0.93, seconds=0.02) is Deed.ASK


def test_look_that_took_long_makes_no_growth_faster_than_it_is() -> None:
    """What was seen in the end of it is not from its beginning."""
    guard, total = Guard(), 512 * MIB

    def look(began: float, now: float, share: float) -> Deed:
        pool = Pool(GROUP, int(share * total), total)
        return guard.look(began, now, 1, [pool], pool.used, spare=False).deed

    look(0.0, 0.0, 0.5)
    assert look(1.0, 1.1, 0.8) is Deed.NOTHING
    assert look(1.02, 1.12, 0.88) is Deed.ASK
    assert look(1.14, 1.14, 0.94) is Deed.INTERRUPT
    assert look(1.16, 1.16, 0.949) is Deed.NOTHING


def test_nearer_and_faster_means_sooner(house: House) -> None:
    house.look(0.01)
    waits = []
    for share in (0.02, 0.3, 0.6, 0.8):
        house.look(share, seconds=100)
        waits.append(house.wait)
    assert waits == sorted(waits, reverse=True)
    assert waits[0] > 3 * waits[-1]
    house.look(0.5, seconds=100)
    slow = house.wait
    house.look(0.4, seconds=100)
    house.look(0.5, seconds=0.1)
    assert house.wait < slow / 2


def test_with_much_left_it_is_looked_at_seldom() -> None:
    house = House(MACHINE, total=64 * GIB)
    house.look(0.3)
    assert house.wait == LATEST


@given(
    st.sampled_from([GROUP, MACHINE, LIMIT]),
    st.integers(LEAST, 1 << 45),
    st.lists(st.tuples(st.floats(0, 1.2), st.floats(0, 1.2), st.floats(0, 100), st.integers(1, 3), st.booleans())),
)
def test_guard_keeps_its_promises(name: str, total: int, seen: list[tuple[float, float, float, int, bool]]) -> None:
    """Whatever comes: each cell is asked and interrupted once in a row, nothing happens after a kill, the way to the
    mark is not gone by the next look.
    """
    house = House(name, total)
    killed = 0
    for used, own, seconds, cell, spare in seen:
        house.cell, house.spare = cell, spare
        asking = house.guard.asking
        deed = house.look(used, own, seconds)
        if cell != killed:
            killed = 0
        if killed:
            assert deed is Deed.NOTHING
        if deed is Deed.KILL:
            killed = cell
        assert deed is not Deed.INTERRUPT or asking
        if deed is not Deed.NOTHING:
            assert used * total > 0.5 * (total - 2 * GIB)


def test_what_is_said() -> None:
    allowed = Pool(LIMIT, int(4.1 * GIB), 4 * GIB)
    assert said(allowed, 0, now=False) == "it used 4.1 GiB of 4.0 GiB allowed (IPYMINI_MEMORY_LIMIT)"
    assert said(allowed, 0, now=True) == "the kernel uses 4.1 GiB of 4.0 GiB allowed (IPYMINI_MEMORY_LIMIT)"
    group = Pool(GROUP, int(3.6 * GIB), 4 * GIB)
    assert said(group, 3 * GIB, now=True) == (
        "3.6 GiB of 4.0 GiB allowed to its control group are used, 3.0 GiB by this kernel"
    )
    machine = Pool(MACHINE, 23 * GIB, 24 * GIB)
    assert said(machine, 3 * GIB, now=False) == "23.0 GiB of the machine's 24.0 GiB were used, 3.0 GiB by this kernel"


@pytest.mark.parametrize(
    ("free", "total", "short"),
    [
        (0.049 * 10 * GIB, 10 * GIB, True),
        (0.051 * 10 * GIB, 10 * GIB, False),
        (GIB - 1, 1000 * GIB, True),
        (GIB, 1000 * GIB, False),
        (0, GIB, True),
        (-5, GIB, True),
    ],
)
def test_memory_is_short_by_share_or_by_size_whichever_is_less(free: float, total: int, short: bool) -> None:
    assert Pool(GROUP, int(total - free), total).short is short
