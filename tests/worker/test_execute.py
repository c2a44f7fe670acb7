"""Cells run, print, show, fail; and whatever a request says, the worker goes on."""

from __future__ import annotations

import ast
import os
import platform
import sys
import tempfile
from typing import Any

import IPython
import pytest

from ipymini_worker.identity.cells import SEED
from ipymini_worker.wire import ABORT, ERROR, WIRE_VERSION, Frame, Kind
from worker.driver import Start, Worker


def test_hello_tells_version_pid_and_versions(worker: Worker) -> None:
    assert worker.frames[0].kind is Kind.HELLO
    assert worker.hello == {
        "wire": WIRE_VERSION,
        "pid": worker.pid,
        "python": platform.python_version(),
        "ipython": IPython.__version__,
        "lost": [],
        "debugger": True,
        "seed": SEED,
        "cells": os.path.join(tempfile.gettempdir(), f"ipykernel_{worker.pid}", ""),
    }


def test_cell_that_is_well(worker: Worker) -> None:
    answer = worker.good("x = 6 * 7")
    assert answer.flags == 0
    assert answer.content["user_expressions"] == {}
    assert answer.content["payload"] == []
    (given,) = answer.of("execute_input")
    assert given == {"code": "x = 6 * 7", "execution_count": answer.content["execution_count"]}
    assert [event.type for event in answer.events] == ["execute_input"]


