"""Where user code stops: in what is called, imported, awaited, in threads and subshells; and how it goes on."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator

import pytest

from .client import TIMEOUT, Client
from .conftest import StartKernel
from .dap import Debugger


@pytest.fixture
def debugger(client: Client) -> Iterator[Debugger]:
    """One that is attached, and is not any longer when the test is over."""
    debugger = Debugger(client)
    debugger.start()
    yield debugger
    debugger.stop()


@pytest.mark.row("Debugger", "breakpoints in functions of earlier cells, several cells open")
def test_in_a_function_of_an_earlier_cell(client: Client) -> None:
    first, second = "def early(x):\n    y = x\n    return y", "\n\n# lines of its own\nresult = early(1)\nresult"
    client.execute(first)
    debugger = Debugger(client)
    debugger.start()
    debugger.break_at(first, 2)
    debugger.break_at(second, 5)
    run = client.start(second)
    thread = debugger.stopped()
    assert debugger.where(thread) == [("early", 2), ("<module>", 4)]
    debugger.good("continue", threadId=thread)
    thread = debugger.stopped()
    assert debugger.where(thread) == [("<module>", 5)]
    debugger.good("continue", threadId=thread)
    assert client.finish(run).result == "1"
    debugger.stop()


@pytest.mark.row("Debugger", "breakpoints in imported modules")
def test_in_an_imported_module(client: Client, debugger: Debugger, tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "a_module.py"
    file.write_text("def inside(x):\n    y = x + 1\n    return y\n")
    client.execute(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import a_module")
    debugger.break_in(str(file), 2)
    run = client.start("a_module.inside(1)")
    thread = debugger.stopped()
    assert debugger.where(thread) == [("inside", 2), ("<module>", 1)]
    frame = debugger.stack(thread)[0]["id"]
    debugger.good("copyToGlobals", srcVariableName="x", dstVariableName="from_module", srcFrameId=frame)
    debugger.good("continue", threadId=thread)
    client.finish(run)
    assert client.execute("from_module").result == "1"


@pytest.mark.row("Debugger", "breakpoints in threads")
def test_in_a_thread(client: Client, debugger: Debugger) -> None:
    cell = (
        "import threading\ndef work():\n    x = 1\n    print('worked', x)\nt = threading.Thread(target=work)\nt.start()"
    )
    debugger.break_at(cell, 4)
    run = client.execute(cell)
    thread = debugger.stopped()
    assert debugger.where(thread) == [("work", 4)]
    assert client.execute("'the main thread goes on'").status == "ok"
    debugger.good("continue", threadId=thread)
    client.execute("t.join()")
    assert run.text() == "worked 1\n"


@pytest.mark.row("Debugger", "breakpoints in cells with top-level await")
def test_in_a_cell_that_awaits(client: Client, debugger: Debugger) -> None:
    cell = "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 7\nx = await f()\nx"
    debugger.break_at(cell, 4, 6)
    run = client.start(cell)
    thread = debugger.stopped()
    assert debugger.where(thread)[0] == ("f", 4)
    debugger.good("continue", threadId=thread)
    thread = debugger.stopped()
    assert debugger.where(thread)[0][1] == 6
    debugger.good("continue", threadId=thread)
    assert client.finish(run).result == "7"


def test_in_a_subshell(client: Client, debugger: Debugger) -> None:
    subshell = client.new_subshell()
    client.execute("1", subshell=subshell)
    cell = "z = 1\nz + 1"
    debugger.break_at(cell, 2)
    run = client.start(cell, subshell=subshell)
    thread = debugger.stopped()
    assert debugger.where(thread) == [("<module>", 2)]
    assert client.execute("'the main shell goes on'").status == "ok"
    debugger.good("continue", threadId=thread)
    assert client.finish(run).result == "2"
    run = client.start(cell, subshell=subshell)
    debugger.stopped()
    client.interrupt(subshell)
    assert client.finish(run).error == "KeyboardInterrupt"
    client.ask("delete_subshell_request", {"subshell_id": subshell}, channel="control")


def test_conditions_and_breakpoint(client: Client, debugger: Debugger) -> None:
    cell = "for i in range(10):\n    n = i"
    path = debugger.good("dumpCell", code=cell)["sourcePath"]
    debugger.good("setBreakpoints", breakpoints=[{"line": 2, "condition": "i == 7"}], source={"path": path})
    assert debugger.good("debugInfo")["breakpoints"][0]["breakpoints"] == [{"line": 2, "condition": "i == 7"}]
    run = client.start(cell)
    thread = debugger.stopped()
    assert debugger.variables(debugger.stack(thread)[0])["i"]["value"] == "7"
    debugger.good("continue", threadId=thread)
    client.finish(run)


@pytest.mark.row("Debugger", "completion, output and control while stopped")
def test_others_go_on_meanwhile(client: Client, debugger: Debugger) -> None:
    cell = "class Slow:\n    @property\n    def p(self):\n        return 1\ns = Slow()\nprint('here')\ndone = 1"
    debugger.break_at(cell, 4, 7)
    run = client.start(cell)
    thread = debugger.stopped()
    client.wait_text(run, "here\n")
    assert "print" in client.ask("complete_request", {"code": "prin", "cursor_pos": 4}).reply["matches"]
    assert client.ask("kernel_info_request", channel="control").status == "ok"
    debugger.good("continue", threadId=thread)
    client.finish(run)


@pytest.mark.row("Debugger", "an interrupt ends a cell that is stopped, and debugging goes on")
def test_interrupt_while_stopped(client: Client, debugger: Debugger) -> None:
    cell = "n = 0\nwhile True:\n    n += 1"
    debugger.break_at(cell, 3)
    for _ in range(3):
        run = client.start(cell)
        debugger.stopped()
        client.interrupt()
        assert client.finish(run).error == "KeyboardInterrupt"
        assert "pydevd" not in run.traceback
        debugger.event("continued")  # which comes by another way than the reply
        assert debugger.good("debugInfo")["stoppedThreads"] == []
        assert debugger.good("debugInfo")["breakpoints"]


@pytest.mark.parametrize("filters", [[], ["raised"]])
@pytest.mark.parametrize("cell", ["a = 1\na = 2", "import asyncio\nawait asyncio.sleep(0)\na = 3"])
def test_interrupt_at_the_last_line(client: Client, debugger: Debugger, cell: str, filters: list[str]) -> None:
    debugger.good("setExceptionBreakpoints", filters=filters)
    debugger.break_at(cell, cell.count("\n") + 1)
    for _ in range(2):
        run = client.start(cell)
        debugger.stopped()
        client.interrupt()
        assert client.finish(run).error == "KeyboardInterrupt"
        assert "pydev" not in run.traceback


@pytest.mark.row("Debugger", "an interrupt while attached")
def test_interrupt_while_attached(client: Client, debugger: Debugger) -> None:
    run = client.start("print('begun')\nimport time; time.sleep(100)")
    client.wait_text(run, "begun\n")
    client.interrupt()
    assert client.finish(run).error == "KeyboardInterrupt"


def test_disconnect_lets_a_stopped_cell_go_on(client: Client) -> None:
    debugger = Debugger(client)
    debugger.start()
    cell = "a = 1\na"
    debugger.break_at(cell, 2)
    run = client.start(cell)
    debugger.stopped()
    debugger.stop()
    assert client.finish(run).result == "1"
    client.execute("import threading")
    assert client.evaluate("[t.name for t in threading.enumerate() if 'pydev' in t.name]") == "[]"
    debugger.start()
    assert client.execute(cell).result == "1"
    debugger.stop()


def test_children_of_fork_do_not_stop(client: Client, debugger: Debugger) -> None:
    cell = "import os\ndef f():\n    x = 1\npid = os.fork()\nif not pid:\n    f()\n    os._exit(7)\nos.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])"
    debugger.break_at(cell, 3)
    assert client.execute(cell).result == "7"


@pytest.mark.skipif("sys.platform != 'linux'")
def test_no_snapshot_while_attached(client: Client) -> None:
    debugger = Debugger(client)
    client.execute("1")
    debugger.start()
    client.execute("2")
    assert "A debugger is attached." in client.execute("%snapshot").text()
    debugger.stop()
    deadline = time.monotonic() + TIMEOUT
    while "There is one from before" not in client.execute("%snapshot").text():  # it is answered before it is done
        assert time.monotonic() < deadline


@pytest.mark.row("Debugger", "a crash at a breakpoint; debugging can be started again")
@pytest.mark.parametrize("snapshots", ["on", "off"])
def test_crash_at_a_breakpoint(start_kernel: StartKernel, snapshots: str) -> None:
    kernel = start_kernel(env={"IPYMINI_SNAPSHOTS": snapshots})
    client = kernel.connect()
    client.execute("import os")
    debugger = Debugger(client)
    debugger.start()
    cell = "here = 1\nhere"
    debugger.break_at(cell, 2)
    run = client.start(cell)
    thread = debugger.stopped()
    frame = debugger.stack(thread)[0]["id"]
    asked = debugger.send("evaluate", expression="__import__('os').kill(__import__('os').getpid(), 9)", frameId=frame)
    assert client.finish(run).error == "WorkerDied"
    debugger.event("terminated")
    assert "worker has ended" in client.finish(asked).reply["message"]
    order = [m["msg_type"] for _, m in client.messages if m["msg_type"] in ("error", "debug_event")]
    assert order[-2:] == ["error", "debug_event"]
    info = debugger.good("debugInfo")
    assert (info["isStarted"], info["stoppedThreads"], len(info["breakpoints"])) == (False, [], 1)
    assert client.execute("1").status == "ok"
    debugger.start()
    (kept,) = debugger.good("debugInfo")["breakpoints"]
    assert kept["source"].startswith(debugger.good("debugInfo")["tmpFilePrefix"])
    run = client.start(cell)
    thread = debugger.stopped()
    assert debugger.where(thread) == [("<module>", 2)]
    debugger.good("continue", threadId=thread)
    assert client.finish(run).result == "1"
    kernel.disconnect(client)


def test_a_hung_worker_keeps_nobody_waiting(client: Client, debugger: Debugger) -> None:
    prepare = (
        "import ctypes; m = ctypes.create_string_buffer(64); lock = ctypes.PyDLL(None).pthread_mutex_lock; lock(m)"
    )
    run = client.start(f"{prepare}; lock(m, print('begun') or 0)")
    client.wait_text(run, "begun\n")
    assert debugger.good("debugInfo")["isStarted"]
    deadline = time.monotonic() + TIMEOUT
    while client.ask("worker_state_request", channel="control").reply["state"] != "unresponsive":
        assert time.monotonic() < deadline
    assert "does not answer" in debugger.failure("stackTrace", threadId=1)
    debugger.good("terminate")
    debugger.event("terminated")
    pid = client.ask("worker_state_request", channel="control").reply["pid"]
    os.kill(pid, signal.SIGKILL)
    assert client.finish(run).error == "WorkerDied"


def test_files_of_cells_are_gone_with_the_kernel(start_kernel: StartKernel) -> None:
    kernel = start_kernel()
    client = kernel.connect()
    debugger = Debugger(client)
    debugger.start()
    path = debugger.good("dumpCell", code="1")["sourcePath"]
    kernel.disconnect(client)
    kernel.stop()
    assert not os.path.exists(os.path.dirname(path))


def test_without_the_identity_of_ipykernel(start_kernel: StartKernel) -> None:
    kernel = start_kernel(env={"IPYMINI_IDENTITY": "plain"})
    client = kernel.connect()
    debugger = Debugger(client)
    debugger.start()
    cell = "p = 1\np"
    path = debugger.break_at(cell, 2)
    assert path.startswith(debugger.good("debugInfo")["tmpFilePrefix"])
    run = client.start(cell)
    thread = debugger.stopped()
    assert debugger.stack(thread)[0]["source"]["path"] == path
    debugger.good("continue", threadId=thread)
    assert client.finish(run).result == "1"
    debugger.stop()
    kernel.disconnect(client)


@pytest.mark.slow
def test_without_debugpy(start_kernel: StartKernel, other) -> None:  # type: ignore[no-untyped-def]
    kernel = start_kernel("--python", str(other))
    client = kernel.connect()
    debugger = Debugger(client)
    sentence = "Debugging needs debugpy, which the environment of the cells does not have."
    assert debugger.failure("initialize") == sentence
    reply = client.ask("kernel_info_request").reply
    assert reply["debugger"] is False
    assert not re.search("debugger", str(reply["supported_features"]))
    kernel.disconnect(client)
