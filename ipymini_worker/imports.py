"""What is changed in modules of others, at the moment when they are imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from ipymini_worker import context

#: Modules that other kernels have loaded when the first cell runs (ipykernel 7.4), by their packages: there is code
#: that imports the package alone.
_TAKEN_FOR_GRANTED = {
    "concurrent": {"futures"},
    "email": {"charset", "encoders", "errors", "header", "message", "parser", "utils"},
    "html": {"entities"},
    "http": {"client", "server"},
    "importlib": {"abc", "metadata", "resources"},
    "logging": {"config", "handlers"},
    "urllib": {"parse"},
    "xml": {"parsers"},
    "xmlrpc": {"client", "server"},
}

#: Modules of Python's own that we, IPython and asyncio load late, and that other kernels have loaded by then.
_RESERVED = {
    *("array", "asyncio", "bisect", "bz2", "calendar", "cmd", "code", "concurrent", "csv", "ctypes", "curses"),
    *("decimal", "email", "getpass", "gzip", "hashlib", "heapq", "hmac", "html", "http", "locale", "lzma", "mimetypes"),
    *("pdb", "pickle", "pkgutil", "platform", "pwd", "pydoc", "pyexpat", "queue", "quopri", "random", "runpy"),
    *("selectors", "shutil", "socket", "socketserver", "sqlite3", "ssl", "stringprep", "subprocess", "sysconfig"),
    *("tempfile", "termios", "uuid", "xml", "xmlrpc", "zipfile", "zlib", "zoneinfo"),
}


class Reserved:
    """Finds `_RESERVED` where Python has its own modules. For a path on which the notebook's folder comes before those:
    IPython puts it before the first folder that is called site-packages, which may be the user's `PYTHONPATH`.
    """

    def __init__(self, path: Sequence[str]) -> None:
        self._path = path

    @classmethod
    def install(cls) -> None:
        """From now on, if that is needed."""
        own = os.path.dirname(os.__file__)
        if "" in sys.path and own in sys.path and sys.path.index("") < sys.path.index(own):
            # Its folder and that of its extensions, not those of packages in it.
            path = [folder for folder in sys.path if folder.startswith(own) and "-packages" not in folder]
            finders: list[Any] = sys.meta_path
            finders.insert(finders.index(PathFinder) if PathFinder in finders else len(finders), cls(path))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Python's own module."""
        return PathFinder.find_spec(fullname, self._path) if path is None and fullname in _RESERVED else None


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
        then = self._then.get(fullname)
        if then is None:
            return None
        for finder in sys.meta_path:
            spec = finder.find_spec(fullname, path, target) if finder is not self else None
            if spec is not None and spec.loader is not None:
                # The loader is that of this one module alone, but where modules are in a zip file.
                spec.loader.exec_module = self._both(spec.loader.exec_module, then, fullname)  # type: ignore
                return spec
        return None

    def _both(
        self, execute: Callable[[ModuleType], None], then: Callable[[ModuleType], None], name: str
    ) -> Callable[[ModuleType], None]:
        def exec_module(module: ModuleType) -> None:
            execute(module)
            if module.__name__ != name:  # one loader for all that is in a zip file
                return
            then(module)
            self._then.pop(name, None)  # only now: whoever looked for it may not have imported it, or was interrupted

        return exec_module


@contextmanager
def put_off(*names: str) -> Iterator[None]:
    """For the time of its body, who imports a module gets a stand-in with one function, which imports it when it is
    called; so does whatever else is asked of it, at once.

    :param names: of the functions, with their modules'; a module that is there already is left as it is.
    """
    made = []
    for module, _, function in (name.rpartition(".") for name in names):
        if module not in sys.modules:
            stand_in = sys.modules[module] = ModuleType(module)
            setattr(stand_in, function, _late(stand_in, function))
            setattr(stand_in, "__getattr__", partial(_ask, stand_in))  # noqa: B010
            made.append(stand_in)
    try:
        yield
    finally:
        for stand_in in made:
            _withdraw(stand_in)


def _late(stand_in: ModuleType, function: str) -> Callable[..., Any]:
    def late(*args: Any, **options: Any) -> Any:
        return _ask(stand_in, function)(*args, **options)

    return late


def _ask(stand_in: ModuleType, attribute: str) -> Any:
    """What the module itself has."""
    if attribute.startswith("__"):  # the import system asks, and not for the sake of the module
        raise AttributeError(attribute)
    _withdraw(stand_in)
    return getattr(import_module(stand_in.__name__), attribute)


def _withdraw(stand_in: ModuleType) -> None:
    if sys.modules.get(stand_in.__name__) is stand_in:
        del sys.modules[stand_in.__name__]


def completed(package: Any) -> None:
    """What is taken for granted of a package is imported when somebody asks for it."""
    name = package.__name__

    def find(attribute: str) -> Any:
        if attribute in _TAKEN_FOR_GRANTED[name]:
            with suppress(ModuleNotFoundError):
                return import_module(f"{name}.{attribute}")
        raise AttributeError(f"module {name!r} has no attribute {attribute!r}", name=attribute, obj=package)

    if hasattr(package, "__path__") and not hasattr(package, "__getattr__"):  # it may be a file of the user's
        package.__getattr__ = find


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


def completer_finds(functions: Any) -> None:
    """The completer looks for modules in a path of its own, and nowhere else does that show.

    It would be the path of the whole process for that time, at times an empty one: what a cell imports while a
    completion is made would not be found.
    """
    find = functions.get_module_info

    def get_module_info(*args: Any, sys_path: Any = None, **options: Any) -> Any:
        if sys_path is not None:
            options.setdefault("path", sys_path)
        return find(*args, **options)

    functions.get_module_info = get_module_info


def completer_loads(access: Any) -> None:
    """As `completer_finds`, for modules that the completer imports."""
    load = access.load_module

    def load_module(*args: Any, **options: Any) -> Any:
        if "sys_path" in options:
            options["sys_path"] = sys.path
        return load(*args, **options)

    access.load_module = load_module


def install(then: Mapping[str, Callable[[ModuleType], None]]) -> None:
    """Sees to the modules that user code, and the completer, may import.

    :param then: what else is to be done with a module that has been imported, by its name.
    """
    AfterImport(
        {
            "pdb": debugger,
            "concurrent.futures.thread": executor,
            "jedi.inference.compiled.subprocess.functions": completer_finds,
            "jedi.inference.compiled.access": completer_loads,
            **dict.fromkeys(_TAKEN_FOR_GRANTED, completed),
            **then,
        }
    ).install()
