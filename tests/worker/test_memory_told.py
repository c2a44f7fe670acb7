"""A worker whose memory runs out is asked for its largest variables, and its cell says why it was interrupted."""

from __future__ import annotations

import select

import pytest

from ipymini_worker.wire import Kind
from worker.driver import PATIENCE, Worker

SENTENCE = "The cell was interrupted, because the kernel uses 3.7 GiB of 4.0 GiB allowed (IPYMINI_MEMORY_LIMIT)."


def largest(worker: Worker, request: int, sentence: str = SENTENCE) -> str:
    """What the worker answers."""
    control = worker.process.control
    control.send(Kind.MEMORY, request, (sentence.encode(),))
    while True:
        poll = select.poll()
        poll.register(control.fileno(), select.POLLIN)
        assert poll.poll(PATIENCE * 1000)
        for frame in control.receive():
            if frame.kind is Kind.LARGEST:
                assert frame.request == request
                return bytes(frame.parts[0]).decode()


CELLS = {
    "busy loop": "print('ready')\nwhile True: pass",
    "sleep": "import time\nprint('ready')\ntime.sleep(1000)",
    "await": "import asyncio\nprint('ready')\nawait asyncio.sleep(1000)",
}


@pytest.mark.parametrize("code", CELLS.values(), ids=CELLS)
def test_largest_variables_are_named_while_the_cell_runs_and_it_says_why(worker: Worker, code: str) -> None:
    worker.good("large = bytearray(50 << 20)")
    request = worker.start(code)
    worker.wait(lambda: any(event.request == request and event.type == "stdout" for event in worker.events))
    lines = largest(worker, request).splitlines()
    assert lines[0] == "The largest variables:"
    assert lines[1].split() == ["large", "bytearray", "50.0", "MiB"]
    worker.interrupt()
    answer = worker.answer(request)
    assert answer.failure == ("KeyboardInterrupt", SENTENCE)
    assert SENTENCE in answer.content["traceback"][-1]
    worker.good("del large")


def test_next_interrupt_is_not_for_memory(worker: Worker) -> None:
    for sentence in ("", None):
        request = worker.start(CELLS["busy loop"])
        worker.wait(lambda: any(e.request == request and e.type == "stdout" for e in worker.events))  # noqa: B023
        if sentence is not None:
            largest(worker, request)
            worker.process.control.send(Kind.MEMORY, request, (b"",))
        worker.interrupt()
        assert worker.answer(request).failure == ("KeyboardInterrupt", "")


def test_what_cannot_be_measured_is_no_error(worker: Worker) -> None:
    worker.good("class Odd:\n    def __getattribute__(self, name): raise SystemExit(name)\nodd = Odd(); __builtins__")
    request = worker.start(CELLS["busy loop"])
    assert largest(worker, request).splitlines()[0] in ("No variable is large.", "The largest variables:")
    worker.interrupt()
    worker.answer(request)
    worker.good("del odd, Odd")
