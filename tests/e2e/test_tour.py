"""`scripts/run`: the tour, from nothing."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

import nbformat
import pytest

from . import tour
from .environments import ENVIRONMENT
from .kernels import MARK, assert_gone

RUN = tour.ROOT / "scripts" / "run"


def scripts_run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs the script; it makes its environment when there is none yet."""
    mark = uuid.uuid4().hex
    # The tools that it uses to make its environment find their settings where the user has them.
    environment = {**ENVIRONMENT, MARK: mark, "IPYTHONDIR": os.environ["IPYTHONDIR"]}
    environment["MPLCONFIGDIR"] = os.environ["MPLCONFIGDIR"]
    done = subprocess.run(
        [RUN, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert_gone(mark)
    return done


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_the_tour(tmp_path: Path) -> None:
    """What it prints, for each part of the tour."""
    done = scripts_run(cwd=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    shown = done.stdout
    for text in (
        "Hello from Python",
        "below Python, to file descriptor 1",
        "a shell command, in process",
        "step 3 of 3",
        "Mercury",
        "12104",
        "[49]",
        "ZeroDivisionError",
        "[2, 4, 6]",
        "the clock is running",
        "[0, 1, 2]",
        "KeyboardInterrupt",
        "the answer is still 42",
        "WorkerDied: The worker died of SIGSEGV (segmentation fault) in cell [",
        "After the crash the answer is 42",
    ):
        assert text in shown, text
    # And the notebook that is shipped is as it was.
    assert all(not c.get("outputs") for c in nbformat.read(tour.TOUR, as_version=4).cells)


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_another_notebook(tmp_path: Path) -> None:
    path = tmp_path / "mine.ipynb"
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(c) for c in ("print('fine')", "raise ValueError('not fine')", "'no'")]
    nbformat.write(notebook, path)
    done = scripts_run(str(path), cwd=tmp_path)
    assert done.returncode == 1
    assert "fine" in done.stdout
    assert "ValueError" in done.stdout
    done = scripts_run("no-such-file.ipynb", cwd=tmp_path)
    assert done.returncode == 2
    assert "no-such-file.ipynb" in done.stderr
    assert "Traceback" not in done.stderr
