"""What is changed in modules of the standard library, at the moment when user code imports them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from ipymini_worker import context


class AfterImport:
    """Calls a function with a module that has just been imported, before whoever imported it sees it.

    :param then: the functions, by the module's name.
    """

    def __init__(self, then: dict[str, Callable[[ModuleType], None]]) -> None:
        self._then = then

    def install(self) -> None:
        """From now on; for modules that are there already, at once."""
        for name in [name for name in self._then if name in sys.modules]:
            self._then.pop(name)(sys.modules[name])
        sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What others find, with our function at the end."""
        then = self._then.pop(fullname, None)
        if then is None:
            return None
        for finder in sys.meta_path:
            spec = finder.find_spec(fullname, path, target) if finder is not self else None
            if spec is not None and spec.loader is not None:
                # The loader is that of this one module alone.
                spec.loader.exec_module = _both(spec.loader.exec_module, then)  # type: ignore
                return spec
        return None


def _both(execute: Callable[[ModuleType], None], then: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    def exec_module(module: ModuleType) -> None:
        execute(module)
        then(module)

    return exec_module


def debugger(pdb: Any) -> None:
    """`breakpoint()` and `pdb.set_trace()` stop at a prompt that can be interrupted."""

    def set_trace(*, header: str | None = None, **options: Any) -> None:
        from ipymini_worker import debugprompt

        debugprompt.set_trace(header=header, **options)

    def post_mortem(t: Any = None) -> None:
        from ipymini_worker import debugprompt

        debugprompt.post_mortem(t)

    set_trace.__doc__, post_mortem.__doc__ = pdb.set_trace.__doc__, pdb.post_mortem.__doc__
    pdb.set_trace, pdb.post_mortem = set_trace, post_mortem


def executor(thread: Any) -> None:
    """What a thread of a pool prints belongs to the cell that has submitted the work, not to that of the pool."""
    submit = thread.ThreadPoolExecutor.submit

    def submit_for_cell(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return submit(self, context.run, context.current(), fn, *args, **kwargs)

    submit_for_cell.__doc__, submit_for_cell.__name__ = submit.__doc__, submit.__name__
    thread.ThreadPoolExecutor.submit = submit_for_cell


def install() -> None:
    """Sees to the modules that user code may import."""
    AfterImport({"pdb": debugger, "concurrent.futures.thread": executor}).install()
