"""What the supervisor knows of debugging, so that it can say so whatever the worker does. Pure: no I/O, no clock.

Breakpoints outlive the worker: they are kept when it dies, and are for the next one when debugging is started again.
"""

from __future__ import annotations

from typing import Any

import msgspec

Content = dict[str, Any]

#: Cells whose code is kept, to be dumped again for another worker; the oldest is forgotten first.
_CELLS = 1000


class Debugging(msgspec.Struct):
    """The state of debugging, as `debugInfo` tells it."""

    available: bool = True  #: whether the worker's environment has debugpy
    started: bool = False
    prefix: str = ""  #: of the files of cells; empty as long as no worker has told it
    seed: int = 0
    breakpoints: dict[str, list[Content]] = msgspec.field(default_factory=dict)
    filters: Content | None = None  #: arguments of the last setExceptionBreakpoints
    stopped: set[int] = msgspec.field(default_factory=set)  #: DAP's numbers of threads
    dumped: bool = False  #: whether there may be files of cells
    _cells: dict[str, str] = msgspec.field(default_factory=dict)
    _lost: bool = False  #: whether the worker that had the breakpoints is gone

    def hello(self, prefix: str, seed: int, *, available: bool) -> None:
        """A worker is ready; where its cells have other names, breakpoints move along."""
        self.available, self.seed = available, seed
        old, self.prefix = self.prefix, prefix
        if old and old != prefix:
            self.breakpoints = {_moved(p, old, prefix): points for p, points in self.breakpoints.items()}
            self._cells = {_moved(p, old, prefix): code for p, code in self._cells.items()}

    def info(self) -> Content:
        """The body of the answer to debugInfo (protocol: debugInfo)."""
        points = [{"source": path, "breakpoints": points} for path, points in self.breakpoints.items()]
        return {
            "isStarted": self.started,
            "hashMethod": "Murmur2",
            "hashSeed": self.seed,
            "tmpFilePrefix": self.prefix,
            "tmpFileSuffix": ".py",
            "breakpoints": points,
            "stoppedThreads": sorted(self.stopped),
            "richRendering": True,
            "copyToGlobals": True,
            "exceptionPaths": ["Python Exceptions"],
        }

    def responded(self, command: str, arguments: Content, response: Content) -> None:
        """The worker has answered a request."""
        body = response.get("body") or {}
        if not response.get("success"):
            return
        if command == "initialize":
            self.started = True
        elif command == "dumpCell":
            self.dumped = True
            self._cells[str(body.get("sourcePath"))] = str(arguments.get("code"))
            if len(self._cells) > _CELLS:
                del self._cells[next(iter(self._cells))]
        elif command == "setExceptionBreakpoints":
            self.filters = arguments
        elif command == "setBreakpoints":
            self._set(str((arguments.get("source") or {}).get("path")), arguments, body)

    def _set(self, path: str, arguments: Content, body: Content) -> None:
        asked, got = arguments.get("breakpoints") or [], body.get("breakpoints") or []
        # The debugger may have moved them to lines where they can be hit.
        points = [a | {"line": b.get("line", a.get("line"))} for a, b in zip(asked, got, strict=False)]
        self.breakpoints.pop(path, None)
        if points:
            self.breakpoints[path] = points

    def happened(self, event: Content) -> None:
        """The worker has told an event."""
        thread = (event.get("body") or {}).get("threadId")
        if event.get("event") == "stopped" and isinstance(thread, int):
            self.stopped.add(thread)
        elif event.get("event") in ("continued", "thread") and (event.get("body") or {}).get("reason") != "started":
            self.stopped.discard(thread or 0)

    def died(self) -> bool:
        """The worker is gone; returns whether debugging has ended with it."""
        was, self.started = self.started, False
        self._lost = self._lost or was
        self.stopped.clear()
        return was

    def disconnected(self) -> None:
        """The frontend does not want to debug any longer; breakpoints go, as other kernels do it."""
        self.started = self._lost = False
        self.stopped.clear()
        self.breakpoints.clear()
        self._cells.clear()
        self.filters = None

    def restored(self) -> list[tuple[str, Content]]:
        """Commands and arguments that give the breakpoints to a worker that has been attached to; once."""
        lost, self._lost = self._lost, False
        if not lost:
            return []
        wanted: list[tuple[str, Content]] = [
            ("dumpCell", {"code": code}) for path, code in self._cells.items() if path in self.breakpoints
        ]
        wanted += [
            ("setBreakpoints", {"source": {"path": path}, "breakpoints": points})
            for path, points in self.breakpoints.items()
        ]
        return wanted + ([("setExceptionBreakpoints", self.filters)] if self.filters else [])


def _moved(path: str, old: str, new: str) -> str:
    return new + path.removeprefix(old) if path.startswith(old) else path
