"""What IPython puts in place while cells run, and takes away when none does: `get_ipython` among the built-in names,
and the hook that shows results.

It counts who is in, but for one thread: of two that come at once both would put it in place, which fails, and one that
comes while the last one leaves would have to do without.
"""

from __future__ import annotations

import threading
from typing import Any

from IPython.core.builtin_trap import BuiltinTrap
from IPython.core.display_trap import DisplayTrap


class InTurn:
    """A trap that threads enter and leave one after the other. To be mixed into one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.renew()
        super().__init__(*args, **kwargs)

    def renew(self) -> None:
        """In a copy of the process: who held the lock is not here."""
        self._turn = threading.RLock()  # a finalizer may enter while its thread does

    def __enter__(self) -> Any:
        with self._turn:
            return super().__enter__()  # type: ignore[misc]

    def __exit__(self, *exc: Any) -> Any:
        with self._turn:
            return super().__exit__(*exc)  # type: ignore[misc]


class Builtins(InTurn, BuiltinTrap):  # type: ignore[misc]  # IPython is not typed
    """The built-in names."""


class Results(InTurn, DisplayTrap):  # type: ignore[misc]
    """The hook for results."""
