"""A death costs the cell that died and nothing more: whatever it interrupts, and as often as it happens."""

from __future__ import annotations

import os
import random
import time

import pytest

from .client import Client
from .conftest import StartKernel
from .faults import FAULTS, IMPORTS
from .kernels import Kernel
from .sessions import ON, check_restored, crash, run, settle, stderr, told, wait_copies, worker
from .test_comms import TARGET
from .test_hang import begin
from .test_ladder import ENDLESS, climb


@pytest.fixture
def kernel(start_kernel: StartKernel) -> Kernel:
    """A kernel for each test."""
    return start_kernel(env=ON)


@pytest.fixture
def client(kernel: Kernel) -> Client:
    """A client of a worker that has the imports and something to lose."""
    client = kernel.connect()
    run(client, f"{IMPORTS}\nkept = [1]")
    return client


# -- often

#: Those that take no time.
CHEAP = ("null pointer", "abort", "os._exit(0)", "exit() in C", "SIGKILL", "division in C", "a signal without a name")


def memory(client: Client) -> int:
    """The worker's, in bytes."""
    return int(client.ask("worker_state_request", channel="control").reply["memory_bytes"])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_five_hundred_crashes_in_a_row(client: Client) -> None:
    """A list that grows by one between two of them never loses an element, and no cell its number."""
    dice = random.Random(500)
    run(client, "\n".join(FAULTS[name].define().replace("die", f"die{i}", 1) for i, name in enumerate(CHEAP)))
    run(client, "grown = []")
    since = len(client.messages)
    number = 3
    for i in range(500):
        assert run(client, f"grown.append({i}); len(grown)").result == str(i + 1)
        chosen = dice.randrange(len(CHEAP))
        number += 2
        cell = crash(client, f"grown.clear(); die{chosen}()")
        assert cell.reply["execution_count"] == number
        assert FAULTS[CHEAP[chosen]].tells(cell.reply["evalue"], number)
        if i == 50:
            before = memory(client)
    assert client.evaluate("grown == list(range(500))") == "True"
    assert client.evaluate("len(In), In[4], In[1000]") == "(1004, 'grown.append(0); len(grown)', 'grown.append(498); len(grown)')"  # fmt: skip
    assert client.evaluate("sum('grown.clear(); die' in code for code in In)") == "500"
    assert told(client.messages[since:]) == []
    assert memory(client) - before < 30 << 20


def test_a_crash_right_after_a_crash(client: Client) -> None:
    """Also when both were queued; nothing is lost in between."""
    for _ in range(3):
        cells = [client.start("kept.append(0); os._exit(1)", stop_on_error=False) for _ in range(5)]
        last = client.start("kept.append(kept[-1] + 1)")
        numbers = []
        for cell in cells:
            check_restored(client.finish(cell))
            numbers.append(cell.reply["execution_count"])
        assert numbers == list(range(numbers[0], numbers[0] + 5))
        assert client.finish(last).status == "ok"
    assert client.evaluate("kept") == "[1, 2, 3, 4]"


# -- in the midst of things


@pytest.mark.parametrize("name", ENDLESS)
def test_three_interrupts_cost_one_cell(start_kernel: StartKernel, client: Client, name: str) -> None:
    """Whatever it is that does not listen, also where it holds the GIL."""
    since = len(client.messages)
    cell = begin(client, name)
    for rung in (1, 2, 3):
        climb(client, rung)
    check_restored(client.finish(cell))
    assert cell.reply["evalue"] == "The worker was killed after three interrupts in cell [2]."
    assert run(client, "kept").result == "[1]"
    assert told(client.messages[since:]) == []


def test_a_ladder_that_climbs_by_itself_costs_one_cell(start_kernel: StartKernel) -> None:
    client = start_kernel(env={**ON, "IPYMINI_INTERRUPT_KILL_AFTER": "2"}).connect()
    run(client, f"{IMPORTS}\nkept = [1]")
    cell = begin(client, "deadlock in C")
    client.interrupt()
    check_restored(client.finish(cell))
    assert run(client, "kept").result == "[1]"


def test_what_is_queued_is_aborted(client: Client) -> None:
    """As after any error; a completion that waits is answered, by the session that came back."""
    run(client, "get_ipython().Completer.use_jedi = False")  # which takes seconds to load on a busy machine
    cell = client.start("input('?'); os._exit(1)")
    question = client.wait_question(cell)
    queued = [client.start("kept.append(2)") for _ in range(3)]
    completion = client.send("complete_request", {"code": "kep", "cursor_pos": 3})
    client.ask("kernel_info_request")  # by then they have arrived
    client.answer(question, "")
    check_restored(client.finish(cell))
    for other in queued:
        assert client.finish(other).reply == {"status": "aborted"}
    assert client.finish(completion).reply["matches"] == ["kept"]
    after = run(client, "kept")
    assert (after.result, after.reply["execution_count"]) == ("[1]", 4)


def test_a_question_that_is_open(client: Client) -> None:
    """Its answer comes too late, and does no harm; the next question is answered."""
    cell = client.start("input('?')")
    question = client.wait_question(cell)
    worker(client).kill()
    check_restored(client.finish(cell))
    client.answer(question, "too late")
    cell = client.start("input('again?')")
    client.answer(client.wait_question(cell), "in time")
    assert client.finish(cell).result == "'in time'"


