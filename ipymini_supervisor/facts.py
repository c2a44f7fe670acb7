"""What an operator wants to know of a kernel besides what it does: the rest of worker_state_reply."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any


class Facts:
    """Of this kernel.

    :param environment: ours; Jupyter's server puts the path of the notebook there.
    :param clock: seconds on a clock that never goes back.
    :param snapshots: how many copies of the worker there are.
    :param deaths: how many workers have died that nobody wanted to.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        clock: Callable[[], float],
        snapshots: Callable[[], int],
        deaths: Callable[[], int],
    ) -> None:
        self._name = environment.get("JPY_SESSION_NAME", "")
        self._clock = clock
        self._snapshots = snapshots
        self._deaths = deaths
        self._born = clock()

    def content(self) -> dict[str, Any]:
        """The fields: `kernel_pid`, `uptime_seconds`, `snapshots`, `deaths`, and `session_name` or None."""
        return {
            "kernel_pid": os.getpid(),
            "uptime_seconds": round(self._clock() - self._born, 3),
            "snapshots": self._snapshots(),
            "deaths": self._deaths(),
            "session_name": self._name or None,
        }
