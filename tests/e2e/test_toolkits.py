"""`%gui`: a toolkit's events are served while no cell runs. The toolkits here are made up; `libs` has the real ones."""

from __future__ import annotations

import pytest

from .client import Client
from .conftest import StartKernel
from .kernels import Kernel

#: A toolkit with events in a list, served by a hook that waits for its descriptor, and by one that asks.
TOOLKIT = """
import select, time
from IPython.terminal.pt_inputhooks import register
events, calls = [], []
def turn():
    calls.append(1)
    while events:
        events.pop(0)()
def waiting(context):
    turn()
    while not select.select([context.fileno()], [], [], 0.005)[0]:
        turn()
def asking(context):
    while not context.input_is_ready():
        turn(); time.sleep(0.001)
register('waiting', waiting); register('asking', asking)
register('absent', lambda context: __import__('no_such_toolkit'))
"""
GUI = pytest.mark.row("Magics", "`%gui` serves a toolkit's events between cells")


@pytest.fixture
def ready(client: Client) -> Client:
    """A client of a kernel that knows the toolkits, with none of them on."""
    client.execute(TOOLKIT)
    assert client.execute("%gui").status == "ok"
    return client


def idle(client: Client) -> None:
    """Leaves the kernel idle for a while, which a thread of its own ends."""
    cell = client.execute("import threading; threading.Timer(0.1, print, ('long enough',)).start()")
    client.wait_text(cell, "long enough")


@GUI
@pytest.mark.parametrize("name", ["waiting", "asking"])
@pytest.mark.parametrize("with_asyncio", [False, True])
def test_events_are_served_between_cells(ready: Client, name: str, with_asyncio: bool) -> None:
    """And cells, tasks and the link have their turn; what an event prints belongs to a cell."""
    if with_asyncio:
        ready.execute("import asyncio; await asyncio.sleep(0)")
    assert ready.execute(f"%gui {name}").status == "ok"
    assert ready.execute("get_ipython().active_eventloop").result == repr(name)
    cell = ready.execute("events.append(lambda: print('served'))\nprint('cell')")
    ready.wait_text(cell, "served\n")
    assert cell.text() == "cell\nserved\n"
    run = ready.execute("import time; events.append(lambda: print('later')); time.sleep(0.05)")
    ready.wait_text(run, "later")
    for number in range(20):
        assert ready.execute(f"{number}").result == str(number)
    assert ready.ask("complete_request", {"code": "cal", "cursor_pos": 3}).reply["matches"]


@GUI
@pytest.mark.parametrize("name", ["waiting", "asking"])
def test_tasks_go_on(ready: Client, name: str) -> None:
    ready.execute(f"%gui {name}")
    cell = ready.execute(
        "import asyncio\nasync def count():\n    for i in range(4):\n        await asyncio.sleep(0.01); print('task', i)\n"
        "        events.append(lambda i=i: print('event', i))\ntask = asyncio.create_task(count())"
    )
    ready.wait_until(lambda: "task 3" in cell.text() and "event 3" in cell.text())
    assert ready.execute("await task; task.done()").result == "True"


@GUI
def test_switched_off(ready: Client) -> None:
    ready.execute("%gui waiting")
    cell = ready.execute("events.append(lambda: print('served'))")
    ready.wait_text(cell, "served")
    ready.execute("%gui")
    assert ready.evaluate("get_ipython().active_eventloop") == "None"
    count = ready.execute("len(calls)").result
    idle(ready)
    assert ready.execute("len(calls)").result == count


