"""Much output in JupyterLab."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from .frontends import Lab

pytestmark = pytest.mark.timeout(180)


def test_many_lines_are_all_there(lab: Lab) -> None:
    notebook = lab.open("for i in range(20_000): print(i)")
    assert notebook.run(0).inner_text().split() == [str(i) for i in range(20_000)]


def test_interrupt_while_a_million_lines_are_printed(lab: Lab) -> None:
    """By the keyboard, and soon: the more lines JupyterLab has, the longer it takes for one, and for what is clicked."""
    # After some of them it prints slowly, or all might be there before it is interrupted, and JupyterLab too busy for keys.
    lines = "import time\nfor i in range(1_000_000):\n    print(i)\n    if i > 50_000: time.sleep(0.001)"
    notebook = lab.open(lines, "i")
    notebook.start(0)
    notebook.page.keyboard.press("Escape")
    notebook.page.wait_for_function("document.querySelector('.jp-OutputArea-output') !== null")
    notebook.page.keyboard.type("ii")
    notebook.wait_done(0)
    expect(notebook.outputs(0).last).to_contain_text("KeyboardInterrupt")
    last = int(notebook.run(1).inner_text().split()[-1])
    assert last < 999_999
    # Where in the midst of a line it was interrupted, Python decides.
    shown = notebook.outputs(0).first.inner_text().split()
    assert len(shown) in (last, last + 1)
    assert shown[:last] == [str(i) for i in range(last)]
