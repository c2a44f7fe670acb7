"""Workers that die, or have to: one error for whom it concerns, and the next cell runs."""

from __future__ import annotations

import signal

import pytest

from ipymini_worker.wire import HEADER, LIMIT, MAGIC, Kind
from supervisor.conftest import StartFaked

LAST_ACTS = {
    "exits": ("os._exit(3)", "ended with exit status 3"),
    "exits well": ("os._exit(0)", "ended with exit status 0"),
    "kills itself": ("os.kill(os.getpid(), signal.SIGKILL)", "died of SIGKILL"),
    "segmentation fault": ("os.kill(os.getpid(), signal.SIGSEGV)", "died of SIGSEGV (segmentation fault)"),
    "half a header": ("fake.raw(b'\\x1b')\nos._exit(3)", "ended with exit status 3"),
    "half a frame": ("fake.raw(encode(Kind.STREAM, frame.request, [b'x' * 100])[0][:60])\nos._exit(3)", "status 3"),
    "half a large frame": (
        "fake.raw(b''.join(encode(Kind.STREAM, frame.request, [b'x' * 1000000]))[:500000])\nos._exit(3)",
        "status 3",
    ),
    "goodbye": ("fake.say(Kind.GOODBYE)\nos._exit(0)", "ended with exit status 0"),
}
CRIMES = {
    "garbage": "fake.raw(bytes(range(256)))",
    "garbage on control": "fake.raw(bytes(range(256)), 4)",
    "unknown kind": f"fake.raw({HEADER.pack(MAGIC, 200, 0, 0, 1, 0)!r})",
    "kind of the supervisor": "fake.say(Kind.STOP)",
    "kind of the other socket": "fake.say(Kind.STREAM, frame.request, b'x', fd=4)",
    "endless length": f"fake.raw({HEADER.pack(MAGIC, Kind.STREAM, 0, 1, 1, 2**64 - 1)!r})",
    "length over the limit": f"fake.raw({HEADER.pack(MAGIC, Kind.STREAM, 0, 1, 1, LIMIT + 1)!r})",
    "part longer than its frame": f"fake.raw({HEADER.pack(MAGIC, Kind.STREAM, 0, 1, 1, 9) + bytes([255] * 8) + b'x'!r})",
    "too many parts": "fake.say(Kind.GOODBYE, 0, b'x')",
    "reply to nobody": "fake.say(Kind.REPLY, 4711, b'{}')",
    "second hello": "fake.hello()",
    "start of nobody": "fake.say(Kind.STARTED, 4711, b'1')",
    "start that is no number": "fake.say(Kind.STARTED, frame.request, b'one')",
    "start of an endless number": "fake.say(Kind.STARTED, frame.request, b'9' * 5000)",
    "publish that is cut off": "fake.say(Kind.PUBLISH, frame.request, b'stream', b'{}', b'{\"name\": \"x')",
    "reply that is cut off": 'fake.say(Kind.REPLY, frame.request, b\'{"status": "o\')',
    "publish without content": "fake.say(Kind.PUBLISH, frame.request, b'{}', b'x', b'{}', flags=8)",
    "frame after goodbye": "fake.say(Kind.GOODBYE)\nfake.print(frame, 'and another thing')",
    "frame along with goodbye": "fake.raw(b''.join(encode(Kind.GOODBYE)) + b''.join(encode(Kind.PUBLISH, 1, [b''] * 3)))",
    "goodbye twice": "fake.say(Kind.GOODBYE)\nfake.say(Kind.GOODBYE)",
    "hello without an end": "fake.say(Kind.HELLO, 0, b'[' * 100_000)",
    "hello that is no object": "fake.say(Kind.HELLO, 0, b'[]')",
    "hello that is no UTF-8": "fake.say(Kind.HELLO, 0, bytes([255]))",
    "snapshot of nothing": "fake.say(Kind.SNAPSHOT, 0, b'1', b'4711')",
    "snapshot of init": "fake.hand_over(os.open('/dev/null', 0), cell=1, pid=1, flags=0)",
    "snapshot without a socket": "fake.hand_over(os.open('/dev/null', 0), cell=1, pid=4711, flags=0)",
    "cell to be repeated without a number": "fake.say(Kind.REPEATABLE, 0, b'one', b'x')",
    "cell that is too long to be repeated": "fake.say(Kind.REPEATABLE, 0, b'1', bytes(10_000))",
    "millions of parts": f"fake.raw({HEADER.pack(MAGIC, Kind.PUBLISH, 0, 100_000_000, 1, 800_000_000)!r})",
    "questions without an end": "[fake.say(Kind.INPUT_REQUEST, 4711, b'{}') for _ in range(2000)]",
    "question without an end": "fake.say(Kind.INPUT_REQUEST, frame.request, bytes(2_000_000))",
    "pong on the wrong socket": "fake.say(Kind.PONG, 1)",
    "reply to another request": "fake.say(Kind.REPLY, frame.request + 1, b'{}')",
}


