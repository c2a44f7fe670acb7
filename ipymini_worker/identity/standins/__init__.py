"""Stands in for ipykernel where it is not installed: what libraries look up in it, with ipymini-supervisor behind it.

Code that makes a kernel of its own out of `IPythonKernel` or `IPKernelApp` needs the real one.
"""

from ._version import __version__, kernel_protocol_version, kernel_protocol_version_info, version_info
from .connect import connect_qtconsole, get_connection_file, get_connection_info, write_connection_file

__all__ = [
    "__version__",
    "connect_qtconsole",
    "get_connection_file",
    "get_connection_info",
    "kernel_protocol_version",
    "kernel_protocol_version_info",
    "version_info",
    "write_connection_file",
]
