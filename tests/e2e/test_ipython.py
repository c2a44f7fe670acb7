"""What IPython users know: configuration, start-up files, magics, plots, rich output, await, history."""

from __future__ import annotations

import base64
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from .client import TIMEOUT, Client
from .conftest import StartKernel

PROFILE = "ipython/profile_default"
FORMATS = ("html", "markdown", "svg", "png", "jpeg", "latex", "json", "javascript", "pdf")


# -- configuration


@pytest.mark.row("Start", "`ipython_config.py`, `ipython_kernel_config.py` with `c.IPKernelApp`, start-up files")
def test_configuration_and_startup(start_kernel: StartKernel) -> None:
    """Both files, lines, files, extensions, the profile's start-up folder; each has its say, in IPython's order."""
    files = {
        f"{PROFILE}/ipython_config.py": (
            "c.InteractiveShellApp.exec_lines = ['order = [1]', 'import math']\n"
            "c.InteractiveShellApp.extensions = ['my_extension']\n"
            "c.InteractiveShell.ast_node_interactivity = 'all'\n"
        ),
        f"{PROFILE}/ipython_kernel_config.py": (
            "c.IPKernelApp.exec_files = ['extra.py']\nc.InteractiveShell.separate_in = 'x'\n"
        ),
        f"{PROFILE}/startup/00-first.py": "order = ['startup']\nimport __main__\nprint('from a start-up file')",
        f"{PROFILE}/startup/50-magics.ipy": "%alias_magic t timeit\nlisting = !echo ipy",
        "extra.py": "order.append('exec_files')",
        "my_extension.py": (
            "def load_ipython_extension(shell):\n    shell.push({'extension': 'loaded'})\n"
            "    shell.register_magic_function(lambda line: line.upper(), magic_name='shout')\n"
        ),
    }
    client = start_kernel(files=files, env={"PYTHONPATH": "."}).connect()
    assert client.evaluate("extension") == "'loaded'"
    assert client.evaluate("list(listing)") == "['ipy']"
    assert client.evaluate("order") == "[1, 'exec_files']"
    assert client.evaluate("math.pi").startswith("3.14")
    run = client.execute("1\n2")
    assert [c["data"]["text/plain"] for c in run.contents("execute_result", "display_data")] == ["1", "2"]
    assert client.execute("%shout quiet").result == "'QUIET'"
    assert client.execute("%t -n1 -r1 pass").status == "ok"


@pytest.mark.row("Start", "any extra argument is accepted; traits, `--debug`, NoColor, a script")
@pytest.mark.row(
    "Seen to break", "`--HistoryManager.hist_file=:memory:` and `--Kernel.stop_on_error_timeout=0` are accepted"
)
def test_options_of_the_command_line(start_kernel: StartKernel) -> None:
    """Those of IPython, those of launchers, and those that nobody knows."""
    kernel = start_kernel(
        "--InteractiveShell.ast_node_interactivity=all",
        "--IPKernelApp.exec_lines=line = 1",
        "--HistoryManager.hist_file=:memory:",
        "--HistoryManager.enabled=True",
        "--Kernel.stop_on_error_timeout=0",
        "--NoSuchClass.trait=1",
        "--debug",
        "--matplotlib=inline",
        "--colors=NoColor",
        "script.py",
    )
    client = kernel.connect()
    run = client.execute("1\n2")
    assert [c["data"]["text/plain"] for c in run.contents("execute_result", "display_data")] == ["1", "2"]
    assert client.evaluate("line") == "1"
    assert client.evaluate("get_ipython().history_manager.hist_file") == "':memory:'"
    assert "\x1b[" not in "".join(client.execute("1 / 0").reply["traceback"])


@pytest.mark.row("Start", "`--profile=x`")
def test_a_profile(start_kernel: StartKernel) -> None:
    files = {
        "ipython/profile_work/ipython_config.py": "c.InteractiveShellApp.exec_lines = ['which = \"work\"']",
        f"{PROFILE}/ipython_config.py": "c.InteractiveShellApp.exec_lines = ['which = \"default\"']",
    }
    assert start_kernel("--profile=work", files=files).connect().evaluate("which") == "'work'"
    assert start_kernel(files=files).connect().evaluate("which") == "'default'"


