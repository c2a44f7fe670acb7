"""Code that lets the frontend's events in while its cell runs: jupyter_ui_poll and its kin."""

from __future__ import annotations

import pytest
from e2e.client import Client

from .seen import PATIENCE, ok, word

SLIDER = "import ipywidgets as w\nslider = w.IntSlider(0)"


def move(client: Client, comm_id: str, value: int) -> None:
    """Moves the slider without waiting, as its cell is still running."""
    data = {"method": "update", "state": {"value": value}, "buffer_paths": []}
    client.send("comm_msg", {"comm_id": comm_id, "data": data})


@pytest.mark.row("Libraries", "jupyter_ui_poll: a cell sees a slider move while it runs")
def test_jupyter_ui_poll(client: Client) -> None:
    ok(client.execute(SLIDER))
    comm_id = word(client, "slider.model_id")
    cell = client.start(
        "import time\nfrom jupyter_ui_poll import ui_events\nstarted = time.monotonic()\nprint('polling')\n"
        "with ui_events() as poll:\n    while slider.value == 0 and time.monotonic() - started < 60:\n"
        "        poll(1); time.sleep(0.01)\nprint('saw', slider.value)"
    )
    client.wait_text(cell, "polling")
    move(client, comm_id, 5)
    assert "saw 5" in ok(client.finish(cell, PATIENCE)).text()
    assert client.execute("print('next')").text() == "next\n"


@pytest.mark.row("Libraries", "jupyter_ui_poll: cells that are run meanwhile come afterwards")
def test_cells_meanwhile(client: Client) -> None:
    ok(client.execute(SLIDER))
    comm_id = word(client, "slider.model_id")
    cell = client.start(
        "import time\nfrom jupyter_ui_poll import ui_events\nstarted = time.monotonic()\nprint('polling')\n"
        "with ui_events() as poll:\n    while slider.value == 0 and time.monotonic() - started < 60:\n"
        "        poll(1); time.sleep(0.01)\nprint('saw', slider.value)"
    )
    client.wait_text(cell, "polling")
    following = client.start("print('afterwards', slider.value)")
    move(client, comm_id, 6)
    assert "saw 6" in ok(client.finish(cell, PATIENCE)).text()
    assert client.finish(following).text() == "afterwards 6\n"
