"""The tour notebook, and what it has to show when it has been run."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parents[2]
TOUR = ROOT / "share" / "tour" / "tour.ipynb"


def check(path: Path) -> None:
    """Looks at every output of an executed tour.

    :raises AssertionError: one is not as it should be.
    """
    notebook = nbformat.read(path, as_version=4)
    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    counts = [cell.execution_count for cell in cells.values()]
    # Tools that insert a cell of parameters shift the numbers.
    assert counts == list(range(counts[0], counts[0] + len(counts)))

    assert stream(cells["text"], "stdout").startswith("Hello from Python 3.")
    assert "below Python, to file descriptor 1\n" in stream(cells["text"], "stdout")
    assert stream(cells["text"], "stderr") == "stderr has a place of its own\n"
    assert result(cells["text"])["text/plain"] == "'HELLO'"
    assert "a shell command, in process" in stream(cells["shell"], "stdout")
    assert stream(cells["bash"], "stdout").split() == ["a", "whole", "shell", "script"]
    assert [sorted(d) for d in displays(cells["rich"])] == [
        ["text/html", "text/plain"],
        ["text/markdown", "text/plain"],
    ]
    assert [d["text/plain"] for d in displays(cells["update"])] == ["'step 3 of 3'"]
    assert "<table" in result(cells["table"])["text/html"]
    (plot,) = displays(cells["plot"])
    assert base64.b64decode(plot["image/png"]).startswith(b"\x89PNG\r\n")
    (widget,) = displays(cells["widget"])
    assert widget["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert result(cells["widget-result"])["text/plain"] == "[49]"
    assert error(cells["error"]).ename == "ZeroDivisionError"
    assert result(cells["await"])["text/plain"] == "[2, 4, 6]"
    assert result(cells["background"])["text/plain"] == "'this cell is over, and the clock is running'"
    assert result(cells["background-result"])["text/plain"] == "[0, 1, 2]"
    assert error(cells["interrupt"]).ename == "KeyboardInterrupt"
    assert stream(cells["intact"], "stdout").endswith("the answer is still 42\n")
    assert error(cells["crash"]).ename == "WorkerDied"
    assert "SIGSEGV (segmentation fault)" in error(cells["crash"]).evalue
    assert stream(cells["restored"], "stdout") == "After the crash the answer is 42\n"


def stream(cell: Any, name: str) -> str:
    """All that a cell wrote to a stream."""
    return "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == name)


def result(cell: Any) -> Any:
    """The data of a cell's result."""
    (output,) = [o for o in cell.outputs if o.output_type == "execute_result"]
    return output.data


def displays(cell: Any) -> list[Any]:
    """The data of a cell's displays."""
    return [o.data for o in cell.outputs if o.output_type == "display_data"]


def error(cell: Any) -> Any:
    """A cell's error."""
    (output,) = [o for o in cell.outputs if o.output_type == "error"]
    return output
