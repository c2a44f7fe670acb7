"""The commands that look after running kernels, on real ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client.manager import KernelManager

from .client import TIMEOUT, Client
from .conftest import StartKernel
from .kernels import Kernel

#: Of this run: kernels of another one, on the same machine, are found by name as well.
NOTEBOOK = f"/home/somebody/analysis of the year {uuid.uuid4().hex}.ipynb"
ENVIRONMENT = {"JPY_SESSION_NAME": NOTEBOOK}


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command's end."""
    return subprocess.run(["ipymini-supervisor", *arguments], capture_output=True, text=True, timeout=60, check=False)


def command(*arguments: str, status: int = 0) -> str:
    """What the command prints."""
    done = call(*arguments)
    assert done.returncode == status, (arguments, done.stdout, done.stderr)
    if status:
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr
    assert done.stderr == ""
    return done.stdout


def listed(kernel: Kernel) -> dict[str, Any]:
    """What `ps` says of a kernel; others may be running, too."""
    (found,) = [k for k in json.loads(command("ps", "--json")) if k["id"] == kernel.mark]
    return dict(found)


def stack(name: str, *options: str) -> str:
    """What `stack` prints of a kernel; nothing if that gets no processor for so long that it does not answer."""
    done = call("stack", name, *options)
    assert done.returncode in (0, 2), done.stderr
    return done.stdout


def until(look: Callable[[], str], *wanted: str) -> str:
    """What is seen once all that is wanted is in it: a worker that gets no processor is taken for one that hangs."""
    end = time.monotonic() + TIMEOUT
    while True:
        seen = look()
        if all(one in seen for one in wanted):
            return seen
        assert time.monotonic() < end, seen


def test_ps(kernel: Kernel, client: Client) -> None:
    client.execute("1")
    found = json.loads(until(lambda: json.dumps(listed(kernel)), '"state": "idle"'))
    assert (found["pid"], found["state"], found["cell"]) == (kernel.process.pid, "idle", None)
    assert (found["notebook"], found["connection_file"]) == (NOTEBOOK, os.path.realpath(kernel.file))
    assert found["worker_pid"] == kernel.worker().pid
    assert found["memory_bytes"] > 1e6
    assert found["cpu_seconds"] > 0
    assert found["uptime_seconds"] > 0
    assert found["deaths"] == 0
    assert found["snapshots"] >= 1
    (line,) = [line for line in command("ps").splitlines() if str(kernel.process.pid) in line.split()]
    assert line.startswith(kernel.mark[:8])
    assert line.endswith(NOTEBOOK)


@pytest.mark.slow
def test_ps_of_a_cell_that_runs_and_of_one_that_died(start_kernel: StartKernel) -> None:
    kernel = start_kernel()
    client = kernel.connect()
    client.execute("import os; os._exit(1)")
    run = client.start("sum(range(10**15), print('begun') or 0)")
    client.wait_text(run, "begun")
    deadline = time.monotonic() + TIMEOUT
    while (before := listed(kernel))["state"] == "running":  # it comes to the call a moment after it has printed
        assert time.monotonic() < deadline
    assert (before["state"], before["cell"], before["deaths"]) == ("unresponsive", 2, 1)
    assert listed(kernel)["seconds"] > before["seconds"]
    kernel.process.send_signal(signal.SIGSTOP)  # as if it were to answer nothing
    try:
        assert listed(kernel)["state"] == "no answer"
        assert "does not answer" in command("stack", kernel.mark, status=2)
    finally:
        kernel.process.send_signal(signal.SIGCONT)
    command("shutdown", kernel.mark)
    assert kernel.wait() == 0


def test_stack_and_interrupt(kernel: Kernel, client: Client) -> None:
    """By all names that a kernel has."""
    run = client.start("import time\ndef f():\n    print('begun')\n    time.sleep(1000)\nf()")
    client.wait_text(run, "begun")
    lines = until(lambda: stack(kernel.mark[:12]), "running", ", line 4, in f\n").splitlines()
    assert lines[-1].endswith(", line 4, in f")
    where = f"{kernel.mark} {[line.strip() for line in lines[2:]]}"

    def told(name: str) -> str:
        found = json.loads(stack(name, "--json") or "{}")
        return f"{found.get('id')} {found.get('stack')}"

    for name in (str(kernel.process.pid), kernel.file, NOTEBOOK, Path(NOTEBOOK).stem):
        until(partial(told, name), where)
    done = json.loads(command("interrupt", kernel.mark, "--json"))
    assert (done["status"], done["rung"], done["signal"]) == ("ok", 1, "SIGINT")
    assert client.finish(run).error == "KeyboardInterrupt"
    assert "Nothing runs" in command("interrupt", kernel.mark)
    until(lambda: stack(kernel.mark), "idle")


def test_name_of_several_and_of_none(start_kernel: StartKernel) -> None:
    kernels = [start_kernel(env={"JPY_SESSION_NAME": "/x/the same.ipynb"}) for _ in range(2)]
    for kernel in kernels:
        kernel.connect()  # one that does not listen yet cannot say what notebook it belongs to
    said = command("stack", "the same.ipynb", status=2)
    assert all(kernel.mark in said for kernel in kernels)
    assert "There is no kernel" in command("shutdown", "no such kernel", status=2)


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_encrypted(transport: str, tmp_path: Path) -> None:
    manager = KernelManager(
        kernel_name="ipymini",
        transport=transport,
        transport_encryption="required",
        connection_file=str(tmp_path / "kernel-encrypted.json"),
    )
    manager.start_kernel()
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=TIMEOUT)
        until(lambda: stack(manager.connection_file), "idle")
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


def test_shutdown(start_kernel: StartKernel) -> None:
    """With what the kernel has started; the answer comes when all of it has ended."""
    kernel = start_kernel()
    child = int(kernel.connect().execute("import subprocess; subprocess.Popen(['sleep', '1000']).pid").result)
    told = json.loads(command("shutdown", kernel.mark, "--json"))
    assert (told["id"], told["pid"], told["ended"]) == (kernel.mark, kernel.process.pid, True)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    assert kernel.wait() == 0
    assert "does not answer" in command("stack", kernel.file, status=2)


def test_watch(kernel: Kernel, client: Client) -> None:
    client.execute("1")
    arguments = ["ipymini-supervisor", "ps", "--watch", "0.1"]
    with subprocess.Popen([*arguments, "--json"], stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        for _ in range(3):
            assert kernel.mark in [k["id"] for k in json.loads(watch.stdout.readline())]
        watch.send_signal(signal.SIGINT)
        assert watch.wait(TIMEOUT) == 0
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        shares = (line for line in watch.stdout if line.startswith(kernel.mark[:8]) and " % " in line)
        assert next(shares)
        watch.stdout.close()  # whoever read has seen enough
        assert watch.wait(TIMEOUT) == 0
