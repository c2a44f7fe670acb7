"""Cells that need no snapshot, because what they have done can be done again.

A cell that only names constants, defines functions or shows a number leaves a session that differs from the one before
by what its text says. The supervisor keeps that text with the snapshot from before the cell, and a copy that becomes
the worker runs it again: that takes a fraction of what a fork takes, and only where a worker has died.

Rules:

1. All is judged before the cell runs; what is in doubt is not repeatable.
2. Nothing of the user's runs in it, the first time or again: it reads no name, and calls and formats nothing of theirs.
3. Nothing of the user's ends by it: a name that gets another value had one whose end nobody can notice.
4. IPython runs it as it does by itself: what configuration and user code have put in between may do anything.
"""

from __future__ import annotations

import ast
import json
import signal
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult

from ipymini_worker import context, formatting, survival, warm
from ipymini_worker.harmless import ends_unnoticed, is_number, names_of
from ipymini_worker.signals import get_handler
from ipymini_worker.wire import DUMP_SIGNAL, LONGEST_REPEATED, NUDGE_SIGNAL, Frame, Kind

#: What runs a cell, and what shows its result.
_RUNS = (
    "run_cell",
    "run_cell_async",
    "run_code",
    "run_ast_nodes",
    "transform_cell",
    "transform_ast",
    "should_run_async",
    "push",
)
_SHOWS = (
    "quiet",
    "start_displayhook",
    "compute_format_data",
    "update_user_ns",
    "fill_exec_result",
    "write_format_data",
    "log_output",
    "finish_displayhook",
)
#: Signals that user code may handle; of SIGINT the gate knows.
_SIGNALS = tuple(int(n) for n in signal.valid_signals() - {signal.SIGINT, NUDGE_SIGNAL, DUMP_SIGNAL})
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
        self._machinery = self._found()
        added = shell.input_transformers_post or shell.ast_transformers
        self._usual = shell.ast_node_interactivity == "last_expr" and not added

    def _found(self) -> tuple[object, ...]:
        """What a cell passes through."""
        shell, transforms = self._shell, self._shell.input_transformer_manager
        return (
            type(shell.displayhook),
            shell.events.trigger,
            shell.ast_node_interactivity,
            shell.logger.log_output,
            shell.display_formatter.format,
            warnings.showwarning,
            *(getattr(shell, name) for name in _RUNS),
            *(getattr(shell.displayhook, name) for name in _SHOWS),
            *transforms.cleanup_transforms,
            *transforms.line_transforms,
            *transforms.token_transformers,
            *shell.input_transformers_post,
            *shell.ast_transformers,
            *map(get_handler, _SIGNALS),
        )

    def candidate(self, cell: Cell) -> Cell | None:
        """The cell, if it may be repeatable. Called before IPython has it, and `judge` later: what user code has put
        in between may take itself away when it has run.
        """
        try:
            return cell if self._usual and len(cell.code) <= LONGEST_REPEATED and self._undisturbed() else None
        except Exception:  # user code has made something else of what is looked at
            return None

    def judge(self, cell: Cell, tree: ast.Module) -> bytes:
        """What `repeat` needs, if the cell is repeatable; else nothing. Called just before it runs."""
        try:
            names = names_of(tree)
            if names is None or not all(map(self._replaceable, names)):
                return b""
            last = tree.body[-1] if tree.body else None
            if isinstance(last, ast.Expr) and not (cell.kept and self._shows_plainly(last.value)):
                return b""
            if not self._undisturbed() or not self._result_ends_unnoticed():
                return b""
        except Exception:  # as in `candidate`
            return b""
        record = json.dumps([cell.number, cell.kept, cell.code]).encode()
        return record if len(record) <= LONGEST_REPEATED else b""

    def _undisturbed(self) -> bool:
        shell = self._shell
        return (
            self._found() == self._machinery
            and shell.home.gate.usual()
            and shell.kernel.debugger is None
            and not warm.observed()
            and all(
                callback in self._callbacks[name] or callback.__module__.startswith(_DRAWS)
                for name, callbacks in shell.events.callbacks.items()
                for callback in callbacks
            )
        )

    def _shows_plainly(self, node: ast.expr) -> bool:
        """Whether a result is shown by nothing of the user's, and drives none of theirs out of `Out`."""
        shell, formatter = self._shell, self._shell.display_formatter
        values: tuple[object, ...] = ()
        if is_number(node):
            values = 0, 0.0
        elif isinstance(node, ast.Constant):
            values = (node.value,)
        text = formatter.formatters["text/plain"]
        return (
            len(shell.user_ns["_oh"]) + 1 < shell.displayhook.cache_size
            and bool(values)
            and all(formatter.only_text(value) and formatting.line(text, value) is not None for value in values)
            and self._stays(shell.user_ns.get("___"))
        )

    def _stays(self, value: object) -> bool:
        """Whether nobody notices when a result is no longer where it was."""
        shell = self._shell
        kept = shell.user_ns["_oh"].values()
        return ends_unnoticed(value, shell.user_global_ns) or any(result is value for result in kept)

    def _result_ends_unnoticed(self) -> bool:
        """IPython's record of the cell before has the result, and the exception with all that was at hand."""
        last = self._shell.last_execution_result
        return last is None or (
            last.error_before_exec is None and last.error_in_exec is None and self._stays(last.result)
        )

    def _replaceable(self, name: str) -> bool:
        names, all_names = self._shell.user_ns, self._shell.user_global_ns
        return type(names) is dict and not name.startswith("_") and ends_unnoticed(names.get(name), all_names)

    def repeat(self, record: bytes) -> None:
        """Runs a cell again; nobody hears of it. The history must not be open yet.

        :raises Exception: that does not work.
        """
        number, kept, code = json.loads(record)
        request = context.Request(Frame(Kind.REQUEST, 0, 0, (b"{}", b"{}", b"{}", b"{}")))
        request.run.count, request.run.counted = (number if kept else None), True
        hook = self._shell.displayhook
        publisher, hook.publisher = hook.publisher, _Silent()
        try:
            with survival.no_warnings():  # those of the compiler were seen, too
                context.run(request, self._run, number, kept, code, request.run)
        finally:
            hook.publisher = publisher
            request.forget()

    def _run(self, number: int, kept: bool, code: str, run: context.Run) -> None:
        shell = self._shell
        cell = shell.transform_cell(code)
        options: dict[str, Any] = {"cell_id": None, "cell_meta": {}}
        info = ExecutionInfo(code, kept, False, True, **{k: v for k, v in options.items() if k in shell.cell_options})
        run.result = result = ExecutionResult(info)
        if kept:
            shell.history_manager.recall(number, code)
            result.execution_count = number
        name = shell.compile.cache(cell, number, raw_code=code)
        compiled: Callable[..., Any] = shell.compile
        body = shell.compile.ast_parse(cell, filename=name).body
        for node in body:
            if kept and node is body[-1] and isinstance(node, ast.Expr):
                shown = compiled(ast.Expression(node.value), name, "eval")
                shell.displayhook(eval(shown, shell.user_global_ns, shell.user_ns))
            else:
                exec(compiled(ast.Module([node], []), name, "exec"), shell.user_global_ns, shell.user_ns)
        shell.last_execution_succeeded, shell.last_execution_result = True, result
