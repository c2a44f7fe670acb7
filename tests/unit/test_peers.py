"""Which of the connections of a bound socket stand still."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ipymini_supervisor import peers


class House:
    """A listener with two connections, each as our end and the other one."""

    def __init__(self, stack: ExitStack, listener: socket.socket, address: str) -> None:
        self.address = address
        self.ends = []
        for _ in range(2):
            other = stack.enter_context(socket.socket(listener.family))
            other.connect(listener.getsockname())
            ours = stack.enter_context(listener.accept()[0])
            ours.setblocking(False)
            self.ends.append((ours, other))

    def fill(self, number: int) -> int:
        """Writes until nothing more is taken; returns the descriptor."""
        ours = self.ends[number][0]
        try:
            while True:
                ours.send(bytes(10_000))
        except BlockingIOError:
            return ours.fileno()


@pytest.fixture(params=["tcp", "ipc"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    with ExitStack() as stack:
        if request.param == "tcp":
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            address = f"0.0.0.0:{listener.getsockname()[1]}"
        else:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            address = str(tmp_path / "s-1")
            listener.bind(address)
            listener.listen()
        stack.enter_context(socket.create_server(("127.0.0.1", 0)))  # one more, which is none of our business
        yield House(stack, listener, address)


def test_only_the_one_that_stands_still_is_ended(house: House) -> None:
    assert peers.waiting(house.address) == {}
    full = house.fill(0)
    before = peers.waiting(house.address)
    assert list(before) == [full]
    assert peers.end(house.address, before) == (1, 1)
    with pytest.raises(BrokenPipeError):
        house.ends[0][0].send(b"x")
    house.ends[1][0].send(b"x")
    assert house.ends[1][1].recv(1) == b"x"


def test_one_that_has_taken_something_meanwhile_is_not_ended(house: House) -> None:
    full = house.fill(0)
    before = peers.waiting(house.address)
    assert peers.end(house.address, {full: before[full] + 1}) == (0, 2)
    assert peers.end(house.address, {}) == (0, 2)
    while len(house.ends[0][1].recv(100_000, socket.MSG_DONTWAIT)) == 100_000:
        pass
    assert peers.end(house.address, before) == (0, 2)


def test_others_sockets_are_left_alone(house: House) -> None:
    before = {house.fill(0): 0}
    assert peers.waiting("127.0.0.1:1") == {}
    assert peers.end("/nowhere", before) == (0, 0)
