"""Real clients on the installed kernel: the commands that people run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import nbformat
import papermill
import pexpect
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from . import tour
from .client import TIMEOUT
from .kernels import MARK, assert_gone, command, marked

CTRL_C, CTRL_D = "c", "d"


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Marks what the test starts, and looks for it at the end."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    yield mark
    assert_gone(mark)


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A copy of the tour."""
    return Path(shutil.copy(tour.TOUR, tmp_path))


def run(*command: str, cwd: Path) -> str:
    """Runs a command to its end; returns what it wrote."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout + done.stderr


def test_the_kernel_is_listed(tmp_path: Path, mark: str) -> None:
    lines = run("jupyter", "kernelspec", "list", cwd=tmp_path).splitlines()
    (line,) = [line for line in lines if line.split()[:1] == ["ipymini"]]
    folder = Path(line.split()[1])
    assert folder.is_relative_to(sys.prefix)
    assert {"kernel.json", "logo-32x32.png", "logo-64x64.png", "logo-svg.svg"} <= {p.name for p in folder.iterdir()}


@pytest.mark.slow
def test_jupyter_execute(notebook: Path, mark: str) -> None:
    run("jupyter", "execute", "--inplace", notebook.name, cwd=notebook.parent)
    tour.check(notebook)


@pytest.mark.slow
def test_nbconvert(notebook: Path, mark: str) -> None:
    run("jupyter", "nbconvert", "--execute", "--to", "notebook", "--inplace", notebook.name, cwd=notebook.parent)
    tour.check(notebook)
    run("jupyter", "nbconvert", "--execute", "--to", "html", notebook.name, cwd=notebook.parent)
    html = notebook.with_suffix(".html").read_text()
    assert "ZeroDivisionError" in html
    assert "data:image/png;base64," in html


def test_papermill(notebook: Path, mark: str) -> None:
    """Which takes each `error` output for a failure, tagged or not: those cells are left out."""
    content = nbformat.read(notebook, as_version=4)
    full = content.copy()
    content.cells = [c for c in content.cells if "raises-exception" not in c.metadata.get("tags", [])]
    intact = next(c for c in content.cells if c.id == "intact")
    intact.source = "answer = 42\n" + intact.source
    nbformat.write(content, notebook)
    out = notebook.with_name("out.ipynb")
    papermill.execute_notebook(str(notebook), str(out), progress_bar=False, cwd=str(notebook.parent))
    done = nbformat.read(out, as_version=4)
    assert all(c.metadata.papermill.status == "completed" for c in done.cells if c.cell_type == "code")
    assert (
        len([c for c in done.cells if c.cell_type == "code"])
        == len([c for c in full.cells if c.cell_type == "code"]) - 3
    )
    assert tour.result(next(c for c in done.cells if c.id == "await"))["text/plain"] == "[2, 4, 6]"
    content.cells = [nbformat.v4.new_code_cell(code) for code in ("x = 1", "raise ValueError('on purpose')")]
    nbformat.write(content, notebook)
    with pytest.raises(papermill.PapermillExecutionError, match="on purpose"):
        papermill.execute_notebook(str(notebook), str(out), {"y": 2}, progress_bar=False, cwd=str(notebook.parent))


def test_nbclient(notebook: Path, mark: str) -> None:
    content = nbformat.read(notebook, as_version=4)
    client = NotebookClient(content, timeout=60, resources={"metadata": {"path": str(notebook.parent)}})
    client.execute()
    nbformat.write(content, notebook)
    tour.check(notebook)
    # The state of the widgets, which came through comm messages with their buffers.
    states = content.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    assert [s["state"]["value"] for s in states.values() if s["model_name"] == "IntSliderModel"] == [7]


@pytest.mark.parametrize(
    "code", ["raise ValueError('on purpose')", "import os; os._exit(7)", "!exit 3\nassert _exit_code == 0"]
)
def test_nbclient_stops_at_an_error(mark: str, tmp_path: Path, code: str) -> None:
    """Also when the worker dies of it: at once, and with the reason."""
    content = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "ipymini", "display_name": "", "language": ""}})
    content.cells = [nbformat.v4.new_code_cell(c) for c in ("print('one')", code, "print('three')")]
    with pytest.raises(CellExecutionError) as caught:
        NotebookClient(content, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert caught.value.ename in ("ValueError", "WorkerDied", "AssertionError")
    assert "".join(output.text for output in content.cells[0].outputs) == "one\n"
    assert content.cells[2].outputs == []


# -- a manager, as servers have one


@pytest.fixture
def manager(mark: str) -> Iterator[KernelManager]:
    """A kernel under a manager of Jupyter's."""
    manager = KernelManager(kernel_name="ipymini")
    manager.start_kernel()
    yield manager
    manager.shutdown_kernel()


@pytest.fixture
def blocking(manager: KernelManager) -> Iterator[BlockingKernelClient]:
    """A client of the managed kernel."""
    # Not `manager.client()`: the two would number their messages alike, under one name.
    client = BlockingKernelClient(connection_file=manager.connection_file)
    client.load_connection_file()
    client.start_channels()
    client.wait_for_ready(timeout=TIMEOUT)
    yield client
    client.stop_channels()


