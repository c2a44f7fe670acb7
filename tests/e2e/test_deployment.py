"""What share/jupyterhub/values.yaml tells a user's server, told to one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from .server import Server

VALUES = Path(__file__).resolve().parents[2] / "share" / "jupyterhub" / "values.yaml"


def test_server_with_the_file_of_the_values_has_our_kernel_for_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = yaml.safe_load(VALUES.read_text())["singleuser"]["extraFiles"].values()
    config = tmp_path / "config" / Path(file["mountPath"]).name
    config.parent.mkdir()
    config.write_text(json.dumps(file["data"]))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(config.parent))
    server = Server(tmp_path)
    try:
        assert server.rest("GET", "kernelspecs")["default"] == "ipymini"
        assert "unrecognized" not in server.log.lower()
    finally:
        server.stop()
