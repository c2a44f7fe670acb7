"""What each cell has taken: time, CPU and memory, as its reply tells (`metadata`, under `KEY`).

Several cells may run at once; then each is told what the worker has used while it ran. Of a cell that is over in a
moment only the CPU time of the worker itself is read, which costs a microsecond; the rest costs some 30.
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
#: Seconds; a cell that took less can hardly have changed what the system counts in hundredths of a second.
SHORT = 0.01
_SIZES = re.compile(rb"^Vm(?:HWM|RSS):\s+(\d+) kB$", re.M)


class Reading(NamedTuple):
    """A process at one moment; zeros for what is not known."""

    children: float  #: CPU seconds that those of its children have used that it has waited for
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
        """CPU seconds that the process itself has used; None if that is not known."""
        try:
            return time.clock_gettime(self._clock) if sys.platform == "linux" else None
        except OSError:
            return None

    def read(self) -> Reading:
        """The rest."""
        try:
            stat, status = (os.pread(fd, 4096, 0) for fd in self._files)
            user, system = stat.rpartition(b")")[2].split()[13:15]
            peak, resident = map(int, _SIZES.findall(status))
        except (OSError, ValueError):
            return Reading(0.0, 0, 0)
        return Reading((int(user) + int(system)) / _TICKS, 1024 * peak, 1024 * resident)

    def close(self) -> None:
        """Closes its files."""
        while self._files:
            os.close(self._files.pop())


class Ledger:
    """Keeps the accounts of cells that run.

    :param pid: of the worker; None if there is none.
    :param clock: seconds on a clock that never goes back.
    """

    def __init__(self, pid: Callable[[], int | None], clock: Callable[[], float]) -> None:
        self._pid = pid
        self._clock = clock
        self._meter: Meter | None = None
        self._last = Reading(0.0, 0, 0)  # at the end of the last cell that took its time
        self._open: dict[int, tuple[Meter, float, float | None]] = {}  # when it began, the worker's CPU time then

    def begin(self, request: Request) -> None:
        """The worker is handed a cell."""
        pid = self._pid()
        if pid is None:
            return
        if self._meter is None or self._meter.pid != pid:
            self.close()
            self._meter = Meter(pid)
            self._last = self._meter.read()
        self._open[request.id] = self._meter, self._clock(), self._meter.cpu()

    def end(self, request: Request) -> dict[str, Any]:
        """The account of a request that is over; what is not known is None."""
        account: dict[str, Any] = {"queued": request.queued or None, "started": request.started or None, "ended": now()}
        account |= {"cpu_seconds": None, "peak_memory": None}
        meter, began, cpu = self._open.pop(request.id, (None, 0.0, None))
        if meter is None or meter is not self._meter:  # the worker that has begun with it is dead
            return account
        now_cpu = meter.cpu()
        spent = now_cpu - cpu if now_cpu is not None and cpu is not None else None
        if self._clock() - began >= SHORT:
            before, after = self._last, meter.read()
            self._last = after
            if spent is not None:
                spent += max(0.0, after.children - before.children)
            if after.peak:
                # One that is no record is not known: it was no less than before and after.
                record = after.peak > before.peak
                account["peak_memory"] = after.peak if record else max(before.resident, after.resident)
        account["cpu_seconds"] = None if spent is None else round(spent, 6)
        return account

    def close(self) -> None:
        """Lets go of the worker."""
        if self._meter is not None:
            self._meter.close()
            self._meter = None


_TICKS = os.sysconf("SC_CLK_TCK")
