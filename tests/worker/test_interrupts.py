"""SIGINT ends the cell that it was aimed at, and no other, whatever the cell does at the moment."""

from __future__ import annotations

import random
import signal

import pytest

from ipymini_worker.wire import Kind
from worker.driver import Answer, Worker


def says(worker: Worker, request: int, text: str) -> None:
    """Waits until a request has printed `text`."""
    worker.wait(lambda: text in "".join(e.content for e in worker.events if (e.request, e.type) == (request, "stdout")))


def interrupted(worker: Worker, code: str) -> Answer:
    """Runs a cell and interrupts it when it has said that it is ready."""
    request = worker.start(code)
    says(worker, request, "ready\n")
    worker.interrupt()
    return worker.answer(request)


DEFAULT = "import signal\nsignal.getsignal(signal.SIGINT) is signal.default_int_handler"
ENDLESS = {
    "sleep": "import time\nprint('ready')\ntime.sleep(1000)",
    "busy loop": "print('ready')\nwhile True:\n    pass",
    "await": "import asyncio\nprint('ready')\nawait asyncio.sleep(1000)",
    "await of a future": "import asyncio\nprint('ready')\nawait asyncio.get_running_loop().create_future()",
    "busy coroutine": "import asyncio\nawait asyncio.sleep(0)\nprint('ready')\nwhile True:\n    pass",
    "busy loop of awaits": "import asyncio\nprint('ready')\nwhile True:\n    await asyncio.sleep(0)",
    "asyncio.run": "import asyncio\nprint('ready')\nasyncio.run(asyncio.sleep(1000))",
    "gather": "import asyncio\nprint('ready')\nawait asyncio.gather(*[asyncio.sleep(1000) for _ in range(3)])",
    "lock": "import threading\nl = threading.Lock()\nl.acquire()\nprint('ready')\nl.acquire()",
    "join": "import threading\ne = threading.Event()\nt = threading.Thread(target=e.wait, daemon=True)\nt.start()\n"
    "print('ready')\nt.join()",
    "subprocess": "import subprocess\nprint('ready')\nsubprocess.run(['sleep', '1000'])",
    "select": "import select\nprint('ready')\nselect.select([], [], [])",
    "pipe": "import os\nr, w = os.pipe()\nprint('ready')\ntry:\n    os.read(r, 1)\nfinally:\n    os.close(r); os.close(w)",
    "%run": "%run endless.py",
    "%time": "%time exec(\"print('ready')\\nwhile True: pass\")",
    "exec in a function": "def f():\n    print('ready')\n    while True: pass\nf()",
    "generator": "print('ready')\nsum(1 for _ in iter(int, 1))",
}


@pytest.fixture(scope="module")
def programs(worker: Worker) -> None:
    """Files that cells run."""
    worker.good(
        "import os, tempfile\nos.chdir(tempfile.mkdtemp())\nopen('endless.py', 'w').write(\"print('ready')\\nwhile True: pass\");"
    )


CANCELLED = """
import asyncio, signal
async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, asyncio.current_task().cancel)
    print('ready')
    await asyncio.sleep(1000)
asyncio.run(main())
"""


def test_a_cell_that_an_interrupt_has_cancelled_is_interrupted(worker: Worker) -> None:
    """As by `asyncio.run` when the interrupt comes at the moment at which it begins (CPython forgets that it came)."""
    assert interrupted(worker, CANCELLED).failure == ("KeyboardInterrupt", "")


CALLBACK = """
import time
def wait_once(*args):
    get_ipython().events.unregister('{event}', wait_once)
    print('ready'); time.sleep(1000)
get_ipython().events.register('{event}', wait_once)
"""


@pytest.mark.parametrize("event", ["pre_execute", "pre_run_cell"])
def test_an_interrupt_of_a_callback_before_a_cell_ends_the_cell(worker: Worker, event: str) -> None:
    """IPython itself would show the error and run the cell."""
    worker.good(CALLBACK.format(event=event))
    answer = interrupted(worker, "print('rea' + 'ched')")
    assert answer.failure == ("KeyboardInterrupt", "")
    assert "reached" not in answer.stdout
    assert worker.good("1").result == "1"


