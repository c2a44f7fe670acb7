"""Any bytes, in the places where those of others arrive: 40,000 inputs. `scripts/fuzz` has a million."""

from __future__ import annotations

import random

import pytest
from fuzzing import SEEDS, TARGETS, mutated
from hypothesis import example, given, settings
from hypothesis import strategies as st

#: Inputs for each target from hypothesis, which looks for structure and is slow, and from mutation of what is good.
GUIDED, MUTATED = 2500, 2500


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=GUIDED)
@given(data=st.binary(max_size=500))
@example(data=b"")
def test_any_bytes(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_bytes_that_are_nearly_right(name: str) -> None:
    dice = random.Random(name)
    for _ in range(MUTATED):
        TARGETS[name](mutated(dice, dice.choice(SEEDS[name])))


def test_there_are_enough() -> None:
    assert len(TARGETS) * (GUIDED + MUTATED) >= 40_000
    assert set(SEEDS) == set(TARGETS)
