"""Signatures are those of Python's `hmac`, whoever computes them."""

from __future__ import annotations

import hmac
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipymini_supervisor import signing
from ipymini_supervisor.signing import Signer, equal

KEYS = (b"k", b"k" * 64, b"k" * 65, bytes(range(256)))


def expected(key: bytes, parts: list[bytes], algorithm: str = "sha256") -> bytes:
    return hmac.new(key, b"".join(parts), algorithm).hexdigest().encode()


@given(st.binary(min_size=1, max_size=200), st.lists(st.binary(max_size=300), max_size=6))
def test_small_messages_are_signed_as_python_does(key: bytes, parts: list[bytes]) -> None:
    signer = Signer(key, "sha256")
    assert signer.sign(parts) == expected(key, parts)
    assert signer.sign(parts) == expected(key, parts)  # the one before has left nothing behind


@pytest.mark.parametrize("key", KEYS, ids=len)
def test_signatures_are_the_same_before_and_after_openssl_is_loaded(key: bytes) -> None:
    signer = Signer(key, "sha256")
    message = [b"x" * 100_000, b"", b"y" * 17]
    assert signer.sign(message) == expected(key, message)
    assert signer._light is not None
    assert {signer.sign(message) for _ in range(30)} == {expected(key, message)}
    assert signer._light is None
    assert len(signer.sign(message)) == signer.digits == 64


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha512", "sha3_256"])
def test_other_algorithms_are_those_of_hashlib(algorithm: str) -> None:
    signer = Signer(b"key", algorithm)
    assert signer.sign([b"a", b"b"]) == expected(b"key", [b"a", b"b"], algorithm)
    assert signer.digits == len(expected(b"key", [], algorithm))


def test_a_python_without_its_own_hash_signs_with_hashlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "_sha256", None)
    assert Signer(b"key", "sha256").sign([b"a"]) == expected(b"key", [b"a"])


@pytest.mark.parametrize(("says", "light"), [("1\n", False), ("0\n", True), (None, True)])
def test_a_system_that_wants_validated_code_gets_openssl(
    says: str | None, light: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if says is not None:
        (tmp_path / "fips").write_text(says)
    monkeypatch.setattr(signing, "_FIPS", str(tmp_path / "fips"))
    signer = Signer(b"key", "sha256")
    assert (signer._light is not None) == light
    assert signer.sign([b"a"]) == expected(b"key", [b"a"])


def test_openssl_that_cannot_be_loaded_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = Signer(b"key", "sha256")
    monkeypatch.setitem(sys.modules, "hmac", None)  # to import it is an ImportError
    message = [b"x" * 1_000_000]
    assert {signer.sign(message) for _ in range(5)} == {expected(b"key", message)}
    assert signer._light is not None
    monkeypatch.undo()
    assert {signer.sign(message) for _ in range(5)} == {expected(b"key", message)}
    assert signer._light is None


def test_openssl_is_loaded_when_it_pays() -> None:
    code = """
import sys
from ipymini_supervisor.session import Session
session = Session(b"key")
for _ in range(100):
    session.sign([b"x" * 1000])
before = "_hashlib" in sys.modules
session.sign([b"x" * 1000000])
print(before, "_hashlib" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_signatures_are_compared_whatever_they_are() -> None:
    assert equal(b"abc", b"abc")
    assert not equal(b"abc", b"abd")
    assert not equal(b"abc", b"abcd")
    assert equal(memoryview(b"abc"), b"abc")
