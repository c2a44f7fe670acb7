"""A worker that does not listen: what is answered all the same, and how it is ended."""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time

import psutil
import pytest

from .client import TIMEOUT, Client, Content, Run
from .conftest import StartKernel
from .deaths import profile
from .faults import IMPORTS
from .kernels import Kernel

#: Cells that keep the worker from listening. The first four keep the GIL as well.
DEAF = {
    "sum": "sum(range(10**15))",
    "regular expression": "import re; re.match(r'(a+)+$', 'a' * 60 + 'b')",
    "deadlock in C": "m = ctypes.create_string_buffer(64)\nfor _ in range(2): ctypes.PyDLL(None).pthread_mutex_lock(m)",
    "thread": "t = threading.Thread(target=sum, args=(range(10**15),)); t.start(); t.join()",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
    "flood": "while True: print('x' * 1000)",
    "native flood": "while True: os.write(1, b'x' * 65536)",
}
#: What the supervisor says of them, where they listen to nothing at all.
STATES = {"stopped": "stopped", "flood": "running", "native flood": "running"}
#: Milliseconds would do; a busy machine gets more, and much more once in a while.
PROMPT = 0.5
#: What the supervisor answers by itself.
ASKED = (
    ("control", "kernel_info_request"),
    ("shell", "kernel_info_request"),
    ("control", "usage_request"),
    ("control", "worker_state_request"),
    ("control", "connect_request"),
    ("control", "no_such_request"),
)


@pytest.fixture
def kernel(start_kernel: StartKernel) -> Kernel:
    """A kernel for each test."""
    return start_kernel()


@pytest.fixture
def client(kernel: Kernel) -> Client:
    """A client of a worker that has the imports."""
    client = kernel.connect(validate=False)
    assert client.execute(IMPORTS).status == "ok"
    return client


def begin(client: Client, name: str) -> Run:
    """Has the worker go deaf in line 2 of a cell."""
    cell = client.start(f"print('begun', flush=True)\n{DEAF[name]}")
    client.wait_text(cell, "begun")
    for _ in range(3):  # line 2 comes a moment after line 1, and a busy machine may have it stand still in between
        wait_state(client, STATES.get(name, "unresponsive"))
    return cell


def ask_state(client: Client, **content: bool) -> Content:
    """The answer to worker_state_request."""
    return client.ask("worker_state_request", content, channel="control").reply


def wait_state(client: Client, state: str, **content: bool) -> Content:
    """As `ask_state`, until that is the state: on a busy machine a worker may be taken for one that does not listen."""
    deadline = time.monotonic() + TIMEOUT
    while (told := ask_state(client, **content))["state"] != state:
        assert time.monotonic() < deadline, told
    return told


def wait_stack(client: Client, stack: list[str]) -> None:
    """Waits until that is where the worker is: for a moment it may still be in a `print`."""
    deadline = time.monotonic() + TIMEOUT
    while (told := wait_state(client, "running", stack=True)["stack"]) != stack:
        assert time.monotonic() < deadline, told


@pytest.mark.parametrize("name", DEAF)
def test_what_is_answered(client: Client, kernel: Kernel, name: str) -> None:
    """All that needs no worker, at once, and in the midst of whatever it does."""
    cell = begin(client, name)
    queued = client.start("1")
    taken = []
    for _ in range(5):
        for channel, kind in ASKED:
            at = time.perf_counter()
            client.send(kind, channel=channel)
            # Only this socket is looked at: what comes on iopub meanwhile takes this client longer than the answer.
            assert client.sockets[channel].poll(TIMEOUT * 1000)
            taken.append(time.perf_counter() - at)
            client.sockets[channel].recv_multipart()
        at = time.perf_counter()
        assert client.beat(b"alive") == b"alive"
        taken.append(time.perf_counter() - at)
    print(f"{name}: median {1000 * statistics.median(taken):.1f} ms, slowest answer {1000 * max(taken):.1f} ms")
    assert statistics.median(taken) < PROMPT
    assert not cell.replies
    assert not queued.replies
    at = time.perf_counter()
    client.send("shutdown_request", {"restart": False}, channel="control")
    if name.endswith("flood"):  # nobody takes all of that to the end
        assert kernel.wait() == 0
        return
    assert client.finish(cell).status == "error"
    assert client.finish(queued).status == "aborted"
    assert kernel.wait() == 0
    assert time.perf_counter() - at < TIMEOUT


