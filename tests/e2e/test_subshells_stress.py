"""Many cells in many subshells, with interrupts and a crash: each is answered once, and has its own output."""

from __future__ import annotations

import random
import time

import pytest

from .client import Client, Run

SHELLS, ROUNDS, CELLS = 8, 20, 10
SEED = 91
#: A line, some work of a kind, and another line; all of them can be interrupted.
BODIES = ("sum(range(20_000))", "await asyncio.sleep(0.001)", "time.sleep(0.001)", "os.getpid()", "display(7)")
ENDS = {"KeyboardInterrupt", "WorkerDied"}


def cell(number: int, body: str) -> str:
    return f"print('begin {number}')\n{body}\nprint('end {number}')\n{number}"


def check(run: Run, number: int) -> str:
    """What has come of a cell; nothing of any other is in it."""
    lines = run.text().splitlines()
    whole = [f"begin {number}", f"end {number}"]
    run.check()
    if run.status == "ok":
        assert lines == whole, run
        assert run.result == str(number)
    elif run.status == "error":
        assert run.error in ENDS, run
        assert lines == whole[: len(lines)], run
    else:
        assert not run.types, run
    return run.status


@pytest.mark.slow
def test_eight_subshells(client: Client) -> None:
    chance = random.Random(SEED)
    begun = time.perf_counter()
    client.execute("import asyncio, os, time, ctypes\nfrom IPython.display import display\nkept = 'kept'")
    shells = [client.new_subshell() for _ in range(SHELLS)]
    statuses: list[str] = []
    for turn in range(ROUNDS):
        runs: dict[int, Run] = {}
        for number in range(turn * SHELLS * CELLS, (turn + 1) * SHELLS * CELLS):
            runs[number] = client.start(cell(number, chance.choice(BODIES)), subshell=shells[number % SHELLS])
        for _ in range(3 if turn % 2 else 0):
            client.interrupt(chance.choice(shells))
        if turn == ROUNDS // 2:
            crash = client.start("ctypes.string_at(0)", subshell=chance.choice(shells), stop_on_error=False)
            assert client.finish(crash, 60).status in ("error", "aborted")
        statuses += [check(client.finish(run, 60), number) for number, run in runs.items()]
    assert len(statuses) == SHELLS * ROUNDS * CELLS
    assert statuses.count("ok") > len(statuses) // 2
    assert client.ask("list_subshell_request", channel="control").reply["subshell_id"] == shells
    for name in shells:
        assert client.execute("kept", subshell=name).result == "'kept'"
    counts = {status: statuses.count(status) for status in sorted(set(statuses))}
    print(f"{counts} in {time.perf_counter() - begun:.1f} s")
