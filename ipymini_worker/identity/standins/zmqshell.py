"""What `get_ipython()` is, and what it publishes with."""

from ipymini_worker.display import WorkerDisplayPublisher as ZMQDisplayPublisher
from ipymini_worker.magics import KernelMagics
from ipymini_worker.shell import WorkerShell as ZMQInteractiveShell

__all__ = ["KernelMagics", "ZMQDisplayPublisher", "ZMQInteractiveShell"]
