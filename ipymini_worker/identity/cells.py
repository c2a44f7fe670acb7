"""The file that the code of a cell claims to be from, as debuggers, numba's cache and line profilers know it.

`<temporary folder>/ipykernel_<pid>/<hash of the source>.py`; no such file exists, and the source is in `linecache`.
"""

from __future__ import annotations

import binascii
import linecache
import os
import struct
import sys
from functools import lru_cache
from typing import Any

from IPython.core.compilerop import CachingCompiler

from ipymini_worker import context
from ipymini_worker.large import HARMLESS, LARGE
from ipymini_worker.link import Link, LinkClosed
from ipymini_worker.wire import Kind, encode

#: Frontends compute the same names, with the seed that `debugInfo` tells them; this is the one that is in use.
SEED = 0xC70F6907
#: Characters of a cell up to which its name is told before anything else: it takes a millisecond.
_ANNOUNCED = 1 << 13
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes, seed: int = SEED) -> int:
    """MurmurHash2, the 32-bit one for little-endian machines.

    >>> murmur2(b"")
    3990065800
    """
    whole = len(data) & ~3
    value = (seed ^ len(data)) & _MASK
    for (word,) in struct.iter_unpack("<I", data[:whole]):
        word = word * _M & _MASK
        word = (word ^ word >> 24) * _M & _MASK
        value = value * _M & _MASK ^ word
    if rest := data[whole:]:
        value = (value ^ int.from_bytes(rest, "little")) * _M & _MASK
    value = (value ^ value >> 13) * _M & _MASK
    return value ^ value >> 15


def folder() -> str:
    """Where the code of cells claims to be. Asked for once, when the first worker starts, and kept.

    The pid in it is the one of that worker, for as long as snapshots go on from it: a copy that takes the worker's
    place has another pid, but the names that a frontend's breakpoints, tracebacks and functions from before refer to
    have to stay, and so does the prefix that `debugInfo` has told. Who reads the pid out of a name gets a process of
    this kernel's life; nobody needs it to be alive.
    """
    return os.path.join(_temporary(), f"ipykernel_{os.getpid()}")


def _temporary() -> str:
    """As `tempfile.gettempdir()`, whose module takes a fortieth of the start, and which writes a file to see whether
    there is room.
    """
    if "tempfile" in sys.modules:  # somebody may have told it another one
        return _asked(os.environ.get("TMPDIR", "/tmp"))
    named = [os.environ[name] for name in ("TMPDIR", "TEMP", "TMP") if os.environ.get(name)]
    first = os.path.abspath(named[0]) if named else "/tmp"
    if os.path.isdir(first) and os.access(first, os.W_OK | os.X_OK):
        return first
    return _asked(first)


def _asked(otherwise: str) -> str:
    import tempfile

    try:
        return tempfile.gettempdir()
    except OSError:  # none can be written to, as on a full disk; nothing is written here but for a debugger
        return otherwise


def path(where: str, source: str) -> str:
    """The name of a cell; `IPYKERNEL_CELL_NAME` in the environment takes the place of all of them.

    :param where: `folder()`.
    """
    given = os.environ.get("IPYKERNEL_CELL_NAME")
    if given:
        return given
    # Nobody sets breakpoints in megabytes, for which the other hash would take seconds.
    if len(source) > LARGE:
        number = binascii.crc32(source.encode("utf-8", "surrogatepass"))
    else:
        number = _remembered(source) if len(source) <= _ANNOUNCED else _hash(source)
    return os.path.join(where, f"{number}.py")


def _hash(source: str) -> int:
    return murmur2(source.encode("utf-8", "surrogatepass"))


#: A cell's name is asked for when it begins, and when it is compiled.
_remembered = lru_cache(1)(_hash)


class Names:
    """The names of cells, of which the supervisor is told before what they are the names of can run.

    :param where: `folder()`.
    """

    def __init__(self, where: str, link: Link) -> None:
        self._where = where
        self._link = link
        self._said = (0, "")  # when the cell began that is to be compiled now

    def of(self, source: str) -> str:
        """The name of code."""
        return path(self._where, source)

    def announced(self, number: int, source: str) -> bytes:
        """The frame that tells the name of a cell that begins; nothing if that takes long, as `tell` will do it."""
        if len(source) > _ANNOUNCED:
            return b""
        self._said = number, self.of(source)
        return b"".join(encode(Kind.CELL, 0, self._parts(*self._said)))

    def tell(self, number: int, name: str) -> None:
        """Code that is called so is going to be compiled as that of a cell."""
        if self._said == (number, name):
            self._said = 0, ""
            return
        try:
            self._link.send(Kind.CELL, 0, self._parts(number, name))
        except LinkClosed:  # in a process that user code has forked
            pass

    @staticmethod
    def _parts(number: int, name: str) -> tuple[bytes, bytes]:
        return b"%d" % number, name.encode("utf-8", "replace")


def compiler(names: Names) -> type[Any]:
    """The compiler class of the shell."""

    class CellCompiler(CachingCompiler):  # type: ignore[misc]  # IPython is not typed
        """Names cells by their source."""

        @staticmethod
        def name_of(source: str) -> str:
            return names.of(source)

        def get_code_name(self, raw_code: str, transformed_code: str, number: int) -> str:
            name = self.name_of(raw_code)
            names.tell(number, name)
            return name

        def cache(self, transformed_code: str, number: int = 0, raw_code: str | None = None) -> str:
            if len(transformed_code) <= LARGE:
                return super().cache(transformed_code, number, raw_code)  # type: ignore[no-any-return]
            name = self.get_code_name(raw_code or transformed_code, transformed_code, number)
            self._filename_map[name] = number
            linecache.cache[name] = (lambda: transformed_code,)  # made into lines when somebody wants them
            return name

        def ast_parse(self, source: str, filename: str = "<unknown>", symbol: str = "exec") -> Any:
            run = context.current().run
            parsed, run.parsed = run.parsed, None
            if parsed is None or parsed.cell is not source or self.flags & ~HARMLESS:
                return super().ast_parse(source, filename, symbol)
            return parsed.tree

    return CellCompiler
