"""What the user decides about snapshots: %snapshot, %rollback, and IPYMINI_SNAPSHOTS."""

from __future__ import annotations

import pytest

from .client import Client, Run
from .conftest import StartKernel
from .kernels import Kernel
from .sessions import ON, check_restored, copies, crash, run, settle, told, wait_copies


@pytest.fixture
def kernel(start_kernel: StartKernel) -> Kernel:
    """A kernel for each test."""
    return start_kernel(env=ON)


@pytest.fixture
def client(kernel: Kernel) -> Client:
    """A client of it."""
    return kernel.connect()


def roll_back(client: Client, number: int) -> Run:
    """Returns to the state before cell `number`."""
    since = len(client.messages)
    cell = client.execute("%rollback")
    assert cell.status == "ok", cell.reply
    assert cell.text().startswith(f"Rolled back to the state before In[{number}].")
    assert cell.text().endswith("\n")
    assert "error" not in cell.types
    assert told(client.messages[since:]) == []
    return cell


# -- %rollback


def test_rollback(client: Client) -> None:
    """To the state before the last cell; the numbers go on, and what was done is still in the history."""
    run(client, "x = [1]")
    run(client, "x.append(2); made = 1")
    assert roll_back(client, 2).reply["execution_count"] == 3
    after = run(client, "x, 'made' in globals(), In[3]")
    assert after.reply["execution_count"] == 4
    assert after.result == "([1], False, \"get_ipython().run_line_magic('rollback', '')\")"
    run(client, "x.append(3)")
    roll_back(client, 5)
    assert run(client, "x").result == "[1]"


def test_rollback_twice_in_a_row(client: Client) -> None:
    """There is one state to go back to; with none, one sentence says so, and nothing happens."""
    run(client, "x = 1")
    run(client, "x = 2")
    roll_back(client, 2)
    check_refused(client.execute("%rollback"))
    assert client.evaluate("x") == "1"


def check_refused(cell: Run) -> None:
    """An error of one sentence, and no death."""
    assert cell.status == "error"
    assert cell.reply["ename"] == "UsageError"
    assert cell.reply["evalue"] == "There is no snapshot from before the last cell to go back to."
    said = cell.text("stderr") + "".join("\n".join(c["traceback"]) for c in cell.contents("error"))
    assert said.count("There is no snapshot") == 1
    assert "Traceback" not in said


def test_rollback_of_nothing(client: Client) -> None:
    check_refused(client.execute("%rollback"))


def test_rollback_after_a_crash_and_a_crash_after_a_rollback(client: Client) -> None:
    run(client, "x = [1]")
    crash(client, "x.append(2); import os; os._exit(1)")
    run(client, "x.append(3)")
    roll_back(client, 3)
    crash(client, "x.append(4); import os; os._exit(1)")
    assert run(client, "x").result == "[1]"


def test_rollback_in_the_midst_of_a_cell(client: Client) -> None:
    """It ends the cell; what is queued runs in the state that is gone back to."""
    run(client, "x = [1]")
    run(client, "x.append(2)")
    cell = client.start("print('before')\n%rollback\nprint('after')")
    queued = client.start("x")
    assert client.finish(cell).text().startswith("before\nRolled back to the state before In[2].")
    assert "after\n" not in cell.text()
    assert client.finish(queued).result == "[1]"


def test_rollback_takes_no_arguments(client: Client) -> None:
    run(client, "x = 1")
    cell = client.execute("%rollback 2")
    assert cell.reply["ename"] == "UsageError"
    assert cell.reply["evalue"].startswith("%rollback takes no arguments")
    assert client.evaluate("x") == "1"


def test_rollback_says_what_is_lost(client: Client) -> None:
    run(client, "import threading; threading.Thread(target=threading.Event().wait, name='mine', daemon=True).start()")
    run(client, "x = 1")
    assert "1 thread did not survive: mine." in roll_back(client, 2).text()


# -- %snapshot


def test_what_there_is(client: Client, kernel: Kernel) -> None:
    """From when, what it took, and what it has of its own."""
    run(client, "x = 1")
    said = run(client, "%snapshot").text().splitlines()
    assert said[0] == "Snapshots: on."
    assert said[1].startswith("There is one from before In[2]: it took ")
    assert said[1].endswith(" MiB of its own.")
    assert said[2:] == ["Cells that it does not have, and that would be run again: 1."]
    wait_copies(kernel, 2)


