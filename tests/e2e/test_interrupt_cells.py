"""Every way in which a cell can be busy ends in KeyboardInterrupt, at once, with its `finally` blocks run."""

from __future__ import annotations

from pathlib import Path

import pytest

from .client import TIMEOUT, Client
from .conftest import StartKernel
from .kernels import Kernel, below, wait_gone

CELLS = {
    "loop": "while True: pass",
    "loop without end of line": "while True: sum(range(1000))",
    "sleep": "time.sleep(1000)",
    "await sleep": "await asyncio.sleep(1000)",
    "await event": "await asyncio.Event().wait()",
    "gather": "await asyncio.gather(asyncio.sleep(1000), asyncio.Event().wait())",
    "task group": "async with asyncio.TaskGroup() as g: g.create_task(asyncio.sleep(1000))",
    "task that hogs the loop": "async def hog():\n    while True: pass\nawait asyncio.create_task(hog())",
    "task that hogs the loop after the interrupt": "asyncio.get_running_loop().call_soon(time.sleep, 0.2)\n"
    "async def hog():\n    while True: pass\nawait asyncio.create_task(hog())",
    "to_thread": "await asyncio.to_thread(threading.Event().wait, 10)",
    "asyncio.run": "asyncio.run(asyncio.sleep(1000))",
    "input": "input('?')",
    "getpass": "import getpass; getpass.getpass()",
    "!": "!sleep 1000",
    "! in a pipe": "!sleep 1000 | cat",
    "captured !": "x = !sleep 1000",
    "%system": "%system sleep 1000",
    "%sx": "%sx sleep 1000",
    "%%bash": "%%bash\nsleep 1000",
    "%%script": "%%script bash\nsleep 1000",
    "%%python": "%%python3\nimport time; time.sleep(1000)",
    "subprocess.run": "subprocess.run(['sleep', '1000'])",
    "check_output": "subprocess.check_output(['sleep', '1000'])",
    "os.system": "if os.system('sleep 1000') == 2: raise KeyboardInterrupt",
    "os.read": "os.read(os.pipe()[0], 1)",
    "accept": "import socket; s = socket.create_server(('127.0.0.1', 0)); s.accept()",
    "select": "import select; select.select([], [], [])",
    "queue": "import queue; queue.Queue().get()",
    "event": "threading.Event().wait()",
    "join": "t = threading.Thread(target=threading.Event().wait, args=(1000,), daemon=True); t.start(); t.join()",
    "executor": "from concurrent.futures import Future; Future().result()",
    "multiprocessing": "import multiprocessing as m; m.get_context('fork').Process(target=time.sleep, args=(9,)).run()",
    "pool": (
        "import multiprocessing as m\nwith m.get_context('fork').Pool(2) as pool:\n    pool.map(time.sleep, [1000, 1000])"
    ),
    "generator": "list(x for x in iter(int, 1) if x)",
    "regular expression": "import re\nwhile True: re.match(r'(a+)+$', 'a' * 20 + 'b')",
    "import": "import importlib, pathlib; pathlib.Path('slow_module.py').write_text('import time; time.sleep(1000)')\n"
    "importlib.import_module('slow_module')",
    "%run": "pathlib.Path('slow_script.py').write_text('import time; time.sleep(1000)')\n%run slow_script.py",
    "%timeit": "%timeit time.sleep(1000)",
    "%%time": "%%time\ntime.sleep(1000)",
    "%%capture": "%%capture\ntime.sleep(1000)",
    "printing": "while True: print('x' * 1000)",
    "displaying": "from IPython.display import display\nwhile True: display('x')",
    "native printing": "while True: os.write(1, b'x' * 1000)",
    "repr": "class Slow:\n    def __repr__(self): time.sleep(1000)\nSlow()",
    "callback": "import atexit, functools; functools.reduce(lambda a, b: time.sleep(1000), [1, 2])",
    "compile": "exec('while True: pass')",
    "own handler put back": "signal.signal(signal.SIGINT, signal.default_int_handler); time.sleep(1000)",
}
#: What of it is looked at in a comparison of kernels.
ROWS = {
    how: pytest.mark.row("Interrupt", f"`{what}` ends in KeyboardInterrupt")
    for how, what in {
        "await sleep": "await asyncio.sleep(100)",
        "input": "input()",
        "sleep": "time.sleep(100)",
        "loop": "while True: pass",
        "subprocess.run": "subprocess.run(['sleep', '100'])",
        "!": "!sleep 100",
        "%%bash": "%%bash",
        "pool": "multiprocessing.Pool.map",
    }.items()
}
IMPORTS = "import asyncio, os, pathlib, signal, subprocess, sys, threading, time"


@pytest.fixture
def kernel(start_kernel: StartKernel) -> Kernel:
    """A kernel for each test: one that is stuck would fail them all."""
    return start_kernel()


@pytest.fixture
def ready(kernel: Kernel) -> Client:
    """A client of a worker that has the imports."""
    client = kernel.connect(validate=False)
    assert client.execute(IMPORTS).status == "ok"
    return client


