"""Every request of the protocol, asked of a live kernel."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from .client import Client
from .conftest import StartKernel
from .kernels import Kernel

PAGES = pytest.mark.row("Magics", "page payloads (`?`, `??`, `%pinfo`)")
EXITS = pytest.mark.row("Seen to break", "`sys.exit(3)` and SystemExit are errors, not ends")


@pytest.mark.row("Protocol", "`kernel_info_reply`: 5.5, complete `language_info`, `help_links`, banner")
def test_kernel_info(client: Client) -> None:
    for channel in ("shell", "control"):
        run = client.ask("kernel_info_request", channel=channel)
        info = run.reply
        assert info["protocol_version"] == "5.5"
        assert info["language_info"]["name"] == "python"
        assert info["language_info"]["codemirror_mode"] == {"name": "ipython", "version": 3}
        assert info["language_info"]["pygments_lexer"] == "ipython3"
        assert info["language_info"]["nbconvert_exporter"] == "python"
        assert info["language_info"]["mimetype"] == "text/x-python"
    version = client.execute("import platform, IPython; print(platform.python_version(), IPython.__version__)")
    python, ipython = version.text().split()
    assert info["language_info"]["version"] == python
    assert ipython in info["banner"]
    assert info["help_links"]


def test_kernel_info_is_answered_before_the_worker_is_up(start_kernel: StartKernel, tmp_path: Path) -> None:
    """And what was asked of the worker meanwhile is done when it is."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "wait.py").write_text(f"ready = open({str(gate)!r}).read()")  # until somebody opens the other end
    client = start_kernel(env={"IPYTHONDIR": str(tmp_path / "ipython")}).connect()
    cell = client.start("print(ready)")
    for channel in ("shell", "control"):
        info = client.ask("kernel_info_request", channel=channel).reply
        assert info["status"] == "ok"
        assert "IPython" in info["banner"]
    assert client.beat(b"alive") == b"alive"
    assert not cell.replies
    gate.write_text("now")
    assert client.finish(cell).text() == "now\n"


def test_connect_info(client: Client, kernel: Kernel) -> None:
    reply = client.ask("connect_request").reply
    for channel in ("shell", "iopub", "stdin", "hb", "control"):
        assert reply[f"{channel}_port"] == kernel.connection[f"{channel}_port"]


def test_an_unknown_request_is_answered_with_an_error(client: Client) -> None:
    for channel in ("shell", "control"):
        run = client.ask("no_such_request", channel=channel)
        assert run.status == "error"
        assert "no_such_request" in run.reply["evalue"]


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("execute_request", {}),
        ("execute_request", {"code": 7}),
        ("execute_request", {"code": "1", "user_expressions": []}),
        ("complete_request", {"code": "a", "cursor_pos": "b"}),
        ("inspect_request", {"cursor_pos": 1}),
        ("history_request", {"hist_access_type": "nonsense"}),
        ("is_complete_request", {}),
    ],
)
def test_a_request_that_makes_no_sense_is_answered_with_an_error(
    client: Client, kind: str, content: dict[str, object]
) -> None:
    run = client.ask(kind, content)
    assert run.status == "error"
    assert run.reply["evalue"]
    assert client.execute("1").result == "1"


# -- execute


def test_execute(client: Client) -> None:
    run = client.execute("print('a')\n40 + 2")
    assert run.status == "ok"
    assert run.types == ["stream", "execute_result"]
    assert run.result == "42"
    count = run.reply["execution_count"]
    (shown,) = run.contents("execute_input")
    assert shown == {"code": "print('a')\n40 + 2", "execution_count": count}
    assert run.contents("execute_result")[0]["execution_count"] == count
    assert run.published[1]["msg_type"] == "execute_input"
    assert client.execute("_").result == "42"
    assert client.execute(f"Out[{count}]").result == "42"
    assert client.execute("x = 1").reply["execution_count"] == count + 3


@pytest.mark.row("Protocol", "reply metadata: `started` and its kin")
def test_the_reply_says_when_the_cell_began(client: Client) -> None:
    client.execute("import datetime")
    run = client.start("now = datetime.datetime.now(datetime.timezone.utc)")
    metadata = client.finish(run).replies[0]["metadata"]
    assert metadata["status"] == "ok"
    assert metadata["dependencies_met"] is True
    assert metadata["engine"]
    assert datetime.fromisoformat(metadata["started"]) >= run.request["header"]["date"]
    assert client.evaluate(f"datetime.datetime.fromisoformat('{metadata['started']}') <= now") == "True"


