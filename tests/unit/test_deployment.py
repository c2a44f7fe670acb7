"""What is in share/jupyterhub can be loaded, and says what it is meant to say. Hubs and gateways: tests/hub."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from ipymini_supervisor.kernelspec import _parser
from ipymini_supervisor.settings import Settings

SHARE = Path(__file__).resolve().parents[2] / "share" / "jupyterhub"
#: The keys of the chart's values that ours are among (its schema: jupyterhub/values.schema.yaml).
CHART = {
    "hub": {"config"},
    "singleuser": {"image", "memory", "extraEnv", "extraFiles"},
    "cull": {"enabled", "timeout", "every"},
}


@pytest.fixture
def values() -> dict[str, Any]:
    return dict(yaml.safe_load((SHARE / "values.yaml").read_text()))


@pytest.fixture
def hub() -> Config:
    return PyFileConfigLoader("jupyterhub_config.py", path=str(SHARE)).load_config()


def test_hub_config_loads_and_gives_kernels_the_time_that_they_take(hub: Config) -> None:
    settings = Settings.read(hub.Spawner.environment)
    assert hub.LocalProcessSpawner.interrupt_timeout > settings.shutdown_grace
    assert any("default_kernel_name=ipymini" in argument for argument in hub.Spawner.args)
    (service,), (role,) = hub.JupyterHub.services, hub.JupyterHub.load_roles
    assert service["name"] in role["services"]


def test_values_are_those_of_the_chart(values: dict[str, Any]) -> None:
    assert {name: set(part) for name, part in values.items()} == CHART
    (file,) = values["singleuser"]["extraFiles"].values()
    assert set(file) == {"mountPath", "data"}
    assert file["mountPath"] == "/etc/jupyter/jupyter_server_config.json"
    assert file["data"]["MultiKernelManager"]["default_kernel_name"] == "ipymini"


def test_pods_have_the_time_that_kernels_take(values: dict[str, Any]) -> None:
    environment = values["singleuser"]["extraEnv"]
    assert all(isinstance(value, str) for value in environment.values())  # as Kubernetes wants them
    grace = values["hub"]["config"]["KubeSpawner"]["delete_grace_period"]
    assert grace > 2 * Settings.read(environment).shutdown_grace


def test_gateway_kernelspec_is_like_ours() -> None:
    spec = json.loads((SHARE / "enterprise-gateway" / "ipymini" / "kernel.json").read_text())
    own = json.loads((SHARE.parent / "jupyter" / "kernels" / "ipymini" / "kernel.json").read_text())
    for key in ("display_name", "language", "interrupt_mode"):
        assert spec[key] == own[key]
    assert "{connection_file}" in spec["argv"]
    assert all(isinstance(value, str) for value in spec["env"].values())


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, with continued lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (SHARE / "Dockerfile").read_text())
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def test_dockerfile_has_known_instructions_and_shell_that_can_be_read() -> None:
    found = instructions()
    assert [name for name, _ in found] == ["ARG", "FROM", "RUN", "RUN"]
    base, _, default = found[0][1].partition("=")
    assert found[1][1] == f"${{{base}}}"
    assert default
    for name, command in found:
        if name == "RUN":
            subprocess.run(["sh", "-n", "-c", command], check=True)


def test_dockerfile_calls_commands_that_there_are() -> None:
    (command,) = [c for _, c in instructions() if "pip install" in c]
    (install,) = [part.strip() for part in command.split("&&") if "ipymini-supervisor install" in part]
    words = shlex.split(install)
    options = _parser().parse_args(words[2:])
    assert options.sys_prefix
    assert options.in_place_restart


def test_notebook_that_the_dockerfile_runs_is_one() -> None:
    import nbformat

    (command,) = [c for _, c in instructions() if "printf" in c]
    text = shlex.split(command)[1]
    nbformat.validate(nbformat.reads(text, as_version=4))
