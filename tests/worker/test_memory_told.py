"""A worker whose memory runs out is asked for its largest variables, and its cell says why it was interrupted."""

from __future__ import annotations

import json
import select

import pytest

from ipymini_worker.wire import OVER, Frame, Kind
from worker.driver import PATIENCE, Worker

SENTENCE = "The cell was interrupted, because the kernel uses 3.7 GiB of 4.0 GiB allowed (IPYMINI_MEMORY_LIMIT)."


def hears(worker: Worker, kind: Kind, request: int) -> Frame:
    """Waits for a frame of a kind about a request on the control socket."""
    control = worker.process.control
    while True:
        poll = select.poll()
        poll.register(control.fileno(), select.POLLIN)
        assert poll.poll(PATIENCE * 1000)
        for frame in control.receive():
            if frame.kind is kind:
                assert frame.request == request
                return frame


def largest(worker: Worker, request: int, sentence: str = SENTENCE) -> str:
    """What the worker answers."""
    worker.process.control.send(Kind.MEMORY, request, (sentence.encode(),))
    return bytes(hears(worker, Kind.LARGEST, request).parts[0]).decode()


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
            worker.process.control.send(Kind.PING, request)
            hears(worker, Kind.PONG, request)  # it has read what came before
        worker.interrupt()
        assert worker.answer(request).failure == ("KeyboardInterrupt", "")


def test_cell_of_a_subshell_says_why_it_was_interrupted_and_no_other(worker: Worker) -> None:
    """The bug: the cell of the main shell said it, whichever was meant."""
    main = worker.start(CELLS["busy loop"])
    inside = main + 1000  # the driver counts those of the main shell
    header = {"msg_id": "inside", "msg_type": "execute_request", "session": "s", "username": "u"}
    content = {"code": CELLS["busy loop"], "allow_stdin": False}
    parts = [json.dumps(part).encode() for part in (header, {}, {}, content)]
    control = worker.process.control
    control.send(Kind.ASIDE, inside, (b"a subshell", *parts))
    for request in (main, inside):
        worker.wait(lambda: any(e.request == request and e.type == "stdout" for e in worker.events))  # noqa: B023
    largest(worker, inside)
    control.send(Kind.INTERRUPT, inside)
    assert worker.answer(inside).failure == ("KeyboardInterrupt", SENTENCE)
    worker.interrupt()
    assert worker.answer(main).failure == ("KeyboardInterrupt", "")
    largest(worker, inside)  # is over: nobody's any longer
    control.send(Kind.SUBSHELL, 0, (b"a subshell",), OVER)


def test_what_cannot_be_measured_is_no_error(worker: Worker) -> None:
    worker.good("class Odd:\n    def __getattribute__(self, name): raise SystemExit(name)\nodd = Odd(); __builtins__")
    request = worker.start(CELLS["busy loop"])
    assert largest(worker, request).splitlines()[0] in ("No variable is large.", "The largest variables:")
    worker.interrupt()
    worker.answer(request)
    worker.good("del odd, Odd")
