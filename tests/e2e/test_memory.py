"""Memory that runs short, in a control group whose files the test writes: which snapshots go, and then which cells."""

from __future__ import annotations

import re
import sys
import threading
import time
from pathlib import Path

import pytest

from .client import TIMEOUT, Client, Run
from .conftest import StartKernel
from .kernels import Kernel
from .sessions import ON, crash, run, settle, told, wait_copies

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="control groups")

#: A supervisor that looks for the files of control groups in the folder that is its first argument.
_COMMAND = """
import sys
import threading
import time
from ipymini_supervisor import cgroup
from ipymini_supervisor.cli import main
cgroup._ROOT = sys.argv.pop(1)
sys.exit(main())
"""
#: Bytes that the control group may have: so many that what a snapshot has at once is not worth much, and 30 MB are.
LIMIT = 512 << 20


class Group:
    """A control group of either version."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "memory").mkdir()
        for name, limit in (("memory.max", LIMIT), ("memory/memory.limit_in_bytes", LIMIT)):
            (folder / name).write_text(f"{limit}\n")
        (folder / "memory.stat").write_text("inactive_file 0\n")
        (folder / "memory" / "memory.stat").write_text("total_inactive_file 0\n")
        self.use(LIMIT // 2)

    def use(self, size: int) -> None:
        """So many bytes are used."""
        self._used = size
        for name in ("memory.current", "memory/memory.usage_in_bytes"):
            place = self.folder / name
            new = place.with_name("new")
            new.write_text(f"{size}\n")
            new.replace(place)  # at once, because it may be read at any moment

    def climb(self, size: int) -> None:
        """So many bytes are used by and by: a cell that fills memory faster is killed at once."""
        while self._used < size:
            threading.Event().wait(0.01)
            self.use(min(size, self._used + (2 << 20)))


@pytest.fixture
def group(tmp_path: Path) -> Group:
    folder = tmp_path / "cgroup"
    folder.mkdir()
    return Group(folder)


@pytest.fixture
def kernel(start_kernel: StartKernel, group: Group) -> Kernel:
    env = {**ON, "IPYMINI_LOG_LEVEL": "DEBUG"}
    return start_kernel(env=env, command=[sys.executable, "-c", _COMMAND, str(group.folder)])


@pytest.fixture
def client(kernel: Kernel) -> Client:
    """Of a session with a snapshot that no longer shares much with the worker once `data` has been written."""
    client = kernel.connect()
    run(client, "import mmap, os; data = bytearray(b'x') * (30 << 20)")
    run(client, "total = len('1')")
    settle(client)
    wait_copies(kernel)
    return client


def test_snapshots_go_while_the_cell_that_needs_the_memory_runs(kernel: Kernel, client: Client, group: Group) -> None:
    """First those that are needed least, then that of the session; the cell and all that it has made are kept."""
    group.use(LIMIT - 1)
    cell = client.start("data[:] = b'y' * len(data); input('?')")
    question = client.wait_question(cell)
    wait_copies(kernel, 0)
    group.use(LIMIT // 2)
    client.answer(question, "")
    assert client.finish(cell).status == "ok"
    assert run(client, "total, bytes(data[:1])").result == "(1, b'y')"
    said = re.findall(r"Memory runs short: .*", kernel.log)
    assert [" that are not needed most " in line for line in said] == [True, False], said
    assert re.search(r"the snapshot from before In\[\d\] was given up", said[1])


def test_snapshot_of_the_session_stays_when_it_is_not_worth_much(kernel: Kernel, client: Client, group: Group) -> None:
    """It shares with the worker what that has not written since; and what it has alone when that ends is the session."""
    group.use(LIMIT - 1)
    cell = client.start("input('?'); os._exit(1)")
    question = client.wait_question(cell)
    wait_copies(kernel, 1)
    client.answer(question, "")
    assert client.finish(cell).error == "WorkerDied"
    group.use(LIMIT // 2)  # or whatever runs for some time is interrupted next
    assert run(client, "total, len(data)").result == f"(1, {30 << 20})"
    assert "restarting" not in told(client.messages)


def test_snapshots_stay_while_there_is_memory(kernel: Kernel, client: Client) -> None:
    cell = client.execute("data[:] = b'y' * len(data)")
    assert cell.status == "ok"
    settle(client)
    wait_copies(kernel)
    crash(client)
    assert "Memory runs short" not in kernel.log


#: Takes memory for as long as it is let, and says so when it has begun; too slowly to fill any machine.
GROW = "import time\nmore = []\ndef grow():\n    while True:\n        more.append(bytearray(1 << 20)); time.sleep(0.01)\nprint('begun')\n"
STUBBORN = "while True:\n    try:\n        grow()\n    except KeyboardInterrupt:\n        print('no')\n"
USED = r"\d+ MiB of 512 MiB allowed to its control group {} used, \d+ MiB by this kernel"


def watched(kernel: Kernel, client: Client, code: str) -> Run:
    """A cell that has begun, and that the supervisor has had a first look at."""
    cell = client.start(code)
    client.wait_text(cell, "begun")
    deadline = time.monotonic() + TIMEOUT
    while f"Memory of {cell.request['header']['msg_id']} is watched" not in kernel.log:
        assert time.monotonic() < deadline
    return cell


def test_cell_is_interrupted_before_its_control_group_is_full(kernel: Kernel, client: Client, group: Group) -> None:
    """When snapshots that can be spared are gone."""
    cell = watched(kernel, client, f"{GROW}grow()")
    group.climb(int(0.88 * LIMIT))  # any nearer to the hard mark, the worker may not be given the time to answer
    client.finish(cell)
    assert cell.error == "KeyboardInterrupt"
    assert re.fullmatch(f"The cell was interrupted, because {USED.format('are')}.", cell.reply["evalue"])
    first, second, *rows = cell.text("stderr").splitlines()
    assert (first, second) == (cell.reply["evalue"], "The largest variables:")
    assert sorted(row.split()[0] for row in rows) == ["data", "more"]
    assert kernel.log.index("snapshots that are not needed most were given up") < kernel.log.index(first)
    assert run(client, "total, len(more) > 1").result == "(1, True)"


def test_worker_is_killed_before_its_control_group_is_full(kernel: Kernel, client: Client, group: Group) -> None:
    cell = watched(kernel, client, f"{GROW}{STUBBORN}")
    group.climb(int(0.9 * LIMIT))
    client.wait_text(cell, "no")
    group.climb(int(0.97 * LIMIT))
    client.finish(cell)
    assert cell.error == "WorkerDied"
    sentence = f"The worker was killed in cell [{cell.reply['execution_count']}], because "
    assert cell.reply["evalue"].startswith(sentence)
    assert re.fullmatch(f"{USED.format('were')}.", cell.reply["evalue"].removeprefix(sentence))
    group.use(LIMIT // 2)
    assert run(client, "'more' in globals()").result == "False"


def test_what_others_take_in_the_control_group_ends_no_cell(kernel: Kernel, client: Client, group: Group) -> None:
    cell = watched(kernel, client, "print('begun'); input('?')")
    question = client.wait_question(cell)
    group.use(LIMIT - 1)
    deadline = time.monotonic() + TIMEOUT
    while "Memory runs short" not in kernel.log:  # it was seen
        assert time.monotonic() < deadline
    client.answer(question, "")
    assert client.finish(cell).status == "ok"
    assert cell.text("stderr") == ""
