"""The name of the kernelspec that frontends take for Python's own.

There is no `RESOURCES`, by which jupyter_client knows that a kernel is installed with ipykernel: none is.
"""

KERNEL_NAME = "python3"
