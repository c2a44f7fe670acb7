"""Nothing that a cell has started outlives the kernel, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from .client import TIMEOUT, Client
from .conftest import StartKernel
from .faults import IMPORTS
from .kernels import Kernel, wait_gone

DAEMON = """
import os, sys
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
os.chdir('/')
print(os.getpid(), flush=True)
null = os.open('/dev/null', os.O_RDWR)
for fd in (0, 1, 2): os.dup2(null, fd)
os.execv('/bin/sleep', ['sleep', '1000'])
"""
STUBBORN = "trap '' TERM INT HUP; echo $$; while :; do sleep 1000; done"
#: Code that starts something without end and prints the pids of it, a line each.
DESCENDANTS = {
    "nothing": "",
    "subprocess": "p = subprocess.Popen(['sleep', '1000']); print(p.pid)",
    "session of its own": "p = subprocess.Popen(['sleep', '1000'], start_new_session=True); print(p.pid)",
    "shell in the background": "os.system('sleep 1000 & echo $!')",
    "fork": "pid = os.fork()\nif not pid:\n    while True: time.sleep(1000)\nprint(pid)",
    "pool of forks": "import multiprocessing as m\npool = m.get_context('fork').Pool(3)\nfor p in pool._pool: print(p.pid)",
    "pool of spawns": "import multiprocessing as m\npool = m.get_context('spawn').Pool(2)\nfor p in pool._pool: print(p.pid)",
    "executor": "from concurrent.futures import ProcessPoolExecutor\nx = ProcessPoolExecutor(2)\nprint(x.submit(os.getpid).result())",
    "daemon": f"subprocess.run([sys.executable, '-c', {DAEMON!r}])",
    "daemon without environment": f"subprocess.run([sys.executable, '-c', {DAEMON!r}], env={{}})",
    "ignores SIGTERM": f"p = subprocess.Popen(['sh', '-c', {STUBBORN!r}])",
    "ignores SIGTERM, session of its own": f"p = subprocess.Popen(['sh', '-c', {STUBBORN!r}], start_new_session=True)",
    "stopped": "p = subprocess.Popen(['sleep', '1000'], start_new_session=True); p.send_signal(signal.SIGSTOP); print(p.pid)",
}
#: What the worker does when the end comes.
DOING = {
    "idle": "",
    "sleeping": "time.sleep(1000)",
    "holding the GIL": "sum(range(10**15))",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
}


def shutdown(kernel: Kernel, client: Client) -> None:
    client.send("shutdown_request", {"restart": False}, channel="control")


def restart(kernel: Kernel, client: Client) -> None:
    client.send("shutdown_request", {"restart": True}, channel="control")


def terminate(kernel: Kernel, client: Client) -> None:
    kernel.process.send_signal(signal.SIGTERM)


def kill(kernel: Kernel, client: Client) -> None:
    kernel.process.kill()


ENDS: dict[str, Callable[[Kernel, Client], None]] = {
    "shutdown": shutdown,
    "restart": restart,
    "SIGTERM": terminate,
    "SIGKILL": kill,
}


def start_descendants(client: Client, what: str) -> list[psutil.Process]:
    """Has a cell start something; returns the processes when they run."""
    client.execute(IMPORTS)
    cell = client.execute(DESCENDANTS[what])
    assert cell.status == "ok", cell.reply
    client.wait_until(lambda: bool(cell.text()) or what == "nothing")
    return [psutil.Process(int(pid)) for pid in cell.text().split()]


def worker(client: Client) -> psutil.Process:
    """The worker's process."""
    return psutil.Process(int(client.evaluate("__import__('os').getpid()")))


def occupy(client: Client, doing: str) -> None:
    """Has a cell do something without end."""
    if DOING[doing]:
        cell = client.start(f"print('begun')\n{DOING[doing]}")
        client.wait_text(cell, "begun")


def check_gone(kernel: Kernel, family: list[psutil.Process], status: int) -> None:
    """The kernel and everything that belonged to it has ended."""
    assert kernel.wait() == status
    left = wait_gone(family, TIMEOUT)
    assert not left, left


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("what", DESCENDANTS)
def test_descendants(start_kernel: StartKernel, what: str, end: str) -> None:
    kernel = start_kernel()
    client = kernel.connect()
    family = [*start_descendants(client, what), worker(client)]
    assert all(p.is_running() for p in family)
    if end == "SIGKILL" and what == "daemon without environment":
        # Nothing tells any more that it was ours, once the one is dead that has adopted it.
        family.pop(0).kill()
    at = time.perf_counter()
    ENDS[end](kernel, client)
    check_gone(kernel, family, -signal.SIGKILL if end == "SIGKILL" else 0)
    assert time.perf_counter() - at < TIMEOUT


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("doing", [name for name in DOING if DOING[name]])
def test_descendants_of_a_busy_worker(start_kernel: StartKernel, doing: str, end: str) -> None:
    """Also when it cannot do anything about them."""
    kernel = start_kernel()
    client = kernel.connect()
    family = [*start_descendants(client, "daemon"), *start_descendants(client, "subprocess"), worker(client)]
    occupy(client, doing)
    ENDS[end](kernel, client)
    check_gone(kernel, family, -signal.SIGKILL if end == "SIGKILL" else 0)


