"""What is loaded while the worker is idle: once, when it is quiet, and broken off when there is something to do."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from ipymini_worker import warm
from ipymini_worker.latecompleter import LateCompleter
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
    # Other tests' libraries keep threads in this process.
    others, threads = set(threading.enumerate()), warm.survival.foreign_threads
    monkeypatch.setattr(warm.survival, "foreign_threads", lambda: [t for t in threads() if t not in others])


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


def test_step_that_is_done_is_not_done_again_and_a_broken_one_keeps_nobody(requests: Requests) -> None:
    done: list[str] = []

    def first() -> None:
        done.append("first")
        requests.come()

    def broken() -> None:
        done.append("broken")
        raise ImportError("no pygments")

    warmth = Warmth({}, first, broken, lambda: done.append("last"))
    warmth.idle(requests, Loop())
    assert done == ["first"]
    assert not warmth.done
    requests.take()
    warmth.idle(requests, Loop())
    assert done == ["first", "broken", "last"]
    assert warmth.done


FIRST_TRACEBACK = """
import sys
from IPython.core.interactiveshell import InteractiveShell
from ipymini_worker.warm import TRACEBACK
shell = InteractiveShell.instance(colors="Linux")
for step in TRACEBACK if sys.argv[1] == "warm" else ():
    step()
before = set(sys.modules)
import re._compiler
compiled, compile = 0, re._compiler.compile
def count(*args):
    global compiled
    compiled += 1
    return compile(*args)
re._compiler.compile = count
shell.run_cell("1 / 0")
print(len([name for name in set(sys.modules) - before if name.split(".")[0] in ("pygments", "stack_data", "executing")]), compiled)
"""


def test_first_traceback_loads_next_to_nothing(tmp_path: Path) -> None:
    def first(*arguments: str) -> list[int]:
        command = [sys.executable, "-c", FIRST_TRACEBACK, *arguments]
        environment = {**os.environ, "IPYTHONDIR": str(tmp_path)}
        out = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
        ).stdout
        return [int(word) for word in out.split()[-2:]]

    cold, warm = first("cold"), first("warm")
    assert cold[0] > 10
    assert cold[1] > 50
    assert warm[0] < 3
    assert warm[1] < 10


def test_while_others_have_more_to_do_it_is_put_off(requests: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = iter([True, True, False])
    done: list[int] = []
    monkeypatch.setattr(warm, "_crowded", lambda: next(busy))
    Warmth({}, lambda: done.append(1)).idle(requests, Loop())
    assert done == [1]
    assert list(busy) == []


@pytest.fixture
def loop() -> Iterator[Loop]:
    """With a loop of asyncio's, as after a cell that has used it."""
    import asyncio

    made = Loop()
    made.adopt()
    yield made
    made.end()
    asyncio.set_event_loop(None)


def test_not_while_tasks_of_the_user_s_go_on(requests: Requests, loop: Loop) -> None:
    done: list[int] = []
    warmth = Warmth({}, lambda: done.append(1))
    import asyncio

    assert loop.current is not None
    task = loop.current.create_task(asyncio.sleep(0))
    warmth.idle(requests, loop)
    loop.current.run_until_complete(task)
    assert done == []
    warmth.idle(requests, loop)
    assert done == [1]


def test_not_while_a_thread_may_call_something_in_the_loop(requests: Requests, loop: Loop) -> None:
    done: list[int] = []
    warmth = Warmth({}, lambda: done.append(1))
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    warmth.idle(requests, loop)
    end.set()
    thread.join()
    assert done == []
    warmth.idle(requests, loop)
    assert done == [1]