@pytest.mark.parametrize("name", DEAF)
def test_the_state_is_told(client: Client, name: str) -> None:
    """With the cell, how long it has run, the CPU time, and where it is, GIL held or not."""
    idle = wait_state(client, "idle", stack=True)
    assert (idle["status"], idle["state"], idle["cell"], idle["seconds"]) == ("ok", "idle", None, None)
    cell = begin(client, name)
    expected = STATES.get(name, "unresponsive")
    state = wait_state(client, expected)
    assert state["cell"] == 2
    assert state["msg_id"] == cell.request["header"]["msg_id"]
    assert 0 <= state["seconds"] < 60
    assert state["cpu_seconds"] >= idle["cpu_seconds"] > 0
    assert state["memory_bytes"] > 10 << 20
    assert state["pid"] == idle["pid"]
    assert "stack" not in state
    state = wait_state(client, expected, stack=True)
    if name != "stopped":
        deadline = time.monotonic() + TIMEOUT
        while not state["stack"] and time.monotonic() < deadline:  # a busy machine may keep it from saying so
            state = wait_state(client, expected, stack=True)
        assert state["stack"][0].startswith("Cell In[2], line "), state["stack"]
    later = ask_state(client)
    assert later["seconds"] >= state["seconds"]


def test_the_states_of_a_quiet_worker(client: Client) -> None:
    cell = client.start("def inner():\n    print('begun'); time.sleep(1000)\n\ninner()")
    client.wait_text(cell, "begun")
    wait_stack(client, ["Cell In[2], line 4", "Cell In[2], line 2, in inner"])
    client.interrupt()
    client.finish(cell)
    wait_state(client, "idle")
    question = client.start("input('?')")
    client.wait_question(question)
    wait_state(client, "running")
    client.interrupt()
    client.finish(question)


def test_stacks_asked_for_in_a_row(client: Client) -> None:
    """Also at the same time, and by a worker that has threads; it costs the cell nothing."""
    cell = client.start(
        "print('begun')\nfor _ in range(20): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
        "end = time.monotonic() + 2\nwhile time.monotonic() < end: pass\n'done'"
    )
    client.wait_text(cell, "begun")
    asked = [client.send("worker_state_request", {"stack": True}, channel="control") for _ in range(5)]
    for run in asked:
        assert "stack" in client.finish(run).reply
    client.finish(cell)
    assert cell.result == "'done'"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a signal cannot be sent to one thread of a process")
def test_stack_is_never_that_of_another_thread(client: Client, kernel: Kernel) -> None:
    """Which would take the signal while the main thread does not: it blocks it, or has another one pending."""
    cell = client.start(
        "from ipymini_worker.wire import DUMP_SIGNAL\nsignal.pthread_sigmask(signal.SIG_BLOCK, [DUMP_SIGNAL])\n"
        "there = threading.Event()\n"
        "def elsewhere():\n    signal.pthread_sigmask(signal.SIG_UNBLOCK, [DUMP_SIGNAL]); there.set(); time.sleep(1000)\n"
        "threading.Thread(target=elsewhere, daemon=True).start(); there.wait()\n"
        "import ctypes; os.mkfifo('held'); print('begun')\n"
        "ctypes.PyDLL(None).open(b'held', os.O_RDONLY)"  # with the GIL: only a signal can tell where it is
    )
    client.wait_text(cell, "begun")
    assert wait_state(client, "unresponsive", stack=True)["stack"] == []
    (kernel.folder / "held").write_text("")
    assert client.finish(cell).status == "ok"
    assert client.execute("signal.pthread_sigmask(signal.SIG_UNBLOCK, [DUMP_SIGNAL])").status == "ok"


def test_a_look_that_user_code_refuses(client: Client) -> None:
    """It is had by a signal; and whatever else is asked while a cell runs is answered."""
    code = "def refuse(event, args):\n    if event == 'sys._current_frames': raise PermissionError\nsys.addaudithook(refuse)"
    assert client.execute(f"import sys\n{code}").status == "ok"
    cell = client.start("print('begun'); time.sleep(1000)")
    client.wait_text(cell, "begun")
    for _ in range(2):
        wait_stack(client, ["Cell In[3], line 1"])
    client.interrupt()
    assert client.finish(cell).error == "KeyboardInterrupt"
    # In a subshell it is had by nobody, and an interrupt does without.
    subshell = client.new_subshell()
    cell = client.start("print('begun')\nwhile True: time.sleep(0.001)", subshell=subshell)
    client.wait_text(cell, "begun")
    client.interrupt(subshell)
    assert client.finish(cell).error == "KeyboardInterrupt"
    cell = client.start("input('?')")
    client.wait_question(cell)
    client.answer(client.wait(lambda channel, _: channel == "stdin"), "heard")
    assert client.finish(cell).result == "'heard'"


