"""The debugger at a prompt (`breakpoint()`, `%debug`, `pdb.set_trace()`): IPython's, with a frontend for a terminal.

What is different from a terminal: an interrupt at the prompt ends the cell, stepping ends where the cell ends, and
there may be nobody who can be asked. Imported when it is used for the first time, because `pdb` is slow to import.
"""

from __future__ import annotations

import code
import codeop
import sys
import traceback
from types import FrameType, TracebackType
from typing import Any

from IPython.core.debugger import Pdb
from IPython.core.error import StdinNotImplementedError

#: Where frames belong to the debugger and to whoever started it.
_INTERNAL = ("bdb", "cmd", "pdb", "IPython", "ipymini_worker")


class WorkerPdb(Pdb):  # type: ignore[misc]  # IPython is not typed
    """IPython's debugger, which a cell can be ended from."""

    def __init__(self, *args: Any, **options: Any) -> None:
        # pdb would put a handler of its own in the place of the cell's, and leave it there.
        super().__init__(*args, **{"nosigint": True, **options})
        self._end: BaseException | None = None  # what ends the cell when the prompt is left
        self._in_cell = False

    # -- where it stops

    def set_trace(self, frame: FrameType | None = None, **options: Any) -> None:
        """Stops at the next line of `frame`, which is the caller's if it is not given."""
        frame = frame or sys._getframe(1)
        self._in_cell = _is_in_cell(frame)
        super().set_trace(frame, **options)

    def stop_here(self, frame: FrameType) -> bool:
        """Not in what is between the statements of a cell, and after the last of them."""
        if self._in_cell and not _is_in_cell(frame):
            return False
        return bool(super().stop_here(frame))

    # -- the prompt

    def interaction(self, frame: FrameType | None, tb_or_exc: Any) -> None:
        """Asks for commands.

        :raises KeyboardInterrupt: an interrupt came at the prompt, or while a command was carried out.
        :raises StdinNotImplementedError: the frontend does not take questions.
        """
        self._end = None
        super().interaction(frame, tb_or_exc)
        end, self._end = self._end, None
        if end is not None:
            raise end

    def _cmdloop(self) -> None:
        try:
            self.cmdloop()
        except KeyboardInterrupt:
            self._end = KeyboardInterrupt()
        except StdinNotImplementedError:
            self._end = StdinNotImplementedError(
                "The debugger cannot ask for commands, because this frontend does not support input requests."
            )

    def _error_exc(self) -> None:
        if isinstance(sys.exc_info()[1], KeyboardInterrupt):
            self._end = KeyboardInterrupt()
        else:
            super()._error_exc()

    def postcmd(self, stop: bool, line: str) -> bool:
        """Leaves the prompt after a command that was interrupted."""
        return bool(super().postcmd(stop, line)) or self._end is not None

    def default(self, line: str) -> None:
        """Executes a statement; as long as it is not complete, asks for more of it."""
        statement = line[1:].strip() if line.startswith("!") else line
        try:
            while self.use_rawinput and codeop.compile_command(statement, "<stdin>", "single") is None:
                statement += "\n" + input("...   ")
        except EOFError:
            self.lastcmd = ""
            return
        except (SyntaxError, ValueError, OverflowError):
            pass  # it is told when it is executed
        super().default(statement)

    def do_interact(self, arg: str) -> None:
        """interact

        Start an interactive interpreter whose namespace contains all names found in the current scope.
        """
        assert self.curframe is not None
        console = _Console({**self.curframe.f_globals, **self.curframe.f_locals})
        console.interact(banner="*interactive*: Python statements, Ctrl-D or exit() leaves", exitmsg="")
        if console.interrupted:
            self._end = KeyboardInterrupt()


class _Console(code.InteractiveConsole):
    """An interpreter that an interrupt leaves, for good."""

    interrupted = False

    def raw_input(self, prompt: str = "") -> str:
        try:
            line = input(prompt)
        except KeyboardInterrupt:
            self.interrupted = True
            raise EOFError from None
        if line.strip() in ("exit", "exit()", "quit", "quit()"):
            raise EOFError
        return line

    def showtraceback(self) -> None:
        """Tells of an error on stderr; `sys.excepthook` would tell of it as the cell's."""
        kind, error, entry = sys.exc_info()
        self.write("".join(traceback.format_exception(kind, error, entry.tb_next if entry is not None else None)))


def _is_in_cell(frame: FrameType) -> bool:
    """Whether a frame is a cell's or was called by one; cells are called by `run_code` of IPython's shell."""
    below, above = frame, frame.f_back
    while above is not None:
        if above.f_code.co_name == "run_code" and _module(above) == "IPython.core.interactiveshell":
            return _module(below).partition(".")[0] not in _INTERNAL
        below, above = above, above.f_back
    return False


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def end() -> None:
    """The cell is over: the next one must not be stopped in."""
    if isinstance(getattr(sys.gettrace(), "__self__", None), WorkerPdb):
        sys.settrace(None)
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            frame.f_trace = None
            frame = frame.f_back


def without_debugger(entry: TracebackType | None) -> None:
    """Takes the debugger's own frames from the end of a traceback that it has raised."""
    last = kept = None
    while entry is not None:
        last = _module(entry.tb_frame)
        if last.partition(".")[0] not in _INTERNAL:
            kept = entry
        entry = entry.tb_next
    if last == __name__ and kept is not None:
        kept.tb_next = None


def set_trace(*, header: str | None = None, **options: Any) -> None:
    """In the place of `pdb.set_trace`, which is what `breakpoint()` calls."""
    debugger = WorkerPdb()
    if header is not None:
        debugger.message(header)
    debugger.set_trace(sys._getframe(2), **options)


def post_mortem(t: Any = None) -> None:
    """In the place of `pdb.post_mortem`.

    :param t: a traceback or an exception; that which is being handled if it is not given.
    :raises ValueError: there is none.
    """
    t = sys.exc_info()[2] if t is None else t
    if t is None:
        raise ValueError("A valid traceback must be passed if no exception is being handled")
    debugger = WorkerPdb()
    debugger.reset()
    debugger.interaction(None, t)
