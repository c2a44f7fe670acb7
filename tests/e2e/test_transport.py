"""Sockets, keys, subscribers and clients."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest
import zmq
from jupyter_client.session import Session

from .client import TIMEOUT, Client
from .conftest import StartKernel
from .kernels import Kernel
from .whereabouts import endpoint


def all_of_it(client: Client) -> None:
    """A little of everything: all five channels."""
    assert client.execute("print('hello'); 1").result == "1"
    assert client.ask("kernel_info_request", channel="control").status == "ok"
    cell = client.start("input('?')")
    client.answer(client.wait_question(cell), "yes")
    assert client.finish(cell).result == "'yes'"
    assert client.beat() == b"ping"


@pytest.mark.row("Start", "ipc and tcp; `hmac-sha256`, `hmac-sha512`, an empty key")
@pytest.mark.parametrize("transport", ["tcp", "ipc"])
@pytest.mark.parametrize(
    ("key", "scheme"), [(None, "hmac-sha256"), (None, "hmac-sha512"), ("", "hmac-sha256"), ("k", "hmac-md5")]
)
def test_transports_and_keys(start_kernel: StartKernel, transport: str, key: str | None, scheme: str) -> None:
    kernel = start_kernel(transport=transport, key=key, scheme=scheme)
    all_of_it(kernel.connect())


def test_sockets_of_the_ipc_transport_are_private(start_kernel: StartKernel) -> None:
    kernel = start_kernel(transport="ipc")
    kernel.connect()
    folder = Path(kernel.connection["ip"]).parent
    paths = list(folder.iterdir())
    assert len(paths) == 5
    assert {stat.S_IMODE(p.stat().st_mode) & 0o077 for p in paths} == {0}


def test_the_key_is_nowhere_in_the_worker(kernel: Kernel, client: Client) -> None:
    key = kernel.connection["key"]
    run = client.execute("import os, sys; print(os.environ, sys.argv, get_ipython().config)")
    assert key not in run.text()
    worker = kernel.worker()
    assert key not in " ".join([*worker.cmdline(), *worker.environ().values()])
    assert "zmq" not in client.execute("sorted(m for m in sys.modules if m.startswith(('zmq', 'ipymini_sup')))").result


def raw(client: Client, *frames: bytes, channel: str = "shell") -> None:
    """Sends what no client would."""
    client.sockets[channel].send_multipart(frames)


def test_messages_that_are_not_ours_are_ignored(kernel: Kernel, client: Client) -> None:
    """Nothing is executed, nothing answered, and the kernel lives on."""
    content = {"code": "hacked = True", "silent": False}
    message = client.session.msg("execute_request", content=content)
    signed = client.session.serialize(message)
    delimiter, signature, header, parent, metadata, body = signed
    assert delimiter == b"<IDS|MSG>"
    wrong: list[list[bytes]] = [
        [],
        [b""],
        [b"nonsense"],
        [delimiter],
        [delimiter, signature],
        [delimiter, signature, header],
        [delimiter, b"", header, parent, metadata, body],
        [delimiter, b"0" * 64, header, parent, metadata, body],
        [delimiter, signature[:-1], header, parent, metadata, body],
        [delimiter, signature.upper() + b"\xff", header, parent, metadata, body],
        [delimiter, signature, header, parent, metadata, body + b" "],
        [delimiter, signature, header.replace(b"execute", b"inspect"), parent, metadata, body],
        [delimiter, signature, b"\xff\xfe", parent, metadata, body],
        [signature, header, parent, metadata, body],
    ]
    for channel in ("shell", "control", "stdin"):
        for frames in wrong:
            raw(client, *(frames or [b""]), channel=channel)
    assert client.execute("'hacked' in globals()").result == "False"
    assert [m["msg_type"] for c, m in client.messages if c != "iopub"] == ["execute_reply"]


def test_signed_nonsense_is_survived(kernel: Kernel, client: Client) -> None:
    """Of somebody who has the key and makes mistakes."""
    good = json.dumps(client.session.msg("execute_request")["header"], default=str).encode()
    for parts in (
        [b"", b"", b"", b""],
        [b"[]", b"{}", b"{}", b"{}"],
        [b"{}", b"{}", b"{}", b"{}"],
        [b'{"msg_id": 1, "msg_type": 2}', b"{}", b"{}", b"{}"],
        [b"[" * 100_000, b"{}", b"{}", b"{}"],
        [b"\xff", b"\xff", b"\xff", b"\xff"],
        [good, b"", b"", b""],
        [good, b"{}", b"{}", b"nonsense"],
        [good, b"null", b"null", b"null"],
        [good, b"{}", b"{}", b"[" * 100_000],
        [good, b"{}", b"{}", b"[]"],
        [good, b"\xff", b"\xff", b"\xff"],
    ):
        for channel in ("shell", "control", "stdin"):
            raw(client, b"<IDS|MSG>", client.session.sign(parts), *parts, channel=channel)
    with pytest.MonkeyPatch.context() as patch:
        # The replies to those that could be read have a parent of which this client knows nothing.
        patch.setattr(client, "_take", lambda channel, parts: None)
        for _ in range(3):
            probe = kernel.connect()
            assert probe.execute("1 + 1").result == "2"
            kernel.disconnect(probe)
            client.sockets["shell"].poll(0)
    assert kernel.process.poll() is None


def test_a_replay_is_ignored(client: Client) -> None:
    client.execute("times = 0")
    run = client.start("times += 1")
    client.finish(run)
    frames = client.session.serialize(run.request)
    for _ in range(3):
        raw(client, *frames)
    assert client.execute("times").result == "1"


def test_every_subscriber_is_welcomed(kernel: Kernel, connect: Callable[[], Client]) -> None:
    """To what it has subscribed to, as often as somebody does (JEP 65)."""
    for _ in range(5):
        client = connect()
        assert client.welcome["content"] == {"subscription": ""}
        assert client.messages[0][1]["msg_type"] == "iopub_welcome"
    socket = client.sockets["iopub"]
    before = len(client.messages)
    socket.subscribe(b"kernel.")
    again = client.wait(lambda c, m: m["msg_type"] == "iopub_welcome", since=before)
    assert again["content"] == {"subscription": "kernel."}
    assert client.execute("1").result == "1"


def test_a_late_subscriber_misses_nothing_after_its_welcome(connect: Callable[[], Client]) -> None:
    first = connect()
    cell = first.start("import time\nfor i in range(100_000): print(i)")
    second = connect()
    first.finish(cell)
    last = second.execute("'last'")
    assert last.result == "'last'"
    theirs = second.others(cell.request["header"]["msg_id"])
    text = "".join(m["content"]["text"] for m in theirs if m["msg_type"] == "stream")
    assert cell.text().endswith(text)


@pytest.mark.row("Protocol", "other clients see iopub, replies go to their asker only")
def test_a_client_that_connects_in_the_middle_of_a_flood(kernel: Kernel) -> None:
    """It is welcomed, and can interrupt, also when nobody else is there."""
    first = kernel.connect(validate=False)
    cell = first.start("import os\nwhile True: os.write(1, b'x' * 65536)")
    first.wait_text(cell, "x")
    kernel._clients.remove(first)
    first.drop()
    second = kernel.connect(validate=False)
    second.interrupt()
    seen = second.others(cell.request["header"]["msg_id"])
    second.wait_until(lambda: {"execution_state": "idle"} in [m["content"] for m in seen])
    kernel.disconnect(second)


def test_two_clients(connect: Callable[[], Client]) -> None:
    """Both see what is published; replies and questions go to whoever asked."""
    first, second = connect(), connect()
    run = first.execute("print('mine\\n', end='')\n7")  # the line's end may be a message of its own
    msg_id = run.request["header"]["msg_id"]
    second.wait_until(lambda: len(second.others(msg_id)) == len(run.published))
    seen = [m["msg_type"] for m in second.others(msg_id)]
    assert seen == ["status", "execute_input", "stream", "execute_result", "status"]
    assert [c for c, _ in second.messages if c != "iopub"] == []
    runs = [client.start(f"print({n})") for n, client in enumerate([first, second] * 20)]
    for number, run in enumerate(runs):
        assert (second if number % 2 else first).finish(run).text() == f"{number}\n"


def test_a_client_that_comes_back_under_its_old_name(kernel: Kernel) -> None:
    """As a page that is loaded again in the middle of a cell."""
    first = kernel.connect()
    cell = first.start("input('?')")
    question = first.wait_question(cell)
    first.connect("shell")
    first.connect("stdin")
    first.ask("kernel_info_request")  # by then the new connection is known, and what it replaces forgotten
    first.answer(question, "back again")
    assert first.finish(cell).result == "'back again'"
    kernel.disconnect(first)


def test_clients_that_leave_without_a_word(kernel: Kernel, client: Client) -> None:
    """In the middle of a cell, of a question, of much output: the others notice nothing."""
    for code in ("input('?')", "for i in range(20000): print(i)", "import time; time.sleep(0.2)"):
        leaver = kernel.connect(validate=False)
        cell = leaver.start(code)
        leaver.wait_busy(cell)
        if "input" in code:
            leaver.wait_question(cell)
        kernel._clients.remove(leaver)
        leaver.drop()
        if "input" in code:
            client.interrupt()
        seen = client.others(cell.request["header"]["msg_id"])
        client.wait_until(lambda seen=seen: {"execution_state": "idle"} in [m["content"] for m in seen])  # type: ignore[misc]
        assert client.execute("1").result == "1"


def test_a_large_message_in_both_directions(client: Client) -> None:
    data = os.urandom(5_000_000)
    client.execute(
        "import comm\ndef opened(c, m): c.on_msg(lambda m: c.send({}, buffers=m['buffers']))\n"
        "comm.get_comm_manager().register_target('large', opened)"
    )
    client.ask("comm_open", {"comm_id": "large", "target_name": "large", "data": {}})
    run = client.ask("comm_msg", {"comm_id": "large", "data": {}}, buffers=[data, data])
    (message,) = [m for m in run.published if m["msg_type"] == "comm_msg"]
    assert [bytes(b) for b in message["buffers"]] == [data, data]


def test_a_subscriber_that_stands_still_does_not_hold_up_the_rest(kernel: Kernel, client: Client) -> None:
    """Control and heartbeat are answered, and the cell can be interrupted, while nobody takes its output."""
    cell = client.start("while True: print('x' * 10_000)")
    client.wait_text(cell, "\n")
    iopub = client.sockets["iopub"]
    client._poller.unregister(iopub)  # stands still
    for _ in range(20):
        info = client.send("kernel_info_request", channel="control")
        client.wait_until(lambda info=info: bool(info.replies))  # type: ignore[misc]
        assert client.beat() == b"ping"
    request = client.send("interrupt_request", channel="control")
    client.wait_until(lambda: bool(request.replies))
    client._poller.register(iopub, zmq.POLLIN)  # goes on
    assert client.finish(cell).error == "KeyboardInterrupt"
    *lines, last = cell.text().split("\n")
    assert set(lines) == {"x" * 10_000}
    assert ("x" * 10_000).startswith(last)  # an interrupt may come in the middle of a print


class Still:
    """A subscriber that takes nothing; and, like all that libzmq has, comes back when its connection ends."""

    def __init__(self, client: Client, kernel: Kernel) -> None:
        self._session = Session(key=kernel.connection["key"].encode())
        self._context = zmq.Context()
        self._socket = socket = self._context.socket(zmq.SUB)
        socket.rcvhwm, socket.rcvbuf, socket.linger = 1, 1 << 16, 0
        since = len(client.messages)
        socket.subscribe(b"")
        socket.connect(endpoint(kernel.connection, "iopub"))
        client.wait(lambda channel, message: message["msg_type"] == "iopub_welcome", since=since)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self._socket.close()
        self._context.term()

    def wait(self, kind: str, **content: str) -> None:
        """Takes what there is until such a message comes."""
        while True:
            assert self._socket.poll(int(TIMEOUT * 1000)), f"no {kind}"
            _, parts = self._session.feed_identities(self._socket.recv_multipart())
            message = self._session.deserialize(parts)
            if message["msg_type"] == kind and message["content"].items() >= content.items():
                return


SHOW = (
    "from IPython.display import display\n"
    "for i in range(500): display({'text/plain': f'{i} ' + 'x' * 50_000}, raw=True)"
)
#: Longer than a busy machine may have the client stand still that takes what comes.
PATIENCE = "3"
GIVEN_UP = f"A client took no output for {PATIENCE} s and was given up on; it may miss some.\n"


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_others_miss_nothing_when_a_subscriber_is_given_up_on(start_kernel: StartKernel, transport: str) -> None:
    """All are told once; what it did not take weighs nothing, and each that stands still later is given up on, too."""
    kernel = start_kernel(transport=transport, env={"IPYMINI_SLOW_SUBSCRIBER_TIMEOUT": PATIENCE})
    client = kernel.connect()
    for _ in range(2):
        with Still(client, kernel):
            since = len(client.messages)
            cell = client.execute(SHOW)
            client.wait(lambda c, m: m["content"].get("text") == GIVEN_UP, since=since)
        shown = [int(c["data"]["text/plain"].split()[0]) for c in cell.contents("display_data")]
        assert shown == list(range(500)), (len(shown), [n for n in range(500) if n not in shown])
        assert len([m for _, m in client.messages[since:] if m["content"].get("text") == GIVEN_UP]) == 1


def test_one_that_was_given_up_on_comes_back_and_is_told(start_kernel: StartKernel) -> None:
    """It was the only one, and has all that is published from then on."""
    kernel = start_kernel(env={"IPYMINI_SLOW_SUBSCRIBER_TIMEOUT": PATIENCE})
    client = kernel.connect()
    with Still(client, kernel) as still:
        client.disconnect("iopub")
        request = client.start(SHOW)
        client.wait_until(lambda: bool(request.replies))  # which does not wait for it for ever
        still.wait("iopub_welcome")
        still.wait("stream", text=GIVEN_UP)
        client.start("print('on we go\\n', end='')")  # the line's end may be a message of its own
        still.wait("stream", text="on we go\n")
        still.wait("status", execution_state="idle")


def test_others_hear_of_the_end_when_a_subscriber_stands_still(start_kernel: StartKernel) -> None:
    kernel = start_kernel()
    client = kernel.connect()
    with Still(client, kernel):
        cell = client.start(SHOW)
        client.wait_until(lambda: "display_data" in cell.types)
        shutdown = client.send("shutdown_request", {"restart": False}, channel="control")
        client.wait_until(lambda: bool(shutdown.contents("shutdown_reply")))
        client.finish(cell)
        assert kernel.wait() == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="nothing else tells the most that a process has had")
def test_large_messages_that_nobody_takes_are_few(start_kernel: StartKernel) -> None:
    """The number of those that libzmq keeps says nothing of their size."""
    kernel = start_kernel(env={"IPYMINI_SLOW_SUBSCRIBER_TIMEOUT": PATIENCE})
    client = kernel.connect(validate=False)
    with Still(client, kernel):
        before = most_memory(kernel.process.pid)
        cell = client.execute(SHOW.replace("500)", "40)").replace("50_000", "10_000_000"))
    assert len(cell.contents("display_data")) == 40
    assert most_memory(kernel.process.pid) - before < 200 << 20


def most_memory(pid: int) -> int:
    """Bytes that a process has had at the most."""
    (line,) = [s for s in Path(f"/proc/{pid}/status").read_text().splitlines() if s.startswith("VmHWM")]
    return int(line.split()[1]) << 10
