"""What README shows. With `--pictures FOLDER` the pictures are put there."""

from __future__ import annotations

import subprocess
import sys
from html import escape
from pathlib import Path

import pytest
from hub.sites import wait_for
from playwright.sync_api import expect

from .frontends import Lab
from .pages import Notebook

pytestmark = pytest.mark.timeout(180)

#: Bytes that a picture may have.
LARGEST = 100_000
SESSION = "rows = [n * n for n in range(1_000_000)]\nlen(rows)"
#: Of a function of C that no Python is about, whose path would be shown.
CRASH = "import ctypes\ndef clear(address):\n    ctypes.memset(address, 0, 8)\nclear(0)"
HANG = "def total(n):\n    return sum(range(n))\ntotal(10**15)"


@pytest.fixture
def folder(pytestconfig: pytest.Config, tmp_path: Path) -> Path:
    """Where the pictures go."""
    asked = pytestconfig.getoption("--pictures")
    return pytestconfig.rootpath / asked if asked else tmp_path


def keep(notebook: Notebook, path: Path) -> None:
    """A picture of the notebook's toolbar and its cells."""
    page = notebook.page
    page.set_viewport_size({"width": 900, "height": 900})
    page.mouse.move(0, 0)
    panel, last = page.locator(".jp-NotebookPanel").bounding_box(), notebook.cells.last.bounding_box()
    assert panel is not None
    assert last is not None
    clip = {"x": panel["x"], "y": panel["y"], "width": panel["width"]}
    path.write_bytes(page.screenshot(clip={**clip, "height": last["y"] + last["height"] - panel["y"] + 10}))
    assert path.stat().st_size < LARGEST


def wait_hung(lab: Lab, kernels: int) -> list[str]:
    """What `ipymini-supervisor ps` says of this test's kernels, with its heading, when it says that one hangs."""
    shown: list[str] = []

    def told() -> bool:
        command = [sys.executable, "-m", "ipymini_supervisor", "ps"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        shown[:] = lines[:1] + [line.replace(str(lab.folder), "~") for line in lines if str(lab.folder) in line]
        return len(shown) == 1 + kernels and "unresponsive" in "".join(shown)

    wait_for(told, lambda: "\n".join(shown))
    return shown


def test_crash_that_is_survived(lab: Lab, folder: Path) -> None:
    notebook = lab.open(SESSION, CRASH, "rows[-1]", mode="doc")
    notebook.run(0)
    expect(notebook.run(1)).to_contain_text("Restored to the state before In[2].")
    expect(notebook.run(2)).to_contain_text("999998000001")
    keep(notebook, folder / "crash.png")


def test_hang_that_is_explained(lab: Lab, folder: Path) -> None:
    """By the second interrupt, while the cell still runs."""
    notebook = lab.open(SESSION, HANG, mode="doc")
    notebook.run(0)
    notebook.start(1)
    notebook.wait_status("busy")
    wait_hung(lab, 1)  # it is busy before it is in its call, and would be interrupted
    notebook.menu("Kernel", "kernelmenu:interrupt")
    expect(notebook.cells.nth(1)).to_contain_text("Interrupt again to see where it is stuck.")
    notebook.menu("Kernel", "kernelmenu:interrupt")
    expect(notebook.cells.nth(1)).to_contain_text("Interrupt once more to kill the worker.")
    keep(notebook, folder / "hang.png")


def test_kernels_that_run(lab: Lab, folder: Path) -> None:
    """What `ipymini-supervisor ps` says of those of this test, of which one is busy, one hangs, and one has crashed."""
    notebooks = {}
    for name, cell in {"training": "while True: pass", "prices": CRASH, "report": HANG}.items():
        notebooks[name] = lab.open(SESSION, cell, name=f"{name}.ipynb")
        notebooks[name].run(0)
    for name, notebook in notebooks.items():  # only now, as two that take all of a processor make the others late
        notebook.page.bring_to_front()
        notebook.start(1)
        if name == "prices":
            notebook.wait_done(1)
    text = "\n".join(["$ ipymini-supervisor ps", *wait_hung(lab, 3)])
    page = lab.chromium.open("about:blank")
    style = "display: inline-block; margin: 0; padding: 12px; font: 13px monospace; color: #eee; background: #222"
    page.set_content(f"<pre style='{style}'>{escape(text)}</pre>")
    path = folder / "ps.png"
    path.write_bytes(page.locator("pre").screenshot())
    assert path.stat().st_size < LARGEST
