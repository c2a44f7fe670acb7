"""A snapshot that takes the worker's place, and a new worker, are what the first one was."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .client import Client
from .conftest import StartKernel

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="snapshots need Linux")

LOOK = """
import os, sys
import comm, ipykernel, ipykernel.kernelapp, ipykernel.iostream, ipykernel.zmqshell
from ipykernel.kernelbase import Kernel
[
    Kernel.instance() is get_ipython().kernel,
    ipykernel.kernelapp.IPKernelApp.instance().connection_file == ipykernel.get_connection_file(),
    isinstance(sys.stdout, ipykernel.iostream.OutStream),
    isinstance(get_ipython(), ipykernel.zmqshell.ZMQInteractiveShell),
    get_ipython().kernel.comm_manager is comm.get_comm_manager(),
    get_ipython().kernel.control_thread.is_alive(),
    get_ipython().kernel.io_loop.asyncio_loop is not None,
]
"""
ALL = str([True] * 7)


@pytest.fixture
def client(start_kernel: StartKernel, worker_options: tuple[str, ...]) -> Client:
    """A client of a kernel of its own, beside the real ipykernel and without it."""
    return start_kernel(*worker_options, env={"IPYMINI_SNAPSHOTS": "on"}).connect()


def look(client: Client) -> None:
    """Whether the worker is what a worker should be, and serves events in mid-cell."""
    assert client.execute(LOOK).result == ALL
    client.execute("c = comm.create_comm(target_name='t')\ngot = []\nc.on_msg(got.append)")
    cell = client.start("print('waiting')\nwhile not got: get_ipython().kernel.do_one_iteration()\nlen(got)")
    client.wait_text(cell, "waiting")
    client.ask("comm_msg", {"comm_id": client_comm(client), "data": 1})
    assert client.finish(cell).result == "1"


def client_comm(client: Client) -> str:
    """The id of the last comm that the kernel opened."""
    return str([m["content"]["comm_id"] for _, m in client.messages if m["msg_type"] == "comm_open"][-1])


@pytest.mark.parametrize("loaded", [False, True], ids=["ipykernel not imported before", "imported before"])
def test_after_a_crash(client: Client, loaded: bool) -> None:
    if loaded:
        look(client)
    name = client.execute("import os, sys; keep = 1; sys._getframe().f_code.co_filename").result
    pid = client.evaluate("os.getpid()")
    assert "before" in client.execute("os.kill(os.getpid(), 11)").traceback
    assert client.evaluate("os.getpid()") != pid
    assert client.evaluate("keep") == "1"
    look(client)
    # The folder's name stays: breakpoints and functions from before refer to it.
    assert Path(client.execute("sys._getframe().f_code.co_filename").result).parent == Path(name).parent


def test_after_a_rollback(client: Client) -> None:
    client.execute("x = 1")
    client.execute("x = 2; import ipykernel.kernelapp")
    client.execute("%rollback")
    assert client.evaluate("x") == "1"
    look(client)


def test_a_new_worker(client: Client) -> None:
    client.execute("%snapshot off")
    client.execute("import os; os.kill(os.getpid(), 9)")
    look(client)


def test_where_a_cell_crashed_is_told_by_its_number(client: Client) -> None:
    """Also for code of cells before, whose file names are those of a kernel under another process id."""
    client.execute("import ctypes\ndef crash():\n    ctypes.string_at(0)\n")
    for _ in range(2):
        died = client.execute("def middle():\n    crash()\n\nmiddle()")
        number = died.reply["execution_count"]
        assert f"in cell [{number}]" in died.traceback
        assert f"Cell In[{number}], line 4" in died.traceback
        assert f"Cell In[{number}], line 2, in middle" in died.traceback
        assert "Cell In[1], line 3, in crash" in died.traceback
        assert "ipykernel_" not in died.traceback


def test_a_death_within_an_event_in_mid_cell(client: Client) -> None:
    """Both are told, and the next cell runs."""
    client.execute("import comm, os\nc = comm.create_comm(target_name='t')\nc.on_msg(lambda m: os._exit(3))")
    cell = client.start("print('waiting')\nwhile True: get_ipython().kernel.do_one_iteration()")
    client.wait_text(cell, "waiting")
    event = client.send("comm_msg", {"comm_id": client_comm(client), "data": 1})
    assert client.finish(cell).error == "WorkerDied"
    client.finish(event)
    assert client.execute("6 * 7").result == "42"
