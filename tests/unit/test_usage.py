"""What the kernel uses, seen from outside of the worker."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator

import pytest

from forks import Forks, ended
from ipymini_supervisor import usage as module
from ipymini_supervisor.usage import cpu_and_memory, usage

NOBODY = 1 << 22


@pytest.fixture(autouse=True)
def nothing_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_seen", {})


@pytest.fixture
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.end()


def test_answer_has_what_clients_show_and_is_json() -> None:
    answer = json.loads(json.dumps(usage([os.getpid()], 12345)))
    assert answer["status"] == "ok"
    assert (answer["pid"], answer["kernel_memory"]) == (os.getpid(), 12345)
    assert answer["kernel_cpu"] == answer["cpu_percent"] >= 0
    assert answer["cpu_count"] >= 1
    assert {"total", "available", "percent", "used", "free"} <= set(answer["host_virtual_memory"])


def test_where_shared_pages_are_not_known_they_count_in_each_process(forks: Forks) -> None:
    pid = forks.start(signal.pause)
    alone, together = usage([os.getpid()], None), usage([os.getpid(), pid], None)
    assert together["kernel_memory"] > alone["kernel_memory"] > 1 << 20


def test_memory_that_is_known_to_be_none_is_none() -> None:
    assert usage([os.getpid()], 0)["kernel_memory"] == 0


def test_process_that_is_gone_uses_nothing() -> None:
    assert usage([NOBODY], None)["kernel_memory"] == 0
    assert usage([], None)["pid"] == os.getpid()


def test_processes_are_remembered_as_long_as_they_are_asked_for() -> None:
    """CPU figures are differences, so that each process is looked at with the same eyes; but not for ever."""
    usage([os.getpid(), os.getppid()], None)
    first = module._seen[os.getpid()]
    usage([os.getpid()], None)
    assert module._seen == {os.getpid(): first}
    usage([], None)
    assert module._seen == {}


@pytest.mark.skipif(sys.platform != "linux", reason="waits for a stop by /proc")
def test_stopped_process_is_told_to_be_stopped_and_one_that_is_gone_has_used_nothing(forks: Forks) -> None:
    pid = forks.start(signal.pause)
    cpu, memory, stopped = cpu_and_memory(pid)
    assert (cpu >= 0, memory > 0, stopped) == (True, True, False)
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
    assert cpu_and_memory(pid)[2] is True
    os.kill(pid, signal.SIGKILL)
    assert ended(pid)
    forks.status(pid)
    assert cpu_and_memory(pid) == (0.0, 0, False)
