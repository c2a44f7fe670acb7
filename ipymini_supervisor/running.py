"""The kernels of ours that run on this machine for this user, and which of them somebody means."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ipymini_supervisor import connection as connections
from ipymini_supervisor import connectionfile
from ipymini_supervisor.cli import COMMANDS, PROGRAM, UsageError, parse
from ipymini_supervisor.connection import Connection
from ipymini_supervisor.connectionfile import ConnectionFileError

Content = dict[str, Any]
Ask = Callable[..., list[Content | None]]


class Kernel(NamedTuple):
    """A kernel, and what it has said of itself."""

    connection: Connection
    pid: int | None  #: of the supervisor; None if that is not known
    state: Content | None  #: the content of worker_state_reply; None if it has not answered

    @property
    def id(self) -> str:
        """As Jupyter's server calls it: what the name of the connection file has between "kernel-" and ".json"."""
        return os.path.splitext(os.path.basename(self.connection.path))[0].removeprefix("kernel-")

    @property
    def name(self) -> str:
        """The path of the notebook, where that is known."""
        found = (self.state or {}).get("session_name")
        return found if isinstance(found, str) else ""

    def is_called(self, text: str) -> bool:
        """Whether `text` is its id, its pid, that of its worker, its connection file, or its notebook."""
        pids = {str(self.pid), str((self.state or {}).get("pid"))} - {"None"}
        file = os.path.basename(self.name)
        notebooks = {self.name, file, os.path.splitext(file)[0]} - {""}
        files = {self.connection.path, os.path.basename(self.connection.path)}
        return text == self.id or text in pids | notebooks | files or os.path.realpath(text) == self.connection.path

    def __str__(self) -> str:
        about = [os.path.basename(self.name)] if self.name else []
        return f"{self.id} ({', '.join([*about, f'pid {self.pid}'])})"


def find(ask: Ask, request: Content | None = None, *, within: float = 2.0) -> list[Kernel]:
    """All of them, the oldest first, asked with a worker_state_request.

    They are found by their processes, so that no other kernel is asked what it does not understand.
    """
    found: list[tuple[int, Connection]] = []
    for pid, path in _processes():
        try:
            found.append((pid, connections.parse(connectionfile.read(path), path)))
        except ConnectionFileError:  # it has just ended, or somebody has removed the file
            continue
    states = ask([connection for _, connection in found], "worker_state_request", request, within=within)
    return [Kernel(connection, pid, state) for (pid, connection), state in zip(found, states, strict=True)]


def at(path: str, ask: Ask, request: Content | None = None, *, within: float = 2.0) -> Kernel:
    """The kernel of a connection file.

    :raises ConnectionFileError: the file makes no sense.
    """
    path = os.path.realpath(path)
    connection = connections.parse(connectionfile.read(path), path)
    (state,) = ask([connection], "worker_state_request", request, within=within)
    pid = (state or {}).get("kernel_pid")
    return Kernel(connection, pid if isinstance(pid, int) else None, state)


def choose(text: str, kernels: Sequence[Kernel]) -> Kernel:
    """The one that somebody means by an id or the beginning of one, a pid, a notebook or a connection file.

    :raises UsageError: none is meant, or several may be; the sentence names those that there are.
    """
    fitting = [k for k in kernels if k.is_called(text)] or [k for k in kernels if text and k.id.startswith(text)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError(f"{text!r} may be {_listed(fitting)}; give more of its id, or its pid.")
    there = f"running are {_listed(kernels)}" if kernels else "none is running"
    raise UsageError(f"There is no kernel {text!r}; {there}.")


def _listed(kernels: Sequence[Kernel]) -> str:
    return " or ".join(str(kernel) for kernel in kernels[:20]) + (" or others" if len(kernels) > 20 else "")


def _processes() -> Iterable[tuple[int, str]]:
    """The pids of supervisors of this user, the oldest first, and the paths of their connection files."""
    import psutil

    found: list[tuple[float, int, str]] = []
    for process in psutil.process_iter():
        try:
            if process.uids().effective != os.geteuid():
                continue
            if (arguments := _arguments(process.cmdline())) is None:
                continue
            path = parse(arguments).connection_file
            if path is None:
                path = os.path.join(_runtime_folder(), f"kernel-{process.pid}.json")
            elif not os.path.isabs(path):
                beside = os.path.join(process.cwd(), path)
                path = beside if os.path.exists(beside) else os.path.join(_runtime_folder(), path)
            found.append((process.create_time(), process.pid, path))
        except (psutil.Error, UsageError, OSError):  # it has ended meanwhile, or tells nobody where it is
            continue
    return [(pid, path) for _, pid, path in sorted(found)]


def _arguments(command: Sequence[str]) -> list[str] | None:
    """The arguments of a command line that runs a kernel; None for any other one."""
    for at, word in enumerate(command[:6]):
        module = at > 0 and command[at - 1] == "-m"
        if (module and word == "ipymini_supervisor") or (at <= 1 and os.path.basename(word) == PROGRAM):
            rest = list(command[at + 1 :])
            return None if rest and rest[0] in COMMANDS else rest
        if module or word == "-c":
            return None
    return None


def _runtime_folder() -> str:
    from jupyter_core.paths import jupyter_runtime_dir

    return os.path.abspath(jupyter_runtime_dir())
