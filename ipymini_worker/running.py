"""What a shell keeps for each request and each thread, where IPython itself keeps one for all of them.

Cells of several threads, and cells in one loop, run at the same time on one shell: they share variables, history and
the count of prompts, and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.payload import PayloadManager

from ipymini_worker import context, traps
from ipymini_worker.interrupts import Gate, ThreadGate
from ipymini_worker.latecompleter import LateCompleter
from ipymini_worker.loop import Loop


class Home(NamedTuple):
    """What a thread that runs cells has of its own."""

    gate: Gate | ThreadGate
    loop: Loop


class Tape(NamedTuple):
    """Where what a cell prints is kept; made for many writes, because to find all this costs more than one."""

    channel: str
    outputs: dict[int, list[Any]]  #: of all cells
    cell: int  #: its prompt number
    kept: list[Any]  #: the outputs of the cell
    last: Any  #: the one of them that text is added to
    texts: list[str]  #: its text
    publisher: Any

    def goes_on(self, channel: str) -> bool:
        """Whether more text of `channel` belongs to the same output: nothing has come after it or taken it away."""
        kept = self.kept
        return channel == self.channel and self.outputs.get(self.cell) is kept and bool(kept) and kept[-1] is self.last


class RequestPayloads(PayloadManager):  # type: ignore[misc]  # IPython is not typed
    """The payloads of the request that the calling code belongs to."""

    @property
    def _payload(self) -> list[dict[str, Any]]:
        return context.current().run.payload

    def clear_payload(self) -> None:
        """There are none from now on."""
        context.current().run.payload = []


class Running(LateCompleter):
    """An `InteractiveShell` on which several requests run at once."""

    def __init__(self, *args: Any, home: Home, **kwargs: Any) -> None:
        self.home = home  # of the main thread, which makes this; no trait: it is asked for all the time
        self._homes = threading.local()
        self.settle(home)
        self._next = 1
        self._traps: list[traps.InTurn] = []
        self.renew_locks()
        super().__init__(*args, **kwargs)
        self.loop_runner = self._run_coroutine
        self.loop_runner_map = {**InteractiveShell.loop_runner_map, "asyncio": (self._run_coroutine, True)}

    def renew_locks(self) -> None:
        """As the base class."""
        super().renew_locks()
        self._numbering = threading.Lock()
        self.renew_traps()

    def renew_traps(self) -> None:
        """In a process that was forked: who was entering or leaving a trap is not here."""
        for trap in self._traps:
            trap.renew()

    def init_builtins(self) -> None:
        """As the base class, for cells of several threads."""
        super().init_builtins()
        self.builtin_trap = traps.Builtins(shell=self)
        self._traps.append(self.builtin_trap)

    def init_displayhook(self) -> None:
        """As the base class, for cells of several threads."""
        super().init_displayhook()
        self.display_trap = traps.Results(hook=self.displayhook)
        self._traps.append(self.display_trap)

    def init_payload(self) -> None:
        """Payloads belong to requests."""
        self.payload_manager = RequestPayloads(parent=self)
        self.configurables.append(self.payload_manager)

    # -- threads

    def settle(self, home: Home) -> None:
        """The calling thread runs cells, with what it has of its own."""
        self._homes.home = home

    @property
    def gate(self) -> Gate | ThreadGate:
        """The gate for interrupts of the calling thread; of one that runs no cells, that of the main thread."""
        return getattr(self._homes, "home", self.home).gate

    @property
    def loop(self) -> Loop:
        """The loop of the calling thread; of one that runs no cells, that of the main thread."""
        return getattr(self._homes, "home", self.home).loop

    def _run_coroutine(self, coroutine: Any) -> Any:
        return self.loop.run(coroutine)

    # -- requests

    @property
    def execution_count(self) -> int:
        """The prompt number: of the cell that asks as long as IPython has not gone on to the next, else of the next."""
        run = context.current().run
        return self._next if run.count is None or run.counted or run.over else run.count

    @execution_count.setter
    def execution_count(self, value: int) -> None:
        run = context.current().run
        if run.count is None or run.counted or run.over:
            self._next = value
        else:
            run.counted = True

    @contextmanager
    def numbered(self, *, kept: bool) -> Iterator[int]:
        """Gives the request a prompt number, which no other has if it is `kept`."""
        run = context.current().run
        with self._numbering:
            count = self._next
            if kept:
                run.count, self._next = count, count + 1
        try:
            yield count
        finally:
            with self._numbering:
                if kept and not run.counted and self._next == count + 1:
                    self._next = count  # there was nothing to be executed
            run.counted = True

    @contextmanager
    def _tee(self, channel: str) -> Iterator[None]:
        """As the base class, which puts another `write` into the stream while a cell runs, and would take back that of
        another cell: ours asks `record` all the time.
        """
        yield

    def record(self, channel: str, text: str, run: context.Run) -> None:
        """Keeps what a cell prints, for magics that write notebooks."""
        if run.recorded > context.RECORDED or run.count is None or run.over or run.displaying:
            return
        tape: Tape | None = run.tape
        if tape is None or not tape.goes_on(channel):
            tape = run.tape = self._tape(channel, run.count)
            if tape is None:
                return
        if tape.publisher.is_publishing or self.showing_traceback:  # an IPython without these keeps no outputs
            return
        run.recorded += len(text)
        if run.recorded <= context.RECORDED:  # a flood would fill the memory
            tape.texts.append(text)

    def _tape(self, channel: str, count: int) -> Tape | None:
        outputs = getattr(self.history_manager, "outputs", None)
        if outputs is None:  # this IPython keeps none
            return None
        from IPython.core.history import HistoryOutput

        kind = "out_stream" if channel == "stdout" else "err_stream"
        kept = outputs[count]
        if not kept or kept[-1].output_type != kind:
            kept.append(HistoryOutput(output_type=kind, bundle={"stream": []}))
        return Tape(channel, outputs, count, kept, kept[-1], kept[-1].bundle["stream"], self.display_pub)
