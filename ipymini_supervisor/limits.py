"""What the supervisor allows itself, and others to do with it; none of it is for the worker.

Its memory has the keys in it, so there are no core dumps and no tracing. And since whoever can reach a socket can
take a descriptor with each connection, it takes as many as the system gives.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

#: The variable that says how much memory of its own one process of the worker may ask for.
CAP = "IPYMINI_MEMORY_CAP"
_PR_SET_DUMPABLE = 4
#: Descriptors from which on more of them are of no use: memory runs out before.
_FILES = 1 << 16
#: Descriptors that a kernel needs: its own, those of a few frontends, and those to start another worker with.
FEWEST = 64


class Limits:
    """Those that the worker is to have: the ones that we were started with, and a cap on its memory.

    :param environment: where that is found, in `CAP`. One that makes no sense is none, and `settings` says so.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        import resource

        self._data = 0
        if text := environment.get(CAP):
            from ipymini_supervisor import cgroup
            from ipymini_supervisor.memory import Size

            try:
                self._data = Size.read(text).of(min((pool.total for pool in cgroup.pools()), default=0))
            except ValueError:
                pass
        self._core = resource.getrlimit(resource.RLIMIT_CORE)
        self._files = resource.getrlimit(resource.RLIMIT_NOFILE)

    @property
    def files(self) -> int:
        """How many descriptors the supervisor may have, once it has changed its limits."""
        import resource

        most = self._files[1] if sys.platform == "linux" else self._files[0]
        return _FILES if most == resource.RLIM_INFINITY else min(most, _FILES)

    def change(self) -> None:
        """Takes our own, from now on.

        On Linux other processes of the same user, the worker among them, can neither trace this one nor read its
        memory, its environment and its descriptors any longer. Those of root, or with CAP_SYS_PTRACE, still can.
        """
        if sys.platform != "linux":
            return  # there a process cannot be given its limits back
        import ctypes
        import resource

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        soft, hard = self._files
        enough = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
        for kind, limits in (
            (resource.RLIMIT_CORE, (0, self._core[1])),
            (resource.RLIMIT_NOFILE, (max(soft, enough) if soft != resource.RLIM_INFINITY else soft, hard)),
        ):
            try:
                resource.setrlimit(kind, limits)
            except (ValueError, OSError):  # a container may have rules of its own
                pass

    def give(self, pid: int) -> None:
        """Gives a child that has just been started those that it is to have."""
        if sys.platform != "linux":
            return
        import resource

        given = {resource.RLIMIT_CORE: self._core, resource.RLIMIT_NOFILE: self._files}
        if self._data:
            hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
            most = self._data if hard == resource.RLIM_INFINITY else min(self._data, hard)
            given[resource.RLIMIT_DATA] = most, hard
        for kind, limits in given.items():
            try:
                resource.prlimit(pid, kind, limits)
            except (ValueError, OSError):  # it has ended already
                pass
