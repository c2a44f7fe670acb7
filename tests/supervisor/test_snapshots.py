"""Snapshots that are not what the worker says they are: the session is lost at worst, the kernel never."""

from __future__ import annotations

import os

import pytest

from supervisor.conftest import StartFaked

#: What comes with a SNAPSHOT frame, or how it is wrong, for which the worker is condemned.
CRIMES = {
    "no descriptor": "fake.hand_over()",
    "no socket": "fake.hand_over(0)",
    "process 0": "a, b = socket.socketpair()\nfake.hand_over(a.fileno(), pid=0)",
    "process 1": "a, b = socket.socketpair()\nfake.hand_over(a.fileno(), pid=1)",
    "a process that cannot be": "a, b = socket.socketpair()\nfake.hand_over(a.fileno(), pid=10**17)",
    "cells without an end that are to be repeated": (
        "a, b = socket.socketpair()\nfake.hand_over(a.fileno(), pid=2**22 - 1)\n"
        "[fake.say(Kind.REPEATABLE, 0, b'1', b'x') for _ in range(2000)]"
    ),
    "rollback with something": "fake.say(Kind.ROLLBACK, 0, b'x')",
}
#: Snapshots that cannot become the worker.
USELESS = {
    "another's process": "a, b = socket.socketpair()\nfake.hand_over(a.fileno(), pid={parent})",
    "the worker itself": "a, b = socket.socketpair()\nfake.hand_over(a.fileno())",
    "nobody at the other end": "a, b = socket.socketpair()\nb.close()\nfake.hand_over(a.fileno())",
    "one that ends when it is woken": "fake.snapshot(lambda: os._exit(0))",
    "one that says garbage": "fake.snapshot(lambda: (fake.raw(bytes(range(256))), fake.wait()))",
    "one that says it is somebody else": "fake.snapshot(lambda: (fake.hello(pid=1), fake.wait()))",
    "one that says nothing": "fake.snapshot(fake.wait)",
}
GOOD = "fake.snapshot(lambda: (fake.resumed(), fake.serve()), cell={cell})"


def first(act: str, death: str = "os._exit(3)") -> str:
    """A script: the first worker does `act` and dies in its first cell; others are good."""
    return f"fake.good_after(1)\nfake.hello()\n{act}\nframe = fake.begin(1)\n{death}\nfake.wait()"


@pytest.mark.parametrize("name", CRIMES)
def test_worker_that_says_nonsense_about_snapshots_is_killed(start: StartFaked, name: str) -> None:
    faked = start(f"fake.good_after(1)\nfake.hello()\nframe = fake.begin(1)\n{CRIMES[name]}\nfake.wait()")
    cell = faked.run()
    assert cell.error == "WorkerDied"
    assert "was not understood" in cell.reply["evalue"]
    assert faked.run("next").text() == "next"


@pytest.mark.parametrize("name", USELESS)
def test_snapshot_that_is_of_no_use_costs_the_session(start: StartFaked, name: str) -> None:
    faked = start(first(USELESS[name].format(parent=os.getpid())))
    cell = faked.run()
    assert cell.reply["evalue"] == "The worker ended with exit status 3 in cell [1]."
    assert "Variables are lost" in cell.traceback
    assert faked.run("next").text() == "next"
    assert faked.starts == 2
    assert faked.statuses()[-3:] == ["restarting", "starting", "idle"]


def test_snapshot_becomes_the_worker(start: StartFaked) -> None:
    faked = start(first(GOOD.format(cell=1)))
    cell = faked.run()
    assert "Restored to the state before In[1]. Nothing." in cell.traceback
    assert faked.run("next").text() == "next"
    assert faked.starts == 1
    assert "restarting" not in faked.statuses()


def test_snapshot_is_told_what_it_has_to_repeat(start: StartFaked) -> None:
    tell = "lambda: (frame := fake.resumed(), fake.print(fake.begin(2), repr([bytes(p) for p in frame.parts[2:]])), os._exit(0))"
    said = "fake.say(Kind.REPEATABLE, 0, b'2', b'some cell')\nfake.say(Kind.REPEATABLE, 0, b'2', b'and another')"
    faked = start(first(f"fake.snapshot({tell})\n{said}"))
    assert "Restored to the state before In[2]." in faked.run().traceback
    assert faked.run("next").text() == "[b'some cell', b'and another']"


def test_snapshot_is_told_what_took_the_worker(start: StartFaked) -> None:
    tell = "lambda: (frame := fake.resumed(), fake.print(fake.begin(2), repr([bytes(p) for p in frame.parts])), os._exit(0))"
    faked = start(first(f"fake.snapshot({tell})"))
    faked.run("the bad cell")
    text = faked.run("next").text()
    assert text.startswith("[b'1', b'{")
    assert "the bad cell" in text


