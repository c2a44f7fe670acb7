"""Cells of megabytes, as programs write them: IPython's transformations would take many times as long as Python."""

from __future__ import annotations

import ast
from typing import Any

from IPython.core.inputtransformer2 import TransformerManager

#: Characters of a cell from which on it is treated with care.
LARGE = 1 << 20
_FLAGS = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_NAMES = ("cleanup_transforms", "line_transforms", "token_transformers")


def is_plain(code: str, transformers: TransformerManager, post: list[Any]) -> bool:
    """Whether a large cell is Python as it stands, so that IPython has nothing to transform in it.

    :param post: transformations that come after those of `transformers`; with any of the user's it is not plain.
    """
    if len(code) <= LARGE or post or code[0].isspace():
        return False
    fresh = TransformerManager()
    if any(getattr(transformers, name) != getattr(fresh, name) for name in _NAMES):
        return False
    second = code.find("\n") + 1
    if any(code[start : start + 16].startswith("In [") for start in (0, second)):
        return False  # IPython's prompt, which Python takes for an annotation
    try:
        compile(code, "<cell>", "exec", _FLAGS, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return False
    return True


def may_await(code: str) -> bool:
    """Whether a large cell may have an await at its top level; one that does not say so need not be compiled for it."""
    return "await" in code or "async" in code
