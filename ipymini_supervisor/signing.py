"""Signatures of messages (protocol: The Wire Protocol), by HMAC (RFC 2104).

OpenSSL hashes a megabyte six times as fast as what is built into Python, but takes 20 ms and 3.6 MB to be loaded,
which is a sixth of a kernel's start, and more than a kernel that prints little will ever get back. So the first
megabyte is signed with what is built in, and what follows with OpenSSL.
"""

from __future__ import annotations

from _operator import _compare_digest as equal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import hmac

    from ipymini_supervisor.session import Part

try:  # as the standard library's own `random` does for the same reason
    from _sha2 import sha256 as _sha256  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    try:
        from _sha256 import sha256 as _sha256  # type: ignore[import-not-found,no-redef,unused-ignore]
    except ImportError:  # a Python that was built without it
        _sha256 = None

__all__ = ["Signer", "equal"]

#: Bytes that are signed before OpenSSL is loaded: what it would have saved up to then is a fifth of what it costs.
_PAYS = 1 << 20
#: Bytes up to which parts are joined to be signed: below, a copy costs less than one call for each.
_JOINED = 1 << 14
_FIPS = "/proc/sys/crypto/fips_enabled"
_BLOCK = 64  # bytes, of SHA-256
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


class Signer:
    """Signs with one key.

    :param key: the connection file's key.
    :param algorithm: a name that `hashlib.new` takes.
    """

    def __init__(self, key: bytes, algorithm: str) -> None:
        self._key, self._algorithm = key, algorithm
        light = algorithm == "sha256" and _sha256 is not None and not _fips()
        self._light = _Light(key) if light else None
        self._hmac = self._loaded() if self._light is None else None
        self._signed = 0
        self.digits = 2 * (self._hmac.digest_size if self._hmac is not None else 32)  #: that a signature has

    def sign(self, parts: Sequence[Part]) -> bytes:
        """The signature over all parts together, as hexadecimal digits."""
        size = sum(map(len, parts))
        if self._light is not None:
            self._signed += size
            if self._signed > _PAYS:
                self._change()
        digest: Any = self._light.copy() if self._light is not None else self._hmac.copy()  # type: ignore[union-attr]
        if size <= _JOINED:
            digest.update(b"".join(parts))
        else:
            for part in parts:
                digest.update(part)
        return bytes(digest.hexdigest(), "ascii")

    def _change(self) -> None:
        """From now on with OpenSSL, if it can be loaded; else after another megabyte."""
        try:
            self._hmac = self._loaded()
            self._light = None
        except Exception:  # no descriptors or memory are left
            self._signed = 0

    def _loaded(self) -> hmac.HMAC:
        import hmac

        made = hmac.new(self._key, digestmod=self._algorithm)
        return getattr(made, "_hmac", None) or made  # OpenSSL's own, where it has it: a third less for each message


def _fips() -> bool:
    """Whether the system wants nothing but what has been validated (FIPS 140), which OpenSSL may be."""
    try:
        with open(_FIPS, "rb") as file:
            return file.read(1) == b"1"
    except OSError:
        return False


class _Light:
    """HMAC-SHA-256 of the standard library's `hmac`, as far as it is needed here."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        if len(key) > _BLOCK:
            key = _sha256(key).digest()
        key = key.ljust(_BLOCK, b"\0")
        self._inner, self._outer = _sha256(key.translate(_INNER)), _sha256(key.translate(_OUTER))

    def copy(self) -> _Light:
        """One that goes on from here."""
        other = _Light.__new__(_Light)
        other._inner, other._outer = self._inner.copy(), self._outer
        return other

    def update(self, data: Part) -> None:
        """Takes more of the message."""
        self._inner.update(data)

    def hexdigest(self) -> str:
        """The code for what it has taken."""
        outer = self._outer.copy()
        outer.update(self._inner.digest())
        digits: str = outer.hexdigest()
        return digits