def test_snapshot_before_the_last_one_is_there_when_the_last_one_is_gone(start: StartFaked) -> None:
    """And says that it is older."""
    act = f"{GOOD.format(cell=1)}\nfake.reply(fake.begin(1))\nfake.snapshot(lambda: os._exit(9), cell=2)"
    faked = start(first(act).replace("fake.begin(1)\nos._exit", "fake.begin(2)\nos._exit"))
    assert faked.run().status == "ok"
    cell = faked.run()
    assert "Restored to the state before In[1]; what ran since then is lost." in cell.traceback
    assert faked.run("next").text() == "next"
    assert faked.starts == 1


def test_death_while_idle_goes_back_to_the_end_of_the_last_cell(start: StartFaked) -> None:
    act = f"frame = fake.begin(1)\nfake.reply(frame)\n{GOOD.format(cell=2)}\nos._exit(3)"
    faked = start(f"fake.good_after(1)\nfake.hello()\n{act}")
    assert faked.run().status == "ok"
    faked.client.wait(
        lambda channel, m: (
            m["content"].get("text")
            == "The worker ended with exit status 3. Restored to the state after the last cell. Nothing.\n"
        )
    )
    assert faked.run("next").text() == "next"
    assert faked.starts == 1


def test_request_that_was_not_begun_runs_in_the_snapshot(start: StartFaked) -> None:
    """Which is in the state in which it was to run."""
    faked = start(f"fake.good_after(1)\nfake.hello()\n{GOOD.format(cell=1)}\nfake.next()\nos._exit(3)")
    assert faked.run("not begun").text() == "not begun"
    assert faked.starts == 1


def test_request_that_was_not_begun_does_not_run_in_an_older_state(start: StartFaked) -> None:
    act = f"{GOOD.format(cell=1)}\nfake.reply(fake.begin(1))\nfake.next()\nos._exit(3)"
    faked = start(f"fake.good_after(1)\nfake.hello()\n{act}")
    assert faked.run().status == "ok"
    assert faked.run("not begun").error == "WorkerDied"
    assert faked.run("next").text() == "next"


def test_pristine_snapshot_serves_respawns(start: StartFaked) -> None:
    pristine = "fake.snapshot(lambda: (fake.resumed(), fake.serve()), flags=1)"
    faked = start(first(pristine))
    assert "Variables are lost" in faked.run().traceback
    assert faked.run("next").text() == "next"
    assert faked.starts == 1
    assert faked.statuses()[-3:] == ["restarting", "starting", "idle"]


def test_interrupts_and_shutdown_while_a_snapshot_is_on_its_way(start: StartFaked) -> None:
    """It never comes; the cell gets its error in time all the same."""
    faked = start(first("fake.snapshot(fake.wait)", "fake.print(frame, 'running')\nos.read(4, 1)\nos._exit(3)"))
    cell = faked.client.start("cell")
    faked.client.wait_text(cell, "running")
    faked.client.ask("worker_state_request", channel="control")
    assert faked.client.ask("interrupt_request", channel="control").reply["status"] == "ok"
    faked.is_well()
    faked.client.send("shutdown_request", {"restart": False}, channel="control")
    assert faked.client.finish(cell).error == "WorkerDied"
    assert faked.kernel.wait() == 0


def test_descriptors_that_nobody_asked_for_are_closed(start: StartFaked) -> None:
    faked = start(
        "fake.hello()\nframe = fake.begin(1)\nfor i in range(1, 1000):\n"
        "    with socket.socket(fileno=os.dup(3)) as work:\n"
        "        socket.send_fds(work, encode(Kind.STREAM, frame.request, [b'x']), [0, 1, 2])\n"
        "fake.reply(frame)\nfake.serve()"
    )
    before = len(os.listdir(f"/proc/{faked.kernel.process.pid}/fd"))
    assert faked.run().text() == "x" * 999
    assert len(os.listdir(f"/proc/{faked.kernel.process.pid}/fd")) < before + 20


def test_rollback_without_anything_to_go_back_to_is_refused(start: StartFaked) -> None:
    faked = start(
        "fake.hello()\nframe = fake.begin(1)\nfake.say(Kind.ROLLBACK)\nfrom ipymini_worker.wire import HEADER\n"
        "answer = HEADER.unpack(os.read(4, HEADER.size))\n"
        "fake.print(frame, Kind(answer[1]).name)\nfake.reply(frame)\nfake.serve()"
    )
    assert faked.run().text() == "REFUSED"
