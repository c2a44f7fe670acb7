"""The debugger at a prompt: `breakpoint()`, `%debug`, `%%debug`, `%pdb`, `pdb.set_trace()`."""

from __future__ import annotations

import re

import pytest

from .client import Client, Message, Run

#: On a slow machine snapshots are not taken before each cell by themselves.
ENVIRONMENT = {"IPYMINI_SNAPSHOTS": "on"}

PREPARE = """
import pdb
def work(n):
    total = n + 1
    {stop}
    total *= 10
    return total
"""
STOPS = {
    "breakpoint": "breakpoint()",
    "set_trace": "pdb.set_trace()",
    "set_trace of IPython": "__import__('IPython.core.debugger').core.debugger.set_trace()",
    "debugger_cls": "get_ipython().debugger_cls().set_trace()",
}
BREAKPOINT = pytest.mark.row("Magics", "`breakpoint()` stops at a usable `ipdb>` prompt")


def talk(client: Client, run: Run, *answers: str) -> None:
    """Gives commands, each at a prompt of its own."""
    for answer in answers:
        question = client.wait_question(run)
        assert question["content"]["prompt"] == "ipdb> ", question["content"]
        assert question["content"]["password"] is False
        client.answer(question, answer)


def plain(run: Run) -> str:
    """What was printed, without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", run.text())


@pytest.fixture
def stopped(client: Client) -> Client:
    """A client of a kernel that has a function with a `breakpoint()`."""
    assert client.execute(PREPARE.format(stop=STOPS["breakpoint"])).status == "ok"
    return client


@BREAKPOINT
@pytest.mark.parametrize("stop", STOPS)
def test_commands(client: Client, stop: str) -> None:
    """What they print goes to the cell; what the function returns is the cell's result."""
    client.execute(PREPARE.format(stop=STOPS[stop]))
    run = client.start("print(work(4)); work(1)")
    talk(client, run, "p total", "l", "up", "p __name__", "down", "n", "n", "p total + 1", "c")
    client.wait_text(run, "50\n")
    talk(client, run, "total = 7", "c")
    client.finish(run)
    printed = plain(run)
    for expected in ("5\n", "total *= 10", "'__main__'", "51\n", "50\n"):
        assert expected in printed
    assert run.result == "70"
    assert run.status == "ok"


@BREAKPOINT
def test_source_of_a_function_of_an_earlier_cell(stopped: Client) -> None:
    stopped.execute("x = 1")
    run = stopped.start("work(1)")
    talk(stopped, run, "ll", "c")
    stopped.finish(run)
    assert "total = n + 1" in plain(run)
    assert "def work(n):" in plain(run)


@BREAKPOINT
def test_statements_of_several_lines(stopped: Client) -> None:
    run = stopped.start("work(1)")
    talk(stopped, run, "for i in range(3):")
    for line in ("    if i:", "        print('line', i)", ""):
        question = stopped.wait_question(run)
        assert question["content"]["prompt"].startswith("...")
        stopped.answer(question, line)
    talk(stopped, run, "c")
    stopped.finish(run)
    assert "line 1\nline 2\n" in plain(run)


@BREAKPOINT
def test_stepping_ends_where_the_cell_ends(stopped: Client) -> None:
    """The next statement of the cell is reached, and nothing of what lies between and behind; nor is the next cell."""
    run = stopped.start("import pdb; pdb.set_trace()\nhere = 1\nthere = 2")
    msg_id = run.request["header"]["msg_id"]

    def questions() -> list[Message]:
        return [m for c, m in stopped.messages if c == "stdin" and m["parent_header"]["msg_id"] == msg_id]

    for seen in range(12):
        stopped.wait_until(lambda seen=seen: run.over or len(questions()) > seen)  # type: ignore[misc]
        if run.over:
            break
        stopped.answer(questions()[seen], "n")
    stopped.finish(run)
    assert "here = 1" in plain(run)
    assert "there = 2" in plain(run)
    assert "site-packages" not in plain(run)
    assert stopped.execute("sum(range(10))").result == "45"
    assert stopped.evaluate("__import__('sys').gettrace()") == "None"


@BREAKPOINT
@pytest.mark.parametrize("doing", ["", r"exec('print(\'begun\')\nwhile True: pass')", "interact"])
def test_an_interrupt_ends_the_cell(stopped: Client, doing: str) -> None:
    """At the prompt, while a command runs, and at the prompt of `interact`."""
    run = stopped.start("work(1)\nran_on = True")
    if doing:
        talk(stopped, run, doing)
    if doing.startswith("exec"):
        stopped.wait_until(lambda: "begun" in run.text())
    else:
        stopped.wait_question(run)
    stopped.interrupt()
    stopped.finish(run)
    assert run.error == "KeyboardInterrupt"
    assert "pdb.py" not in run.traceback
    assert "breakpoint()" in run.traceback
    assert stopped.evaluate("'ran_on' in globals()") == "False"
    assert (
        stopped.execute("import signal; signal.getsignal(signal.SIGINT) is signal.default_int_handler").result == "True"
    )


@BREAKPOINT
def test_an_interrupt_after_continue_ends_the_cell(stopped: Client) -> None:
    """pdb by itself would come back to its prompt, in later cells as well."""
    run = stopped.start("work(1); print('begun')\nwhile True: pass")
    talk(stopped, run, "c")
    stopped.wait_text(run, "begun")
    stopped.interrupt()
    assert stopped.finish(run).error == "KeyboardInterrupt"


