"""Who imports `ipykernel` finds the real one where it is installed, and our stand-ins where it is not.

In both cases each of its modules is told of when it has been executed, see `adoption`: only then can the instances that
libraries look up be ours.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType
from typing import Any

from ipymini_worker.identity.placeholder import place

PACKAGE = "ipykernel"
#: What libraries look for in `sys.modules`.
_PRESENT = (PACKAGE, f"{PACKAGE}.zmqshell")
_STANDINS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "standins")


class Finder:
    """A finder for `sys.meta_path`.

    :param before: called before a module of ipykernel's is executed; what it returns is called with the module
        afterwards.
    """

    def __init__(self, before: Callable[[], Callable[[ModuleType], None]]) -> None:
        self._before = before
        self._real = self._others(PACKAGE, None, None) is not None

    @property
    def real(self) -> bool:
        """Whether ipykernel itself is installed."""
        return self._real

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As `importlib.abc.MetaPathFinder` has it; None for all that is not ipykernel's."""
        if name.partition(".")[0] != PACKAGE:
            return None
        # Modules of the stand-in are found as those of the real one are, by the path of their package.
        spec = self._others(name, path, target) if self._real or path is not None else self._standin()
        if spec is not None and spec.loader is not None:
            spec.loader = _Told(spec.loader, self._before)  # type: ignore[assignment]
        return spec

    def _others(self, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        """What is found without us; packages that are installed to be worked on have finders of their own."""
        for finder in list(sys.meta_path):
            if finder is not self and (spec := finder.find_spec(name, path, target)) is not None:
                return spec
        return None

    @staticmethod
    def _standin() -> ModuleSpec | None:
        file = os.path.join(_STANDINS, "__init__.py")
        return spec_from_file_location(PACKAGE, file, submodule_search_locations=[_STANDINS])

    def install(self) -> None:
        """Serves from now on; `'ipykernel' in sys.modules` holds, and nothing of it has been loaded."""
        sys.meta_path.insert(0, self)
        for name in _PRESENT:
            place(name)


class _Told:
    """A loader that says when it has executed a module; in everything else the one that it wraps."""

    def __init__(self, loader: Any, before: Callable[[], Callable[[ModuleType], None]]) -> None:
        self._loader = loader
        self._before = before

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        after = self._before()
        try:
            self._loader.exec_module(module)
        finally:
            after(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
