"""The servers of frontends, as processes on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from e2e.client import TIMEOUT
from e2e.kernels import ADDRESS, assert_gone
from e2e.server import TOKEN
from hub.sites import PATIENCE, Site, free_ports
from playwright.sync_api import Page

from .chromium import Chromium
from .pages import Notebook

#: What keeps the frontends from asking for news, and from leaving out a completion that takes longer than a second.
SETTINGS: dict[str, dict[str, object]] = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/completer-extension/manager": {"providerTimeout": PATIENCE * 1000},
}
#: Kernelspecs besides ours, by name: what their kernels have in their environment.
KERNELS = {"no-snapshots": {"IPYMINI_SNAPSHOTS": "off"}, "little-memory": {"IPYMINI_MEMORY_LIMIT": "400M"}}


def write_notebook(path: Path, cells: Sequence[str], kernel: str = "ipymini") -> None:
    """A notebook of code cells that have not been run."""
    shared = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
    notebook = {
        "cells": [{**shared, "id": f"cell-{number}", "source": source} for number, source in enumerate(cells)],
        "metadata": {"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.write_text(json.dumps(notebook))


def install_kernels(specs: Mapping[str, Mapping[str, str]]) -> None:
    """Installs kernelspecs for this user, which is nobody but the tests."""
    for name, env in specs.items():
        variables = [f"--env={key}={value}" for key, value in env.items()]
        command = [sys.executable, "-m", "ipymini_supervisor", "install", "--user", f"--name={name}", *variables]
        subprocess.run([*command, f"--display-name={name}"], check=True, stdout=subprocess.DEVNULL)


class Frontend(Site):
    """A server with a frontend, whose folder has the notebooks.

    :param program: the name of the module that is started.
    :param options: its traits, besides those of all servers.
    """

    def __init__(self, folder: Path, chromium: Chromium, program: str, options: Mapping[str, object]) -> None:
        self.folder = folder / "notebooks"
        self.folder.mkdir()
        settings = folder / "settings"
        for name, content in SETTINGS.items():
            path = settings / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps(content))
        install_kernels(KERNELS)
        self.chromium = chromium
        (port,) = free_ports(1)
        shared: dict[str, object] = {
            "ServerApp.port": port,
            "ServerApp.ip": ADDRESS,
            "ServerApp.open_browser": False,
            "ServerApp.root_dir": self.folder,
            "ServerApp.allow_root": True,
            "IdentityProvider.token": TOKEN,
            "IdentityProvider.cookie_name": "tests",
        }
        arguments = [f"--{name}={value}" for name, value in {**shared, **options}.items()]
        env = {"JUPYTERLAB_SETTINGS_DIR": str(settings), "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces")}
        env["IPYMINI_SNAPSHOTS"] = "on"  # a busy machine makes them dear, and then one may be left out
        super().__init__(
            folder, f"{ADDRESS}:{port}", [sys.executable, "-m", program, *arguments], {**os.environ, **env}
        )

    def visit(self, path: str) -> Page:
        """A new page of it."""
        return self.chromium.open(f"http://{self.address}/{path}{'&' if '?' in path else '?'}token={TOKEN}")

    def stop(self) -> None:
        """Ends it, and looks at what is left of it and of its kernels.

        The kernels have ended by then. Whether the server, with seven extensions, comes to its own end is not looked at.
        """
        self.process.terminate()
        try:
            self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        finally:
            assert_gone(self.mark)

    def end_kernels(self) -> None:
        """Ends all sessions with their kernels."""
        for session in self.rest("GET", "sessions"):
            self.rest("DELETE", f"sessions/{session['id']}")


class Lab(Frontend):
    """JupyterLab, and what the same server has besides: Notebook 7, nbclassic, and Voilà."""

    def __init__(self, folder: Path, chromium: Chromium) -> None:
        exposed = {f"{app}.expose_app_in_browser": True for app in ("LabApp", "JupyterNotebookApp")}
        super().__init__(folder, chromium, "jupyterlab", exposed)
        self.gate = folder / "gate"
        os.mkfifo(self.gate)
        #: Code that waits until it is let go.
        self.hold = f"open({str(self.gate)!r}).read()"

    def let_go(self) -> None:
        """Lets what holds go on."""
        self.gate.write_text("")

    def write(self, cells: Sequence[str], kernel: str = "ipymini", name: str = "") -> str:
        """The file's name of a new notebook."""
        name = name or f"{len(list(self.folder.iterdir()))}.ipynb"
        write_notebook(self.folder / name, cells, kernel)
        return name

    def open(self, *cells: str, kernel: str = "ipymini", name: str = "", mode: str = "lab") -> Notebook:
        """A new notebook whose kernel has started.

        :param mode: "doc" shows nothing but the notebook.
        """
        file = self.write(cells, kernel, name)
        return Notebook(self.visit(f"{mode}/workspaces/{uuid.uuid4().hex}/tree/{file}?reset"))

    def open_notebook(self, *cells: str) -> Notebook:
        """The same in Notebook 7."""
        return Notebook(self.visit(f"notebooks/{self.write(cells)}"))
