"""A death as those see it who run notebooks from end to end."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from .faults import FAULTS, IMPORTS

#: How many times as long as a cell with an ordinary error a cell that dies may take, until its error has come: about a
#: second where the other takes a tenth, and no matter how busy the machine is.
RATIO = 10
#: Seconds for which a busy machine may stand still.
STALL = 10
#: Seconds that the supervisor waits besides for a process that has closed its link and goes on.
CLOSED = 0.5


ORDINARY = "def f(): raise ValueError('an ordinary error')\nf()"
MAY_FAIL = {"tags": ["raises-exception"]}


def notebook(name: str) -> Any:
    """A notebook whose third code cell dies, whose fourth does not, and whose first two end with ordinary errors."""
    cell = nbformat.v4.new_code_cell
    cells = [
        cell(f"{IMPORTS}\n{ORDINARY}", metadata=MAY_FAIL),
        cell(f"{FAULTS[name].define()}\n{ORDINARY}", metadata=MAY_FAIL),
        cell("print('before')\ndie()"),
        cell("import os; os.getppid()"),
    ]
    metadata = {"kernelspec": {"name": "ipymini", "display_name": "ipymini", "language": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def outputs(cell: Any) -> list[str]:
    """The kinds of a cell's outputs."""
    return [output["output_type"] for output in cell["outputs"]]


def check_dead_cell(name: str, cell: Any) -> None:
    """What it printed, and then the error with our sentence."""
    assert outputs(cell)[0] == "stream"
    printed = [o["text"] for o in cell["outputs"] if o["output_type"] == "stream" and o["name"] == "stdout"]
    assert "".join(printed).startswith("before\n")  # the line's end may come apart
    assert outputs(cell)[-1] == "error"
    error = cell["outputs"][-1]
    assert error["ename"] == "WorkerDied"
    assert FAULTS[name].tells(error["evalue"], 3)
    assert error["traceback"]


def seconds(cell: Any) -> float:
    """From busy to idle, by the kernel's own dates; the error came in between."""
    dates = cell["metadata"]["execution"]
    busy, idle = (datetime.fromisoformat(dates[f"iopub.status.{state}"]) for state in ("busy", "idle"))
    return (idle - busy).total_seconds()


def check_soon(name: str, cells: Any) -> None:
    """The error of the cell that has died came soon, compared with those of the others."""
    taken, ordinary = seconds(cells[2]), max(seconds(cell) for cell in cells[:2])
    print(f"{name}: {taken:.3f} s, {taken / ordinary:.1f} times as long as an ordinary error")
    # A machine that stands still for seconds does so here or there; the timeout is far above that.
    assert taken < max(RATIO * ordinary, STALL) + (0 if FAULTS[name].dies else CLOSED)


@pytest.mark.row("Protocol", "nbclient gets a crash as an error of the cell")
@pytest.mark.parametrize("name", FAULTS)
def test_nbclient(tmp_path: Path, name: str) -> None:
    """It raises the error of the cell, soon, and neither a timeout nor that the kernel has died."""
    book = notebook(name)
    client = NotebookClient(book, kernel_name="ipymini", timeout=30, resources={"metadata": {"path": str(tmp_path)}})
    with pytest.raises(CellExecutionError) as caught:
        client.execute()
    check_soon(name, book.cells)
    assert caught.value.ename == "WorkerDied"
    assert FAULTS[name].tells(caught.value.evalue, 3)
    assert caught.value.evalue in str(caught.value)
    check_dead_cell(name, book.cells[2])
    assert outputs(book.cells[3]) == []


@pytest.mark.parametrize("name", FAULTS)
def test_nbclient_that_goes_on(tmp_path: Path, name: str) -> None:
    """With errors allowed the notebook runs to its end, in the same kernel."""
    book = notebook(name)
    book.cells.insert(0, nbformat.v4.new_code_cell("import os; os.getppid()"))
    book.cells[3]["source"] = "print('before')\ndie()"
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(book, kernel_name="ipymini", timeout=30, allow_errors=True, resources=resources).execute()
    assert outputs(book.cells[3])[-1] == "error"
    assert FAULTS[name].tells(book.cells[3]["outputs"][-1]["evalue"], 4)
    first, last = book.cells[0], book.cells[4]
    assert first["outputs"][0]["data"] == last["outputs"][0]["data"]  # the supervisor's pid


def test_nbclient_with_a_death_that_the_cell_may_have(tmp_path: Path) -> None:
    """By its tag, as any error."""
    book = notebook("null pointer")
    book.cells[2]["metadata"]["tags"] = ["raises-exception"]
    NotebookClient(book, kernel_name="ipymini", timeout=30, resources={"metadata": {"path": str(tmp_path)}}).execute()
    check_dead_cell("null pointer", book.cells[2])
    assert outputs(book.cells[3]) == ["execute_result"]


@pytest.mark.parametrize("name", ["null pointer", "os._exit(3)", "double free", "SIGKILL", "garbage"])
def test_papermill(tmp_path: Path, name: str) -> None:
    """It raises, and the notebook that it leaves shows the error in the cell."""
    source, target = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    nbformat.write(notebook(name), source)
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        papermill.execute_notebook(str(source), str(target), progress_bar=False, cwd=str(tmp_path))
    assert caught.value.ename == "WorkerDied"
    assert FAULTS[name].tells(caught.value.evalue, 3)
    cells = [c for c in nbformat.read(target, 4).cells if c.cell_type == "code"]
    check_dead_cell(name, cells[2])