def deadly(act: str) -> str:
    """A script: the first worker commits `act` in its second cell; the others are good."""
    return (
        "fake.good_after(1)\nfake.hello()\nfake.reply(fake.begin())\nframe = fake.begin(7)\n"
        f"fake.print(frame, 'last words')\n{act}\nfake.wait()"
    )


@pytest.mark.parametrize("name", LAST_ACTS)
def test_worker_that_dies_in_a_cell_costs_that_cell(start: StartFaked, name: str) -> None:
    act, cause = LAST_ACTS[name]
    faked = start(deadly(f"os.read(4, 100)\n{act}"))
    faked.run()
    cell, queued = faked.client.start("deadly"), faked.client.start("queued")
    faked.client.wait_text(cell, "last words")
    faked.client.ask("kernel_info_request")  # comes behind both on the same socket
    faked.client.ask("worker_state_request", channel="control")  # the worker hears of this one, and does it
    assert faked.client.finish(cell).error == "WorkerDied"
    assert cause in cell.reply["evalue"]
    assert "in cell [7]" in cell.reply["evalue"]
    assert cell.reply["execution_count"] == 7
    assert cell.text() == "last words"
    assert faked.client.finish(queued).reply == {"status": "aborted"}
    assert faked.run("next").text() == "next"
    assert faked.starts == 2
    faked.is_well()


@pytest.mark.parametrize("name", CRIMES)
def test_worker_that_breaks_the_rules_is_killed_and_replaced(start: StartFaked, name: str) -> None:
    faked = start(deadly(CRIMES[name]))
    faked.run()
    cell = faked.run("criminal")
    assert cell.error == "WorkerDied"
    assert "what it sent was not understood" in cell.reply["evalue"]
    assert cell.text() == "last words"
    assert faked.run("next").text() == "next"
    faked.is_well()


def test_claim_of_a_frame_of_four_gigabytes_costs_nothing(start: StartFaked) -> None:
    claim = HEADER.pack(MAGIC, Kind.STREAM, 0, 1, 1, LIMIT)
    faked = start(deadly(f"fake.raw({claim!r})\nos._exit(3)"))
    faked.run()
    assert faked.run("claims").error == "WorkerDied"
    with open(f"/proc/{faked.kernel.process.pid}/status") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    assert peak < 200 * 1024
    assert faked.run("next").text() == "next"


def test_second_reply_to_one_request_is_not_passed_on(start: StartFaked) -> None:
    faked = start(
        "fake.good_after(1)\nfake.hello()\nframe = fake.begin()\nfake.reply(frame)\nfake.reply(frame)\nfake.wait()"
    )
    assert faked.run("first").status == "ok"
    faked.client.wait(lambda channel, m: m["content"].get("execution_state") == "restarting")
    assert faked.run("second").text() == "second"
    assert faked.starts == 2


