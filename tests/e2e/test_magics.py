"""Magics that a frontend has to do with, and payloads."""

from __future__ import annotations

import json

import pytest

from .client import TIMEOUT, Client
from .conftest import StartKernel
from .kernels import Kernel, below, wait_gone


def magic(name: str) -> pytest.MarkDecorator:
    """The row of a magic."""
    return pytest.mark.row("Magics", f"`{name}`")


@magic("%autosave")
def test_autosave(client: Client) -> None:
    """The classic notebook listens to Javascript; where there is none, the same code does nothing."""
    run = client.execute("%autosave 30")
    (shown,) = run.contents("display_data")
    assert shown["data"].keys() == {"application/javascript"}
    assert "set_autosave_interval(30000)" in shown["data"]["application/javascript"]
    assert "30 seconds" in run.text()
    run = client.execute("%autosave 0")
    assert "set_autosave_interval(0)" in run.contents("display_data")[0]["data"]["application/javascript"]
    for line in ("%autosave", "%autosave x", "%autosave -1"):
        run = client.execute(line)
        assert run.reply["ename"] == "UsageError"
        assert len(run.text("stderr").splitlines()) == 1


@magic("%clear")
def test_clear(client: Client) -> None:
    assert client.execute("print(1)\n%clear").types == ["stream", "clear_output"]


@magic("%connect_info")
def test_connect_info(client: Client, kernel: Kernel) -> None:
    text = client.execute("%connect_info").text()
    told = json.loads(text[: text.index("}") + 1])
    assert told["shell_port"] == kernel.connection["shell_port"]
    assert "--existing" in text


@magic("%less")
@magic("%more")
@magic("%man")
def test_pages(client: Client) -> None:
    client.execute(
        "import pathlib; pathlib.Path('text.txt').write_text('one\\ntwo\\n'); pathlib.Path('c.py').write_text('x = 1\\n')"
    )
    for line, expected in (("%less text.txt", "one\ntwo"), ("%more text.txt", "one\ntwo"), ("%less c.py", "x")):
        (payload,) = client.execute(line).reply["payload"]
        assert payload["source"] == "page"
        assert expected in payload["data"]["text/plain"]
    (payload,) = client.execute("%man no_such_page_at_all").reply["payload"]
    assert payload["source"] == "page"
    assert "no_such_file" in client.execute("%less no_such_file").text()


@magic("%qtconsole")
def test_qtconsole(start_kernel: StartKernel) -> None:
    """It is started on this kernel; where it is not installed, a plain sentence says so."""
    fake = "import pathlib, sys; pathlib.Path('started').write_text(' '.join(sys.argv[1:]))"
    client = start_kernel().connect()
    run = client.execute("%qtconsole")
    assert run.reply["ename"] == "UsageError"
    assert "qtconsole" in run.text("stderr")
    kernel = start_kernel(files={"qtconsole/__init__.py": "", "qtconsole/__main__.py": fake}, env={"PYTHONPATH": "."})
    client = kernel.connect()
    client.execute("%qtconsole --style monokai")
    client.execute("import os\nwhile os.wait()[1] != 0: pass")
    assert (kernel.folder / "started").read_text() == f"--existing {kernel.file} --style monokai"


@magic("%config IPKernelApp")
def test_config_of_the_application(client: Client) -> None:
    run = client.execute("%config IPKernelApp")
    assert run.status == "ok"
    assert "exec_lines" in run.text()
    assert "IPKernelApp" in client.execute("%config").text()


@magic("%store")
def test_store(client: Client) -> None:
    client.execute("kept = [1, 2]\n%store kept")
    assert "kept" in client.execute("del kept\n%store").text()
    client.execute("%store -r kept")
    assert client.evaluate("kept") == "[1, 2]"


@magic("%load")
def test_load(client: Client) -> None:
    client.execute("import pathlib; pathlib.Path('snippet.py').write_text('loaded = 1\\n')")
    (payload,) = client.execute("%load snippet.py").reply["payload"]
    assert payload == {"source": "set_next_input", "text": "# %load snippet.py\nloaded = 1\n", "replace": True}


@magic("%%prun")
def test_prun(client: Client) -> None:
    for code in ("%%prun\nsum(range(10))", "%prun sum(range(10))"):
        (payload,) = client.execute(code).reply["payload"]
        assert "function calls" in payload["data"]["text/plain"]


@magic("%%capture")
def test_capture(client: Client) -> None:
    """Streams, displays, and the result; and nothing else of the session."""
    run = client.execute("%%capture said\nimport sys\nprint('out'); print('err', file=sys.stderr); display('shown'); 7")
    assert run.types == []
    run = client.execute("said.stdout, said.stderr, [o.data['text/plain'] for o in said.outputs]")
    assert run.result == r"""('out\n', 'err\n', ["'shown'", '7'])"""


@pytest.mark.row("Magics", "asynchronous magics are awaited")
@pytest.mark.row("Seen to break", "asynchronous line magics are awaited")
def test_asynchronous_magics(client: Client) -> None:
    client.execute(
        "import asyncio\nfrom IPython.core.magic import register_cell_magic, register_line_magic\n"
        "@register_line_magic\nasync def later(line):\n    await asyncio.sleep(0.01); print('awaited'); return line * 2\n"
        "@register_cell_magic\nasync def cell(line, cell):\n    await asyncio.sleep(0.01); return cell.strip()\n"
        "@register_line_magic\nasync def fail(line):\n    await asyncio.sleep(0); raise LookupError('in a magic')\n"
    )
    run = client.execute("%later ab")
    assert (run.text(), run.result) == ("awaited\n", "'abab'")
    assert client.execute("x = %later c\nx").result == "'cc'"
    assert client.execute("%%cell\nbody").result == "'body'"
    assert client.execute("%fail").error == "LookupError"
    run = client.start("@register_line_magic\nasync def hang(line): print('begun'); await asyncio.sleep(1000)\n%hang")
    client.wait_text(run, "begun")
    client.interrupt()
    assert client.finish(run).error == "KeyboardInterrupt"


HANG = "__import__('time').sleep(1000)"
INTERRUPTED = {
    "%%prun": f"%%prun\nprint('begun', flush=True); {HANG}",
    "%prun": f"%prun print('begun'); {HANG}",
    "%%bash": "%%bash\necho begun; sleep 1000",
    "%system": "print('begun')\n%system sleep 1000",
    "!cmd": "!echo begun; sleep 1000",
    # What is captured has to begin itself, or an interrupt that comes while IPython begins to capture leaves it so.
    "%%capture": f"%%capture\nimport os; os.write(1, b'begun'); {HANG}",
    "%run": f"open('s.py', 'w').write(\"print('begun'); {HANG}\")\n%run s.py",
    "%timeit": f"print('begun')\n%timeit {HANG}",
    "%load": f"class Slow(str):\n    def __str__(self): {HANG}\nprint('begun'); get_ipython().set_next_input(str(Slow()))",
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.row("Magics", f"`{n}`, interrupted")) for n in INTERRUPTED]
)
def test_interrupted(client: Client, kernel: Kernel, name: str) -> None:
    run = client.start(INTERRUPTED[name])
    client.wait_text(run, "begun")
    client.interrupt()
    assert client.finish(run).error == "KeyboardInterrupt"
    assert client.execute("1").result == "1"
    assert wait_gone(below(kernel.worker().pid, "sleep"), TIMEOUT) == []
