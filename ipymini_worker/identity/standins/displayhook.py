"""What publishes results."""

from ipymini_worker.display import WorkerDisplayHook as ZMQShellDisplayHook

__all__ = ["ZMQShellDisplayHook"]
