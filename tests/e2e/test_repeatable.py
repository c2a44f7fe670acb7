"""Cells that no snapshot is taken for, because they can be repeated: which they are, and which are not."""

from __future__ import annotations

import pytest

from .client import Client
from .conftest import StartKernel
from .kernels import Kernel
from .sessions import ON, copies, crash, run, settle

ENVIRONMENT = ON

#: How many cells are to be repeated after the last snapshot; what asks is not repeatable itself.
REPEATED = "print(get_ipython().snapshots.repeated)"
SETUP = (
    "class Own:\n    def __repr__(self): return 'own'\n    def __del__(self): print('gone')\n"
    "own, items, plain, x, y, f = Own(), [1], 1, None, None, None\n"
    "def with_default(x=own): pass\n"
    "def bare(): pass\n"
)


def repeated(client: Client, *cells: str, **options: object) -> int:
    """How many of some cells are repeatable; the session is as before afterwards, as far as that matters."""
    client.execute(SETUP)
    for cell in cells:
        client.execute(cell, **options)
    return int(client.execute(REPEATED).text())


@pytest.mark.parametrize(
    "cell",
    [
        "pass",
        "# nothing",
        "1",
        "-1.5e3 + 2 * 4",
        "1;",
        "'text'",
        "b'bytes'",
        "True",
        "None",
        "x = 1",
        "x = y = -3",
        "plain = 'another'",
        "x = [1, (2.0, {'three': {4, None}}), b'5', ...]",
        "x = 1\ny = 'zwei € 🎉'",
        "    x = 1",
        ">>> x = 1",
        "def f(): return missing",
        "def bare(): return 1",
        "def f(a, /, b=1, *c, d, e=(1, []), **g):\n    '''Says.'''\n    return own, [x for x in a]",
        "async def f(): await something",
    ],
)
def test_repeatable(client: Client, cell: str) -> None:
    assert repeated(client, cell) == 1


@pytest.mark.parametrize(
    "cell",
    [
        "x = plain",
        "plain",
        "own",
        "x = f'{plain}'",
        "x = [*items]",
        "x = {**{}}",
        "x = 2 ** 10",
        "x = 'a' * 3",
        "x = not 1",
        "x = 1 if 1 else 2",
        "x = lambda: 1",
        "x: int = 1",
        "x += 1",
        "x, y = 1, 2",
        "own.x = 1",
        "items[0] = 1",
        "del plain",
        "import os",
        "[1]",
        "1j",
        "...",
        "'" + "a" * 100 + "'",
        "'not at the end'\nx = 1",
        "own = 1",
        "items = []",
        "with_default = 1",
        "def with_default(): pass",
        "_x = 1",
        "__doc__ = 'x'",
        "In = 1",
        "exit = 1",
        "def f(x=own): pass",
        "def f(x=plain): pass",
        "def f(x: own): pass",
        "def f() -> own: pass",
        "@staticmethod\ndef f(): pass",
        "class C: pass",
        "if 1: pass",
        "global x; x = 1",
        "%time pass",
        "%%time\npass",
        "!true",
        "x = 1 +",
        "x = {[]: 1}",
        "x = '" + "a" * 10_000 + "'",
    ],
)
def test_not_repeatable(client: Client, cell: str) -> None:
    """A snapshot is taken after it, or it fails."""
    assert repeated(client, cell) == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "tick = lambda *info: None\nget_ipython().events.register('pre_run_cell', tick)",
            "get_ipython().events.unregister('pre_run_cell', tick)",
        ),
        (
            "tick = lambda lines: lines\nget_ipython().input_transformers_post.append(tick)",
            "get_ipython().input_transformers_post.remove(tick)",
        ),
        (
            "import ast\ntick = ast.NodeTransformer()\nget_ipython().ast_transformers.append(tick)",
            "get_ipython().ast_transformers.remove(tick)",
        ),
        (
            "tick = get_ipython().run_cell\nget_ipython().run_cell = lambda *a, **k: tick(*a, **k)",
            "del get_ipython().run_cell",
        ),
        (
            "%config InteractiveShell.ast_node_interactivity = 'all'",
            "%config InteractiveShell.ast_node_interactivity = 'last_expr'",
        ),
        ("import sys; sys.setprofile(lambda *a: None)", "sys.setprofile(None)"),
        (
            "text = get_ipython().display_formatter.formatters['text/plain']\nold = text.for_type(int, lambda n, p, c: p.text('n'))",
            "text.for_type(int, old)",
        ),
        (
            "html = get_ipython().display_formatter.formatters['text/html']\nhtml.for_type(int, str)",
            "html.pop(int)",
        ),
        (
            "import signal; signal.signal(signal.SIGUSR1, lambda *a: None)",
            "signal.signal(signal.SIGUSR1, signal.SIG_DFL)",
        ),
        (
            "import signal; signal.signal(signal.SIGINT, lambda *a: None)",
            "signal.signal(signal.SIGINT, signal.default_int_handler)",
        ),
        ("shown = get_ipython().display_formatter; shown.format = lambda *a: ({}, {})", "del shown.format"),
        ("hook = get_ipython().displayhook; hook.update_user_ns = lambda result: None", "del hook.update_user_ns"),
        (
            "import ast, warnings; shown = warnings.showwarning; warnings.showwarning = lambda *a, **k: None",
            "warnings.showwarning = shown",
        ),
        (
            "import asyncio\nstop = asyncio.Event()\nasync def ticks():\n    await stop.wait()\ntask = asyncio.create_task(ticks())",
            "stop.set(); await task",
        ),
        (
            "import threading\nstop = threading.Event()\nthread = threading.Thread(target=stop.wait); thread.start()",
            "stop.set(); thread.join()",
        ),
    ],
)
def test_what_user_code_has_put_in_between(client: Client, before: str, after: str) -> None:
    """Whatever a cell passes through, or goes on beside it, may do anything."""
    run(client, before)
    try:
        assert repeated(client, "7") == 0
    finally:
        run(client, after)
    assert repeated(client, "7") == 1


