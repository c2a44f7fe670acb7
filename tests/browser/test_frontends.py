"""The same short tour in other frontends: run, output, a widget, input, an interrupt, a crash that is survived."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from e2e.kernels import MARK, assert_gone
from playwright.sync_api import expect

from .frontends import Lab

pytestmark = pytest.mark.timeout(180)

SLIDER = (
    "import ipywidgets as w\nslider, told = w.IntSlider(3), w.Label()\n"
    "slider.observe(lambda change: setattr(told, 'value', f'now {change.new}'), 'value')\nw.VBox([slider, told])"
)
#: What it says after a click in its middle.
MOVED = re.compile(r"now (49|50|51)")
FIGURE = "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 3, 2]);"
CRASH = "import ctypes; ctypes.string_at(0)"
TOUR = (SLIDER, FIGURE, "kept = input('Who? ')", "while True: pass")


def tour(lab: Lab) -> list[str]:
    """What comes behind the crash has arrived when it is let go."""
    return [*TOUR, f"{lab.hold}; {CRASH}", "'never'", "print('kept', kept)"]


def test_notebook_7(lab: Lab) -> None:
    notebook = lab.open_notebook(*tour(lab))
    slider = notebook.run(0)
    slider.locator(".noUi-target").click()
    expect(slider).to_contain_text(MOVED)
    expect(notebook.run(1).locator("img")).to_be_visible()
    notebook.start(2)
    expect(notebook.page.locator("input.jp-Stdin-input")).to_be_focused()
    notebook.page.keyboard.type("Ada")
    notebook.page.keyboard.press("Enter")
    notebook.wait_done(2)
    notebook.start(3)
    notebook.wait_status("busy")
    notebook.menu("Kernel", "kernelmenu:interrupt")
    notebook.wait_done(3)
    expect(notebook.outputs(3)).to_contain_text("KeyboardInterrupt")
    notebook.editor(4).click()
    notebook.menu("Run", "notebook:run-all-below")
    notebook.wait_arrived(7)
    lab.let_go()
    notebook.wait_done(4)
    expect(notebook.outputs(4)).to_contain_text("The worker died of SIGSEGV (segmentation fault) in cell [5].")
    assert notebook.prompts()[4:] == ["[5]:", "[ ]:", "[ ]:"]
    expect(notebook.run(6)).to_contain_text("kept Ada")
    assert notebook.seen("dialogs") == []
    assert set(notebook.seen("status")) == {"busy", "idle"}


def test_nbclassic(lab: Lab) -> None:
    page = lab.visit(f"nbclassic/notebooks/{lab.write(tour(lab))}")
    cells = page.locator(".code_cell")

    def prompt(number: int, text: str) -> None:
        expect(cells.nth(number).locator(".input_prompt")).to_have_text(re.compile(text))

    def start(number: int) -> None:
        cells.nth(number).locator(".CodeMirror").click()
        page.keyboard.press("Control+Enter")

    page.wait_for_function("window.Jupyter?.notebook?.kernel?.is_connected()")
    idle = page.locator("#kernel_indicator_icon.kernel_idle_icon")
    expect(idle).to_be_visible()
    start(0)
    prompt(0, r"\[1\]")
    slider = cells.nth(0).locator(".output_wrapper")
    slider.locator(".noUi-target").click()
    expect(slider).to_contain_text(MOVED)
    start(1)
    expect(cells.nth(1).locator("img")).to_be_visible()
    start(2)
    expect(page.locator("input.raw_input")).to_be_focused()
    page.keyboard.type("Ada")
    page.keyboard.press("Enter")
    prompt(2, r"\[3\]")
    start(3)
    expect(page.locator("#kernel_indicator_icon.kernel_busy_icon")).to_be_visible()
    page.locator("#kernellink").click()
    page.locator("#int_kernel").click()
    prompt(3, r"\[4\]")
    expect(cells.nth(3).locator(".output_wrapper")).to_contain_text("KeyboardInterrupt")
    cells.nth(4).locator(".CodeMirror").click()
    page.locator("#celllink").click()
    page.locator("#run_all_cells_below").click()
    prompt(6, r"\[\*\]")
    page.evaluate("() => new Promise(answered => Jupyter.notebook.kernel.kernel_info(answered))")
    lab.let_go()
    prompt(4, r"\[5\]")
    crash = cells.nth(4).locator(".output_wrapper")
    expect(crash).to_contain_text("The worker died of SIGSEGV (segmentation fault) in cell [5].")
    prompt(5, r"\[\s\]")
    start(6)
    expect(cells.nth(6).locator(".output_wrapper")).to_contain_text("kept Ada")
    expect(idle).to_be_visible()
    expect(page.locator(".modal-dialog")).to_have_count(0)


def test_voila(lab: Lab) -> None:
    """It renders a notebook, whose widgets live."""
    page = lab.visit(f"voila/render/{lab.write(['print(6 * 7)', SLIDER])}")
    expect(page.locator("body")).to_contain_text("42")
    page.locator(".noUi-target").click()
    expect(page.locator("body")).to_contain_text(MOVED)


def test_qtconsole(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    program = Path(__file__).with_name("console.py")
    environment = {**os.environ, MARK: mark, "QT_QPA_PLATFORM": "offscreen", "IPYMINI_SNAPSHOTS": "on"}
    done = subprocess.run(
        [sys.executable, "-P", program], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=150
    )
    assert_gone(mark)
    assert done.returncode == 0, done.stderr
    shown = done.stdout
    assert "printed\n" in shown
    assert "Out[1]: 42" in shown
    assert "\N{OBJECT REPLACEMENT CHARACTER}" in shown  # the figure
    assert "Who? Ada\n" in shown
    assert "KeyboardInterrupt" in shown
    assert "WorkerDied: The worker died of SIGSEGV (segmentation fault) in cell [5]." in shown
    assert "after the crash Ada 42\n" in shown