@pytest.mark.row("Start", "bad configuration and history files cost a warning")
@pytest.mark.parametrize(
    "files",
    [
        {f"{PROFILE}/ipython_config.py": "this is not Python"},
        {f"{PROFILE}/ipython_config.py": "c.InteractiveShell.ast_node_interactivity = 'no such value'"},
        {f"{PROFILE}/ipython_config.py": "c.InteractiveShellApp.extensions = ['no_such_extension']"},
        {f"{PROFILE}/ipython_config.py": "c.InteractiveShellApp.exec_lines = ['1 / 0', 'raise SystemExit']"},
        {f"{PROFILE}/startup/bad.py": "raise SystemExit(3)"},
        {f"{PROFILE}/startup/bad.ipy": "1 / 0"},
        {f"{PROFILE}/history.sqlite": "this is not a database"},
        {"ipython": "this is not a folder"},
    ],
    ids=lambda files: "-".join(files) + "-" + str(len("".join(files.values()))),
)
def test_bad_configuration_costs_a_warning_not_the_kernel(start_kernel: StartKernel, files: dict[str, str]) -> None:
    client = start_kernel(files=files).connect()
    assert client.execute("6 * 7").result == "42"


def test_a_start_up_file_that_prints_and_plots_nothing_wrong(start_kernel: StartKernel, tmp_path: Path) -> None:
    """What start-up code prints is published, under a parent."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    code = f"open({str(gate)!r}).close()\nprint('from start-up')"
    client = start_kernel(files={f"{PROFILE}/startup/a.py": code}).connect()
    os.close(os.open(gate, os.O_WRONLY))  # only now: what nobody has subscribed to is not kept for long
    client.wait(lambda channel, m: m["msg_type"] == "stream" and "from start-up" in m["content"]["text"])


# -- history


def test_history_lasts_from_kernel_to_kernel(start_kernel: StartKernel, tmp_path: Path) -> None:
    """In the database that terminals share."""
    # A worker that has no time to end by itself does not write its history.
    env = {"IPYTHONDIR": str(tmp_path / "shared"), "IPYMINI_SHUTDOWN_GRACE": "20"}
    first = start_kernel(env=env)
    client = first.connect()
    client.execute("kept = 'in the first session'")
    client.execute("kept")
    first.stop()
    client = start_kernel(env=env).connect()
    request = {"hist_access_type": "search", "pattern": "*first session*", "raw": True, "output": False}
    assert [row[2] for row in client.ask("history_request", request).reply["history"]] == [
        "kept = 'in the first session'"
    ]
    tail = {"hist_access_type": "tail", "n": 10, "raw": True, "output": False}
    assert "kept" in [row[2] for row in client.ask("history_request", tail).reply["history"]]
    with closing(sqlite3.connect(tmp_path / "shared" / "profile_default" / "history.sqlite")) as database:
        (count,) = database.execute("select count(*) from history where source_raw like '%first session%'").fetchone()
    assert count == 1


# -- plots and rich output


def test_matplotlib(client: Client) -> None:
    """Inline without a word, and with one; the figure of a cell is shown at its end, once."""
    run = client.execute("import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nNone")
    (content,) = run.contents("display_data")
    assert base64.b64decode(content["data"]["image/png"]).startswith(b"\x89PNG\r\n")
    assert client.execute("1").types == ["execute_result"]
    run = client.execute("%matplotlib inline\nplt.plot([3, 2, 1]); plt.title('again')\nplt.show()")
    assert len(run.contents("display_data")) == 1
    run = client.execute("%config InlineBackend.figure_formats = ['svg']\nplt.plot([1]); None")
    assert "<svg" in run.contents("display_data")[0]["data"]["image/svg+xml"]
    assert client.execute("plt.figure(); plt.close('all')").contents("display_data") == []


def test_rich_representations(client: Client) -> None:
    code = "class Rich:\n"
    for name in FORMATS:
        value = "b'bytes'" if name in ("png", "jpeg", "pdf") else "{'a': 1}" if name == "json" else f"'<{name}>'"
        code += f"    def _repr_{name}_(self): return {value}\n"
    run = client.execute(code + "Rich()")
    (content,) = run.contents("execute_result")
    assert {"text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg"} <= set(content["data"])
    assert {"text/latex", "application/json", "application/javascript", "application/pdf"} <= set(content["data"])
    assert base64.b64decode(content["data"]["image/png"]) == b"bytes"
    assert content["data"]["application/json"] == {"a": 1}
    run = client.execute(
        "class Bundle:\n    def _repr_mimebundle_(self, **k): return {'text/plain': 'p', 'x/y+json': [1]}, {'x/y+json': {'m': 1}}\n"
        "Bundle()"
    )
    (content,) = run.contents("execute_result")
    assert content["data"] == {"text/plain": "p", "x/y+json": [1]}
    assert content["metadata"] == {"x/y+json": {"m": 1}}
    run = client.execute("class Own:\n    def _ipython_display_(self): print('by itself')\nOwn()")
    assert (run.types, run.text()) == (["stream"], "by itself\n")
    assert (
        client.execute("from IPython.display import *; Image(data=b'\\x89PNG\\r\\n\\x1a\\n' + b'0' * 24)").status
        == "ok"
    )


def test_the_last_expression(client: Client) -> None:
    assert client.execute("1;").types == []
    assert client.execute("x = 1").types == []
    assert client.execute("None").types == []
    assert client.execute("1\n2").result == "2"


# -- magics


def test_magics(start_kernel: StartKernel) -> None:
    files = {"script.py": "import sys; print('ran', sys.argv[1:]); made = 5", "snippet.py": "loaded = 1"}
    client = start_kernel(files=files).connect()
    run = client.execute("%run script.py a b")
    assert run.text() == "ran ['a', 'b']\n"
    assert client.evaluate("made") == "5"
    (payload,) = client.execute("%load snippet.py").reply["payload"]
    assert (payload["source"], payload["replace"]) == ("set_next_input", True)
    assert "loaded = 1" in payload["text"]
    run = client.execute("%%capture said\nprint('hidden'); 7")
    assert run.types == []
    assert client.execute("said.stdout").result == r"'hidden\n'"
    assert "per loop" in client.execute("%%timeit -n 2 -r 2\npass").text()
    assert "per loop" in client.execute("%timeit -n 2 -r 2 pass").text()
    assert "function calls" in str(client.execute("%%prun\nsum(range(10))").reply["payload"])
    assert client.execute("%%time\nx = 1").status == "ok"
    assert client.execute("%%writefile out.txt\ntext").status == "ok"
    assert client.execute("!cat out.txt").text().strip() == "text"
    assert client.execute("files = !ls *.txt\nfiles").result == "['out.txt']"
    assert client.execute("%%bash\necho from bash").text() == "from bash\n"
    assert client.execute("%pwd").result
    assert client.execute("%who_ls").status == "ok"
    assert client.execute("%history -n 1-2").text()
    assert client.execute("%config IPCompleter").status == "ok"
    assert client.execute("%lsmagic").status == "ok"
    assert client.execute("%xmode Plain").status == "ok"
    assert client.execute("%reset -f").status == "ok"


@pytest.mark.row("Magics", "`%autoreload`")
def test_autoreload(start_kernel: StartKernel) -> None:
    kernel = start_kernel(files={"changing.py": "def answer(): return 1"})
    client = kernel.connect()
    client.execute("%load_ext autoreload\n%autoreload 2\nfrom changing import answer")
    assert client.execute("answer()").result == "1"
    (kernel.folder / "changing.py").write_text("def answer(): return 'changed'  # and of another size")
    assert client.execute("answer()").result == "'changed'"


@pytest.mark.row("Magics", "page payloads (`?`, `??`, `%pinfo`)")
def test_the_pager(client: Client) -> None:
    (payload,) = client.execute("import os\nos.path.join??").reply["payload"]
    assert "Signature" in payload["data"]["text/plain"]
    (payload,) = client.execute("from IPython.core import page; page.page('a long text')").reply["payload"]
    assert payload["data"]["text/plain"] == "a long text"


def test_environment_of_the_cell(client: Client) -> None:
    assert client.evaluate("__name__") == "'__main__'"
    assert client.execute("import sys; sys.modules['__main__'].__dict__ is globals()").result == "True"
    assert client.execute("import os; os.environ['TERM'], os.environ['PAGER']").result == "('xterm-color', 'cat')"
    assert client.execute("get_ipython().__class__.__mro__[-1]").status == "ok"
    assert (
        client.execute("import pickle\nclass Own: pass\ntype(pickle.loads(pickle.dumps(Own()))) is Own").result
        == "True"
    )


# -- asyncio


def test_top_level_await(client: Client) -> None:
    """On one loop that lives from cell to cell."""
    run = client.execute("import asyncio\nawait asyncio.sleep(0.01, 'slept')")
    assert run.result == "'slept'"
    client.execute("first = asyncio.get_running_loop(); await asyncio.sleep(0)")
    assert client.execute("await asyncio.sleep(0); asyncio.get_running_loop() is first").result == "True"
    client.execute("queue = asyncio.Queue(); task = asyncio.create_task(queue.get())")
    client.execute("await queue.put('through')")
    assert client.execute("await task").result == "'through'"
    run = client.execute("async def fail(): raise ValueError('async')\nawait fail()")
    assert run.error == "ValueError"
    run = client.execute("async with asyncio.timeout(0.01): await asyncio.sleep(10)")
    assert run.error == "TimeoutError"
    run = client.execute("async def count():\n    for i in range(3): yield i\n[i async for i in count()]")
    assert run.result == "[0, 1, 2]"


@pytest.mark.row("Output", "`asyncio.run` in a plain cell")
def test_asyncio_run_in_a_plain_cell(client: Client) -> None:
    """As in a script: no loop runs there."""
    assert client.execute("import asyncio\nasync def two(): return 2\nasyncio.run(two())").result == "2"
    assert client.execute("with asyncio.Runner() as runner: print(runner.run(two()))").text() == "2\n"
    assert client.execute("await two()").result == "2"
    assert client.execute("asyncio.run(two())").result == "2"


@pytest.mark.row("Output", "context variables set in one cell are seen in the next")
def test_context_variables_last(client: Client) -> None:
    client.execute("import asyncio, contextvars\nv = contextvars.ContextVar('v'); v.set(1); None")
    assert client.execute("v.get()").result == "1"
    client.execute("await asyncio.sleep(0); v.set(2); None")
    assert client.execute("v.get()").result == "2"


@pytest.mark.row("Output", "tasks run on while later cells execute and while idle")
def test_a_task_runs_while_the_kernel_is_idle(client: Client) -> None:
    cell = client.execute(
        "import asyncio\nasync def count():\n    for i in range(5):\n        await asyncio.sleep(0.02); print(i)\n"
        "task = asyncio.create_task(count())"
    )
    client.wait_until(lambda: cell.text() == "0\n1\n2\n3\n4\n")
    told = [m["content"].get("execution_state") or m["content"].get("text", "") for m in cell.published]
    assert any("4" in text for text in told[told.index("idle") :])


def test_an_exception_of_a_task_nobody_awaits(client: Client) -> None:
    client.execute("import asyncio\nasync def fail(): raise ValueError('lost')\ntask = asyncio.create_task(fail())")
    client.execute("await asyncio.sleep(0.01)")
    run = client.execute("del task; import gc; gc.collect(); await asyncio.sleep(0)")
    assert run.status == "ok"
    client.wait(lambda channel, m: m["msg_type"] == "stream" and "ValueError: lost" in m["content"]["text"])


def test_recursion_without_a_limit_worth_the_name(client: Client) -> None:
    """Its traceback is shortened before IPython takes a minute for it, in which not even an interrupt would help."""
    # It would be minutes without; a busy machine has it take several seconds.
    cell = client.finish(client.start("import sys; sys.setrecursionlimit(10**6)\ndef f(): f()\nf()"), 2 * TIMEOUT)
    assert cell.error == "RecursionError"
    assert cell.traceback.count("in f()") > 1
    assert client.execute("sys.setrecursionlimit(1000); 1").result == "1"
