"""Threads belong to the cell that started them, pools' work to the cell that submitted it, whatever runs meanwhile."""

from __future__ import annotations

import re

import pytest

from .client import Client, Run
from .conftest import StartKernel

THREAD = pytest.mark.row("Output", "output, displays, stderr and errors of a thread go to the cell that started it")
SAY = """
import sys, threading
from IPython.display import display
go, done = threading.Event(), threading.Event()
def say():
    go.wait()
    print('out'); print('err', file=sys.stderr); display('shown'); print('more')
    raise ValueError('in the thread')
"""
STARTS = {
    "thread": "t = threading.Thread(target=say)",
    "timer": "t = threading.Timer(0, say)",
    "subclass": "class Own(threading.Thread):\n    def run(self): say()\nt = Own()",
    "subclass with a start": "class Own(threading.Thread):\n    def start(self): super().start()\nt = Own(target=say)",
    "daemon": "t = threading.Thread(target=say, daemon=True)",
    "thread of a thread": (
        "def start():\n    inner = threading.Thread(target=say); inner.start(); inner.join()\nt = threading.Thread(target=start)"
    ),
}


def text(run: Run, name: str = "stdout") -> str:
    """What was printed, without colours, which Python 3.13 and later have in tracebacks."""
    return re.sub(r"\x1b\[[0-9;]*m", "", run.text(name))


@THREAD
@pytest.mark.parametrize("how", STARTS)
def test_a_thread_belongs_to_the_cell_that_started_it(client: Client, how: str) -> None:
    """Also when a later cell runs; uncaught exceptions are shown there, and fail no cell."""
    client.execute(SAY)
    cell = client.execute(f"{STARTS[how]}\nt.start()")
    other = client.execute("go.set(); t.join(); print('other')")
    client.wait_until(lambda: "in the thread" in cell.text("stderr"))
    assert text(cell) == "out\nmore\n"
    assert text(cell, "stderr").startswith("err\nException in thread")
    assert "ValueError: in the thread" in text(cell, "stderr")
    assert [c["data"]["text/plain"] for c in cell.contents("display_data")] == ["'shown'"]
    assert other.text() == "other\n"
    assert other.types == ["stream"]


@THREAD
def test_a_thread_prints_while_the_kernel_is_idle(client: Client) -> None:
    client.execute("import threading\ngo = threading.Event()")
    cell = client.execute("threading.Thread(target=lambda: (go.wait(), print('in the end'))).start()")
    client.execute("threading.Timer(0.05, go.set).start()")
    client.wait_text(cell, "in the end")


@THREAD
def test_what_a_thread_does_with_asyncio(client: Client) -> None:
    """A loop of its own, and the main one's executor."""
    client.execute("import asyncio, threading\ngo = threading.Event()\nasync def say(): print('from its loop')")
    cell = client.execute("t = threading.Thread(target=lambda: (go.wait(), asyncio.run(say()))); t.start()")
    other = client.execute("go.set(); t.join()")
    client.wait_text(cell, "from its loop")
    run = client.execute("await asyncio.to_thread(print, 'to_thread')")
    assert run.text() == "to_thread\n"
    run = client.execute("await asyncio.get_running_loop().run_in_executor(None, print, 'executor')")
    assert run.text() == "executor\n"
    assert other.text() == ""


@pytest.mark.row("Output", "an exception hook of the user's is respected in threads")
def test_an_exception_hook_of_the_user(client: Client) -> None:
    client.execute(
        "import threading\nhook, threading.excepthook = threading.excepthook, lambda args: print('hooked', args.exc_value)"
    )
    run = client.execute("t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()")
    assert run.text() == "hooked division by zero\n"
    assert run.text("stderr") == ""
    client.execute("threading.excepthook = hook")
    run = client.execute("t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()")
    assert "ZeroDivisionError" in text(run, "stderr")


@pytest.mark.row("Output", "work in a thread pool prints into the cell that submitted it")
def test_a_pool_that_lasts_from_cell_to_cell(client: Client) -> None:
    """Its threads are those of the first cell; names and context variables of a thread stay what they are."""
    client.execute(
        "from concurrent.futures import ThreadPoolExecutor\nimport contextvars\nv = contextvars.ContextVar('v', default=0)\n"
        "pool = ThreadPoolExecutor(1, initializer=v.set, initargs=(7,))\ndef work(x):\n    print('work', x); return v.get() + x"
    )
    for number in range(3):
        run = client.execute(f"print(list(pool.map(work, [{number}])), pool.submit(work, x=1).result())")
        assert run.text() == f"work {number}\nwork 1\n[{7 + number}] 8\n"
    run = client.execute("pool.submit(lambda: 1 / 0).result()")
    assert run.error == "ZeroDivisionError"
    assert "context.py" not in run.traceback
    client.execute("import threading; go = threading.Event()")
    cell = client.execute("future = pool.submit(lambda: (go.wait(), print('late')))")
    other = client.execute("go.set(); future.result()")
    client.wait_text(cell, "late")
    assert other.text() == ""
    assert client.execute("pool.shutdown()").status == "ok"


@pytest.mark.row("Output", "`input()` in a thread")
def test_input_in_a_thread_of_an_earlier_cell(client: Client) -> None:
    """It is asked in the cell that runs by then."""
    client.execute(
        "import threading\ngo, answers = threading.Event(), []\n"
        "t = threading.Thread(target=lambda: (go.wait(), answers.append(input('late?')))); t.start()"
    )
    run = client.start("go.set(); t.join(); answers")
    client.answer(client.wait_question(run), "here")
    assert client.finish(run).result == "['here']"


@pytest.mark.row("Output", "`input()` in a thread")
def test_input_in_a_thread_when_no_cell_runs(client: Client) -> None:
    """Nobody can be asked: the thread gets an error, and does not wait for ever."""
    cell = client.execute(
        "import threading\ngo, over = threading.Event(), threading.Event()\n"
        "def ask():\n    try:\n        go.wait(); input('?')\n    finally:\n        over.set()\n"
        "t = threading.Thread(target=ask); t.start(); threading.Timer(0.05, go.set).start()"
    )
    client.wait_until(lambda: "StdinNotImplementedError" in cell.text("stderr"))
    assert client.execute("over.wait()").result == "True"
    cell = client.start("t = threading.Thread(target=input, args=('open?',)); t.start()")
    client.finish(cell)  # whether the question was sent before the end of the cell or not
    # Nor is it asked in this one, if it comes as late as that.
    assert client.execute("t.join(10); t.is_alive()", allow_stdin=False).result == "False"


@pytest.mark.row("Protocol", "every iopub message has a parent with a `msg_id`")
def test_a_thread_of_a_start_up_file(start_kernel: StartKernel) -> None:
    """It has no cell; what it says goes to the one that runs, or ran last."""
    startup = "import threading\ngo = threading.Event()\nt = threading.Thread(target=lambda: (go.wait(), print('begun early'))); t.start()"
    client = start_kernel(files={"ipython/profile_default/startup/a.py": startup}).connect()
    run = client.execute("go.set(); t.join()")
    client.wait_text(run, "begun early")