def test_a_manager_interrupts(manager: KernelManager, blocking: BlockingKernelClient) -> None:
    interrupted: list[object] = []

    def hook(message: dict[str, object]) -> None:
        if message["msg_type"] == "stream" and not interrupted:
            interrupted.append(message)
            manager.interrupt_kernel()

    code = "import time\nprint('begun')\ntime.sleep(1000)"
    reply = blocking.execute_interactive(code, output_hook=hook, timeout=TIMEOUT)
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    reply = blocking.execute_interactive("1", timeout=TIMEOUT)
    assert reply["content"]["status"] == "ok"


@pytest.mark.row("Protocol", "eight restarts in a row lose no request")
def test_eight_restarts_in_a_row_lose_nothing(manager: KernelManager, blocking: BlockingKernelClient) -> None:
    """Neither a reply nor a message on iopub, although the client asks at once."""
    for number in range(8):
        seen: list[dict[str, object]] = []
        reply = blocking.execute_interactive(f"x = {number}; print(x)", output_hook=seen.append, timeout=TIMEOUT)
        assert reply["content"]["status"] == "ok"
        assert reply["content"]["execution_count"] == 1
        # The number and its line's end may come apart.
        types = [kind for kind, _ in groupby(str(m["msg_type"]) for m in seen)]
        assert types == ["status", "execute_input", "stream", "status"]
        manager.restart_kernel(now=number % 2 == 1)
    assert blocking.execute_interactive("x", timeout=TIMEOUT)["content"]["ename"] == "NameError"


def test_a_manager_that_kills(mark: str) -> None:
    """`now` is SIGKILL to the supervisor, in the middle of a cell that has started a process."""
    manager = KernelManager(kernel_name="ipymini")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=TIMEOUT)
        client.execute("import subprocess; p = subprocess.Popen(['sleep', '1000']); print('begun'); p.wait()")
        while client.get_iopub_msg(timeout=TIMEOUT)["msg_type"] != "stream":
            pass
        assert len(marked(mark)) >= 3
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert_gone(mark)


# -- jupyter console


@pytest.fixture
def console(mark: str, tmp_path: Path) -> Iterator[Callable[..., pexpect.spawn[str]]]:
    """Starts `jupyter console` in a terminal."""
    children: list[pexpect.spawn[str]] = []

    def start(*arguments: str) -> pexpect.spawn[str]:
        command = ["console", "--kernel", "ipymini", *arguments]
        environment = {**os.environ, "TERM": "dumb"}
        child = pexpect.spawn(
            "jupyter", command, cwd=tmp_path, env=environment, encoding="utf-8", timeout=TIMEOUT, dimensions=(50, 120)
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.close(force=True)


def test_jupyter_console(console: Callable[..., pexpect.spawn[str]], mark: str) -> None:
    """It prints, asks, is interrupted by Ctrl-C and goes on, completes nothing by accident, and exits."""
    child = console("--simple-prompt")
    child.expect(r"In \[1\]: ")
    child.sendline("print('out' + 'put'); 6 * 7")
    child.expect("output")
    child.expect(r"Out\[1\]: 42")
    child.expect(r"In \[2\]: ")
    child.sendline("name = input('Who' + '? ')")
    child.expect(r"Who\? ")
    child.sendline("World")
    child.expect(r"In \[3\]: ")
    child.sendline("'Hello ' + name")
    child.expect("'Hello World'")
    child.expect(r"In \[4\]: ")
    child.sendline("import time; print('be' + 'gun'); time.sleep(1000)")
    child.expect("begun")
    child.sendcontrol(CTRL_C)
    child.expect("KeyboardInterrupt")
    child.expect(r"In \[5\]: ")
    child.sendline("1 / 0")
    child.expect("ZeroDivisionError")
    child.expect(r"In \[6\]: ")
    child.sendline("name")
    child.expect("'World'")
    child.expect(r"In \[7\]: ")
    assert len([p for p in marked(mark) if "ipymini_supervisor" in command(p)]) == 1
    child.sendline("exit")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def test_jupyter_console_ends_with_ctrl_d(console: Callable[..., pexpect.spawn[str]]) -> None:
    child = console("--simple-prompt")
    child.expect(r"In \[1\]: ")
    child.sendcontrol(CTRL_D)
    if child.expect([pexpect.EOF, r"\[y\]|\(.*y.*\)|\?"]) == 1:
        child.sendline("y")
        child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def test_jupyter_console_joins_a_running_kernel(
    console: Callable[..., pexpect.spawn[str]], manager: KernelManager, blocking: BlockingKernelClient
) -> None:
    """Two frontends on one kernel; the one that leaves does not end it."""
    blocking.execute_interactive("shared = 'seen by both'", timeout=TIMEOUT)
    child = console("--simple-prompt", "--existing", manager.connection_file)
    child.expect(r"In \[\d+\]: ")
    child.sendline("shared")
    child.expect("'seen by both'")
    child.expect(r"In \[\d+\]: ")
    child.sendline("exit(keep_kernel=True)")
    child.expect(pexpect.EOF)
    assert manager.is_alive()
    assert blocking.execute_interactive("shared", timeout=TIMEOUT)["content"]["status"] == "ok"
