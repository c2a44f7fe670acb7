"""Cells of megabytes, as programs write them: IPython's transformations would take many times as long as Python."""

from __future__ import annotations

import ast
import codeop
from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

from IPython.core.inputtransformer2 import TransformerManager

#: Characters of a cell from which on it is treated with care.
LARGE = 1 << 20
_FLAGS = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
#: What is looked for in a cell of few nodes, instead of words in all of its text.
_FEW, _MOVES = 1000, (ast.Call, ast.Await, ast.AsyncFor, ast.AsyncWith, ast.comprehension)
#: Flags of a compiler that make no difference to the tree: those that it has by itself.
HARMLESS = codeop.Compile().flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_NAMES = ("cleanup_transforms", "line_transforms", "token_transformers")


class Parsed(NamedTuple):
    """A large cell that is Python as it stands."""

    cell: str  #: as it is to be compiled
    tree: ast.Module
    still: bool  #: it is certain that nothing in it awaits, or calls something that does


def plain(code: str, transformers: TransformerManager, post: list[Any], name: Callable[[str], str]) -> Parsed | None:
    """A large cell that is Python as it stands, so that IPython has nothing to transform in it; None for any other.

    :param post: transformations that come after those of `transformers`; with any of the user's it is not plain.
    :param name: gives the file that the cell, as it is to be compiled, claims to be from: warnings tell it.
    """
    if len(code) <= LARGE or post or code[0].isspace():
        return None
    fresh = TransformerManager()
    if any(getattr(transformers, name) != getattr(fresh, name) for name in _NAMES):
        return None
    second = code.find("\n") + 1
    if any(code[start : start + 16].startswith("In [") for start in (0, second)):
        return None  # IPython's prompt, which Python takes for an annotation
    cell = code if code.endswith("\n") else code + "\n"
    try:
        # Not in a context for warnings, which would change the filters under the feet of other threads.
        tree = compile(cell, name(cell), "exec", _FLAGS, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None
    assert isinstance(tree, ast.Module)
    return Parsed(cell, tree, _still(tree))


def _still(tree: ast.Module) -> bool:
    nodes = list(islice(ast.walk(tree), _FEW + 1))
    return len(nodes) <= _FEW and not any(isinstance(node, _MOVES) for node in nodes)


def may_await(code: str) -> bool:
    """Whether a large cell may have an await at its top level; one that does not say so need not be compiled for it."""
    return "await" in code or "async" in code
