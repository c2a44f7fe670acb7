"""What is loaded while the worker is idle: once, when it is quiet, and broken off when there is something to do."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipymini_worker import warm
from ipymini_worker.loop import Loop
from ipymini_worker.warm import Warmth


class Requests:
    """A source, and what a test does with it."""

    def __init__(self) -> None:
        self.waiting = False
        self._here, self._there = socket.socketpair()

    def fileno(self) -> int:
        """As in a `Source`."""
        return self._here.fileno()

    def come(self) -> None:
        """There is a request."""
        self._there.send(b".")

    def take(self) -> None:
        """It is read."""
        self._here.recv(1)

    def close(self) -> None:
        self._here.close()
        self._there.close()


@pytest.fixture
def requests() -> Iterator[Requests]:
    made = Requests()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is quiet at once, and nobody else is there."""
    monkeypatch.setattr(warm, "_AT_START", 0.0)
    monkeypatch.setattr(warm, "_AFTER_CELL", 0.0)
    monkeypatch.setattr(warm, "_crowded", lambda: False)


@pytest.fixture
def package(tmp_path: Path) -> dict[str, Any]:
    """Functions of the completer's: `turn` calls until it is ended, `save` does so in the file that must not be ended."""
    names: dict[str, Any] = {}
    source = "def turn(until):\n    while not until(): step()\ndef step(): pass\n"
    for name, path in (("turn", "jedi/api.py"), ("save", "parso/cache.py")):
        space: dict[str, Any] = {}
        exec(compile(source, str(tmp_path / path), "exec"), space)
        names[name] = space["turn"]
    return names


def state(requests: Requests) -> tuple[Any, ...]:
    """What has to be as it was."""
    return sys.getprofile(), signal.getsignal(warm._SIGNAL), fcntl.fcntl(requests.fileno(), fcntl.F_GETFL)


def test_it_is_done_once(requests: Requests) -> None:
    done: list[int] = []
    warmth = Warmth({}, lambda: done.append(1))
    before = state(requests)
    for _ in range(3):
        warmth.idle(requests, Loop())
    assert done == [1]
    assert state(requests) == before


def test_it_can_be_switched_off(requests: Requests) -> None:
    done: list[int] = []
    Warmth({"IPYMINI_WARM": "0"}, lambda: done.append(1)).idle(requests, Loop())
    assert done == []


def test_request_that_is_there_comes_first(requests: Requests) -> None:
    done: list[int] = []
    warmth = Warmth({}, lambda: done.append(1))
    requests.come()
    warmth.idle(requests, Loop())
    requests.take()
    requests.waiting = True
    warmth.idle(requests, Loop())
    assert done == []
    requests.waiting = False
    warmth.cell()
    warmth.idle(requests, Loop())
    assert done == [1]


def test_request_breaks_it_off_and_it_is_done_later(requests: Requests, package: dict[str, Any]) -> None:
    begun: list[int] = []

    def work() -> None:
        begun.append(1)
        if len(begun) == 1:
            requests.come()
            package["turn"](lambda: False)

    warmth = Warmth({}, work)
    before = state(requests)
    warmth.idle(requests, Loop())
    assert not warmth.done
    assert state(requests) == before
    requests.take()
    warmth.idle(requests, Loop())
    assert warmth.done
    assert begun == [1, 1]
    assert state(requests) == before


def test_request_that_comes_from_elsewhere_breaks_it_off(requests: Requests, package: dict[str, Any]) -> None:
    timer = threading.Timer(0.05, requests.come)
    warmth = Warmth({}, lambda: package["turn"](lambda: False))
    timer.start()
    warmth.idle(requests, Loop())
    timer.join()
    assert not warmth.done


def test_writing_of_a_file_is_not_broken_off(requests: Requests, package: dict[str, Any]) -> None:
    """Other processes read it. Nor is what is not the completer's: an import, a finalizer of the user's."""
    left = iter(range(100))
    calls: list[int] = []

    def work() -> None:
        requests.come()
        package["save"](lambda: next(left, None) is None)
        package["save"](lambda: package["turn"](lambda: True) or True)
        calls.append(1)

    warmth = Warmth({}, work)
    warmth.idle(requests, Loop())
    assert calls == [1]
    assert warmth.done


def test_import_is_not_broken_off(
    requests: Requests, package: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Functions that a module's body calls, and class bodies, are the completer's own as well."""
    folder = tmp_path / "jedi"
    folder.mkdir()
    (folder / "ours.py").write_text("def called(): pass\ncalled()\nclass Body: called()\nwhole = True\n")
    monkeypatch.syspath_prepend(str(folder))
    ended: list[bool] = []

    def work() -> None:
        requests.come()
        import ours  # type: ignore[import-not-found]

        ended.append(ours.whole)
        package["turn"](lambda: False)

    warmth = Warmth({}, work)
    warmth.idle(requests, Loop())
    sys.modules.pop("ours", None)
    assert ended == [True]
    assert not warmth.done


def test_completer_that_is_broken_is_left_alone(requests: Requests) -> None:
    def work() -> None:
        raise ImportError("no jedi")

    warmth = Warmth({}, work)
    warmth.idle(requests, Loop())
    assert warmth.done


def test_while_others_have_more_to_do_it_is_put_off(requests: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = iter([True, True, False])
    done: list[int] = []
    monkeypatch.setattr(warm, "_crowded", lambda: next(busy))
    Warmth({}, lambda: done.append(1)).idle(requests, Loop())
    assert done == [1]
    assert list(busy) == []


def test_not_while_tasks_of_the_user_s_go_on_or_somebody_watches(requests: Requests) -> None:
    done: list[int] = []
    warmth = Warmth({}, lambda: done.append(1))
    import asyncio

    loop = Loop()
    loop.adopt()
    assert loop.current is not None
    task = loop.current.create_task(asyncio.sleep(0))
    warmth.idle(requests, loop)
    loop.current.run_until_complete(task)
    sys.setprofile(lambda *_: None)
    try:
        warmth.idle(requests, loop)
    finally:
        sys.setprofile(None)
    assert done == []
    warmth.idle(requests, loop)
    assert done == [1]
    loop.end()
    asyncio.set_event_loop(None)


def test_crowd_is_counted_where_the_system_tells() -> None:
    assert os.cpu_count()
    assert isinstance(warm._crowded(), bool)