ONCE = """
def once(*anything):
    {away}
    return anything[-1]
get_ipython().{to}
"""


@pytest.mark.parametrize(
    ("away", "to"),
    [
        ("get_ipython().events.unregister('pre_run_cell', once)", "events.register('pre_run_cell', once)"),
        ("get_ipython().input_transformers_post.remove(once)", "input_transformers_post.append(once)"),
    ],
)
def test_what_takes_itself_away_when_it_has_run(client: Client, away: str, to: str) -> None:
    run(client, "print(1)")
    assert client.execute(f"{ONCE.format(away=away, to=to)}").status == "ok"
    client.execute("x = 1")
    assert client.execute(REPEATED).text() == "0\n"


def test_what_changes_while_it_runs(client: Client) -> None:
    """A thread that is over when the cell is; a request that may run code of the user's."""
    run(
        client,
        "import threading, time\ngot = []\n"
        "def waits():\n    while 'begun' not in globals(): time.sleep(0)\n    got.append(1)\n"
        "thread = threading.Thread(target=waits); thread.start()",
    )
    run(client, "begun = 1")
    run(client, "x = 2")
    crash(client)
    assert run(client, "thread.join(); got").result == "[1]"
    run(client, "del begun\nclass Own:\n    def __dir__(self): got.append(2); return []\nown = Own()")
    client.ask("complete_request", {"code": "own.", "cursor_pos": 4})
    client.ask("inspect_request", {"code": "own.x", "cursor_pos": 5, "detail_level": 0})
    run(client, "x = 3")
    crash(client)
    assert set(run(client, "got").result) >= {"1", "2"}


def test_a_function_that_holds_what_somebody_may_miss(client: Client) -> None:
    make = (
        "import types\nclass Own:\n    def __del__(self): pass\n"
        "def foreign(): pass\nforeign = types.FunctionType(foreign.__code__, {'own': Own()})\n"
        "def noted(x: int): pass\ndef documented(): pass\ndocumented.__doc__ = Own()\n"
    )
    for name in ("foreign", "noted", "documented"):
        run(client, make)
        run(client, f"{name} = 1")
        assert client.execute(REPEATED).text() == "0\n", name


def test_one_whose_user_expressions_run_code(client: Client) -> None:
    assert repeated(client, "1", user_expressions={"x": "items"}) == 0


def test_one_that_is_not_kept(client: Client) -> None:
    """It has no number, and its result would belong to another one."""
    assert repeated(client, "x = 1", store_history=False) == 1
    assert repeated(client, "1", store_history=False) == 0


def test_one_that_is_answered_by_somebody_else(client: Client) -> None:
    run(
        client,
        "kernel = get_ipython().kernel; old = kernel.shell_handlers['execute_request']\n"
        "kernel.shell_handlers['execute_request'] = lambda *a: old(*a)",
    )
    try:
        assert repeated(client, "1") == 0
    finally:
        run(client, "kernel.shell_handlers['execute_request'] = old")


def test_there_are_not_too_many(client: Client) -> None:
    assert repeated(client, *["pass"] * 260) == 260 - 256 - 1


def test_after_a_comm_message_there_is_a_snapshot(client: Client) -> None:
    assert repeated(client, "x = 1", "x = 2") == 2
    for cell in ("x = 1", "x = 2"):
        client.execute(cell)
    client.ask("comm_msg", {"comm_id": "nobody", "data": {}})
    client.execute("x = 3")
    assert client.execute(REPEATED).text() == "1\n"


def test_a_snapshot_that_is_gone_is_nothing_to_repeat_after(client: Client, kernel: Kernel) -> None:
    run(client, "import os, signal\nkept = [1]")
    settle(client)
    for copy in copies(kernel):
        copy.kill()
        copy.wait()
    run(client, "x = 1")
    assert client.execute(REPEATED).text() == "0\n"
    crash(client)
    assert run(client, "kept, x").result == "([1], 1)"


@pytest.mark.parametrize(
    "option",
    [
        "--InteractiveShell.ast_node_interactivity=all",
        "--InteractiveShell.ast_node_interactivity=last_expr_or_assign",
    ],
)
def test_what_is_configured_may_do_anything(start_kernel: StartKernel, option: str) -> None:
    assert repeated(start_kernel(option, env=ON).connect(), "x = 1", "2") == 0
