"""The commands that look after running kernels: ps, stack, interrupt, shutdown.

They speak the control channel through the connection file, as any frontend may, and have nothing that a frontend has
not. `ps --watch` draws its table itself: for eleven columns no library has to be installed beside a kernel.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ipymini_supervisor import running, table
from ipymini_supervisor.asking import alive, ask
from ipymini_supervisor.cli import PROGRAM, UsageError
from ipymini_supervisor.connectionfile import ConnectionFileError
from ipymini_supervisor.running import Kernel

#: Seconds that a kernel has to answer; one that is well needs a few milliseconds, and with a stack half a second,
#: and a second more on a machine that is busy.
WITHIN = 3.0
#: Seconds that `shutdown` waits for the end, by default: more than a kernel has by itself.
END_WITHIN = 15.0
_CLEAR = "\x1b[H\x1b[J"
_RUNGS = {
    0: "Nothing runs.",
    1: "SIGINT was sent.",
    2: "SIGINT was sent again; the cell says where it is stuck. Once more kills the worker.",
    3: "The worker was killed.",
}


def operate(args: Sequence[str]) -> int:
    """Carries out one of the commands; returns the exit status.

    :param args: the name of the command, and its arguments.
    :raises UsageError: it cannot be carried out as asked.
    """
    options = _parser().parse_args(args)
    try:
        match options.command:
            case "ps":
                return _ps(watch=options.watch, as_json=options.json)
            case "stack":
                return _stack(options.kernel, as_json=options.json)
            case "interrupt":
                return _interrupt(options.kernel, as_json=options.json)
            case _:
                return _shutdown(options.kernel, as_json=options.json, within=options.within)
    except ConnectionFileError as error:
        raise UsageError(str(error)) from None
    except KeyboardInterrupt:
        return 0 if options.command == "ps" else 130
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def record(kernel: Kernel) -> dict[str, Any]:
    """A kernel as `ps --json` shows it; what is not known is None. Times in seconds, memory in bytes."""
    state = kernel.state or {}
    names = ("cell", "seconds", "cpu_seconds", "memory_bytes", "snapshots", "deaths", "uptime_seconds")
    return {
        "id": kernel.id,
        "pid": kernel.pid,
        "state": state.get("state") if kernel.state is not None else "no answer",
        "worker_pid": state.get("pid"),
        **{name: state.get(name) for name in names},
        "notebook": kernel.name or None,
        "connection_file": kernel.connection.path,
    }


def _ps(*, watch: float | None, as_json: bool) -> int:
    before: Mapping[str, float] = {}
    at = time.monotonic()
    while True:
        records = [record(kernel) for kernel in running.find(ask, within=WITHIN)]
        now = time.monotonic()
        used = {r["id"]: r["cpu_seconds"] for r in records if r["cpu_seconds"] is not None}
        share = {id: max(0.0, used[id] - before[id]) / (now - at) for id in used if id in before}
        if as_json:
            print(json.dumps(records, indent=None if watch else 2), flush=True)
        else:
            head = _CLEAR if watch and sys.stdout.isatty() else ""
            lines = table.table(records, share if watch else None) if records else ["No kernel is running."]
            if watch and sys.stdout.isatty():
                columns, rows = os.get_terminal_size()
                lines = [line[:columns] for line in lines[: rows - 1]]
            print(head + "\n".join(lines), flush=True)
        if watch is None:
            return 0
        before, at = used, now
        time.sleep(watch)


def _find(text: str, request: dict[str, Any] | None = None) -> Kernel:
    """The kernel that is meant, with its state.

    :raises UsageError: none is, or it does not answer.
    """
    looks_like_a_path = os.sep in text or text.endswith(".json")
    if looks_like_a_path and os.path.isfile(text):
        kernel = running.at(text, ask, request, within=WITHIN)
    else:
        kernel = running.choose(text, running.find(ask, request, within=WITHIN))
    if kernel.state is None:
        raise UsageError(f"The kernel {kernel.id} does not answer; it may have ended, or not be one of ours.")
    return kernel


def _stack(text: str, *, as_json: bool) -> int:
    kernel = _find(text)
    (state,) = ask([kernel.connection], "worker_state_request", {"stack": True}, within=WITHIN)
    if state is None:
        raise UsageError(f"The kernel {kernel.id} does not answer.")
    kernel = kernel._replace(state=state)
    lines = [str(line) for line in state.get("stack") or []]
    if as_json:
        print(json.dumps({**record(kernel), "stack": lines}, indent=2))
        return 0
    cell = f", cell [{state['cell']}] for {table.duration(state.get('seconds'))}" if state.get("cell") else ""
    print(f"{kernel}: {state.get('state')}{cell}")
    if lines:
        print("Python stack (most recent call last):")
    for line in lines:
        print(f"  {line}")
    if not lines and state.get("state") not in ("idle", "starting", "dead"):
        print("Its Python stack cannot be had.")
    return 0


def _interrupt(text: str, *, as_json: bool) -> int:
    kernel = _find(text)
    (answer,) = ask([kernel.connection], "interrupt_request", within=WITHIN)
    if answer is None:
        raise UsageError(f"The kernel {kernel.id} does not answer.")
    if as_json:
        print(json.dumps({"id": kernel.id, **answer}, indent=2))
    else:
        print(f"{kernel}: {_RUNGS.get(answer.get('rung', 0), '')}")
    return 0


def _shutdown(text: str, *, as_json: bool, within: float) -> int:
    kernel = _find(text)
    (answer,) = ask([kernel.connection], "shutdown_request", {"restart": False}, within=WITHIN)
    if answer is None:
        raise UsageError(f"The kernel {kernel.id} does not answer.")
    deadline = time.monotonic() + within
    while kernel.pid is not None and _runs(kernel.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    ended = kernel.pid is not None and not _runs(kernel.pid)
    if as_json:
        print(json.dumps({"id": kernel.id, "pid": kernel.pid, "ended": ended}, indent=2))
    else:
        print(f"{kernel}: {'has ended.' if ended else 'is going to end.'}")
    return 0


def _runs(pid: int) -> bool:
    """Whether a process has not ended; a zombie has, whoever has to reap it."""
    import psutil

    try:
        return alive(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}; `{self.prog} --help` lists the options.")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.1 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0.1 to 86400")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=PROGRAM, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    which = "the kernel: its id or the beginning of it, its pid, its notebook, or a connection file"

    def add(name: str, description: str, *, kernel: bool = True) -> argparse.ArgumentParser:
        command = commands.add_parser(name, description=description, allow_abbrev=False)
        if kernel:
            command.add_argument("kernel", metavar="KERNEL", help=which)
        command.add_argument("--json", action="store_true", help="for programs")
        return command

    ps = add("ps", "List your kernels that run here, and what they do.", kernel=False)
    ps.add_argument(
        "--watch",
        nargs="?",
        type=_seconds,
        const=2.0,
        metavar="SECONDS",
        help="again every so many seconds (default: 2); CPU is then what each uses at the moment",
    )
    add("stack", "Say where a kernel is right now, whatever it does.")
    add("interrupt", "Interrupt the cell that runs; the third time kills the worker, and a snapshot takes its place.")
    shutdown = add("shutdown", "End a kernel. A Jupyter server that has started it may start it again.")
    shutdown.add_argument(
        "--within",
        type=_seconds,
        default=END_WITHIN,
        metavar="SECONDS",
        help="how long to wait for its end (default: %(default)s)",
    )
    return parser
