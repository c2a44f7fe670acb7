"""Runs the fuzz targets of tests/fuzzing.py, each in a process of its own, and prints how many inputs there were.

With atheris inputs are guided by coverage, without it they are mutations of the seeds. An input that breaks a target
is kept in a file, which is named.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

INPUTS = 1_000_000
#: Inputs are no longer than this, in bytes.
LONGEST = 4096


def main(arguments: Sequence[str]) -> int:
    """Runs all targets, or those that are named; the exit status is 1 if one of them has failed."""
    if arguments[:1] == ["--one"]:
        return one(arguments[1], int(arguments[2]), arguments[3])
    from fuzzing import TARGETS

    inputs = int(arguments[0]) if arguments else INPUTS
    names = list(arguments[1:]) or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        print(f"There is no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}.", file=sys.stderr)
        return 2
    each, total, began, failed = -(-inputs // len(names)), 0, time.monotonic(), False
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            start = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-P", __file__, "--one", name, str(each), f"{folder}/{name}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )
            seconds = time.monotonic() - start
            failed |= done.returncode != 0
            total += each if done.returncode == 0 else 0
            found = re.findall(r"cov: (\d+)", done.stdout)
            told = f", {found[-1]} edges covered" if found else ""
            verdict = "good" if done.returncode == 0 else "FAILED"
            print(
                f"{name:18} {verdict:6} {each:9,} inputs in {seconds:6.1f} s, {each / seconds:9,.0f}/s{told}",
                flush=True,
            )
            if done.returncode:
                print("\n".join(done.stdout.splitlines()[-40:]))
    seconds = time.monotonic() - began
    print(
        f"{total:,} inputs in {seconds:.0f} s, {total / seconds:,.0f}/s, {'some FAILED' if failed else 'none failed'}"
    )
    return int(failed)


def one(name: str, inputs: int, corpus: str) -> int:
    """Runs one target in this process."""
    try:
        import atheris
    except ImportError:
        from fuzzing import SEEDS, TARGETS

        return mutate(TARGETS[name], SEEDS[name], inputs)
    with atheris.instrument_imports(
        include=["ipymini_supervisor", "ipymini_worker", "fuzzing"], enable_loader_override=False
    ):
        from fuzzing import SEEDS, TARGETS
    os.makedirs(corpus)
    for number, seed in enumerate(SEEDS[name]):
        Path(corpus, f"seed{number}").write_bytes(seed)
    options = [f"-runs={inputs}", f"-max_len={LONGEST}", "-seed=9", f"-artifact_prefix={os.getcwd()}/{name}-"]
    atheris.Setup([sys.argv[0], *options, corpus], TARGETS[name])
    atheris.Fuzz()
    return 0


def mutate(target: Callable[[bytes], None], seeds: Sequence[bytes], inputs: int) -> int:
    """Changes seeds at random."""
    from fuzzing import mutated

    dice = random.Random(9)
    for _ in range(inputs):
        data = mutated(dice, dice.choice(seeds))
        try:
            target(data)
        except BaseException:
            print(f"This input broke it: {data!r}")
            raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
