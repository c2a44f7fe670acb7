"""Which cells have to run in a loop, although they do not await."""

from __future__ import annotations

import ast

_NEEDS_LOOP = frozenset({"create_task", "get_running_loop", "ensure_future", "current_task", "all_tasks"})
_BRINGS_LOOP = frozenset({"run", "run_until_complete", "run_forever", "Runner"})


def needs_loop(cell: str) -> bool:
    """Whether the top level of a cell calls for a running loop, and brings none of its own.

    A plain cell runs outside of a running loop. `task = asyncio.create_task(work())` has always worked in notebooks,
    so a cell that says so by itself is run inside.
    """
    if not any(name in cell for name in _NEEDS_LOOP):
        return False
    try:
        tree = ast.parse(cell)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    called = {_name(node.func) for node in _top_level(tree) if isinstance(node, ast.Call)}
    return bool(called & _NEEDS_LOOP) and not called & _BRINGS_LOOP


def _top_level(tree: ast.AST) -> list[ast.AST]:
    found: list[ast.AST] = []
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        found.append(node)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            pending.extend(ast.iter_child_nodes(node))
    return found


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""
