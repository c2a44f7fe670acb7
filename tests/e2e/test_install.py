"""The wheel in an empty environment, kernelspecs that `install` writes, and a worker in an environment of its own."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from .client import TIMEOUT, Client
from .conftest import StartKernel
from .environments import ENVIRONMENT, make_environment, pip
from .kernels import MARK, assert_gone, text
from .tour import ROOT


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is tested; built here unless IPYMINI_WHEEL says where it is."""
    if given := ENVIRONMENT.get("IPYMINI_WHEEL"):
        return Path(given)
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    (built,) = folder.glob("*.whl")
    return built


def output(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Runs a command to its end; returns what it printed."""
    path = os.pathsep.join([str(Path(command[0]).parent), ENVIRONMENT["PATH"]])
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PATH": path, **variables},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_wheel_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """With nothing else done, Jupyter lists the kernel, and it runs."""
    programs = make_environment(tmp_path / "env", str(wheel), "nbclient")
    listed = json.loads(output(programs / "jupyter", "kernelspec", "list", "--json", cwd=tmp_path))["kernelspecs"]
    spec = listed["ipymini"]["spec"]
    assert Path(listed["ipymini"]["resource_dir"]) == tmp_path / "env" / "share" / "jupyter" / "kernels" / "ipymini"
    assert spec["display_name"] == "Python 3 (ipymini)"
    assert (spec["language"], spec["interrupt_mode"]) == ("python", "message")
    assert spec["kernel_protocol_version"] == "5.5"
    code = "import sys; print(sys.prefix)"
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": {"name": "ipymini", "display_name": ""}}}
    cell: dict[str, object] = {
        "cell_type": "code",
        "id": "a",
        "metadata": {},
        "outputs": [],
        "execution_count": None,
        "source": code,
    }
    (tmp_path / "it.ipynb").write_text(json.dumps({**notebook, "cells": [cell]}))
    output(programs / "jupyter", "execute", "--inplace", "it.ipynb", cwd=tmp_path)
    (done,) = json.loads((tmp_path / "it.ipynb").read_text())["cells"]
    assert "".join(done["outputs"][0]["text"]) == f"{tmp_path / 'env'}\n"
    version = output(programs / "ipymini-supervisor", "--version", cwd=tmp_path).strip()
    assert version in wheel.name


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_worker_in_another_environment(other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`install --python` writes a kernelspec for it; Jupyter starts it; user code sees nothing of ours."""
    prefix = tmp_path / "prefix"
    command = ["ipymini-supervisor", "install", "--prefix", str(prefix), "--name", "far", "--display-name", "Far away"]
    subprocess.run([*command, "--python", str(other), "--env", "FAR=very"], check=True, cwd=tmp_path)
    monkeypatch.setenv("JUPYTER_PATH", str(prefix / "share" / "jupyter"))
    spec = KernelSpecManager().get_kernel_spec("far")
    assert spec.display_name == "Far away"
    assert spec.interrupt_mode == "message"
    monkeypatch.setenv(MARK, str(tmp_path))
    manager = KernelManager(kernel_name="far")
    manager.start_kernel(cwd=str(tmp_path))
    try:
        info = manager.get_connection_info()
        client = Client({**info, "key": text(info["key"])})
        try:
            look_around(client, other)
            assert client.evaluate("os.environ['FAR']") == "'very'"
        finally:
            client.close()
    finally:
        manager.shutdown_kernel()
    assert_gone(str(tmp_path))


def look_around(client: Client, python: Path) -> None:
    """Asks user code what it sees of us."""
    run = client.execute("import os, sys\nprint(sys.executable, sys.prefix, sep='\\n')")
    assert run.text().splitlines() == [str(python), str(python.parent.parent)]
    for name in ("zmq", "ipymini_supervisor", "jupyter_client", "msgspec"):
        assert client.execute(f"import {name}").error == "ModuleNotFoundError", name
    path = client.evaluate("sys.path")
    assert sys.prefix not in path
    assert client.evaluate("all(p.startswith((sys.prefix, sys.base_prefix)) for p in sys.path if p)") == "True"
    assert client.execute("import asyncio; await asyncio.sleep(0.01)\n!echo far").text() == "far\n"
    cell = client.start("import time; print('begun'); time.sleep(1000)")
    client.wait_text(cell, "begun")
    client.interrupt()
    assert client.finish(cell).error == "KeyboardInterrupt"
    assert client.ask("complete_request", {"code": "zi", "cursor_pos": 2}).reply["matches"] == ["zip"]
    # A program that the cell starts does not find us either.
    assert client.execute("!{sys.executable} -c 'import ipymini_worker'").text().count("ModuleNotFoundError") == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_python_option(other: Path, start_kernel: StartKernel) -> None:
    client = start_kernel("--python", str(other)).connect()
    assert client.execute("import sys; sys.executable").result == repr(str(other))
    assert client.ask("kernel_info_request").reply["status"] == "ok"


def test_install_options(tmp_path: Path) -> None:
    """Names, environment and places; a second time is as good as the first."""
    for _ in range(2):
        command = ["ipymini-supervisor", "install", "--prefix", str(tmp_path), "--env", "A=1", "--env", "B=x=y"]
        subprocess.run(command, check=True, capture_output=True)
    folder = tmp_path / "share" / "jupyter" / "kernels" / "ipymini"
    spec = json.loads((folder / "kernel.json").read_text())
    assert spec["env"] == {"A": "1", "B": "x=y"}
    assert "{connection_file}" in spec["argv"]
    assert Path(spec["argv"][0]).parent == Path(sys.executable).parent
    assert (folder / "logo-svg.svg").exists()
    subprocess.run(["ipymini-supervisor", "install", "--user", "--name", "mine"], check=True, capture_output=True)
    assert "mine" in KernelSpecManager().find_kernel_specs()


# -- by hand


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The command with no connection file."""
    environ = {**os.environ, MARK: str(tmp_path)}
    with subprocess.Popen(
        ["ipymini-supervisor"], env=environ, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()
    assert_gone(str(tmp_path))


def test_without_a_connection_file(by_hand: subprocess.Popen[str]) -> None:
    """It says how to connect, which works; the file is its owner's alone, and goes at the end."""
    assert by_hand.stdout is not None
    lines = [by_hand.stdout.readline().rstrip() for _ in range(3)]
    (path,) = [Path(word) for word in " ".join(lines).split() if word.startswith("/") and word.endswith(".json")]
    assert f"--existing {path.name}" in " ".join(lines)
    assert path.parent == Path(os.environ["JUPYTER_RUNTIME_DIR"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    connection = json.loads(path.read_text())
    assert len(connection["key"]) >= 32
    client = Client(connection)
    try:
        assert client.execute("6 * 7").result == "42"
        client.send("shutdown_request", {"restart": False}, channel="control")
        assert by_hand.wait(TIMEOUT) == 0
    finally:
        client.drop()
    assert not path.exists()


def test_sigterm_by_hand(by_hand: subprocess.Popen[str]) -> None:
    """It ends the kernel, and the file goes with it."""
    assert by_hand.stdout is not None
    words = " ".join(by_hand.stdout.readline() for _ in range(3)).split()
    (path,) = [Path(word) for word in words if word.startswith("/") and word.endswith(".json")]
    client = Client(json.loads(path.read_text()))
    try:
        client.execute("1")
        by_hand.terminate()
        assert by_hand.wait(TIMEOUT) == 0
    finally:
        client.drop()
    assert not path.exists()


@pytest.mark.row("Start", "a `random.py` or `zmq.py` beside the notebook does not stop the kernel")
@pytest.mark.parametrize("name", ["random.py", "zmq.py", "json.py", "signal.py", "IPython.py", "comm.py", "msgspec.py"])
def test_a_file_beside_the_notebook_does_not_stop_the_kernel(start_kernel: StartKernel, name: str) -> None:
    """The current folder is on the path of user code, and of nobody else."""
    kernel = start_kernel(files={name: "raise RuntimeError('the wrong one')", "mine.py": "answer = 42"})
    client = kernel.connect()
    assert client.execute("import mine; mine.answer").result == "42"
    run = client.execute("import os; os.getcwd()")
    assert run.result == repr(str(kernel.folder))
