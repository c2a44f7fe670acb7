"""What each cell has taken: time, CPU and memory, as its reply tells (`metadata`, under `KEY`).

Several cells may run at once; then each is told what the worker has used while it ran. Some 20 microseconds for each.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from ipymini_supervisor.lanes import Request
from ipymini_supervisor.session import now

KEY = "ipymini"
_SIZES = re.compile(rb"^Vm(?:HWM|RSS):\s+(\d+) kB$", re.M)


class Reading(NamedTuple):
    """A process at one moment; None for what is not known."""

    cpu: float | None  #: seconds that it has used
    children: float  #: seconds that those of its children have used that it has waited for
    peak: int  #: largest resident size so far, in bytes
    resident: int  #: size now


class Meter:
    """Reads one process. Linux; elsewhere nothing is known."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._clock = (~pid << 3) | 2  # the CPU clock of a whole process, as in clock_getcpuclockid(3)
        self._files: list[int] = []
        if sys.platform == "linux":
            try:
                for name in ("stat", "status"):
                    self._files.append(os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC))
            except OSError:  # it has ended, or there are no descriptors
                self.close()

    def cpu(self) -> float | None:
        """Seconds that the process itself has used."""
        try:
            return time.clock_gettime(self._clock) if sys.platform == "linux" else None
        except OSError:
            return None

    def read(self) -> Reading:
        """All of it."""
        cpu = self.cpu()
        try:
            stat, status = (os.pread(fd, 4096, 0) for fd in self._files)
            user, system = stat.rpartition(b")")[2].split()[13:15]
            peak, resident = map(int, _SIZES.findall(status))
        except (OSError, ValueError):
            return Reading(cpu, 0.0, 0, 0)
        return Reading(cpu, (int(user) + int(system)) / _TICKS, 1024 * peak, 1024 * resident)

    def close(self) -> None:
        """Closes its files."""
        while self._files:
            os.close(self._files.pop())


class Ledger:
    """Keeps the accounts of cells that run.

    :param pid: of the worker; None if there is none.
    """

    def __init__(self, pid: Callable[[], int | None]) -> None:
        self._pid = pid
        self._meter: Meter | None = None
        self._last = Reading(None, 0.0, 0, 0)  # at the end of the cell before
        self._open: dict[int, tuple[Meter, Reading]] = {}

    def begin(self, request: Request) -> None:
        """The worker is handed a cell."""
        pid = self._pid()
        if pid is None:
            return
        if self._meter is None or self._meter.pid != pid:
            self.close()
            self._meter = Meter(pid)
            self._last = self._meter.read()
        self._open[request.id] = self._meter, self._last._replace(cpu=self._meter.cpu())

    def end(self, request: Request) -> dict[str, Any]:
        """The account of a request that is over; what is not known is None."""
        account: dict[str, Any] = {"queued": request.queued or None, "started": request.started or None, "ended": now()}
        account |= {"cpu_seconds": None, "peak_memory": None}
        meter, before = self._open.pop(request.id, (None, self._last))
        if meter is None or meter is not self._meter:  # the worker that has begun with it is dead
            return account
        after = self._last = meter.read()
        if before.cpu is not None and after.cpu is not None:
            spent = after.cpu - before.cpu + max(0.0, after.children - before.children)
            account["cpu_seconds"] = round(spent, 6)
        if after.peak:
            # One that is no record is not known: it was no less than before and after.
            record = after.peak > before.peak
            account["peak_memory"] = after.peak if record else max(before.resident, after.resident)
        return account

    def close(self) -> None:
        """Lets go of the worker."""
        if self._meter is not None:
            self._meter.close()
            self._meter = None


_TICKS = os.sysconf("SC_CLK_TCK")