@BREAKPOINT
@pytest.mark.parametrize("code", ["work(1)", "%%debug\nx = 1", "%debug x = 1", "%debug"])
def test_a_frontend_that_takes_no_questions(stopped: Client, code: str) -> None:
    stopped.execute("1 / 0")
    run = stopped.execute(code, allow_stdin=False)
    assert run.status == "error"
    assert run.reply["ename"] == ("UsageError" if code.startswith("%") else "StdinNotImplementedError")
    assert "debugger" in run.reply["evalue"]
    assert len(run.traceback.splitlines()) < 25
    assert "bdb.py" not in run.traceback
    assert stopped.execute("1").result == "1"


@BREAKPOINT
def test_quit_ends_the_cell(stopped: Client) -> None:
    run = stopped.start("work(1)\nran_on = True")
    talk(stopped, run, "q")
    stopped.finish(run)
    assert run.error == "BdbQuit"
    assert len(run.traceback.splitlines()) == 1
    assert stopped.evaluate("'ran_on' in globals()") == "False"


@BREAKPOINT
def test_interact(stopped: Client) -> None:
    """An error there is told, and is not the cell's."""
    run = stopped.start("work(1)")
    talk(stopped, run, "interact")
    for line in ("total + 100", "no_such_name", "exit()"):
        question = stopped.wait_question(run)
        assert question["content"]["prompt"] != "ipdb> "
        stopped.answer(question, line)
    talk(stopped, run, "c")
    stopped.finish(run)
    assert run.status == "ok"
    assert run.contents("execute_result")[0]["data"]["text/plain"] == "102"
    assert "NameError" in run.text("stderr")
    assert "debugprompt" not in run.text("stderr")
    assert run.contents("error") == []


@BREAKPOINT
@pytest.mark.parametrize("how", ["import os; os._exit(5)", "import ctypes; ctypes.string_at(0)"])
def test_a_death_at_the_prompt(stopped: Client, how: str) -> None:
    stopped.execute("kept = 1")
    run = stopped.start("work(1)")
    talk(stopped, run, how)
    assert stopped.finish(run).error == "WorkerDied"
    run = stopped.start("work(kept)")
    talk(stopped, run, "c")
    assert stopped.finish(run).result == "20"


@BREAKPOINT
def test_python_breakpoint_is_honoured(stopped: Client) -> None:
    stopped.execute("import os; os.environ['PYTHONBREAKPOINT'] = '0'")
    assert stopped.execute("work(1)").result == "20"
    stopped.execute("del os.environ['PYTHONBREAKPOINT']")


@BREAKPOINT
def test_in_a_module_and_in_an_async_cell(stopped: Client) -> None:
    """`pdb` is seen to wherever it is imported."""
    stopped.execute(
        "import pathlib; pathlib.Path('stops.py').write_text('import pdb\\ndef f(a):\\n    pdb.set_trace()\\n    return a\\n')"
    )
    run = stopped.start("import asyncio, stops\nawait asyncio.sleep(0)\nstops.f(3)")
    talk(stopped, run, "p a * 111", "c")
    stopped.finish(run)
    assert "333" in plain(run)
    assert run.result == "3"


@pytest.mark.row("Magics", "`%debug`")
def test_post_mortem(client: Client) -> None:
    client.execute("def fail(x):\n    return 1 / x")
    assert client.execute("fail(0)").error == "ZeroDivisionError"
    run = client.start("%debug")
    talk(client, run, "p x", "up", "p fail.__name__", "q")
    client.finish(run)
    assert run.status == "ok"
    assert "return 1 / x" in plain(run)
    assert "'fail'" in plain(run)
    run = client.start("import pdb\ntry: fail(0)\nexcept ZeroDivisionError: pdb.post_mortem()")
    talk(client, run, "p x + 5", "q")
    client.finish(run)
    assert "5\n" in plain(run)


@pytest.mark.row("Magics", "`%debug`, interrupted")
def test_an_interrupt_of_post_mortem(client: Client) -> None:
    client.execute("1 / 0")
    run = client.start("%debug")
    client.wait_question(run)
    client.interrupt()
    assert client.finish(run).error == "KeyboardInterrupt"
    run = client.start("%debug")
    talk(client, run, "p 40 + 2", "q")
    assert "42" in plain(client.finish(run))


@pytest.mark.row("Magics", "`%%debug`")
def test_a_cell_under_the_debugger(client: Client) -> None:
    """Also after an interrupt at an earlier prompt."""
    client.execute("1 / 0")
    run = client.start("%debug")
    client.wait_question(run)
    client.interrupt()
    client.finish(run)
    run = client.start("%%debug\nx = 1\ny = x + 1\nprint('y is', y)")
    talk(client, run, "n", "n", "p x + 7", "c")
    client.finish(run)
    assert "8\n" in plain(run)
    assert "y is 2\n" in plain(run)
    assert client.evaluate("y") == "2"
    run = client.start("%%debug\nx = 5\nx = 6")
    talk(client, run, "n", "n", "q")
    assert client.finish(run).status == "ok"
    run = client.start("%%debug\nx = 5\nx = 6")
    client.wait_question(run)
    client.interrupt()
    assert client.finish(run).error == "KeyboardInterrupt"


@pytest.mark.row("Magics", "`%pdb`")
def test_automatic_post_mortem(client: Client) -> None:
    client.execute("%pdb on")
    run = client.start("wrong = 3\nwrong / 0")
    talk(client, run, "p wrong + 1", "q")
    client.finish(run)
    assert run.error == "ZeroDivisionError"
    assert "4\n" in plain(run)
    run = client.start("wrong / 0")
    client.wait_question(run)
    client.interrupt()
    assert client.finish(run).status == "error"
    client.execute("%pdb off")
    assert client.execute("wrong / 0").error == "ZeroDivisionError"
