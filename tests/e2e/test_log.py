"""The log of a running kernel, as programs read it."""

from __future__ import annotations

import json

from .conftest import StartKernel
from .sessions import run


def test_every_line_of_the_log_is_an_object(start_kernel: StartKernel) -> None:
    kernel = start_kernel(env={"IPYMINI_LOG_FORMAT": "json", "IPYMINI_LOG_LEVEL": "INFO"})
    client = kernel.connect()
    cell = client.execute("import os; os._exit(3)")
    run(client, "1")
    kernel.stop()
    entries = [json.loads(line) for line in kernel.log.splitlines()]
    assert {entry["kernel"] for entry in entries} == {kernel.mark}
    messages = [entry["message"] for entry in entries]
    assert messages[0] == "The kernel has started."
    assert messages[-1] == "The kernel has ended."
    (death,) = [entry for entry in entries if entry["message"] == cell.reply["evalue"]]
    assert (death["level"], death["facts"]["status"]) == ("ERROR", 3)
