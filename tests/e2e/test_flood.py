"""Floods of output: nothing is lost, little is kept, and what matters does not wait behind it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import zmq
from jupyter_client.session import Session

from .client import TIMEOUT, Client, Run
from .conftest import StartKernel
from .kernels import Kernel
from .whereabouts import endpoint

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing else tells the most that a process has had")

#: Bytes that a supervisor may have at the most above what it has had before a flood.
ABOVE = 64 << 20
#: Bytes of text that may have left the worker and not have come to a client: in the link, with the supervisor, in libzmq
#: and in the sockets of the system.
UNDER_WAY = 40 << 20


class Reader:
    """A subscriber that looks at what comes only as far as it must, and when it is told to."""

    def __init__(self, kernel: Kernel) -> None:
        self._session = Session(key=kernel.connection["key"].encode())
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.rcvhwm, self._socket.rcvbuf, self._socket.linger = 1, 1 << 16, 0
        self._socket.subscribe(b"")
        self._socket.connect(endpoint(kernel.connection, "iopub"))
        self.take("iopub_welcome")

    def next(self) -> tuple[str, str, bytes]:
        """Type of the next message, the id of the request that it belongs to, and its content."""
        assert self._socket.poll(int(TIMEOUT * 1000)), "nothing comes"
        parts = self._socket.recv_multipart()
        _, rest = self._session.feed_identities(parts)
        header, parent = self._session.unpack(rest[1]), self._session.unpack(rest[2])
        return header["msg_type"], parent["msg_id"], rest[4]

    def take(self, kind: str) -> bytes:
        """The content of the next message of a type."""
        while True:
            found, _, content = self.next()
            if found == kind:
                return content

    def until(self, end: str, run: Run) -> Iterator[bytes]:
        """Contents of the stream messages of a cell, until one of a type that has to come behind them: idle, or error."""
        while True:
            kind, parent, content = self.next()
            if parent != run.request["header"]["msg_id"]:
                continue
            if kind == "stream":
                yield content
            elif kind == end and b'"busy"' not in content:
                return

    def close(self) -> None:
        self._socket.close()
        self._context.term()


@pytest.fixture
def flooded(start_kernel: StartKernel) -> Iterator[tuple[Kernel, Client, Reader]]:
    """A kernel, a client that hears no output, and one that hears nothing else."""
    kernel = start_kernel(env={"IPYMINI_SLOW_SUBSCRIBER_TIMEOUT": "120"})  # nobody is given up on here
    client = kernel.connect(validate=False)
    client.execute("text = 'y' * 9999")
    client.disconnect("iopub")
    reader = Reader(kernel)
    yield kernel, client, reader
    reader.close()


def most_memory(pid: int) -> int:
    """Bytes that a process has had at the most."""
    (line,) = [s for s in Path(f"/proc/{pid}/status").read_text().splitlines() if s.startswith("VmHWM")]
    return int(line.split()[1]) << 10


def supervisor_answers(client: Client) -> None:
    """Many times, while nobody takes output."""
    for _ in range(50):
        assert client.beat() == b"ping"
        info = client.send("kernel_info_request", channel="control")
        client.wait_until(lambda info=info: bool(info.replies))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("for i in range(20_000): print(text)", 20_000 * 9999),
        ("large = text * 300\nfor i in range(60): print(large)", 60 * 300 * 9999),
        ("for i in range(400_000): print('yyyyy')", 400_000 * 5),
        ("import os\nlarge = text.encode()\nfor i in range(20_000): os.write(1, large)", 20_000 * 9999),
    ],
    ids=["prints", "large prints", "lines", "the real stdout"],
)
def test_flood_is_complete_and_the_supervisor_stays_small(
    flooded: tuple[Kernel, Client, Reader], code: str, count: int
) -> None:
    kernel, client, reader = flooded
    before = most_memory(kernel.process.pid)
    request = client.start(code)
    assert sum(content.count(b"y") for content in reader.until("status", request)) == count
    client.wait_until(lambda: bool(request.replies))
    assert most_memory(kernel.process.pid) - before < ABOVE


def test_client_that_reads_slowly_misses_nothing_and_slows_the_cell_down(
    flooded: tuple[Kernel, Client, Reader],
) -> None:
    kernel, client, reader = flooded
    before = most_memory(kernel.process.pid)
    request = client.start("for i in range(10_000): print(text)")
    found = reader.take("stream").count(b"y")
    # While nobody takes anything the cell cannot end: there is room for a part of it only.
    supervisor_answers(client)
    assert not request.replies
    for content in reader.until("status", request):
        found += content.count(b"y")
        assert client.beat() == b"ping"
    client.wait_until(lambda: bool(request.replies))
    assert found == 10_000 * 9999
    assert most_memory(kernel.process.pid) - before < ABOVE


def test_what_has_waited_for_a_slow_client_is_given_back(flooded: tuple[Kernel, Client, Reader]) -> None:
    kernel, client, reader = flooded
    supervisor = psutil.Process(kernel.process.pid)
    request = client.start("for i in range(300): print(text)")  # for which the supervisor loads what signs much faster
    for _ in reader.until("status", request):
        pass
    client.wait_until(lambda: bool(request.replies))
    before = supervisor.memory_info().rss
    request = client.start("for i in range(10_000): print(text)")
    reader.take("stream")
    supervisor_answers(client)
    full = supervisor.memory_info().rss
    assert full - before > 8 << 20
    for _ in reader.until("status", request):
        pass
    end = time.monotonic() + TIMEOUT
    while supervisor.memory_info().rss - before > 4 << 20:
        assert time.monotonic() < end, (before, full, supervisor.memory_info().rss)
        time.sleep(0.02)


def test_error_and_idle_wait_behind_no_more_text_than_is_under_way(flooded: tuple[Kernel, Client, Reader]) -> None:
    """An interrupt acts on the cell at once, however slow the client is that has yet to read what was printed."""
    _, client, reader = flooded
    cell = client.start("while True: print(text)")
    for _ in range(5):
        reader.take("stream")
    supervisor_answers(client)
    interrupt = client.send("interrupt_request", channel="control")
    client.wait_until(lambda: bool(interrupt.replies))
    assert sum(len(content) for content in reader.until("error", cell)) < UNDER_WAY
    assert list(reader.until("status", cell)) == []
    client.wait_until(lambda: bool(cell.replies))
    assert cell.reply["ename"] == "KeyboardInterrupt"
