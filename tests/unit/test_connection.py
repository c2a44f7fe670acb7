"""Connection files: what is read, what is refused, what is written."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from ipymini_supervisor.connection import Connection, parse
from ipymini_supervisor.connectionfile import (
    CHANNELS,
    LARGEST,
    ConnectionFileError,
    check_folder,
    exposed,
    read,
    write_new,
)

PATH = "/run/user/kernel-1.json"
PORTS = {f"{channel}_port": 5001 + number for number, channel in enumerate(CHANNELS)}
FULL = {
    **PORTS,
    "transport": "tcp",
    "ip": "127.0.0.1",
    "key": "0123-abc",
    "signature_scheme": "hmac-sha512",
    "kernel_name": "ipymini",
}


def parsed(**changes: object) -> Connection:
    """The full file with other values."""
    return parse(json.dumps({**FULL, **changes}).encode(), PATH)


class TestParse:
    def test_full_file(self) -> None:
        connection = parsed()
        assert connection == Connection(
            transport="tcp",
            ip="127.0.0.1",
            shell_port=5001,
            iopub_port=5002,
            stdin_port=5003,
            control_port=5004,
            hb_port=5005,
            key=b"0123-abc",
            signature_scheme="hmac-sha512",
            kernel_name="ipymini",
            path=PATH,
        )

    def test_only_ports_are_required(self) -> None:
        connection = parse(json.dumps(PORTS).encode(), PATH)
        assert (connection.transport, connection.ip, connection.key) == ("tcp", "127.0.0.1", b"")
        assert (connection.signature_scheme, connection.kernel_name) == ("hmac-sha256", "")

    def test_unknown_keys_are_ignored(self) -> None:
        assert parsed(jupyter_session="x", curve_publickey=None, extra={"a": [1]}) == parsed()

    def test_path_becomes_absolute(self) -> None:
        assert parse(json.dumps(FULL).encode(), "k.json").path == os.path.abspath("k.json")

    @pytest.mark.parametrize(
        ("data", "word"),
        [
            (b"", "JSON"),
            (b"{", "JSON"),
            (b'{"ip": "\xff"}', "JSON"),
            (b"\xff\xfe{\x00}\x00", "JSON"),
            (b"[" * 100_000, "JSON"),
            (b"[]", "object"),
            (b"null", "object"),
            (b'"text"', "object"),
        ],
    )
    def test_what_is_no_object_is_refused(self, data: bytes, word: str) -> None:
        with pytest.raises(ConnectionFileError, match=rf"^The connection file {PATH} .*{word}.*\.$"):
            parse(data, PATH)

    @pytest.mark.parametrize("key", PORTS)
    def test_missing_port_is_named(self, key: str) -> None:
        content = {name: value for name, value in FULL.items() if name != key}
        with pytest.raises(ConnectionFileError, match=f"{key} is missing"):
            parse(json.dumps(content).encode(), PATH)

    @pytest.mark.parametrize("key", PORTS)
    @pytest.mark.parametrize("value", [0, -1, 65536, 1 << 70, True, None, "5001", 5001.0, [5001]])
    def test_wrong_port_is_named(self, key: str, value: object) -> None:
        with pytest.raises(ConnectionFileError, match=f"{key} must be a whole number from 1 to 65535"):
            parsed(**{key: value})

    def test_port_of_another_channel_is_refused(self) -> None:
        with pytest.raises(ConnectionFileError, match="hb_port is 5001"):
            parsed(hb_port=5001)

    @pytest.mark.parametrize("key", ["transport", "ip", "key", "signature_scheme", "kernel_name"])
    @pytest.mark.parametrize("value", [None, 1, ["x"], {"a": "b"}, False])
    def test_wrong_type_is_named(self, key: str, value: object) -> None:
        with pytest.raises(ConnectionFileError, match=f"{key} must be a string"):
            parsed(**{key: value})

    @pytest.mark.parametrize("value", ["", "udp", "TCP", "inproc"])
    def test_unknown_transport_is_refused(self, value: str) -> None:
        with pytest.raises(ConnectionFileError, match="transport"):
            parsed(transport=value)

    @pytest.mark.parametrize("value", ["", "sha256", "hmac", "hmac-", "hmac-sha257", "hmac-shake_128", "none-sha256"])
    def test_unknown_signature_scheme_is_refused(self, value: str) -> None:
        with pytest.raises(ConnectionFileError, match="signature_scheme must be"):
            parsed(signature_scheme=value)

    @pytest.mark.parametrize("value", ["hmac-sha256", "hmac-sha512", "hmac-md5", "hmac-blake2b", "hmac-sha3_256"])
    def test_signature_scheme_is_any_hash(self, value: str) -> None:
        assert parsed(signature_scheme=value).signature_scheme == value

    def test_keys_for_encryption(self) -> None:
        public, secret = (key.decode() for key in zmq.curve_keypair())
        connection = parsed(curve_publickey=public, curve_secretkey=secret)
        assert (connection.curve_publickey, connection.curve_secretkey) == (public.encode(), secret.encode())
        assert secret not in repr(connection)

    @pytest.mark.parametrize("key", ["curve_publickey", "curve_secretkey"])
    def test_one_key_for_encryption_is_not_enough(self, key: str) -> None:
        with pytest.raises(ConnectionFileError, match=r"curve_\w+ is missing, and the other key is there"):
            parsed(**{key: "a" * 40})

    @pytest.mark.parametrize("value", [1, "", "a" * 39, "a" * 41, "ä" * 40, "a" * 39 + " ", ["a" * 40], b"".decode()])
    def test_wrong_key_for_encryption_is_named_and_not_quoted(self, value: object) -> None:
        with pytest.raises(ConnectionFileError, match="curve_secretkey must be a CURVE key") as caught:
            parsed(curve_publickey="a" * 40, curve_secretkey=value)
        assert "aaa" not in str(caught.value)

    @pytest.mark.parametrize(
        ("ip", "local"),
        [
            ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("localhost", True),
            ("::ffff:127.0.0.1", True), ("lo", True), ("0.0.0.0", False), ("*", False), ("192.168.1.2", False),
            ("::", False), ("eth0", False), ("example.org", False), ("::ffff:10.0.0.1", False), ("", True),
        ],
    )  # fmt: skip
    def test_address_is_local_or_not(self, ip: str, local: bool) -> None:
        assert parsed(ip=ip).local is local

    def test_sockets_of_the_ipc_transport_are_local(self) -> None:
        assert parsed(transport="ipc", ip="/run/x").local

    @given(st.binary())
    def test_no_bytes_raise_anything_else(self, data: bytes) -> None:
        with pytest.raises(ConnectionFileError):
            parse(data, PATH)

    @given(
        st.dictionaries(
            st.sampled_from([*FULL, "other"]),
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers()),
        )
    )
    def test_no_content_raises_anything_else(self, changes: dict[str, Any]) -> None:
        try:
            connection = parsed(**changes)
        except ConnectionFileError as error:
            told = str(error)
        else:
            told = "It is good."
            assert isinstance(connection.key, bytes)
            assert all(connection.endpoint(channel) for channel in CHANNELS)
        assert told.endswith(".")
        assert "\n" not in told

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_key_is_taken_as_it_is(self, key: str) -> None:
        assert parsed(key=key).key == key.encode()


class TestEndpoint:
    def test_tcp(self) -> None:
        connection = parsed()
        assert [connection.endpoint(channel) for channel in CHANNELS] == [
            f"tcp://127.0.0.1:{port}" for port in PORTS.values()
        ]

    @pytest.mark.parametrize(
        ("ip", "shown"), [("::1", "[::1]"), ("[::1]", "[::1]"), ("0.0.0.0", "0.0.0.0"), ("*", "*")]
    )
    def test_address_of_an_interface(self, ip: str, shown: str) -> None:
        assert parsed(ip=ip).endpoint("hb") == f"tcp://{shown}:5005"

    def test_ipc(self) -> None:
        assert parsed(transport="ipc", ip="/run/k:x", shell_port=100_000).endpoint("shell") == "ipc:///run/k:x-100000"

    def test_ipc_sockets_are_beside_the_file_by_default(self) -> None:
        assert parsed(transport="ipc", ip="").endpoint("hb") == "ipc:///run/user/kernel-1-ipc-5005"

    def test_ipc_number_is_positive(self) -> None:
        with pytest.raises(ConnectionFileError, match="hb_port must be a positive whole number"):
            parsed(transport="ipc", hb_port=0)

    def test_unknown_channel(self) -> None:
        with pytest.raises(ValueError, match="heart"):
            parsed().endpoint("heart")


def test_key_is_not_in_the_repr() -> None:
    connection = parsed(key="secret-key")
    assert "secret" not in f"{connection!r} {connection}"
    assert PATH in repr(connection)


class TestRead:
    def test_bytes(self, tmp_path: Path) -> None:
        file = tmp_path / "k.json"
        file.write_bytes(b"\xff\x00 anything")
        assert read(str(file)) == b"\xff\x00 anything"

    def test_missing(self, tmp_path: Path) -> None:
        path = str(tmp_path / "none.json")
        with pytest.raises(ConnectionFileError, match=rf"^There is no connection file {path}; .*\.$"):
            read(path)

    def test_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ConnectionFileError, match="is not a file"):
            read(str(tmp_path))

    def test_pipe_does_not_block(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ConnectionFileError, match="is not a file"):
            read(str(tmp_path / "pipe"))

    def test_socket(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("s")
            with pytest.raises(ConnectionFileError, match="cannot be read"):
                read("s")

    def test_unreadable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> int:
            raise PermissionError(13, "Permission denied")  # root would get no such error from a file

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(ConnectionFileError, match=r"/k\.json cannot be read \(permission denied\);"):
            read("/k.json")

    def test_null_character(self) -> None:
        with pytest.raises(ConnectionFileError, match="cannot be read"):
            read("a\0b")

    def test_too_large(self, tmp_path: Path) -> None:
        file = tmp_path / "k.json"
        file.write_bytes(b" " * LARGEST)
        assert len(read(str(file))) == LARGEST
        file.write_bytes(b" " * (LARGEST + 1))
        with pytest.raises(ConnectionFileError, match="too large"):
            read(str(file))


class TestWriteNew:
    @pytest.fixture(autouse=True)
    def runtime(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A Jupyter runtime folder of our own, which does not exist yet."""
        folder = tmp_path / "jupyter" / "runtime"
        monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
        return folder

    def test_is_what_we_read(self, runtime: Path) -> None:
        path = write_new()
        assert path == str(runtime / f"kernel-{os.getpid()}.json")
        connection = parse(read(path), path)
        assert (connection.transport, connection.ip, connection.path) == ("tcp", "127.0.0.1", path)
        assert connection.kernel_name == "ipymini"

    def test_is_private(self, runtime: Path) -> None:
        old = runtime / f"kernel-{os.getpid()}.json"
        runtime.mkdir(parents=True)
        old.write_text("left by another process with our pid")
        old.chmod(0o644)
        assert stat.S_IMODE(os.stat(write_new()).st_mode) == 0o600

    def test_is_private_whatever_the_umask_is(self) -> None:
        old = os.umask(0)
        try:
            path = write_new()
        finally:
            os.umask(old)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700

    @pytest.mark.parametrize("target", ["there.txt", "not-there.txt"])
    def test_link_in_its_place_is_not_followed(self, runtime: Path, tmp_path: Path, target: str) -> None:
        runtime.mkdir(parents=True, mode=0o700)
        (tmp_path / "there.txt").write_text("precious")
        (runtime / f"kernel-{os.getpid()}.json").symlink_to(tmp_path / target)
        assert not os.path.islink(write_new())
        assert (tmp_path / "there.txt").read_text() == "precious"
        assert not (tmp_path / "not-there.txt").exists()

    def test_what_somebody_puts_there_in_the_last_moment_is_refused(
        self, runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A link, between the look and the writing."""
        runtime.mkdir(parents=True, mode=0o700)
        path = runtime / f"kernel-{os.getpid()}.json"
        path.symlink_to(tmp_path / "elsewhere")
        monkeypatch.setattr(os.path, "lexists", lambda path: False)
        with pytest.raises(ConnectionFileError, match="No connection file can be written"):
            write_new()
        assert not (tmp_path / "elsewhere").exists()

    def test_folder_that_others_can_write_to_is_refused(self, runtime: Path) -> None:
        runtime.mkdir(parents=True)
        runtime.chmod(0o777)
        with pytest.raises(ConnectionFileError, match=r"Others may write to the folder .*0777.*chmod go-w"):
            write_new()
        runtime.chmod(0o1777)  # as /tmp
        assert os.path.exists(write_new())

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
    def test_folder_of_another_user_is_refused(self, runtime: Path) -> None:
        runtime.mkdir(parents=True, mode=0o700)
        os.chown(runtime, 12345, 12345)
        with pytest.raises(ConnectionFileError, match="belongs to another user"):
            write_new()

    def test_nothing_is_left_on_a_full_disk(self, runtime: Path) -> None:
        old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        try:
            with pytest.raises(ConnectionFileError, match="No connection file can be written"):
                write_new()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, old)
        assert os.listdir(runtime) == []

    def test_key_is_new_each_time(self) -> None:
        keys = {parse(read(write_new()), PATH).key for _ in range(3)}
        assert len(keys) == 3
        assert all(len(key) >= 32 for key in keys)

    def test_folder_that_cannot_be_made(self, runtime: Path) -> None:
        runtime.parent.write_text("in the way")
        with pytest.raises(ConnectionFileError, match=r"^No connection file can be written in .*JUPYTER_RUNTIME_DIR"):
            write_new()


class TestExposed:
    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602])
    def test_file_of_which_others_know_is_named_with_its_mode(self, tmp_path: Path, mode: int) -> None:
        file = tmp_path / "k.json"
        file.write_text("{}")
        file.chmod(mode)
        told = exposed(str(file))
        assert told is not None
        assert f"its mode is {mode:04o}" in told
        assert f"chmod 600 {file}" in told

    def test_private_file_is_good(self, tmp_path: Path) -> None:
        file = tmp_path / "k.json"
        file.touch(0o600)
        assert exposed(str(file)) is None

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_file_of_another_user_is_named(self, tmp_path: Path) -> None:
        file = tmp_path / "k.json"
        file.touch(0o600)
        os.chown(file, 12345, 12345)
        assert "belongs to another user (number 12345)" in (exposed(str(file)) or "")

    def test_file_that_is_gone_is_no_concern(self, tmp_path: Path) -> None:
        assert exposed(str(tmp_path / "none")) is None


def test_our_folder_is_good(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    check_folder(str(tmp_path))
