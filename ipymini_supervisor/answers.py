"""What the supervisor answers by itself, whatever the worker does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ipymini_supervisor import stack, usage
from ipymini_supervisor.connection import Connection
from ipymini_supervisor.connectionfile import CHANNELS
from ipymini_supervisor.kernelinfo import guess_debugger, guess_versions, kernel_info
from ipymini_supervisor.lanes import Request
from ipymini_supervisor.lifecycle import State
from ipymini_supervisor.rollup import Memory, Rollups
from ipymini_supervisor.router import Router
from ipymini_supervisor.worker import Worker

Content = dict[str, Any]

#: Where there is no worker yet that takes requests, and will be one.
_ON_ITS_WAY = (State.STARTING, State.RESUMING, State.REPLACING, State.CLEARING)


class Answers:
    """Makes the contents of replies.

    :param python: path of the worker's interpreter.
    :param clock: seconds on a clock that never goes back.
    :param facts: what worker_state_reply says besides what the worker does.
    """

    def __init__(
        self,
        connection: Connection,
        router: Router,
        rollups: Rollups,
        python: str,
        clock: Callable[[], float],
        facts: Callable[[], Content] = dict,
    ) -> None:
        self._rollups = rollups
        self._facts = facts
        self._connection = connection
        self._router = router
        self._clock = clock
        self._versions = guess_versions(python)
        self._debugger = guess_debugger(python)
        self._started = 0.0

    def learn(self, python: str, ipython: str, *, debugger: bool = False) -> None:
        """The worker has told its versions, and whether it can debug."""
        self._debugger = debugger
        self._versions = python or self._versions[0], ipython

    def started(self) -> None:
        """A request begins to execute."""
        self._started = self._clock()

    def content(self, request: Request) -> Content:
        """The answer to kernel_info_request, connect_request, or to a request that nobody knows."""
        match request.type:
            case "kernel_info_request":
                return kernel_info(*self._versions, debugger=self._debugger)
            case "connect_request":
                c = self._connection
                ports = {f"{channel}_port": getattr(c, f"{channel}_port") for channel in CHANNELS}
                # The protocol's names, and those that ipykernel's clients have always had.
                return {"status": "ok", **ports, **{name.removesuffix("_port"): p for name, p in ports.items()}}
            case unknown:
                return _error("UnknownRequest", f"This kernel does not know the request {unknown[:80]!r}.")

    def senseless(self, request: Request) -> Content:
        """The answer to a request whose content is no JSON object."""
        return _error("BadRequest", f"The content of a {request.type[:80]} has to be a JSON object.")

    def usage(self, pids: set[int], copies: set[int], done: Callable[[Content], None]) -> None:
        """Calls `done` with the answer to usage_request.

        :param pids: all processes of the kernel.
        :param copies: those among them that are snapshots, which have little that is not the worker's as well.
        """

        def tell(memory: Memory | None) -> None:
            try:
                content = usage.usage(pids - copies, memory and memory.proportional)
            except OSError as error:  # somebody's connections have taken all descriptors
                content = _error("OSError", f"The kernel cannot look at what it uses ({error.strerror}).")
            done(content)

        self._rollups.ask(pids, tell)

    def state(self, request: Request, state: State, worker: Worker | None, done: Callable[[Content], None]) -> None:
        """Calls `done` with the answer to worker_state_request, within a fifth of a second, or half a one with a stack;
        on a machine that is busy it may take a second more.

        The request's content may say `{"stack": true}`; then the Python stack is in the answer.
        """
        content: Content = {"status": "ok", "state": "dead", "cell": None, "seconds": None, "pid": None}
        content |= self._facts()
        if worker is None:
            if state is State.CLEARING:
                content["state"] = "starting"
            done(content)
            return
        active = self._router.active
        cpu, memory, stopped = usage.cpu_and_memory(worker.pid)
        content |= {"pid": worker.pid, "cpu_seconds": cpu, "memory_bytes": memory}
        if active is not None and active.executing:
            content |= {"cell": active.cell or None, "msg_id": active.message.header.msg_id}
            content["seconds"] = round(self._clock() - self._started, 3)

        def tell(answered: bool) -> None:
            if stopped:
                content["state"] = "stopped"
            elif state in _ON_ITS_WAY:
                content["state"] = "starting"
            elif not answered:
                content["state"] = "unresponsive"
            else:
                content["state"] = "running" if active is not None else "idle"
            if _wants_stack(request) and not stopped and state is State.RUNNING:
                worker.dump(with_stack, deaf=not answered)
            else:
                done(content)

        def with_stack(dump: str) -> None:
            content["stack"] = [str(line) for line in stack.parse(dump, main=True)]
            done(content)

        if stopped or state in _ON_ITS_WAY:
            tell(False)
        else:
            worker.ping(tell)


def _error(name: str, sentence: str) -> Content:
    return {"status": "error", "ename": name, "evalue": sentence, "traceback": []}


def _wants_stack(request: Request) -> bool:
    try:
        return msgspec.json.decode(request.message.content, type=dict).get("stack") is True
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
