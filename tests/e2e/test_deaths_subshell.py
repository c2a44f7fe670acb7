"""The table of faults and moments, the part in which a cell of a subshell takes the worker with it."""

from __future__ import annotations

import pytest

from .client import Client
from .deaths import Scene
from .faults import FAULTS
from .kernels import Kernel

#: Without snapshots: what happens when there is nothing to go back to.
ENVIRONMENT = {"IPYMINI_SNAPSHOTS": "off"}


@pytest.mark.parametrize("name", FAULTS)
def test_death_in_a_subshell(kernel: Kernel, client: Client, name: str) -> None:
    """The main shell's cell gets the same error, and the subshell is there for the next cell."""
    scene = Scene(kernel, client, name)
    subshell = client.new_subshell()
    main = client.start("print('main')\ntime.sleep(1000)", stop_on_error=False)
    client.wait_text(main, "main")
    cell = client.start("print('before')\ndie()", subshell=subshell)
    for run in (cell, main):
        client.finish(run)
        assert run.error == "WorkerDied"
    assert scene.fault.tells(cell.reply["evalue"], cell.reply["execution_count"]), cell.reply["evalue"]
    assert cell.text().startswith("before\n")
    scene.wait_reborn()
    scene.check_lives()
    assert client.execute("6 * 7", subshell=subshell).result == "42"
    client.ask("delete_subshell_request", {"subshell_id": subshell}, channel="control")
