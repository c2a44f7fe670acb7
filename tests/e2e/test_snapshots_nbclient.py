"""A notebook that crashes again and again, as those see it who run notebooks from end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from .faults import FAULTS, IMPORTS

FIVE = ("null pointer", "os._exit(3)", "double free", "SIGKILL", "garbage")


def notebook(pause: float) -> Any:
    """Five cells that die, each after one that builds on what all the others before have made, and takes `pause` s."""
    cell = nbformat.v4.new_code_cell
    cells = [cell(f"{IMPORTS}\nimport pandas as pd\nframe = pd.DataFrame({{'n': [0]}}); total = [0]")]
    for i, name in enumerate(FIVE, 1):
        good = f"time.sleep({pause}); frame.loc[len(frame)] = {i}; total.append(total[-1] + {i})"
        cells.append(cell(f"{good}\n{FAULTS[name].define()}"))
        cells.append(cell("print('before'); frame.drop(frame.index, inplace=True); total.clear()\ndie()"))
    cells.append(cell("int(frame.n.sum()), total"))
    metadata = {"kernelspec": {"name": "ipymini", "display_name": "ipymini", "language": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["on", "auto"])
def test_nbclient_through_five_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    """To the end, with the right results, and the numbers that the cells would have had without."""
    monkeypatch.setenv("IPYMINI_SNAPSHOTS", setting)
    book = notebook(1 if setting == "auto" else 0)  # a copy that costs more on a busy machine is worth it by then
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(book, kernel_name="ipymini", timeout=30, allow_errors=True, resources=resources).execute()
    assert [cell["execution_count"] for cell in book.cells] == list(range(1, 13))
    for number, name in enumerate(FIVE, 1):
        good, bad = book.cells[2 * number - 1], book.cells[2 * number]
        assert good["outputs"] == []
        printed = [o["text"] for o in bad["outputs"] if o["output_type"] == "stream" and o["name"] == "stdout"]
        assert bad["outputs"][0]["output_type"] == "stream"
        assert "".join(printed).startswith("before\n")  # the line's end may come apart
        error = bad["outputs"][-1]
        assert error["ename"] == "WorkerDied"
        assert FAULTS[name].tells(error["evalue"], 2 * number + 1), error["evalue"]
        assert f"Restored to the state before In[{2 * number + 1}]." in "\n".join(error["traceback"])
    (output,) = book.cells[-1]["outputs"]
    assert output["data"]["text/plain"] == "(15, [0, 1, 3, 6, 10, 15])"
