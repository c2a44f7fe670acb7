"""Code that runs nothing of the user's: it names constants, defines functions, or shows a number. No state, no I/O."""

from __future__ import annotations

import ast
import weakref
from collections.abc import Mapping
from types import FunctionType

#: Types of which nobody notices when an object of them ends.
_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})


def names_of(tree: ast.Module) -> list[str] | None:
    """The names that a cell gives a value to, if that and showing a constant is all that it does; else None.

    It is run as IPython runs it: each statement by itself, and the last one shown if it is an expression.
    """
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Expr):
            # Elsewhere than at the end a string would be a docstring.
            shown = node is tree.body[-1] and isinstance(node.value, ast.Constant)
            if not shown and not is_number(node.value):
                return None
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if not isinstance(target, ast.Name):
                    return None
                names.append(target.id)
            if not _is_literal(node.value):
                return None
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names.append(node.name)
            if not _is_bare(node):
                return None
        elif not isinstance(node, ast.Pass):
            return None
    return names


def _is_bare(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a definition looks at nothing that has been defined before."""
    given = node.args
    every = (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg)
    return (
        not node.decorator_list
        and not getattr(node, "type_params", ())
        and node.returns is None
        and all(argument is None or argument.annotation is None for argument in every)
        and all(value is None or _is_literal(value) for value in (*given.defaults, *given.kw_defaults))
    )


def _is_literal(node: ast.expr) -> bool:
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        return all(map(_is_literal, node.elts))
    if isinstance(node, ast.Dict):
        return all(key is not None and _is_literal(key) for key in node.keys) and all(map(_is_literal, node.values))
    return isinstance(node, ast.Constant) or is_number(node)


def is_number(node: ast.expr) -> bool:
    """Whether an expression is made of numbers and of what takes no time with them."""
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, (ast.USub, ast.UAdd)) and is_number(node.operand)
    if isinstance(node, ast.BinOp):
        plain = isinstance(node.op, (ast.Add, ast.Sub, ast.Mult))
        return plain and is_number(node.left) and is_number(node.right)
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def ends_unnoticed(value: object, names: Mapping[str, object]) -> bool:
    """Whether nobody notices when `value`, which something else takes the place of, ends.

    :param names: those of cells, which their functions keep.
    """
    if type(value) is not FunctionType:
        return type(value) in _PLAIN
    if value.__globals__ is not names or value.__defaults__ or value.__kwdefaults__ or value.__closure__:
        return False
    # To ask for annotations may run them, from Python 3.14 on.
    asked = getattr(value, "__annotate__", None) if hasattr(value, "__annotate__") else value.__annotations__
    if asked or value.__dict__ or weakref.getweakrefcount(value):
        return False
    return type(value.__doc__) in _PLAIN and type(value.__module__) in _PLAIN
