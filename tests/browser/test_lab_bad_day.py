"""Days on which cells crash, hang, or take all memory, in JupyterLab."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from ipymini_supervisor.ladder import GAP

from .frontends import Lab
from .pages import Notebook

pytestmark = pytest.mark.timeout(180)

CRASH = "import ctypes\ndef crash():\n    ctypes.string_at(0)\ncrash()"
DIED = "WorkerDied: The worker died of SIGSEGV (segmentation fault) in cell [2]."


def run_all(lab: Lab, notebook: Notebook) -> None:
    """Runs the four cells, the first of which holds; what comes when a cell has died is not aborted by that."""
    notebook.menu("Run", "runmenu:run-all")
    notebook.wait_arrived(4)
    lab.let_go()


def test_crash_in_the_midst_of_run_all(lab: Lab) -> None:
    """The cell says what happened, those behind it are not run, and nothing says that a kernel has died: none has."""
    notebook = lab.open(f"kept = 41; {lab.hold};", CRASH, "'never'", "kept + 1")
    run_all(lab, notebook)
    expect(notebook.outputs(1)).to_contain_text(DIED)
    notebook.wait_status("idle")
    error = notebook.outputs(1).inner_text()
    assert "Cell In[2], line 3, in crash" in error
    assert "Restored to the state before In[2]." in error
    assert notebook.prompts() == ["[1]:", "[2]:", "[ ]:", "[ ]:"]
    expect(notebook.run(3)).to_contain_text("42")
    assert notebook.prompts() == ["[1]:", "[2]:", "[ ]:", "[3]:"]
    assert notebook.seen("dialogs") == []
    assert set(notebook.seen("status")) == set(notebook.seen("indicator")) == {"busy", "idle"}


def test_crash_without_a_snapshot(lab: Lab) -> None:
    """The dialog that Jupyter shows when a kernel has died; the error, which ipykernel's users do not get, stays."""
    notebook = lab.open(f"kept = 41; {lab.hold};", CRASH, "'never'", "kept + 1", kernel="no-snapshots")
    run_all(lab, notebook)
    notebook.accept("appears to have died. It will restart automatically.")
    notebook.wait_status("idle")
    expect(notebook.outputs(1)).to_contain_text(DIED)
    expect(notebook.outputs(1)).to_contain_text("Variables are lost; the next cell runs in a new worker.")
    assert notebook.prompts() == ["[1]:", "[2]:", "[ ]:", "[ ]:"]
    assert {"restarting", "autorestarting"} <= set(notebook.seen("status"))
    expect(notebook.run(3)).to_contain_text("NameError")
    assert notebook.prompts() == ["[1]:", "[2]:", "[ ]:", "[1]:"]
    assert len(notebook.seen("dialogs")) == 1


def test_hang_that_is_interrupted_three_times(lab: Lab) -> None:
    """A call that keeps the GIL: first it is said what comes next, then where it hangs, then it is ended."""
    hang = "def hang():\n    sum(range(10**15), print('begun') or 0)\nhang()"
    notebook = lab.open("kept = 41", hang, "'never'", "kept + 1")
    notebook.menu("Run", "runmenu:run-all")
    expect(notebook.outputs(1)).to_contain_text("begun")
    notebook.menu("Kernel", "kernelmenu:interrupt")
    expect(notebook.cells.nth(1)).to_contain_text("the cell still runs. Interrupt again to see where it is stuck.")
    notebook.menu("Kernel", "kernelmenu:interrupt")
    expect(notebook.cells.nth(1)).to_contain_text("Cell In[2], line 2, in hang")
    assert notebook.status == "busy"
    assert notebook.prompts() == ["[1]:", "[*]:", "[*]:", "[*]:"]
    notebook.page.wait_for_timeout(GAP * 1000)  # two that come closer together are a double click, and one
    notebook.menu("Kernel", "kernelmenu:interrupt")
    expect(notebook.cells.nth(1)).to_contain_text(
        "WorkerDied: The worker was killed after three interrupts in cell [2]."
    )
    notebook.wait_status("idle")
    assert notebook.prompts() == ["[1]:", "[2]:", "[ ]:", "[ ]:"]
    expect(notebook.run(3)).to_contain_text("42")
    assert notebook.seen("dialogs") == []
    assert set(notebook.seen("status")) == set(notebook.seen("indicator")) == {"busy", "idle"}


def test_cell_that_takes_all_memory(lab: Lab) -> None:
    """Interrupted, or killed where it does not let itself be; the sentence says why."""
    notebook = lab.open(
        "import itertools; kept = 41",
        "data = list(map(bytearray, itertools.repeat(1 << 14)))",
        "kept + 1",
        kernel="little-memory",
    )
    notebook.run(0)
    told = notebook.run(1).filter(has_text="of 400 MiB allowed (IPYMINI_MEMORY_LIMIT)")
    expect(told.first).to_be_visible()  # by the warning, and again by the error where that one had to kill
    expect(notebook.run(2)).to_contain_text("42")
    assert notebook.seen("dialogs") == []
    assert set(notebook.seen("indicator")) == {"busy", "idle"}


def test_all_last_words_of_native_code_are_folded(lab: Lab) -> None:
    """Below an error that stands by itself, and has the last of them."""
    notebook = lab.open("1", "import os\nfor i in range(20): os.write(2, b'word %d\\n' % i)\nos.abort()")
    notebook.run(0)
    outputs = notebook.run(1)
    error, folded = outputs.filter(has_text="WorkerDied"), outputs.locator("details")
    expect(error).to_contain_text("The worker died of SIGABRT (abort) in cell [2].")
    expect(error).to_contain_text("word 19")
    expect(error).not_to_contain_text("word 0")
    expect(folded).to_have_count(1)
    expect(folded.locator("pre")).to_be_hidden()
    folded.locator("summary").click()
    expect(folded.locator("pre")).to_be_visible()
    expect(folded).to_contain_text("word 0")
