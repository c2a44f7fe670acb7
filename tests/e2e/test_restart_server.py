"""Restarts as jupyter_server and a browser see them, with the kernelspec that comes with us and with one in place."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from .server import Server, Tab

KERNELS = ("ipymini", "in-place")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has both kernelspecs."""
    prefix = tmp_path_factory.mktemp("prefix")
    command = ["ipymini-supervisor", "install", "--prefix", str(prefix), "--name", "in-place", "--in-place-restart"]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(prefix / "share" / "jupyter"))
        server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture(params=KERNELS)
def name(request: pytest.FixtureRequest) -> str:
    """The kernelspec."""
    return str(request.param)


@pytest.fixture
def kernel(server: Server, name: str) -> Iterator[str]:
    """The id of a kernel."""
    kernel = str(server.rest("POST", "kernels", {"name": name})["id"])
    yield kernel
    server.rest("DELETE", f"kernels/{kernel}")


@pytest.fixture
def tab(server: Server, kernel: str) -> Iterator[Tab]:
    tab = Tab(server, kernel)
    yield tab
    tab.close()


def supervisor(tab: Tab) -> int:
    """The pid of the kernel's process."""
    return int(tab.text("import os; print(os.getppid())"))


@pytest.mark.row("Protocol", "eight restarts in a row lose no request")
def test_eight_restarts_in_a_row_lose_no_request(server: Server, kernel: str, tab: Tab, name: str) -> None:
    """Nor does one that comes right after the answer to the restart."""
    pid = supervisor(tab)
    for number in range(8):
        assert tab.run("x = 1")["status"] == "ok"
        begun = time.perf_counter()
        told = server.rest("POST", f"kernels/{kernel}/restart")
        assert told["id"] == kernel
        at = time.perf_counter()
        cells = [tab.send(f"print({number})") for _ in range(3)]
        for cell in cells:
            assert tab.finish(cell)["content"]["status"] == "ok"
            assert "".join(m["content"]["text"] for m in tab.of(cell, "stream")) == f"{number}\n"
        print(f"restart {at - begun:.3f} s, cells {time.perf_counter() - at:.3f} s")
        assert tab.run("x")["ename"] == "NameError"
        assert (supervisor(tab) == pid) is (name == "in-place")
        server.wait_state(kernel, "idle")
    assert "Restarter" not in server.log


def test_restart_while_a_cell_hangs(server: Server, kernel: str, tab: Tab) -> None:
    cell = tab.send("sum(range(10**15), print('begun') or 0)")
    while not tab.of(cell, "stream"):
        tab.take()
    server.rest("POST", f"kernels/{kernel}/restart")
    assert tab.run("1")["status"] == "ok"
    server.wait_state(kernel, "idle")


def test_restarter_replaces_a_supervisor_that_is_killed_and_takes_no_restart_for_a_death(
    server: Server, kernel: str, tab: Tab, name: str
) -> None:
    """The server's own restarter, with a restart in place before and after."""
    server.rest("POST", f"kernels/{kernel}/restart")
    pid, since = supervisor(tab), len(server.log)
    tab.send(f"import os, signal; os.kill({pid}, signal.SIGKILL)")
    while not [m for m in tab.messages if m["content"].get("execution_state") == "restarting"]:
        tab.take()
    if name == "in-place":
        tab.messages.clear()
    server.wait_log("restarting kernel (1/5)", since)
    other = Tab(server, kernel)
    try:
        new = supervisor(other)
        assert new != pid
        server.rest("POST", f"kernels/{kernel}/restart")
        assert (supervisor(other) == new) is (name == "in-place")
    finally:
        other.close()
    assert "(2/5)" not in server.log
