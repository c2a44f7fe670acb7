"""Two thousand faults in a row against one kernel, which is at the end what it was at the beginning."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections import Counter
from contextlib import suppress
from itertools import combinations

import psutil
import pytest

from .client import TIMEOUT, Client, Run
from .conftest import StartKernel
from .faults import FAULTS
from .kernels import Kernel, below, marked
from .sessions import settle

SEED = 20240229
FAULTS_IN_ALL = 2000
#: After so many, everything that is made once has been made.
WARM = 100
#: Bytes by which the supervisor may grow in all, after the first two hundreds. The system keeps at times what the largest
#: messages took that have waited at once; what is never given back shows in the slope of the line that most of all pairs
#: of moments agree on.
GROWTH = 3 << 20

#: What may become of a cell with a fault, before or behind which an interrupt, or an error, may come.
OUTCOMES = {"WorkerDied", "KeyboardInterrupt", "aborted"}

#: What the faults below need, of what `IMPORTS` has.
PREPARE = """
import ctypes, os, mmap, platform, signal, stat, subprocess, sys, threading, time
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def pipes_of_others(kinds):
    "The link, whose numbers are high, and pipes that the worker has."
    for fd in range(3, 300):
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            continue
        if any(kind(mode) for kind in kinds):
            yield fd
def spoil(fd, data):
    try: os.write(fd, data)
    except OSError: pass
