"""What serves kernels over HTTP: a hub with its proxy, and gateways, as processes on loopback."""

from __future__ import annotations

import re
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
from e2e.client import TIMEOUT
from e2e.kernels import ADDRESS, MARK, assert_gone, command, marked
from e2e.server import TOKEN, Service, rest

SHARE = Path(__file__).resolve().parents[2] / "share" / "jupyterhub"
#: Seconds for a hub, a proxy and a server to come up, on a machine that has much else to do.
PATIENCE = 60.0


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at the moment."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind((ADDRESS, 0))
        return [int(sock.getsockname()[1]) for sock in sockets]


def wait_for(condition: Callable[[], Any], log: Callable[[], str]) -> Any:
    """What `condition` returns, when it is true; what else says when it is so, HTTP does not tell."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, log()
        time.sleep(0.05)
    return found


class Site(Service):
    """A running server of kernels.

    :param folder: an empty folder of its own.
    :param address: host, port and path of its API, without "/api".
    """

    patience = PATIENCE

    def __init__(self, folder: Path, address: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.address = address
        super().__init__(folder, command, env)

    def answers(self, path: str = "kernels") -> bool:
        """Whether it is there."""
        assert self.process.poll() is None, self.log
        try:
            self.rest("GET", path)
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def wait(self) -> None:
        """Waits until it is there."""
        wait_for(self.answers, lambda: self.log)


class Hub(Site):
    """JupyterHub with its proxy, with the configuration that we ship and what a test has to have otherwise."""

    def __init__(self, folder: Path) -> None:
        front, back, api = free_ports(3)
        proxy = Path(sys.prefix) / "node_modules" / ".bin" / "configurable-http-proxy"
        config = folder / "config.py"
        config.write_text(
            f"""
load_subconfig({str(SHARE / "jupyterhub_config.py")!r})
c.JupyterHub.bind_url = "http://{ADDRESS}:{front}"
c.JupyterHub.hub_bind_url = "http://{ADDRESS}:{back}"
c.JupyterHub.db_url = "sqlite:///:memory:"
c.JupyterHub.cookie_secret_file = {str(folder / "cookie")!r}
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.ConfigurableHTTPProxy.api_url = "http://{ADDRESS}:{api}"
c.ConfigurableHTTPProxy.command = [{str(proxy)!r}]
c.ConfigurableHTTPProxy.pid_file = {str(folder / "proxy.pid")!r}
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = {str(folder)!r} + "/{{username}}"
c.Spawner.start_timeout = c.Spawner.http_timeout = {PATIENCE:.0f}
c.JupyterHub.services.append({{"name": "tests", "api_token": {TOKEN!r}}})
scopes = ["admin:users", "admin:servers", "access:servers", "list:users", "read:hub"]
c.JupyterHub.load_roles.append({{"name": "tests", "services": ["tests"], "scopes": scopes}})

import os

def prepare(spawner):
    spawner.environment = {{**spawner.environment, {MARK!r}: f"{{os.environ[{MARK!r}]}}-{{spawner.user.name}}"}}
    spawner.environment["IPYMINI_SNAPSHOTS"] = "on"  # a busy machine makes them dear, and then one may be left out
    spawner.args = [*spawner.args, "--ServerApp.allow_root=True"]
    if spawner.user.name == "full":
        spawner.environment["IPYMINI_MEMORY_LIMIT"] = "400M"
    if spawner.user.name == "idle":
        args = [argument for argument in spawner.args if "cull" not in argument]
        spawner.args = [*args, "--MappingKernelManager.cull_idle_timeout=10", "--MappingKernelManager.cull_interval=1"]

c.Spawner.pre_spawn_hook = prepare
""",
        )
        command = [sys.executable, "-m", "jupyterhub", "--config", str(config)]
        super().__init__(folder, f"{ADDRESS}:{front}/hub", command, {})
        self._front = f"{ADDRESS}:{front}"
        self.api = f"http://{ADDRESS}:{back}/hub/api"
        wait_for(lambda: self.answers("users"), lambda: self.log)

    def spawn(self, user: str) -> User:
        """Starts the server of a new user."""
        self.rest("POST", f"users/{user}")
        self.rest("POST", f"users/{user}/server")
        wait_for(lambda: self.server(user).get("ready"), lambda: self.log)
        return User(self, user, f"{self._front}/user/{user}")

    def server(self, user: str) -> dict[str, Any]:
        """What the hub says of the server of a user; empty if there is none."""
        return dict(self.rest("GET", f"users/{user}")["servers"].get("", {}))


class User:
    """The server of a user, behind the proxy."""

    def __init__(self, hub: Hub, name: str, address: str) -> None:
        self.address = address
        self.mark = f"{hub.mark}-{name}"
        self._hub = hub
        self._name = name

    def rest(self, method: str, path: str, content: object = None) -> Any:
        """The answer to a request of the server's API."""
        return rest(self.address, method, f"api/{path}", content, PATIENCE)

    def process(self) -> psutil.Process:
        """The server's process."""
        (found,) = [p for p in marked(self.mark) if re.search(r"jupyterhub.singleuser", command(p))]
        return found

    def stop(self) -> None:
        """Ends the server as the hub does it, and looks at what is left."""
        self._hub.rest("DELETE", f"users/{self._name}/server")
        self.wait_gone()

    def wait_gone(self) -> None:
        """Waits until the server has ended; nothing is left of it then."""
        wait_for(lambda: not self._hub.server(self._name), lambda: self._hub.log)
        assert_gone(self.mark, TIMEOUT)