@pytest.mark.row("Protocol", "`silent` leaves no trace")
def test_silent_leaves_no_trace(client: Client) -> None:
    before = client.execute("'before'").reply["execution_count"]
    run = client.execute("print('said'); 'result'", silent=True)
    assert "execute_input" not in [m["msg_type"] for m in run.published]
    assert run.types in ([], ["stream"])
    after = client.execute("_")
    assert after.reply["execution_count"] == before + 1
    assert after.result == "'before'"
    tail = client.ask("history_request", {"hist_access_type": "tail", "n": 3, "raw": True, "output": False})
    assert "said" not in str(tail.reply["history"])


@pytest.mark.row(
    "Protocol", "the reply to a silent cell has the number of the last one, by which qtconsole numbers the next"
)
def test_the_reply_to_a_silent_cell_has_the_number_of_the_last(client: Client) -> None:
    before = client.execute("1").reply["execution_count"]
    assert client.execute("1", silent=True).reply["execution_count"] == before


@pytest.mark.row("Protocol", "`store_history: false` leaves no trace")
def test_without_history(client: Client) -> None:
    before = client.execute("'before'").reply["execution_count"]
    run = client.execute("'not kept'", store_history=False)
    assert run.result == "'not kept'"
    assert run.contents("execute_input")
    assert client.execute("1").reply["execution_count"] == before + 1
    tail = client.ask("history_request", {"hist_access_type": "tail", "n": 3, "raw": True, "output": False})
    assert "not kept" not in str(tail.reply["history"])


@pytest.mark.row("Protocol", "`user_expressions` report errors one by one")
def test_user_expressions_are_answered_one_by_one(client: Client) -> None:
    expressions = {"good": "x + 1", "bad": "x +", "wrong": "no_such_name", "rich": "HTML('<b>')"}
    reply = client.execute("from IPython.display import HTML; x = 1", user_expressions=expressions).reply
    answers = reply["user_expressions"]
    assert reply["status"] == "ok"
    assert answers["good"]["data"]["text/plain"] == "2"
    assert answers["good"]["status"] == "ok"
    assert answers["rich"]["data"]["text/html"] == "<b>"
    assert (answers["bad"]["status"], answers["bad"]["ename"]) == ("error", "SyntaxError")
    assert (answers["wrong"]["status"], answers["wrong"]["ename"]) == ("error", "NameError")


def test_an_error(client: Client) -> None:
    run = client.execute("def f():\n    return 1 / 0\nf()", user_expressions={"x": "1"})
    assert run.error == "ZeroDivisionError"
    assert run.reply["evalue"] == "division by zero"
    assert run.reply["user_expressions"] == {}
    assert run.replies[0]["metadata"]["status"] == "error"
    assert "Cell In[" in run.traceback
    assert "return 1 / 0" in run.traceback


@pytest.mark.row("Seen to break", "errors of magics and formatters, and `SystemExit`, fail the cell")
@pytest.mark.parametrize(
    ("code", "ename"),
    [
        ("a b", "SyntaxError"),
        ("def f(:", "SyntaxError"),
        ("if True:\npass", "IndentationError"),
        pytest.param("raise SystemExit(3)", "SystemExit", marks=EXITS),
        pytest.param("import sys; sys.exit(3)", "SystemExit", marks=EXITS),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise BaseException('b')", "BaseException"),
        pytest.param(
            "%no_such_magic",
            "UsageError",
            marks=pytest.mark.row("Seen to break", "errors of line magics fail the cell"),
        ),
        ("%%no_such_cell_magic\n1", "UsageError"),
        ("%run no_such_file.py", "Exception"),
        ("%%capture\n1 / 0", "ZeroDivisionError"),
        ("%%time\n1 / 0", "ZeroDivisionError"),
        ("%time 1 / 0", "ZeroDivisionError"),
        pytest.param(
            "class R:\n    def __repr__(self): raise ValueError('repr')\nR()",
            "ValueError",
            marks=pytest.mark.row("Seen to break", "a `__repr__` that raises fails the cell"),
        ),
        ("class E(Exception):\n    def __str__(self): raise ValueError('str')\nraise E", "E"),
        ("raise ExceptionGroup('several', [ValueError(1), TypeError(2)])", "ExceptionGroup"),
        ("def f(): f()\nf()", "RecursionError"),
        ("await asyncio_is_not_here", "NameError"),
        ("1\x00", "SyntaxError"),
        ("# -*- coding: nonsense -*-\nraise LookupError", "LookupError"),
    ],
)
def test_what_counts_as_an_error(client: Client, code: str, ename: str) -> None:
    """Each fails its cell, in a reply and one `error` message that agree; the next cell runs."""
    run = client.execute(code)
    assert run.status == "error", run.reply
    if "error" in run.types:
        assert run.error == ename
    else:  # a usage error of a magic is told on stderr
        assert run.reply["ename"] == ename
        assert run.text("stderr")
    assert client.execute("1").result == "1"


