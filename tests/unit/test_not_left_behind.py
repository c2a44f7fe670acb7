"""Moments of requests in which something must not be left undone: interrupts that come late, sends that fail."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from ipymini_worker import context, interrupts
from ipymini_worker.interrupts import ThreadGate, not_swallowed
from ipymini_worker.joining import Joining
from ipymini_worker.loop import Loop
from ipymini_worker.requests import Requests
from ipymini_worker.running import Running
from ipymini_worker.wire import Frame, Kind

PARTS = [b'{"msg_type": "comm_msg"}', b"{}", b"{}", b"{}"]


@pytest.fixture
def request_that_runs() -> Iterator[context.Request]:
    before = context.active()
    made = context.Request(Frame(Kind.REQUEST, 7, 0, [b'{"msg_type": "execute_request"}', *PARTS[1:]]))
    context.activate(made)
    yield made
    context.activate(before)


def test_handler_of_a_body_that_is_over_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt that came while it was taken away left it in place, and it was taken for the user's from then on."""
    real = interrupts.get_handler

    def late(number: int) -> Any:
        found = real(number)
        if "not_swallowed" in getattr(found, "__qualname__", ""):
            signal.raise_signal(signal.SIGINT)
        return found

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # others may have another one
    monkeypatch.setattr(interrupts, "get_handler", late)
    try:
        with pytest.raises(KeyboardInterrupt), not_swallowed():
            pass
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_request_that_comes_to_a_cell_of_a_thread_is_answered_with_its_gate_closed(
    request_that_runs: context.Request,
) -> None:
    frames = [Frame(Kind.REQUEST, 8, 0, PARTS), Frame(Kind.NOTHING, 0, 0, [])]
    link: Any = SimpleNamespace(send=lambda *_: None, receive=lambda: frames.pop(0), give_back=lambda frames: None)
    found: list[bool] = []

    def in_a_thread() -> None:
        gate = ThreadGate()
        answering: Any = SimpleNamespace(gate=gate, answer_visitor=lambda request: found.append(gate.is_open))
        joining = Joining(link, Loop(), answering)
        joining.begin(request_that_runs)
        with gate.opened():
            joining.one()
            found.append(gate.is_open)

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    assert found == [False, True]


def test_that_a_cell_has_begun_is_still_to_be_said_if_it_could_not(request_that_runs: context.Request) -> None:
    sent: list[bytes] = []

    def send(*args: Any, before: bytes) -> None:
        if not sent:
            sent.append(b"")
            raise MemoryError
        sent.append(before)

    gate = SimpleNamespace(closed=lambda deliver: nullcontext())
    shell = SimpleNamespace(gate=gate, announce=lambda number, code: b"name")
    requests: Any = SimpleNamespace(_shell=shell, _publisher=SimpleNamespace(send=send))
    request_that_runs.run.unsaid = b"started"
    with pytest.raises(MemoryError):
        Requests._begin(requests, {"code": "", "silent": False}, 1)
    assert request_that_runs.run.unsaid == b"started"
    Requests._begin(requests, {"code": "", "silent": False}, 1)
    assert sent[1:] == [b"startedname"]
    assert request_that_runs.run.unsaid == b""


def test_text_is_recorded_only_by_an_ipython_that_keeps_it(request_that_runs: context.Request) -> None:
    """Up to 9.0 it has neither the place nor the names that are asked for."""
    request_that_runs.run.count = 1
    shell: Any = SimpleNamespace(history_manager=SimpleNamespace())
    shell._tape = lambda channel, count: Running._tape(shell, channel, count)
    Running.record(shell, "stdout", "text", request_that_runs.run)
    assert request_that_runs.run.recorded == 0
