"""Workers that live, but not as they should: deaf, stubborn, talkative, out of order."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from e2e.client import TIMEOUT

from supervisor.conftest import StartFaked

BUSY = "fake.good_after(1)\nfake.hello()\nframe = fake.begin()\nfake.print(frame, 'ready')\n"


def test_supervisor_answers_while_the_worker_is_deaf(start: StartFaked) -> None:
    faked = start(f"{BUSY}fake.wait()")
    cell, queued = faked.client.start("long"), faked.client.start("queued")
    faked.client.wait_text(cell, "ready")
    for _ in range(20):
        faked.is_well()
    assert cell.replies == queued.replies == []
    statuses = [m["content"]["execution_state"] for c, m in faked.client.messages if m["msg_type"] == "status"]
    assert statuses[-1] == "busy"  # what frontends show


def test_requests_that_a_deaf_worker_does_not_read_pile_up_here(start: StartFaked) -> None:
    """More than the socket to the worker takes."""
    faked = start(f"{BUSY}fake.wait()")
    cell = faked.client.start("long")
    faked.client.wait_text(cell, "ready")
    runs = [faked.client.start("x" * 100_000) for _ in range(50)]
    faked.is_well()
    faked.client.send("shutdown_request", {"restart": False}, channel="control")
    assert {faked.client.finish(run).status for run in runs} == {"aborted"}
    assert faked.client.finish(cell).error == "WorkerDied"
    assert faked.kernel.wait() == 0


def test_large_request_reaches_a_worker_that_reads_slowly(start: StartFaked) -> None:
    faked = start(
        "fake.hello()\nframe = fake.begin()\nfake.print(frame, str(len(fake.code(frame))))\nfake.reply(frame)\nfake.serve()"
    )
    assert faked.run("x" * 20_000_000).text() == "20000000"


@pytest.mark.parametrize(
    "stubborn",
    ["signal.SIGTERM", "signal.SIGINT, signal.SIGTERM, signal.SIGHUP"],
)
@pytest.mark.parametrize("moment", ["before hello", "idle", "in a cell"])
def test_worker_that_ignores_signals_is_ended_by_the_ladder(start: StartFaked, stubborn: str, moment: str) -> None:
    ignoring = f"for number in ({stubborn},): signal.signal(number, signal.SIG_IGN)\n"
    scripts = {
        "before hello": f"{ignoring}fake.say(Kind.STREAM, 0, b'ready')\nfake.wait()",
        "idle": f"{ignoring}fake.hello()\nfake.say(Kind.STREAM, 0, b'ready')\nfake.wait()",
        "in a cell": f"{ignoring}fake.hello()\nframe = fake.begin()\nfake.print(frame, 'ready')\nfake.wait()",
    }
    faked = start(scripts[moment], IPYMINI_SHUTDOWN_GRACE="1")
    cell = faked.client.start("long") if moment == "in a cell" else None
    faked.client.wait(lambda channel, m: m["content"].get("text") == "ready")
    faked.client.send("shutdown_request", {"restart": False}, channel="control")
    if cell is not None:
        assert faked.client.finish(cell).status == "error"
        assert "because the kernel shuts down" in cell.reply["evalue"]
    began = time.monotonic()
    assert faked.kernel.wait() == 0
    assert time.monotonic() - began < TIMEOUT


@pytest.mark.parametrize("restart", [True, False])
def test_good_worker_is_asked_to_stop_and_not_killed(start: StartFaked, restart: bool) -> None:
    faked = start(
        "fake.hello()\nframe = fake.begin()\nfake.reply(frame)\nframe = fake.next()\nassert frame.kind is Kind.STOP\n"
        "fake.say(Kind.STREAM, 0, b'in order')\nfake.say(Kind.GOODBYE)\nos._exit(0)",
        IPYMINI_SHUTDOWN_GRACE="15",  # a worker that is slow on a busy machine is not bad
    )
    faked.run()
    shutdown = faked.client.send("shutdown_request", {"restart": restart}, channel="control")
    faked.client.wait(lambda channel, m: m["content"].get("text") == "in order")
    assert faked.client.finish(shutdown).reply == {"status": "ok", "restart": restart}
    assert faked.kernel.wait() == 0


DISPLAY = json.dumps({"data": {"text/plain": "x" * 10_000}, "metadata": {}}).encode()
#: What is written, where, and whether the worker has to wait at some time because nobody takes it.
FLOODS = {
    "frames of text": ("lambda: fake.print(frame, 'x' * 1000)", 3, True),
    "large frames of text": ("lambda: fake.print(frame, 'x' * 1000000)", 3, True),
    "displays": (f"lambda: fake.say(Kind.PUBLISH, frame.request, b'display_data', b'{{}}', {DISPLAY!r})", 3, True),
    "the stdout pipe": ("lambda: fake.raw(b'y\\n' * 1000, 1)", 1, True),
    "the stderr pipe": ("lambda: fake.raw(b'y\\n' * 1000, 2)", 2, True),
    "empty texts": ("lambda: fake.print(frame, '')", 3, False),
    "the fault pipe": ("lambda: fake.raw(b'Thread 0x1 (most recent call first):\\n' * 100, 5)", 5, False),
    "answers that nobody asked for": ("lambda: fake.say(Kind.PONG, 5, fd=4)", 4, False),
}


@pytest.mark.parametrize("name", FLOODS)
def test_flood_that_nobody_takes_neither_drowns_control_nor_fills_the_memory(
    start: StartFaked, tmp_path: Path, name: str
) -> None:
    """The client reads nothing from iopub: the worker has to wait, and the supervisor must not."""
    write, fd, stalls = FLOODS[name]
    stalled = tmp_path / "stalled"
    faked = start(f"{BUSY}fake.flood({write}, {fd}, {str(stalled)!r})")
    cell = faked.client.start("flood")
    faked.client.wait_text(cell, "ready")
    control = faked.client.sockets["control"]
    rounds = 0
    while not stalled.exists() and (stalls or rounds < 300):
        rounds += 1
        assert faked.client.beat() == b"ping"
        faked.client.session.send(control, faked.client.session.msg("kernel_info_request"))
        assert control.poll(int(TIMEOUT * 1000)), f"no answer to request {rounds}"
        control.recv_multipart()
    with open(f"/proc/{faked.kernel.process.pid}/status") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) // 1024
    assert peak < 200
    faked.kernel.process.send_signal(signal.SIGTERM)
    assert faked.kernel.wait() == 0


def test_reply_without_started_is_a_reply(start: StartFaked) -> None:
    faked = start(
        "fake.hello()\nframe = fake.next()\nfake.print(frame, 'unannounced')\nfake.reply(frame)\nfake.serve()"
    )
    assert faked.run().text() == "unannounced"
    assert faked.run("next").text() == "next"


def test_interrupt_waits_for_started(start: StartFaked) -> None:
    faked = start(
        "fake.hello()\nframe = fake.next()\nfake.on(signal.SIGINT, lambda: (fake.print(frame, 'too early'), os._exit(1)))\n"
        "fake.print(frame, 'ready')\nassert fake.next().kind is Kind.REQUEST"
    )
    cell = faked.client.start("never begun")
    faked.client.wait_text(cell, "ready")
    faked.client.interrupt()
    faked.is_well()
    assert cell.text() == "ready"
    assert cell.replies == []


def test_interrupt_that_came_before_started_is_sent_then(start: StartFaked) -> None:
    faked = start(
        "fake.hello()\nframe = fake.next()\n"
        "def on_sigint():\n    fake.print(frame, 'interrupted')\n    fake.reply(frame, flags=3)\n    fake.serve()\n"
        "fake.on(signal.SIGINT, on_sigint)\nfake.print(frame, 'ready')\n"
        "os.read(4, 100)\nfake.say(Kind.STARTED, frame.request, b'1')\nfake.wait()"
    )
    cell = faked.client.start("begun late")
    faked.client.wait_text(cell, "ready")
    faked.client.interrupt()
    faked.client.ask("worker_state_request", channel="control")  # the worker hears of this one on its control socket
    assert faked.client.finish(cell).text() == "readyinterrupted"
    assert faked.run("next").text() == "next"


def test_interrupt_reaches_the_cell_that_runs_and_aborts_what_is_queued(start: StartFaked) -> None:
    faked = start(
        f"{BUSY}def on_sigint():\n    fake.reply(frame, flags=1)\n    fake.serve()\nfake.on(signal.SIGINT, on_sigint)\nfake.wait()"
    )
    cell, queued = faked.client.start("long"), faked.client.start("queued")
    faked.client.wait_text(cell, "ready")
    assert faked.client.interrupt().reply["status"] == "ok"
    assert faked.client.finish(cell).status == "error"
    assert faked.client.finish(queued).reply == {"status": "aborted"}
    assert faked.run("next").text() == "next"


def test_interrupt_while_idle_reaches_nobody(start: StartFaked) -> None:
    faked = start("fake.on(signal.SIGINT, lambda: os._exit(1))\nfake.hello()\nfake.serve()")
    faked.run("one")
    faked.client.interrupt()
    assert faked.run("two").text() == "two"
    assert faked.starts == 1


def test_ladder_that_climbs_by_itself_kills_a_worker_that_ignores_interrupts(start: StartFaked) -> None:
    faked = start(
        "fake.good_after(1)\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nfake.hello()\nframe = fake.begin()\n"
        "fake.print(frame, 'ready')\nfake.wait()",
        IPYMINI_INTERRUPT_KILL_AFTER="3",  # the second rung comes after half of it
    )
    cell = faked.client.start("stubborn")
    faked.client.wait_text(cell, "ready")
    faked.client.interrupt()
    assert faked.client.finish(cell).error == "WorkerDied"
    assert "was killed after three interrupts" in cell.reply["evalue"]
    assert "The cell still runs after an interrupt." in cell.text("stderr")
    assert faked.run("next").text() == "next"


@pytest.mark.parametrize(("flags", "status"), [(1, "ok"), (3, "aborted")])
def test_failed_cell_aborts_what_is_queued_if_the_worker_says_so(start: StartFaked, flags: int, status: str) -> None:
    faked = start(
        f"fake.hello()\nframe = fake.begin()\nos.read(4, 100)\nfake.reply(frame, flags={flags})\nfake.serve()"
    )
    failing, queued = faked.client.start("failing"), faked.client.start("queued")
    faked.client.wait_busy(failing)
    faked.client.ask("kernel_info_request")  # comes behind both on the same socket
    faked.client.ask("worker_state_request", channel="control")  # the worker hears of this one
    assert faked.client.finish(failing).status == "error"
    assert faked.client.finish(queued).status == status


def test_exit_of_user_code_ends_the_kernel(start: StartFaked) -> None:
    faked = start("fake.hello()\nframe = fake.begin()\nfake.reply(frame, flags=4)\nfake.serve()")
    assert faked.run("exit").status == "ok"
    assert faked.kernel.wait() == 0


def test_question_of_a_request_that_nobody_made_is_not_asked(start: StartFaked) -> None:
    faked = start(
        "fake.hello()\nframe = fake.begin()\nfake.say(Kind.INPUT_REQUEST, 4711, b'{}')\nfake.reply(frame)\nfake.serve()"
    )
    faked.run()
    faked.is_well()
    assert [m for channel, m in faked.client.messages if channel == "stdin"] == []


def test_output_for_a_request_long_gone_has_a_parent_all_the_same(start: StartFaked) -> None:
    faked = start(
        "fake.hello()\nframe = fake.begin()\nfake.say(Kind.STREAM, 4711, b'orphan')\nfake.reply(frame)\nfake.serve()"
    )
    assert faked.run().text() == "orphan"


def test_text_that_is_no_utf8_is_shown_with_marks(start: StartFaked) -> None:
    faked = start(
        "fake.hello()\nframe = fake.begin()\nfake.say(Kind.STREAM, frame.request, b'a\\xffb')\nos.write(1, b'c\\xfe')\nfake.reply(frame)\nfake.serve()"
    )
    assert sorted(faked.run().text()) == sorted("a\ufffdbc\ufffd")
