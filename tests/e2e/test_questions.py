"""Questions that are asked while a cell runs are answered from the session as it is."""

from __future__ import annotations

import ctypes
import random
import threading
import time
from typing import Any

import pytest

from .client import Client
from .conftest import StartKernel

CELLS = {
    "a loop": "print('runs')\nwhile not over: pass\n'whole'",
    "a sleep": "import time\nprint('runs')\nwhile not over: time.sleep(0.001)\n'whole'",
    "an await": "import asyncio\nprint('runs')\nwhile not over: await asyncio.sleep(0.001)\n'whole'",
}
QUESTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "complete_request": ({"code": "my_variable.bit_l", "cursor_pos": 17}, {"status": "ok"}),
    "inspect_request": ({"code": "my_variable", "cursor_pos": 3, "detail_level": 0}, {"found": True}),
    "is_complete_request": ({"code": "for x in y:"}, {"status": "incomplete"}),
    "history_request": ({"hist_access_type": "range", "raw": True, "start": 1, "stop": 2}, {"status": "ok"}),
    "comm_info_request": ({}, {"status": "ok"}),
}
EMPTY: dict[str, dict[str, Any]] = {
    "complete_request": {"matches": [], "cursor_start": 17, "cursor_end": 17, "status": "ok"},
    "inspect_request": {"found": False, "data": {}, "status": "ok"},
    "is_complete_request": {"status": "unknown"},
    "history_request": {"history": [], "status": "ok"},
    "comm_info_request": {"comms": {}, "status": "ok"},
}


@pytest.mark.row("Protocol", "completion and other questions are answered while a cell runs")
@pytest.mark.parametrize("name", CELLS)
def test_while_a_cell_runs(client: Client, name: str) -> None:
    client.execute("my_variable, over = 5, False")
    client.ask("complete_request", {"code": "impor", "cursor_pos": 5})  # so that jedi is loaded, which takes its time
    cell = client.start(CELLS[name])
    client.wait_text(cell, "runs")
    for kind, (content, expected) in QUESTIONS.items():
        run = client.ask(kind, content)
        assert {key: run.reply[key] for key in expected} == expected, kind
        if kind == "complete_request":
            assert run.reply["matches"][0].endswith("bit_length")
        assert not cell.replies
        last = [m for c, m in client.messages if c == "iopub" and m["msg_type"] == "status"][-1]
        assert last["content"]["execution_state"] == "busy"
    client.execute("over = True", subshell=client.new_subshell())
    assert client.finish(cell).result == "'whole'"
    for name in client.ask("list_subshell_request", channel="control").reply["subshell_id"]:
        client.ask("delete_subshell_request", {"subshell_id": name}, channel="control")


def test_what_the_running_cell_has_made_is_known(client: Client) -> None:
    cell = client.start("made_meanwhile = 1; print('made')\nwhile True: pass")
    client.wait_text(cell, "made")
    assert client.ask("complete_request", {"code": "made_mean", "cursor_pos": 9}).reply["matches"] == ["made_meanwhile"]
    client.interrupt()
    assert client.finish(cell).error == "KeyboardInterrupt"


@pytest.mark.slow
def test_while_python_cannot_run_the_answer_is_an_empty_one(client: Client) -> None:
    """After two seconds, of which all that wait share one second time."""
    assert ctypes.PyDLL  # what the cell does: a call into C that holds the lock, and has it when the text is written
    client.execute("import ctypes; libc = ctypes.PyDLL(None)")
    cell = client.start("libc.system(b'echo holds; exec sleep 10')")
    client.wait_text(cell, "holds")
    runs = {kind: client.send(kind, content) for kind, (content, _) in QUESTIONS.items()}
    for kind, run in runs.items():
        reply = client.finish(run).reply
        assert {key: reply[key] for key in EMPTY[kind]} == EMPTY[kind]
        assert not cell.replies
    assert client.finish(cell).status == "ok"
    assert client.ask("complete_request", {"code": "impor", "cursor_pos": 5}).reply["matches"] == ["import"]