@pytest.mark.parametrize("how", [pytest.param(how, marks=ROWS.get(how, ())) for how in CELLS])
def test_interrupt(ready: Client, kernel: Kernel, how: str) -> None:
    """The cell ends within moments; what was queued is aborted; no process of the cell is left; the next cell runs."""
    magic = CELLS[how].startswith("%%")
    cell = ready.start(CELLS[how] if magic else f"print('begun', flush=True)\n{CELLS[how]}\n")
    queued = ready.start("ran = True")
    if magic:
        ready.wait_busy(cell)
    else:
        ready.wait_text(cell, "begun")
    if how in ("input", "getpass"):
        ready.wait_question(cell)
    ready.interrupt()
    ready.finish(cell)
    assert cell.error == "KeyboardInterrupt", cell.traceback
    assert "CancelledError" not in cell.reply["ename"]
    assert ready.finish(queued).status == "aborted"
    assert ready.execute("time.sleep(0.01); 1").result == "1"
    assert wait_gone(below(kernel.worker().pid, "sleep"), TIMEOUT) == []


@pytest.mark.row("Interrupt", "`finally` blocks run")
@pytest.mark.parametrize("how", ["time.sleep(1000)", "await asyncio.sleep(1000)", "while True: pass", "input()"])
def test_finally_blocks_run(ready: Client, how: str) -> None:
    indented = f"try:\n    print('begun')\n    {how}\nfinally:\n    print('finally')"
    cell = ready.start(indented)
    ready.wait_text(cell, "begun\n")  # the end of a line may come a moment after it
    ready.interrupt()
    assert ready.finish(cell).error == "KeyboardInterrupt"
    assert cell.text() == "begun\nfinally\n"


IGNORED = {
    "finalizer": "class Thing:\n    def __del__(self): hold()\nthing = Thing(); del thing",
    "weak reference": "import weakref\nclass Thing: pass\n"
    "thing = Thing(); ref = weakref.ref(thing, lambda r: hold()); del thing",
    "one after the other": "class Thing:\n    def __del__(self): hold()\nthings = [Thing(), Thing()]; del things",
}


@pytest.mark.parametrize("then", ["time.sleep(1000)", "while True: pass", "await asyncio.sleep(1000)"])
@pytest.mark.parametrize("where", IGNORED)
def test_an_interrupt_that_python_ignores(ready: Client, where: str, then: str) -> None:
    """As it does where nobody could catch it; the import of a module is full of such places."""
    define = "def hold():\n    print('begun')\n    while True: pass\n"
    cell = ready.start(f"{define}{IGNORED[where]}\n{then}")
    ready.wait_text(cell, "begun")
    ready.interrupt()
    assert ready.finish(cell).error == "KeyboardInterrupt"
    assert "KeyboardInterrupt" not in cell.text("stderr")  # a hint may be there, where the machine is busy
    assert "nudge" not in cell.traceback
    assert ready.execute("1").result == "1"


def test_an_interrupt_that_python_ignores_too_late(ready: Client) -> None:
    """Nothing would raise it any more; it is told as Python tells it, and does not come upon whoever is next."""
    cell = ready.start(
        "class Thing:\n    def __del__(self):\n        try:\n            print('begun'); time.sleep(1000)\n"
        "        finally:\n            time.sleep(0.6)\nthing = Thing(); del thing\n"
        "try:\n    print('goes on'); time.sleep(1000)\nexcept KeyboardInterrupt:\n    time.sleep(0.3); print('saved')"
    )
    ready.wait_text(cell, "begun\n")
    ready.interrupt()
    ready.wait_text(cell, "goes on\n")
    ready.interrupt()
    assert ready.finish(cell).status == "ok"
    assert cell.text() == "begun\ngoes on\nsaved\n"
    assert "KeyboardInterrupt" in cell.text("stderr")


def test_a_process_that_a_cell_forks_waits_for_no_nudge(ready: Client) -> None:
    """Nobody sends it one: what Python ignores there is told there."""
    cell = ready.start(
        "class Thing:\n    def __del__(self): raise KeyboardInterrupt\n"
        "try:\n    print('begun'); time.sleep(1000)\nexcept KeyboardInterrupt:\n"
        "    r, w = os.pipe(); pid = os.fork()\n"
        "    if not pid: os.dup2(w, 2); thing = Thing(); del thing; os._exit(0)\n"
        "    os.close(w); os.waitpid(pid, 0); print(os.read(r, 10_000).decode())"
    )
    ready.wait_text(cell, "begun")
    ready.interrupt()
    assert ready.finish(cell).status == "ok"
    assert "KeyboardInterrupt" in cell.text()


def test_a_finalizer_that_fails_is_told(ready: Client) -> None:
    """Also of a KeyboardInterrupt that is its own."""
    cell = ready.execute("class Thing:\n    def __del__(self): raise KeyboardInterrupt\nthing = Thing(); del thing; 1")
    assert cell.result == "1"
    assert "KeyboardInterrupt" in cell.text("stderr")


