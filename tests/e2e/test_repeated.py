"""Cells that are repeated when a worker has died: nobody sees a difference. And the copy that they begin from."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from .client import Client
from .conftest import StartKernel
from .kernels import Kernel
from .sessions import ON, crash, history, run, settle, stderr, wait_copies, worker

ENVIRONMENT = ON

#: What there is in a session, but for what its last cell is.
STATE = (
    "import inspect\n"
    "def state():\n"
    "    ip = get_ipython(); names = ip.user_ns\n"
    "    said = {n: v for n, v in names.items() if isinstance(v, (int, float, complex, str, bytes, type(None), tuple, list, dict, set))}\n"
    "    code = {n: inspect.getsource(v) for n, v in names.items() if inspect.isfunction(v)}\n"
    "    hidden = sorted(n for n in ip.user_ns_hidden if n in names)\n"
    "    outputs = {n: [o.output_type for o in kept] for n, kept in getattr(ip.history_manager, 'outputs', {}).items()}\n"
    "    return said, code, hidden, outputs, ip.history_manager.output_hist_reprs, ip.execution_count\n"
)
CELLS = [
    "pass",
    "x = 1",
    "x = 2",
    "'text'",
    "3.5",
    "4;",
    "",
    "y = [1, {'a': (2, 3)}]",
    "def f(a=1):\n    return a",
    "async def g(): pass",
    "'''long\n%text'''",
    "z = 'ü'\nz",
    "_",
    "y2 = list(range(3))",
    "None",
    "True",
    "w = '\\d'",
]


@pytest.mark.parametrize("seed", range(4))
def test_a_session_comes_back_as_it_was(start_kernel: StartKernel, seed: int) -> None:
    """As if the cell that died had failed in an ordinary way."""
    dice = random.Random(seed)
    cells = [dice.choice(CELLS) for _ in range(25)]
    kept = [dice.random() < 0.9 for _ in cells]
    failed, died = (
        session(start_kernel(env=ON), f"{STATE}\nimport os\ndef die(): {how}", cells, kept)
        for how in ("1/0", "os._exit(1)")
    )
    assert died[0] == failed[0].replace("1/0", "os._exit(1)")
    assert [row[:2] for row in died[1]] == [row[:2] for row in failed[1]]


def session(
    kernel: Kernel, setup: str, cells: Sequence[str], kept: Sequence[bool]
) -> tuple[str, list[tuple[int, int, str]]]:
    """The state after the cells, and after one that fails; and the history."""
    client = kernel.connect()
    run(client, setup)
    for cell, keep in zip(cells, kept, strict=True):
        client.execute(cell, store_history=keep)
    assert client.execute("die()").status == "error"
    text = client.execute("print(state())").text()
    kernel.stop()
    return text, history(kernel)


def test_a_crash_among_them(client: Client) -> None:
    """Each time the same text of the cell says what it was restored to."""
    run(client, "grown = []")
    for i in range(5):
        run(client, f"x = {i}")
        run(client, f"def f(): return {i}")
        crash(client, "grown.append(x); import os; os._exit(1)")
        assert run(client, "x, f(), grown").result == f"({i}, {i}, [])"


def test_a_death_while_nothing_runs(client: Client) -> None:
    run(client, "x = 1")
    run(client, "5")
    since = len(client.messages)
    worker(client).kill()
    client.wait(lambda _, m: m["msg_type"] == "stream" and "Restored" in m["content"]["text"], since=since)
    assert run(client, "x, _").result == "(1, 5)"


def test_rollback_takes_back_one_of_them(client: Client) -> None:
    run(client, "items = [1]")
    for value in (1, 2):
        run(client, f"x = {value}")
    number = client.execute("pass", store_history=False).reply["execution_count"]
    cell = client.execute("%rollback")
    assert cell.text().startswith(f"Rolled back to the state before In[{number}].")
    assert run(client, "x, items").result == "(1, [1])"


@pytest.mark.parametrize(
    ("before", "sentence"),
    [
        ("silent", "Rolled back to the state before In[{}]."),
        ("comm", "Rolled back to the state before In[{}]."),
        ("crash", "There is no snapshot from before the last cell to go back to."),
        ("%rollback", "There is no snapshot from before the last cell to go back to."),
    ],
)
def test_rollback_never_takes_back_more_than_one_cell(client: Client, before: str, sentence: str) -> None:
    """Whatever has come in between; where that cannot be, it says so."""
    run(client, "kept = [1]; kept.append(2)")
    for value in range(3):
        number = run(client, f"x = {value}").reply["execution_count"]
        if before == "silent":
            client.execute("len(dir())", silent=True)
    if before == "comm":
        client.ask("comm_msg", {"comm_id": "nobody", "data": {}})
    elif before != "silent":
        client.execute("import os; os._exit(1)" if before == "crash" else before)
    cell = client.execute("%rollback")
    assert sentence.format(number) in cell.text() + str(cell.reply.get("evalue"))
    value = 2 if before == "crash" else 1
    assert run(client, "x, kept").result == f"({value}, [1, 2])"


def test_numbers_go_on_without_a_history(start_kernel: StartKernel) -> None:
    """From the history's file, or from the cell that died, it would be known, too."""
    client = start_kernel("--HistoryManager.hist_file=:memory:", env=ON).connect()
    client.execute("len('')", store_history=False)
    for i in range(3):
        run(client, f"{i}")
    since = len(client.messages)
    worker(client).kill()
    client.wait(lambda _, m: m["msg_type"] == "stream" and "Restored" in m["content"]["text"], since=since)
    after = run(client, "len(In), Out, get_ipython().last_execution_result.result")
    assert (after.reply["execution_count"], after.result) == (4, "(5, {0: 0, 1: 0, 2: 1, 3: 2}, 2)")


