"""The application of this kernel."""

from typing import NoReturn

from ipymini_worker.app import IPKernelApp


def launch_new_instance(*args: object, **kwargs: object) -> NoReturn:
    """Another kernel cannot be made of these stand-ins.

    :raises ImportError: always.
    """
    raise ImportError("To start another kernel from here, install ipykernel; this kernel is ipymini-supervisor.")


main = launch_new_instance

__all__ = ["IPKernelApp", "launch_new_instance", "main"]
