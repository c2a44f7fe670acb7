"""Modules that libraries import and that nobody here uses: their import is put off until somebody does."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

#: By the module's name: what is asked of it while libraries are imported. pyzmq pickles and writes JSON on request and
#: finds ports at random; it, and Python's own uuid, which msgspec imports, ask what they run on. `logging` shows errors
#: that somebody logs.
UNUSED: Mapping[str, Mapping[str, Any]] = {
    "pickle": {"DEFAULT_PROTOCOL": 4},
    "random": {},
    "json": {},
    "textwrap": {},
    "traceback": {},
    "platform": {
        "system": lambda: os.uname().sysname,
        "python_implementation": lambda: {"pypy": "PyPy"}.get(sys.implementation.name, "CPython"),
    },
}
#: msgspec looks for this one, does without it, and takes longer to import it than for all the rest.
ABSENT = "typing_extensions"


def catch_up() -> None:
    """Loads what was put off and is needed to write to the log, some time after the start: at a bad moment, when there
    are no descriptors left, or no memory, it could not be loaded.
    """
    try:
        import json  # noqa: F401
        import traceback

        try:
            raise LookupError
        except LookupError:
            traceback.format_exc()  # which loads some more
    except Exception:  # that moment has come already
        pass


class Later(ModuleType):
    """Stands for a module, which is imported when something else of it is asked for than what is `known`."""

    def __init__(self, name: str, known: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.__dict__.update(known)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # the import system asks, and not for the sake of the module
            raise AttributeError(attribute)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), attribute)


class Lean:
    """For the time of its body modules are put off that are not there yet; who imports one has a stand-in for good."""

    def __enter__(self) -> None:
        self._put: dict[str, ModuleType | None] = {name: Later(name, known) for name, known in UNUSED.items()}
        self._put[ABSENT] = None  # to import it is an ImportError (Python reference: The module cache)
        self._put = {name: module for name, module in self._put.items() if name not in sys.modules}
        sys.modules.update(self._put)  # type: ignore[arg-type]

    def __exit__(self, *exc: object) -> None:
        for name, module in self._put.items():
            if name in sys.modules and sys.modules[name] is module:
                del sys.modules[name]