def test_what_is_said_of_a_cell_that_begins_leaves_at_once(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time that the supervisor is woken costs it as much as the rest."""
    reads: list[list[Kind]] = []
    link = worker.process.work
    receive = link.receive

    def watched() -> list[Frame]:
        frames = receive()
        reads.append([frame.kind for frame in frames])
        return frames

    with monkeypatch.context() as patch:
        patch.setattr(link, "receive", watched)
        worker.good("pass")
        worker.good("pass", silent=True)
    # What comes later may have come by then, too, where the reader is slow.
    kept, silent = (read[read.index(Kind.STARTED) :] for read in reads if Kind.STARTED in read)
    assert (kept[:3], silent[:2]) == ([Kind.STARTED, Kind.CELL, Kind.PUBLISH], [Kind.STARTED, Kind.CELL])
    assert [kind for read in reads for kind in read].count(Kind.CELL) == 2


@pytest.mark.parametrize("content", [{"code": "1"}, {"silent": 5}], ids=["good", "bad"])
@pytest.mark.parametrize("hook", ["pre_handler_hook", "post_handler_hook"])
def test_it_leaves_before_a_hook_of_the_user_s_runs(worker: Worker, hook: str, content: object) -> None:
    """It may take the worker with it, and then no other one is to be handed the cell."""
    worker.good(f"kernel = get_ipython().kernel\nkernel.{hook} = lambda: print('hooked')")
    request = worker.ask("execute_request", content)
    worker.answer(request)
    worker.good(f"kernel.{hook} = None")
    kinds = [frame.kind for frame in worker.frames if frame.request == request]
    assert kinds[0] is Kind.STARTED
    assert Kind.STREAM in kinds


def test_result_bears_the_number_of_its_cell(worker: Worker) -> None:
    answer = worker.good("6 * 7")
    (result,) = answer.of("execute_result")
    assert result == {
        "data": {"text/plain": "42"},
        "metadata": {},
        "execution_count": answer.content["execution_count"],
    }


def test_result_that_is_silenced_or_none_is_not_shown(worker: Worker) -> None:
    assert worker.good("6 * 7;").of("execute_result") == []
    assert worker.good("None").of("execute_result") == []


def test_numbers_count_up(worker: Worker) -> None:
    first, second = worker.good("1"), worker.good("1/1")
    assert second.content["execution_count"] == first.content["execution_count"] + 1
    assert worker.good(f"Out[{second.content['execution_count']}]").result == "1.0"


def test_cell_that_fails(worker: Worker) -> None:
    answer = worker.run("def f():\n    return 1 / 0\nf()")
    assert answer.failure == ("ZeroDivisionError", "division by zero")
    assert answer.flags == ERROR | ABORT
    (error,) = answer.of("error")
    assert answer.content["traceback"] == error["traceback"]
    assert any("ZeroDivisionError" in line for line in error["traceback"])
    assert answer.content["user_expressions"] == {}
    assert answer.content["execution_count"] == answer.of("execute_input")[0]["execution_count"]


@pytest.mark.parametrize(
    ("code", "ename"),
    [
        ("1 +", "SyntaxError"),
        ("  x = 1\n y = 2", "IndentationError"),
        ("sys_that_is_not_there", "NameError"),
        ("raise SystemExit", "SystemExit"),
        ("import sys; sys.exit(3)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise BaseException('x')", "BaseException"),
        ("class Mine(Exception):\n    def __str__(self): 1 / 0\nraise Mine", "Mine"),
        ("raise ExceptionGroup('g', [ValueError(1)])", "ExceptionGroup"),
        ("%no_such_magic", "UsageError"),
        ("%%no_such_magic\nx", "UsageError"),
        ("%run /no/such/file.py", ""),
        ("import asyncio; raise asyncio.CancelledError", "CancelledError"),
        ("'\\ud800'.encode()", "UnicodeEncodeError"),
        ("raise ValueError('\\ud800')", "ValueError"),
    ],
)
def test_error_of_any_kind_is_an_error_and_the_worker_goes_on(worker: Worker, code: str, ename: str) -> None:
    answer = worker.run(code)
    assert answer.status == "error"
    if ename:
        assert answer.content["ename"] == ename
    assert worker.good("'on'").result == "'on'"


def test_traceback_is_made_once_and_kept_as_it_was_shown(worker: Worker) -> None:
    """To make it is most of what an error costs."""
    worker.good(
        "made, tb = [], get_ipython().InteractiveTB\nown = tb.structured_traceback\n"
        "tb.structured_traceback = lambda *args, **keys: made.append(1) or own(*args, **keys)"
    )
    answer = worker.run("{}['not there']")
    kept = f"get_ipython().history_manager.exceptions[{answer.content['execution_count']}]"
    assert worker.good(f"len(made), {kept}['ename'], {kept}['evalue']").result == "(1, 'KeyError', \"'not there'\")"
    assert ast.literal_eval(worker.good(f"{kept}['traceback']").result) == answer.content["traceback"]
    worker.good("del tb.structured_traceback")


def test_error_does_not_abort_what_is_queued_if_stop_on_error_is_false(worker: Worker) -> None:
    assert worker.run("1/0", stop_on_error=False).flags == ERROR
    assert worker.run("1/0", stop_on_error=True).flags == ERROR | ABORT


def test_silent_cell_leaves_no_trace(worker: Worker) -> None:
    before = worker.good("1").content["execution_count"]
    answer = worker.good("print('shown'); 5", silent=True)
    assert answer.of("execute_input") == answer.of("execute_result") == []
    assert answer.stdout == "shown\n"
    assert answer.content["execution_count"] == before
    assert worker.good("2").content["execution_count"] == before + 1
    assert worker.good("_").result == "2"
    history = worker.get("history_request", {"hist_access_type": "tail", "n": 4})["history"]
    assert not [line for _, _, line in history if "shown" in line]


def test_cell_without_history_is_not_counted(worker: Worker) -> None:
    before = worker.good("1").content["execution_count"]
    answer = worker.good("'unrecorded'", store_history=False)
    assert answer.result == "'unrecorded'"
    assert answer.content["execution_count"] == before
    assert worker.good("2").content["execution_count"] == before + 1
    history = worker.get("history_request", {"hist_access_type": "tail", "n": 4})["history"]
    assert not [line for _, _, line in history if "unrecorded" in line]


def test_user_expressions_are_evaluated_one_by_one(worker: Worker) -> None:
    answer = worker.good("a = 5", user_expressions={"good": "a + 1", "bad": "1/0", "odd": "1 +"})
    expressions = answer.content["user_expressions"]
    assert expressions["good"]["status"] == "ok"
    assert expressions["good"]["data"] == {"text/plain": "6"}
    assert (expressions["bad"]["status"], expressions["bad"]["ename"]) == ("error", "ZeroDivisionError")
    assert expressions["odd"]["status"] == "error"
    assert answer.of("error") == []


def test_user_expressions_of_a_failed_cell_are_not_evaluated(worker: Worker) -> None:
    assert worker.run("1/0", user_expressions={"x": "1"}).content["user_expressions"] == {}


def test_output_comes_in_the_order_in_which_it_was_made(worker: Worker) -> None:
    answer = worker.good(
        "import sys\n"
        "print('one')\n"
        "print('two', file=sys.stderr)\n"
        "display('three')\n"
        "print('four', end='')\n"
        "get_ipython().display_pub.clear_output(wait=True)\n"
        "handle = display(1, display_id='d')\n"
        "handle.update(2)\n"
        "'five'"
    )
    kinds = [event.type for event in answer.events]
    shown = ["display_data", "stdout", "clear_output", "display_data", "update_display_data", "execute_result"]
    assert [k for k, after in zip(kinds, [*kinds[1:], ""], strict=True) if k != after] == [
        *["execute_input", "stdout", "stderr"],
        *shown,
    ]
    assert (answer.stdout, answer.stderr) == ("one\nfour", "two\n")
    first, second = answer.of("display_data")
    assert first["data"] == {"text/plain": "'three'"}
    assert second["transient"] == answer.of("update_display_data")[0]["transient"] == {"display_id": "d"}
    assert answer.of("clear_output") == [{"wait": True}]


def test_rich_output_has_all_its_forms_and_metadata(worker: Worker) -> None:
    answer = worker.good(
        "class Rich:\n"
        "    def _repr_mimebundle_(self, **kwargs):\n"
        "        data = {'text/html': '<b>', 'application/json': {'a': [1]}, 'text/plain': 'p', 'image/png': b'png'}\n"
        "        return data, {'image/png': {'width': 5}}\n"
        "display(Rich(), metadata={'m': float('nan')})\n"
        "Rich()"
    )
    (result,) = answer.of("execute_result")
    assert result["data"]["text/html"] == "<b>"
    assert result["data"]["application/json"] == {"a": [1]}
    assert result["metadata"]["image/png"] == {"width": 5}
    (shown,) = answer.of("display_data")
    assert shown["metadata"]["m"] == "nan"


def test_display_data_of_other_types_is_passed_through(worker: Worker) -> None:
    data = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "application/vnd.mine+json": [1, None]}
    answer = worker.good(f"display({data!r}, raw=True)")
    assert answer.of("display_data")[0]["data"] == data


@pytest.mark.parametrize("method", ["__repr__", "_repr_html_", "_repr_mimebundle_"])
def test_representation_that_raises_fails_the_cell(worker: Worker, method: str) -> None:
    answer = worker.run(f"class Broken:\n    def {method}(self, *a, **k): raise ValueError('broken')\nBroken()")
    assert answer.failure == ("ValueError", "broken")
    assert worker.good("1").result == "1"


def test_failed_display_of_one_cell_is_not_held_against_the_next(worker: Worker) -> None:
    worker.run("class Broken:\n    def __repr__(self): raise ValueError\nBroken()")
    assert worker.good("x = 1").flags == 0


def test_cell_metadata_reaches_ipython(worker: Worker) -> None:
    worker.good(
        "seen = []\n"
        "def note(info): seen.append((info.cell_id, getattr(info, 'cell_meta', None)))\n"
        "get_ipython().events.register('pre_run_cell', note)"
    )
    try:
        worker.good("pass", metadata={"cellId": "abc", "tags": ["x"]})
    finally:
        worker.good("get_ipython().events.unregister('pre_run_cell', note)")
    assert worker.good("seen[0][0]").result == "'abc'"


def test_environment_of_a_cell_is_that_of_a_frontend(worker: Worker) -> None:
    answer = worker.good("import os\n[os.environ.get(k) for k in ('TERM', 'CLICOLOR', 'PAGER', 'GIT_PAGER')]")
    assert answer.result == "['xterm-color', '1', 'cat', 'cat']"


def test_cell_finds_no_zmq_and_no_supervisor_in_the_worker(worker: Worker) -> None:
    code = "import sys\nsorted({m.partition('.')[0] for m in sys.modules} & {'zmq', 'ipymini_supervisor', 'msgspec'})"
    assert worker.good(code).result == "[]"


def test_stdin_of_the_process_is_empty(worker: Worker) -> None:
    assert worker.good("import subprocess\nsubprocess.check_output(['cat'])").result == "b''"


def test_magics_of_the_frontend_are_there(worker: Worker) -> None:
    assert worker.good("%clear").of("clear_output") == [{"wait": False}]


def test_shell_command_prints_into_the_cell_and_leaves_its_status(worker: Worker) -> None:
    answer = worker.good("!echo from the shell; exit 3")
    assert "from the shell" in answer.stdout
    assert worker.good("_exit_code").result == "3"
    assert worker.good("out = !echo caught\nout").result == "['caught']"
    assert "in bash" in worker.good("%%bash\necho in bash").stdout
    assert worker.run("%%bash\nexit 3").failure[0] == "CalledProcessError"


@pytest.mark.parametrize(
    ("msg_type", "content", "sentence"),
    [
        ("execute_request", {}, "lacks 'code'"),
        ("execute_request", {"code": 5}, "'code' of the request has to be of type str, not int"),
        ("execute_request", {"code": "1", "silent": "yes"}, "'silent'"),
        ("execute_request", {"code": "1", "user_expressions": [1]}, "'user_expressions'"),
        ("execute_request", [], "have to be JSON objects"),
        ("execute_request", None, "have to be JSON objects"),
        ("complete_request", {"cursor_pos": 1}, "lacks 'code'"),
        ("complete_request", {"code": "x", "cursor_pos": "1"}, "'cursor_pos'"),
        ("inspect_request", {}, "lacks 'code'"),
        ("inspect_request", {"code": "x", "cursor_pos": 1, "detail_level": "high"}, "'detail_level'"),
        ("is_complete_request", {}, "lacks 'code'"),
        ("history_request", {"hist_access_type": "all"}, "has to be 'tail', 'range' or 'search'"),
        ("no_such_request", {}, "does not know the request 'no_such_request'"),
    ],
)
def test_bad_request_gets_an_error_that_says_what_is_wrong(
    worker: Worker, msg_type: str, content: Any, sentence: str
) -> None:
    answer = worker.answer(worker.ask(msg_type, content))
    assert answer.status == "error"
    assert sentence in answer.content["evalue"]
    assert answer.content["evalue"].endswith(".")
    assert answer.content["ename"] == "BadRequest"
    assert worker.good("'on'").result == "'on'"


@pytest.mark.parametrize("content", [{}, {"comm_id": 5}, []])
@pytest.mark.parametrize("msg_type", ["comm_open", "comm_msg", "comm_close"])
def test_bad_comm_message_is_survived(worker: Worker, msg_type: str, content: Any) -> None:
    worker.answer(worker.ask(msg_type, content))
    assert worker.good("'on'").result == "'on'"


def test_content_that_is_no_json_is_an_error(worker: Worker) -> None:
    request = worker.ask("execute_request", {})
    worker.answer(request)
    worker.process.work.send(
        Kind.REQUEST, 9999, (b'{"msg_type": "execute_request", "msg_id": "x"}', b"{}", b"{}", b"{")
    )
    assert worker.answer(9999).status == "error"
    assert worker.good("'on'").result == "'on'"


def test_worker_is_the_leader_of_its_process_group(worker: Worker) -> None:
    assert os.getpgid(worker.pid) == worker.pid


def test_arguments_of_the_process_are_those_of_a_kernel(start: Start) -> None:
    worker = start(connection_file="/nowhere/kernel-abc.json")
    assert worker.good("import sys\nsys.argv[1:]").result == "['-f', '/nowhere/kernel-abc.json']"
    assert worker.good("sys.executable").result == repr(sys.executable)
    assert "kernel-abc.json" in worker.good("get_ipython().config['IPKernelApp']['connection_file']").result
