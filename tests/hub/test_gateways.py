"""Jupyter Kernel Gateway and Jupyter Enterprise Gateway run this kernel."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.kernels import ADDRESS, MARK
from e2e.server import TOKEN, Tab

from .sites import SHARE, Site, free_ports

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def kernel_gateway(tmp_path: Path) -> Iterator[Site]:
    (port,) = free_ports(1)
    options = [
        f"--KernelGatewayApp.ip={ADDRESS}",
        f"--KernelGatewayApp.port={port}",
        "--KernelGatewayApp.port_retries=0",
    ]
    options += [f"--KernelGatewayApp.auth_token={TOKEN}", "--JupyterWebsocketPersonality.list_kernels=True"]
    command = [sys.executable, "-m", "kernel_gateway", *options]
    site = Site(tmp_path, f"{ADDRESS}:{port}", command, {})
    try:
        site.wait()
        yield site
    finally:
        site.stop()


@pytest.fixture
def enterprise_gateway(tmp_path: Path) -> Iterator[Site]:
    """In an environment of its own, which knows the kernel by the kernelspec that we ship."""
    command = Path(sys.prefix) / "gateway" / "bin" / "jupyter-enterprisegateway"
    if not command.exists():
        pytest.skip("jupyter_enterprise_gateway cannot be installed on this Python")
    (port,) = free_ports(1)
    shutil.copytree(SHARE / "enterprise-gateway" / "ipymini", tmp_path / "jupyter" / "kernels" / "ipymini")
    options = [f"--EnterpriseGatewayApp.ip={ADDRESS}", f"--EnterpriseGatewayApp.port={port}"]
    options += [f"--EnterpriseGatewayApp.auth_token={TOKEN}", "--EnterpriseGatewayApp.port_retries=0"]
    options += ["--EnterpriseGatewayApp.list_kernels=True"]
    # It hands on only what it is told to: where the command of the kernelspec is, for one.
    env = {"JUPYTER_PATH": str(tmp_path / "jupyter"), "EG_INHERITED_ENVS": f"PATH,HOME,IPYTHONDIR,{MARK}"}
    site = Site(tmp_path, f"{ADDRESS}:{port}", [str(command), *options], env)
    try:
        site.wait()
        yield site
    finally:
        site.stop()


@pytest.mark.parametrize("name", ["kernel_gateway", "enterprise_gateway"])
def test_run_crash_restart_and_leave(request: pytest.FixtureRequest, name: str) -> None:
    site: Site = request.getfixturevalue(name)
    kernel = site.rest("POST", "kernels", {"name": "ipymini", "env": {"KERNEL_USERNAME": "ada"}})["id"]
    tab = Tab(site, kernel)
    try:
        assert tab.run("%snapshot on")["status"] == "ok"  # a busy machine makes them dear, and then one may be left out
        assert tab.text("x = 6 * 7; print(x)") == "42\n"
        assert tab.run("import os; os._exit(3)")["ename"] == "WorkerDied"
        assert tab.text("print(x)") == "42\n"
        cell = tab.send("import time; print('begun'); time.sleep(1000)")
        while not tab.of(cell, "stream"):
            tab.take()
        site.rest("POST", f"kernels/{kernel}/interrupt")
        assert tab.finish(cell)["content"]["ename"] == "KeyboardInterrupt"
        site.rest("POST", f"kernels/{kernel}/restart")
        assert tab.run("x")["ename"] == "NameError"
        tab.run("import subprocess; p = subprocess.Popen(['sleep', '1000'], start_new_session=True)")
        site.rest("DELETE", f"kernels/{kernel}")
    finally:
        tab.close()
