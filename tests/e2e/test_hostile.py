"""A kernel whose sockets anybody can reach, and who makes the most of it, while its owner works."""

from __future__ import annotations

import json
import random
import re
import socket
import threading
import uuid
from typing import Any

import psutil
import pytest
import zmq

from .client import Client, Run
from .conftest import StartKernel
from .kernels import Kernel
from .whereabouts import endpoint

#: Messages on each channel.
MANY = 100_000
DELIMITER = b"<IDS|MSG>"
#: Reasons that the supervisor gives for what it drops.
REASONS = (
    "without delimiter",
    "with too few parts",
    "not signed with this kernel's key",
    "that was received before",
    "with too many identities",
    "whose header is too long",
    "whose header cannot be read",
    "that is too large",
    "with too many parts",
    "that is no answer to a question",
)


def rubbish(client: Client) -> list[list[bytes]]:
    """Messages that are all to be dropped; some of them by somebody who has the key and makes mistakes."""
    sign = client.session.sign

    def signed(header: bytes, content: bytes = b"{}") -> list[bytes]:
        parts = [header, b"{}", b"{}", content]
        return [DELIMITER, sign(parts), *parts]

    code = {"code": "hacked = True", "silent": False}
    delimiter, signature, *parts = client.session.serialize(client.session.msg("execute_request", content=code))
    assert delimiter == DELIMITER
    dice = random.Random(9)
    return [
        [b""],
        [dice.randbytes(100)],
        [DELIMITER],
        [DELIMITER, signature],
        [b"\xff" * 100, DELIMITER, signature, parts[0]],
        [signature, *parts],
        [DELIMITER, b"", *parts],
        [DELIMITER, b"0" * 64, *parts],
        [DELIMITER, signature[:-1], *parts],
        [DELIMITER, signature.upper() + b"\xff", *parts],
        [DELIMITER, signature, *parts[:3], parts[3] + b" "],
        [DELIMITER, signature, *[b"[" * 1000] * 4],
        [b"x"] * 17 + [DELIMITER, signature, *parts],
        [b""] * 30,
        [DELIMITER] * 9,
        [DELIMITER, signature, b"x" * 70_000, *parts[1:]],
        signed(b"[" * 1000),
        signed(b"\xff\xfe"),
        signed(b""),
        signed(b'{"msg_id": 1, "msg_type": "execute_request"}'),
        [dice.randbytes(dice.randrange(40)) for _ in range(5)],
    ]


class Flood(threading.Thread):
    """Sends messages on one channel from a context of its own, and then one that shows that all have arrived."""

    def __init__(
        self, connection: dict[str, Any], channel: str, messages: list[list[bytes]], last: list[bytes]
    ) -> None:
        super().__init__(name=f"flood on {channel}", daemon=True)
        self._address = endpoint(connection, channel)
        self._channel = channel
        self._messages = messages
        self._last = last
        self.sent = 0
        self.answer: list[bytes] = []

    def run(self) -> None:
        """Until the last one was answered, where there is an answer."""
        kind = zmq.XSUB if self._channel == "iopub" else zmq.DEALER
        with zmq.Context() as context, context.socket(kind) as sock:
            sock.sndtimeo = sock.rcvtimeo = 60_000
            sock.connect(self._address)
            messages = self._messages
            for number in range(MANY):
                sock.send_multipart(messages[number % len(messages)])
                self.sent += 1
            sock.send_multipart(self._last)
            if self._channel in ("shell", "control"):
                self.answer = sock.recv_multipart()
            elif self._channel == "hb":
                while self.answer != self._last:  # those that were not taken in time were dropped, and so may this one
                    if sock.poll(100):
                        self.answer = sock.recv_multipart()
                    else:
                        sock.send_multipart(self._last)
            elif self._channel == "iopub":
                while not any(part.endswith(b"iopub_welcome") or b"iopub_welcome" in part for part in self.answer):
                    self.answer = sock.recv_multipart()


def subscriptions(number: int) -> list[list[bytes]]:
    """What no frontend would say on iopub."""
    dice = random.Random(number)
    rare = [[b"\x01topic" + dice.randbytes(20)] for _ in range(10)]
    never = [[b"\x00" + dice.randbytes(dice.randrange(1, 30))] for _ in range(90)]
    other = [[bytes([dice.randrange(2, 256)]) + dice.randbytes(10)] for _ in range(900)]
    return [*rare, *never, *other, [b""], [b"a", b"b", b"c"]]


def rss(kernel: Kernel) -> int:
    """Resident bytes of the supervisor."""
    return int(psutil.Process(kernel.process.pid).memory_info().rss)


