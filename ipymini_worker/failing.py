"""The shell's errors: how they are shown, what the reply says of them, and what the history keeps."""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress
from typing import Any

from IPython.core.error import UsageError
from IPython.core.interactiveshell import ExecutionResult, InteractiveShell
from traitlets import Any as AnyTrait

from ipymini_worker import context, tracebacks
from ipymini_worker.context import Failure
from ipymini_worker.running import Running

#: The module of the debugger's prompt, which is there once there has been one.
PROMPT = "ipymini_worker.debugprompt"
#: The module of the debugger, which is there once something has been debugged.
_DEBUGGER = "ipymini_worker.pydevd_engine"


class Failing(Running):
    """An `InteractiveShell` whose errors are published."""

    publisher = AnyTrait()  # a Publisher

    def init_traceback_handlers(self, custom_exceptions: Any) -> None:
        """As the base class; frames without a line do not keep a traceback from being made."""
        super().init_traceback_handlers(custom_exceptions)
        self.InteractiveTB.get_records = tracebacks.with_lines(self.InteractiveTB.get_records)

    def showtraceback(self, exc_tuple: Any = None, *args: Any, **kwargs: Any) -> None:
        """As the base class; a cell that an interrupt has cancelled is shown as interrupted."""
        caller = sys._getframe(1).f_globals.get("__name__")
        if caller == "IPython.core.formatters" and _interrupted((exc_tuple or sys.exc_info())[1]):
            raise KeyboardInterrupt  # a formatter made something else of it, which IPython would show and go on
        # A cell that IPython ends with this traceback is at its end; after any other one its code goes on.
        ends = caller == InteractiveShell.__module__
        with self.gate.closed(deliver=not ends):
            etype, _, tb = exc_tuple or sys.exc_info()
            cancelled = etype is not None and etype.__name__ == "CancelledError"
            # An interrupt that finds `asyncio.run` on its way into the loop is forgotten by it, all but its effect.
            if cancelled and (self.loop.cancelled or self.gate.was_interrupted()):
                exc_tuple = (KeyboardInterrupt, KeyboardInterrupt().with_traceback(tb), tb)
            exception: Any = exc_tuple or sys.exc_info()
            if (why := context.current().run.why) and isinstance(exception[1], KeyboardInterrupt):
                exception[1].args = exception[1].args or (why,)
            for name in (PROMPT, _DEBUGGER):
                if name in sys.modules:
                    sys.modules[name].without_debugger(exception[2])
            run = context.current().run
            shown = run.shown
            if isinstance(exception[1], BaseException):
                tracebacks.shorten(exception[1].with_traceback(exception[2]))
                exc_tuple = (exception[0], exception[1], exception[1].__traceback__)
            super().showtraceback(exc_tuple, *args, **kwargs)
            if shown == run.shown and exception[0] is not None and not issubclass(exception[0], UsageError):
                # Without descriptors or memory IPython cannot make its own; the error has to be seen all the same.
                self._showtraceback(exception[0], exception[1], traceback.format_exception(*exception))

    def _showtraceback(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
        """Publishes `error` and keeps it for the reply."""
        run = context.current().run
        run.shown += 1
        failure = Failure(etype.__name__, _text(evalue), list(stb))
        # A formatter that raises fails the cell, although IPython goes on with it.
        run.failed = run.failed or run.displaying
        again = etype is KeyboardInterrupt and run.failure is not None and run.failure.ename == failure.ename
        if again:  # the same one, on its way up through something that has shown it
            return
        run.failure = failure
        for name in ("stdout", "stderr"):
            with suppress(Exception):  # there may be none any longer, or something of the user's that fails
                getattr(sys, name).flush()
        self.publisher.send("error", failure._asdict())

    def _format_exception_for_storage(self, exception: BaseException, *args: Any, **kwargs: Any) -> Any:
        """As the base class, for exceptions that cannot be printed too: the history must not fail the cell again.
        What was shown of an exception is not made once more, which takes as long as all else that the error costs.
        """
        shown = context.current().run.failure
        if shown is not None and shown.traceback and shown[:2] == (type(exception).__name__, _text(exception)):
            return shown._asdict()
        try:
            return super()._format_exception_for_storage(exception, *args, **kwargs)
        except Exception:  # from the user's __str__ or __repr__
            return {"ename": type(exception).__name__, "evalue": _text(exception), "traceback": []}

    def showtraceback_as_text(self) -> None:
        """Prints the exception that is being handled on stderr, where no cell fails for it (callbacks, tasks)."""
        lines = self.InteractiveTB.structured_traceback(*sys.exc_info())
        print(self.InteractiveTB.stb2text(lines), file=sys.stderr)

    def _failure(self, result: ExecutionResult) -> Failure | None:
        run = context.current().run
        if result.success and not run.failed:
            return None
        error = result.error_before_exec or result.error_in_exec
        if run.failure is None and type(error).__name__ == "BdbQuit":  # IPython says nothing of it
            error = type(error)("The cell was ended at the debugger's prompt.")
            self._showtraceback(type(error), error, [f"BdbQuit: {error}"])
        if run.failure is None and error is not None:  # told in another way, as usage errors of magics are
            run.failure = Failure(type(error).__name__, _text(error), [])
        return run.failure or Failure("Error", "", [])


def _interrupted(error: BaseException | None) -> bool:
    """Whether an exception was raised while a KeyboardInterrupt was on its way."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__context__
    return False


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # the user's __str__
        return f"<{type(error).__name__} whose text cannot be shown>"
