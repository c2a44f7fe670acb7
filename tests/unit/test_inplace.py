"""The line to a provisioner that wants restarts in place."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from fakes import Clock
from ipymini_supervisor.inplace import LATE, VARIABLE, Line


def test_line_is_taken_out_of_the_environment_and_is_not_inherited() -> None:
    ours, theirs = socket.socketpair()
    os.set_inheritable(theirs.fileno(), True)
    environment = {VARIABLE: str(theirs.detach()), "OTHER": "1"}
    number = int(environment[VARIABLE])
    line = Line.take(environment)
    assert line is not None
    assert environment == {"OTHER": "1"}
    assert not os.get_inheritable(number)
    assert line.open()
    ours.close()
    assert not line.open()
    line.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def line(clock: Clock) -> Iterator[tuple[Line, socket.socket]]:
    """A line, and its other end."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    line = Line.take({VARIABLE: str(theirs.detach())}, clock)
    assert line is not None
    yield line, ours
    line.close()
    ours.close()


def told(end: socket.socket) -> bytes:
    try:
        return end.recv(10)
    except BlockingIOError:
        return b""


@pytest.mark.parametrize("order", ["ask begin done", "begin ask done", "begin done ask"])
def test_who_asks_is_told_once_when_it_has_been_done(line: tuple[Line, socket.socket], order: str) -> None:
    ours, theirs = line
    for _ in range(3):
        for number, what in enumerate(order.split(), 1):
            if what == "ask":
                theirs.send(b"us\n")
                assert ours.hear()
            elif what == "begin":
                ours.begin("us")
            else:
                ours.done()
            assert told(theirs) == (b"R" if number == 3 else b"")


def test_nobody_is_told_who_has_not_asked(line: tuple[Line, socket.socket]) -> None:
    """A restart that a frontend has wanted is not the one that a provisioner asks for later."""
    ours, theirs = line
    ours.begin("frontend")
    ours.done()
    theirs.send(b"us\n")
    assert ours.hear()
    assert ours.hear()  # nothing
    ours.begin("us")
    assert told(theirs) == b""
    ours.begin("frontend")  # another one, while the first goes on
    ours.done()
    assert told(theirs) == b"R"


def test_restart_that_nobody_asked_about_is_not_the_next_one(line: tuple[Line, socket.socket], clock: Clock) -> None:
    """A client that shares the manager's session may want one, and the manager another one, later."""
    ours, theirs = line
    for _ in range(2):
        ours.begin("us")
        ours.done()
        clock.advance(LATE + 1)
        theirs.send(b"us\n")
        assert ours.hear()
        assert told(theirs) == b""
        ours.begin("us")
        ours.done()
        assert told(theirs) == b"R"


def test_other_end_that_is_gone_is_nobodys_error(line: tuple[Line, socket.socket]) -> None:
    ours, theirs = line
    theirs.send(b"us\n")
    theirs.close()
    assert ours.hear()
    ours.begin("us")
    ours.done()
    assert not ours.hear()


@pytest.mark.parametrize("text", ["", "x", "-1", "1", "999999", "12345678901234567890", "\u0663"])
def test_variable_that_is_no_line_is_left_out(text: str) -> None:
    environment = {VARIABLE: text}
    assert Line.take(environment) is None
    assert environment == {}


def test_descriptor_that_is_no_socket_is_left_alone() -> None:
    read, write = os.pipe()
    try:
        assert Line.take({VARIABLE: str(read)}) is None
        os.fstat(read)
    finally:
        os.close(read)
        os.close(write)


def test_somebody_who_does_not_listen_blocks_nobody(line: tuple[Line, socket.socket]) -> None:
    ours, theirs = line
    for _ in range(10_000):
        theirs.send(b"us\n")
        assert ours.hear()
        ours.begin("us")
        ours.done()
    assert ours.open()
