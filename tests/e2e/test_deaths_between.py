"""The table of faults and moments, the part in which no request is being executed when the worker dies."""

from __future__ import annotations

import os
import signal
import textwrap
import time
from contextlib import suppress

import psutil
import pytest

from .client import TIMEOUT, Client, Run
from .conftest import StartKernel
from .deaths import Scene, profile
from .faults import FAULTS, IMPORTS
from .kernels import Kernel, wait_gone

#: Without snapshots: what happens when there is nothing to go back to.
ENVIRONMENT = {"IPYMINI_SNAPSHOTS": "off"}

# With its descriptors closed an idle worker hears nothing, and nobody hears that: the next cell finds out.
NOTICED = [name for name in FAULTS if name != "descriptors closed"]


def check_told_while_idle(scene: Scene) -> None:
    """One line on stderr, before the news of another worker; and the next cell runs."""
    scene.wait_reborn()
    told = []
    for message in scene.iopub():
        if message["msg_type"] == "stream" and message["content"]["name"] == "stderr":
            told += [line for line in message["content"]["text"].splitlines() if line.startswith("The worker ")]
        elif message["msg_type"] == "status" and message["content"]["execution_state"] == "restarting":
            told.append("restarting")
    assert len(told) == 2, told
    assert told[1] == "restarting"
    sentence = told[0].removesuffix(" Its variables are lost.")
    assert scene.fault.tells(sentence, 0), sentence
    scene.check_lives()


@pytest.mark.parametrize("name", NOTICED)
def test_a_thread_dies_while_nothing_runs(kernel: Kernel, client: Client, name: str) -> None:
    scene = Scene(kernel, client, name)
    client.execute("at_gate(die)")
    scene.open_gate()
    check_told_while_idle(scene)


@pytest.mark.parametrize("name", NOTICED)
def test_a_task_dies_while_nothing_runs(kernel: Kernel, client: Client, name: str) -> None:
    scene = Scene(kernel, client, name)
    run = client.start("def wait():\n    open('gate').read()\nasync def later():\n    await asyncio.to_thread(wait); die()\n"
                       "task = asyncio.create_task(later())")  # fmt: skip
    client.finish(run)
    scene.open_gate()
    check_told_while_idle(scene)


def test_descriptors_closed_while_nothing_runs(kernel: Kernel, client: Client) -> None:
    """The next cell finds out, and says so; the one after it runs."""
    scene = Scene(kernel, client, "descriptors closed")
    client.execute("at_gate(die)")
    scene.open_gate()
    deadline = time.monotonic() + TIMEOUT
    with suppress(psutil.NoSuchProcess):
        while scene.worker.num_fds() > 3:
            assert time.monotonic() < deadline
    cell = client.execute("1")
    if cell.status == "error":
        assert cell.error == "WorkerDied"
        count = cell.reply["execution_count"]
        assert scene.fault.tells(cell.reply["evalue"], 0) or scene.fault.tells(cell.reply["evalue"], count)
    assert client.execute("1").status == "ok"
    assert kernel.process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT])
@pytest.mark.parametrize("busy", [False, True])
def test_a_signal_from_outside(kernel: Kernel, client: Client, number: signal.Signals, busy: bool) -> None:
    """Such as that of an administrator, or of the system itself."""
    scene = Scene(kernel, client, "SIGKILL")
    # In one line, for the text may arrive before the worker has come to the sleep.
    cell = client.start("import time\nprint('before'); time.sleep(1000)") if busy else None
    if cell is not None:
        client.wait_text(cell, "before")
    os.kill(scene.worker.pid, number)
    if cell is not None:
        assert client.finish(cell).error == "WorkerDied"
        assert f"died of {number.name} (" in cell.reply["evalue"]
        assert "Cell In[4], line 2" in cell.traceback or number in (signal.SIGKILL, signal.SIGTERM)
    scene.wait_reborn()
    texts = [m["content"]["text"] for m in scene.iopub() if m["msg_type"] == "stream"]
    assert any(f"died of {number.name} (" in text for text in texts) is not busy
    scene.check_lives()


def start_up(name: str, *, once: bool) -> str:
    """A start-up file that dies, always or in the first worker only."""
    code = f"{IMPORTS}\n{FAULTS[name].define()}\n"
    if once:
        code += "if not os.path.exists('died'):\n    open('died', 'w').close()\n    die()\n"
    else:
        code += "die()\n"
    return textwrap.dedent(code)


