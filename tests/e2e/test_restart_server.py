"""Restarts as jupyter_server and a browser see them, with the kernelspec that comes with us and with one in place."""

from __future__ import annotations

import time

import pytest

from .server import Server, Tab


@pytest.fixture(params=["ipymini", "in-place"])
def spec(request: pytest.FixtureRequest) -> str:
    """Both kernelspecs."""
    return str(request.param)


@pytest.mark.row("Protocol", "eight restarts in a row lose no request")
def test_eight_restarts_in_a_row_lose_no_request(server: Server, served: str, tab: Tab, spec: str) -> None:
    """Nor does one that comes right after the answer to the restart."""
    pid = tab.supervisor()
    for number in range(8):
        assert tab.run("x = 1")["status"] == "ok"
        begun = time.perf_counter()
        told = server.rest("POST", f"kernels/{served}/restart")
        assert told["id"] == served
        at = time.perf_counter()
        cells = [tab.send(f"print({number})") for _ in range(3)]
        for cell in cells:
            assert tab.finish(cell)["content"]["status"] == "ok"
            assert "".join(m["content"]["text"] for m in tab.of(cell, "stream")) == f"{number}\n"
        print(f"restart {at - begun:.3f} s, cells {time.perf_counter() - at:.3f} s")
        assert tab.run("x")["ename"] == "NameError"
        assert (tab.supervisor() == pid) is (spec == "in-place")
        server.wait_state(served, "idle")
    assert "Restarter" not in server.log


def test_restart_while_a_cell_hangs(server: Server, served: str, tab: Tab) -> None:
    cell = tab.send("sum(range(10**15), print('begun') or 0)")
    while not tab.of(cell, "stream"):
        tab.take()
    server.rest("POST", f"kernels/{served}/restart")
    assert tab.run("1")["status"] == "ok"
    server.wait_state(served, "idle")


def test_restarter_replaces_a_supervisor_that_is_killed_and_takes_no_restart_for_a_death(
    server: Server, served: str, tab: Tab, spec: str
) -> None:
    """The server's own restarter, with a restart in place before and after."""
    server.rest("POST", f"kernels/{served}/restart")
    pid, since = tab.supervisor(), len(server.log)
    tab.send(f"import os, signal; os.kill({pid}, signal.SIGKILL)")
    while not [m for m in tab.messages if m["content"].get("execution_state") == "restarting"]:
        tab.take()
    if spec == "in-place":
        tab.messages.clear()
    server.wait_log("restarting kernel (1/5)", since)
    other = Tab(server, served)
    try:
        new = other.supervisor()
        assert new != pid
        server.rest("POST", f"kernels/{served}/restart")
        assert (other.supervisor() == new) is (spec == "in-place")
    finally:
        other.close()
    assert "(2/5)" not in server.log
