"""The rows of the table: what is measured, in which unit, and what this kernel is to reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from . import footprint, output, speed
from .kernels import Spec


class Measure(NamedTuple):
    """A function that measures one kernel once, by the name that the command line knows it by."""

    name: str
    function: Callable[[Spec, bool], dict[str, float]]


class Row(NamedTuple):
    """One figure."""

    key: str
    unit: str = "ms"
    ratio: float | None = None  #: to the reference, at the most; of a speed, at the least
    limit: float | None = None  #: in the unit, at the most; of a speed, at the least
    plain_ratio: float | None = None  #: without snapshots, if that is another one
    speed: bool = False  #: more is better
    plain_limit: float | None = None

    def met(self, value: float, reference: float | None, *, plain: bool) -> bool | None:
        """Whether a value is what it is to be; None if it is not known."""
        ratio = self.plain_ratio if plain and self.plain_ratio is not None else self.ratio
        limit = self.plain_limit if plain and self.plain_limit is not None else self.limit
        verdicts = []
        if limit is not None:
            verdicts.append(value >= limit if self.speed else value <= limit)
        if ratio is not None and reference is not None:
            verdicts.append(value >= ratio * reference if self.speed else value <= ratio * reference)
        return all(verdicts) if verdicts else None

    def target(self, *, plain: bool = False) -> str:
        """The target in words."""
        sign = "≥" if self.speed else "≤"
        ratio = self.plain_ratio if plain and self.plain_ratio is not None else self.ratio
        limit = self.plain_limit if plain and self.plain_limit is not None else self.limit
        parts = [f"{sign} {ratio:g} x"] if ratio is not None else []
        parts += [f"{sign} {limit:,g} {self.unit}".strip()] if limit is not None else []
        return ", ".join(parts)


MEASURES = (
    Measure("start", speed.start),
    Measure("restart", speed.restart),
    Measure("roundtrip", speed.round_trip),
    Measure("pipelined", speed.pipelined),
    Measure("control", speed.control),
    Measure("lines", output.lines),
    Measure("large", output.large),
    Measure("displays", output.displays),
    Measure("comms", output.comms),
    Measure("source", speed.source),
    Measure("completion", speed.completion),
    Measure("memory", footprint.memory),
    Measure("idle", footprint.idle),
    Measure("many", speed.many),
    Measure("flood", output.flood),
    Measure("slow", output.slow_client),
    Measure("interrupt", output.interrupt),
)

ROWS = (
    Row("start: kernel_info", ratio=0.25),
    Row("start: first cell", ratio=0.40),
    Row("restart", ratio=0.25),
    Row("round trip of pass", ratio=0.45, plain_ratio=0.30),
    Row("round trip of a call"),
    Row("round trip of 1, median", ratio=0.30),
    Row("round trip of 1, p99", ratio=0.35),
    Row("500 cells at once, per cell", ratio=0.25),
    Row("500 calls at once, per cell"),
    Row("control, idle", limit=3),
    Row("control, Python loop", limit=11),
    Row("control, GIL held", limit=20),
    Row("heartbeat, GIL held", limit=10),
    Row("100,000 printed lines", "s", ratio=0.8),
    Row("their first line", limit=20),
    Row("their messages", ""),
    Row("prints of 1 MB", "MB/s", limit=300, speed=True),
    Row("displays", "per s", limit=8000, speed=True),
    Row("raw displays", "per s", limit=20000, speed=True),
    Row("comm buffer, 64 MB down", ratio=1.0),
    Row("comm buffer, 32 MB up", ratio=1.0),
    Row("32 MB of source", "s", limit=1.5),
    Row("first completion", ratio=0.2),
    Row("second completion"),
    Row("memory before a cell", "MB", limit=45, plain_limit=38),
    Row("memory when idle", "MB", limit=45, plain_limit=38),
    Row("memory, completer warm", "MB"),
    Row("wake-ups in 10 s", "", limit=0),
    Row("20 kernels at once", "s", ratio=0.4),
    Row("flood, speed", "MB/s", speed=True),
    Row("flood, memory", "MB", limit=64),
    Row("slow client, missing", "%", limit=0.01),
    Row("slow client, memory", "MB", limit=64),
    Row("interrupt in a flood", limit=100),
)