def test_a_second_interrupt_says_where_it_was_and_not_where_it_went(client: Client) -> None:
    cell = client.start(
        "def works():\n    print('works')\n    while True: pass\ndef cleans():\n    end = time.monotonic() + 0.5\n"
        "    while time.monotonic() < end: pass\n"
        "for _ in range(2):\n    try: works()\n    except KeyboardInterrupt: cleans(); print('cleaned')"
    )
    for text in ("works", "cleaned\nworks"):
        client.wait_text(cell, text)
        client.interrupt()
    assert client.finish(cell).status == "ok"
    assert cell.text() == "works\ncleaned\n" * 2
    told = cell.text("stderr")
    assert ", in works" in told
    assert "in cleans" not in told


@pytest.mark.slow
def test_a_thousand_looks_at_a_cell_that_is_busy(client: Client) -> None:
    """Each finds it between two instructions of Python's; in the midst of one a look would be the end of it."""
    cell = client.start(
        "class Thing:\n    def __init__(self): self.names = [str(i) for i in range(5)]\n"
        "    def __del__(self): self.names.clear()\n"
        "print('begun')\nwhile True: [Thing() for _ in range(50)], sorted(range(30), key=lambda i: -i)"
    )
    client.wait_text(cell, "begun")
    for _ in range(1000):
        state = wait_state(client, "running", stack=True)
        assert state["cell"] == 2
        assert state["stack"][0].startswith("Cell In[2], line "), state["stack"]
    client.interrupt()
    assert client.finish(cell).error == "KeyboardInterrupt"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the end of the main thread is the end of the process")
def test_worker_without_main_thread_that_has_left_its_group_can_be_killed(client: Client, kernel: Kernel) -> None:
    """No signal to a thread that has ended kills anything."""
    worker = kernel.worker()
    cell = client.start("os.setpgid(0, os.getpgid(os.getppid())); libc.pthread_exit(print('begun'))")
    client.wait_text(cell, "begun")
    deadline = time.monotonic() + TIMEOUT
    while worker.status() != psutil.STATUS_ZOMBIE:  # which its main thread is, a moment after it has printed
        assert time.monotonic() < deadline
    while client.interrupt().reply["rung"] != 3:
        assert time.monotonic() < deadline
    assert client.finish(cell).error == "WorkerDied"
    assert not worker.is_running()
    assert client.execute("1").result == "1"


def test_the_state_while_starting_and_dead(start_kernel: StartKernel, kernel: Kernel) -> None:
    gate = kernel.folder / "wait"
    os.mkfifo(gate)
    starting = start_kernel(env=profile(kernel.folder / "a", f"open({str(gate)!r}).read()")).connect()
    state = ask_state(starting)
    assert (state["state"], state["cell"]) == ("starting", None)
    gate.write_text("go")
    assert starting.execute("1").status == "ok"
    wait_state(starting, "idle")
    dead = start_kernel(env=profile(kernel.folder / "b", "import os; os._exit(1)")).connect()
    assert dead.execute("1").error == "WorkerDied"
    state = ask_state(dead, stack=True)
    assert (state["state"], state["pid"]) == ("dead", None)


@pytest.mark.parametrize("content", [{"stack": 1}, {"stack": None}, {"other": 1}, {"stack": "yes"}])
def test_odd_requests_for_the_state(client: Client, content: Content) -> None:
    reply = client.ask("worker_state_request", content, channel="control").reply
    assert reply["status"] == "ok"
    assert "stack" not in reply


def test_a_worker_that_is_stopped_goes_on(client: Client) -> None:
    """It was deaf, not dead: what waited for it is done."""
    pid = ask_state(client)["pid"]
    os.kill(pid, signal.SIGSTOP)
    cell = client.start("1")
    client.wait_busy(cell)
    wait_state(client, "stopped")
    os.kill(pid, signal.SIGCONT)
    assert client.finish(cell).result == "1"


def test_a_long_cell_keeps_its_parent(client: Client, kernel: Kernel) -> None:
    """However many other requests are made while it runs, as by a display of the kernel's memory."""
    client.execute("os.mkfifo('gate')")
    cell = client.start("print('before'); open('gate').read(); print('after'); os.write(1, b'native\\n')\n1 / 0")
    client.wait_text(cell, "before")
    asked = [client.send("is_complete_request", {"code": "1"}) for _ in range(300)]
    for _ in range(300):
        client.ask("kernel_info_request", channel="control")
    (kernel.folder / "gate").write_text("go")
    assert client.finish(cell).error == "ZeroDivisionError"
    assert sorted(cell.text().splitlines()) == ["after", "before", "native"]  # they come in different ways
    for run in asked:
        assert client.finish(run).status == "complete"
