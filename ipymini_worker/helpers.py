"""What a cell may import from the kernel, under our name and, where nobody else has it, under that of ipymini."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

#: The name under which notebooks that were written for another kernel look for the helpers.
ALIAS = "ipymini"


def unlock() -> bool:
    """Lets queued requests run while the cell that calls awaits, from now until its end; False outside of a cell."""
    return bool(_kernel().unlock())


def subshell() -> AbstractContextManager[str]:
    """While the body runs, cells that come from the same client are executed at once, in a subshell of their own.

    :raises RuntimeError: called outside of a cell.
    """
    subshell: AbstractContextManager[str] = _kernel().subshell()
    return subshell


def _kernel() -> Any:
    from IPython.core.getipython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        raise RuntimeError("unlock() and subshell() can be used in a notebook's kernel only.")
    return kernel


class AliasFinder:
    """Finds `ipymini` where no package of that name is installed; the last one in `sys.meta_path`."""

    @classmethod
    def install(cls) -> None:
        """From now on it is asked when nobody else has found a module."""
        sys.meta_path.append(cls)

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of the alias; None for everything else."""
        return ModuleSpec(name, _AliasLoader()) if name == ALIAS else None  # type: ignore[arg-type]  # as good as one


class _AliasLoader:
    """Makes the module."""

    def create_module(self, spec: ModuleSpec) -> None:
        """Python makes the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Puts the helpers into it."""
        module.__doc__ = __doc__
        vars(module).update(unlock=unlock, subshell=subshell)