def dropped(log: str) -> int:
    """How many messages the log says were dropped."""
    found = re.findall(r"Dropped (a message|\d+ messages) on (?:\w+|any channel) (.*)\.$", log, re.MULTILINE)
    assert {reason for _, reason in found} <= set(REASONS), found
    return sum(1 if number == "a message" else int(number.split()[0]) for number, _ in found)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_floods_on_every_channel_cost_no_cell_and_no_memory(start_kernel: StartKernel) -> None:
    kernel = start_kernel()
    client = kernel.connect(validate=False)
    client.execute("done = []")
    # A first round, so that what grows once and for all has grown: signatures that are remembered are not among them.
    warm = rubbish(client)
    for parts in warm * 50:
        client.sockets["shell"].send_multipart(parts)
    client.execute("1")
    before = rss(kernel)
    floods = []
    for number, channel in enumerate(("shell", "control", "stdin", "hb", "iopub")):
        messages = rubbish(client) if channel != "iopub" else subscriptions(number)
        last = client.session.serialize(client.session.msg("kernel_info_request"))
        if channel == "hb":
            messages, last = [[b"x" * size] for size in range(100)], [b"", b"the last one"]
        elif channel == "iopub":
            last = [b"\x01kernel."]
        floods.append(Flood(kernel.connection, channel, messages, last))
    for flood in floods:
        flood.start()
    cells, beats = 0, 0
    while any(flood.is_alive() for flood in floods):
        run = client.execute(f"done.append({cells}); print({cells})", timeout=30)
        assert run.text() == f"{cells}\n"
        cells += 1
        assert client.ask("kernel_info_request", channel="control").status == "ok"
        assert client.beat(b"%d" % beats) == b"%d" % beats
        beats += 1
    for flood in floods:
        flood.join()
        assert flood.sent == MANY
        assert flood.answer or flood.name == "flood on stdin"
    assert cells > 10
    assert client.evaluate("done == list(range(len(done)))") == "True"
    assert client.evaluate(f"len(done) == {cells}, 'hacked' in globals()") == "(True, False)"
    grown = rss(kernel) - before
    files, threads = psutil.Process(kernel.process.pid).num_fds(), psutil.Process(kernel.process.pid).num_threads()
    kernel.stop()
    print(f"{cells} cells among {5 * MANY} messages; the supervisor has grown by {grown / 1e6:.1f} MB")
    # On hb everything is echoed, on iopub it is no message; on stdin the last one is a request, where none belongs.
    assert dropped(kernel.log) == 3 * MANY + 1 + 50 * len(warm)
    assert len(kernel.log.splitlines()) < 100
    assert "hacked" not in kernel.log
    assert grown < 30_000_000
    assert files < 100
    assert threads < 10


def test_sentences_in_the_log_are_few_and_quote_nothing(start_kernel: StartKernel) -> None:
    kernel = start_kernel()
    client = kernel.connect()
    for _ in range(100):
        for parts in rubbish(client):
            client.sockets["shell"].send_multipart(parts)
    client.execute("1")
    first = kernel.log.splitlines()
    kernel.stop()
    assert len(first) == len(set(first)) <= len(REASONS)
    assert dropped(kernel.log) == 100 * len(rubbish(client))
    assert "hacked" not in kernel.log


@pytest.fixture
def small(start_kernel: StartKernel) -> Kernel:
    """A kernel that takes messages of 100 kB and no larger ones."""
    return start_kernel(env={"IPYMINI_MAX_MESSAGE": "100000"})


def test_message_that_is_too_large_as_a_whole_is_dropped_and_told(small: Kernel) -> None:
    client = small.connect()
    message = client.session.msg("comm_msg", content={"comm_id": "x", "data": {}})
    client.session.send(client.sockets["shell"], message, buffers=[bytes(60_000), bytes(60_000)])
    assert client.execute("1").status == "ok"
    assert "Dropped a message on shell that is too large." in small.log


def test_part_that_is_too_large_costs_its_sender_the_connection_and_nobody_else(small: Kernel) -> None:
    client, hostile = small.connect(), small.connect()
    before = rss(small)
    for channel in ("shell", "control", "stdin", "hb"):
        hostile.sockets[channel].send_multipart([b"", bytes(50_000_000)] if channel == "hb" else [bytes(50_000_000)])
    assert client.execute("1").status == "ok"
    assert rss(small) - before < 20_000_000
    assert hostile.execute("2").result == "2"  # it has come back


def test_lengths_that_are_only_claimed_cost_nothing(kernel: Kernel, client: Client) -> None:
    """ZMTP by hand: a greeting, and then a frame of eight exabytes, or none of it at all."""
    before, files = rss(kernel), psutil.Process(kernel.process.pid).num_fds()
    sockets = []
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)
    for data in (
        greeting + b"\x02" + b"\x7f" + b"\xff" * 7,
        greeting,
        b"\xff" * 1000,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        bytes(10_000),
    ):
        for channel in ("shell", "control", "stdin", "iopub", "hb"):
            sock = socket.create_connection((kernel.connection["ip"], kernel.connection[f"{channel}_port"]))
            sock.sendall(data)
            sockets.append(sock)
    assert client.execute("1").status == "ok"
    assert client.beat() == b"ping"
    for sock in sockets:
        sock.close()
    assert client.execute("2").status == "ok"
    assert rss(kernel) - before < 20_000_000
    assert psutil.Process(kernel.process.pid).num_fds() < files + 10