def test_a_cell_of_one_megabyte(client: Client) -> None:
    code = "total = 0\n" + "total += 1  # " + "x" * 86 + "\n"
    code += ("total += 1  # " + "x" * 86 + "\n") * 10_000 + "total"
    assert len(code) > 1_000_000
    assert client.execute(code).result == "10001"
    assert client.execute(f"len({'x' * 1_200_000!r})").result == "1200000"


def test_metadata_of_the_cell_reaches_the_shell(client: Client) -> None:
    client.execute("seen = []\nget_ipython().events.register('pre_run_cell', seen.append)")
    try:
        client.execute("1", metadata={"cellId": "the-id", "deletedCells": [], "tags": ["a"]})
        assert client.evaluate("seen[0].cell_id") == "'the-id'"
    finally:
        client.execute("get_ipython().events.unregister('pre_run_cell', seen.append)")


# -- completion and the rest


def test_complete(client: Client) -> None:
    client.execute("import os\nnumber_of_things = 1\nclass Thing:\n    def method(self, first, second=2): ...")
    code = "number_of_th + 1"
    reply = client.ask("complete_request", {"code": code, "cursor_pos": 12}).reply
    assert reply["matches"] == ["number_of_things"]
    assert (reply["cursor_start"], reply["cursor_end"]) == (0, 12)
    types = reply["metadata"]["_jupyter_types_experimental"]
    assert [(t["text"], t["start"], t["end"]) for t in types] == [("number_of_things", 0, 12)]
    assert all(t["type"] for t in types)

    reply = client.ask("complete_request", {"code": "Thing().meth", "cursor_pos": 12}).reply
    assert reply["metadata"]["_jupyter_types_experimental"][0]["type"] == "function"
    assert "first" in reply["metadata"]["_jupyter_types_experimental"][0]["signature"]
    assert "%matplotlib" in client.ask("complete_request", {"code": "%matplo", "cursor_pos": 7}).reply["matches"]
    nothing = client.ask("complete_request", {"code": "no_such_name", "cursor_pos": 12}).reply
    assert nothing["matches"] == []
    # Positions count characters, not bytes or UTF-16 units.
    reply = client.ask("complete_request", {"code": "'\N{PILE OF POO}', number_of_th", "cursor_pos": 17}).reply
    assert (reply["cursor_start"], reply["cursor_end"]) == (5, 17)


def test_inspect(client: Client) -> None:
    client.execute("def documented(a, b=1):\n    'What it does.'\n    return a")
    reply = client.ask("inspect_request", {"code": "documented(1", "cursor_pos": 12, "detail_level": 0}).reply
    assert reply["found"] is True
    assert "What it does." in reply["data"]["text/plain"]
    assert "return a" not in reply["data"]["text/plain"]
    reply = client.ask("inspect_request", {"code": "documented", "cursor_pos": 4, "detail_level": 1}).reply
    assert "a" in reply["data"]["text/plain"]
    assert "return" in reply["data"]["text/plain"]
    reply = client.ask("inspect_request", {"code": "no_such_name", "cursor_pos": 3, "detail_level": 0}).reply
    assert reply == {"status": "ok", "found": False, "data": {}, "metadata": {}}
    assert client.ask("inspect_request", {"code": "", "cursor_pos": 0, "detail_level": 0}).reply["found"] is False


def test_history(start_kernel: StartKernel) -> None:
    client = start_kernel().connect()
    for code in ("a = 1", "a + 1", "'needle'", "!true"):
        client.execute(code)

    def history(**content: object) -> list[list[object]]:
        run = client.ask("history_request", {"output": False, "raw": True, **content})
        assert run.status == "ok"
        return list(run.reply["history"])

    tail = history(hist_access_type="tail", n=3)
    assert [row[2] for row in tail] == ["a + 1", "'needle'", "!true"]
    session = tail[0][0]
    assert [row[1] for row in tail] == [2, 3, 4]
    in_range = history(hist_access_type="range", session=0, start=1, stop=3)
    assert [row[1:] for row in in_range] == [[1, "a = 1"], [2, "a + 1"]]
    assert {row[0] for row in in_range} == {session}
    assert in_range == history(hist_access_type="range", session=session, start=1, stop=3)
    assert [row[2] for row in history(hist_access_type="search", pattern="*needle*", n=5)] == ["'needle'"]
    assert history(hist_access_type="search", pattern="nothing*like*it") == []
    with_output = history(hist_access_type="range", session=0, start=2, stop=3, output=True)
    assert with_output[0][2] == ["a + 1", "2"]
    (translated,) = history(hist_access_type="range", session=0, start=4, stop=5, raw=False)
    assert "get_ipython().system" in str(translated[2])


