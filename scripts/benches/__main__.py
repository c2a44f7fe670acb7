"""The command line of `scripts/bench`."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from .client import NoAnswer
from .kernels import SPECS, Spec, installed, works
from .report import Figures
from .rows import MEASURES, Measure

T = TypeVar("T", Spec, Measure)
DEFAULT = Path(__file__).resolve().parents[2] / ".venvs" / "bench.json"


def main() -> int:
    """Measures what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure this kernel side by side with others.")
    parser.add_argument("--only", metavar="NAME,...", help=f"measures: {', '.join(m.name for m in MEASURES)}")
    parser.add_argument("--kernels", metavar="NAME,...", help=f"kernels: {', '.join(s.name for s in SPECS)}")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="less of everything: to see that it works")
    parser.add_argument("--json", type=Path, default=DEFAULT, metavar="FILE", help="default: .venvs/bench.json")
    parser.add_argument("--scale", action="store_true", help="plot how costs grow instead, into share/scale.svg")
    parser.add_argument("--where", action="store_true", help="where the time of a start and a round trip goes instead")
    parser.add_argument("--snapshots", action="store_true", help="what snapshots cost instead; --help says more there")
    options = parser.parse_args()
    specs, measures = installed(), list(MEASURES)
    for spec in SPECS:
        if spec not in specs:
            print(f"{spec.name} is not here and is left out.", file=sys.stderr)
    if options.scale:
        from .scale import plot

        plot(options.quick)
        return 0
    if options.where:
        from .where import tables

        print(tables(options.quick))
        return 0
    if options.kernels:
        specs = _chosen(parser, options.kernels, specs)
    if options.only:
        measures = _chosen(parser, options.only, measures)
    for spec in [spec for spec in specs if not works(spec)]:
        print(f"{spec.name} does not answer here and is left out.", file=sys.stderr)
        specs.remove(spec)
    figures = Figures(specs)
    shuffle = random.Random(1).shuffle
    with tqdm(total=options.rounds * len(measures) * len(specs), disable=None, unit="") as bar:
        for _ in range(options.rounds):
            for measure in measures:
                turns = list(specs)
                shuffle(turns)  # nobody is always the first after somebody who leaves the machine busy
                for spec in turns:
                    bar.set_description(f"{measure.name}, {spec.name}")
                    try:
                        figures.add(spec.name, measure.function(spec, options.quick))
                    except NoAnswer as reason:
                        figures.fail(spec.name, measure.name, str(reason))
                    bar.update()
                figures.write(options.json, options.rounds)
    print(figures.table())
    print(f"\nEvery value is in {options.json}.", file=sys.stderr)
    return 0


def _chosen(parser: argparse.ArgumentParser, text: str, offered: Sequence[T]) -> list[T]:
    names = text.split(",")
    found = [item for item in offered if item.name in names]
    if len(found) != len(names):
        parser.error(f"not all of {text} are here; there are {', '.join(item.name for item in offered)}")
    return found


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
