"""The class of Python kernels."""

from .kernelbase import Kernel


class IPythonKernel(Kernel):
    """`IPythonKernel.instance()` is the kernel that runs here."""


__all__ = ["IPythonKernel"]
