"""Cells of megabytes: they do what others do, in less time than IPython would take to look for magics in them."""

from __future__ import annotations

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from ipymini_worker.large import LARGE, is_plain
from worker.driver import Worker

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
    ("code", "plain"),
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
def test_what_is_plain(code: str, plain: bool) -> None:
    assert is_plain(code, TransformerManager(), []) is plain


def test_transformations_of_the_user_are_applied(worker: Worker) -> None:
    code = f"s = '{FILL}'"
    manager = TransformerManager()
    manager.cleanup_transforms.append(lambda lines: lines)
    assert not is_plain(code, manager, [])
    assert not is_plain(code, TransformerManager(), [lambda lines: lines])
    worker.good("get_ipython().input_transformers_post.append(lambda lines: ['seen = True\\n', *lines])")
    assert worker.good(f"s = '{FILL}'\nseen").result == "True"
    worker.good("get_ipython().input_transformers_post.clear()")