"""
#: Those that need little time of their own.
DEADLY = [
    "null pointer",
    "division in C",
    "illegal instruction",
    "abort",
    "double free",
    "os._exit(3)",
    "os._exit(0)",
    "exit() in C",
    "another program",
    "SIGKILL",
    "SIGKILL to the group",
    "a signal without a name",
    "descriptors closed",
    "garbage",
    "zeros",
]
#: In the midst of a large message they would be taken for a part of it.
NOISY = ("garbage", "zeros")
#: Where each of them happens.
PLACES = {
    "cell": "print('before')\ndie()",
    "thread": "print('before')\nthreading.Thread(target=die).start()\ntime.sleep(1000)",
    "task": "import asyncio\nprint('before')\nasync def later(): die()\nasyncio.create_task(later()); await asyncio.sleep(1000)",
    "repr": "print('before')\nclass Mortal:\n    def _repr_html_(self): die()\nMortal()",
    "after much output": "print('before')\nfor i in range(300): print(i)\ndie()",
    "in a large message": "from IPython.display import display\nprint('before')\n"
    "threading.Thread(target=die).start()\nwhile True: display({'text/plain': 'x' * 1_000_000}, raw=True)",
    "with children": "print('before')\np = subprocess.Popen(['sleep', '1000'])\n"
    "q = subprocess.Popen(['sleep', '0.1'], start_new_session=True)\ndie()",
}
#: What comes behind a fault, in the same breath: the type of the request, its content, its channel.
BEHIND = [
    ("execute_request", {"code": "print('behind')", "silent": False, "stop_on_error": True}, "shell"),
    ("execute_request", {"code": "1 / 0", "silent": False, "stop_on_error": False}, "shell"),
    ("complete_request", {"code": "zi", "cursor_pos": 2}, "shell"),
    ("inspect_request", {"code": "print", "cursor_pos": 5, "detail_level": 0}, "shell"),
    ("is_complete_request", {"code": "1"}, "shell"),
    ("kernel_info_request", {}, "shell"),
    ("kernel_info_request", {}, "control"),
    ("comm_info_request", {}, "shell"),
    ("comm_msg", {"comm_id": "nobody", "data": {}}, "shell"),
    ("worker_state_request", {"stack": True}, "control"),
    ("interrupt_request", {}, "control"),
]


class Belongings:
    """What the supervisor has: to be the same before and after."""

    def __init__(self, kernel: Kernel) -> None:
        process = psutil.Process(kernel.process.pid)
        self.descriptors = []
        for fd in os.listdir(f"/proc/{process.pid}/fd"):
            with suppress(FileNotFoundError):  # that of a snapshot that another one has just taken the place of
                self.descriptors.append(os.readlink(f"/proc/{process.pid}/fd/{fd}")[:6])
        self.descriptors.sort()
        self.threads = process.num_threads()
        self.memory = process.memory_info().rss
        self.children = len(process.children())

    def __str__(self) -> str:
        return f"{len(self.descriptors)} descriptors, {self.threads} threads, {self.memory / 2**20:.1f} MiB"


def quiet(client: Client, kernel: Kernel) -> Belongings:
    """What the supervisor has when nothing happens and nothing is left of the faults."""
    assert client.execute("1").status == "ok"
    settle(client)
    _, left = psutil.wait_procs(below(kernel.process.pid, "sleep"), TIMEOUT)
    assert not left
    return Belongings(kernel)


def ask(client: Client, dice: random.Random, name: str, place: str) -> tuple[Run, list[Run]]:
    """One fault, with something before and behind it; returns its cell, and all that was asked."""
    runs = []
    if dice.random() < 0.2:
        harmless = dice.choice(["1", "1 / 0", "print('ok')", "import sys; sys.exit(1)"])
        runs.append(client.start(harmless, stop_on_error=False))
    cell = client.start(f"{PREPARE}\n{FAULTS[name].define()}\n{PLACES[place]}")
    runs.append(cell)
    for kind, content, channel in dice.choices(BEHIND, k=dice.choice([0, 0, 1, 2, 5])):
        runs.append(client.send(kind, content, channel=channel))
    return cell, runs


def outcome(cell: Run) -> str:
    """How the cell with the fault ended."""
    if cell.status != "error":
        return cell.status
    told = [content["ename"] for content in cell.contents("error")]
    if told == ["KeyboardInterrupt", "WorkerDied"]:  # one after the other: the interrupt was shown, and then it died
        return told[-1]
    return cell.error


def let_go(client: Client, runs: list[Run]) -> None:
    """Looks once more at what is over, for what may have come late, and keeps no more of it than that needs."""
    for run in runs:
        run.check()
        run.published = [m for m in run.published if m["msg_type"] == "status"]
    client.messages.clear()


def slope(sizes: list[int]) -> float:
    """How much larger each is than the one before, by the median of all pairs (Theil and Sen)."""
    pairs = combinations(enumerate(sizes), 2)
    return statistics.median((later - earlier) / (b - a) for (a, earlier), (b, later) in pairs)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_2000_faults_in_a_row(start_kernel: StartKernel) -> None:
    """Each request has its one reply, one busy and one idle; the supervisor is none the worse."""
    dice = random.Random(SEED)
    kernel = start_kernel()
    client = kernel.connect(validate=False)
    client.execute("print('x' * 1_000_000)")  # the first large message makes a thread of pyzmq's
    outcomes: Counter[str] = Counter()
    asked: list[Run] = []
    before, last = None, ""
    memory: list[int] = []
    begun = time.perf_counter()
    for number in range(1, FAULTS_IN_ALL + 1):
        name, place = dice.choice(DEADLY), dice.choice(list(PLACES))
        if place == "in a large message" and name in NOISY:
            place = "cell"
        cell, runs = ask(client, dice, name, place)
        for run in runs:
            client.finish(run)  # which counts
        asked += runs
        outcomes[outcome(cell)] += 1
        assert outcome(cell) in OUTCOMES, f"{number}: {name}, {place}; {last}\n{cell.traceback}\n{cell.published}"
        if cell.status == "error" and not any(r.request["msg_type"] == "interrupt_request" for r in runs):
            reply = cell.reply
            assert reply["ename"] == "WorkerDied", f"{number}: {name}, {place}; {last}\n{cell.traceback}"
            assert FAULTS[name].tells(reply["evalue"], reply["execution_count"]), (number, name, place, reply)
            assert cell.text().startswith("before\n"), f"{number}: {name}, {place}; {last}\n{cell.published}"
        last = f"the last one was {name}, {place}, and ended with {outcome(cell)}"
        if number % 10 == 0:
            assert client.execute("import os; print(os.getppid())").text() == f"{kernel.process.pid}\n"
        if number % 100 == 0:
            let_go(client, asked)
            now = Belongings(kernel)
            memory.append(now.memory)
            print(f"{number}: {time.perf_counter() - begun:.0f} s, {now}", flush=True)
        if number == WARM:
            before = quiet(client, kernel)
    after = quiet(client, kernel)
    let_go(client, asked)
    print(f"{len(asked)} requests, {dict(outcomes)}; before: {before}; after: {after}")
    assert before is not None
    assert after.descriptors == before.descriptors
    assert after.threads == before.threads
    assert after.children == before.children
    assert slope(memory[1:]) * (len(memory) - 2) < GROWTH, [f"{size / 2**20:.1f}" for size in memory]
    assert outcomes["WorkerDied"] > 0.9 * FAULTS_IN_ALL
    kernel.stop()
    assert marked(kernel.mark) == []
