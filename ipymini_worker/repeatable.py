"""Cells that need no snapshot, because what they have done can be done again.

A cell that only names constants, defines functions or shows a number leaves a session that differs from the one before
by what its text says. The supervisor keeps that text with the snapshot from before the cell, and a copy that becomes
the worker runs it again: that takes a fraction of what a fork takes, and only where a worker has died.

Rules:

1. All is judged before the cell runs; what is in doubt is not repeatable.
2. Nothing of the user's runs in it, the first time or again: it reads no name, and calls and formats nothing of theirs.
3. Nothing of the user's ends by it: a name that gets another value had one whose end nobody can notice.
4. IPython runs it as it does from the beginning: what user code has put in between may do anything.
"""

from __future__ import annotations

import ast
import json
import sys
import weakref
from types import FunctionType
from typing import Any, NamedTuple

from ipymini_worker import context
from ipymini_worker.wire import LONGEST_REPEATED, Frame, Kind

#: Types of which nobody notices when an object of them ends.
_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})
#: What runs a cell.
_METHODS = (
    "run_cell",
    "run_cell_async",
    "run_code",
    "run_ast_nodes",
    "transform_cell",
    "transform_ast",
    "should_run_async",
    "push",
)
#: A module whose callbacks do nothing where nothing was drawn.
_DRAWS = "matplotlib_inline."


class Cell(NamedTuple):
    """One that may turn out to be repeatable."""

    code: str
    number: int
    kept: bool  #: in the history, and with a result


class _Silent:
    def send(self, *args: Any, **kwargs: Any) -> None:
        """A result that was seen the first time."""


class Repeatable:
    """Judges cells, and repeats them. Belongs to the main thread.

    :param shell: as it is before anything of the user's has run.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._callbacks = {name: set(found) for name, found in shell.events.callbacks.items()}
        text = shell.display_formatter.formatters["text/plain"]
        self._printers, self._singletons = dict(text.type_printers), dict(text.singleton_printers)
        self._machinery = self._found()

    def _found(self) -> tuple[object, ...]:
        """What a cell passes through."""
        shell, transforms = self._shell, self._shell.input_transformer_manager
        return (
            type(shell.displayhook),
            shell.events.trigger,
            shell.ast_node_interactivity,
            shell.logger.log_output,
            *(getattr(shell, name) for name in _METHODS),
            *transforms.cleanup_transforms,
            *transforms.line_transforms,
            *transforms.token_transformers,
            *shell.input_transformers_post,
            *shell.ast_transformers,
        )

    def judge(self, cell: Cell, tree: ast.Module) -> bytes:
        """What `repeat` needs, if the cell is repeatable; else nothing. Called just before it runs."""
        try:
            names: list[str] = []
            if not all(_harmless(node, names) for node in tree.body):
                return b""
            last = tree.body[-1] if tree.body else None
            if isinstance(last, ast.Expr) and not (cell.kept and self._shows_plainly(last.value)):
                return b""
            if not all(map(self._replaceable, names)) or not self._undisturbed():
                return b""
        except Exception:  # user code has made something else of what is looked at
            return b""
        record = json.dumps([cell.number, cell.kept, cell.code]).encode()
        return record if len(record) <= LONGEST_REPEATED else b""

    def _undisturbed(self) -> bool:
        shell = self._shell
        return (
            self._found() == self._machinery
            and shell.kernel.debugger is None
            and sys.gettrace() is None
            and sys.getprofile() is None
            and all(
                callback in self._callbacks[name] or callback.__module__.startswith(_DRAWS)
                for name, callbacks in shell.events.callbacks.items()
                for callback in callbacks
            )
        )

    def _shows_plainly(self, node: ast.expr) -> bool:
        """Whether a result is shown by nothing of the user's, and drives none of theirs out of `Out`."""
        shell, formatter = self._shell, self._shell.display_formatter
        values: tuple[object, ...] = (node.value,) if isinstance(node, ast.Constant) else (0, 0.0, 0j)
        text = formatter.formatters["text/plain"]
        results, oldest = shell.user_ns["_oh"], shell.user_ns.get("___")
        return (
            len(results) + 1 < shell.displayhook.cache_size
            and all(text.type_printers.get(type(value)) is self._printers.get(type(value)) for value in values)
            and all(text.singleton_printers.get(id(value)) is self._singletons.get(id(value)) for value in values)
            and all(map(formatter._only_text, values))
            and (_ends_unnoticed(oldest) or any(result is oldest for result in results.values()))
        )

    def _replaceable(self, name: str) -> bool:
        names = self._shell.user_ns
        return type(names) is dict and not name.startswith("_") and _ends_unnoticed(names.get(name))

    def repeat(self, record: bytes) -> None:
        """Runs a cell again; nobody hears of it. The history must not be open yet.

        :raises Exception: that does not work.
        """
        number, kept, code = json.loads(record)
        request = context.Request(Frame(Kind.REQUEST, 0, 0, (b"{}", b"{}", b"{}", b"{}")))
        request.run.count = number if kept else None
        hook = self._shell.displayhook
        publisher, hook.publisher = hook.publisher, _Silent()
        try:
            context.run(request, self._run, number, kept, code)
        finally:
            hook.publisher = publisher
            request.forget()

    def _run(self, number: int, kept: bool, code: str) -> None:
        shell = self._shell
        cell = shell.transform_cell(code)
        if kept:
            shell.history_manager.recall(number, code, cell)
        name = shell.compile.cache(cell, number, raw_code=code)
        body = shell.compile.ast_parse(cell, filename=name).body
        shown = body.pop() if kept and body and isinstance(body[-1], ast.Expr) else None
        exec(shell.compile(ast.Module(body, []), name, "exec"), shell.user_ns)
        if shown is not None:
            shell.displayhook(eval(shell.compile(ast.Expression(shown.value), name, "eval"), shell.user_ns))


def _harmless(node: ast.stmt, names: list[str]) -> bool:
    """Whether a statement runs nothing of the user's; `names` gets what it gives a value to."""
    if isinstance(node, ast.Pass):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) or _is_number(node.value)
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if not isinstance(target, ast.Name):
                return False
            names.append(target.id)
        return _is_literal(node.value)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        names.append(node.name)
        return _defines(node)
    return False


def _defines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
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
    return isinstance(node, ast.Constant) or _is_number(node)


def _is_number(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, (ast.USub, ast.UAdd)) and _is_number(node.operand)
    if isinstance(node, ast.BinOp):
        plain = isinstance(node.op, (ast.Add, ast.Sub, ast.Mult))
        return plain and _is_number(node.left) and _is_number(node.right)
    return isinstance(node, ast.Constant) and type(node.value) in (int, float, complex)


def _ends_unnoticed(value: object) -> bool:
    if type(value) is FunctionType:
        kept = value.__defaults__ or value.__kwdefaults__ or value.__closure__ or value.__dict__
        return not kept and not weakref.getweakrefcount(value)
    return type(value) in _PLAIN
