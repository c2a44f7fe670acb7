"""What a reply asks the frontend to do: pages, next input, editors, the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ipymini_worker.wire import EXIT
from worker.driver import Worker


def payload(worker: Worker, code: str) -> dict[str, Any]:
    """The one payload of a cell."""
    (found,) = worker.good(code).content["payload"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("code", ["print?", "?print", "%pinfo print", "print??"])
def test_help_is_a_page(worker: Worker, code: str) -> None:
    page = payload(worker, code)
    assert (page["source"], page["start"]) == ("page", 0)
    assert "Prints the values" in page["data"]["text/plain"]


def test_help_of_nothing_is_text(worker: Worker) -> None:
    answer = worker.good("no_such_thing?")
    assert answer.content["payload"] == []
    assert "not found" in answer.stdout


def test_page_of_a_cell_is_not_that_of_the_next(worker: Worker) -> None:
    payload(worker, "print?")
    assert worker.good("1").content["payload"] == []


def test_page_of_a_failed_cell_is_not_that_of_the_next(worker: Worker) -> None:
    worker.run("get_ipython().set_next_input('x')\n1/0")
    assert worker.good("1").content["payload"] == []


def test_next_input(worker: Worker) -> None:
    assert payload(worker, "get_ipython().set_next_input('2 + 2')") == {
        "source": "set_next_input",
        "text": "2 + 2",
        "replace": False,
    }


def test_load_replaces_the_cell(worker: Worker, tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    file.write_text("loaded = 'ü'\n")
    found = payload(worker, f"%load {file}")
    assert (found["source"], found["replace"]) == ("set_next_input", True)
    assert found["text"] == f"# %load {file}\nloaded = 'ü'\n"


def test_edit_opens_a_file_at_a_line(worker: Worker, tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    file.write_text("1\n2\n3\n")
    found = payload(worker, f"%edit -n 3 {file}")
    assert (found["source"], found["filename"], int(found["line_number"])) == ("edit_magic", str(file), 3)


def test_edit_of_an_object_opens_its_source(worker: Worker) -> None:
    found = payload(worker, "import json\n%edit json.dumps")
    assert found["filename"].endswith("json/__init__.py")


def test_less_and_man_are_pages(worker: Worker, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("some notes\n")
    assert "some notes" in payload(worker, f"%less {file}")["data"]["text/plain"]
    assert "some notes" in payload(worker, f"%more {file}")["data"]["text/plain"]
    assert "No such file" in worker.good("%less /no/such/file").stdout
    assert "Usage" in worker.good("%less").stdout


def test_connect_info_names_the_connection_file(worker: Worker) -> None:
    assert "/nowhere/kernel-1.json cannot be read" in worker.good("%connect_info").stdout


@pytest.mark.parametrize("code", ["exit", "quit", "exit()", "quit()", "get_ipython().ask_exit()"])
def test_exit_asks_for_the_end_of_the_kernel_and_is_no_error(worker: Worker, code: str) -> None:
    answer = worker.good(code)
    assert answer.content["payload"] == [{"source": "ask_exit", "keepkernel": False}]
    assert answer.flags == EXIT
    assert worker.good("'until it is told, the worker goes on'").flags == 0


@pytest.mark.parametrize("code", ["exit(keep_kernel=True)", "quit(keep_kernel=True)"])
def test_exit_that_keeps_the_kernel_tells_the_frontend_only(worker: Worker, code: str) -> None:
    answer = worker.good(code)
    assert answer.content["payload"] == [{"source": "ask_exit", "keepkernel": True}]
    assert answer.flags == 0


def test_keeping_the_kernel_once_does_not_keep_it_for_ever(worker: Worker) -> None:
    worker.good("exit(keep_kernel=True)")
    assert worker.good("exit").flags == EXIT
