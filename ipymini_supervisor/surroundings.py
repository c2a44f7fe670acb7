"""What reaches the supervisor without a message: signals, the end of the process that launched it, and what the
provisioner asks.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Mapping

from ipymini_supervisor import tree
from ipymini_supervisor.ending import Ending
from ipymini_supervisor.inplace import Line
from ipymini_supervisor.process import watch_launcher
from ipymini_supervisor.signals import Signals
from ipymini_supervisor.sockets import Sockets

log = logging.getLogger("ipymini")

#: Seconds that a shutdown takes at the most when the launcher is gone.
ORPHANED_GRACE = 1.0


class Surroundings:
    """Listens to them.

    :param environment: where the launcher is named.
    :param line: to the provisioner; None if there is none.
    :param worker: the pid of the worker; 0 between two of them.
    :param interrupt: called when somebody wants what runs to be interrupted.
    :param stop: called when the kernel has to end.
    """

    def __init__(
        self,
        sockets: Sockets,
        ending: Ending,
        environment: Mapping[str, str],
        line: Line | None,
        worker: Callable[[], int],
        interrupt: Callable[[], None],
        stop: Callable[[], None],
    ) -> None:
        self._sockets = sockets
        self._ending = ending
        self._line = line
        self._worker = worker
        self._interrupt = interrupt
        self._stop = stop
        self._signals = Signals((signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD))
        self._launcher = watch_launcher(environment)
        sockets.watch(self._signals.fileno())
        if self._launcher is not None:
            sockets.watch(self._launcher.fileno())
        if line is not None:
            sockets.watch(line.fileno())

    def handle(self, ready: set[str | int]) -> None:
        """Takes what has come."""
        if self._signals.fileno() in ready:
            self._on_signals()
        if self._launcher is not None and self._launcher.fileno() in ready:
            log.warning("The process that started this kernel has ended; the kernel ends too.")
            self._sockets.ignore(self._launcher.fileno())
            self._ending.grace = min(self._ending.grace, ORPHANED_GRACE)  # nobody is left who would want more
            self._stop()
        if self._line is not None and self._line.fileno() in ready and not self._line.hear():
            self._sockets.ignore(self._line.fileno())

    def _on_signals(self) -> None:
        for number in self._signals.take():
            if number == signal.SIGCHLD:
                tree.reap_orphans(self._worker())
            elif number == signal.SIGINT:
                self._interrupt()
            else:
                log.info("%s: the kernel ends.", signal.Signals(number).name)
                self._stop()

    def close(self) -> None:
        """Signals go unheard from now on."""
        self._signals.close()