@pytest.mark.parametrize("name", FAULTS)
def test_death_before_hello(start_kernel: StartKernel, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """The first worker dies in a start-up file; a cell that waited for it runs in the second."""
    kernel = start_kernel(env=profile(tmp_path_factory.mktemp("profile"), start_up(name, once=True)))
    client = kernel.connect()
    cells = [client.start("print(os.getppid())"), client.start("2")]
    assert client.finish(cells[0]).text() == f"{kernel.process.pid}\n"
    assert client.finish(cells[1]).result == "2"
    life = [m["content"]["execution_state"] for c, m in client.messages if m["parent_header"]["msg_type"] == "kernel_started" and m["msg_type"] == "status"]  # fmt: skip
    assert life[-3:] == ["restarting", "starting", "idle"], life


@pytest.mark.parametrize("name", ["null pointer", "os._exit(3)", "abort", "SIGKILL", "descriptors closed", "garbage"])
def test_death_before_hello_again_and_again(
    start_kernel: StartKernel, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """After three attempts the kernel stays up, says why, and tries again whenever it is asked to execute."""
    folder = tmp_path_factory.mktemp("profile")
    client = start_kernel(env=profile(folder, start_up(name, once=False))).connect()
    cells = [client.start("1"), client.start("2")]
    completion = client.send("complete_request", {"code": "zi", "cursor_pos": 2})
    for run in (*cells, completion):
        check_refused(client.finish(run))
    for _ in range(2):
        for channel in ("shell", "control"):
            assert client.ask("kernel_info_request", channel=channel).status == "ok"
        assert client.beat(b"alive") == b"alive"
        state = client.ask("worker_state_request", channel="control").reply
        assert state["state"] == "dead"
        check_refused(client.ask("complete_request", {"code": "zi", "cursor_pos": 2}))
        check_refused(client.execute("3"))
    (startup,) = folder.glob("ipython/profile_default/startup/*.py")
    startup.unlink()
    assert client.execute("4").result == "4"
    assert client.execute("5").result == "5"


def check_refused(run: Run) -> None:
    """The reply, and for a cell the error, that says why there is no worker."""
    assert run.status == "error"
    assert run.reply["ename"] == "WorkerDied"
    assert run.reply["evalue"].startswith("No worker can be started: the last one ")
    assert run.reply["evalue"].endswith(" before it was ready. Run a cell to try again.")
    if run.request["msg_type"] == "execute_request":
        assert run.error == "WorkerDied"


@pytest.mark.parametrize("name", FAULTS)
def test_death_while_stopping(start_kernel: StartKernel, name: str) -> None:
    """At the exit of the worker: the kernel ends all the same, and in order."""
    kernel = start_kernel()
    client = kernel.connect()
    scene = Scene(kernel, client, name)
    client.execute("atexit.register(die)\nprocess = subprocess.Popen(['sleep', '1000'], start_new_session=True)")
    child = psutil.Process(int(client.evaluate("process.pid")))
    shutdown = client.send("shutdown_request", {"restart": False}, channel="control")
    client.wait_until(lambda: bool(shutdown.replies))
    assert kernel.wait() == 0
    assert wait_gone([child, scene.worker], 0.0) == []  # a zombie that nobody has reaped yet has ended, too


@pytest.mark.parametrize(
    "name", ["null pointer", "os._exit(3)", "exit() in C", "SIGKILL", "descriptors closed", "garbage"]
)
def test_death_in_a_cell_that_the_shutdown_interrupts(start_kernel: StartKernel, name: str) -> None:
    """It gets its one reply, and what was queued too."""
    kernel = start_kernel()
    client = kernel.connect()
    Scene(kernel, client, name)
    cell = client.start("try:\n    print('before'); time.sleep(1000)\nfinally:\n    die()")
    queued = client.start("1")
    client.wait_text(cell, "before")
    client.send("shutdown_request", {"restart": False}, channel="control")
    assert client.finish(cell).error == "WorkerDied"
    assert client.finish(queued).status == "aborted"
    assert kernel.wait() == 0


def test_the_log_tells_of_a_death(start_kernel: StartKernel) -> None:
    """In one record."""
    kernel = start_kernel()
    client = kernel.connect()
    scene = Scene(kernel, client, "os._exit(3)")
    cell = client.execute("print('before')\ndie()")
    scene.check_error(cell)
    (line,) = [line for line in kernel.log.splitlines() if cell.reply["evalue"] in line]
    assert '"status": 3' in line
    assert '"cell": 3' in line