def test_a_completion_that_hangs_does_not_keep_others_from_the_cell(client: Client) -> None:
    """User code that is asked for its attributes takes its time; the cell goes on, and ends."""
    client.execute(
        "import threading\nasked, go = threading.Event(), threading.Event()\nclass Slow:\n"
        "    def __dir__(self):\n        asked.set(); go.wait(30); return ['slow']\nslow = Slow(); over = False"
    )
    cell = client.start("asked.wait(30)\n'whole'")
    client.wait_input(cell)
    question = client.send("complete_request", {"code": "slow.", "cursor_pos": 5})
    assert client.finish(cell).result == "'whole'"
    assert client.execute("'next'").result == "'next'"
    assert not question.replies
    client.execute("go.set()")
    assert client.finish(question).reply["matches"][-1].endswith("slow")
    assert client.ask("complete_request", {"code": "impor", "cursor_pos": 5}).reply["matches"] == ["import"]


def test_a_cell_finds_its_modules_while_a_completion_is_made(client: Client) -> None:
    """jedi, left alone, looks for `builtins` in an empty `sys.path`, which is that of the cell, too."""
    client.execute(
        "import sys\nseen = set()\nclass Spy:\n    @staticmethod\n"
        "    def find_spec(name, path=None, target=None): seen.add(tuple(sys.path))\nsys.meta_path.insert(0, Spy)"
    )
    cell = client.start("input()")
    question = client.wait_question(cell)
    for code in ("pri", "import os.pa", "len("):
        assert client.ask("complete_request", {"code": code, "cursor_pos": len(code)}).reply["matches"]
    client.answer(question, "")
    assert client.finish(cell).status == "ok"
    assert client.execute("seen == {tuple(sys.path)}").result == "True"


def test_questions_and_cells_mixed(client: Client) -> None:
    """Each is answered once, whatever comes in between."""
    started = time.perf_counter()
    cells, questions = [], []
    for number in range(60):
        cells.append(client.start(f"sum(range(20_000)), {number}"))
        questions.append(client.send("complete_request", {"code": "impor", "cursor_pos": 5}))
        questions.append(client.send("is_complete_request", {"code": "1"}))
    for number, cell in enumerate(cells):
        assert client.finish(cell, 60).result == f"(199990000, {number})"
    assert {client.finish(question, 60).status for question in questions} <= {"ok", "complete", "unknown"}
    print(f"{time.perf_counter() - started:.1f} s")


WATCH = """
import importlib.machinery, sys, time

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name != "jedi.plugins":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module

        def run_and_watch(module):
            run(module)
            manager, decorate = module.plugin_manager, module.plugin_manager.decorate
            calls = iter([False, True])  # a second time, when the first function has been entered

            def decorate_and_wait(*args, **named):
                if not next(calls):
                    return decorate(*args, **named)
                del manager.decorate
                print("in the midst")
                end = time.monotonic() + 10
                while sys.getprofile() is None and time.monotonic() < end:
                    time.sleep(0.001)
                return decorate(*args, **named)

            manager.decorate = decorate_and_wait

        spec.loader.exec_module = run_and_watch
        return spec

sys.meta_path.insert(0, Watch())
"""


def test_what_is_loaded_while_idle_is_whole_although_cells_come_in_its_midst(start_kernel: StartKernel) -> None:
    """The bug: an import that was broken off in a module's body could not be made again in this session."""
    client = start_kernel(env={"IPYMINI_WARM": "1"}).connect()
    client.execute("def some_function(a, b): pass")
    client.wait_text(client.execute(WATCH), "in the midst")
    moments = random.Random(4)
    for number in range(3):
        assert client.execute(f"{number} + 1").result == f"{number + 1}"
        threading.Event().wait(0.5 + moments.random() / 2)  # when it begins anew, and somewhere in its midst
    reply = client.ask("complete_request", {"code": "some_", "cursor_pos": 5}).reply
    (found,) = reply["metadata"]["_jupyter_types_experimental"]
    assert found["signature"] == "(a, b)"  # which is jedi's to know
