"""What is told about a dead worker. Pure."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any, NamedTuple

from ipymini_supervisor import stack
from ipymini_worker.wire import LINK_LOST

#: Under this key the facts stand in the metadata of the error, for programs.
MIME = "application/vnd.ipymini.obituary+json"
_MEANINGS = {
    signal.SIGSEGV: "segmentation fault",
    signal.SIGBUS: "bus error",
    signal.SIGFPE: "arithmetic error",
    signal.SIGILL: "illegal instruction",
    signal.SIGABRT: "abort",
    signal.SIGKILL: "killed from outside",
    signal.SIGTERM: "terminated",
}
#: Lines of native stderr that are repeated in the error.
_STDERR_LINES = 5
#: The same where they are folded.
_FOLDED_LINES = 200


class Death(NamedTuple):
    """The facts."""

    status: int  #: exit status, or minus the signal
    reason: str = ""  #: what we killed it for, as the rest of a sentence about it; empty if we did not
    fault: str = ""  #: what faulthandler wrote
    stderr: str = ""  #: the last that native code wrote to stderr
    peak: int = 0  #: largest resident size in bytes
    uptime: float = 0.0  #: seconds
    oom_kills: int | None = None  #: processes that the system killed for memory in our cgroup meanwhile; None: unknown
    cell: int = 0  #: prompt number of the cell that was executing; 0 for none
    restored: str = ""  #: what the session was restored to, in sentences; empty if it is lost


def cause(death: Death) -> str:
    """How it ended, as the rest of a sentence that begins with "The worker"."""
    if death.reason:
        return death.reason
    if death.status == LINK_LOST:
        return "ended, because something closed file descriptors that it had not opened"
    if death.status >= 0:
        return f"ended with exit status {death.status}"
    if -death.status == signal.SIGKILL and death.oom_kills:
        return "was killed by the system, because memory ran out"
    name = _name(death.status)
    meaning = next((text for number, text in _MEANINGS.items() if number == -death.status), "")
    return f"died of {name} ({meaning})" if meaning else f"died of {name}"


def sentence(death: Death) -> str:
    """The one plain sentence."""
    what, because, why = cause(death).partition(", because")
    where = f" in cell [{death.cell}]" if death.cell else ""
    return f"The worker {what}{where}{because}{why}."


def error(death: Death) -> dict[str, Any]:
    """The content of `error`, which is that of the execute_reply as well (protocol: Execution errors)."""
    said = sentence(death)
    native, dump = _fatal(death)
    lines = [f"\x1b[31mWorkerDied\x1b[39m: {said}", *stack.show(stack.parse(dump))]
    if death.status < 0 and not death.reason and (last := _last_lines(native)):
        lines += ["Last words on stderr:", *(f"  {line}" for line in last)]
    lines.append(f"Peak memory: {death.peak / 2**20:,.0f} MiB. {outcome(death)}")
    return {"ename": "WorkerDied", "evalue": said, "traceback": lines}


def details(death: Death) -> str:
    """What `error` has left out, folded, as HTML: all last words, the whole dump; "" if there are no more words."""
    if death.status >= 0 or death.reason:
        return ""
    native, dump = _fatal(death)
    words = _last_lines(native, _FOLDED_LINES)
    if len(words) <= _STDERR_LINES:
        return ""
    from html import escape  # few deaths need it

    text = escape("\n".join([*words, *dump.splitlines()]))
    return f"<details><summary>All last words on stderr</summary><pre>{text}</pre></details>"


def culprit(death: Death, cells: Sequence[int]) -> int:
    """The prompt number of the cell that the process died in, of several that were executing; the first if unknown."""
    found = [line.cell for line in stack.parse(_fatal(death)[1]) if line.cell in cells]
    return found[-1] or 0 if found else next(iter(cells), 0)


def outcome(death: Death) -> str:
    """What has become of the session, in plain sentences."""
    return death.restored or "Variables are lost; the next cell runs in a new worker."


def record(death: Death) -> dict[str, Any]:
    """The facts for programs and for the log."""
    return {
        "sentence": sentence(death),
        "signal": _name(death.status) if death.status < 0 else None,
        "status": death.status if death.status >= 0 else None,
        "killed_by_us": bool(death.reason),
        "cell": death.cell or None,
        "stack": [str(line) for line in stack.parse(_fatal(death)[1])],
        "peak_bytes": death.peak,
        "uptime_seconds": round(death.uptime, 3),
        "oom_kill_delta": death.oom_kills,
        "restored": death.restored or None,
    }


def failed_start(death: Death) -> dict[str, Any]:
    """The content of `error` for a request that finds no worker, because none could be started."""
    said = f"No worker can be started: the last one {cause(death)} before it was ready. Run a cell to try again."
    lines = [f"\x1b[31mWorkerDied\x1b[39m: {said}", *_last_lines(death.stderr, 20)]
    return {"ename": "WorkerDied", "evalue": said, "traceback": lines}


def _fatal(death: Death) -> tuple[str, str]:
    """The native words on stderr, and the stack dump. Python's own fatal errors write theirs to stderr."""
    before, fatal, after = death.stderr.rpartition("Fatal Python error: ")
    if not fatal:
        return death.stderr, death.fault
    message, _, dump = after.partition("\n")
    return f"{before}{fatal}{message}", death.fault or dump


def _last_lines(text: str, count: int = _STDERR_LINES) -> list[str]:
    return [line for line in text.splitlines() if line.strip()][-count:]


def _name(status: int) -> str:
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
