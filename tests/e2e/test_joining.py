"""What comes to a cell while it runs: cells and comm messages when it lets them, and the helpers for that."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from .client import Client, Run
from .kernels import Kernel

SOURCES = ["ipymini", "ipymini_worker"]
WAITS = "from {source} import unlock\nimport asyncio\nturn = asyncio.Event()\nprint(unlock())\nawait turn.wait()\n"
TARGET = """
import comm
got = []
def opened(c, message):
    c.on_msg(lambda m: (got.append(m['content']['data']), c.send({'echo': m['content']['data']}), print('got it')))
comm.get_comm_manager().register_target('echo', opened)
"""


def unlocked(client: Client, source: str = "ipymini", after: str = "'went on'") -> Run:
    """A cell that has unlocked the shell, and awaits."""
    run = client.start(WAITS.format(source=source) + after)
    client.wait_text(run, "True\n")
    return run


@pytest.mark.parametrize("source", SOURCES)
def test_cells_run_while_one_awaits(client: Client, source: str) -> None:
    first = unlocked(client, source)
    second = client.execute("print('second'); 2")
    assert (second.text(), second.result) == ("second\n", "2")
    third = client.execute("print('third'); await asyncio.sleep(0.01); turn.set(); 3")
    assert (third.text(), third.result) == ("third\n", "3")
    client.finish(first)
    assert (first.text(), first.result) == ("True\n", "'went on'")
    numbers = [run.reply["execution_count"] for run in (first, second, third)]
    assert numbers == sorted(set(numbers))
    assert client.execute("In[-4].startswith('from'), Out[len(In) - 4]").result == "(True, 'went on')"


def test_the_kernel_object_has_it_too(client: Client) -> None:
    run = client.start(
        "import asyncio; e = asyncio.Event(); k = get_ipython().kernel; print(k.unlock()); await e.wait()"
    )
    client.wait_text(run, "True\n")
    client.execute("e.set()")
    client.finish(run)


def test_outside_of_a_cell_it_says_no(client: Client, kernel: Kernel) -> None:
    """In a callback that runs while nothing is executed."""
    os.mkfifo(kernel.folder / "later")
    run = client.execute(
        "import asyncio, os\nfrom ipymini import unlock, subshell\nloop = asyncio.get_running_loop()\n"
        "later = os.open('later', os.O_RDWR | os.O_NONBLOCK)\n"
        "def late():\n    loop.remove_reader(later)\n    print(unlock())\n"
        "    try: subshell().__enter__()\n    except RuntimeError as e: print(e)\n"
        "loop.add_reader(later, late)\nawait asyncio.sleep(0)"
    )
    (kernel.folder / "later").write_text("now")
    client.wait_text(run, "False\nsubshell() can be used inside of a cell only.\n")


def test_errors_and_what_is_behind_them(client: Client) -> None:
    first = unlocked(client)
    failing = client.start("input(); 1/0")
    question = client.wait_question(failing)
    behind = client.start("'behind'")
    client.ask("kernel_info_request")  # by then it has arrived
    client.answer(question, "")
    assert (client.finish(failing).error, client.finish(behind).status) == ("ZeroDivisionError", "aborted")
    assert client.execute("missing_name").error == "NameError"
    assert client.execute("if True print").error == "SyntaxError"
    assert client.execute("%no_such_magic").status == "error"
    client.execute("turn.set()")
    assert client.finish(first).result == "'went on'"


def test_the_next_waits_for_one_that_has_not_unlocked(client: Client) -> None:
    first = unlocked(client)
    second = client.start("second = asyncio.Event(); print('there'); await second.wait(); 2")
    client.wait_text(second, "there")
    third = client.start("3")
    client.ask("kernel_info_request")  # by then it has arrived: control is another channel
    client.interrupt()
    assert client.finish(first).error == "KeyboardInterrupt"
    assert client.finish(second).error == "KeyboardInterrupt"
    assert client.finish(third).status == "aborted"
    assert client.execute("'fine'").result == "'fine'"


def test_a_cell_that_outlives_the_one_that_let_it_in(client: Client) -> None:
    first = unlocked(client)
    second = client.start("more = asyncio.Event(); turn.set(); await more.wait(); 'second'")
    assert client.finish(first).result == "'went on'"
    client.interrupt()
    assert client.finish(second).error == "KeyboardInterrupt"
    assert client.execute("'fine'").result == "'fine'"


def test_an_interrupt_while_nothing_runs_the_loop(client: Client, kernel: Kernel) -> None:
    """Between the end of the cell that it ran for and the wait for the next one."""
    os.mkfifo(kernel.folder / "between")
    first = unlocked(client)
    second = client.start(
        "more, real = asyncio.Event(), asyncio.set_event_loop\n"
        "def held(loop):\n    asyncio.set_event_loop = real\n    real(loop)\n    open('between').read()\n"
        "asyncio.set_event_loop = held\nturn.set(); await more.wait(); 'second'"
    )
    assert client.finish(first).result == "'went on'"
    client.interrupt()
    (kernel.folder / "between").write_text("")
    assert client.finish(second).error == "KeyboardInterrupt"


def test_an_interrupt_of_a_cell_inside_of_another(client: Client) -> None:
    first = unlocked(client)
    inner = client.start("print('begun')\nwhile True: pass")
    client.wait_text(inner, "begun")
    client.interrupt()
    assert client.finish(inner).error == "KeyboardInterrupt"
    assert client.finish(first).error == "KeyboardInterrupt"


def test_a_plain_cell_that_is_unlocked_lets_others_in_at_its_end(client: Client) -> None:
    first = client.start("from ipymini import unlock; print(unlock()); import time; time.sleep(0.1); 1")
    second = client.start("2")
    assert (client.finish(first).result, client.finish(second).result) == ("1", "2")


def test_a_death_is_told_to_both(client: Client) -> None:
    client.execute("kept = 1")
    first = unlocked(client)
    second = client.execute("import ctypes; ctypes.string_at(0)")
    assert (client.finish(first).error, second.error) == ("WorkerDied", "WorkerDied")
    assert client.execute("kept").status in ("ok", "error")  # there may have been no time for a snapshot


@pytest.mark.parametrize("source", [*SOURCES, "get_ipython().kernel"])
def test_a_cell_leads_others_to_a_subshell(client: Client, connect: Callable[[], Client], source: str) -> None:
    """Those of the same client; it does not even have to await."""
    other = connect()
    line = f"subshell = {source}.subshell" if "kernel" in source else f"from {source} import subshell"
    first = client.start(
        f"{line}\nimport threading\ngo = threading.Event()\nwith subshell() as name:\n    print(name)\n    go.wait()\nname"
    )
    client.wait_text(first, "\n")
    name = first.text().strip()
    assert client.ask("list_subshell_request", channel="control").reply["subshell_id"] == [name]
    queued = other.start("'main again'")
    inside = client.execute("import threading\nthreading.current_thread() is threading.main_thread()")
    assert inside.result == "False"
    assert not queued.replies
    client.execute("go.set()")
    assert client.finish(first).result == repr(name)
    assert other.finish(queued).result == "'main again'"
    assert client.execute("threading.current_thread() is threading.main_thread()").result == "True"
    assert client.ask("list_subshell_request", channel="control").reply["subshell_id"] == []


def test_a_cell_that_fails_leads_nobody_any_longer(client: Client) -> None:
    assert client.execute("from ipymini import subshell\nwith subshell(): 1/0").error == "ZeroDivisionError"
    assert client.execute("subshell().__enter__(); 'left open'").result == "'left open'"
    assert client.execute("import threading; threading.current_thread().name").result == "'MainThread'"
    assert client.ask("list_subshell_request", channel="control").reply["subshell_id"] == []


def test_comm_messages_come_while_a_cell_awaits(client: Client) -> None:
    client.execute(TARGET)
    client.ask("comm_open", {"comm_id": "c1", "target_name": "echo", "data": {}})
    cell = client.start("import asyncio\nprint('waits')\nwhile not got: await asyncio.sleep(0.001)\ngot")
    client.wait_text(cell, "waits")
    message = client.ask("comm_msg", {"comm_id": "c1", "data": {"n": 1}})
    assert [m["content"]["data"] for m in message.published if m["msg_type"] == "comm_msg"] == [{"echo": {"n": 1}}]
    assert message.text() == "got it\n"
    assert client.finish(cell).result == "[{'n': 1}]"


def test_a_callback_that_hangs_is_interrupted(client: Client) -> None:
    client.execute(
        "import comm\ndef hangs(c, m):\n    print('hangs')\n    while True: pass\n"
        "comm.get_comm_manager().register_target('hangs', hangs)"
    )
    cell = client.start("import asyncio; print('waits'); await asyncio.sleep(100)")
    client.wait_text(cell, "waits")
    opened = client.send("comm_open", {"comm_id": "c2", "target_name": "hangs", "data": {}})
    client.wait_text(opened, "hangs")
    client.interrupt()
    assert client.finish(cell).error == "KeyboardInterrupt"
    client.finish(opened)
    assert client.execute("1").result == "1"


def test_a_callback_runs_in_a_subshell_while_a_cell_sleeps(client: Client) -> None:
    """As JupyterLab sends comm messages by default."""
    name = client.new_subshell()
    client.execute(TARGET)
    client.ask("comm_open", {"comm_id": "c3", "target_name": "echo", "data": {}}, subshell=name)
    cell = client.start("import time\nwhile not got: time.sleep(0.001)\ngot")
    client.wait_input(cell)
    message = client.ask("comm_msg", {"comm_id": "c3", "data": 7}, subshell=name)
    assert [m["content"]["data"] for m in message.published if m["msg_type"] == "comm_msg"] == [{"echo": 7}]
    assert client.finish(cell).result == "[7]"
    client.ask("delete_subshell_request", {"subshell_id": name}, channel="control")


def test_a_widget_callback_runs_while_a_cell_sleeps(client: Client) -> None:
    name = client.new_subshell()
    made = client.execute(
        "import ipywidgets, threading\nmoved = threading.Event()\nslider = ipywidgets.IntSlider()\n"
        "slider.observe(lambda change: (print(change['new']), moved.set()), 'value')\nslider.model_id"
    )
    cell = client.start("import time\nwhile not moved.is_set(): time.sleep(0.001)\nslider.value")
    client.wait_input(cell)
    data = {"method": "update", "state": {"value": 42}}
    message = client.ask("comm_msg", {"comm_id": made.result.strip("'"), "data": data}, subshell=name)
    assert message.text() == "42\n"
    assert client.finish(cell).result == "42"
    client.ask("delete_subshell_request", {"subshell_id": name}, channel="control")
