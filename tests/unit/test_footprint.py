"""What processes have, as `/proc` tells at once."""

from __future__ import annotations

import mmap
import os
import signal
import sys
from collections.abc import Iterator

import pytest

from forks import Forks
from ipymini_supervisor import oomscore
from ipymini_supervisor.footprint import footprint

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc")
NOBODY = 1 << 22
SIZE = 32 << 20


@pytest.fixture
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.end()


def test_memory_that_is_taken_counts_and_what_is_given_back_does_not() -> None:
    own = os.getpid()
    before = footprint([own])[own]
    with mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as taken:
        assert footprint([own])[own] < before + SIZE / 2  # it is only promised
        taken.write(b"x" * SIZE)
        assert footprint([own])[own] > before + SIZE * 0.9
    assert footprint([own])[own] < before + SIZE / 2


def test_memory_that_is_shared_on_purpose_counts() -> None:
    own = os.getpid()
    before = footprint([own])[own]
    with mmap.mmap(-1, SIZE) as shared:
        shared.write(b"x" * SIZE)
        assert footprint([own])[own] > before + SIZE * 0.9


def test_each_process_is_weighed_by_itself_and_one_that_is_gone_has_nothing(forks: Forks) -> None:
    pid = forks.start(signal.pause)
    weights = footprint([os.getpid(), pid, NOBODY])
    assert weights.keys() == {os.getpid(), pid, NOBODY}
    assert weights[os.getpid()] > 1 << 20
    assert weights[pid] > 1 << 20
    assert weights[NOBODY] == 0


def test_worker_is_more_exposed_than_we_are_and_copies_most(forks: Forks) -> None:
    pid = forks.start(signal.pause)

    def score(pid: int) -> int:
        with open(f"/proc/{pid}/oom_score_adj") as file:
            return int(file.read())

    oomscore.expose(pid)
    assert score(pid) == min(1000, score(os.getpid()) + oomscore.WORKER)
    oomscore.sacrifice(pid)
    assert score(pid) == 1000
    oomscore.expose(NOBODY)
    oomscore.sacrifice(NOBODY)
