"""Requests that run no cell: completion, inspection, completeness, history."""

from __future__ import annotations

from typing import Any

import pytest

from worker.driver import Start, Worker


def complete(worker: Worker, code: str, cursor: int | None = None) -> dict[str, Any]:
    content: dict[str, Any] = {"code": code}
    if cursor is not None:
        content["cursor_pos"] = cursor
    reply = worker.get("complete_request", content)
    assert reply["status"] == "ok"
    return reply


def test_completion_replaces_the_word_at_the_cursor(worker: Worker) -> None:
    reply = complete(worker, "import os; os.getc", 18)
    assert "getcwd" in {match.removeprefix("os.") for match in reply["matches"]}
    assert reply["cursor_end"] == 18
    assert reply["cursor_start"] in (11, 14)


@pytest.mark.parametrize("before", ["s = 'é'; ", "s = '😀😀'; ", "# ü\n", "s = 'e\u0301'; "])
def test_positions_count_code_points_whatever_comes_before(worker: Worker, before: str) -> None:
    code = f"{before}prin"
    reply = complete(worker, code, len(code))
    assert "print" in reply["matches"]
    assert (reply["cursor_start"], reply["cursor_end"]) == (len(before), len(code))


def test_completion_in_the_middle_of_a_cell(worker: Worker) -> None:
    code = "x = prin\n😀 = 5"
    reply = complete(worker, code, 8)
    assert "print" in reply["matches"]
    assert (reply["cursor_start"], reply["cursor_end"]) == (4, 8)


def test_types_of_completions_are_told(worker: Worker) -> None:
    worker.good("def some_function(a, b): pass\nsome_number = 1")
    types = complete(worker, "some_")["metadata"]["_jupyter_types_experimental"]
    found = {entry["text"]: entry for entry in types}
    assert found["some_function"]["type"] == "function"
    assert set(found["some_function"]) == {"start", "end", "text", "type", "signature"}


@pytest.mark.parametrize("cursor", [-5, 10_000, 0])
def test_cursor_beyond_the_code_is_taken_for_its_end(worker: Worker, cursor: int) -> None:
    complete(worker, "pri", cursor)


@pytest.mark.parametrize(
    "code", ["", " ", "(", "'", "\\", "%", "%%", "!", "\x00", "a" * 10_000, "import ", "x.\n\n", "\ud800"]
)
def test_completion_of_anything_is_answered(worker: Worker, code: str) -> None:
    reply = complete(worker, code)
    assert 0 <= reply["cursor_start"] <= reply["cursor_end"] <= len(code)


def test_magics_and_files_are_completed(worker: Worker) -> None:
    assert "%timeit" in complete(worker, "%timei")["matches"]
    worker.good("import os, tempfile\nos.chdir(tempfile.mkdtemp())\nopen('some-file.txt', 'w').close()")
    assert any("some-file.txt" in match for match in complete(worker, "open('some-f")["matches"])


def test_completer_survives_an_object_that_raises(worker: Worker) -> None:
    worker.good(
        "class Odd:\n    def __dir__(self): raise ValueError\n    def __getattr__(self, n): raise RuntimeError\nodd = Odd()"
    )
    complete(worker, "odd.")


def inspect(worker: Worker, code: str, cursor: int, level: int = 0, **metadata: Any) -> dict[str, Any]:
    content = {"code": code, "cursor_pos": cursor, "detail_level": level}
    return worker.get("inspect_request", content, metadata)


def test_inspection_shows_the_documentation(worker: Worker) -> None:
    reply = inspect(worker, "print(1)", 3)
    assert (reply["status"], reply["found"]) == ("ok", True)
    assert "Prints the values" in reply["data"]["text/plain"]


def test_inspection_of_a_call_finds_the_function_from_between_the_parentheses(worker: Worker) -> None:
    assert "Prints the values" in inspect(worker, "print(", 6)["data"]["text/plain"]


@pytest.mark.parametrize("before", ["😀 = 1; ", "s = 'ü'\n"])
def test_inspection_counts_code_points(worker: Worker, before: str) -> None:
    code = f"{before}print"
    assert inspect(worker, code, len(code))["found"]


def test_higher_level_shows_the_source(worker: Worker) -> None:
    worker.good("def shown():\n    'doc of shown'\n    return 'body of shown'")
    assert "body of shown" not in inspect(worker, "shown", 5, 0)["data"]["text/plain"]
    assert "body of shown" in inspect(worker, "shown", 5, 1)["data"]["text/plain"]


@pytest.mark.parametrize("code", ["no_such_name", "", "1 + ", "(", "no.such.thing", "\x00", "😀"])
def test_inspection_of_nothing_finds_nothing(worker: Worker, code: str) -> None:
    assert inspect(worker, code, len(code)) == {"status": "ok", "found": False, "data": {}, "metadata": {}}


