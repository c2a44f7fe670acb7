"""Kernelspecs: what is written, and what is refused before anything is."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpecManager

from ipymini_supervisor import kernelspec
from ipymini_supervisor.cli import main
from ipymini_supervisor.kernelspec import KernelspecError, build, check_interpreter, install_command

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prefix that Jupyter knows, so that it warns of nothing."""
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "prefix" / "share" / "jupyter"))
    return tmp_path / "prefix"


def installed(prefix: Path, *args: str, name: str = "ipymini") -> dict[str, Any]:
    """The kernel.json that `install` writes with these arguments."""
    assert install_command(["--prefix", str(prefix), *args]) == 0
    content = json.loads((prefix / "share/jupyter/kernels" / name / "kernel.json").read_text())
    assert isinstance(content, dict)
    return content


def script(path: Path, text: str) -> str:
    """An executable with this text."""
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def stand_in(path: Path, **answer: object) -> str:
    """An interpreter that gives this answer about itself."""
    return script(path, f"#!/bin/sh\ncat <<'END'\nnoise\n{json.dumps(answer)}\nEND\n")


class TestInstall:
    def test_defaults(self, prefix: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert installed(prefix) == {
            "argv": [sys.executable, "-P", "-m", "ipymini_supervisor", "-f", "{connection_file}"],
            "display_name": "Python 3 (ipymini)",
            "language": "python",
            "interrupt_mode": "message",
            "kernel_protocol_version": "5.5",
            "env": {},
            "metadata": {"debugger": True, "supported_encryption": ["curve"]},
        }
        folder = prefix / "share/jupyter/kernels/ipymini"
        assert capsys.readouterr().out == f"Installed kernelspec ipymini in {folder}\n"
        assert sorted(os.listdir(folder)) == ["kernel.json", "logo-32x32.png", "logo-64x64.png", "logo-svg.svg"]

    def test_jupyter_finds_it(self, prefix: Path) -> None:
        installed(prefix, "--name", "Other.Name", "--display-name", "Ünïcode", name="other.name")
        spec = KernelSpecManager().get_kernel_spec("other.name")
        assert spec.display_name == "Ünïcode"
        assert spec.interrupt_mode == "message"

    def test_everybody_may_read_it(self, prefix: Path) -> None:
        installed(prefix)
        folder = prefix / "share/jupyter/kernels/ipymini"
        assert stat.S_IMODE(folder.stat().st_mode) & 0o555 == 0o555
        assert all(stat.S_IMODE(file.stat().st_mode) & 0o444 == 0o444 for file in folder.iterdir())

    def test_takes_the_place_of_an_older_one(self, prefix: Path) -> None:
        installed(prefix, "--env", "A=1")
        assert installed(prefix)["env"] == {}

    def test_environment(self, prefix: Path) -> None:
        spec = installed(prefix, "--env", "A=1", "--env=B=x=y z", "--env", "EMPTY=", "--env", "A=2")
        assert spec["env"] == {"A": "2", "B": "x=y z", "EMPTY": ""}

    @pytest.mark.parametrize("text", ["A", "=1", "", "="])
    def test_bad_variable(self, prefix: Path, text: str) -> None:
        with pytest.raises(KernelspecError, match=r"^--env needs NAME=VALUE, not '.*'\.$"):
            install_command(["--prefix", str(prefix), f"--env={text}"])
        assert not prefix.exists()

    @pytest.mark.parametrize("name", ["", "a b", "a/b", "..", ".", "../x", "ä", "a\n"])
    def test_bad_name(self, prefix: Path, name: str) -> None:
        with pytest.raises(KernelspecError, match="is no name for a kernel"):
            install_command(["--prefix", str(prefix), "--name", name])
        assert not prefix.exists()

    def test_sys_prefix(self, prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "prefix", str(prefix))
        assert install_command(["--sys-prefix"]) == 0
        assert (prefix / "share/jupyter/kernels/ipymini/kernel.json").exists()

    def test_user(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
        assert install_command(["--user"]) == 0
        assert (tmp_path / "kernels/ipymini/kernel.json").exists()

    def test_place_that_cannot_be_written_to(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_text("in the way")
        with pytest.raises(KernelspecError, match=rf"^The kernelspec cannot be written under {file} \(.*--prefix"):
            install_command(["--prefix", str(file)])

    def test_advice_where_all_users_are_meant(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> str:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(KernelSpecManager, "install_kernel_spec", refuse)
        with pytest.raises(
            KernelspecError, match=r"for all users \(permission denied\); try --user or --sys-prefix\.$"
        ):
            install_command([])

    def test_no_logos_are_no_error(self, prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kernelspec, "logos", list)
        installed(prefix)
        assert os.listdir(prefix / "share/jupyter/kernels/ipymini") == ["kernel.json"]

    def test_wrong_options_are_one_sentence(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["install", "--user", "--prefix", "/x"]) == 2
        told = capsys.readouterr().err
        assert told.startswith("ipymini-supervisor: Argument --prefix: not allowed with argument --user; ")
        assert told.count("\n") == 1


class TestPython:
    def test_our_own_is_good(self, prefix: Path) -> None:
        spec = installed(prefix, "--python", sys.executable)
        assert spec["argv"] == [
            *(sys.executable, "-P", "-m", "ipymini_supervisor"),
            *("--python", sys.executable, "-f", "{connection_file}"),
        ]

    def test_symbolic_link_stays(self, tmp_path: Path) -> None:
        # A shell script that hands on, since a bare link would not find the packages of this environment.
        real = script(tmp_path / "real", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        link = tmp_path / "link"
        link.symlink_to(real)
        assert check_interpreter(str(link)) == str(link)

    def test_relative_path_becomes_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        stand_in(tmp_path / "python", python=[3, 12, 0], problems={}, ipython=[9, 0])
        monkeypatch.chdir(tmp_path)
        assert check_interpreter("./python") == str(tmp_path / "python")

    def test_name_of_a_command(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        stand_in(tmp_path / "python-x", python=[3, 12, 0], problems={}, ipython=[9, 0])
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        assert check_interpreter("python-x") == str(tmp_path / "python-x")

    def test_current_folder_stands_in_for_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("json", "IPython", "comm"):
            (tmp_path / f"{name}.py").write_text("raise SystemExit(1)\n")
        monkeypatch.chdir(tmp_path)
        assert check_interpreter(sys.executable) == sys.executable

    def test_missing(self, tmp_path: Path, prefix: Path) -> None:
        path = tmp_path / "none"
        with pytest.raises(KernelspecError, match=rf"^There is no Python interpreter {path}; "):
            install_command(["--prefix", str(prefix), "--python", str(path)])
        assert not prefix.exists()

    def test_folder(self, tmp_path: Path) -> None:
        with pytest.raises(KernelspecError, match=rf"{tmp_path}/bin/python\.$"):
            check_interpreter(str(tmp_path))

    def test_not_executable(self, tmp_path: Path) -> None:
        (tmp_path / "python").write_text("#!/bin/sh\n")
        with pytest.raises(KernelspecError, match=r"cannot be run \(permission denied\)\.$"):
            check_interpreter(str(tmp_path / "python"))

    @pytest.mark.parametrize("text", ["exit 1", "true", "echo hello", "echo 7", "echo '{}'"])
    def test_no_interpreter_at_all(self, tmp_path: Path, text: str) -> None:
        path = script(tmp_path / "python", f"#!/bin/sh\n{text}\n")
        with pytest.raises(KernelspecError, match=r"does not work as a Python interpreter\.$"):
            check_interpreter(path)

    def test_too_old(self, tmp_path: Path) -> None:
        path = stand_in(tmp_path / "python", python=[3, 10, 2], problems={})
        with pytest.raises(KernelspecError, match=r"is Python 3\.10\.2; cells need 3\.11 or later\.$"):
            check_interpreter(path)

    def test_without_ipython(self, tmp_path: Path) -> None:
        path = stand_in(tmp_path / "python", python=[3, 13, 0], problems={"IPython": "x", "comm": "y"})
        with pytest.raises(KernelspecError, match=r"cannot import IPython and comm; .* -m pip install ipython comm$"):
            check_interpreter(path)

    def test_really_without_ipython(self, tmp_path: Path) -> None:
        path = script(tmp_path / "python", f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
        with pytest.raises(KernelspecError, match="cannot import IPython and comm"):
            check_interpreter(path)

    def test_ipython_too_old(self, tmp_path: Path) -> None:
        path = stand_in(tmp_path / "python", python=[3, 11, 0], problems={}, ipython=[7, 34])
        with pytest.raises(KernelspecError, match=r"has IPython 7\.34; cells need 8\.20 or later"):
            check_interpreter(path)


def test_installed_and_shipped_kernelspec_agree() -> None:
    shipped = json.loads((ROOT / "share/jupyter/kernels/ipymini/kernel.json").read_text())
    ours = build()
    assert shipped["argv"] == ["python", *ours["argv"][1:]]
    for key in ("display_name", "language", "interrupt_mode", "kernel_protocol_version", "metadata"):
        assert shipped[key] == ours[key]
