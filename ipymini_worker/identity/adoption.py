"""What is done with ipykernel's modules when a cell imports them: the instances that they speak of are ours."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import comm


class Adoption:
    """Our side of what ipykernel's modules look up.

    :param stream_class: the class of `sys.stdout`.
    :param app_class: the class whose instance is the application, which is made later.
    """

    def __init__(self, stream_class: type, kernel: Any, app_class: Any) -> None:
        self._stream_class = stream_class
        self._kernel = kernel
        self._app_class = app_class

    def before(self) -> Callable[[ModuleType], None]:
        """A module is going to be executed; what is returned is called with it afterwards."""
        create, manager = comm.create_comm, comm.get_comm_manager

        def after(module: ModuleType) -> None:
            # The real one takes them over on import, and comms would lead to sockets that are not there. Not ours are
            # put back but what was there: user code may have put in its own.
            comm.create_comm, comm.get_comm_manager = create, manager
            self._adopt(module)

        return after

    def _adopt(self, module: ModuleType) -> None:
        match module.__name__:
            case "ipykernel":
                # In a kernel of its own they are all imported: `ipykernel.iostream` is there without being asked for.
                module.__dict__.setdefault("__getattr__", _submodule)
            case "ipykernel.kernelbase":
                kernel_class = module.__dict__.get("Kernel")
                if kernel_class is not None:
                    kernel_class._instance = self._kernel  # what `instance()` and `initialized()` go by
            case "ipykernel.kernelapp":
                self._adopt_app(module.__dict__.get("IPKernelApp"))
            case "ipykernel.iostream":
                stream_class = module.__dict__.get("OutStream")
                if stream_class not in (None, self._stream_class):
                    stream_class.register(self._stream_class)  # an abstract base class, as all of `io`

    def _adopt_app(self, app_class: Any) -> None:
        """`initialized()` holds by itself: applications share their instance with the classes that they have in common.

        No application passes for one of that class, as the kernel does: `%config` asks the class for what it may set.
        """
        if app_class in (None, self._app_class):
            return
        ours, theirs = self._app_class, app_class.instance.__func__

        def instance(cls: Any, *args: Any, **kwargs: Any) -> Any:
            return ours.instance() if cls is app_class and ours.initialized() else theirs(cls, *args, **kwargs)

        app_class.instance = classmethod(instance)


def _submodule(name: str) -> ModuleType:
    """A module of ipykernel's, imported.

    :raises AttributeError: there is none of that name.
    """
    if not name.startswith("_"):
        try:
            return importlib.import_module(f"ipykernel.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"ipykernel.{name}":
                raise
    raise AttributeError(f"module 'ipykernel' has no attribute {name!r}")
