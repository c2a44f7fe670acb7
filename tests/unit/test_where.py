"""Where a thread is, as the worker says it and the supervisor reads it."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ipymini_supervisor import stack
from ipymini_worker import where


def told(work: Callable[[Callable[[], None]], None]) -> str:
    """What is said about a thread that does `work`, which is to call what it gets."""
    there, go = threading.Event(), threading.Event()

    def hold() -> None:
        there.set()
        go.wait()

    thread = threading.Thread(target=work, args=(hold,))
    thread.start()
    try:
        there.wait()
        return where.stack(thread.ident)
    finally:
        go.set()
        thread.join()


def test_a_stack_is_read_as_that_of_faulthandler() -> None:
    code = compile(
        "def f(hold):\n\n    hold()\n\ndef run_code(hold):\n    f(hold)\n", "/x/IPython/core/ä \n.py", "exec"
    )
    names: dict[str, Callable[[Callable[[], None]], None]] = {}
    exec(code, names)
    text = told(names["run_code"])
    assert text.startswith("Stack (most recent call first):\n  File ")
    (outer,) = [line for line in stack.parse(text, main=True) if line.function == "f"]
    assert (outer.file, outer.line) == ("/x/IPython/core/ä \\n.py", 3)
    assert "run_code" not in [line.function for line in stack.parse(text, main=True)]


def test_many_frames_are_not_all_told() -> None:
    def descend(hold: Callable[[], None], depth: int = 300) -> None:
        descend(hold, depth - 1) if depth else hold()

    lines = told(descend).splitlines()
    assert len(lines) == 102
    assert lines[-1] == "  ..."
    assert stack.is_complete("\n".join(lines).encode())


def test_a_thread_that_is_gone_has_no_frames() -> None:
    assert where.stack(None) == where.stack(1) == "Stack (most recent call first):\n"


def test_where_it_would_stand_still_the_collector_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11 holds a lock while it makes the frames, and a finalizer may wait for somebody who waits for that."""
    seen: list[bool] = []
    look = sys._current_frames

    def looks() -> dict[int, Any]:
        seen.append(gc.isenabled())
        return look()

    monkeypatch.setattr(sys, "_current_frames", looks)
    assert threading.get_ident() in where.frames()
    assert gc.isenabled()
    assert seen == [sys.version_info >= (3, 12)]


def test_a_line_that_no_file_has_is_not_read() -> None:
    assert stack.parse(f'Stack (most recent call first):\n  File "x", line {"1" * 5000} in f\n', main=True) == []
    assert stack.read(f'  File "x", line {"1" * 5000}, in f\n') == []
    (line,) = stack.parse(f'Stack (most recent call first):\n  File "<ipython-input-{"1" * 5000}-0>", line 1 in f\n')
    assert line.cell is None
