"""A worker's process that cannot be had."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator

import pytest

from forks import Forks
from ipymini_supervisor import process
from ipymini_supervisor.spawning import Ends


@pytest.fixture
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.end()


def test_what_cannot_be_watched_is_killed_and_leaves_no_descriptor(
    forks: Forks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it leaves none is looked at after each test."""

    class Watch:
        def __init__(self, pid: int) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(process, "ExitWatch", Watch)
    pid = forks.start(signal.pause)
    ends = Ends()
    ends.close_theirs()
    with pytest.raises(OSError, match="Too many open files"):
        process.adopt(pid, ends)
    assert forks.status(pid) == -signal.SIGKILL


@pytest.mark.parametrize("number", [1, 2, 3])
def test_no_descriptor_is_left_open_where_there_are_too_few_for_a_worker(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """That none is left is looked at after each test."""
    made, pipe = 0, os.pipe

    def few() -> tuple[int, int]:
        nonlocal made
        made += 1
        if made == number:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return pipe()

    with monkeypatch.context() as patch:
        patch.setattr(os, "pipe", few)
        with pytest.raises(OSError, match="Too many open files"):
            Ends()


def test_what_has_ended_is_not_resumed(forks: Forks) -> None:
    pid = forks.start(lambda: None)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ProcessLookupError, match="it has ended"):
        process.resume(pid, lambda files: None)
