"""The names that the code of cells is under."""

from __future__ import annotations

import os

from IPython import get_ipython

from ipymini_worker.identity.cells import SEED, murmur2


def murmur2_x86(data: str, seed: int) -> int:
    """MurmurHash2 of a text."""
    return murmur2(data.encode("utf-8", "surrogatepass"), seed)


def get_tmp_hash_seed() -> int:
    """The seed that names are made with."""
    return SEED


def get_file_name(code: str) -> str:
    """The file that a cell of this source claims to be from."""
    name: str = get_ipython().compiler_class.name_of(code)
    return name


def get_tmp_directory() -> str:
    """The folder of these files, which does not exist."""
    return os.path.dirname(get_file_name(""))
