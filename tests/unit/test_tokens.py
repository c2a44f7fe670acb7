"""What is not taken apart comes out as if it had been."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core import inputtransformer2
from IPython.core.inputtransformer2 import TransformerManager

from ipymini_worker.tokens import Transformers

#: What cells are made of, and what stands between it.
PIECES = (
    *("x", "f", "1", "=", "(", ")", "[", "]", ":", ",", ";", "/", "%", "%%", "!", "!!", "?", "??", ".", "\\", "#", "@"),
    *("'", '"', "'" * 3, "if", "else", "pass", "time", "ä", "é", "In [1]:", ">>> ", "..."),
    *(" ", "  ", "    ", "\t", "\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\0"),
)


def outcome(transformers: TransformerManager, cell: str) -> str:
    try:
        return str(transformers.transform_cell(cell))
    except Exception as error:
        return repr(error)


@pytest.mark.filterwarnings("ignore:.make_tokens_by_line.:UserWarning")
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=20).map("".join))
def test_every_cell_comes_out_as_from_ipython(cell: str) -> None:
    assert outcome(Transformers(), cell) == outcome(TransformerManager(), cell)


PLAIN = ("pass", "x = 1\n\ny = f(x, 2)\n", "import os; os.getcwd()", "'''\ntext\n'''", "# ä\nx")
OTHERS = ("%time", "x = !ls", "x?", "if x:\n  y\n z", ", f 1", "x\x0c/f 1", "'%'")


@pytest.mark.parametrize("cell", [*PLAIN, *OTHERS])
def test_only_plain_cells_are_left_as_they_are(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[list[str]] = []

    def tokens_by_line(lines: list[str]) -> list[Any]:
        looked.append(lines)
        return []

    monkeypatch.setattr(inputtransformer2, "make_tokens_by_line", tokens_by_line)
    Transformers().transform_cell(cell)
    assert bool(looked) == (cell in OTHERS)


class Shouting:
    """A transformation of the user's."""

    priority = start_line = start_col = 0

    @classmethod
    def find(cls, tokens_by_line: list[Any]) -> Shouting | None:
        return cls() if tokens_by_line[0][0].string == "quiet" else None

    def transform(self, lines: list[str]) -> list[str]:
        return [lines[0].replace("quiet", "LOUD"), *lines[1:]]


def test_a_transformation_of_the_users_sees_every_cell() -> None:
    transformers = Transformers()
    transformers.token_transformers.append(Shouting)
    assert transformers.transform_cell("quiet") == "LOUD\n"