#: Contents that make no sense for any request.
SENSELESS = [b"", b"nonsense", b"null", b"[]", b"1", b'"text"', b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"{} {}"]
ANSWERED = {
    "shell": ("execute_request", "complete_request", "inspect_request", "history_request", "is_complete_request",
              "comm_info_request", "kernel_info_request", "no_such_request"),
    "control": ("interrupt_request", "shutdown_request", "usage_request", "worker_state_request", "connect_request"),
}  # fmt: skip


@pytest.mark.parametrize(("channel", "msg_type"), [(c, t) for c, types in ANSWERED.items() for t in types])
def test_senseless_request_gets_an_error_and_a_plain_sentence(client: Client, channel: str, msg_type: str) -> None:
    for content in SENSELESS:
        run = ask(client, channel, msg_type, content)
        assert run["status"] == "error", content
        assert re.fullmatch(r"[A-Z][^\n]*\.", run["evalue"]), run
        assert "Traceback" not in str(run["traceback"])
        assert len(run["evalue"]) < 200
    assert client.execute("1").status == "ok"


@pytest.mark.parametrize("msg_type", ["comm_open", "comm_msg", "comm_close"])
def test_senseless_comm_message_gets_busy_and_idle(client: Client, msg_type: str) -> None:
    for content in SENSELESS:
        ask(client, "shell", msg_type, content)
    assert client.execute("1").status == "ok"


@pytest.mark.parametrize("part", [1, 2])
def test_senseless_metadata_or_parent_does_no_harm(client: Client, part: int) -> None:
    for value in SENSELESS:
        ask(client, "shell", "execute_request", b'{"code": "1", "silent": false}', {part: value})
        ask(client, "control", "kernel_info_request", b"{}", {part: value})
    assert client.execute("1").status == "ok"


def ask(
    client: Client, channel: str, msg_type: str, content: bytes, instead: dict[int, bytes] | None = None
) -> dict[str, Any]:
    """Sends a request whose parts are what they are, properly signed; returns the content of the reply."""
    message = client.session.msg(msg_type)
    run = client._runs[message["header"]["msg_id"]] = Run(message)
    parts = [json.dumps(message["header"], default=str).encode(), b"{}", b"{}", content]
    for number, value in (instead or {}).items():
        parts[number] = value
    client.sockets[channel].send_multipart([DELIMITER, client.session.sign(parts), *parts])
    client.finish(run)
    return run.reply if run.expects_reply else {}


def test_senseless_answer_is_dropped_and_the_right_one_taken(kernel: Kernel, client: Client) -> None:
    cell = client.start("input('?')")
    question = client.wait_question(cell)
    for msg_type, content in [
        *(("input_reply", content) for content in SENSELESS),
        ("execute_request", b'{"code": "hacked = 1"}'),
        ("input_request", b'{"value": "hacked"}'),
    ]:
        parts = [json.dumps(client.session.msg(msg_type)["header"], default=str).encode(), b"{}", b"{}", content]
        client.sockets["stdin"].send_multipart([DELIMITER, client.session.sign(parts), *parts])
    client.answer(question, "right")
    assert client.finish(cell).result == "'right'"
    assert "on stdin that is no answer to a question" in kernel.log


def test_who_says_that_everybody_has_left_silences_nobody(kernel: Kernel, client: Client) -> None:
    with zmq.Context() as context, context.socket(zmq.XSUB) as hostile:
        hostile.connect(endpoint(kernel.connection, "iopub"))
        name = uuid.uuid4().hex.encode()
        hostile.send(b"\x01" + name)
        before = len(client.messages)
        while not any(name in str(m["content"]).encode() for _, m in client.messages[before:]):
            client.execute("1")  # until the kernel has heard of it
        for _ in range(100):
            hostile.send(b"\x00")
        run = client.execute("for i in range(10_000): print(i)")
        assert run.text() == "".join(f"{i}\n" for i in range(10_000))


def test_heartbeats_that_nobody_takes_cost_no_memory(kernel: Kernel, client: Client) -> None:
    before = rss(kernel)
    with zmq.Context() as context, context.socket(zmq.DEALER) as hostile:
        hostile.rcvhwm, hostile.linger = 1, 0
        hostile.connect(endpoint(kernel.connection, "hb"))
        for _ in range(3000):
            hostile.send(bytes(60_000))
        assert client.beat() == b"ping"
        assert client.execute("1").status == "ok"
        assert rss(kernel) - before < 60_000_000