@pytest.mark.parametrize(
    ("code", "reply"),
    [
        ("1 + 1", {"status": "complete"}),
        ("print('hello, world')", {"status": "complete"}),
        ("for i in range(3):", {"status": "incomplete", "indent": "    "}),
        ("x = (1,", {"status": "incomplete", "indent": ""}),
        ("'''", {"status": "incomplete", "indent": ""}),
        ("def f():\n    for x in y:", {"status": "incomplete", "indent": "        "}),
        ("for i in range(3):\n    print(i)\n\n", {"status": "complete"}),
        ("import = 7q", {"status": "invalid"}),
        ("%matplotlib inline", {"status": "complete"}),
        ("await x", {"status": "complete"}),
        ("", {"status": "complete"}),
    ],
)
def test_completeness(worker: Worker, code: str, reply: dict[str, Any]) -> None:
    assert worker.get("is_complete_request", {"code": code}) == reply


@pytest.fixture
def remembers(start: Start) -> Worker:
    """A worker with one session behind it and some cells of its own."""
    earlier = start()
    for code in ("earlier = 1", "same", "print('ü😀')"):
        earlier.run(code)
    earlier.stop()
    worker = start()
    for code in ("first = 1", "first + 1", "same", "same"):
        worker.run(code)
    return worker


def history(worker: Worker, **content: Any) -> list[list[Any]]:
    reply = worker.get("history_request", {"raw": True, "output": False, **content})
    assert reply["status"] == "ok"
    rows: list[list[Any]] = reply["history"]
    return rows


def test_history_by_tail_range_and_search(remembers: Worker) -> None:
    tail = history(remembers, hist_access_type="tail", n=3)
    assert [line for _, _, line in tail] == ["first + 1", "same", "same"]
    own = history(remembers, hist_access_type="range", session=0, start=1, stop=3)
    assert [row[1:] for row in own] == [[1, "first = 1"], [2, "first + 1"]]
    assert [line for *_, line in history(remembers, hist_access_type="range", session=0, start=1)] == [
        "first = 1",
        "first + 1",
        "same",
        "same",
    ]
    before = history(remembers, hist_access_type="range", session=-1, start=1, stop=2)
    assert [line for *_, line in before] == ["earlier = 1"]
    found = history(remembers, hist_access_type="search", pattern="*ü*", n=5)
    assert [line for *_, line in found] == ["print('ü😀')"]
    assert len(history(remembers, hist_access_type="search", pattern="same", n=10)) > 1
    assert len(history(remembers, hist_access_type="search", pattern="same", n=10, unique=True)) == 1
    outputs = history(remembers, hist_access_type="range", session=0, start=2, stop=3, output=True)
    assert outputs[0][2][0] == "first + 1"


@pytest.mark.parametrize(
    "content",
    [
        {"hist_access_type": "tail"},
        {"hist_access_type": "tail", "n": 0},
        {"hist_access_type": "tail", "n": None},
        {"hist_access_type": "range", "session": 10_000, "start": 5, "stop": 2},
        {"hist_access_type": "range", "session": -10_000, "start": 1, "stop": None},
        {"hist_access_type": "search", "pattern": ""},
        {"hist_access_type": "search"},
        {},
    ],
)
def test_history_of_anything_is_answered(worker: Worker, content: dict[str, Any]) -> None:
    assert worker.get("history_request", content)["status"] == "ok"
    assert worker.good("'on'").result == "'on'"


@pytest.mark.parametrize(
    "content", [{"hist_access_type": "tail", "n": "many"}, {"hist_access_type": "range", "stop": "x"}]
)
def test_history_of_nonsense_is_answered_and_the_worker_goes_on(worker: Worker, content: dict[str, Any]) -> None:
    assert worker.get("history_request", content)["status"] in ("ok", "error")
    assert worker.good("'on'").result == "'on'"


WATCH = """
import sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "jedi.api":
            print("is being loaded")
sys.meta_path.insert(0, Watch())
"jedi" in sys.modules
"""


def test_completer_is_loaded_while_the_worker_is_idle(start: Start, environment: dict[str, str]) -> None:
    environment["IPYMINI_WARM"] = "1"
    # Where the machine stands still for two seconds in between, it is loaded before anybody can look.
    workers = (start() for _ in range(5))
    worker = next((worker for worker in workers if worker.good(WATCH).result == "False"), None)
    assert worker is not None, "it is loaded at the start"
    worker.prints("is being loaded")
    assert worker.get("complete_request", {"code": "impor", "cursor_pos": 5})["matches"] == ["import"]
