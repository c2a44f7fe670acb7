"""What a cell has taken, as its reply tells."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

import pytest

from .client import Client, Run
from .conftest import StartKernel
from .sessions import run

MIB = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only times are known")


def account(cell: Run) -> dict[str, Any]:
    (reply,) = cell.replies
    metadata = reply["metadata"]
    # What ipykernel says, and clients know.
    assert metadata["dependencies_met"] is True
    assert metadata["engine"] == reply["header"]["session"]
    assert metadata["status"] == cell.status
    found: dict[str, Any] = metadata["ipymini"]
    return found


def times(cell: Run) -> list[datetime]:
    found = account(cell)
    return [datetime.fromisoformat(str(found[name])) for name in ("queued", "started", "ended")]


def test_times_are_in_order_and_a_cell_waits_for_the_one_before(client: Client) -> None:
    first = client.start("print('begun'); input()")
    question = client.wait_question(first)
    second = client.start("1")
    client.ask("kernel_info_request")  # by now it is queued
    client.answer(question, "")
    client.finish(first)
    client.finish(second)
    queued, started, ended = times(first)
    assert queued <= started < ended
    again, begun, over = times(second)
    assert again < ended <= begun < over
    assert all(moment.utcoffset() is not None for moment in (queued, started, ended))


@linux
def test_cpu_and_memory_are_those_of_the_cell(start_kernel: StartKernel) -> None:
    client = start_kernel().connect()
    run(client, "import time, subprocess, sys")
    burn = "end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    busy = account(run(client, burn))
    assert busy["cpu_seconds"] >= 0.3
    child = account(
        run(client, f"subprocess.run([sys.executable, '-c', {f'import time{chr(10)}{burn}'!r}], check=True)")
    )
    assert child["cpu_seconds"] >= 0.25  # the system counts in hundredths, and leaves out what has just begun
    idle = account(run(client, "time.sleep(0.3)"))
    assert idle["cpu_seconds"] < busy["cpu_seconds"]
    large = account(run(client, "len(bytearray(b'x') * (200 << 20))"))
    assert large["peak_memory"] > 200 * MIB
    assert idle["peak_memory"] < 200 * MIB


def test_cell_that_dies_or_is_aborted_has_its_times(start_kernel: StartKernel) -> None:
    client = start_kernel().connect()
    cells = [client.start("input(); import os; os._exit(1)")]
    question = client.wait_question(cells[0])
    cells.append(client.start("1"))
    client.ask("kernel_info_request")  # by then it has arrived
    client.answer(question, "")
    for cell in cells:
        client.finish(cell)
    died, aborted = map(account, cells)
    assert cells[1].status == "aborted"
    assert None not in (died["queued"], died["started"], died["ended"], aborted["queued"], aborted["ended"])
    assert aborted["started"] is None
    assert (died["cpu_seconds"], died["peak_memory"], aborted["cpu_seconds"]) == (None, None, None)
    assert account(run(client, "1"))["ended"]


def test_other_replies_have_no_account(client: Client) -> None:
    for msg_type, content in (("complete_request", {"code": "", "cursor_pos": 0}), ("kernel_info_request", {})):
        assert "ipymini" not in client.ask(msg_type, content).replies[0]["metadata"]
