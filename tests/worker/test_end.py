"""Every end of a worker: told to, left alone, or by its own hand."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from ipymini_worker.wire import Kind
from worker.driver import Start, Worker, gone

CELLS = {
    "idle": "pass",
    "with a task pending": "import asyncio\nt = asyncio.create_task(asyncio.sleep(1000))",
    "with a thread running": "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()",
}


@pytest.mark.parametrize("name", CELLS)
def test_stop_is_answered_by_goodbye_and_an_exit_status_of_zero(fresh: Worker, name: str) -> None:
    fresh.good(CELLS[name])
    assert fresh.stop().status == 0
    assert fresh.frames[-1].kind is Kind.GOODBYE


def test_exit_handlers_run_and_their_output_arrives(fresh: Worker) -> None:
    fresh.good(
        "import atexit\natexit.register(print, 'at exit')\natexit.register(__import__('os').write, 1, b'raw at exit')"
    )
    assert fresh.stop().status == 0
    assert "at exit\n" in fresh.text("stdout")
    assert fresh.raw["stdout"] == b"raw at exit"


def test_exit_handler_that_fails_is_shown_and_ends_nothing_else(fresh: Worker) -> None:
    fresh.good("import atexit\natexit.register(print, 'the other one')\natexit.register(lambda: 1 / 0)")
    fresh.stop()
    assert "ZeroDivisionError" in fresh.text("stderr") + fresh.raw["stderr"].decode()
    assert "the other one" in fresh.text("stdout")


def test_history_of_the_session_is_kept_when_it_ends(start: Start) -> None:
    first = start()
    first.good("kept_in_history = 1")
    first.stop()
    found = start().get("history_request", {"hist_access_type": "search", "pattern": "kept_in_history*", "n": 5})
    assert [line for _, _, line in found["history"]] == ["kept_in_history = 1"]


def test_threads_of_the_user_that_are_no_daemons_are_waited_for(fresh: Worker) -> None:
    fresh.good(
        "import threading\nended = threading.Event()\n"
        "def last():\n    ended.wait()\n    print('thread ended')\n"
        "threading.Thread(target=last).start()\nimport atexit\nthreading._register_atexit(ended.set)"
    )
    assert fresh.stop().status == 0
    assert "thread ended" in fresh.text("stdout")


def child(worker: Worker, code: str) -> int:
    """Runs a cell that starts a program and leaves its number in `pid`; returns a pidfd of it."""
    worker.good(code)
    return os.pidfd_open(int(worker.good("pid").result))


SLEEPER = "import subprocess\np = subprocess.Popen(['sleep', '1000'])\npid = p.pid"


@pytest.mark.parametrize(
    "busy", ["", "while True: pass", "import time\ntime.sleep(1000)", "await __import__('asyncio').sleep(1000)"]
)
def test_end_of_the_link_ends_the_worker_and_what_it_started(start: Start, busy: str) -> None:
    worker = start()
    program = child(worker, SLEEPER)
    if busy:
        worker.start(busy)
    worker.process.work.close()
    worker.process.control.close()
    own = os.pidfd_open(worker.pid)
    assert gone(own)
    assert gone(program)


def test_end_of_the_control_socket_alone_ends_a_busy_worker(start: Start) -> None:
    worker = start()
    worker.start("while True: pass")
    worker.process.control.close()
    own = os.pidfd_open(worker.pid)
    assert gone(own)


@pytest.mark.parametrize("frame", [b"garbage" * 10, b"\x1b\x57\x63\x00" + bytes(20)])
def test_supervisor_that_talks_nonsense_is_not_listened_to(start: Start, frame: bytes) -> None:
    worker = start()
    worker.process.control._socket.send(frame)
    assert worker.ended().status != 0


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import os\nprint('last words')\nos._exit(3)", 3),
        ("import os, signal\nprint('last words')\nos.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import os, signal\nprint('last words')\nos.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("import ctypes\nprint('last words')\nctypes.string_at(0)", -signal.SIGSEGV),
        ("import os\nprint('last words')\nos.abort()", -signal.SIGABRT),
    ],
)
def test_everything_that_was_printed_before_a_sudden_death_is_there(fresh: Worker, code: str, status: int) -> None:
    fresh.ask("execute_request", {"code": f"import os\nn = os.write(2, b'raw words\\n')\n{code}"})
    assert fresh.ended().status == status
    assert fresh.text("stdout") == "last words\n"
    assert fresh.raw["stderr"].startswith(b"raw words\n")


def test_fatal_error_leaves_the_python_stack_in_the_fault_pipe(fresh: Worker) -> None:
    fresh.ask("execute_request", {"code": "import ctypes\ndef crash():\n    ctypes.string_at(0)\ncrash()"})
    fresh.ended()
    stack = fresh.raw["fault"].decode()
    assert "Segmentation fault" in stack
    assert re.search(r"line 3 in crash", stack)


def test_death_tells_how_much_memory_it_took(fresh: Worker) -> None:
    fresh.ask("execute_request", {"code": "import os\nx = b'x' * 300_000_000\nos._exit(0)"})
    assert fresh.ended().peak > 300_000_000


def test_interrupts_while_it_ends_do_not_matter(fresh: Worker, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    gate = os.open(tmp_path / "gate", os.O_RDWR)  # which waits for nobody at the other end
    try:
        fresh.good(
            "import atexit\n@atexit.register\ndef last():\n    print('at exit')\n"
            f"    with open({str(tmp_path / 'gate')!r}) as gate: print('gate is', gate.readline(), end='')"
        )
        fresh.process.work.send(Kind.STOP)
        fresh.interrupt()
        fresh.prints("at exit\n")
        fresh.interrupt()
        os.write(gate, b"open\n")  # until here the end is held open: at its very end an interrupt kills any program
        assert fresh.ended().status == 0
    finally:
        os.close(gate)
    assert fresh.text("stdout") == "at exit\ngate is open\n"
