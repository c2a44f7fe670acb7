"""Subshells (JEP 91): several shells with one session, each with its own queue, output, questions and interrupts."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from .client import Client, Run
from .conftest import StartKernel
from .kernels import Kernel, below

#: So that what is restored after a death does not depend on how busy the machine is.
ENVIRONMENT = {"IPYMINI_SNAPSHOTS": "on"}

pytestmark = pytest.mark.row("Protocol", "subshells: create, list, delete; cells run beside the main shell")


@pytest.fixture(autouse=True)
def none_is_left(client: Client) -> Iterator[None]:
    """What a test makes is gone afterwards."""
    yield
    for name in names(client):
        assert client.ask("delete_subshell_request", {"subshell_id": name}, channel="control").status == "ok"


@pytest.fixture
def subshell(client: Client) -> str:
    """The id of a subshell."""
    return client.new_subshell()


def names(client: Client) -> list[str]:
    """The subshells that there are."""
    found: list[str] = client.ask("list_subshell_request", channel="control").reply["subshell_id"]
    return found


def started(client: Client, code: str, subshell: str) -> Run:
    """A cell that is under way in a subshell."""
    run = client.start(code, subshell=subshell)
    client.wait_input(run)
    return run


def test_they_are_advertised(client: Client) -> None:
    assert "kernel subshells" in client.ask("kernel_info_request").reply["supported_features"]


def test_create_list_delete(client: Client) -> None:
    assert names(client) == []
    made = [client.new_subshell() for _ in range(3)]
    assert names(client) == made
    for name in made:
        assert client.ask("delete_subshell_request", {"subshell_id": name}, channel="control").reply == {"status": "ok"}
    assert names(client) == []


@pytest.mark.parametrize("content", [{"subshell_id": "nobody"}, {}, {"subshell_id": None}, {"subshell_id": [1]}])
def test_delete_what_there_is_not(client: Client, content: dict[str, object]) -> None:
    reply = client.ask("delete_subshell_request", content, channel="control").reply
    assert (reply["status"], reply["ename"]) == ("error", "UnknownSubshell")
    assert reply["evalue"].startswith("There is no subshell ")


def test_a_request_for_a_subshell_that_there_is_not(client: Client) -> None:
    run = client.execute("ran = 1", subshell="nobody")
    assert (run.status, run.reply["ename"]) == ("error", "UnknownSubshell")
    assert client.execute("'ran' in globals()").result == "False"


def test_the_session_is_shared(client: Client, subshell: str) -> None:
    first = client.execute("shared = [1]")
    second = client.execute("shared.append(2); print('from a subshell'); shared", subshell=subshell)
    assert (second.result, second.text()) == ("[1, 2]", "from a subshell\n")
    assert second.reply["execution_count"] == first.reply["execution_count"] + 1
    assert second.replies[0]["parent_header"]["subshell_id"] == subshell
    assert {m["parent_header"]["subshell_id"] for m in second.published} == {subshell}
    third = client.execute("_, In[-2], Out[len(In) - 2]")
    assert third.result == "([1, 2], \"shared.append(2); print('from a subshell'); shared\", [1, 2])"


def test_a_cell_runs_beside_that_of_the_main_shell(client: Client, subshell: str) -> None:
    """Each waits for something that the other one does."""
    client.execute("import threading as t; here, there = t.Event(), t.Event()")
    main = client.start("here.wait(); print('main'); there.set(); 1")
    client.wait_input(main)
    beside = client.execute("here.set(); there.wait(); print('beside'); 2", subshell=subshell)
    client.finish(main)
    assert (main.text(), main.result, beside.text(), beside.result) == ("main\n", "1", "beside\n", "2")
    assert main.reply["execution_count"] != beside.reply["execution_count"]


def test_subshells_run_beside_each_other(client: Client) -> None:
    client.execute("import threading as t; gate = t.Barrier(4)")
    shells = [client.new_subshell() for _ in range(3)]
    runs = [client.start(f"gate.wait(); print({n}); {n}", subshell=name) for n, name in enumerate(shells)]
    assert client.execute("gate.wait(); 'all'").result == "'all'"
    for number, run in enumerate(runs):
        assert (client.finish(run).result, run.text()) == (str(number), f"{number}\n")


def test_the_last_status_is_busy_while_anything_runs(client: Client, subshell: str) -> None:
    client.execute("import threading as t; go, other = t.Event(), t.Event()")
    main = client.start("go.wait()")
    client.wait_input(main)
    client.execute("1", subshell=subshell)
    beside = client.start("other.wait()", subshell=subshell)
    client.wait_input(beside)
    last = [m for c, m in client.messages if c == "iopub" and m["msg_type"] == "status"][-1]
    assert last["content"]["execution_state"] == "busy"
    client.execute("go.set()", subshell=client.new_subshell())
    client.finish(main)
    client.wait_until(lambda: "busy" in beside.states)
    client.execute("other.set()")
    client.finish(beside)
    last = [m for c, m in client.messages if c == "iopub" and m["msg_type"] == "status"][-1]
    assert last["content"]["execution_state"] == "idle"


def test_an_error_aborts_the_queue_of_its_own_shell(client: Client, subshell: str) -> None:
    client.execute("import threading as t; go = t.Event()")
    main = [client.start("go.wait()"), client.start("'main goes on'")]
    beside = [client.start("input(); 1/0", subshell=subshell)]
    question = client.wait_question(beside[0])
    beside.append(client.start("2", subshell=subshell))
    client.ask("kernel_info_request")  # by then it has arrived
    client.answer(question, "")
    client.finish(beside[0])
    assert (beside[0].error, client.finish(beside[1]).status) == ("ZeroDivisionError", "aborted")
    assert client.execute("go.set(); 'again'", subshell=subshell).result == "'again'"
    assert [client.finish(run).status for run in main] == ["ok", "ok"]


def test_requests_of_every_kind(client: Client, subshell: str) -> None:
    client.execute("variable_of_mine = 1")
    ask = {"code": "variable_of_m", "cursor_pos": 13}
    assert client.ask("complete_request", ask, subshell=subshell).reply["matches"] == ["variable_of_mine"]
    ask = {"code": "variable_of_mine", "cursor_pos": 4}
    assert client.ask("inspect_request", ask, subshell=subshell).reply["found"] is True
    assert client.ask("is_complete_request", {"code": "if x:"}, subshell=subshell).reply["status"] == "incomplete"
    history = client.ask("history_request", {"hist_access_type": "tail", "n": 1}, subshell=subshell).reply["history"]
    assert history[0][2] == "variable_of_mine = 1"
    assert client.ask("comm_info_request", subshell=subshell).status == "ok"


def test_await_and_tasks(client: Client, subshell: str) -> None:
    """It has a loop of its own, which goes on while it is idle."""
    client.execute("import asyncio, threading; done = threading.Event()")
    run = client.execute(
        "async def later():\n    await asyncio.sleep(0.01)\n    print('later')\n    done.set()\n"
        "task = asyncio.create_task(later())\nawait asyncio.sleep(0)\nloop = asyncio.get_running_loop()",
        subshell=subshell,
    )
    assert client.execute("done.wait(10)").result == "True"
    client.wait_text(run, "later\n")
    assert client.execute("asyncio.get_running_loop() is loop, await asyncio.sleep(0)", subshell=subshell).result == (
        "(True, None)"
    )
    assert client.execute("await asyncio.sleep(0); asyncio.get_running_loop() is loop").result == "False"


def test_input(client: Client, subshell: str) -> None:
    """Each answer goes to the question that it belongs to."""
    main = client.start("'main ' + input('main?')")
    beside = client.start("'beside ' + input('beside?')", subshell=subshell)
    questions = [client.wait_question(beside), client.wait_question(main)]
    assert [q["content"]["prompt"] for q in questions] == ["beside?", "main?"]
    last = next(m for c, m in reversed(client.messages) if c == "stdin")  # answers are for the latest question
    first = next(q for q in questions if q is not last)
    for question in (last, first):
        client.answer(question, question["content"]["prompt"])
        client.finish(beside if question is questions[0] else main)
    assert (main.result, beside.result) == ("'main main?'", "'beside beside?'")
    refused = client.execute("input()", subshell=subshell, allow_stdin=False)
    assert refused.error == "StdinNotImplementedError"


def test_what_the_magic_says(client: Client, subshell: str) -> None:
    said = client.execute("%subshell", subshell=subshell).text()
    assert f"subshell id: {subshell}\n" in said
    assert f"subshell list: ['{subshell}']\n" in said
    thread, main = (int(re.search(rf"^{name}: (\d+)$", said, re.M)[1]) for name in ("thread id", "main thread id"))  # type: ignore[index]
    assert thread != main
    assert "subshell id: None\n" in client.execute("%subshell").text()


STUCK = {
    "a loop": "while True: pass",
    "an await": "import asyncio; await asyncio.sleep(100)",
    "a loop in a coroutine": "import asyncio\nawait asyncio.sleep(0)\nwhile True: pass",
    "a command": "!sleep 100",
    "a program": "import subprocess; subprocess.run(['sleep', '100'])",
    "asyncio.run": "import asyncio; asyncio.run(asyncio.sleep(100))",
}


@pytest.mark.parametrize("name", STUCK)
def test_an_interrupt_of_a_subshell_leaves_the_main_shell_alone(
    client: Client, kernel: Kernel, subshell: str, name: str
) -> None:
    client.execute("import threading as t; go, begun = t.Event(), t.Event()")
    main = client.start("go.wait()")
    client.wait_input(main)
    beside = client.start("begun.set()\n" + STUCK[name], subshell=subshell)
    behind = client.start("'behind'", subshell=subshell)
    other = client.new_subshell()
    client.execute("begun.wait()", subshell=other)
    while ("!sleep" in STUCK[name] or "subprocess" in STUCK[name]) and not below(kernel.process.pid, "sleep"):
        client.beat()
    client.interrupt(subshell)
    assert client.finish(beside).error == "KeyboardInterrupt"
    assert client.finish(behind).status == "aborted"
    assert client.execute("go.set(); 'alive'", subshell=subshell).result == "'alive'"
    assert client.finish(main).result == "True"


def test_an_interrupt_of_a_question(client: Client, subshell: str) -> None:
    beside = client.start("try: input('?')\nfinally: print('finally')", subshell=subshell)
    client.wait_question(beside)
    reply = client.interrupt(subshell).reply
    assert (reply["rung"], reply["target"]) == (1, "the thread of the subshell")
    assert (client.finish(beside).error, beside.text()) == ("KeyboardInterrupt", "finally\n")


def test_an_interrupt_is_for_subshells_when_the_main_shell_is_idle(client: Client, subshell: str) -> None:
    beside = started(client, "while True: pass", subshell)
    client.interrupt()
    assert client.finish(beside).error == "KeyboardInterrupt"
    assert client.interrupt().reply["rung"] == 0


def test_an_interrupt_of_the_main_shell_leaves_subshells_alone(client: Client, subshell: str) -> None:
    client.execute("import time; go = 0")
    beside = started(client, "while not go: time.sleep(0.001)\n'whole'", subshell)
    main = client.start("while True: pass")
    client.wait_input(main)
    client.interrupt()
    assert client.finish(main).error == "KeyboardInterrupt"
    client.execute("go = 1")
    assert client.finish(beside).result == "'whole'"


def test_the_second_interrupt_says_where_it_is_stuck_and_the_third_costs_one_cell(client: Client) -> None:
    name = client.new_subshell()
    # The first interrupt may still find it in the `print`.
    client.execute(
        "kept = [1, 2, 3]\nimport time\ndef wait():\n    while True:\n        try: print('asleep'); time.sleep(100)\n"
        "        except KeyboardInterrupt: pass"
    )
    beside = client.start("wait()", subshell=name)
    client.wait_text(beside, "asleep")
    for rung in (1, 2, 3):
        while (reached := client.interrupt(name).reply["rung"]) < rung:  # those that come close together are one
            assert reached > 0
    assert client.finish(beside).error == "WorkerDied"
    assert re.search(r"Cell In\[\d+\], line 5, in wait", beside.text("stderr"))
    assert client.execute("kept.append(4); kept", subshell=name).result == "[1, 2, 3, 4]"


def test_deletion_while_busy_and_with_requests_that_wait(client: Client) -> None:
    name = client.new_subshell()
    client.execute("import threading as t; go = t.Event()")
    busy = started(client, "go.wait()\nprint('to the end')", name)
    waiting = [client.start("1", subshell=name), client.send("complete_request", {"code": "x"}, subshell=name)]
    client.ask("kernel_info_request")  # by then they have arrived: control is another channel
    assert client.ask("delete_subshell_request", {"subshell_id": name}, channel="control").status == "ok"
    assert [client.finish(run).status for run in waiting] == ["aborted", "aborted"]
    assert names(client) == []
    assert client.execute("2", subshell=name).reply["ename"] == "UnknownSubshell"
    client.execute("go.set()")
    assert client.finish(busy).text() == "to the end\n"


def test_the_thread_ends_with_the_subshell(client: Client) -> None:
    name = client.new_subshell()
    client.execute("import threading; thread = threading.current_thread()", subshell=name)
    client.ask("delete_subshell_request", {"subshell_id": name}, channel="control")
    assert client.execute("thread.join(10); thread.is_alive()").result == "False"


def test_a_subshell_that_hangs_blocks_nobody(client: Client) -> None:
    name = client.new_subshell()
    client.execute("import threading; forever = threading.Event()")
    hangs = started(client, "forever.wait()", name)
    assert client.execute("1 + 1").result == "2"
    assert client.ask("kernel_info_request", channel="control").status == "ok"
    assert client.execute("3", subshell=client.new_subshell()).result == "3"
    client.execute("forever.set()")
    client.finish(hangs)


def test_death_is_told_to_all_and_the_subshells_are_there_again(client: Client) -> None:
    one, two = client.new_subshell(), client.new_subshell()
    client.execute("kept = 'kept'; import threading as t; ever = t.Event()")
    main = client.start("ever.wait()")
    client.wait_input(main)
    beside = started(client, "print('beside', flush=True)\never.wait()", one)
    client.wait_text(beside, "beside\n")
    behind = client.start("1", subshell=one)
    victim = client.execute("import ctypes; ctypes.string_at(0)", subshell=two)
    for run in (main, beside, victim):
        client.finish(run)
        assert run.error == "WorkerDied"
        assert f"in cell [{victim.reply['execution_count']}]" in run.reply["evalue"]
    assert client.finish(behind).status == "aborted"
    assert names(client) == [one, two]
    for name in (one, two):
        assert client.execute("kept", subshell=name).result == "'kept'"
    assert client.execute("kept").result == "'kept'"


def test_a_task_that_ends_with_system_exit_does_not_end_the_subshell(client: Client, subshell: str) -> None:
    run = client.execute(
        "import asyncio, sys\nasync def leaves():\n    await asyncio.sleep(0.01)\n    sys.exit(3)\n"
        "task = asyncio.create_task(leaves())\nawait asyncio.sleep(0)",
        subshell=subshell,
    )
    client.wait_until(lambda: any("SystemExit" in r.text("stderr") for r in (run,)) or bool(client.others("")))
    assert client.execute("'alive'", subshell=subshell).result == "'alive'"


def test_where_there_can_be_no_thread_a_request_gets_an_error(start_kernel: StartKernel) -> None:
    """And the kernel goes on; when there can be one again, it is made."""
    # A history that closes its file meanwhile would leave descriptors for a thread.
    client = start_kernel("--HistoryManager.enabled=False").connect()
    name = client.new_subshell()
    client.execute("import os", subshell=name)
    other = client.execute(
        "import resource\nfds = []\nlimits = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))\ntry:\n    while True: fds.append(os.dup(0))\n"
        "except OSError: pass\nprint(len(fds) > 10)"
    )
    assert other.text() == "True\n"
    refused = client.execute("1", subshell=client.new_subshell())
    assert (refused.status, refused.reply["ename"]) == ("error", "OSError")
    client.execute("while fds: os.close(fds.pop())")
    assert client.execute("2", subshell=client.new_subshell()).result == "2"
    assert client.execute("3", subshell=name).result == "3"


@pytest.mark.parametrize("how", ["shutdown", "terminate"])
def test_a_kernel_that_ends_with_a_busy_subshell(start_kernel: StartKernel, how: str) -> None:
    kernel: Kernel = start_kernel()
    client = kernel.connect()
    beside = started(client, "while True: pass", client.new_subshell())
    if how == "shutdown":
        client.send("shutdown_request", {"restart": False}, channel="control")
    else:
        kernel.process.terminate()
    client.wait_until(lambda: beside.over)
    assert kernel.wait() == 0


def test_a_subshell_ends_beside_a_process_that_a_cell_has_forked(client: Client) -> None:
    client.execute("import os, threading, time")
    name = client.new_subshell()
    client.execute("child = os.fork()\nif not child:\n    time.sleep(1000)")
    client.ask("delete_subshell_request", {"subshell_id": name}, channel="control")
    try:
        code = f"while any({name!r} in t.name for t in threading.enumerate()): time.sleep(0.001)\n'gone'"
        assert client.execute(code).result == "'gone'"
    finally:
        client.execute("os.kill(child, 9); os.waitpid(child, 0)[0] == child")
