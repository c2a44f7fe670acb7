"""Memory is kept while much comes and goes, and given back once when that has passed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fakes import Clock
from ipymini_supervisor.thrift import MUCH, REST, Thrift
from ipymini_supervisor.timers import Timers


class Saving:
    """A Thrift with a clock of its own, and how often memory was given back."""

    def __init__(self) -> None:
        self.clock, self.timers, self.times = Clock(), Timers(), 0
        self.thrift = Thrift(self.timers, self.clock, self._give_back)

    def _give_back(self) -> None:
        self.times += 1

    def after(self, seconds: float) -> int:
        """How often it was given back, when so much time has passed."""
        self.clock.advance(seconds)
        self.timers.run(self.clock())
        return self.times


def test_little_is_of_no_concern() -> None:
    saving = Saving()
    for size in (0, 1, MUCH - 2):
        saving.thrift.passed(size)
    assert saving.timers.timeout(saving.clock()) is None


@pytest.mark.parametrize("sizes", [[MUCH], [MUCH // 2] * 2, [1] + [MUCH // 8] * 8, [64 * MUCH]])
def test_once_after_much(sizes: list[int]) -> None:
    saving = Saving()
    for size in sizes:
        saving.thrift.passed(size)
    assert saving.after(REST / 2) == 0
    assert saving.after(REST / 2) == 1
    assert saving.timers.timeout(saving.clock()) is None


def test_not_as_long_as_as_much_comes() -> None:
    saving = Saving()
    for _ in range(10):
        saving.thrift.passed(MUCH)
        assert saving.after(REST / 2) == 0
    assert saving.after(REST) == 1


def test_after_each_flood() -> None:
    saving = Saving()
    for flood in range(1, 4):
        saving.thrift.passed(MUCH)
        assert saving.after(REST) == flood


#: Prints the faults of pages that it costs to take ten times four blocks of a megabyte, and what is resident, in megabytes,
#: when a hundred are gone: before and after they are given back. What is between them stays.
BLOCKS = """
import os, resource
from ipymini_supervisor import thrift
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
thrift.keep()
def take():
    return [bytearray(b"x") * (1 << 20) for _ in range(4)]
take()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    take()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
blocks = [(bytearray(1 << 20), bytearray(1000)) for _ in range(100)]
kept = [small for _, small in blocks]
del blocks
print(resident())
thrift.trim()
print(resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator can be asked on Linux only")
def test_the_allocator_does_as_it_is_told() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKS], capture_output=True, text=True, check=True)
    faults, full, rest = map(int, done.stdout.split())
    assert faults < 1000  # four blocks have as many
    assert rest < full - 50
