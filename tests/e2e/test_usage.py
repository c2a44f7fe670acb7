"""What the kernel uses, as clients ask for it: true for all of its processes, and whatever the worker does."""

from __future__ import annotations

import os
import signal
import socket
import sys

import psutil
import pytest

from .client import Client
from .conftest import StartKernel
from .sessions import run, settle, worker

#: What ipykernel 7 answers, and jupyter-resource-usage shows.
FIELDS = {
    *("hostname", "pid", "kernel_cpu", "kernel_memory", "cpu_count", "host_cpu_percent", "host_virtual_memory"),
    "cpu_percent",
}
MIB = 1 << 20


def usage(client: Client) -> dict[str, object]:
    return client.ask("usage_request", channel="control").reply


def memory(client: Client) -> float:
    """In MiB."""
    settle(client)  # a copy that is being made has its share in what is there
    size = usage(client)["kernel_memory"]
    assert isinstance(size, int)
    return size / MIB


def test_fields_are_those_that_clients_show(start_kernel: StartKernel) -> None:
    kernel = start_kernel()
    client = kernel.connect()
    run(client, "1")
    first = usage(client)
    assert first.keys() == FIELDS | {"status"}
    assert (first["hostname"], first["pid"]) == (socket.gethostname(), kernel.process.pid)
    assert first["cpu_count"] == psutil.cpu_count()
    machine = psutil.virtual_memory()
    assert isinstance(first["host_virtual_memory"], dict)
    assert first["host_virtual_memory"].keys() == machine._asdict().keys()
    assert first["host_virtual_memory"]["total"] == machine.total
    run(client, "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass")
    again = usage(client)
    assert isinstance(again["kernel_cpu"], float)
    assert again["kernel_cpu"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere shared pages count in each process")
def test_memory_is_that_of_all_processes_and_what_they_share_counts_once(start_kernel: StartKernel) -> None:
    client = start_kernel().connect()
    run(client, "import os, signal, subprocess, sys\ndata = bytearray(b'x') * (100 << 20)")
    alone = memory(client)
    assert alone > 100
    run(
        client,
        "pids = []\nfor _ in range(4):\n    pid = os.fork()\n    if not pid: signal.pause()\n    pids.append(pid)",
    )
    assert memory(client) < alone + 100
    run(client, "for pid in pids: os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)")
    code = "import os; data = bytearray(b'x') * (150 << 20); print(flush=True); os.read(0, 1)"
    run(
        client,
        f"child = subprocess.Popen([sys.executable, '-c', {code!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()",
    )
    assert memory(client) > alone + 100
    run(client, "child.communicate()")


@pytest.mark.skipif(sys.platform != "linux", reason="stops a process")
def test_it_is_answered_while_the_worker_hangs(start_kernel: StartKernel) -> None:
    client = start_kernel().connect()
    run(client, "data = bytearray(b'x') * (100 << 20)")
    settle(client)
    process = worker(client)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        cell = client.start("1")
        assert int(str(usage(client)["kernel_memory"])) > 100 * MIB
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert client.finish(cell).result == "1"
