"""Cells of megabytes: they do what others do, in less time than IPython would take to look for magics in them."""

from __future__ import annotations

import warnings

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from ipymini_worker.large import LARGE, plain
from ipymini_worker.wire import Kind
from worker.driver import Worker


def named(cell: str) -> str:
    return "<cell>"


FILL = "x" * (LARGE + 1)


def test_large_cell_that_is_plain_runs(worker: Worker) -> None:
    assert worker.good(f"s = '{FILL}'\nlen(s)").result == str(len(FILL))
    assert worker.good("len(In[-2]) > len(s)").result == "True"


def test_magics_in_a_large_cell(worker: Worker) -> None:
    assert worker.good(f"s = '{FILL}'\n%env\nname = !echo out\nname[0]").result == "'out'"
    assert worker.good(f"%%capture captured\nprint('{FILL}')").stdout == ""
    assert worker.good("len(captured.stdout)").result == str(len(FILL) + 1)


def test_await_in_a_large_cell(worker: Worker) -> None:
    code = f"import asyncio\ns = '{FILL}'\nasync def three(): return 3\nawait three()"
    assert worker.good(code).result == "3"
    assert worker.good(f"s = '{FILL}'\ntask = asyncio.create_task(three())").status == "ok"
    assert worker.good("await task").result == "3"


def test_error_in_a_large_cell_shows_its_line(worker: Worker) -> None:
    (error,) = worker.run(f"s = '{FILL}'\nbroken = 1 / 0").of("error")
    assert "ZeroDivisionError" in "".join(error["traceback"])
    assert worker.good("import sys, linecache; tb = sys.last_traceback").status == "ok"
    code = "while tb.tb_next: tb = tb.tb_next\nlinecache.getline(tb.tb_frame.f_code.co_filename, tb.tb_lineno)"
    assert worker.good(code).result == repr("broken = 1 / 0\n")


def test_source_of_a_function_in_a_large_cell(worker: Worker) -> None:
    worker.good(f"s = '{FILL}'\ndef function():\n    return 1")
    assert worker.good("import inspect; inspect.getsource(function)").result == repr("def function():\n    return 1\n")


def test_syntax_error_in_a_large_cell(worker: Worker) -> None:
    assert worker.run(f"s = '{FILL}'\nreturn return").failure[0] == "SyntaxError"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (f"s = '{FILL}'", True),
        (f"s = '{FILL}'\nawait s", True),
        ("s = 1", False),  # not large
        (f"\ns = '{FILL}'", False),
        (f" s = '{FILL}'", False),
        (f"%time s = '{FILL}'", False),
        (f"s = '{FILL}'\n!ls", False),
        (f"s = '{FILL}'\ns?", False),
        (f"In [1]: s = '{FILL}'", False),
        (f"s = 1\nIn [1]: s == '{FILL}'", False),
        (f"s = '{FILL}\0'", False),
    ],
)
def test_what_is_plain(code: str, expected: bool) -> None:
    assert (plain(code, TransformerManager(), [], named) is not None) is expected


@pytest.mark.parametrize(
    ("code", "still"),
    [
        ("s", True),
        ("def f(x):\n    return x + 1", True),
        ("await s", False),
        ("f()", False),
        ("[x async for x in s]", False),
        ("s = [" + "1," * 2000 + "]", False),  # who knows
    ],
)
def test_what_is_certain_not_to_await(code: str, still: bool) -> None:
    parsed = plain(f"s = '{FILL}'\n{code}", TransformerManager(), [], named)
    assert parsed is not None
    assert parsed.still is still


def test_filters_for_warnings_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those of all threads: who sets and restores them at the same time may lose all warnings for good."""
    changed: list[str] = []
    monkeypatch.setattr(warnings, "catch_warnings", lambda **_: changed.append("context"))
    monkeypatch.setattr(warnings, "simplefilter", lambda *_: changed.append("filter"))
    assert plain(f"s = '{FILL}'\nx = '\\d'", TransformerManager(), [], named) is not None
    assert changed == []


def test_what_the_parser_warns_of_is_told_once_and_by_the_cell_s_name(worker: Worker) -> None:
    """Of a small cell IPython's transformations may tell the same once more, in the name of nobody."""
    small, large = (worker.good(f"s = '{fill}'\nx = '\\d'").stderr for fill in ("", FILL))
    assert large.count("invalid escape") == min(1, small.count("invalid escape"))
    assert "<cell>" not in large


def test_that_it_has_begun_is_said_before_all_else(worker: Worker) -> None:
    """With so much of it something may go wrong even before what comes first, as it does here."""
    request = worker.ask("execute_request", {"code": 5, "more": FILL})
    assert worker.answer(request).status == "error"
    kinds = [frame.kind for frame in worker.frames if frame.request == request]
    assert kinds == [Kind.STARTED, Kind.PUBLISH, Kind.REPLY]


def test_large_cell_is_parsed_once(worker: Worker) -> None:
    worker.good(
        "import ast, builtins\nown, parsed = compile, []\n"
        "def counting(source, name, mode, flags=0, *args, **keys):\n"
        "    if flags & ast.PyCF_ONLY_AST: parsed.append(name)\n"
        "    return own(source, name, mode, flags, *args, **keys)\n"
        "builtins.compile = counting"
    )
    assert worker.good(f"s = '{FILL}'\nlen(s)").result == str(len(FILL))
    assert worker.good("builtins.compile = own; [name.endswith('.py') for name in parsed[:-1]]").result == "[True]"


def test_warning_of_a_large_cell_names_the_cell(worker: Worker) -> None:
    answer = worker.good(f"s = '{FILL}'\ns is 1")
    assert "<cell>" not in answer.stderr
    assert answer.stderr.count("SyntaxWarning") == 1


def test_transformations_of_the_user_are_applied(worker: Worker) -> None:
    code = f"s = '{FILL}'"
    manager = TransformerManager()
    manager.cleanup_transforms.append(lambda lines: lines)
    assert plain(code, manager, [], named) is None
    assert plain(code, TransformerManager(), [lambda lines: lines], named) is None
    worker.good("get_ipython().input_transformers_post.append(lambda lines: ['seen = True\\n', *lines])")
    assert worker.good(f"s = '{FILL}'\nseen").result == "True"
    worker.good("get_ipython().input_transformers_post.clear()")
