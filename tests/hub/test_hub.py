"""A kernel's life on a hub: spawned, run, crashed, culled, stopped; nothing of it is left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from e2e.kernels import assert_gone, marked
from e2e.server import TOKEN, Tab

from .sites import Hub, User, wait_for

pytestmark = pytest.mark.timeout(300)
CHILD = "import subprocess; p = subprocess.Popen(['sleep', '1000'], start_new_session=True)"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    hub = Hub(tmp_path_factory.mktemp("hub"))
    yield hub
    if hub.process.poll() is None:
        hub.stop()


def open_tab(user: User) -> Tab:
    """A new kernel, the one that is the default on this hub, and a browser's tab."""
    kernel = user.rest("POST", "kernels", {})
    assert kernel["name"] == "ipymini"
    return Tab(user, kernel["id"])


def test_spawn_run_crash_restart_stop(hub: Hub) -> None:
    user = hub.spawn("ada")
    tab = open_tab(user)
    assert tab.run(f"x = 1; {CHILD}")["status"] == "ok"
    assert tab.run("import os; os._exit(3)")["ename"] == "WorkerDied"
    assert tab.text("print(x)") == "1\n"
    (kernel,) = user.rest("GET", "kernels")
    user.rest("POST", f"kernels/{kernel['id']}/restart")
    assert tab.run("x")["ename"] == "NameError"
    tab.run(CHILD)
    tab.close()
    user.stop()


def test_leak_ends_a_cell_and_neither_the_kernel_nor_the_server(hub: Hub) -> None:
    """Interrupted first, then killed, with a sentence that says why; the session is as it was before the cell."""
    user = hub.spawn("full")
    server = user.process().pid
    tab = open_tab(user)
    assert tab.run("import itertools, time; kept, data = 1, []")["status"] == "ok"
    slowly = "while True:\n    data.append(bytearray(1 << 20)); time.sleep(0.25 if len(data) > 310 else 0.01 if len(data) > 200 else 0)"
    interrupted = tab.run(slowly)
    assert interrupted["ename"] == "KeyboardInterrupt"
    assert "of 400 MiB allowed (IPYMINI_MEMORY_LIMIT)" in interrupted["evalue"]
    assert tab.run("data.clear()")["status"] == "ok"
    killed = tab.run("list(map(bytearray, itertools.repeat(1 << 14)))")
    assert killed["ename"] == "WorkerDied"
    assert "of 400 MiB allowed (IPYMINI_MEMORY_LIMIT)" in killed["evalue"]
    assert tab.text("print(kept, len(data))") == "1 0\n"
    assert user.process().pid == server
    tab.close()
    user.stop()


def test_kernel_that_nobody_looks_at_is_culled_also_when_its_last_cell_crashed(hub: Hub) -> None:
    """Its status would keep it if that were stuck on busy."""
    user = hub.spawn("idle")
    server = user.process().pid
    tab = open_tab(user)
    assert tab.run(f"{CHILD}; import os; os._exit(3)")["ename"] == "WorkerDied"
    tab.close()
    wait_for(lambda: not user.rest("GET", "kernels"), lambda: hub.log)
    wait_for(lambda: [p.pid for p in marked(user.mark)] == [server], lambda: hub.log)
    user.stop()


def test_server_that_nobody_uses_is_culled(hub: Hub) -> None:
    user = hub.spawn("bob")
    tab = open_tab(user)
    tab.run(CHILD)
    tab.close()
    command = [sys.executable, "-m", "jupyterhub_idle_culler", f"--url={hub.api}", "--timeout=1", "--cull-every=1"]
    with subprocess.Popen(
        command, env={**os.environ, "JUPYTERHUB_API_TOKEN": TOKEN}, stderr=subprocess.DEVNULL
    ) as culler:
        try:
            user.wait_gone()
        finally:
            culler.terminate()


def test_sigterm_as_a_pod_gets_it(hub: Hub) -> None:
    """In the midst of a cell that hangs in native code; all has ended before SIGKILL would come."""
    user = hub.spawn("carl")
    tab = open_tab(user)
    tab.run(CHILD)
    cell = tab.send("sum(range(10**15), print('begun') or 0)")
    while not tab.of(cell, "stream"):
        tab.take()
    user.process().terminate()
    assert_gone(user.mark, 20)  # the grace that values.yaml gives a pod
    tab.close()


def test_end_of_the_hub_is_the_end_of_all(hub: Hub) -> None:
    user = hub.spawn("dora")
    tab = open_tab(user)
    tab.run(CHILD)
    tab.close()
    hub.stop()
    assert_gone(user.mark)
