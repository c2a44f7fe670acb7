"""Requests that wait for a thread: how it comes to its end."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from ipymini_worker.context import Request
from ipymini_worker.link import LinkLost
from ipymini_worker.subshells import Requests


class Interrupted(deque[Request | None]):
    """Another thread goes on as soon as something has been added."""

    def __init__(self, other: Callable[[], None]) -> None:
        self._other = other

    def append(self, item: Request | None) -> None:
        super().append(item)
        self._other()


@pytest.fixture
def requests() -> Iterator[Requests]:
    made = Requests()
    yield made
    with suppress(OSError):
        made.forget()


def test_the_thread_may_be_gone_before_its_end_was_said(requests: Requests) -> None:
    """The worker ended then, as if user code had closed its descriptors."""
    taken = []

    def thread() -> None:
        taken.append(requests.take())
        requests.close()

    requests._waiting = Interrupted(thread)
    requests.end()
    assert taken == [None]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(requests._writer.fileno())


def test_the_end_wakes_the_thread(requests: Requests) -> None:
    with pytest.raises(BlockingIOError):
        requests._reader.recv(1)
    requests.end()
    assert requests._reader.recv(1) == b""
    assert requests.take() is None


def test_an_end_that_user_code_has_closed(requests: Requests) -> None:
    """The thread would be woken for ever."""
    os.close(requests._writer.detach())
    with pytest.raises(LinkLost):
        requests.take()


def test_an_end_that_user_code_has_closed_already(requests: Requests) -> None:
    os.close(requests._writer.fileno())
    with pytest.raises(LinkLost):
        requests.end()


def test_the_end_wakes_the_thread_beside_a_process_that_has_the_descriptor_too(requests: Requests) -> None:
    """As one that a cell has forked."""
    other = os.dup(requests._writer.fileno())
    try:
        requests.end()
        assert requests._reader.recv(1) == b""
        assert requests.take() is None
    finally:
        os.close(other)