def test_error_is_published_before_the_new_worker_is_mentioned(start: StartFaked) -> None:
    faked = start(deadly("os._exit(3)"))
    faked.run()
    cell = faked.run("deadly")
    faked.run("next")
    published = [m for channel, m in faked.client.messages if channel == "iopub"]
    told = [m["msg_type"] if m["msg_type"] == "error" else m["content"].get("execution_state") for m in published]
    states = [what for what in told[told.index("error") :] if what is not None]
    assert states[:4] == ["error", "idle", "restarting", "starting"]
    assert cell.states == ["busy", "idle"]
    assert faked.statuses()[-1] == "idle"


def test_worker_that_dies_while_idle_is_replaced_and_that_is_said(start: StartFaked) -> None:
    faked = start("fake.good_after(1)\nfake.hello()\nfake.reply(fake.begin())\nos._exit(3)")
    faked.run("only")
    faked.client.wait(lambda channel, m: m["content"].get("execution_state") == "restarting")
    said = [m["content"]["text"] for _, m in faked.client.messages if m["msg_type"] == "stream"]
    assert any("ended with exit status 3" in text for text in said)
    assert faked.run("next").text() == "next"


def test_request_of_another_type_that_the_worker_dies_with_gets_an_error_too(start: StartFaked) -> None:
    faked = start(deadly("os._exit(3)"))
    faked.run()
    run = faked.client.ask("complete_request", {"code": "x", "cursor_pos": 1})
    assert (run.status, run.reply["ename"]) == ("error", "WorkerDied")
    assert run.contents("error") == []
    assert faked.run("next").text() == "next"


def test_comm_message_that_the_worker_dies_with_gets_busy_and_idle(start: StartFaked) -> None:
    faked = start(deadly("os._exit(3)"))
    faked.run()
    faked.client.ask("comm_msg", {"comm_id": "x", "data": {}})
    assert faked.run("next").text() == "next"


def test_everything_on_the_descriptors_is_there_before_the_error(start: StartFaked) -> None:
    faked = start(
        deadly("os.write(1, b'raw out\\n')\nos.write(2, b'raw err\\n')\nos.kill(os.getpid(), signal.SIGABRT)")
    )
    faked.run()
    cell = faked.run("deadly")
    assert "raw out\n" in cell.text()
    assert cell.text("stderr") == "raw err\n"
    assert cell.types[-1] == "error"
    assert "raw err" in cell.traceback


def test_deaths_again_and_again_are_survived(start: StartFaked) -> None:
    faked = start("fake.hello()\nframe = fake.begin()\nos._exit(3)")
    for _ in range(10):
        assert faked.run().error == "WorkerDied"
    assert faked.starts >= 10
    faked.is_well()


def test_worker_that_closes_its_link_and_lives_on_is_ended(start: StartFaked) -> None:
    faked = start(deadly("os.close(3)\nos.close(4)\nsignal.pause()"))
    faked.run()
    cell = faked.run("deaf")
    assert cell.error == "WorkerDied"
    assert "link" in cell.reply["evalue"]
    assert faked.run("next").text() == "next"


def test_worker_that_closes_its_pipes_goes_on(start: StartFaked) -> None:
    faked = start("fake.hello()\nos.close(1)\nos.close(2)\nos.close(5)\nfake.serve()")
    assert faked.run("one").text() == "one"
    assert faked.run("two").text() == "two"
    assert faked.starts == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_worker_that_somebody_else_kills_is_replaced(start: StartFaked, number: signal.Signals) -> None:
    faked = start("fake.good_after(1)\nfake.hello()\nframe = fake.begin()\nfake.print(frame, 'ready')\nfake.wait()")
    cell = faked.client.start("long")
    faked.client.wait_text(cell, "ready")
    faked.kernel.worker().send_signal(number)
    assert faked.client.finish(cell).error == "WorkerDied"
    assert f"died of {number.name}" in cell.reply["evalue"]
    assert faked.run("next").text() == "next"
