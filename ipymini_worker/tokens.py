"""IPython's own syntax is looked for where it can be: to take a plain cell apart costs a twentieth of what a short one
takes, and the first time, where Python's tokenizer is written in Python, a fiftieth of the start.
"""

from __future__ import annotations

from IPython.core.inputtransformer2 import (
    EscapedCommand,
    HelpEnd,
    MagicAssign,
    SystemAssign,
    TransformerManager,
)

_OURS = [MagicAssign, SystemAssign, EscapedCommand, HelpEnd]
#: What a line begins with that calls a function without parentheses.
_FIRST = frozenset(",;/")


class Transformers(TransformerManager):  # type: ignore[misc]  # IPython is not typed
    """As the base class."""

    def do_token_transforms(self, lines: list[str]) -> list[str]:
        """As the base class."""
        if self.token_transformers == _OURS and _plain(lines):
            return lines
        return super().do_token_transforms(lines)  # type: ignore[no-any-return]


def _plain(lines: list[str]) -> bool:
    """Whether the tokens cannot be of interest. Indented lines may be wrong, which tokenizing them tells first."""
    for line in lines:
        first = line[:1]
        if first in _FIRST or (first.isspace() and first not in "\r\n"):
            return False
        if "%" in line or "!" in line or "?" in line:
            return False
    return True
