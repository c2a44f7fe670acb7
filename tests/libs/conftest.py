"""Kernels for tests with other people's libraries, which may not reach for the network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from e2e.conftest import (  # noqa: F401
    client,
    command,
    connect,
    kernel,
    lenient,
    neutral_environment,
    start_kernel,
)

#: What keeps libraries off the network, and off what they would do for want of it.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "WANDB_MODE": "offline",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@pytest.fixture(scope="module")
def environment(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> dict[str, str]:
    """What the kernels of a module have in their environment: its `ENVIRONMENT`, and what keeps them here."""
    found = {**OFFLINE, **getattr(request.module, "ENVIRONMENT", {})}
    if pytestconfig.getoption("--kernel") != "ipymini":
        # Put aside by scripts/test: this kernel is tested without it, for this is how people will have it.
        found["PYTHONPATH"] = str(Path(sys.prefix) / "ipykernel")
    return found
