"""Signed messages: what we sign others can read, and what is not ours is a MessageError."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime
from typing import Any

import jupyter_client.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipymini_supervisor import session as module
from ipymini_supervisor.session import DELIMITER, MessageError, Session

KEY = b"1234-abcd"
HASHES = ["md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "sha3_512", "blake2b", "blake2s"]
HEADER = json.dumps({"msg_id": "1", "msg_type": "execute_request"}).encode()


def signed(
    header: bytes = HEADER,
    key: bytes = KEY,
    content: bytes = b"{}",
    buffers: tuple[bytes, ...] = (),
    scheme: str = "hmac-sha256",
) -> list[bytes]:
    """What a client sends."""
    parts = [header, b"{}", b"{}", content]
    return [b"ident", DELIMITER, Session(key, scheme).sign(parts), *parts, *buffers]


def raw(parts: list[Any]) -> list[bytes]:
    return [bytes(part) for part in parts]


@pytest.mark.parametrize("name", HASHES)
def test_message_is_read_by_whoever_has_the_key(name: str) -> None:
    parts = Session(KEY, f"hmac-{name}").pack("status", {"a": 1}, HEADER, {"m": 2}, [b"buffer"], [b"topic"])
    message = Session(KEY, f"hmac-{name}").unpack(raw(parts))
    assert message.header.msg_type == "status"
    assert (message.idents, message.parent, message.buffers) == ((b"topic",), HEADER, (b"buffer",))
    assert (json.loads(message.metadata), json.loads(bytes(message.content))) == ({"m": 2}, {"a": 1})


@pytest.mark.parametrize("scheme", ["hmac-sha256", "hmac-sha512"])
def test_jupyter_client_reads_what_we_sign(scheme: str) -> None:
    client = jupyter_client.session.Session(key=KEY, signature_scheme=scheme)
    parts = raw(Session(KEY, scheme).pack("stream", {"text": "ü"}, HEADER, buffers=[b"\0\1"], idents=[b"i"]))
    idents, rest = client.feed_identities(parts, copy=True)
    message = client.deserialize(rest, copy=True)
    assert idents == [b"i"]
    assert message["content"] == {"text": "ü"}
    assert message["parent_header"]["msg_id"] == "1"
    assert [bytes(b) for b in message["buffers"]] == [b"\0\1"]


@pytest.mark.parametrize("scheme", ["hmac-sha256", "hmac-sha512"])
def test_we_read_what_jupyter_client_signs(scheme: str) -> None:
    client = jupyter_client.session.Session(key=KEY, signature_scheme=scheme)
    parts = client.serialize(client.msg("execute_request", {"code": "1+1"}), ident=b"me")
    message = Session(KEY, scheme).unpack(parts)
    assert (message.header.msg_type, message.idents) == ("execute_request", (b"me",))
    assert json.loads(bytes(message.content)) == {"code": "1+1"}


def test_content_that_is_bytes_is_passed_on_as_it_is() -> None:
    content = b'{ "spaces"  : NaN }'
    assert Session(KEY).pack("stream", content)[5] is content


def test_headers_are_unlike_each_other_and_dated() -> None:
    session = Session(KEY)
    headers = [json.loads(bytes(session.pack("status", b"{}")[2])) for _ in range(100)]
    assert len({header["msg_id"] for header in headers}) == 100
    assert {header["session"] for header in headers} == {session.id}
    assert {header["version"] for header in headers} == {"5.5"}
    assert datetime.fromisoformat(headers[0]["date"]).tzinfo is not None


def test_two_sessions_have_different_ids() -> None:
    assert Session(KEY).id != Session(KEY).id


def test_without_a_key_nothing_is_signed_and_everything_is_read() -> None:
    session = Session(b"")
    parts = raw(session.pack("status", b"{}"))
    assert parts[1] == b""
    assert session.unpack(parts).header.msg_type == "status"
    assert session.unpack(signed(key=b"another key")).header.msg_id == "1"
    assert session.unpack(signed(key=b"")).header.msg_id == session.unpack(signed(key=b"")).header.msg_id


WRONG: dict[str, list[bytes]] = {
    "nothing at all": [],
    "no delimiter": [b"ident", *signed()[2:]],
    "delimiter alone": [DELIMITER],
    "identities only": [b"a", b"b"],
    "no content": signed()[:-1],
    "other key": signed(key=b"other"),
    "other hash": signed(scheme="hmac-sha512"),
    "no signature": [*signed()[:2], b"", *signed()[3:]],
    "half a signature": [*signed()[:2], signed()[2][:32], *signed()[3:]],
    "signature that is no ASCII": [*signed()[:2], b"\xff" * 64, *signed()[3:]],
    "signature in capitals": [*signed()[:2], signed()[2].upper(), *signed()[3:]],
    "changed header": [*signed()[:3], HEADER.replace(b"1", b"2"), *signed()[4:]],
    "changed content": [*signed()[:-1], b'{"code": "evil"}'],
    "header is no JSON": signed(b"{"),
    "header is empty": signed(b""),
    "header is not UTF-8": signed(b'{"msg_id": "\xff\xfe", "msg_type": "x"}'),
    "header key is not UTF-8": signed(b'{"msg_id": "1", "msg_type": "x", "\xff": 1}'),
    "lone surrogate in the header": signed(rb'{"msg_id": "\ud800", "msg_type": "x"}'),
    "header is a list": signed(b"[]"),
    "header is null": signed(b"null"),
    "msg_type is missing": signed(b'{"msg_id": "1"}'),
    "msg_id is a number": signed(b'{"msg_id": 1, "msg_type": "x"}'),
    "msg_type is null": signed(b'{"msg_id": "1", "msg_type": null}'),
    "signature far too long": [*signed()[:2], b"0" * 100_000, *signed()[3:]],
    "too many parts": signed(buffers=(b"",) * module.MOST_PARTS),
    "too many identities": [b"x"] * 16 + signed(),
    "identities far too long": [b"x" * 70_000, *signed()],
    "header far too long": signed(b'{"msg_id": "1", "msg_type": "x", "pad": "' + b"x" * 70_000 + b'"}'),
    "deep nesting": signed(b'{"msg_id": "1", "msg_type": "x", "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "deep nesting without an end": signed(b'{"a":' * 100_000),
}


@pytest.mark.parametrize("name", WRONG)
def test_message_that_is_wrong_raises(name: str) -> None:
    with pytest.raises(MessageError):
        Session(KEY).unpack(WRONG[name])


@pytest.mark.parametrize("size", [999, 1000, 1001, 2000])
def test_limit_is_for_all_parts_together(size: int) -> None:
    session = Session(KEY, limit=1000)
    parts = signed()
    half = bytes((size - sum(map(len, parts))) // 2)
    parts = [*parts, half, bytes(size - len(half) - sum(map(len, parts)))]
    assert sum(map(len, parts)) == size
    if size <= 1000:
        assert session.unpack(parts).header.msg_id == "1"
    else:
        with pytest.raises(MessageError, match="too large"):
            session.unpack(parts)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"1",
        b"{",
        b'{"a":}',
        b'"\xff"',
        b'{"\xff": 1}',
        b'{"a":' * 100_000,
        b"[" * 100_000,
        b"{} {}",
    ],
)
def test_content_that_is_no_object_is_seen(content: bytes) -> None:
    assert not module.is_object(content)
    assert module.is_object(b' {"a": [1, {"b": null}]} ')


def test_error_quotes_nothing_of_the_message() -> None:
    for parts in WRONG.values():
        with pytest.raises(MessageError) as caught:
            Session(KEY).unpack(parts)
        assert "evil" not in str(caught.value)
        assert "msg_id" not in str(caught.value)
        assert len(str(caught.value)) < 100


def test_replay_is_refused() -> None:
    session = Session(KEY)
    parts = signed()
    session.unpack(parts)
    with pytest.raises(MessageError, match="received before"):
        session.unpack(parts)
    with pytest.raises(MessageError, match="received before"):
        session.unpack([b"another identity", *parts[1:], b"another buffer"])


def test_forgery_does_not_use_up_the_signature_of_the_real_message() -> None:
    session = Session(KEY)
    parts = signed()
    with pytest.raises(MessageError):
        session.unpack([*parts[:-1], b"[]"])
    assert session.unpack(parts).header.msg_id == "1"


def test_memory_of_signatures_is_bounded_and_keeps_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    session = Session(KEY)
    messages = [signed(content=b"%d" % number) for number in range(10)]
    for parts in messages:
        session.unpack(parts)
    for parts in messages[-3:]:
        with pytest.raises(MessageError):
            session.unpack(parts)
    session.unpack(messages[0])  # long forgotten


def test_identities_and_buffers_may_hold_anything() -> None:
    parts = signed(buffers=(DELIMITER, b"", b"\xff"))
    message = Session(KEY).unpack([b"\0\xff", *parts])
    assert message.idents == (b"\0\xff", b"ident")
    assert message.buffers == (DELIMITER, b"", b"\xff")


def test_unknown_fields_of_a_header_are_ignored_and_subshell_id_is_read() -> None:
    header = (
        b'{"msg_id": "1", "msg_type": "x", "new": [1, {}], "subshell_id": "s", "session": "t", "username": "\xc3\xbc"}'
    )
    message = Session(KEY).unpack(signed(header))
    assert (message.header.subshell_id, message.header.session, message.header.username) == ("s", "t", "ü")
    assert message.header_bytes is header


@given(st.lists(st.one_of(st.binary(max_size=50), st.just(DELIMITER), st.just(HEADER)), max_size=10), st.booleans())
def test_any_parts_are_a_message_or_a_message_error(parts: list[bytes], keyed: bool) -> None:
    with contextlib.suppress(MessageError):
        Session(KEY if keyed else b"").unpack(parts)


@given(
    st.one_of(st.binary(max_size=200), st.text(max_size=100).map(lambda text: json.dumps({"msg_id": text}).encode()))
)
def test_any_header_with_a_good_signature_is_a_message_or_a_message_error(header: bytes) -> None:
    with contextlib.suppress(MessageError):
        Session(KEY).unpack(signed(header))