def test_silent_cells_and_those_without_history(client: Client) -> None:
    """They have no number of their own."""
    for options in ({"silent": True}, {"store_history": False}):
        cell = client.execute("kept.append(2); os._exit(1)", **options)
        assert cell.reply["ename"] == "WorkerDied"
        after = run(client, "kept")
        assert after.result == "[1]"
        assert client.evaluate("[i for i in In if '_exit' in i]") == "[]"


def test_a_death_in_a_completion_and_in_a_comm(client: Client) -> None:
    """The session goes on in the state after the last cell."""
    run(client, "get_ipython().Completer.use_jedi = False\nclass Mortal:\n    def __dir__(self): os._exit(1)\nmortal = Mortal()")  # fmt: skip
    since = len(client.messages)
    assert client.ask("complete_request", {"code": "mortal.", "cursor_pos": 7}).reply["ename"] == "WorkerDied"
    assert client.evaluate("kept, type(mortal) is Mortal") == "([1], True)"
    run(client, f"{TARGET}\ncomm.get_comm_manager().register_target('mortal', lambda c, m: os._exit(1))")
    client.ask("comm_open", {"comm_id": "c", "target_name": "mortal", "data": {}})
    assert client.evaluate("kept, len(got)") == "([1], 0)"
    text = "".join(m["content"]["text"] for _, m in client.messages[since:] if m["msg_type"] == "stream")
    assert text.count("The worker ended with exit status 1. Restored to the state after the last cell.") == 2, text
    assert told(client.messages[since:]) == []


# -- while nothing runs


#: A task that dies when the test opens the gate; once, for the state that is gone back to has it too.
WAITING = """
async def later():
    while not os.path.exists(f'open{len(kept)}'): await asyncio.sleep(0.001)
    os.remove(f'open{len(kept)}'); os._exit(1)
task = asyncio.create_task(later())
"""


@pytest.mark.parametrize("how", ["from outside", "in a thread", "in a task"])
def test_a_death_while_nothing_runs(client: Client, kernel: Kernel, how: str) -> None:
    """Costs nothing, and one line says so."""
    if how == "in a thread":
        os.mkfifo(kernel.folder / "gate")
    for i in range(3):
        number = run(client, f"kept.append({i})").reply["execution_count"]
        if how == "in a thread":
            number = run(client, "at_gate(lambda: os._exit(1))").reply["execution_count"]
        elif how == "in a task":
            number = run(client, WAITING).reply["execution_count"]
        settle(client)
        since = len(client.messages)
        if how == "from outside":
            worker(client).kill()
        elif how == "in a thread":
            (kernel.folder / "gate").write_text("go")
        else:
            (kernel.folder / f"open{i + 2}").touch()
        client.wait_until(lambda: "Restored to" in stderr(client.messages[since:]))  # noqa: B023
        cause = "died of SIGKILL (killed from outside)" if how == "from outside" else "ended with exit status 1"
        said = stderr(client.messages[since:])
        assert said.startswith(f"The worker {cause}. Restored to the state after the last cell."), said
        after = run(client, "kept")
        assert after.result == str([1, *range(i + 1)])
        assert after.reply["execution_count"] == number + 1
        assert told(client.messages[since:]) == []


def test_a_task_that_ends_the_worker_again_and_again(client: Client) -> None:
    """It does so for ever in the state that is gone back to; that must have an end."""
    run(client, "async def later(): await asyncio.sleep(0.01); os._exit(1)\ntask = asyncio.create_task(later())")
    since = len(client.messages)
    try:
        while len(client.messages) - since < 200:
            client.pump(time.monotonic() + 1)
    except TimeoutError:  # nothing more comes
        pass
    assert stderr(client.messages[since:]).count("The worker ended") < 10
    assert run(client, "1").result == "1"


# -- copies that are not there


def test_a_copy_that_is_gone_makes_an_older_one_the_worker(client: Client, kernel: Kernel) -> None:
    """It is said what that costs. The newest copy has the highest number."""
    run(client, "kept.append(2)")
    run(client, "kept.append(3)")
    settle(client)
    newest = max(wait_copies(kernel), key=lambda p: (p.create_time(), p.pid))
    newest.kill()
    cell = client.execute("os._exit(1)")
    assert cell.error == "WorkerDied"
    assert "Restored to the state before In[3]; what ran since then is lost." in cell.traceback
    after = run(client, "kept")
    assert (after.result, after.reply["execution_count"]) == ("[1, 2]", 5)


def test_without_any_copy_a_new_worker_is_started(client: Client, kernel: Kernel) -> None:
    settle(client)
    for copy in wait_copies(kernel, 2):  # the pristine one is that from before In[1]
        copy.kill()
    since = len(client.messages)
    cell = client.execute("os._exit(1)")
    assert cell.error == "WorkerDied"
    assert "Variables are lost" in cell.traceback
    assert client.execute("kept").error == "NameError"
    assert told(client.messages[since:]) == ["restarting", "starting", "idle"]