def test_warnings_of_the_compiler_are_not_seen_again(client: Client) -> None:
    run(client, "kept = [1]")
    assert "SyntaxWarning" in run(client, "def f(x): return x is 1").text("stderr")
    since = len(client.messages)
    crash(client)
    assert run(client, "f(2), kept").result == "(False, [1])"
    assert "SyntaxWarning" not in stderr(client.messages[since:])


def test_a_profile_that_is_not_there(start_kernel: StartKernel) -> None:
    client = start_kernel("--profile=nobody-has-made-it", env=ON).connect()
    run(client, "x = [1]")
    crash(client)
    assert run(client, "x").result == "[1]"


def test_the_one_that_cannot_be_repeated_is_told_of(client: Client) -> None:
    """What should never happen: it says so, and everything else is there."""
    run(client, "kept = [1]\nfrom ipymini_worker.repeatable import Repeatable\nold = Repeatable.judge")
    run(client, "Repeatable.judge = lambda self, cell, tree: b'no JSON'")
    run(client, "x = 1")
    run(client, "x = 2")
    cell = client.execute("import os; os._exit(1)")
    assert "What its last cells had defined is lost (JSONDecodeError: " in "\n".join(
        cell.contents("error")[0]["traceback"]
    )
    assert run(client, "kept").result == "[1]"
    run(client, "Repeatable.judge = old")


# -- the pristine snapshot, which is that of the session as long as nothing but such cells has run


def test_a_session_of_nothing_else_has_one_copy(start_kernel: StartKernel) -> None:
    kernel = start_kernel(env=ON)
    client = kernel.connect()
    for code in ("x = 1", "def f(): return x", "2"):
        run(client, code)
    settle(client)
    wait_copies(kernel, 1)
    crash(client)
    assert run(client, "x, f(), _, Out[3]").result == "(1, 1, 2, 2)"
    settle(client)
    wait_copies(kernel, 3)


def test_it_goes_on_serving_those_who_begin_anew(start_kernel: StartKernel) -> None:
    """Nothing of the session is in what it has become."""
    kernel = start_kernel(env=ON)
    client = kernel.connect()
    for i in range(3):
        run(client, f"x = {i}")
        crash(client)
        assert run(client, "x").result == str(i)
        run(client, "get_ipython().history_manager.writeout_cache()")  # with snapshots off a death may be quicker
        run(client, "%snapshot off")
        settle(client)
        assert client.execute("import os; os._exit(1)").error == "WorkerDied"
        assert client.execute("x").error == "NameError"
        assert run(client, "len(In)").result == "3"
        crash(client)
        assert run(client, "Out").result == "{2: 3}"
    kernel.stop()
    rows = [(session, code) for session, _, code in history(kernel)]
    assert [code for session, code in rows if session == 1][:3] == ["x = 0", "import os; os._exit(1)", "x"]
    assert {session for session, _ in rows} == {1, 2, 3, 4}


def test_a_rollback_to_before_the_first_cell(start_kernel: StartKernel) -> None:
    client = start_kernel(env=ON).connect()
    run(client, "import os; x = [1]")
    assert client.execute("%rollback").text().startswith("Rolled back to the state before In[1].")
    assert client.execute("x").error == "NameError"
    assert run(client, "y = 1\nIn[1]").result == "'import os; x = [1]'"
    crash(client)
    assert run(client, "y").result == "1"


def test_a_start_file_is_in_the_session(start_kernel: StartKernel) -> None:
    """And the pristine one is not that of the session."""
    kernel = start_kernel(env=ON, files={"ipython/profile_default/startup/00-first.py": "started = [1]"})
    client = kernel.connect()
    run(client, "x = 1")
    settle(client)
    wait_copies(kernel, 2)
    crash(client)
    assert run(client, "started, x").result == "([1], 1)"


def test_a_start_file_that_comes_later_runs_in_the_next_session(start_kernel: StartKernel) -> None:
    kernel = start_kernel(env=ON)
    client = kernel.connect()
    file = kernel.folder / "ipython/profile_default/startup/00-first.py"
    run(client, "x = 1")
    file.write_text("started = 1")
    crash(client)
    assert client.execute("started").error == "NameError"
    assert run(client, "x").result == "1"
    run(client, "%snapshot off")
    settle(client)
    assert client.execute("import os; os._exit(1)").error == "WorkerDied"
    assert run(client, "started").result == "1"
    run(client, "y = 2")
    run(client, "%snapshot on")
    crash(client)
    assert run(client, "started, y").result == "(1, 2)"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--IPKernelApp.exec_lines=started = 1",),
        ("-c", "started = 1"),
        ("--ext=rich_is_not_installed",),
    ],
)
def test_what_is_to_run_at_the_start_is_in_the_session(start_kernel: StartKernel, arguments: Sequence[str]) -> None:
    kernel = start_kernel(*arguments, env=ON)
    client = kernel.connect()
    run(client, "x = 1")
    settle(client)
    wait_copies(kernel, 2)