def test_a_cell_that_cancels_itself_is_not_interrupted(worker: Worker) -> None:
    """Also right after one that was, and when the word of an interrupt comes too late."""
    interrupted(worker, ENDLESS["sleep"])
    worker.process.control.send(Kind.INTERRUPT, 1)
    assert worker.run("import asyncio\nraise asyncio.CancelledError('mine')").failure == ("CancelledError", "mine")


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("name", ENDLESS)
def test_interrupt_ends_the_cell_and_the_next_one_runs(worker: Worker, name: str) -> None:
    answer = interrupted(worker, ENDLESS[name])
    assert answer.failure[0] == "KeyboardInterrupt"
    assert worker.good("'on'").result == "'on'"
    assert worker.good("await __import__('asyncio').sleep(0, 'on')").result == "'on'"
    assert worker.good(DEFAULT).result == "True"


@pytest.mark.parametrize(
    "code", ["!echo ready; sleep 1000", "%%bash\necho ready\nsleep 1000", "%system echo; sleep 1000"]
)
def test_interrupt_ends_a_shell_command(worker: Worker, code: str) -> None:
    worker.events.clear()
    worker.raw["stdout"] = b""
    request = worker.start(code)
    if "ready" in code:
        worker.wait(lambda: "ready" in worker.text("stdout") + worker.raw["stdout"].decode())
    worker.interrupt()
    worker.answer(request)
    assert worker.good("'on'").result == "'on'"


def test_finally_blocks_and_handlers_of_the_cell_run(worker: Worker) -> None:
    answer = interrupted(
        worker,
        "import time\ntry:\n    print('ready')\n    time.sleep(1000)\nexcept KeyboardInterrupt:\n    print('caught')\n"
        "finally:\n    print('finally')\n'went on'",
    )
    assert answer.status == "ok"
    assert answer.stdout == "ready\ncaught\nfinally\n"
    assert answer.result == "'went on'"


def test_finally_block_of_an_awaiting_cell_runs(worker: Worker) -> None:
    code = "import asyncio\ntry:\n    print('ready')\n    await asyncio.sleep(1000)\nfinally:\n    print('finally')"
    answer = interrupted(worker, code)
    assert answer.failure[0] == "KeyboardInterrupt"
    assert answer.stdout == "ready\nfinally\n"


def test_task_of_another_cell_survives_the_interrupt(worker: Worker) -> None:
    worker.good("import asyncio\ngo = asyncio.Event()\ntask = asyncio.create_task(go.wait())")
    assert interrupted(worker, "print('ready')\nawait asyncio.sleep(1000)").failure[0] == "KeyboardInterrupt"
    assert worker.good("go.set()\nawait task").result == "True"


def test_task_that_hogs_the_loop_is_interrupted_with_the_cell(worker: Worker) -> None:
    code = (
        "import asyncio\nasync def hog():\n    print('ready')\n    while True: pass\n"
        "other = asyncio.create_task(hog())\nawait asyncio.sleep(1000)"
    )
    assert interrupted(worker, code).failure[0] == "KeyboardInterrupt"
    assert worker.good("'on'").result == "'on'"


def test_cell_that_swallows_the_first_interrupt_is_ended_by_the_second(worker: Worker) -> None:
    request = worker.start(
        "import time\ntry:\n    print('ready')\n    time.sleep(1000)\nexcept KeyboardInterrupt:\n    print('again')\n"
        "    time.sleep(1000)"
    )
    for word in ("ready\n", "again\n"):
        says(worker, request, word)
        worker.interrupt()
    assert worker.answer(request).failure[0] == "KeyboardInterrupt"


