"""Where Python code was: reads what faulthandler has written, and shows it as a user knows it. Pure."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d{1,9}) in (?P<function>.*)$')
#: Where only one thread is dumped, it has no number.
_THREAD = re.compile(
    r"^(?:(?P<current>Current thread 0x[0-9a-f]+|Stack)|Thread 0x[0-9a-f]+) (?:\[.*\] )?\(most recent call first\):"
)
_CELL = re.compile(r"^<ipython-input-(\d{1,9})-[0-9a-f]+>$")
_FILE = re.compile(r'^  File "(?P<file>[^"\n]*)", line ', re.M)
#: Names of cells that are kept, and the characters that each may have: faulthandler writes no more.
_REMEMBERED, _LONGEST = 10_000, 500
#: Files of the machinery around user code: what is below the first of them on the stack is of no use to a user.
_MACHINERY = ("/IPython/core/", "/ipymini_worker/")


class Cells:
    """Which cell a file name belongs to that code claims to be from: workers say so for each cell."""

    def __init__(self) -> None:
        self._numbers: OrderedDict[str, int] = OrderedDict()

    def learn(self, number: int, file: str) -> None:
        """Code of the cell with the prompt number `number` is under the name `file` from now on."""
        file = file[:_LONGEST]
        self._numbers.pop(file, None)
        self._numbers[file] = number
        if len(self._numbers) > _REMEMBERED:
            self._numbers.popitem(last=False)

    def named(self, dump: str) -> str:
        """What faulthandler wrote, with the names of cells that `parse` knows."""

        def name(match: re.Match[str]) -> str:
            number = self._numbers.get(match["file"])
            return match[0] if number is None else f'  File "<ipython-input-{number}-0>", line '

        return _FILE.sub(name, dump)


class Line(NamedTuple):
    """One frame of a stack."""

    file: str
    line: int
    function: str

    @property
    def cell(self) -> int | None:
        """The prompt number of the cell that the frame belongs to; None for a file."""
        match = _CELL.match(self.file)
        return int(match[1]) if match else None

    def __str__(self) -> str:
        where = f"Cell In[{self.cell}]" if self.cell is not None else f"File {self.file}"
        inside = "" if self.function == "<module>" else f", in {self.function}"
        return f"{where}, line {self.line}{inside}"


def parse(dump: str, *, main: bool = False) -> list[Line]:
    """The frames of user code in a dump, most recent call last.

    :param dump: what faulthandler wrote; it may be cut off anywhere.
    :param main: of the main thread, which is listed last; else of the thread that died, if there is one.
    """
    threads: list[list[Line]] = []
    current: list[Line] | None = None
    for text in dump.splitlines():
        if thread := _THREAD.match(text):
            threads.append([])
            if thread["current"] is not None:
                current = threads[-1]
        elif threads and (frame := _FRAME.match(text)):
            threads[-1].append(Line(frame["file"], int(frame["line"]), frame["function"]))
    if current is not None and not main:
        return _user_code(current)[::-1]
    return _user_code(threads[-1])[::-1] if threads else []


def read(text: str) -> list[Line]:
    """The frames of user code in a stack as `traceback.format_stack` writes it, most recent call last."""
    found = re.finditer(r'^  File "(?P<file>.*)", line (?P<line>\d{1,9}), in (?P<function>.*)$', text, re.M)
    frames = [Line(match["file"], int(match["line"]), match["function"]) for match in found]
    return _user_code(frames[::-1])[::-1]


def is_complete(dump: bytes) -> bool:
    """Whether a dump has come to the end of the main thread: its first frame, or the sign that there are too many."""
    last = dump.rstrip(b"\n").rpartition(b"\n")[2]
    return last.startswith(b'  File "<string>", line ') or last == b"  ..."


def _user_code(frames: Sequence[Line]) -> list[Line]:
    """The frames above the machinery that runs a cell; `frames` begin with the most recent call."""
    for at, frame in enumerate(frames):
        if frame.function in ("run_code", "answer") and any(part in frame.file for part in _MACHINERY):
            return list(frames[:at])
    return [frame for frame in frames if frame.file != "<string>" and "/ipymini_worker/" not in frame.file]


def show(frames: Sequence[Line]) -> list[str]:
    """The frames as lines of text; empty if there are none."""
    return ["Python stack (most recent call last):", *(f"  {frame}" for frame in frames)] if frames else []
