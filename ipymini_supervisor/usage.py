"""What the kernel uses: the answers to usage_request and worker_state_request, from the outside of the worker."""

from __future__ import annotations

import _socket  # see `spawning`
import os
from collections.abc import Iterable
from typing import Any

#: CPU figures are differences, so what was looked at last is kept, by pid.
_seen: dict[int, Any] = {}


def usage(pids: Iterable[int], pss: int | None) -> dict[str, Any]:
    """The content of usage_reply, with the fields that jupyter-resource-usage shows.

    :param pids: the supervisor, the worker and all that they have started.
    :param pss: the bytes of them together, each shared page counted once; None if that is not known.
    """
    import psutil

    pids = set(pids)
    cpu, memory = 0.0, 0
    for pid in pids:
        try:
            process = _seen.setdefault(pid, psutil.Process(pid))
            cpu += process.cpu_percent()
            memory += process.memory_info().rss
        except psutil.Error:
            continue
    for pid in _seen.keys() - pids:
        del _seen[pid]
    virtual = psutil.virtual_memory()
    return {
        "status": "ok",
        "hostname": _socket.gethostname(),
        "pid": os.getpid(),
        "kernel_cpu": cpu,
        "kernel_memory": memory if pss is None else pss,
        "cpu_count": psutil.cpu_count(),
        "cpu_percent": cpu,
        "host_cpu_percent": psutil.cpu_percent(),
        "host_virtual_memory": dict(virtual._asdict()),
    }


def cpu_and_memory(pid: int) -> tuple[float, int, bool]:
    """CPU seconds that a process has used, its resident bytes, and whether it is stopped; zeros if it has ended."""
    import psutil

    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            stopped = process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
            return times.user + times.system, process.memory_info().rss, stopped
    except (psutil.Error, OSError):
        return 0.0, 0, False
