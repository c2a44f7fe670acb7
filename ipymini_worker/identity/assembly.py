"""Puts the parts together that answer requests, and gives them to the kernel object, which libraries reach them by."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any

from ipymini_worker.answering import Answering
from ipymini_worker.app import IPKernelApp
from ipymini_worker.identity.handlers import Handlers
from ipymini_worker.identity.kernel import Kernel
from ipymini_worker.joining import Joining
from ipymini_worker.link import Link
from ipymini_worker.publish import Publisher
from ipymini_worker.requests import Requests
from ipymini_worker.shell import WorkerShell
from ipymini_worker.snapshot import Snapshots
from ipymini_worker.stdin import Stdin
from ipymini_worker.streams import OutStream
from ipymini_worker.subshells import Subshells


def assemble(
    kernel: Kernel,
    app: IPKernelApp,
    link: Link,
    control: Link,
    publisher: Publisher,
    stdin: Stdin,
    streams: Sequence[OutStream],
    snapshots: Snapshots,
) -> tuple[Answering, Joining, Subshells]:
    """What answers requests, what lets them come to a cell that runs, and what answers them in other threads; the shell
    has been made.
    """
    shell: WorkerShell = app.shell

    def user_code(function: Callable[[], Any]) -> Any:
        with shell.gate.opened():
            result = function()
            return shell.loop.run(_wait_for(result)) if inspect.isawaitable(result) else result

    requests = Requests(shell, publisher, kernel.comm_manager)
    handlers = Handlers(requests.kinds, requests.answer, user_code, lambda: shell.execution_count)
    answering = Answering(link, shell, requests, handlers, publisher, stdin, streams)
    joining = Joining(link, shell.home.loop, answering)
    subshells = Subshells(control, shell, answering, stdin, snapshots.expire)
    kernel.attach(shell, app, handlers, joining, subshells)
    shell.configurables.append(app)
    for stream in streams:
        stream.recorder = shell.record
    if name := os.environ.get("JPY_SESSION_NAME"):  # the notebook, where the server says so
        shell.push({"__session__": name}, interactive=False)
    return answering, joining, subshells


async def _wait_for(awaitable: Any) -> Any:
    return await awaitable
