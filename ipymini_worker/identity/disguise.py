"""The names that libraries look at, and `ipykernel` to be imported. `IPYMINI_IDENTITY=plain` does without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ipymini_worker.identity.counterpart import Counterpart

if TYPE_CHECKING:
    from ipymini_worker.identity.kernel import Kernel
    from ipymini_worker.link import Link


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether to pass for ipykernel: unless `IPYMINI_IDENTITY` is "plain"."""
    return environment.get("IPYMINI_IDENTITY", "").strip().lower() != "plain"


def put_on(kernel: Kernel, link: Link) -> dict[str, Any]:
    """Passes for ipykernel from now on; returns the traits that the shell is to be made with.

    :param link: where it is told which cell a file name belongs to.
    """
    import comm

    from ipymini_worker.app import IPKernelApp
    from ipymini_worker.comms import WorkerCommManager
    from ipymini_worker.identity import cells
    from ipymini_worker.identity.adoption import Adoption
    from ipymini_worker.identity.finder import Finder
    from ipymini_worker.shell import WorkerShell
    from ipymini_worker.streams import OutStream

    _rename(OutStream, "ipykernel.iostream", "OutStream")
    _rename(WorkerShell, "ipykernel.zmqshell", "ZMQInteractiveShell")
    _rename(IPKernelApp, "ipykernel.kernelapp", "IPKernelApp")
    _rename(type(kernel), "ipykernel.ipkernel", "IPythonKernel", also=("ipykernel.kernelbase", "Kernel"))
    _rename(comm.create_comm, "ipykernel.comm.comm", "Comm")  # type: ignore[arg-type]  # a class since `comms.install`
    _rename(WorkerCommManager, "ipykernel.comm.manager", "CommManager")
    Finder(Adoption(OutStream, kernel, IPKernelApp).before).install()

    names = cells.Names(cells.folder(), link)
    return {"compiler_class": cells.compiler(names), "announce": names.announced}


def _rename(cls: type, module: str, name: str, also: tuple[str, str] | None = None) -> None:
    """Gives a class the name and the module that it is known by; its instances pass for those of its namesake."""
    cls.__name__ = cls.__qualname__ = name
    cls.__module__ = module
    if issubclass(cls, Counterpart):
        cls.counterparts = ((module, name), also) if also else ((module, name),)
