"""The table of faults, with snapshots: whatever a cell dies of, the session is what it was before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .client import Client
from .faults import FAULTS, IMPORTS
from .kernels import Kernel
from .sessions import ON, THINGS, check_restored, run, told


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel for all tests of this module, which takes snapshots however busy the machine is."""
    kernel = Kernel(tmp_path_factory.mktemp("kernel"), env=ON)
    yield kernel
    kernel.stop()


def prepare(client: Client, name: str) -> None:
    """Has the session make everything, each thing in a cell of its own, and know how to die."""
    run(client, IMPORTS)
    run(client, FAULTS[name].define())
    for thing in THINGS.values():
        run(client, thing.make)


@pytest.mark.parametrize("name", FAULTS)
def test_everything_is_as_it_was(client: Client, name: str) -> None:
    """One error that says so, no other kernel, the next number, and the session of before."""
    prepare(client, name)
    number = run(client, "'kept'").reply["execution_count"] + 1
    code = "\n".join([*(thing.spoil for thing in THINGS.values()), "print('before')", "die()"])
    since = len(client.messages)
    cell = client.execute(code)
    notice = check_restored(cell)
    assert FAULTS[name].tells(cell.reply["evalue"], number), cell.reply["evalue"]
    assert "1 asyncio task goes on." in notice
    assert "before\n" in cell.text()
    ticks = int(cell.text().split()[1])
    check = "\n".join([f"before = {ticks}", *(thing.check for thing in THINGS.values())])
    after = client.execute(f"{check}\nassert In[{number}] == {code!r} and Out[{number - 1}] == 'kept'\n'all'")
    assert after.status == "ok", after.traceback
    assert after.result == "'all'"
    assert after.reply["execution_count"] == number + 1
    assert told(client.messages[since:]) == []