def test_loop_that_is_woken_comes_first(requests: Requests, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by native code, whose threads Python does not know."""
    done: list[int] = []
    warmth = Warmth({}, lambda: done.append(1))
    assert loop.current is not None
    with monkeypatch.context() as patch:
        patch.setattr(warm.survival, "pending", lambda loop: False)  # it comes a moment later
        loop.current.call_soon_threadsafe(loop.current.stop)
        warmth.idle(requests, loop)
    assert done == []
    loop.current.run_forever()
    warmth.idle(requests, loop)
    assert done == [1]


@pytest.mark.parametrize("broken", [{}, {"_selector": SimpleNamespace(get_map=lambda: None)}, {"_selector": 5}])
def test_not_beside_a_loop_that_tells_nothing(
    requests: Requests, monkeypatch: pytest.MonkeyPatch, broken: dict[str, Any]
) -> None:
    """One of another library's, or one whose parts user code has closed or patched."""
    done: list[int] = []
    other = Loop()
    monkeypatch.setattr(other, "_loop", SimpleNamespace(is_closed=lambda: False, **broken))
    Warmth({}, lambda: done.append(1)).idle(requests, other)
    assert done == []


def profiles() -> Callable[[], None]:
    sys.setprofile(lambda *_: None)
    return lambda: sys.setprofile(None)


def traces_memory() -> Callable[[], None]:
    tracemalloc.start()
    return tracemalloc.stop


def monitors() -> Callable[[], None]:
    """As the profilers of Python 3.12 and later do, which the older functions do not tell of."""
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    monitoring.use_tool_id(monitoring.PROFILER_ID, "of the user's")
    return lambda: monitoring.free_tool_id(monitoring.PROFILER_ID)  # type: ignore[no-any-return]


@pytest.mark.parametrize("watch", [profiles, traces_memory, *([monitors] if sys.version_info >= (3, 12) else [])])
def test_not_while_somebody_watches(requests: Requests, watch: Callable[[], Callable[[], None]]) -> None:
    done: list[int] = []
    warmth = Warmth({}, lambda: done.append(1))
    end = watch()
    try:
        warmth.idle(requests, Loop())
    finally:
        end()
    assert done == []
    warmth.idle(requests, Loop())
    assert done == [1]


OLD_JEDI = """
import sys
sys.setrecursionlimit(3000)

class Interpreter:
    def __init__(self, code, namespaces): pass
    def complete(self): return []
"""


@pytest.fixture
def limit() -> Iterator[int]:
    """A recursion limit of the user's, above that of jedi's."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(5000)
    yield 5000
    sys.setrecursionlimit(before)


@pytest.fixture
def old_jedi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The first import of jedi sets the limit."""
    (tmp_path / "jedi.py").write_text(OLD_JEDI)
    monkeypatch.syspath_prepend(str(tmp_path))
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "jedi"}
    yield
    sys.modules.pop("jedi", None)
    sys.modules.update(kept)


def test_import_does_not_lower_the_recursion_limit(old_jedi: None, limit: int) -> None:
    shell: Any = SimpleNamespace(
        Completer=None, user_ns={}, user_ns_hidden={}, magics_manager=SimpleNamespace(lsmagic=lambda: None)
    )
    warm.completer(shell)
    assert "jedi" in sys.modules
    assert sys.getrecursionlimit() == limit


def test_making_of_the_completer_does_not_lower_the_recursion_limit(
    old_jedi: None, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InteractiveShell, "init_completer", lambda self: __import__("jedi"))
    LateCompleter._make(LateCompleter.__new__(LateCompleter))
    assert "jedi" in sys.modules
    assert sys.getrecursionlimit() == limit


def test_parser_of_the_completer_s_logs_nothing_into_cells(old_jedi: None, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("parso")
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    shell: Any = SimpleNamespace(
        Completer=None, user_ns={}, user_ns_hidden={}, magics_manager=SimpleNamespace(lsmagic=lambda: None)
    )
    warm.completer(shell)
    assert logger.level == logging.WARNING


def test_crowd_is_counted_where_the_system_tells() -> None:
    assert os.cpu_count()
    assert isinstance(warm._crowded(), bool)
