"""IPython's completer, made when it is first asked for: most kernels run their first cell before that, and many never
complete anything.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from IPython.core.interactiveshell import InteractiveShell

#: Sections of the configuration that are the completer's: what makes no sense there is to be told of at the start.
_SECTIONS = frozenset({"Completer", "IPCompleter"})


class LateCompleter(InteractiveShell):  # type: ignore[misc]  # IPython is not typed
    """An `InteractiveShell` that begins without a completer."""

    _completer: Any = None

    def renew_locks(self) -> None:
        """At the start, and in a copy of the process: who held them is not here."""
        self._making = threading.RLock()

    def init_completer(self) -> None:
        """None yet, but where it is configured."""
        if _SECTIONS & set(self.config):
            self._make()

    @property
    def Completer(self) -> Any:
        """The completer. Any thread may be the first to ask for it."""
        if self._completer is None:
            with self.gate.closed(deliver=True), self._making:  # an interrupt must not leave half of one
                if self._completer is None:
                    self._make()
        return self._completer

    @Completer.setter
    def Completer(self, completer: Any) -> None:
        self._completer = completer

    def _make(self) -> None:
        from IPython.core.completer import ProvisionalCompleterWarning

        # Once for all: a context of its own for each call would change the filters under the feet of other threads.
        warnings.filterwarnings("ignore", category=ProvisionalCompleterWarning)
        with recursion_limit_kept():
            super().init_completer()

    def run_line_magic(self, magic_name: str, line: str, _stack_depth: int = 1) -> Any:
        """As the base class; `%config` tells of the completer, too."""
        if magic_name == "config":
            self.Completer  # noqa: B018
        return super().run_line_magic(magic_name, line, _stack_depth + 1)


@contextmanager
def recursion_limit_kept() -> Iterator[None]:
    """The first import of jedi, which the body may make, does not lower Python's recursion limit; up to version 0.20.0
    it sets one of its own.
    """
    before = sys.getrecursionlimit()
    first = "jedi" not in sys.modules
    try:
        yield
    finally:
        if first and sys.getrecursionlimit() < before:
            sys.setrecursionlimit(before)
