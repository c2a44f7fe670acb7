"""The account of a cell: time, CPU and memory of the process that ran it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fakes import Clock, message
from forks import Forks, readable
from ipymini_supervisor.lanes import Request
from ipymini_supervisor.ledger import SHORT, Ledger, Meter

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is known")
NOBODY = 1 << 22
FIELDS = {"queued", "started", "ended", "cpu_seconds", "peak_memory"}


@pytest.fixture
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.end()


class House:
    """`Ledger` over this very process, or another one."""

    def __init__(self) -> None:
        self.pid: int | None = os.getpid()
        self.clock = Clock()
        self.ledger = Ledger(lambda: self.pid, self.clock)
        self.count = 0

    def ends(self, request: Request, seconds: float = 1.0) -> dict[str, Any]:
        """The cell has taken so long."""
        self.clock.advance(seconds)
        return self.ledger.end(request)

    def begins(self) -> Request:
        self.count += 1
        request = Request(self.count, "shell", message("execute_request"))
        request.queued, request.started = "2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:01.000000Z"
        self.ledger.begin(request)
        return request


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.ledger.close()


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_times_are_those_of_the_request(house: House) -> None:
    account = house.ends(house.begins())
    assert account.keys() == FIELDS
    assert (account["queued"], account["started"]) == ("2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:01.000000Z")
    assert account["ended"] > account["started"]
    assert account["ended"].endswith("Z")


def test_request_that_was_never_begun_has_taken_nothing(house: House) -> None:
    account = house.ends(Request(7, "shell", message("execute_request")))
    assert account | {"ended": ""} == dict.fromkeys(FIELDS) | {"ended": ""}


@linux
def test_cpu_is_what_was_used_meanwhile(house: House) -> None:
    request = house.begins()
    burn(0.1)
    used = house.ends(request)["cpu_seconds"]
    assert used >= 0.1
    request = house.begins()
    assert house.ends(request)["cpu_seconds"] < used


@linux
def test_cpu_of_children_counts_when_they_have_been_waited_for(house: House, forks: Forks) -> None:
    request = house.begins()
    assert forks.status(forks.start(lambda: burn(0.3))) == 0
    assert house.ends(request)["cpu_seconds"] > 0.2


@linux
def test_memory_is_the_most_that_there_was_if_there_never_was_more() -> None:
    """Of a process that is not a copy of this one, which may have had much more once."""
    house = House()
    grow = (
        "import os, signal\n"
        "for size in (64, 32):\n"
        "    os.read(0, 1)\n"
        "    data = bytearray(b'x') * (size << 20)\n"
        "    del data\n"
        "    os.write(1, b'x')\n"
        "signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", grow], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        house.pid = process.pid
        peaks = []
        for _ in range(2):
            request = house.begins()
            os.write(process.stdin.fileno(), b"x")
            assert readable(process.stdout.fileno())
            os.read(process.stdout.fileno(), 1)
            peaks.append(house.ends(request)["peak_memory"])
        process.kill()
    house.ledger.close()
    assert 1 << 20 < peaks[1] < peaks[0] - (48 << 20)


@linux
def test_process_that_has_died_tells_nothing(house: House, forks: Forks) -> None:
    house.pid = forks.start(signal.pause)
    request = house.begins()
    os.kill(house.pid, signal.SIGKILL)
    forks.status(house.pid)
    account = house.ends(request)
    assert (account["cpu_seconds"], account["peak_memory"]) == (None, None)


@linux
def test_cell_is_not_told_what_the_next_worker_has_used(house: House, forks: Forks) -> None:
    request = house.begins()
    house.pid = forks.start(signal.pause)
    other = house.begins()
    assert house.ends(request)["cpu_seconds"] is None
    assert house.ends(other)["cpu_seconds"] is not None


def test_without_a_worker_there_is_no_account(house: House) -> None:
    house.pid = None
    assert house.ends(house.begins())["cpu_seconds"] is None


def test_process_that_is_not_there_has_no_files() -> None:
    meter = Meter(NOBODY)
    assert meter.cpu() is None
    assert meter.read() == (0.0, 0, 0)
    meter.close()


def test_nothing_stays_open(house: House) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("/proc")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        house.ends(house.begins())
        house.ledger.close()
    assert len(os.listdir("/proc/self/fd")) == before


@linux
def test_of_a_cell_that_was_over_in_a_moment_only_its_own_cpu_time_is_known(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = house.begins()
    monkeypatch.setattr(Meter, "read", lambda self: pytest.fail("it is not worth it"))
    account = house.ends(request, SHORT / 2)
    assert account["cpu_seconds"] >= 0
    assert account["peak_memory"] is None
