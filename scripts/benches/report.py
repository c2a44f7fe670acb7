"""Figures of several rounds as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .kernels import OURS, OURS_PLAIN, REFERENCE, Spec
from .rows import ROWS, Row


class Figures:
    """What was measured: values by row and kernel, and why there is none."""

    def __init__(self, specs: Sequence[Spec]) -> None:
        self.specs = specs
        self.values: dict[str, dict[str, list[float]]] = {}
        self.failures: dict[str, set[str]] = {}

    def add(self, kernel: str, results: dict[str, float]) -> None:
        """Takes the results of one measure of one kernel in one round."""
        for key, value in results.items():
            self.values.setdefault(key, {}).setdefault(kernel, []).append(value)

    def fail(self, kernel: str, measure: str, reason: str) -> None:
        """Takes note of a measure that a kernel did not survive."""
        self.failures.setdefault(f"{measure}, {kernel}", set()).add(reason)

    def median(self, row: Row, kernel: str) -> float | None:
        """The median over the rounds; None if there is none."""
        values = self.values.get(row.key, {}).get(kernel)
        return statistics.median(values) if values else None

    def table(self) -> str:
        """A table in Markdown: medians, half of the range between the rounds, ratios to the reference, targets."""
        names = [spec.name for spec in self.specs]
        lines = [
            "| measure | " + " | ".join(names) + " | ratio | target | met |",
            "|---|" + "--:|" * len(names) + "--:|---|---|",
        ]
        for row in ROWS:
            if row.key in self.values:
                cells = [self._cell(row, name) for name in names]
                lines.append(" | ".join([f"| {row.key}{', ' + row.unit if row.unit else ''}", *cells, *self._end(row)]))
        return "\n".join([*lines, *self._failed()])

    def _cell(self, row: Row, kernel: str) -> str:
        values = self.values[row.key].get(kernel)
        if not values:
            return "-"
        middle = statistics.median(values)
        spread = (max(values) - min(values)) / 2
        return _number(middle) + (f" ±{100 * spread / middle:.0f} %" if len(values) > 1 and middle else "")

    def _end(self, row: Row) -> list[str]:
        reference = self.median(row, REFERENCE)
        ratios, targets, verdicts = [], [], []
        for kernel, plain in ((OURS, False), (OURS_PLAIN, True)):
            value = self.median(row, kernel)
            if value is None:
                continue
            ratios.append(f"{value / reference:.2f}" if reference else "-")
            targets.append(row.target(plain=plain))
            met = row.met(value, reference, plain=plain)
            verdicts.append("" if met is None else "yes" if met else "NO")
        return [" / ".join(part) for part in (ratios, dict.fromkeys(targets), verdicts)] + [""]

    def _failed(self) -> list[str]:
        return [f"{name}: {' '.join(sorted(reasons))}" for name, reasons in self.failures.items()]

    def write(self, path: Path, rounds: int) -> None:
        """Writes everything, every single value, as JSON."""
        rows: dict[str, Any] = {
            row.key: {
                "unit": row.unit,
                "target": row.target(),
                "values": self.values[row.key],
                "medians": {name: self.median(row, name) for name in self.values[row.key]},
            }
            for row in ROWS
            if row.key in self.values
        }
        content = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
            "rounds": rounds,
            "versions": {spec.name: _version(spec.module) for spec in self.specs},
            "rows": rows,
            "failures": {name: sorted(reasons) for name, reasons in self.failures.items()},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1))


def _version(module: str) -> str:
    from importlib.metadata import packages_distributions, version

    names = packages_distributions().get(module, [])
    return version(names[0]) if names else ""


def _number(value: float) -> str:
    if value == 0:
        return "0"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"
