"""The line to a provisioner that wants restarts in place."""

from __future__ import annotations

import os
import socket

import pytest

from ipymini_supervisor.inplace import VARIABLE, Line


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
    line.tell()
    assert ours.recv(10) == b"R"
    ours.close()
    assert not line.open()
    line.tell()  # nobody is there, which is nobody's error
    line.close()


def test_answer_that_was_missed_is_given_again() -> None:
    """Who asks after the answer to its request has thrown that away."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    line = Line.take({VARIABLE: str(theirs.detach())})
    assert line is not None
    ours.send(b"A")
    assert line.hear()
    line.begin()
    ours.send(b"A")
    assert line.hear()
    with pytest.raises(BlockingIOError):  # there has been no restart, and this one goes on
        ours.recv(10)
    line.tell()
    assert ours.recv(10) == b"R"
    ours.send(b"A")
    assert line.hear()
    assert ours.recv(10) == b"R"
    assert line.hear()  # nothing
    ours.close()
    assert not line.hear()
    line.close()


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


def test_somebody_who_does_not_listen_blocks_nobody() -> None:
    ours, theirs = socket.socketpair()
    line = Line.take({VARIABLE: str(theirs.detach())})
    assert line is not None
    for _ in range(100_000):
        line.tell()
    assert line.open()
    line.close()
    ours.close()
