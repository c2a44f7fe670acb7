"""A kernel within a program."""

from typing import NoReturn


def embed_kernel(*args: object, **kwargs: object) -> NoReturn:
    """There is one already, and another kind cannot be made of these stand-ins.

    :raises RuntimeError: always.
    """
    raise RuntimeError("A kernel runs in this process already, so that another one cannot be embedded in it.")
