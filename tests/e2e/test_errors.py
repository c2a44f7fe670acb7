"""What cannot be done as it was asked: one plain sentence, exit status 2, and no process left."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.connect import write_connection_file

from .kernels import MARK, assert_gone


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs the console script to its end; nothing that it has started may be left."""
    mark = uuid.uuid4().hex
    done = subprocess.run(
        ["ipymini-supervisor", *arguments],
        cwd=cwd,
        env={**os.environ, MARK: mark},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert_gone(mark)
    return done


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Asserts that a command ended with status 2 after one sentence, which has these words."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.endswith(".")
    assert "Traceback" not in line
    for word in words:
        assert word in line


@pytest.fixture
def connection(tmp_path: Path) -> dict[str, Any]:
    """The content of a good connection file."""
    _, content = write_connection_file(str(tmp_path / "good.json"), key=b"secret-key")
    return {**content, "key": "secret-key"}


def test_missing(tmp_path: Path) -> None:
    refused(run("-f", str(tmp_path / "none.json"), cwd=tmp_path), "none.json", "no connection file")


def test_a_folder(tmp_path: Path) -> None:
    refused(run("-f", str(tmp_path), cwd=tmp_path), str(tmp_path))


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    """As root everything may be read, so this one is of a kind that never can be."""
    path = tmp_path / "loop.json"
    path.symlink_to(path)
    refused(run("-f", str(path), cwd=tmp_path), "loop.json", "cannot be read")


def test_a_named_pipe(tmp_path: Path) -> None:
    """It must not be waited for."""
    os.mkfifo(tmp_path / "pipe.json")
    refused(run("-f", str(tmp_path / "pipe.json"), cwd=tmp_path), "pipe.json")


@pytest.mark.parametrize(
    "data", [b"", b"nonsense", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000, b"{}" + b" " * 2_000_000]
)
def test_malformed(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(data)
    refused(run("-f", str(path), cwd=tmp_path), "bad.json")


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no shell port": lambda c: c.pop("shell_port"),
    "no hb port": lambda c: c.pop("hb_port"),
    "port is text": lambda c: c.update(iopub_port="x"),
    "port is true": lambda c: c.update(iopub_port=True),
    "port is too large": lambda c: c.update(control_port=70000),
    "port is negative": lambda c: c.update(control_port=-1),
    "two channels, one port": lambda c: c.update(stdin_port=c["shell_port"]),
    "transport": lambda c: c.update(transport="pigeon"),
    "transport is a number": lambda c: c.update(transport=7),
    "scheme": lambda c: c.update(signature_scheme="hmac-nonsense"),
    "scheme without hmac": lambda c: c.update(signature_scheme="sha256"),
    "key is a number": lambda c: c.update(key=7),
    "ip is a list": lambda c: c.update(ip=[]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_incomplete_or_wrong(tmp_path: Path, connection: dict[str, Any], change: str) -> None:
    CHANGES[change](connection)
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(connection))
    path.chmod(0o600)
    done = run("-f", str(path), cwd=tmp_path)
    refused(done, "wrong.json")
    assert "secret-key" not in done.stderr


@pytest.mark.parametrize("channel", ["shell", "iopub", "stdin", "control", "hb"])
def test_a_port_in_use(tmp_path: Path, connection: dict[str, Any], channel: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        connection[f"{channel}_port"] = port
        path = tmp_path / "busy.json"
        path.write_text(json.dumps(connection))
        path.chmod(0o600)
        refused(run("-f", str(path), cwd=tmp_path), channel, str(port), "in use")


@pytest.mark.parametrize("ip", ["192.0.2.1", "no.such.host.invalid", "not an address"])
def test_an_address_that_is_not_ours(tmp_path: Path, connection: dict[str, Any], ip: str) -> None:
    path = tmp_path / "elsewhere.json"
    path.write_text(json.dumps({**connection, "ip": ip}))
    path.chmod(0o600)
    refused(run("-f", str(path), cwd=tmp_path), ip)


def test_an_interpreter_that_cannot_be_started(tmp_path: Path, connection: dict[str, Any]) -> None:
    """A connection file there is, but no program."""
    for python in (str(tmp_path / "none"), str(tmp_path)):
        refused(run("-f", str(tmp_path / "good.json"), "--python", python, cwd=tmp_path), python)


@pytest.mark.parametrize("arguments", [("-f",), ("--python",), ("-f", "--python", "x"), ("--connection-file=",)])
def test_an_option_without_its_value(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    refused(run(*arguments, cwd=tmp_path), "needs")


def test_version_and_help(tmp_path: Path) -> None:
    from importlib.metadata import version

    done = run("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, version("ipymini-supervisor"), "")
    for option in ("--help", "-h"):
        done = run(option, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        for word in ("-f", "--python", "--version", "install"):
            assert word in done.stdout
    done = run("install", "--help", cwd=tmp_path)
    assert done.returncode == 0
    for word in ("--user", "--sys-prefix", "--prefix", "--name", "--display-name", "--env", "--python"):
        assert word in done.stdout


def test_install_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(run("install", "--prefix", str(tmp_path / "file"), cwd=tmp_path))
    refused(run("install", "--prefix", str(tmp_path), "--name", "a/b", cwd=tmp_path))
    refused(run("install", "--prefix", str(tmp_path), "--python", str(tmp_path / "none"), cwd=tmp_path))


def test_the_module_is_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ipymini_supervisor", "-f", "none.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    refused(done, "none.json")
