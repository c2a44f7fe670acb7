"""The one thread of the worker that is ours: it reads the control socket while the main thread runs user code."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import NoReturn

from ipymini_worker.link import Link, LinkClosed, LinkLost
from ipymini_worker.wire import LINK_LOST, Frame, WireError


class Control:
    """Reads frames and hands each to `handle`; when the supervisor is gone, ends the worker and what it started.

    :param handle: called in the control thread.
    """

    def __init__(self, link: Link, handle: Callable[[Frame], None]) -> None:
        self._link = link
        self._handle = handle

    def start(self) -> None:
        """Starts the thread. It takes no signals, so that SIGINT always finds the main thread."""
        old = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            threading.Thread(target=self._run, name="ipymini-control", daemon=True).start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)

    def _run(self) -> None:
        try:
            while True:
                self._handle(self._link.receive())
        except (LinkClosed, WireError) as error:
            leave(error)


def leave(error: LinkClosed | WireError) -> NoReturn:
    """Ends the worker at once, because its link is of no use any longer. Called in any thread.

    If it is the supervisor that is gone, what user code has started in our process group goes too.
    """
    if not isinstance(error, LinkLost) and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(LINK_LOST)
