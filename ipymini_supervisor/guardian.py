"""Ends what the cells have started when the supervisor itself is killed, whatever the worker is doing at the time.

It is a shell that waits for the end of a pipe whose other end only the supervisor has: a process of its own session,
of a megabyte, that no user code runs in and that nothing of ours has to be imported for.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

from ipymini_supervisor.tree import MARK

_SCRIPT = """\
trap '' INT TERM HUP QUIT
read -r nothing
for round in 1 2 3; do
  found=
  for entry in $(grep -lzxsF -e "$1" /proc/[0-9]*/environ); do
    entry="${entry#/proc/}"
    kill -KILL "${entry%/environ}" && found=yes
  done
  [ -n "$found" ] || exit 0
done
"""


class Guardian:
    """A running guardian; where it cannot be started there is none, and `pid` is None.

    :param mark: the value of the mark that descendants have in their environment.
    :param environment: ours; the guardian does not get the mark.
    """

    def __init__(self, mark: str, environment: Mapping[str, str]) -> None:
        self.pid: int | None = None
        if not os.path.exists("/proc/self/environ"):
            return
        read, self._write = os.pipe()
        try:
            self.pid = os.posix_spawn(
                "/bin/sh",
                ["sh", "-c", _SCRIPT, "ipymini-guardian", f"{MARK}={mark}"],
                {"PATH": environment.get("PATH", os.defpath)},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, read, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
                setsid=True,
                setsigmask=[],
            )
        except (OSError, NotImplementedError):
            os.close(self._write)
        finally:
            os.close(read)

    def dismiss(self) -> None:
        """Ends it, when there is nothing left that it would have to end."""
        if self.pid is None:
            return
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):  # somebody else has ended it
            pass
        os.close(self._write)
        self.pid = None
