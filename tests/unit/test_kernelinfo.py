"""The answer to kernel_info_request, made without a worker."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import IPython
import pytest

from ipymini_supervisor.kernelinfo import guess_versions, kernel_info


def test_content_has_every_field_of_the_protocol() -> None:
    info = kernel_info("3.12.4", "9.1.0")
    assert info["status"] == "ok"
    assert info["protocol_version"] == "5.5"
    assert info["implementation"] == "ipymini-supervisor"
    assert info["implementation_version"]
    assert info["language_info"] == {
        "name": "python",
        "version": "3.12.4",
        "mimetype": "text/x-python",
        "file_extension": ".py",
        "codemirror_mode": {"name": "ipython", "version": 3},
        "pygments_lexer": "ipython3",
        "nbconvert_exporter": "python",
    }
    assert "Python 3.12.4" in info["banner"]
    assert "9.1.0" in info["banner"]
    assert {frozenset(link) for link in info["help_links"]} == {frozenset({"text", "url"})}
    assert "https://docs.python.org/3.12" in {link["url"] for link in info["help_links"]}
    assert isinstance(info["supported_features"], list)
    json.dumps(info)


def test_unknown_ipython_leaves_no_hole_in_the_banner() -> None:
    banner = kernel_info("3.11.0", "")["banner"]
    assert "Interactive Python." in banner
    assert "None" not in banner


def test_own_interpreter_is_known_exactly() -> None:
    assert guess_versions(sys.executable) == (platform.python_version(), IPython.__version__)


def environment(folder: Path, configuration: str | None, ipython: str | None) -> str:
    """A virtual environment as far as file names tell; returns its interpreter."""
    packages = folder / "lib" / "python3.13" / "site-packages"
    packages.mkdir(parents=True)
    if configuration is not None:
        (folder / "pyvenv.cfg").write_text(configuration)
    if ipython is not None:
        (packages / ipython).mkdir()
    return str(folder / "bin" / "python")


@pytest.mark.parametrize("line", ["version = 3.13.2", "version_info = 3.13.2.final.0"])  # venv's, virtualenv's and uv's
def test_other_environment_tells_its_versions_by_its_files(tmp_path: Path, line: str) -> None:
    python = environment(tmp_path, f"home = /usr/bin\n{line}\n", "ipython-8.37.0.dist-info")
    assert guess_versions(python) == ("3.13.2", "8.37.0")


def test_environment_without_ipython_has_no_version_of_it(tmp_path: Path) -> None:
    assert guess_versions(environment(tmp_path, "version = 3.13.2", None)) == ("3.13.2", "")


@pytest.mark.parametrize("configuration", [None, "", "version = unknown"])
def test_environment_that_says_nothing_is_taken_for_our_own_python(tmp_path: Path, configuration: str | None) -> None:
    python = environment(tmp_path, configuration, "IPython-9.0.0.dist-info")
    assert guess_versions(python) == (platform.python_version(), "9.0.0")


def test_interpreter_that_does_not_exist_is_no_error() -> None:
    assert guess_versions("/nowhere/bin/python") == (platform.python_version(), "")