@GUI
@pytest.mark.parametrize("error", ["1 / 0", "sys.exit(3)", "raise_(KeyboardInterrupt())", "raise_(GeneratorExit())"])
def test_an_error_switches_it_off(ready: Client, error: str) -> None:
    """It is told, neither ends the worker nor spins, and `%gui` serves the toolkit again."""
    ready.execute("import os, sys; pid = os.getpid()\ndef raise_(e): raise e")
    ready.execute("%gui waiting")
    cell = ready.execute(f"n = len(calls); events.append(lambda: {error})")
    ready.wait_until(lambda: "%gui waiting" in cell.text("stderr"))
    count = ready.execute("len(calls)").result
    idle(ready)
    assert ready.execute("len(calls)").result == count
    assert ready.execute("os.getpid() == pid").result == "True"
    ready.execute("%gui waiting")
    cell = ready.execute("events.append(lambda: print('served'))")
    ready.wait_text(cell, "served")


@GUI
def test_a_hook_that_comes_back_at_once_does_not_spin(ready: Client) -> None:
    ready.execute(
        "visits = []\ndef visit(context):\n    visits.append(time.monotonic())\n    if len(visits) == 6: print('six visits')\n"
        "register('idle', visit)"
    )
    cell = ready.execute("%gui idle\nvisits.clear()")
    ready.wait_text(cell, "six visits")
    assert ready.execute("(visits[5] - visits[0]) / 5 > 0.005").result == "True"
    ready.execute("%gui")


@pytest.mark.row("Magics", "`%gui` and `%matplotlib` with an unknown or absent toolkit lose nothing")
@pytest.mark.parametrize(
    "line", ["%gui nonsense", "%gui absent", "%gui wx", "%matplotlib nonsense", "%matplotlib gtk4"]
)
def test_unknown_and_absent(ready: Client, line: str) -> None:
    """One plain sentence; what was on goes on."""
    ready.execute("%matplotlib inline")
    ready.execute("%gui waiting")
    run = ready.execute(line)
    assert (run.status, run.reply["ename"]) == ("error", "UsageError")
    assert len(run.text("stderr").splitlines()) == 1
    assert "cannot be used" in run.text("stderr") or "There is no GUI toolkit" in run.text("stderr")
    cell = ready.execute("events.append(lambda: print('served'))")
    ready.wait_text(cell, "served")
    run = ready.execute("import matplotlib.pyplot as plt; plt.plot([1]); None")
    assert run.types == ["display_data"]
    assert "inline" in ready.execute("plt.get_backend()").result


@pytest.mark.row("Magics", "`%matplotlib inline` and `%matplotlib agg`")
def test_matplotlib_without_a_toolkit(ready: Client) -> None:
    assert ready.execute("%matplotlib agg").status == "ok"
    assert ready.execute("import matplotlib.pyplot as plt; plt.plot([1]); plt.get_backend()").result == "'agg'"
    ready.execute("plt.close('all')")
    assert ready.execute("%matplotlib inline").status == "ok"
    assert ready.execute("plt.plot([1]); None").types == ["display_data"]
    assert ready.evaluate("get_ipython().loop.toolkit") == "None"


@pytest.mark.row("Magics", "`%gui asyncio`")
def test_asyncio_is_served_in_any_case(ready: Client) -> None:
    assert ready.execute("%gui asyncio").status == "ok"
    cell = ready.execute(
        "import asyncio\nasync def later():\n    await asyncio.sleep(0.01); print('later')\ntask = asyncio.create_task(later())"
    )
    ready.wait_text(cell, "later")


def test_a_toolkit_comes_back_with_the_snapshot(start_kernel: StartKernel) -> None:
    """A made-up toolkit has no window; so there are snapshots, and the copy serves it."""
    client = start_kernel(env={"IPYMINI_SNAPSHOTS": "on"}).connect()
    client.execute(TOOLKIT)
    client.execute("%gui waiting")
    assert client.execute("import os; os._exit(1)").error == "WorkerDied"
    cell = client.execute("events.append(lambda: print('served'))")
    client.wait_text(cell, "served")


def test_shutdown_while_a_toolkit_is_served(start_kernel: StartKernel) -> None:
    kernel: Kernel = start_kernel()
    client = kernel.connect()
    client.execute(TOOLKIT)
    client.execute("%gui waiting")
    client.ask("shutdown_request", {"restart": False}, channel="control")
    assert kernel.wait() == 0
