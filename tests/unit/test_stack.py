"""Reading what faulthandler has written, of every Python version, and however much of it is there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipymini_supervisor.stack import Cells, Line, parse, show

CELL = "<ipython-input-12-0a1b2c3d4e5f>"
MACHINERY = """\
  File "/v/lib/python3.11/site-packages/IPython/core/interactiveshell.py", line 3577 in run_code
  File "/v/lib/python3.11/site-packages/ipymini_worker/main.py", line 100 in _answer
  File "<string>", line 14 in <module>
"""
FRAMES = f"""\
  File "/home/a user/lib.py", line 5 in inner
  File "{CELL}", line 2 in outer
  File "{CELL}", line 9 in <module>
"""
CRASH = f"""\
Fatal Python error: Segmentation fault

Current thread 0x00007f8c3a1b4740 (most recent call first):
{FRAMES}{MACHINERY}
Thread 0x00007f8c2bfff700 (most recent call first):
  File "/v/lib/python3.11/site-packages/ipymini_worker/link.py", line 70 in receive

Extension modules: numpy, pandas (total: 2)
"""
# 3.14 names threads.
NAMED = f"""\
Current thread 0x00007f8c3a1b4740 [python] (most recent call first):
{FRAMES}{MACHINERY}
Current thread's C stack trace (most recent call first):
  Binary file "/lib/libc.so.6", at +0x3 [0x7f]
"""
DUMP = f"""\
Thread 0x00007f8c2bfff700 (most recent call first):
  File "/v/lib/python3.11/site-packages/ipymini_worker/control.py", line 38 in _run

Thread 0x00007f8c3a1b4740 (most recent call first):
{FRAMES}{MACHINERY}"""
EXPECTED = [Line(CELL, 9, "<module>"), Line(CELL, 2, "outer"), Line("/home/a user/lib.py", 5, "inner")]


@pytest.mark.parametrize("dump", [CRASH, NAMED, DUMP], ids=["crash", "named threads", "dump"])
def test_frames_of_user_code_most_recent_call_last(dump: str) -> None:
    assert parse(dump) == EXPECTED


def test_frames_are_shown_as_a_user_knows_them() -> None:
    assert show(parse(CRASH)) == [
        "Python stack (most recent call last):",
        "  Cell In[12], line 9",
        "  Cell In[12], line 2, in outer",
        "  File /home/a user/lib.py, line 5, in inner",
    ]


def test_cells_under_the_names_of_files_are_shown_as_cells() -> None:
    """The latest cell of that name, if the same source ran twice; files that are no cells stay files."""
    cells, name = Cells(), "/tmp/ipykernel_7/123.py"
    for number in (3, 12):
        cells.learn(number, name)
    cells.learn(4, "/tmp/ipykernel_7/4.py")
    dump = cells.named(CRASH.replace(CELL, name))
    assert show(parse(dump)) == show(parse(CRASH))
    assert cells.named(CRASH) == CRASH
    assert cells.named("nothing\n") == "nothing\n"


def test_names_of_cells_take_a_bounded_amount_of_memory() -> None:
    cells = Cells()
    for number in range(20_000):
        cells.learn(number, f"/{number}/" + "x" * 5000)
    assert len(cells._numbers) == 10_000
    assert max(map(len, cells._numbers)) == 500


def test_nothing_is_shown_as_nothing() -> None:
    assert parse("") == []
    assert show([]) == []
    assert parse("Fatal Python error: Aborted\n\n<no Python frame>\n") == []


def test_thread_that_died_is_the_one_that_is_told() -> None:
    dump = f"Thread 0x1 (most recent call first):\n{FRAMES}\nCurrent thread 0x2 (most recent call first):\n" + (
        '  File "x.py", line 1 in crash\n\nThread 0x3 (most recent call first):\n  File "y.py", line 1 in other\n'
    )
    assert parse(dump) == [Line("x.py", 1, "crash")]


@pytest.mark.parametrize("dump", [CRASH, NAMED, DUMP])
def test_dump_that_is_cut_off_anywhere_is_read_as_far_as_it_goes(dump: str) -> None:
    for end in range(len(dump)):
        for frame in parse(dump[:end]):
            assert frame.line >= 0


@given(st.text(alphabet='CurentThad 0x123(mosclfi):\n"FleX,<>py', max_size=200))
def test_anything_can_be_read(text: str) -> None:
    show(parse(text))