def test_coroutine_that_swallows_the_first_interrupt_is_ended_by_the_second(worker: Worker) -> None:
    request = worker.start(
        "import asyncio\ntry:\n    print('ready')\n    await asyncio.sleep(1000)\nexcept BaseException:\n"
        "    print('again')\n    await asyncio.sleep(1000)"
    )
    for word in ("ready\n", "again\n"):
        says(worker, request, word)
        worker.interrupt()
    assert worker.answer(request).failure[0] == "KeyboardInterrupt"
    assert worker.good("'on'").result == "'on'"


def test_interrupt_while_idle_does_nothing(worker: Worker) -> None:
    worker.good("1")
    for _ in range(20):
        worker.interrupt()
    assert worker.good("'on'").result == "'on'"


def test_interrupt_while_idle_with_tasks_pending_ends_neither_worker_nor_task(worker: Worker) -> None:
    worker.good("import asyncio\ngo = asyncio.Event()\ntask = asyncio.create_task(go.wait())")
    for _ in range(20):
        worker.interrupt()
    assert worker.good("go.set()\nawait task").result == "True"


def test_late_interrupts_never_hit_the_next_request(worker: Worker) -> None:
    """The moment between the reply and the next request, over and over."""
    for number in range(100):
        answer = worker.run("None")
        assert answer.status == "ok"
        worker.interrupt()
        assert worker.good(f"{number}").result == str(number)


def test_interrupts_at_any_moment_of_a_short_cell_hit_that_cell_or_nothing(worker: Worker) -> None:
    chance = random.Random(5)
    hit = 0
    for _ in range(100):
        request = worker.start(f"for _ in range({chance.choice([0, 10, 1000, 100_000])}): pass")
        worker.interrupt()
        answer = worker.answer(request)
        assert (answer.status, answer.content.get("ename")) in (("ok", None), ("error", "KeyboardInterrupt"))
        hit += answer.status == "error"
        assert worker.good("'next'").result == "'next'"
    assert hit > 0


@pytest.mark.parametrize(
    "code", ["print('x' * 100)", "display(5)", "1/0", "await __import__('asyncio').sleep(0)", "x ="]
)
def test_interrupts_of_cells_that_do_something_leave_the_worker_in_order(worker: Worker, code: str) -> None:
    for _ in range(40):
        request = worker.start(code)
        worker.interrupt()
        answer = worker.answer(request)
        assert answer.status in ("ok", "error")
        assert worker.good("'next'").result == "'next'"


@pytest.mark.parametrize("msg_type", ["complete_request", "inspect_request", "is_complete_request", "history_request"])
def test_interrupt_of_another_request_leaves_the_worker_in_order(worker: Worker, msg_type: str) -> None:
    for _ in range(20):
        request = worker.ask(msg_type, {"code": "import o", "cursor_pos": 8, "hist_access_type": "tail", "n": 1})
        worker.interrupt()
        assert worker.answer(request).status in ("ok", "error", "incomplete", "complete")
    assert worker.good("'on'").result == "'on'"


def test_cell_finds_python_s_own_handler(worker: Worker) -> None:
    assert worker.good(DEFAULT).result == "True"


def test_thread_of_a_cell_finds_python_s_own_handler(worker: Worker) -> None:
    code = (
        "import signal, threading\nfound = []\n"
        "t = threading.Thread(target=lambda: found.append(signal.getsignal(signal.SIGINT)))\nt.start()\nt.join()\n"
        "found == [signal.default_int_handler]"
    )
    assert worker.good(code).result == "True"


@pytest.fixture
def handled(worker: Worker) -> Worker:
    """A cell has set a handler of its own."""
    worker.good("import signal\ndef mine(number, frame):\n    print('mine')\nold = signal.signal(signal.SIGINT, mine)")
    yield worker
    worker.good("signal.signal(signal.SIGINT, signal.default_int_handler);")


WAIT = "import time\nprint('ready')\nwhile not done: time.sleep(0.001)\n'waited'"