def test_off_on_auto(client: Client, kernel: Kernel) -> None:
    """Off discards those of cells; then a death costs the session. On takes one again, at once."""
    run(client, "x = 1")
    assert run(client, "%snapshot off").text().startswith("Snapshots: off.\nThere is none.\n")
    settle(client)
    assert "There is none." in run(client, "%snapshot").text()
    assert "switched off" in run(client, "%snapshot").text()
    wait_copies(kernel, 1)  # the pristine one
    run(client, "%snapshot on")
    assert "There is one from before In[" in run(client, "%snapshot").text()
    crash(client, "x = 2; import os; os._exit(1)")
    assert client.evaluate("x") == "1"
    assert run(client, "%snapshot AUTO").text().startswith("Snapshots: auto.\n")
    run(client, "%snapshot off")
    since = len(client.messages)
    cell = client.execute("import os; os._exit(1)")
    assert cell.error == "WorkerDied"
    assert "Variables are lost" in cell.traceback
    client.wait_until(lambda: told(client.messages[since:]) == ["restarting", "starting", "idle"])
    assert client.execute("x").error == "NameError"


def test_the_mode_comes_back_with_the_state(client: Client) -> None:
    """A crash does not change what the user has chosen."""
    run(client, "%snapshot auto")
    run(client, "%snapshot on")
    crash(client)
    assert run(client, "%snapshot").text().startswith("Snapshots: on.\n")


@pytest.mark.parametrize("word", ["maybe", "on off", "1"])
def test_a_word_that_it_does_not_know(client: Client, word: str) -> None:
    cell = client.execute(f"%snapshot {word}")
    assert cell.reply["ename"] == "UsageError"
    assert cell.reply["evalue"] == f"%snapshot takes off, on or auto, not {word!r}."
    assert run(client, "%snapshot").text().startswith("Snapshots: on.\n")


def test_it_says_why_there_is_none(client: Client) -> None:
    """What cannot be forked is not; a death then costs what has happened since, and the notice says so."""
    run(client, "import sys, types; x = 1")
    run(client, "x = 2; sys.modules['pydevd'] = types.SimpleNamespace(get_global_debugger=object)")
    said = run(client, "%snapshot").text().splitlines()
    assert said[1].startswith("There is one from before In[2]: it took ")
    assert said[2] == "No newer one is taken: A debugger is attached."
    cell = client.execute("x = 3; import os; os._exit(1)")
    assert cell.error == "WorkerDied"
    assert "Restored to the state before In[2]; what ran since then is lost." in cell.traceback
    after = run(client, "x, 'pydevd' in sys.modules")
    assert (after.result, after.reply["execution_count"]) == ("(1, False)", 5)


# -- IPYMINI_SNAPSHOTS


def test_off_from_the_beginning(start_kernel: StartKernel) -> None:
    """There is no copy at all, and a death costs the session, as without snapshots; %snapshot on changes that."""
    kernel = start_kernel(env={"IPYMINI_SNAPSHOTS": "off"})
    client = kernel.connect()
    run(client, "x = 1")
    settle(client)
    assert copies(kernel) == []
    assert run(client, "%snapshot").text() == "Snapshots: off.\nThere is none.\nSnapshots are switched off.\n"
    check_refused(client.execute("%rollback"))
    for _ in range(2):
        since = len(client.messages)
        cell = client.execute("import os; os._exit(1)")
        assert cell.error == "WorkerDied"
        client.wait_until(lambda: told(client.messages[since:]) == ["restarting", "starting", "idle"])  # noqa: B023
        after = client.execute("x")
        assert (after.error, after.reply["execution_count"]) == ("NameError", 1)
    run(client, "x = 1")
    run(client, "%snapshot on")
    crash(client)
    assert client.evaluate("x") == "1"


@pytest.mark.parametrize("value", ["nonsense", "", " AUTO ", "1"])
def test_a_setting_that_makes_no_sense(start_kernel: StartKernel, value: str) -> None:
    """It is the default."""
    client = start_kernel(env={"IPYMINI_SNAPSHOTS": value}).connect()
    assert run(client, "%snapshot").text().startswith("Snapshots: auto.\nThere is one from before In[1]")


def test_the_default(start_kernel: StartKernel) -> None:
    """Nobody has to ask for it."""
    client = start_kernel().connect()
    run(client, "import time; time.sleep(1); x = 1")  # a copy that costs more on a busy machine is worth it by then
    check_restored(client.execute("x = 2; import os; os._exit(1)"))
    assert client.evaluate("x") == "1"