@pytest.fixture
def launcher() -> Iterator[subprocess.Popen[bytes]]:
    """A process that a kernel takes for the one that started it."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("doing", DOING)
def test_the_launcher_dies(start_kernel: StartKernel, launcher: subprocess.Popen[bytes], doing: str) -> None:
    kernel = start_kernel(launcher=launcher.pid)
    client = kernel.connect()
    family = [*start_descendants(client, "daemon"), *start_descendants(client, "ignores SIGTERM"), worker(client)]
    occupy(client, doing)
    launcher.kill()
    check_gone(kernel, family, 0)


def test_what_a_dead_worker_has_started_ends_with_the_kernel(start_kernel: StartKernel) -> None:
    """What has left the process group lives on until then, as it may be meant to."""
    kernel = start_kernel()
    client = kernel.connect()
    daemon = start_descendants(client, "daemon")
    (child,) = start_descendants(client, "subprocess")
    assert client.execute("os._exit(1)").error == "WorkerDied"
    psutil.wait_procs([child], TIMEOUT)
    assert not child.is_running()
    assert client.execute("1").status == "ok"
    assert daemon[0].is_running()
    shutdown(kernel, client)
    check_gone(kernel, daemon, 0)


@pytest.mark.parametrize("count", [1, 50])
def test_orphans_are_reaped(start_kernel: StartKernel, count: int) -> None:
    """The supervisor adopts what a cell's programs leave behind, and no zombie stays."""
    # A snapshot is a zombie, too, for the moment before it is reaped.
    kernel = start_kernel(env={"IPYMINI_SNAPSHOTS": "off"})
    client = kernel.connect()
    client.execute(IMPORTS)
    os.mkfifo(kernel.folder / "gate")
    cell = client.execute(
        f"for _ in range({count}): subprocess.run(['sh', '-c', '(read line < gate) > /dev/null 2>&1 & echo $!'])"
    )
    client.wait_until(lambda: len(cell.text().split()) == count)
    orphans = [psutil.Process(int(pid)) for pid in cell.text().split()]
    assert {orphan.ppid() for orphan in orphans} == {kernel.process.pid}
    # Open until they have ended: one that has not come to its `read` yet would find nobody, and wait for ever.
    with open(kernel.folder / "gate", "w") as gate:
        gate.write("go\n" * count)
        gate.flush()
        _, left = psutil.wait_procs(orphans, TIMEOUT)
    assert not left, left  # a zombie would count as one that is left
    states = [p.status() for p in psutil.Process(kernel.process.pid).children(recursive=True)]
    assert psutil.STATUS_ZOMBIE not in states
    assert client.execute("subprocess.run(['true']).returncode").result == "0"  # the worker's own are its own


@pytest.mark.parametrize("end", ["shutdown", "SIGTERM"])
@pytest.mark.parametrize("doing", ["idle", "sleeping"])
def test_exit_handlers_run_and_their_output_arrives(start_kernel: StartKernel, doing: str, end: str) -> None:
    kernel = start_kernel(env={"IPYMINI_SHUTDOWN_GRACE": "15"})
    client = kernel.connect()
    client.execute(
        f"{IMPORTS}\nclass Last:\n    def __del__(self): os.write(1, b'del\\n')\nlast = Last()\n"
        "@atexit.register\ndef at_end():\n"
        "    print('python'); os.write(1, b'native\\n'); subprocess.run(['echo', 'program']); libc.puts(b'C')"
    )
    occupy(client, doing)
    begun = len(client.messages)
    ENDS[end](kernel, client)
    wanted = {"python", "native", "program", "C"}

    def text() -> str:
        streams = [m["content"]["text"] for _, m in client.messages[begun:] if m["msg_type"] == "stream"]
        return "".join(streams)

    client.wait_until(lambda: wanted <= set(text().split()))
    assert kernel.wait() == 0


@pytest.mark.parametrize("what", ["worker", "descendant", "exit handler", "thread"])
def test_the_grace(start_kernel: StartKernel, what: str) -> None:
    """What does not end in half of it is killed, and the whole of it is all that a shutdown takes."""
    kernel = start_kernel(env={"IPYMINI_SHUTDOWN_GRACE": "1"})
    client = kernel.connect()
    family = [worker(client)]
    client.execute(IMPORTS)
    if what == "worker":
        occupy(client, "holding the GIL")
    elif what == "descendant":
        family += start_descendants(client, "ignores SIGTERM, session of its own")
    elif what == "exit handler":
        client.execute("atexit.register(time.sleep, 1000)")
    else:
        client.execute("threading.Thread(target=time.sleep, args=(1000,)).start()")
    at = time.perf_counter()
    shutdown(kernel, client)
    check_gone(kernel, family, 0)
    assert time.perf_counter() - at < TIMEOUT


def test_an_exit_handler_has_its_time(start_kernel: StartKernel) -> None:
    """It may take longer than it could without the setting."""
    kernel = start_kernel(env={"IPYMINI_SHUTDOWN_GRACE": "30"})
    client = kernel.connect()
    client.execute(f"{IMPORTS}\natexit.register(lambda: (time.sleep(3), open('done', 'w').close()))")
    shutdown(kernel, client)
    assert kernel.wait() == 0
    assert (kernel.folder / "done").exists()


def test_a_second_shutdown_changes_nothing(start_kernel: StartKernel) -> None:
    kernel = start_kernel(env={"IPYMINI_SHUTDOWN_GRACE": "15"})
    client = kernel.connect()
    client.execute(f"{IMPORTS}\natexit.register(lambda: (time.sleep(0.5), open('done', 'w').close()))")
    for _ in range(3):
        shutdown(kernel, client)
    terminate(kernel, client)
    assert kernel.wait() == 0
    assert (kernel.folder / "done").exists()


def test_a_shutdown_while_the_worker_is_being_replaced(start_kernel: StartKernel) -> None:
    kernel = start_kernel()
    client = kernel.connect()
    client.execute(IMPORTS)
    assert client.execute("os._exit(1)").error == "WorkerDied"
    cell = client.start("1")
    shutdown(kernel, client)
    assert client.finish(cell).status in ("aborted", "ok", "error")
    assert kernel.wait() == 0
