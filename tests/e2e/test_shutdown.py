"""The end of a kernel: when it is asked to, when it is told to, and when its launcher or its supervisor dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from .client import TIMEOUT, Client
from .conftest import StartKernel
from .kernels import Kernel, wait_gone

#: What the kernel may be doing when it is to end.
DOING = {
    "nothing": "",
    "loop": "while True: pass",
    "sleep": "import time; time.sleep(1000)",
    "await": "import asyncio; await asyncio.sleep(1000)",
    "input": "input()",
    "subprocess": "import subprocess; subprocess.run(['sleep', '1000'])",
    "shell": "!sleep 1000",
    "print": "while True: print('x')",
    "stubborn": "import time\nwhile True:\n    try: time.sleep(1000)\n    except KeyboardInterrupt: print('no')",
    "holds the GIL": "import re; re.match(r'(a+)+$', 'a' * 60 + 'b')",
}
#: A worker that is slow on a busy machine is not ended by a signal before it has ended by itself.
PATIENT = {"IPYMINI_SHUTDOWN_GRACE": "15"}


def occupy(client: Client, what: str) -> None:
    """Has the kernel do something without end."""
    client.execute("1")
    if DOING[what]:
        cell = client.start(f"print('begun', flush=True)\n{DOING[what]}")
        client.wait_text(cell, "begun")
        if what == "input":
            client.wait_question(cell)


@pytest.mark.row("Seen to break", "shutdown is prompt while busy and while waiting in `input()`")
@pytest.mark.parametrize("what", DOING)
def test_shutdown(start_kernel: StartKernel, what: str) -> None:
    """It is answered, on iopub as well, and soon there is no process left."""
    deaf = what in ("stubborn", "holds the GIL")
    # Where an interrupt ends the cell, all is over at once, as nobody waits for so long; where it does not, SIGTERM and
    # SIGKILL come next.
    kernel = start_kernel(env={} if deaf else {"IPYMINI_SHUTDOWN_GRACE": "60"})
    client = kernel.connect(validate=False)
    occupy(client, what)
    at = time.perf_counter()
    shutdown = client.send("shutdown_request", {"restart": False}, channel="control")
    client.wait_until(lambda: bool(shutdown.replies))
    assert shutdown.reply == {"status": "ok", "restart": False}
    client.wait_until(lambda: bool(shutdown.contents("shutdown_reply")))
    assert shutdown.contents("shutdown_reply") == [{"status": "ok", "restart": False}]
    assert kernel.wait() == 0
    assert time.perf_counter() - at < (TIMEOUT if deaf else 15)


def test_shutdown_for_a_restart(start_kernel: StartKernel) -> None:
    """The process ends in the same way; who restarts is the launcher."""
    kernel = start_kernel()
    client = kernel.connect()
    run = client.ask("shutdown_request", {"restart": True}, channel="control")
    assert run.reply == {"status": "ok", "restart": True}
    assert kernel.wait() == 0


def test_shutdown_on_the_shell_channel(start_kernel: StartKernel) -> None:
    """As protocol 5.0 had it."""
    kernel = start_kernel()
    assert kernel.connect().ask("shutdown_request", {"restart": False}).status == "ok"
    assert kernel.wait() == 0


def test_requests_that_wait_are_told(start_kernel: StartKernel) -> None:
    """Whoever waits for a reply gets one: the active cell its error, the others that they were aborted."""
    kernel = start_kernel()
    client = kernel.connect()
    cell = client.start("print('begun')\nimport time\ntime.sleep(1000)")
    queued = [client.start("1") for _ in range(3)]
    completion = client.send("complete_request", {"code": "a", "cursor_pos": 1})
    client.wait_text(cell, "begun")
    client.send("shutdown_request", {"restart": False}, channel="control")
    for run in queued:
        assert client.finish(run).status == "aborted"
    client.finish(completion)
    assert client.finish(cell).status in ("error", "aborted")
    assert kernel.wait() == 0


def test_what_user_code_registered_for_the_end_runs(start_kernel: StartKernel) -> None:
    """And what it prints is seen."""
    kernel = start_kernel(env=PATIENT)
    client = kernel.connect()
    client.execute(
        "import atexit, pathlib\n@atexit.register\ndef at_end():\n"
        "    print('the end\\n', end=''); pathlib.Path('done').touch()"  # the line's end may be a message of its own
    )
    client.send("shutdown_request", {"restart": False}, channel="control")
    client.wait(lambda c, m: m["msg_type"] == "stream" and m["content"]["text"] == "the end\n")
    assert kernel.wait() == 0
    assert (kernel.folder / "done").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("what", ["nothing", "sleep", "subprocess"])
def test_a_signal_to_the_supervisor_is_an_orderly_end(
    start_kernel: StartKernel, what: str, number: signal.Signals
) -> None:
    kernel = start_kernel(env=PATIENT)
    client = kernel.connect()
    client.execute("import atexit, pathlib; atexit.register(pathlib.Path('done').touch)")
    occupy(client, what)
    kernel.process.send_signal(number)
    assert kernel.wait() == 0
    assert (kernel.folder / "done").exists()


@pytest.mark.row("Protocol", "when the server is killed, the kernel is gone, busy or not")
@pytest.mark.parametrize("what", ["nothing", "loop", "sleep", "input", "subprocess", "shell", "stubborn"])
def test_when_the_supervisor_is_killed_the_worker_goes_too(start_kernel: StartKernel, what: str) -> None:
    """With all that it has started."""
    kernel = start_kernel()
    client = kernel.connect(validate=False)
    client.execute("import subprocess; background = subprocess.Popen(['sleep', '1000'])")
    occupy(client, what)
    family = psutil.Process(kernel.process.pid).children(recursive=True)
    worker = kernel.worker()
    guardian = [p for p in psutil.Process(kernel.process.pid).children() if p != worker]
    rest = [p for p in family if p not in guardian]
    assert len(rest) >= 2
    kernel.process.kill()
    kernel.wait()
    assert not wait_gone(rest, TIMEOUT)
    assert not wait_gone(guardian, TIMEOUT)  # it has a look at every process of the machine


@pytest.mark.row("Protocol", "when the server is killed, the kernel is gone, busy or not")
@pytest.mark.parametrize("what", ["nothing", "loop", "input", "subprocess"])
def test_when_the_launcher_dies_the_kernel_goes_too(start_kernel: StartKernel, what: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as launcher:
        try:
            kernel = start_kernel(launcher=launcher.pid)
            client = kernel.connect()
            client.execute("import subprocess; background = subprocess.Popen(['sleep', '1000'])")
            occupy(client, what)
        finally:
            launcher.kill()
    assert kernel.wait() == 0


def test_a_launcher_that_is_gone_already(start_kernel: StartKernel) -> None:
    """A number that means nothing here, as in a container, does not end the kernel."""
    with subprocess.Popen([sys.executable, "-c", ""]) as launcher:
        launcher.wait()
    client = start_kernel(launcher=launcher.pid).connect()
    assert client.execute("1").result == "1"


def test_what_cells_have_started_ends_with_the_kernel(start_kernel: StartKernel) -> None:
    """Children in the background; `Kernel.stop` looks for all that carries its mark."""
    kernel = start_kernel()
    client = kernel.connect()
    run = client.execute(
        "import subprocess\na = subprocess.Popen(['sleep', '1000'])\n"
        "b = subprocess.Popen(['sh', '-c', 'trap \"\" HUP INT; sleep 1000; true'])\n"
        "c = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
        "import os\nos.system('sleep 1000 &')\nprint(a.pid, b.pid, c.pid)"
    )
    started = [psutil.Process(int(pid)) for pid in run.text().split()]
    kernel.stop()
    assert wait_gone(started, 0.0) == []  # a zombie that nobody has reaped yet has ended, too


def test_a_crash_of_the_worker_is_told_and_the_kernel_lives(start_kernel: StartKernel) -> None:
    kernel = start_kernel()
    client = kernel.connect()
    before = worker_of(client)
    cell = client.start("print('last words', flush=True)\nimport time\ntime.sleep(1000)")
    client.wait_text(cell, "last words\n")
    queued = client.start("1")
    assert client.ask("kernel_info_request").status == "ok"  # by now what was sent before it has arrived
    kernel.worker().send_signal(signal.SIGSEGV)
    assert client.finish(cell).error == "WorkerDied"
    assert "SIGSEGV" in cell.reply["evalue"]
    assert cell.text() == "last words\n"
    assert client.finish(queued).status == "aborted"
    assert client.execute("1").result == "1"
    assert worker_of(client) != before
    assert kernel.process.poll() is None


def worker_of(client: Client) -> str:
    """The worker's pid."""
    return client.execute("__import__('os').getpid()").result


