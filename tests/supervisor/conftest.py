"""Kernels whose workers follow a script."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest
import zmq
from e2e.client import Client, Run
from e2e.kernels import Kernel

import ipymini_supervisor
from supervisor import fakeworker

_LAUNCHER = """\
#!{python} -IS
import runpy, sys
sys.path.insert(0, sys.argv[3])  # where the supervisor has found the wire
runpy.run_path({program!r}, run_name="__main__")
"""


class Faked:
    """A running kernel with scripted workers, and a client of it."""

    def __init__(self, kernel: Kernel, starts: Path) -> None:
        self.kernel = kernel
        self._starts = starts
        self.client: Client = kernel.connect()

    @property
    def starts(self) -> int:
        """How many workers have been started."""
        return self._starts.stat().st_size if self._starts.exists() else 0

    def run(self, code: str = "cell") -> Run:
        """Executes a cell to its end."""
        return self.client.execute(code)

    def is_well(self) -> None:
        """Whatever the worker does, the supervisor answers."""
        assert self.client.ask("kernel_info_request").status == "ok"
        assert self.client.ask("kernel_info_request", channel="control").status == "ok"
        assert self.client.beat(b"well?") == b"well?"

    def statuses(self) -> list[str]:
        """The statuses of the kernel's own life: those that belong to no request of ours."""
        own = self.client.session.session
        return [
            str(m["content"]["execution_state"])
            for channel, m in self.client.messages
            if channel == "iopub" and m["msg_type"] == "status" and m["parent_header"]["session"] != own
        ]


class StartFaked(Protocol):
    """Starts a kernel whose workers all follow `script`."""

    def __call__(self, script: str, **environment: str) -> Faked: ...


@pytest.fixture(scope="session", autouse=True)
def collector_of_pyzmq() -> None:
    """pyzmq starts a thread of its own with the first message that it does not copy, which stays for good."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as other:
        one.bind("inproc://collector")
        other.connect("inproc://collector")
        one.send(bytes(1 << 20), copy=False)
        other.recv()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartFaked]:
    """Starts kernels, which are shut down with the test and leave nothing."""
    interpreter = tmp_path / "python"
    interpreter.write_text(_LAUNCHER.format(python=sys.executable, program=fakeworker.__file__))
    interpreter.chmod(0o700)
    numbers = count()
    with ExitStack() as stack:

        def begin(script: str, **environment: str) -> Faked:
            folder = tmp_path / f"kernel{next(numbers)}"
            folder.mkdir()
            (folder / "script").write_text(script)
            variables = {
                "FAKE_SCRIPT": str(folder / "script"),
                "FAKE_STARTS": str(folder / "starts"),
                # The kernel's current folder is another one: the package under test has to be found all the same.
                "PYTHONPATH": str(Path(ipymini_supervisor.__file__).parent.parent),
                **environment,
            }
            kernel = Kernel(folder, "--python", str(interpreter), env=variables)
            stack.callback(kernel.stop)
            return Faked(kernel, folder / "starts")

        yield begin
