"""The guardian: ends what is left when the supervisor is killed, and nothing else."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from forks import Forks, ended, readable
from ipymini_supervisor.guardian import Guardian
from ipymini_supervisor.tree import MARK

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="found by /proc")


@pytest.fixture
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.end()


class Marked:
    """A program that waits in a session of its own, with a mark in its environment, and ignores what it can."""

    def __init__(self, mark: str) -> None:
        reading, self._end = os.pipe()
        ready, tell = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, reading, 0), (os.POSIX_SPAWN_DUP2, tell, 1)]
        argv = ["sh", "-c", "trap '' TERM INT HUP; echo; read -r line"]
        self.pid = os.posix_spawn("/bin/sh", argv, {MARK: mark}, file_actions=actions, setsid=True)
        self._status: int | None = None
        for fd in (reading, tell):
            os.close(fd)
        assert readable(ready)  # before, the system may not have filled its environment in
        os.close(ready)

    def end(self) -> int:
        """Its exit status, or minus the signal, now that it may end by itself."""
        if self._status is None:
            os.close(self._end)
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status


class Start(Protocol):
    """Starts a program with a mark."""

    def __call__(self, mark: str) -> Marked: ...


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Marked] = []

    def begin(mark: str) -> Marked:
        started.append(Marked(mark))
        return started[-1]

    yield begin
    for marked in started:
        marked.end()


_PID = os.getpid()


def own(name: str) -> str:
    """A mark that no other test run has."""
    return f"test-{_PID}-{name}"


def test_dismissed_guardian_is_gone_and_has_ended_nobody(start: Start) -> None:
    marked = start(own("dismissed"))
    guardian = Guardian(own("dismissed"), os.environ)
    assert guardian.pid is not None
    pid = guardian.pid
    guardian.dismiss()
    assert guardian.pid is None
    guardian.dismiss()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert marked.end() == 1  # `read` has found the end of the file


def test_guardian_is_in_a_session_of_its_own_and_has_no_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, own("inherited"))
    guardian = Guardian(own("inherited"), os.environ)
    try:
        assert guardian.pid is not None
        assert os.getsid(guardian.pid) == guardian.pid
        assert MARK.encode() not in Path(f"/proc/{guardian.pid}/environ").read_bytes()
    finally:
        guardian.dismiss()


def test_all_that_carry_the_mark_are_ended_when_the_supervisor_is_killed_and_nobody_else(
    forks: Forks, start: Start
) -> None:
    ready, tell = os.pipe()

    def supervisor() -> None:
        os.write(tell, b"%d" % (Guardian(own("mark"), os.environ).pid or 0))
        signal.pause()

    ours, others = [start(own("mark")) for _ in range(3)], [start(own("mark2")), start(own("mar"))]
    pid = forks.start(supervisor, [tell])
    os.close(tell)
    assert readable(ready)
    assert int(os.read(ready, 20))
    os.close(ready)
    assert not any(ended(marked.pid, 0) for marked in ours)
    os.kill(pid, signal.SIGKILL)
    for marked in ours:
        assert ended(marked.pid)
    assert [marked.end() for marked in ours] == [-signal.SIGKILL] * 3
    assert [marked.end() for marked in others] == [1, 1]


def test_where_no_shell_can_be_started_there_is_no_guardian(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object, **options: object) -> int:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "posix_spawn", fails)
    guardian = Guardian(own("none"), os.environ)
    assert guardian.pid is None
    guardian.dismiss()


def test_guardian_that_somebody_else_has_ended_can_be_dismissed() -> None:
    guardian = Guardian(own("ended"), os.environ)
    assert guardian.pid is not None
    os.kill(guardian.pid, signal.SIGKILL)
    os.waitpid(guardian.pid, 0)
    guardian.dismiss()
    assert guardian.pid is None
