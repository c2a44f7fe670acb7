"""Workers that do not come up: silent ones, and those that die before they have said HELLO."""

from __future__ import annotations

import pytest

from supervisor.conftest import StartFaked

DIES = "print('ModuleNotFoundError: no such thing', file=sys.stderr, flush=True)\nos._exit(7)"
REASON = "No worker can be started: the last one ended with exit status 7 before it was ready. Run a cell to try again."


def test_kernel_with_a_silent_worker_answers_what_needs_none(start: StartFaked) -> None:
    faked = start("fake.wait()")
    faked.is_well()
    assert faked.client.ask("connect_request").reply["shell_port"] == faked.kernel.connection["shell_port"]
    assert faked.statuses() == ["starting"]
    assert faked.client.ask("worker_state_request", channel="control").reply["state"] == "starting"


def test_question_for_the_stack_does_not_kill_a_worker_that_starts(start: StartFaked) -> None:
    faked = start("fake.wait()")
    faked.client.ask("worker_state_request", {"stack": True}, channel="control")
    faked.is_well()
    assert faked.statuses() == ["starting"]
    assert faked.starts <= 1


def test_interrupt_gives_up_what_waits_for_a_silent_worker(start: StartFaked) -> None:
    faked = start("fake.wait()")
    cells = [faked.client.start("cell") for _ in range(3)]
    faked.is_well()
    faked.client.interrupt()
    assert [faked.client.finish(cell).reply for cell in cells] == [{"status": "aborted"}] * 3


def test_shutdown_answers_everybody_who_waits_for_a_silent_worker(start: StartFaked) -> None:
    faked = start("fake.wait()")
    waiting = [faked.client.start("cell"), faked.client.send("complete_request", {"code": "x", "cursor_pos": 1})]
    faked.client.send("comm_msg", {"comm_id": "x", "data": {}})
    faked.is_well()
    faked.client.send("shutdown_request", {"restart": False}, channel="control")
    assert [faked.client.finish(run).status for run in waiting] == ["aborted", "aborted"]
    assert faked.kernel.wait() == 0


def test_worker_that_comes_up_late_runs_what_waits(start: StartFaked) -> None:
    faked = start("fake.good_after(2)\nos._exit(1)")
    cells = [faked.client.start(f"cell {number}") for number in range(3)]
    assert [faked.client.finish(cell).text() for cell in cells] == ["cell 0", "cell 1", "cell 2"]
    assert faked.starts == 3


def test_third_failed_start_tells_everybody_who_waits(start: StartFaked) -> None:
    faked = start(DIES)
    cells = [faked.client.start("first"), faked.client.start("second")]
    for cell in cells:
        assert faked.client.finish(cell).error == "WorkerDied"
        assert cell.reply["evalue"] == REASON
        assert "ModuleNotFoundError: no such thing" in cell.traceback
    faked.is_well()


def test_each_cell_tries_once_more_when_no_worker_could_be_started(start: StartFaked) -> None:
    faked = start(DIES)
    faked.run()
    first = faked.starts
    assert first >= 3
    for number in range(1, 4):
        assert faked.run().error == "WorkerDied"
        assert faked.starts == first + number
    faked.is_well()


def test_other_requests_are_told_and_try_nothing(start: StartFaked) -> None:
    faked = start(DIES)
    faked.run()
    first = faked.starts
    for msg_type in ("complete_request", "inspect_request"):
        run = faked.client.ask(msg_type, {"code": "x", "cursor_pos": 1})
        assert (run.status, run.reply["ename"]) == ("error", "WorkerDied")
    faked.client.ask("comm_msg", {"comm_id": "x", "data": {}})
    assert faked.starts == first


def test_kernel_recovers_when_a_later_attempt_succeeds(start: StartFaked) -> None:
    faked = start(f"fake.good_after(4)\n{DIES}")
    assert faked.run().error == "WorkerDied"
    while faked.starts < 4:
        assert faked.run().error == "WorkerDied"
    assert faked.run("recovered").text() == "recovered"
    assert faked.statuses()[-1] == "idle"


def test_failed_start_leaves_no_request_of_the_first_worker_with_the_second(start: StartFaked) -> None:
    """What was queued before a worker was up is run once, and by the one that came up."""
    faked = start("fake.good_after(1)\nos._exit(1)")
    assert faked.run("once").text() == "once"
    assert faked.run("twice").text() == "twice"


@pytest.mark.parametrize(
    "hello",
    [
        "fake.hello(wire=99)",
        "fake.hello(wire='1')",
        "fake.hello(pid=1)",
        "fake.say(Kind.HELLO, 0, b'[]')",
        "fake.say(Kind.HELLO, 0, b'no json')",
        "fake.say(Kind.HELLO, 0, b'')",
        "fake.say(Kind.HELLO, 0, b'\\xff')",
        "fake.say(Kind.HELLO, 0, b'[' * 10000)",
        "fake.say(Kind.HELLO, 0, b'{\"wire\": null}')",
        "fake.raw(b'GET / HTTP/1.1\\r\\n\\r\\n' * 10)",
        "fake.say(Kind.STARTED, 1, b'1')",
        "fake.say(Kind.REPLY, 1, b'{}')",
    ],
)
def test_hello_that_is_not_the_right_one_is_no_start(start: StartFaked, hello: str) -> None:
    faked = start(f"fake.good_after(1)\n{hello}\nfake.wait()")
    assert faked.run("good").text() == "good"
    assert faked.starts == 2
    assert "was not understood" in faked.kernel.log
    faked.is_well()


def test_versions_that_hello_tells_are_those_of_kernel_info(start: StartFaked) -> None:
    faked = start("fake.good_after(0)")
    faked.run()
    info = faked.client.ask("kernel_info_request").reply
    assert info["language_info"]["version"] == "3.99.1"
    assert "99.1" in info["banner"]


def test_interpreter_that_vanishes_is_a_failed_start(start: StartFaked) -> None:
    faked = start("fake.hello()\nframe = fake.begin()\nfake.reply(frame)\nframe = fake.begin()\nos._exit(1)")
    faked.run()
    faked.kernel.folder.parent.joinpath("python").unlink()
    assert faked.run().error == "WorkerDied"
    run = faked.run()
    assert run.error == "WorkerDied"
    assert "could not be started" in run.reply["evalue"]
    faked.is_well()
