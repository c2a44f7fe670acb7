"""A death, a restart and an interrupt as jupyter_server and a browser see them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from .client import TIMEOUT
from .faults import FAULTS, IMPORTS
from .server import Server, Tab


@pytest.mark.row("Protocol", "a crash is told in the order that JupyterLab shows best")
@pytest.mark.parametrize("name", FAULTS)
def test_death(server: Server, served: str, tab: Tab, name: str) -> None:
    """The error arrives; the server's own restarter has seen nothing, and has nothing to do."""
    pid = tab.supervisor()
    since = len(server.log)
    tab.run(IMPORTS)
    tab.run(FAULTS[name].define())
    cell, queued = tab.send("print('before')\ndie()"), tab.send("1")
    begun = time.perf_counter()
    reply = tab.finish(cell)["content"]
    print(f"{name}: {time.perf_counter() - begun:.3f} s")
    assert reply["ename"] == "WorkerDied"
    assert FAULTS[name].tells(reply["evalue"], reply["execution_count"])
    (error,) = tab.of(cell, "error")
    assert error["content"]["evalue"] == reply["evalue"]
    assert "".join(m["content"]["text"] for m in tab.of(cell, "stream")).startswith("before\n")
    assert tab.finish(queued)["content"]["status"] in ("aborted", "ok")
    assert tab.supervisor() == pid
    server.wait_state(served, "idle")
    (told,) = server.rest("GET", "kernels")
    assert told["id"] == served
    log = server.log[since:]
    assert "Restarter" not in log, log
    assert "restarting kernel" not in log, log


def test_the_state_after_a_death(server: Server, served: str, tab: Tab) -> None:
    """The server takes the kernel for one that has run a cell: nothing tells it to show a dialog to anybody."""
    assert tab.run("x = 1")["status"] == "ok"
    since = len(tab.messages)
    cell = tab.send("import os; x = 2; os._exit(1)")
    assert tab.finish(cell)["content"]["ename"] == "WorkerDied"
    server.wait_state(served, "idle")
    assert tab.run("assert x == 1")["status"] == "ok"
    assert [m for m in own_statuses(tab) if m in tab.messages[since:]] == []


def own_statuses(tab: Tab) -> list[dict[str, dict[str, str]]]:
    """The statuses of the kernel's own life."""
    return [
        m for m in tab.messages if m["msg_type"] == "status" and m["parent_header"].get("msg_type") == "kernel_started"
    ]


def test_a_death_while_idle(server: Server, served: str, tab: Tab, tmp_path: Path) -> None:
    pid = tab.supervisor()
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    tab.run(
        f"import os, threading\ndef die(): open({str(gate)!r}).read(); os._exit(3)\nthreading.Thread(target=die, daemon=True).start()"
    )
    gate.write_text("go")
    while not [m for m in tab.messages if m["msg_type"] == "stream" and "exit status 3" in m["content"]["text"]]:
        tab.take()
    assert tab.supervisor() == pid
    assert "Restarter" not in server.log


def test_an_interrupt(server: Server, served: str, tab: Tab) -> None:
    cell = tab.send("import time; print('begun'); time.sleep(1000)")
    queued = tab.send("1")
    while not tab.of(cell, "stream"):
        tab.take()
    server.wait_state(served, "busy")
    server.rest("POST", f"kernels/{served}/interrupt")
    assert tab.finish(cell)["content"]["ename"] == "KeyboardInterrupt"
    assert tab.finish(queued)["content"]["status"] == "aborted"
    assert tab.run("1")["status"] == "ok"
    server.wait_state(served, "idle")


def test_three_interrupts_of_a_cell_that_holds_the_gil(server: Server, served: str, tab: Tab) -> None:
    pid = tab.supervisor()
    # Blocked, so that none comes between what it prints and the call that keeps it.
    cell = tab.send(
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]); print('begun'); sum(range(10**15))"
    )
    while not tab.of(cell, "stream"):
        tab.take()
    deadline = time.monotonic() + TIMEOUT
    while not tab.of(cell, "execute_reply"):  # what comes too soon after the one before does not count
        assert time.monotonic() < deadline
        server.rest("POST", f"kernels/{served}/interrupt")
        tab.take_for(0.2)
    assert "three interrupts" in tab.finish(cell)["content"]["evalue"]
    assert tab.supervisor() == pid


def test_shutdown_over_rest(server: Server) -> None:
    """Of a kernel of its own, with something that it has started."""
    kernel = server.rest("POST", "kernels", {"name": "ipymini"})["id"]
    tab = Tab(server, kernel)
    tab.run("import subprocess; p = subprocess.Popen(['sleep', '1000'], start_new_session=True)")
    server.rest("DELETE", f"kernels/{kernel}")
    tab.close()
    assert kernel not in [k["id"] for k in server.rest("GET", "kernels")]
