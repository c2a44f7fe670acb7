"""What looks deadly and costs a cell at the most: the worker goes on, with its variables."""

from __future__ import annotations

import pytest

from .client import Client
from .conftest import StartKernel
from .faults import IMPORTS, SURVIVED
from .kernels import Kernel


@pytest.mark.parametrize("name", SURVIVED)
def test_survived(start_kernel: StartKernel, name: str) -> None:
    """Output, errors, interrupts, input and programs work afterwards as before, as far as descriptors are left."""
    kernel = start_kernel()
    client = kernel.connect()
    client.execute(
        f"{IMPORTS}\nresource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))"
    )
    worker = client.evaluate("os.getpid()")
    cell = client.execute(f"print('before')\n{SURVIVED[name]}")
    assert cell.text().startswith("before\n")
    assert cell.status == "ok" or cell.error != "WorkerDied", cell.reply
    assert client.execute("del globals()['keep'][:]" if "keep" in SURVIVED[name] else "1").status in ("ok", "error")
    assert client.evaluate("os.getpid()") == worker
    run = client.execute("1")
    assert run.result == "1"
    check_interrupt(client)
    cell = client.start("input('?')")
    client.answer(client.wait_question(cell), "yes")
    assert client.finish(cell).result == "'yes'"


def check_interrupt(client: Client) -> None:
    """A cell that does not end is still ended by an interrupt."""
    cell = client.start("import time; time.sleep(1000)")
    client.wait_busy(cell)
    client.interrupt()
    assert client.finish(cell).error == "KeyboardInterrupt"


def test_a_death_after_the_fault_pipe_was_full(kernel: Kernel, client: Client) -> None:
    """It does not hang in faulthandler, and its stack is still there."""
    client.execute(IMPORTS)
    client.execute(SURVIVED["a full fault pipe"])
    cell = client.execute("ctypes.string_at(0)")
    assert cell.error == "WorkerDied"
    assert "SIGSEGV" in cell.reply["evalue"]
    assert "Cell In[3], line 1" in cell.traceback


def test_the_exit_of_a_cell_is_not_a_death(kernel: Kernel, client: Client) -> None:
    worker = client.evaluate("__import__('os').getpid()")
    assert client.execute("import sys; sys.exit(3)").error == "SystemExit"
    assert client.execute("raise SystemExit").error == "SystemExit"
    assert client.evaluate("__import__('os').getpid()") == worker


BARE = {
    "no descriptors for a loop": "import asyncio, os\ntry:\n    while True: os.dup(0)\nexcept OSError: pass",
    "ctypes patched": "import ctypes; ctypes.CDLL = None",
    "a module that is looked at patched": "import threading; threading.enumerate = None",
}


@pytest.mark.parametrize("name", BARE)
def test_survived_by_a_worker_that_has_nothing_yet(start_kernel: StartKernel, name: str) -> None:
    """Which makes its loop, and loads its C library, when it needs them: then it is too late."""
    client = start_kernel().connect()
    pid = "get_ipython().ev('__import__(\"os\").getpid()')"
    worker = client.evaluate(pid)
    assert client.execute(BARE[name]).status == "ok"
    for _ in range(3):
        assert client.execute("print('out'); 1").text().startswith("out")  # IPython may complain of its history file
    assert client.evaluate(pid) == worker
    texts = [m["content"]["text"] for _, m in client.messages if m["msg_type"] == "stream"]
    assert "ipymini_worker" not in "".join(texts)  # nothing of ours is complained of


def test_a_worker_that_cannot_wait_ends(start_kernel: StartKernel) -> None:
    """It would fill the notebook with the same complaint for ever. Without a limit for descriptors nothing can wait."""
    kernel = start_kernel()
    client = kernel.connect()
    client.execute("kept = 1")
    since = len(client.messages)
    run = client.start("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (0, 1024))")
    client.wait(lambda _, m: m["msg_type"] == "stream" and "The worker ended" in m["content"]["text"], since=since)
    assert client.finish(run).status in ("ok", "error")
    assert "cannot wait for requests any longer" in "".join(
        m["content"]["text"] for _, m in client.messages[since:] if m["msg_type"] == "stream"
    )
    assert client.execute("print('out'); 1").text() == "out\n"
    assert kernel.process.poll() is None


OURS = "import sys; main = sys.modules.get('ipymini_worker.main') or sys.modules['__main__']\n"


def test_a_request_is_answered_whatever_breaks_of_ours(start_kernel: StartKernel) -> None:
    """With an error; and where not even that can be said the worker ends, and the supervisor answers."""
    client = start_kernel().connect()
    client.execute("kept = 1")
    assert client.execute(f"{OURS}main.jsonable.encode = None").error == "WorkerDied"
    assert client.execute("kept").result == "1"
    assert (
        client.execute(f"{OURS}sys.modules['ipymini_worker.answering'].Answering._flush = lambda self: 1 / 0").error
        == "ZeroDivisionError"
    )
    assert client.execute("kept").error == "ZeroDivisionError"
    assert client.ask("complete_request", {"code": "zi", "cursor_pos": 2}).status == "error"
