"""The command line, without a kernel behind it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipymini_supervisor import launch
from ipymini_supervisor.cli import Options, UsageError, main, parse
from ipymini_supervisor.connectionfile import ConnectionFileError
from ipymini_supervisor.kernelspec import build

FILE_OPTIONS = (
    "-f",
    "--f",
    "--connection-file",
    "--IPKernelApp.connection_file",
    "--ConnectionFileMixin.connection_file",
)


class Call(NamedTuple):
    """What `run` was called with, and the connection file at that moment."""

    connection_file: str
    python: str | None
    worker_args: tuple[str, ...]
    content: dict[str, object]
    mode: int


class FakeRun:
    """In place of the kernel: notes how it is called, and ends as it is told to."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.outcome: int | BaseException = 0

    def __call__(self, connection_file: str, python: str | None, worker_args: Sequence[str]) -> int:
        path = Path(connection_file)
        content = json.loads(path.read_text()) if path.is_file() else {}
        mode = stat.S_IMODE(path.stat().st_mode) if path.is_file() else 0
        self.calls.append(Call(connection_file, python, tuple(worker_args), content, mode))
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    fake = FakeRun()
    monkeypatch.setattr(launch, "run", fake)
    return fake


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A Jupyter runtime folder of our own, which does not exist yet."""
    folder = tmp_path / "runtime"
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
    return folder


class TestParse:
    @pytest.mark.parametrize("option", FILE_OPTIONS)
    def test_connection_file_in_every_spelling(self, option: str) -> None:
        wanted = Options(connection_file="a b=c.json")
        assert parse([option, "a b=c.json"]) == wanted
        assert parse([f"{option}=a b=c.json"]) == wanted

    def test_interpreter(self) -> None:
        assert parse(["--python", "/x/python"]) == parse(["--python=/x/python"]) == Options(python="/x/python")

    def test_nothing(self) -> None:
        assert parse([]) == Options(None, None, ())

    def test_last_one_counts(self) -> None:
        given = ["-f", "a", "--python=p", "--connection-file=b", "--python", "q"]
        assert parse(given) == Options("b", "q")

    def test_everything_else_goes_on_unchanged_and_in_order(self) -> None:
        others = [
            "--matplotlib=inline",
            "notebook.py",
            "--profile",
            "x",
            "--debug",
            "-",
            "--",
            "--fast",
            "-fx",
            "install",
        ]
        assert parse([*others[:3], "-f", "file", *others[3:]]) == Options("file", None, tuple(others))

    @pytest.mark.parametrize("option", [*FILE_OPTIONS, "--python"])
    @pytest.mark.parametrize("rest", [[], [""], ["--debug"]])
    def test_missing_value_is_an_error(self, option: str, rest: list[str]) -> None:
        with pytest.raises(UsageError, match=rf"^{option} needs the path of a .*\.$"):
            parse(["--x", option, *rest])

    @pytest.mark.parametrize("option", [*FILE_OPTIONS, "--python"])
    def test_empty_value_is_an_error(self, option: str) -> None:
        with pytest.raises(UsageError, match=option):
            parse([f"{option}="])

    @given(
        st.lists(st.text().filter(lambda arg: arg.partition("=")[0] not in {*FILE_OPTIONS, "--python"})),
        st.text(min_size=1).filter(lambda path: not path.startswith("-")),
        st.data(),
    )
    def test_nothing_is_lost_or_changed(self, others: list[str], path: str, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(others)))
        assert parse([*others[:at], "-f", path, *others[at:]]) == Options(path, None, tuple(others))


class TestMain:
    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--version"]) == 0
        assert capsys.readouterr().out == f"{version('ipymini-supervisor')}\n"

    @pytest.mark.parametrize("option", ["-h", "--help"])
    def test_help(self, capsys: pytest.CaptureFixture[str], option: str) -> None:
        assert main(["--debug", option]) == 0
        assert "install" in capsys.readouterr().out

    def test_runs_on_the_file_that_is_named(self, run: FakeRun, tmp_path: Path) -> None:
        file = tmp_path / "kernel.json"
        file.write_text("{}")
        run.outcome = 7
        assert main(["-f", str(file), "--python", "other", "--debug"]) == 7
        (call,) = run.calls
        assert call[:3] == (str(file), "other", ("--debug",))
        assert file.exists()

    def test_arguments_are_those_of_the_process(
        self, run: FakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "kernel.json"
        monkeypatch.setattr(sys, "argv", ["ipymini-supervisor", f"--f={file}"])
        assert main() == 0
        assert run.calls[0].connection_file == str(file)

    def test_relative_path_is_of_the_current_folder_first(
        self, run: FakeRun, runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runtime.mkdir()
        (runtime / "kernel.json").write_text("{}")
        monkeypatch.chdir(tmp_path)
        main(["-f", "kernel.json"])
        (tmp_path / "kernel.json").write_text("{}")
        main(["-f", "kernel.json"])
        main(["-f", "none.json"])
        assert [call.connection_file for call in run.calls] == [
            str(runtime / "kernel.json"),
            str(tmp_path / "kernel.json"),
            str(tmp_path / "none.json"),
        ]

    @pytest.mark.parametrize("outcome", [0, 3, RuntimeError("broken"), KeyboardInterrupt()])
    def test_writes_a_file_when_none_is_named_and_removes_it(
        self, run: FakeRun, runtime: Path, capsys: pytest.CaptureFixture[str], outcome: int | BaseException
    ) -> None:
        run.outcome = outcome
        if isinstance(outcome, BaseException):
            with pytest.raises(type(outcome)):
                main(["--debug"])
        else:
            assert main(["--debug"]) == outcome
        (call,) = run.calls
        assert call.connection_file == str(runtime / f"kernel-{os.getpid()}.json")
        assert call.worker_args == ("--debug",)
        assert call.mode == 0o600
        assert call.content["key"]
        told = capsys.readouterr().out
        assert f"    --existing kernel-{os.getpid()}.json\n" in told
        assert call.connection_file in told
        assert list(runtime.iterdir()) == []

    def test_file_that_is_gone_already_is_no_error(self, run: FakeRun, runtime: Path) -> None:
        def unlink(connection_file: str, python: str | None, worker_args: Sequence[str]) -> int:
            os.unlink(connection_file)
            return 0

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(launch, "run", unlink)
            assert main([]) == 0

    @pytest.mark.parametrize("error", [ConnectionFileError("No good."), launch.LaunchError("No good.")])
    def test_failure_is_one_sentence_and_status_2(
        self, run: FakeRun, capsys: pytest.CaptureFixture[str], error: Exception
    ) -> None:
        run.outcome = error
        assert main(["-f", "/x"]) == 2
        assert capsys.readouterr() == ("", "ipymini-supervisor: No good.\n")

    @pytest.mark.parametrize(
        "args", [["-f"], ["--python="], ["install", "--frobnicate"], ["install", "--user", "--sys-prefix"]]
    )
    def test_wrong_usage_is_one_sentence_and_status_2(
        self, capsys: pytest.CaptureFixture[str], args: list[str]
    ) -> None:
        assert main(args) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith("ipymini-supervisor: ")
        assert told.err.count("\n") == 1

    def test_windows_gets_one_sentence(
        self, run: FakeRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "platform", "win32")
        assert main(["-f", "x"]) == 2
        assert "WSL" in capsys.readouterr().err
        assert run.calls == []


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (build()["argv"][:4], ["warnings", "types", "collections", "random", "zmq", "email", "ipymini_worker"]),
        # By hand without -P; what `-m` itself imports is out of our reach.
        ([sys.executable, "-m", "ipymini_supervisor"], ["random", "zmq", "email", "zipfile", "ipymini_worker"]),
    ],
)
def test_files_beside_the_notebook_stand_in_for_nothing_of_ours(
    tmp_path: Path, command: list[str], names: list[str]
) -> None:
    for name in names:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current folder')\n")
    done = subprocess.run(
        [*command, "--version"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == (f"{version('ipymini-supervisor')}\n", 0), done.stderr


def test_missing_file_is_one_sentence_from_the_process_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ipymini_supervisor", "-f", str(tmp_path / "none.json")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("", 2)
    assert done.stderr.startswith(f"ipymini-supervisor: There is no connection file {tmp_path}/none.json; ")
