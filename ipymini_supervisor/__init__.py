"""The process of the kernel that must never die: it owns the sockets, the queue, and the worker's life and death."""