@pytest.mark.parametrize(
    ("code", "status", "indent"),
    [
        ("1 + 1", "complete", None),
        ("for i in range(3):", "incomplete", "    "),
        ("for i in range(3):\n    print(i)\n", "complete", None),
        ("x = (1,", "incomplete", ""),
        ("'''open", "incomplete", ""),
        ("a b c", "invalid", None),
        ("%%bash\nls", "incomplete", ""),
        ("", "complete", None),
    ],
)
def test_is_complete(client: Client, code: str, status: str, indent: str | None) -> None:
    reply = client.ask("is_complete_request", {"code": code}).reply
    assert reply["status"] == status
    assert reply.get("indent") == indent


@pytest.mark.parametrize(
    ("code", "payload"),
    [
        pytest.param("len?", {"source": "page", "start": 0}, marks=PAGES),
        pytest.param("len??", {"source": "page", "start": 0}, marks=PAGES),
        pytest.param("%pinfo len", {"source": "page", "start": 0}, marks=PAGES),
        pytest.param(
            "get_ipython().set_next_input('next')",
            {"source": "set_next_input", "text": "next", "replace": False},
            marks=pytest.mark.row("Magics", "`set_next_input`"),
        ),
        (
            "get_ipython().set_next_input('this', replace=True)",
            {"source": "set_next_input", "text": "this", "replace": True},
        ),
        pytest.param(
            "%edit -n 7 there.py",
            {"source": "edit_magic", "line_number": 7},
            marks=pytest.mark.row("Magics", "`%edit`"),
        ),
        pytest.param(
            "exit(keep_kernel=True)",
            {"source": "ask_exit", "keepkernel": True},
            marks=pytest.mark.row("Magics", "`exit(keep_kernel=True)`"),
        ),
    ],
)
def test_payloads(client: Client, code: str, payload: dict[str, object]) -> None:
    run = client.execute(code)
    (got,) = run.reply["payload"]
    assert got | payload == got, got
    if payload["source"] == "page":
        assert "len" in got["data"]["text/plain"]
    if payload["source"] == "edit_magic":
        assert got["filename"].endswith("/there.py")
    assert client.execute("1").reply["payload"] == []


@pytest.mark.row("Magics", "`exit`, `quit()`")
@pytest.mark.parametrize("code", ["exit", "quit", "exit()", "quit()"])
def test_exit_ends_the_kernel(start_kernel: StartKernel, code: str) -> None:
    kernel = start_kernel()
    run = kernel.connect().execute(code)
    assert run.reply["payload"] == [{"source": "ask_exit", "keepkernel": False}]
    assert kernel.wait() == 0


@pytest.mark.row("Protocol", "the heartbeat comes back while a cell runs")
def test_heartbeat_comes_back_while_a_cell_runs(client: Client) -> None:
    cell = client.start("import time\nwhile True: sum(range(10**6))")
    client.wait_busy(cell)
    for payload in (b"", b"x", b"ping" * 1000):
        assert client.beat(payload) == payload
    client.interrupt()
    assert client.finish(cell).error == "KeyboardInterrupt"


@pytest.mark.row("Protocol", "the status of control requests while a cell runs does not leave idle as the last word")
@pytest.mark.row("Seen to break", "control requests get busy and idle too")
def test_a_clock_between_the_statuses(connect: Callable[[], Client]) -> None:
    """What is answered while a cell runs says busy last: frontends show the last status, whoever it belongs to."""
    client, other = connect(), connect()
    cell = client.start("input()")
    question = client.wait_question(cell)
    for asker in (client, other):
        asker.ask("kernel_info_request")
        asker.ask("kernel_info_request", channel="control")
        asker.ask("no_such_request", channel="control")
        last = [m for c, m in asker.messages if m["msg_type"] == "status"][-1]
        assert last["content"]["execution_state"] == "busy"
    client.answer(question, "")
    client.finish(cell)
    idle = other.ask("kernel_info_request")
    assert idle.states == ["busy", "idle"]
