"""Kernels as processes: started as a launcher starts them, ended with a look at what is left."""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.connect import write_connection_file

from .client import TIMEOUT, Client

#: A variable that all that a kernel starts inherits, so that a test finds what is left of it.
MARK = "E2E_TEST_MARK"
#: Where kernels listen. Their ports are chosen before they are started, and whoever runs other kernels at the same time
#: may be given the same ones; so each run of tests has an address of its own where the system has more than one.
ADDRESS = (
    f"127.0.{random.SystemRandom().randrange(256)}.{os.getpid() % 254 + 1}" if sys.platform == "linux" else "127.0.0.1"
)


def marked(mark: str) -> list[psutil.Process]:
    """The processes that carry a mark, zombies left out."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                found.append(process)
        except psutil.Error:
            pass
    return found


def wait_gone(processes: Sequence[psutil.Process], timeout: float) -> list[psutil.Process]:
    """Waits until processes have ended; returns those that have not. A zombie has ended, whoever has to reap it."""
    if sys.platform != "linux":
        return psutil.wait_procs(processes, timeout)[1]
    left = []
    deadline = time.monotonic() + timeout
    for process in processes:
        try:
            fd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            continue
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000) and process.is_running():
                left.append(process)
        finally:
            os.close(fd)
    return left


def assert_gone(mark: str, timeout: float = TIMEOUT) -> None:
    """Waits until no process carries the mark; ends those that are left by their pids.

    :raises AssertionError: there were some.
    """
    left = wait_gone(marked(mark), timeout)
    named = [f"{p.pid} {command(p)}" for p in left]
    for process in left:
        process.kill()
    wait_gone(left, TIMEOUT)
    assert not named, f"left running: {named}"


def command(process: psutil.Process) -> str:
    """The command line of a process; "" if it has ended meanwhile."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def below(pid: int, name: str) -> list[psutil.Process]:
    """The processes of a name below process `pid` that have not ended; others may come and go, as snapshots do."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        try:
            if process.name() == name and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


class Kernel:
    """A running kernel.

    :param folder: an empty folder of its own, which is its current one.
    :param command: what to start instead of the installed package; the connection file's path is added.
    :param lenient: for kernels that are not ours: how they end is not looked at, nor the account of their messages.
    :param launcher: the process that the kernel takes for its launcher; ours if it is not given.
    :param files: what is in the folder before the kernel starts, by name; IPython's folder is `ipython`.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        transport: str = "tcp",
        key: str | None = None,
        scheme: str = "hmac-sha256",
        command: Sequence[str] | None = None,
        lenient: bool = False,
        launcher: int | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        for name, content in (files or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
        self.mark = uuid.uuid4().hex
        self._lenient = lenient
        self.file = str(folder / f"kernel-{self.mark}.json")
        # Short, because the path of a socket has little room.
        self._sockets = tempfile.mkdtemp(prefix="ipc-", dir="/tmp") if transport == "ipc" else ""
        _, connection = write_connection_file(
            self.file,
            ip=f"{self._sockets}/k" if transport == "ipc" else ADDRESS,
            key=uuid.uuid4().hex.encode() if key is None else key.encode(),
            transport=transport,
            signature_scheme=scheme,
        )
        self.connection: dict[str, Any] = {**connection, "key": text(connection["key"])}
        environment = {**os.environ, "IPYTHONDIR": str(folder / "ipython"), MARK: self.mark}
        environment["IPYMINI_WARM"] = "0"  # it would take a second of the processor's time from each test
        environment["JPY_PARENT_PID"] = str(launcher or os.getpid())
        environment.pop("PYTEST_CURRENT_TEST", None)  # ipykernel does less where it finds this
        environment.update(env or {})
        self._log = folder / "kernel.log"
        self._clients: list[Client] = []
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*(command or (sys.executable, "-m", "ipymini_supervisor")), "-f", self.file, *arguments],
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """What the supervisor wrote."""
        return self._log.read_text()

    def connect(self, *, validate: bool = True) -> Client:
        """A new client; it is closed with the kernel at the latest."""
        client = Client(self.connection, validate=validate, lenient=self._lenient)
        if self._lenient:
            client.signal = self._signal
        self._clients.append(client)
        return client

    def _signal(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def disconnect(self, client: Client) -> None:
        """Closes a client, after a look at its account."""
        self._clients.remove(client)
        client.close()

    def worker(self) -> psutil.Process:
        """The worker's process: neither the guardian nor a snapshot. The kernel's own, if that is not ours."""
        if self._lenient:
            return psutil.Process(self.process.pid)
        deadline = time.monotonic() + TIMEOUT
        while True:
            found = []
            for process in psutil.Process(self.process.pid).children():
                try:
                    if process.name() not in ("sh", "ipymini-snap"):
                        found.append(process)
                except psutil.NoSuchProcess:  # a snapshot that was not needed any longer
                    continue
            if len(found) == 1:
                return found[0]
            # A snapshot that has just been taken has not yet got its name.
            assert len(found) > 1, "there is no worker"
            assert time.monotonic() < deadline, found

    def wait(self, timeout: float = TIMEOUT) -> int:
        """The supervisor's exit status, when it has ended."""
        return self.process.wait(timeout)

    def _ended(self) -> int | None:
        """The exit status; None for one that is not ours and does not end, as happens to those with threads."""
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            if not self._lenient:
                raise
            return None

    def stop(self) -> None:
        """Shuts the kernel down, unless that has happened, and checks that nothing is left."""
        try:
            if self.process.poll() is None:
                client = self.connect()
                client.send("shutdown_request", {"restart": False}, channel="control")
                assert self._ended() == 0 or self._lenient, (self.process.returncode, self.log)
            assert "Traceback" not in self.log or self._lenient, self.log
        finally:
            for client in self._clients:
                client.drop()
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if self._sockets:
                left = os.listdir(self._sockets)
                shutil.rmtree(self._sockets)
                assert not left or self._lenient, left
            try:
                assert_gone(self.mark)
            except AssertionError:
                if not self._lenient:
                    raise


def text(key: bytes | str) -> str:
    """A key as connection files have it."""
    return key.decode() if isinstance(key, bytes) else key
