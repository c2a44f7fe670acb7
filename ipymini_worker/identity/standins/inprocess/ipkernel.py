"""The classes that programs tell such a kernel by; nothing is an instance of them."""

from ..ipkernel import IPythonKernel
from ..zmqshell import ZMQInteractiveShell


class InProcessKernel(IPythonKernel):
    """A kernel in the process of its frontend."""


class InProcessInteractiveShell(ZMQInteractiveShell):
    """The shell of such a kernel."""