def test_handler_that_a_cell_sets_is_used_and_kept_for_the_next_cell(handled: Worker) -> None:
    handled.good(
        "done = []\ndef mine(number, frame):\n    print('mine')\n    done.append(1)\nsignal.signal(signal.SIGINT, mine);"
    )
    answer = interrupted(handled, WAIT)
    assert answer.result == "'waited'"
    assert answer.stdout == "ready\nmine\n"
    assert handled.good("signal.getsignal(signal.SIGINT) is mine").result == "True"


def test_handler_that_a_cell_sets_is_not_called_between_cells(handled: Worker) -> None:
    handled.good("calls = []\nsignal.signal(signal.SIGINT, lambda *a: calls.append(a));")
    for _ in range(10):
        handled.interrupt()
    assert handled.good("calls").result == "[]"


def test_handler_that_is_given_back_brings_interrupts_back(handled: Worker) -> None:
    handled.good("signal.signal(signal.SIGINT, old) is mine")
    assert handled.good("signal.getsignal(signal.SIGINT) is signal.default_int_handler").result == "True"
    assert interrupted(handled, ENDLESS["sleep"]).failure[0] == "KeyboardInterrupt"
    assert interrupted(handled, ENDLESS["await"]).failure[0] == "KeyboardInterrupt"


def test_handler_of_an_awaiting_cell_is_used(handled: Worker) -> None:
    handled.good("done = []\ndef mine(number, frame):\n    done.append(1)\nsignal.signal(signal.SIGINT, mine);")
    answer = interrupted(
        handled, "import asyncio\nprint('ready')\nwhile not done: await asyncio.sleep(0.001)\n'waited'"
    )
    assert answer.result == "'waited'"


def test_ignored_interrupt_is_respected(handled: Worker) -> None:
    handled.good("signal.signal(signal.SIGINT, signal.SIG_IGN);")
    request = handled.start("import os, time\nprint('ready')\nfor _ in range(100): time.sleep(0.001)\n'unharmed'")
    handled.interrupt()
    assert handled.answer(request).result == "'unharmed'"
    assert handled.good("signal.getsignal(signal.SIGINT) == signal.SIG_IGN").result == "True"


def test_add_signal_handler_of_the_loop_is_respected(fresh: Worker) -> None:
    code = (
        "import asyncio, signal\nloop = asyncio.get_running_loop()\nasked = asyncio.Event()\n"
        "loop.add_signal_handler(signal.SIGINT, asked.set)\nprint('ready')\nawait asked.wait()\n"
        "loop.remove_signal_handler(signal.SIGINT)\n'asked'"
    )
    assert interrupted(fresh, code).result == "'asked'"
    assert interrupted(fresh, ENDLESS["sleep"]).failure[0] == "KeyboardInterrupt"


def test_interrupt_is_installed_even_where_it_was_inherited_as_ignored(fresh: Worker) -> None:
    """The worker is spawned with all signals at their defaults, whatever this process ignores."""
    assert fresh.good("import signal\nsignal.getsignal(signal.SIGINT)").result.count("default_int_handler") == 1
    assert fresh.good("signal.pthread_sigmask(signal.SIG_BLOCK, [])").result == "set()"


def test_worker_that_is_started_by_a_process_that_ignores_interrupts_can_be_interrupted(start: object) -> None:
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        worker = start()  # type: ignore[operator]
    finally:
        signal.signal(signal.SIGINT, old)
    assert interrupted(worker, ENDLESS["sleep"]).failure[0] == "KeyboardInterrupt"


def test_pool_of_processes_is_interrupted_without_hanging(worker: Worker) -> None:
    code = (
        "import multiprocessing, os, time\nctx = multiprocessing.get_context('fork')\n"
        "def work(_):\n    os.write(1, b'at work\\n')\n    time.sleep(1000)\n"
        "with ctx.Pool(2) as pool:\n    pool.map(work, [1, 2], chunksize=1)"
    )
    request = worker.start(code)
    worker.wait(lambda: worker.raw["stdout"].count(b"at work") == 2)
    worker.interrupt()
    assert worker.answer(request).failure[0] == "KeyboardInterrupt"
    assert worker.good("'on'").result == "'on'"
