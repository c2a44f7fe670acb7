"""The kernels that are compared, as processes: started, looked at from outside, ended."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from .client import Client, NoAnswer

#: The kernel that this is all about, with and without snapshots before cells, and the one that it is compared with.
OURS, OURS_PLAIN, REFERENCE = "ipymini-supervisor", "without snapshots", "ipykernel"
PORTS = ("shell", "iopub", "stdin", "control", "hb")


class Spec(NamedTuple):
    """How a kernel is started."""

    name: str
    module: str  #: that there is if it is installed
    command: tuple[str, ...]  #: the connection file's path is added
    env: Mapping[str, str] = {}

    @property
    def ours(self) -> bool:
        """Whether it is this project's."""
        return self.module == "ipymini_supervisor"


_OURS = (sys.executable, "-P", "-m", "ipymini_supervisor", "-f")
SPECS = (
    Spec(OURS, "ipymini_supervisor", _OURS),
    Spec(OURS_PLAIN, "ipymini_supervisor", _OURS, {"IPYMINI_SNAPSHOTS": "off"}),
    Spec(REFERENCE, "ipykernel", (sys.executable, "-m", "ipykernel_launcher", "-f")),
    Spec("ipymini", "ipymini", (sys.executable, "-Xfrozen_modules=off", "-m", "ipymini", "-f")),
    Spec("xeus-python", "xpython_launcher", (sys.executable, "-m", "xpython_launcher", "-f")),
    Spec("akernel", "akernel", (str(Path(sys.executable).parent / "akernel"), "launch", "-f")),
)


def installed() -> list[Spec]:
    """Those that can be started here."""
    return [spec for spec in SPECS if importlib.util.find_spec(spec.module) is not None]


def works(spec: Spec) -> bool:
    """Whether it comes up here at all."""
    try:
        with Kernel(spec) as kernel:
            run = kernel.client.start("pass")
            kernel.client.wait(lambda: run.reply is not None, 20)
            return True
    except (NoAnswer, OSError):
        return False


class Kernel:
    """A running kernel, in an empty folder of its own."""

    def __init__(self, spec: Spec, env: Mapping[str, str] | None = None) -> None:
        self.spec = spec
        with ExitStack() as stack:
            folder = tempfile.mkdtemp(prefix="bench-")
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self.connection = connection()
            file = Path(folder, f"kernel-{uuid.uuid4()}.json")
            file.write_text(json.dumps(self.connection))
            environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
            environment |= {"IPYTHONDIR": f"{folder}/ipython", "JPY_PARENT_PID": str(os.getpid())}
            environment |= {"IPYMINI_LOG_LEVEL": "CRITICAL", **spec.env, **(env or {})}
            self.started = time.perf_counter()
            self.process = subprocess.Popen(
                [*spec.command, str(file)],
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            stack.callback(self._end)
            self.client = Client(self.connection)
            stack.callback(self.client.close)
            self._stack = stack.pop_all()

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def ready(self) -> Kernel:
        """The kernel itself, when it has answered, has executed a cell, and iopub is connected.

        :raises NoAnswer: it does not come to that.
        """
        self.client.ask("kernel_info_request", {})
        for _ in range(100):
            run = self.client.start("pass")
            try:
                self.client.finish(run, 1.0)
                return self
            except NoAnswer:  # what was published before we were connected is lost with most kernels
                if run.reply is None:
                    self.client.wait(lambda run=run: run.reply is not None)  # type: ignore[misc]
        raise NoAnswer("Nothing is published.")

    def family(self) -> list[psutil.Process]:
        """All its processes."""
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def proportional(self) -> float:
        """Megabytes that the whole tree has, what is shared counted once."""
        return sum(_proportional(process.pid) for process in self.family()) / 2**20

    def wake_ups(self) -> int:
        """How often a thread of the tree has been switched to so far."""
        count = 0
        for process in self.family():
            for task in Path(f"/proc/{process.pid}/task").iterdir():
                lines = (task / "status").read_text().splitlines()
                count += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))
        return count

    def interrupt(self) -> None:
        """As a launcher does it: a message for those that want one, SIGINT for the others."""
        if self.spec.ours:
            self.client.send("interrupt_request", {}, channel="control")
        else:
            os.killpg(self.process.pid, signal.SIGINT)

    def _end(self) -> None:
        family = self.family()
        self.process.terminate()
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            pass
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        self.process.wait()


def connection() -> dict[str, Any]:
    """A connection on ports that nobody else has at this moment."""
    # An address of its own, where there are others: kernels that start at the same time take each other's ports.
    ip = f"127.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(1, 255)}"
    ip = ip if sys.platform == "linux" else "127.0.0.1"
    with ExitStack() as stack:
        ports: Sequence[int] = [_port(stack, ip) for _ in PORTS]
    made: dict[str, Any] = {f"{name}_port": port for name, port in zip(PORTS, ports, strict=True)}
    made |= {"ip": ip, "transport": "tcp", "signature_scheme": "hmac-sha256", "key": uuid.uuid4().hex}
    return {**made, "kernel_name": ""}


def _port(stack: ExitStack, ip: str) -> int:
    probe = stack.enter_context(socket.socket())
    probe.bind((ip, 0))
    return int(probe.getsockname()[1])


def _proportional(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