def test_a_kernel_that_is_never_asked_anything(start_kernel: StartKernel) -> None:
    """It can be told to end before its worker is up."""
    kernel: Kernel = start_kernel()
    client = kernel.connect()
    client.send("shutdown_request", {"restart": False}, channel="control")
    assert kernel.wait() == 0


#: Signals that would end a process, and that somebody may send to all that looks like Python.
STRAY = [
    *("SIGUSR1", "SIGUSR2", "SIGPIPE", "SIGQUIT", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGXCPU", "SIGXFSZ", "SIGIO"),
    *("SIGPWR", "SIGSTKFLT", "SIGRTMIN", "SIGRTMAX"),
]


def test_stray_signals(kernel: Kernel, client: Client) -> None:
    """The supervisor does not die of any, neither in a cell nor between two, and the cell goes on."""
    for code in ("", "input('?')"):
        cell = client.start(code) if code else None
        question = client.wait_question(cell) if cell is not None else None
        for name in STRAY:
            if hasattr(signal, name):
                for _ in range(3):
                    os.kill(kernel.process.pid, getattr(signal, name))
        assert client.ask("kernel_info_request", channel="control").status == "ok"
        if cell is not None and question is not None:
            client.answer(question, "yes")
            assert client.finish(cell).result == "'yes'"
    assert kernel.process.poll() is None
    assert client.execute("1").result == "1"


def test_programs_of_cells_have_signals_as_ever(client: Client) -> None:
    """What the supervisor does not listen to is not ignored by what is started: a pipe that breaks ends `yes`."""
    pipe = "yes | head -n 1; echo ${PIPESTATUS[0]}"
    code = f"import signal, subprocess\nsubprocess.run(['bash', '-c', '{pipe}'])"
    assert client.execute(code).text() == f"y\n{128 + signal.SIGPIPE}\n"
    code = "' '.join(s.name for s in signal.Signals if signal.getsignal(s) is signal.SIG_IGN)"
    plain = subprocess.run([sys.executable, "-c", f"import signal; print({code})"], capture_output=True, text=True)
    # Who runs the tests may have had more of them ignored, as nohup has.
    assert {"SIGPIPE"} <= set(client.evaluate(code).strip("'").split()) <= set(plain.stdout.split())
    if sys.platform == "linux":
        ignored = int(client.execute("!grep SigIgn: /proc/self/status").text().split()[-1], 16)
        assert ignored & ~(3 << 31) == 0, hex(ignored)  # two are the C library's own
