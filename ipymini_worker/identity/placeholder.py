"""Modules that are in `sys.modules` and load when somebody wants something of them.

Libraries ask `'ipykernel' in sys.modules` to find out where they are. The real package costs as much to import as
IPython itself, so it must not be imported for that; nor may those who look at all modules (`warnings`, pytest, numba,
`%autoreload`) import it by looking: what modules have by themselves, `__file__` and its kin, is answered without.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from types import ModuleType
from typing import Any

#: Names with underscores that only the module itself can answer.
_OWN = frozenset({"__all__", "__version__"})


class Placeholder(ModuleType):
    """A module that executes itself when an attribute is asked for that it does not have."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__") and name not in _OWN:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        load(self)
        return ModuleType.__getattribute__(self, name)

    def __dir__(self) -> list[str]:
        load(self)
        return list(ModuleType.__dir__(self))


def load(module: ModuleType) -> None:
    """Executes a placeholder, once. While it is executed, it is a module that is half imported, as ever.

    :raises ImportError: it cannot be imported; the next one who asks tries again.
    """
    with module.__dict__["__placeholder__"]:
        if type(module) is Placeholder and not module.__dict__.get("__loading__"):
            module.__dict__["__loading__"] = True
            try:
                importlib.reload(module)  # which executes in the same object, under the import system's own lock
                module.__class__ = ModuleType  # type: ignore[assignment]
            finally:
                del module.__dict__["__loading__"]


def place(name: str) -> None:
    """Puts a placeholder into `sys.modules`, if there is a module of that name to be had.

    :raises ImportError: the package that it is in cannot be imported.
    """
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None:
        return
    module = Placeholder(name)
    # What `importlib.util.module_from_spec` does, without the loader's word in it.
    values: dict[str, Any] = {
        "__spec__": spec,
        "__loader__": spec.loader,
        "__package__": spec.parent,
        "__file__": spec.origin,
        "__cached__": spec.cached,
        "__placeholder__": threading.RLock(),
    }
    if spec.submodule_search_locations is not None:
        values["__path__"] = spec.submodule_search_locations
    module.__dict__.update(values)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
