"""An ordinary day in JupyterLab."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from .frontends import Lab
from .pages import Notebook

pytestmark = pytest.mark.timeout(180)


def test_tile_of_the_launcher_starts_our_kernel(lab: Lab) -> None:
    page = lab.visit("lab/workspaces/launcher?reset")
    tile = page.locator(".jp-LauncherCard[data-category='Notebook'][title='Python 3 (ipymini)']")
    logo = tile.locator("img")
    expect(logo).to_be_visible()
    assert "/kernelspecs/ipymini/logo" in str(logo.get_attribute("src"))
    page.wait_for_function("image => image.naturalWidth > 0", arg=logo.element_handle())
    tile.click()
    notebook = Notebook(page)
    expect(page.locator(".jp-Toolbar-kernelName")).to_have_text("Python 3 (ipymini)")
    notebook.editor(0).click()
    page.keyboard.type("6 * 7")
    page.keyboard.press("Shift+Enter")
    notebook.wait_done(0)
    expect(notebook.outputs(0)).to_contain_text("42")
    assert notebook.prompts() == ["[1]:", "[ ]:"]


def test_output(lab: Lab) -> None:
    """What is printed and displayed, a figure, a progress bar, an error."""
    notebook = lab.open(
        f"{lab.hold}\nimport sys; print('printed'); print('warned', file=sys.stderr)",
        "from IPython.display import HTML, Markdown\ndisplay(HTML('<b id=\"bold\">bold</b>'), Markdown('*so*'))",
        "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 3, 2]);",
        "from tqdm.auto import tqdm\nfor i in tqdm(range(30), desc='counting'): pass",
        "1 / 0",
        "'never'",
    )
    notebook.menu("Run", "runmenu:run-all")
    notebook.wait_arrived(6)  # what comes when a cell has failed is not aborted by that
    lab.let_go()
    expect(notebook.outputs(4)).to_contain_text("ZeroDivisionError: division by zero")
    notebook.wait_status("idle")
    expect(notebook.outputs(0)).to_have_text(["printed", "warned"])
    expect(notebook.page.locator("#bold")).to_have_text("bold")
    expect(notebook.outputs(1).nth(1).locator("em")).to_have_text("so")
    figure = notebook.outputs(2).locator("img")
    notebook.page.wait_for_function("image => image.naturalWidth > 100", arg=figure.element_handle())
    bar = notebook.outputs(3).locator(".jupyter-widgets")
    expect(bar.first).to_contain_text("counting")
    expect(bar.first).to_contain_text("30/30")
    expect(notebook.outputs(5)).to_have_count(0)
    assert notebook.prompts() == ["[1]:", "[2]:", "[3]:", "[4]:", "[5]:", "[ ]:"]


def test_slider_that_moves_calls_its_callback(lab: Lab) -> None:
    notebook = lab.open(
        "import ipywidgets as w\nslider, told = w.IntSlider(3), w.Label()\n"
        "slider.observe(lambda change: setattr(told, 'value', f'now {change.new}'), 'value')\nw.VBox([slider, told])",
        "slider.value",
    )
    outputs = notebook.run(0)
    outputs.locator(".noUi-target").click()
    expect(outputs).to_contain_text(re.compile(r"now (49|50|51)"))
    value = outputs.locator(".widget-label").last.inner_text().removeprefix("now ")
    expect(notebook.run(1)).to_contain_text(value)


def test_input(lab: Lab) -> None:
    notebook = lab.open("name = input('Who? ')\nprint('Hello,', name)")
    notebook.start(0)
    box = notebook.page.locator("input.jp-Stdin-input")
    expect(notebook.cells.nth(0)).to_contain_text("Who?")
    expect(box).to_be_focused()
    notebook.page.keyboard.type("Ada")
    notebook.page.keyboard.press("Enter")
    notebook.wait_done(0)
    expect(notebook.cells.nth(0)).to_contain_text("Hello, Ada")


def test_completion_and_inspection_while_a_cell_runs(lab: Lab) -> None:
    notebook = lab.open(
        "def frobnicate(x):\n    'Returns x, frobnicated.'\n    return x",
        "import time\nwhile True: time.sleep(0.01)",
        "frobn",
        "frobnicate(",
    )
    notebook.run(0)
    notebook.start(1)
    notebook.wait_status("busy")
    notebook.editor(2).click()
    notebook.page.keyboard.press("End")
    notebook.page.keyboard.press("Tab")
    expect(notebook.page.locator(".jp-Completer")).to_contain_text("frobnicate")
    notebook.page.keyboard.press("Enter")
    expect(notebook.editor(2)).to_have_text("frobnicate")
    notebook.editor(3).click()
    notebook.page.keyboard.press("End")
    notebook.page.keyboard.press("Shift+Tab")
    expect(notebook.page.locator(".jp-Tooltip")).to_contain_text("Returns x, frobnicated.")
    assert notebook.prompts()[1] == "[*]:"
    notebook.page.keyboard.press("Escape")
    notebook.menu("Kernel", "kernelmenu:interrupt")
    notebook.wait_done(1)
    expect(notebook.outputs(1)).to_contain_text("KeyboardInterrupt")


def test_interrupt_and_restart_from_the_menu(lab: Lab) -> None:
    notebook = lab.open("kept = 1\nimport time\nprint('begun')\nwhile True: time.sleep(0.01)", "kept", "2 + 2")
    notebook.menu("Run", "runmenu:run-all")
    expect(notebook.outputs(0)).to_contain_text("begun")
    notebook.wait_status("busy")
    notebook.wait_arrived(3)  # what comes when a cell has been interrupted is not aborted by that
    assert notebook.prompts() == ["[*]:", "[*]:", "[*]:"]
    notebook.menu("Kernel", "kernelmenu:interrupt")
    notebook.wait_done(0)
    expect(notebook.outputs(0).last).to_contain_text("KeyboardInterrupt")
    assert notebook.prompts() == ["[1]:", "[ ]:", "[ ]:"]
    expect(notebook.run(1)).to_contain_text("1")
    notebook.menu("Kernel", "kernelmenu:restart")
    notebook.accept("Restart Kernel?")
    notebook.wait_status("idle")
    expect(notebook.run(1)).to_contain_text("NameError")
    assert notebook.prompts()[1] == "[1]:"
    expect(notebook.run(2)).to_contain_text("4")


def test_shutdown_from_the_menu(lab: Lab) -> None:
    notebook = lab.open("1 + 1")
    notebook.run(0)
    notebook.menu("Kernel", "kernelmenu:shutdown")
    notebook.page.wait_for_function("!window.jupyterapp.shell.currentWidget.sessionContext.session")
    expect(notebook.page.locator(".jp-Toolbar-kernelName")).to_have_text("No Kernel")
    assert lab.rest("GET", "kernels") == []


def test_debugger(lab: Lab) -> None:
    """Enabled, a breakpoint set, stopped at, variables and stack looked at, continued."""
    notebook = lab.open("def double(x):\n    y = 2 * x\n    return y\ndouble(21)")
    page = notebook.page
    bug = page.locator(".jp-DebuggerBugButton").first
    # A click comes to nothing as long as JupyterLab has not found out that the kernel can be debugged.
    while bug.get_attribute("aria-pressed") != "true":
        bug.click()
        page.wait_for_timeout(3000)
    # The first is no line, but what makes the gutter as wide as it has to be.
    page.locator(".cm-breakpoint-gutter .cm-gutterElement").nth(3).click()
    expect(page.locator(".jp-DebuggerBreakpoints")).to_contain_text("Cell [ ]")
    notebook.start(0)
    expect(page.locator(".jp-DebuggerEditor-highlight")).to_have_text("    return y")
    expect(page.locator(".jp-DebuggerCallstack")).to_contain_text("double")
    variables = page.locator(".jp-DebuggerVariables")
    expect(variables).to_contain_text("42")
    assert notebook.prompts() == ["[*]:"]
    page.keyboard.press("F9")
    notebook.wait_done(0)
    expect(notebook.outputs(0)).to_contain_text("42")
    expect(page.locator(".jp-DebuggerEditor-highlight")).to_have_count(0)


def test_reload_while_a_cell_runs(lab: Lab) -> None:
    """The page finds its kernel again, and it busy. What the cell prints meanwhile JupyterLab does not show to a new page."""
    notebook = lab.open(f"print('begun')\n{lab.hold}\nmade = 6 * 7", "made")
    (kernel,) = lab.rest("GET", "kernels")
    notebook.start(0)
    expect(notebook.outputs(0)).to_contain_text("begun")
    notebook.page.reload()
    notebook.attach()
    notebook.wait_status("busy")
    lab.let_go()
    notebook.wait_status("idle")
    expect(notebook.run(1)).to_contain_text("42")
    assert [found["id"] for found in lab.rest("GET", "kernels")] == [kernel["id"]]
    assert notebook.seen("dialogs") == []
