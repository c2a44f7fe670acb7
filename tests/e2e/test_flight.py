"""The flight record of a running kernel, and what the next one says about its end."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from .client import TIMEOUT
from .conftest import StartKernel
from .kernels import assert_gone
from .sessions import run


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def wait_entry(path: Path, wanted: dict[str, Any]) -> None:
    """Waits until an entry has been written: that is done beside everything else."""
    deadline = time.monotonic() + TIMEOUT
    while not [entry for entry in entries(path) if wanted.items() <= entry.items()]:
        assert time.monotonic() < deadline, path.read_text()


def test_next_kernel_tells_what_the_last_one_was_doing_when_it_was_killed(
    start_kernel: StartKernel, tmp_path: Path
) -> None:
    path = tmp_path / "record.jsonl"
    env = {"IPYMINI_FLIGHT_RECORDER": str(path)}
    first = start_kernel(env=env)
    client = first.connect()
    run(client, "secret = 1")
    cell = client.start("print('begun'); input()")
    client.wait_text(cell, "begun")
    wait_entry(path, {"event": "started", "cell": 2})
    first.process.kill()
    first.process.wait()
    assert_gone(first.mark)
    recorded = entries(path)
    assert "secret" not in path.read_text()
    assert {"event": "started", "cell": 2}.items() <= recorded[-1].items() or recorded[-1]["event"] == "memory"
    (reply,) = [entry for entry in recorded if entry["event"] == "reply" and entry["msg_type"] == "execute_request"]
    assert (reply["status"], reply["cpu_seconds"] is None) == ("ok", not os.path.exists("/proc/self/stat"))

    second = start_kernel(env=env)
    assert second.connect().execute("import os; os._exit(3)").error == "WorkerDied"
    said = r"WARNING: The previous kernel on this record ended without saying goodbye while executing In\[2\]"
    assert len(re.findall(said, second.log)) == 1
    second.stop()
    recorded = entries(path)
    assert recorded[-1]["event"] == "end"
    (death,) = [entry for entry in recorded if entry.get("facts", {}).get("status") == 3]
    assert death["message"] == "The worker ended with exit status 3 in cell [1]."

    third = start_kernel(env=env)
    run(third.connect(), "1")
    assert third.log == ""


def test_kernel_that_is_told_to_end_says_goodbye(start_kernel: StartKernel, tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    kernel = start_kernel(env={"IPYMINI_FLIGHT_RECORDER": str(path), "IPYMINI_FLIGHT_RECORDER_CODE": "1"})
    client = kernel.connect()
    cell = client.start("print('begun'); input()")
    client.wait_text(cell, "begun")
    kernel.process.send_signal(signal.SIGTERM)
    kernel.wait()
    recorded = entries(path)
    assert recorded[-1]["event"] == "end"
    assert [entry["code"] for entry in recorded if "code" in entry] == ["print('begun'); input()"]


def test_pipe_that_nobody_reads_holds_nobody(start_kernel: StartKernel, tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    os.mkfifo(path)
    kernel = start_kernel(env={"IPYMINI_FLIGHT_RECORDER": str(path), "IPYMINI_FLIGHT_RECORDER_SIZE": "4"})
    run(kernel.connect(), "1")
    log = kernel.log
    assert f"IPYMINI_FLIGHT_RECORDER names {path}, which cannot be used" in log
    assert (
        "IPYMINI_FLIGHT_RECORDER_SIZE is '4'; it has to be a size of 64K or more, such as 4M, and is left out." in log
    )


#: A supervisor whose disk lets the thread that writes the record wait for ever.
_HANGS = """\
import os, signal, sys, threading
from ipymini_supervisor.cli import main
def waits(name):
    does = getattr(os, name)
    def wait(*arguments):
        if threading.current_thread().name == "flight-recorder":
            while True:
                signal.pause()
        return does(*arguments)
    setattr(os, name, wait)
waits("write" if sys.argv.pop(1) == "write" else "open")
sys.exit(main())
"""


@pytest.mark.parametrize("what", ["open", "write"])
def test_disk_that_hangs_holds_no_kernel(start_kernel: StartKernel, tmp_path: Path, what: str) -> None:
    path = tmp_path / "record.jsonl"
    env = {"IPYMINI_FLIGHT_RECORDER": str(path)}
    kernel = start_kernel(command=(sys.executable, "-c", _HANGS, what), env=env)
    client = kernel.connect()
    assert run(client, "6 * 7").result == "42"
    assert client.execute("import os; os._exit(3)").error == "WorkerDied"
    assert client.beat() == b"ping"
    kernel.process.send_signal(signal.SIGTERM)
    assert kernel.wait() == 0
    assert kernel.log.count(f"The end of the flight record is missing: {path} takes nothing.") == 1
