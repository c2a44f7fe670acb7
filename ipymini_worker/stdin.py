"""`input()` and `getpass()` in a cell: a question to the frontend that asked for the cell, and its answer."""

from __future__ import annotations

import builtins
import json
import sys
from _queue import SimpleQueue  # what `queue` is made of; a question needs no descriptor to be asked
from typing import Any

from ipymini_worker import context, jsonable
from ipymini_worker.link import Link
from ipymini_worker.wire import LONGEST_QUESTION, Kind

_NO_CELL = "input() in a thread can be answered only while a cell runs; wait for the thread in its cell."


class Stdin:
    """Asks on the link and waits for what the control thread delivers.

    One answer is awaited per request; a second thread of the same cell that asks waits for its own, in turn.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._answers: dict[int, SimpleQueue[bytes | BaseException | None]] = {}

    def install(self) -> None:
        """Puts `input` in the place of Python's own."""
        builtins.input = self.input

    def imported(self, getpass: Any) -> None:
        """Puts our `getpass` into the module of that name."""
        getpass.getpass = self.getpass

    def input(self, prompt: object = "", /) -> str:
        """What the user answers to `prompt` (protocol: Messages on the stdin channel).

        :raises StdinNotImplementedError: the frontend does not take questions, or a thread asks and no cell runs.
        :raises KeyboardInterrupt: the user interrupted instead.
        :raises ValueError: the prompt is longer than any user would read.
        """
        return self._ask(str(prompt), password=False)

    def getpass(self, prompt: object = "Password: ", stream: object = None) -> str:
        """As `input`, with an answer that the frontend does not show. `stream` is accepted as Python's own does."""
        return self._ask(str(prompt), password=True)

    def _ask(self, prompt: str, *, password: bool) -> str:
        request = context.current()
        if request.over:  # a thread of an earlier cell asks in the cell that runs now
            request = context.active()
        if not request.run.allow_stdin and not request.over:
            raise _refusal("This frontend does not support input requests, so input() cannot be answered here.")
        question = jsonable.encode({"prompt": prompt, "password": password})
        if len(question) > LONGEST_QUESTION:
            raise ValueError(f"A prompt of {len(prompt)} characters is too long.")
        sys.stdout.flush()
        sys.stderr.flush()
        with request.asking:
            return self._answer(request, question)

    def _answer(self, request: context.Request, question: bytes) -> str:
        # A new queue, because an answer that an interrupted question left behind must not answer this one.
        answers = self._answers[request.id] = SimpleQueue()
        try:
            if request.over:
                raise _refusal(_NO_CELL)
            self._link.send(Kind.INPUT_REQUEST, request.id, (question,))
            answer = answers.get()
            if answer is None:
                raise _refusal(_NO_CELL)
            if isinstance(answer, BaseException):
                raise answer
            content: dict[str, Any] = json.loads(answer)
        finally:
            if self._answers.get(request.id) is answers:
                del self._answers[request.id]
        value = content.get("value", "")
        if value == "\x04":
            raise EOFError
        return str(value)

    def deliver(self, request: int, content: bytes) -> None:
        """Hands an input_reply to the question of `request`; an answer that nobody waits for is dropped."""
        answers = self._answers.get(request)
        if answers is not None:
            answers.put(content)

    def cancel(self, request: int) -> bool:
        """Interrupts the question of `request`, in a thread that no signal reaches; returns whether there is one."""
        answers = self._answers.get(request)
        if answers is not None:
            answers.put(KeyboardInterrupt())
        return answers is not None

    def give_up(self, request: int) -> None:
        """The request is over: a thread that still waits for an answer waits no longer."""
        answers = self._answers.get(request)
        if answers is not None:
            answers.put(None)


def _refusal(sentence: str) -> Exception:
    """IPython's own error, in a file that is loaded before IPython is."""
    from IPython.core.error import StdinNotImplementedError

    error: Exception = StdinNotImplementedError(sentence)
    return error
