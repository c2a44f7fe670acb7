"""`%gui` and `%matplotlib` with real toolkits: Qt without a screen (PySide6-Essentials), Tk where there is a display."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from e2e.client import Client
from e2e.conftest import StartKernel
from e2e.environments import ENVIRONMENT as OUTSIDE

TICKS = {
    "qt": (
        "from PySide6 import QtCore, QtWidgets\napp = QtWidgets.QApplication.instance() or QtWidgets.QApplication([''])\n"
        "label = QtWidgets.QLabel('x'); label.show()\ndef tick():\n"
        "    ticks.append(1)\n    if len(ticks) < 4: print('tick', len(ticks))\n"
        "timer = QtCore.QTimer(); timer.timeout.connect(tick); timer.start(5)"
    ),
    "tk": (
        "import tkinter\nroot = tkinter.Tk()\ndef tick():\n"
        "    ticks.append(1)\n    if len(ticks) < 4: print('tick', len(ticks))\n    root.after(5, tick)\nroot.after(5, tick); None"
    ),
}
TOOLKITS = list(TICKS)


@pytest.fixture
def display() -> Iterator[dict[str, str]]:
    """What the environment has to say of a screen: that of whoever runs the tests, or one that nobody sees."""
    if "DISPLAY" in OUTSIDE:
        yield {
            "DISPLAY": OUTSIDE["DISPLAY"],
            "XAUTHORITY": OUTSIDE.get("XAUTHORITY", os.path.join(OUTSIDE.get("HOME", ""), ".Xauthority")),
        }
        return
    if shutil.which("Xvfb") is None:
        pytest.skip("there is no display for Tk, and no Xvfb")
    command = ["Xvfb", "-displayfd", "1", "-nolisten", "tcp", "-screen", "0", "640x480x24"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            yield {"DISPLAY": f":{server.stdout.readline().strip()}"}  # said when it is ready
        finally:
            server.terminate()


@pytest.fixture
def ready(start_kernel: StartKernel, toolkit: str, request: pytest.FixtureRequest) -> Client:
    """A client of a kernel that finds what the toolkit needs."""
    env = {"IPYMINI_SNAPSHOTS": "on"}
    if toolkit == "qt":
        pytest.importorskip("PySide6")
        env["QT_QPA_PLATFORM"] = "offscreen"
    else:
        pytest.importorskip("_tkinter")
        env |= request.getfixturevalue("display")
    return start_kernel(env=env).connect()


@pytest.mark.row("Magics", "`%gui qt` and `%gui tk`: windows live between cells")
@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_windows_live_between_cells(ready: Client, toolkit: str) -> None:
    """Cells and tasks have their turn, and nothing is served any longer when it is switched off."""
    assert ready.execute(f"%gui {toolkit}").status == "ok"
    cell = ready.execute(f"ticks = []\n{TICKS[toolkit]}")
    assert cell.status == "ok", cell.traceback
    ready.wait_text(cell, "tick 3\n")
    for number in range(10):
        assert ready.execute(str(number)).result == str(number)
    task = ready.execute(
        "import asyncio\nasync def count():\n    begun = len(ticks)\n    while len(ticks) < begun + 3: await asyncio.sleep(0.005)\n"
        "    print('three more')\ntask = asyncio.create_task(count())"
    )
    ready.wait_text(task, "three more")
    ready.execute("%gui")
    before = ready.execute("import time; len(ticks)").result
    assert ready.execute("await asyncio.sleep(0.05); len(ticks)").result == before


@pytest.mark.row("Magics", "`%gui qt` and `%gui tk`: windows live between cells")
@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_an_error_in_a_callback_ends_nothing(ready: Client, toolkit: str) -> None:
    ready.execute(f"%gui {toolkit}")
    ready.execute(f"ticks = []\n{TICKS[toolkit]}")
    later = {"qt": "QtCore.QTimer.singleShot(1, lambda: 1 / 0)", "tk": "root.after(1, lambda: 1 / 0); None"}[toolkit]
    cell = ready.execute(later)
    ready.wait_text(cell, "ZeroDivisionError", "stderr")
    cell = ready.execute("ticks.clear()")
    ready.wait_text(cell, "tick 3")


@pytest.mark.row("Magics", "`%matplotlib qt` and `%matplotlib tk`")
@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_matplotlib(ready: Client, toolkit: str) -> None:
    """A figure's window answers while no cell runs; back to pictures in the notebook."""
    if toolkit == "qt":  # or matplotlib takes a process without a display for one without windows
        ready.execute("from PySide6 import QtWidgets; app = QtWidgets.QApplication([''])")
    assert ready.execute(f"%matplotlib {toolkit}").status == "ok"
    backend = {"qt": "qtagg", "tk": "tkagg"}[toolkit]
    cell = ready.execute(
        "import matplotlib.pyplot as plt\nf = plt.figure(); plt.plot([1, 2]); plt.get_backend().lower()"
    )
    assert cell.result == repr(backend)
    assert "display_data" not in cell.types
    cell = ready.execute("t = f.canvas.new_timer(interval=5); t.add_callback(lambda: print('timer')); t.start()")
    ready.wait_text(cell, "timer")
    assert ready.execute("t.stop(); plt.close('all')").status == "ok"
    assert ready.execute("%matplotlib inline").status == "ok"
    assert ready.execute("plt.plot([1]); None").types == ["display_data"]


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_no_snapshot_while_there_is_a_window(ready: Client, toolkit: str) -> None:
    """It says why; a crash costs the session, as without snapshots, and not the kernel."""
    ready.execute(f"%gui {toolkit}")
    ready.execute(f"ticks = []\n{TICKS[toolkit]}")
    assert "A GUI toolkit is in use" in ready.execute("%snapshot").text()
    ready.execute("%matplotlib agg")
    assert ready.execute("import os; os._exit(3)").error == "WorkerDied"
    assert ready.execute("1").result == "1"
    assert "A GUI toolkit" not in ready.execute("%snapshot").text()


@pytest.mark.parametrize("toolkit", ["qt"])
def test_snapshots_where_no_window_is(ready: Client, toolkit: str) -> None:
    """Qt's modules are loaded by many a library; what a copy cannot have is its application."""
    ready.execute(
        "from PySide6 import QtCore, QtGui; import tkinter, matplotlib.pyplot as plt\nplt.plot([1]); kept = 5"
    )
    assert "A GUI toolkit" not in ready.execute("%snapshot").text()
    assert ready.execute("import os; os._exit(3)").error == "WorkerDied"
    assert ready.evaluate("kept") == "5"


@pytest.mark.row("Magics", "`%gui` and `%matplotlib` with an unknown or absent toolkit lose nothing")
def test_tk_without_a_display(start_kernel: StartKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said plainly, and figures go into the notebook as before."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    client = start_kernel().connect()
    run = client.execute("%matplotlib tk")
    assert (run.status, run.reply["ename"]) == ("error", "UsageError")
    assert len(run.text("stderr").splitlines()) == 1
    assert client.execute("import matplotlib.pyplot as plt; plt.plot([1]); None").types == ["display_data"]