def test_a_formatter_that_fails_of_an_interrupt(ready: Client) -> None:
    """As IPython's own does now and then: what it makes of the interrupt must not be all that comes of it."""
    cell = ready.start(
        "from IPython.display import display\nclass Slow:\n    def _repr_html_(self):\n"
        "        try:\n            print('begun'); time.sleep(1000)\n        finally:\n            [][0]\n"
        "display(Slow())\nprint('went on')"
    )
    ready.wait_text(cell, "begun")
    ready.interrupt()
    ready.finish(cell)
    assert cell.reply["ename"] == "KeyboardInterrupt"
    assert "went on" not in cell.text()


def test_a_cell_may_catch_it(ready: Client) -> None:
    """Then it is over when it says so, and it is no error; what was queued is aborted all the same."""
    cell = ready.start("try:\n    print('begun'); time.sleep(1000)\nexcept KeyboardInterrupt:\n    print('caught')")
    queued = ready.start("1")
    ready.wait_text(cell, "begun\n")
    ready.interrupt()
    assert ready.finish(cell).status == "ok"
    assert cell.text() == "begun\ncaught\n"
    assert ready.finish(queued).status == "aborted"


def test_a_task_of_an_earlier_cell_lives_on(ready: Client) -> None:
    """The interrupt is for the cell that awaits it, not for the task."""
    ready.execute("event = asyncio.Event(); task = asyncio.create_task(event.wait())")
    cell = ready.start("print('begun'); await asyncio.shield(task)")
    ready.wait_text(cell, "begun")
    ready.interrupt()
    assert ready.finish(cell).error == "KeyboardInterrupt"
    assert ready.execute("event.set(); await task").result == "True"


@pytest.mark.row("Output", "`signal.getsignal(SIGINT)` in a cell is Python's default")
def test_the_handler_in_a_cell_is_pythons_own(ready: Client) -> None:
    run = ready.execute("signal.getsignal(signal.SIGINT) is signal.default_int_handler")
    assert run.result == "True"
    assert ready.execute("def f():\n    print(signal.getsignal(signal.SIGINT))\nf()").text().count("default_int") == 1


@pytest.mark.row("Output", "a SIGINT handler of the user's is respected, and interrupts work again afterwards")
def test_a_handler_of_the_user_is_respected(ready: Client) -> None:
    """Also in later cells, and interrupts work again when it is gone."""
    ready.execute("hits = []\nold = signal.signal(signal.SIGINT, lambda *a: hits.append(a))")
    cell = ready.start("print('begun')\nwhile not hits: pass")
    ready.wait_text(cell, "begun")
    ready.interrupt()
    assert ready.finish(cell).status == "ok"
    ready.execute("signal.signal(signal.SIGINT, old)")
    cell = ready.start("print('begun'); time.sleep(1000)")
    ready.wait_text(cell, "begun")
    ready.interrupt()
    assert ready.finish(cell).error == "KeyboardInterrupt"


@pytest.mark.parametrize("signals", ["[signal.SIGINT]", "signal.valid_signals()"])
def test_signals_that_an_earlier_cell_has_blocked(ready: Client, signals: str) -> None:
    """They come again in the next cell: else there would be nothing left but to kill it. What was pending is forgotten."""
    ready.execute(
        f"import os, signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signals})\nos.kill(os.getpid(), signal.SIGINT)"
    )
    assert ready.execute("1").result == "1"
    cell = ready.start("print('begun')\nwhile True: pass")
    ready.wait_text(cell, "begun")
    ready.interrupt()
    assert ready.finish(cell).error == "KeyboardInterrupt"


def test_a_thread_is_not_hit(ready: Client) -> None:
    """The main thread runs the cell, and only that is interrupted."""
    ready.execute("stop = threading.Event(); t = threading.Thread(target=stop.wait); t.start()")
    cell = ready.start("print('begun'); time.sleep(1000)")
    ready.wait_text(cell, "begun")
    ready.interrupt()
    ready.finish(cell)
    assert ready.execute("t.is_alive()").result == "True"
    ready.execute("stop.set(); t.join()")


def test_sigint_to_the_supervisor_is_an_interrupt(ready: Client, kernel: Kernel) -> None:
    """Frontends without messages for it send the signal."""
    import signal

    cell = ready.start("print('begun'); time.sleep(1000)")
    ready.wait_text(cell, "begun")
    kernel.process.send_signal(signal.SIGINT)
    assert ready.finish(cell).error == "KeyboardInterrupt"
    kernel.process.send_signal(signal.SIGINT)
    ready.ask("kernel_info_request")  # what is asked after the answer comes after the signal
    assert ready.execute("1").result == "1"


def test_a_background_process_in_its_own_session_is_spared(ready: Client, tmp_path: Path) -> None:
    ready.execute("p = subprocess.Popen(['sleep', '1000'], start_new_session=True)")
    cell = ready.start("print('begun'); time.sleep(1000)")
    ready.wait_text(cell, "begun")
    ready.interrupt()
    assert ready.finish(cell).error == "KeyboardInterrupt"
    assert ready.evaluate("p.poll()") == "None"
    ready.execute("p.kill(); p.wait()")
