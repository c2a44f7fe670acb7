"""Much output in JupyterLab."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from .frontends import Lab
from .pages import KERNEL

pytestmark = pytest.mark.timeout(180)


def test_many_lines_are_all_there(lab: Lab) -> None:
    notebook = lab.open("for i in range(20_000): print(i)")
    assert notebook.run(0).inner_text().split() == [str(i) for i in range(20_000)]


def test_interrupt_while_a_million_lines_are_printed(lab: Lab, record_property: Callable[[str, object], None]) -> None:
    """JupyterLab takes the longer for a line the more there are, so that the menu has to be used at the beginning."""
    notebook = lab.open(
        "import time\ntry:\n    for i in range(1_000_000): print(i)\nfinally: ended = time.time()", "print(f'{ended} {i}')"
    )
    notebook.start(0)
    notebook.page.keyboard.press("Escape")
    notebook.page.wait_for_function(f"{KERNEL}?.status === 'busy'")
    clicked = time.time()
    notebook.page.keyboard.type("ii")
    notebook.wait_done(0)
    expect(notebook.outputs(0).last).to_contain_text("KeyboardInterrupt")
    ended, last = notebook.run(1).inner_text().split()
    assert int(last) < 999_999
    # Where in the midst of a line it was interrupted, Python decides.
    shown = notebook.outputs(0).first.inner_text().split()
    assert len(shown) in (int(last), int(last) + 1)
    assert shown[: int(last)] == [str(i) for i in range(int(last))]
    record_property("seconds from the click to the end of the loop", float(ended) - clicked)
    print("INTERRUPTED AFTER", float(ended) - clicked)
