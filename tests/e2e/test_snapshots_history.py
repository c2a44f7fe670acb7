"""The history of a session that comes back: one session, each line once, and the bad cells' inputs too."""

from __future__ import annotations

import pytest

from .client import Client
from .conftest import StartKernel
from .kernels import Kernel
from .sessions import ON, crash, history, run, settle, worker

DIE = "import os; os._exit({})"
#: A worker that is slow on a busy machine is not ended by a signal before it has written its history.
ENVIRONMENT = {**ON, "IPYMINI_SHUTDOWN_GRACE": "15"}


@pytest.fixture
def kernel(start_kernel: StartKernel) -> Kernel:
    """A kernel for each test."""
    return start_kernel()


@pytest.fixture
def client(kernel: Kernel) -> Client:
    """A client of it."""
    return kernel.connect()


def asked(client: Client) -> list[list[object]]:
    """What history_request says of the present session."""
    request = {"hist_access_type": "range", "session": 0, "start": 1, "stop": 10_000, "raw": True, "output": False}
    rows: list[list[object]] = client.ask("history_request", request).reply["history"]
    return rows


def test_history_after_crashes(client: Client, kernel: Kernel) -> None:
    """In the session itself, when it is asked for, and in the database."""
    expected = []
    for i in range(1, 13, 2):
        run(client, f"x = {i}")
        crash(client, DIE.format(i))
        expected += [(i, f"x = {i}"), (i + 1, DIE.format(i))]
    assert [(line, code) for _, line, code in asked(client)] == expected
    listed = run(client, "%history -n 1-12").text()
    assert [line.strip() for line in listed.splitlines()] == [f"{line}: {code}" for line, code in expected]
    expected.append((13, "%history -n 1-12"))
    tail = client.ask("history_request", {"hist_access_type": "tail", "n": 3, "raw": True, "output": False}).reply
    assert [row[2] for row in tail["history"]] == ["x = 11", DIE.format(11), "%history -n 1-12"]
    kernel.stop()
    assert history(kernel) == [(1, line, code) for line, code in expected]


@pytest.mark.parametrize("size", [0, 3])
def test_history_that_is_written_at_once_or_seldom(start_kernel: StartKernel, size: int) -> None:
    """Whatever the original had written when it died."""
    kernel = start_kernel(f"--HistoryManager.db_cache_size={size}")
    client = kernel.connect()
    expected = []
    for i in range(1, 16, 3):
        run(client, f"x = {i}")
        run(client, f"y = {i}")
        crash(client, DIE.format(i))
        expected += [(i, f"x = {i}"), (i + 1, f"y = {i}"), (i + 2, DIE.format(i))]
    kernel.stop()
    assert history(kernel) == [(1, line, code) for line, code in expected]


def test_outputs_are_kept_once(start_kernel: StartKernel) -> None:
    """Those that IPython keeps when it is told to."""
    kernel = start_kernel("--HistoryManager.db_log_output=True")
    client = kernel.connect()
    for i in range(3):
        run(client, f"{i} + 100")
        crash(client)
    request = {"hist_access_type": "range", "session": 0, "start": 1, "stop": 10, "raw": True, "output": True}
    rows = client.ask("history_request", request).reply["history"]
    assert [row[2][1] for row in rows if row[2][1]] == ["100", "101", "102"]


def test_a_death_while_nothing_runs_loses_no_line(client: Client, kernel: Kernel) -> None:
    for i in range(3):
        run(client, f"x = {i}")
        settle(client)
        since = len(client.messages)
        worker(client).kill()
        client.wait(lambda _, m: m["msg_type"] == "stream" and "Restored" in m["content"]["text"], since=since)
    kernel.stop()
    assert history(kernel) == [(1, i + 1, f"x = {i}") for i in range(3)]


def test_a_rollback_keeps_what_was_done(client: Client, kernel: Kernel) -> None:
    """It was done, after all."""
    run(client, "x = 1")
    run(client, "x = 2")
    run(client, "%rollback")
    run(client, "x")
    kernel.stop()
    assert history(kernel) == [(1, 1, "x = 1"), (1, 2, "x = 2"), (1, 3, "%rollback"), (1, 4, "x")]


def test_a_database_that_is_gone(client: Client, kernel: Kernel) -> None:
    """Costs a line on stderr at most."""
    run(client, "x = 1")
    for file in (kernel.folder / "ipython" / "profile_default").glob("history.sqlite*"):
        file.unlink()
    crash(client)
    assert run(client, "x").result == "1"
    crash(client)
    assert run(client, "x").result == "1"


def test_history_in_memory(start_kernel: StartKernel) -> None:
    client = start_kernel("--HistoryManager.hist_file=:memory:").connect()
    run(client, "x = 1")
    crash(client, DIE.format(1))
    run(client, "x")
    assert [row[2] for row in asked(client)] == ["x = 1", DIE.format(1), "x"]


def test_two_kernels_with_one_database(start_kernel: StartKernel, kernel: Kernel, client: Client) -> None:
    """Each keeps its own session's number, whoever crashes in between."""
    other_kernel = start_kernel(env={"IPYTHONDIR": str(kernel.folder / "ipython")})
    other = other_kernel.connect()
    for i in range(3):
        run(client, f"a = {i}")
        run(other, f"b = {i}")
        crash(client, DIE.format(1))
        crash(other, DIE.format(2))
    other_kernel.stop()
    kernel.stop()
    rows = history(kernel)
    assert len({session for session, _, _ in rows}) == 2
    for name, status in (("a", 1), ("b", 2)):
        codes = [code for i in range(3) for code in (f"{name} = {i}", DIE.format(status))]
        (session,) = {s for s, _, code in rows if code.startswith(name)}
        assert [row for row in rows if row[0] == session] == [(session, i + 1, code) for i, code in enumerate(codes)]


HOLD = """
import threading
held, go_on = threading.Event(), threading.Event()
def hold():
    with get_ipython().history_manager._writing:
        held.set()
        go_on.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
"""


def test_no_snapshot_is_taken_while_the_history_is_being_written(client: Client) -> None:
    """As on a disk that hangs: the copy would wait for ever for a thread that it does not have."""
    client.execute(HOLD)
    assert "or the history written, at this moment" in client.execute("%snapshot").text()
    client.execute("go_on.set(); thread.join()")
    assert "There is one from before" in client.execute("%snapshot").text()
