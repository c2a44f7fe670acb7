"""A restart in place: another worker, and the kernel's process, ports and clients stay. Under a manager of Jupyter's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client.manager import KernelManager

from .client import TIMEOUT, Client
from .kernels import MARK, assert_gone, below
from .sessions import COPY, settle

NAME = "in-place"
Start = Callable[..., tuple[KernelManager, Client]]


@pytest.fixture(scope="module")
def kernelspec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A kernelspec whose restarts are in place, as the command installs it."""
    prefix = tmp_path_factory.mktemp("prefix")
    command = ["ipymini-supervisor", "install", "--prefix", str(prefix), "--name", NAME, "--in-place-restart"]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(prefix / "share" / "jupyter"))
        yield


@pytest.fixture
def start(kernelspec: None) -> Iterator[Start]:
    """Starts kernels with that kernelspec, each with a client; at the end nothing is left of them."""
    mark = uuid.uuid4().hex
    with ExitStack() as stack:
        stack.callback(assert_gone, mark)

        def start(**options: Any) -> tuple[KernelManager, Client]:
            manager = KernelManager(kernel_name=NAME, **options)
            environment = {**os.environ, MARK: mark}
            environment.pop("PYTEST_CURRENT_TEST", None)
            manager.start_kernel(env=environment)
            stack.callback(manager.shutdown_kernel)
            return manager, client_of(manager, stack)

        yield start


def client_of(manager: KernelManager, stack: ExitStack) -> Client:
    client = Client(json.loads(Path(manager.connection_file).read_text()))
    stack.callback(client.drop)
    return client


def supervisor(client: Client) -> int:
    """The pid of the kernel's process."""
    return int(client.execute("import os; os.getppid()").result)


def has_ended(pid: int) -> bool:
    """Whether a process has; a zombie has, whoever has to reap it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def own_statuses(client: Client) -> list[str]:
    """The statuses of the kernel's own life that have come."""
    return [
        m["content"]["execution_state"]
        for _, m in client.messages
        if m["msg_type"] == "status" and m["parent_header"].get("msg_type") == "kernel_started"
    ]


@pytest.mark.row("Protocol", "a restart in place: same process, same connection, a session that begins anew")
def test_eight_restarts_in_a_row(start: Start) -> None:
    manager, client = start()
    pid, ports = supervisor(client), manager.ports
    for number in range(8):
        assert client.execute(f"x = {number}; x").result == str(number)
        worker = client.execute("import os; os.getpid()").result
        begun = time.time()
        manager.restart_kernel()
        run = client.execute("x")  # over the connection that is there, and at once
        assert run.error == "NameError"
        assert run.reply["execution_count"] == 1
        other = client.execute("import os; os.getpid()").result
        assert other != worker
        if sys.platform == "linux":  # the pristine snapshot has been there for a while
            assert psutil.Process(int(other)).create_time() < begun
        assert supervisor(client) == pid == manager.provisioner.pid
        assert manager.ports == ports
        assert manager.is_alive()
    client.wait(lambda channel, message: own_statuses(client)[-24:] == 8 * ["restarting", "starting", "idle"])


def test_what_the_session_had_is_gone(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes, also those that left it, subshells, snapshots, the folder, and what `atexit` was to run has run."""
    monkeypatch.setenv("IPYMINI_SHUTDOWN_GRACE", "20")  # a worker that has no time to end by itself runs no `atexit`
    manager, client = start()
    code = (
        "import atexit, os, subprocess, time\n"
        "os.chdir('/')\n"
        "p = [subprocess.Popen(['sleep', '1000'], start_new_session=new) for new in (True, True, True, False)]\n"
        "atexit.register(lambda: print('at the end', flush=True))\n"
        "[q.pid for q in p]"
    )
    pids = json.loads(client.execute(code).result)
    client.ask("create_subshell_request", channel="control")
    before = len(own_statuses(client))
    manager.restart_kernel()
    assert all(has_ended(pid) for pid in pids)
    # There is no going back behind a restart.
    client.execute("%rollback")
    assert client.execute("p").error == "NameError"
    assert client.ask("list_subshell_request", channel="control").reply["subshell_id"] == []
    assert client.execute("import os; os.getcwd()").result != "'/'"
    assert "at the end\n" in "".join(m["content"]["text"] for _, m in client.messages if m["msg_type"] == "stream")
    # Once, whatever had to be ended: the new worker lives.
    assert own_statuses(client)[before:] == ["restarting", "starting", "idle"]
    assert client.ask("worker_state_request", channel="control").reply["deaths"] == 0
    assert client.execute("import os; os._exit(1)").error == "WorkerDied"
    assert client.execute("p").error == "NameError"


@pytest.mark.skipif(sys.platform != "linux", reason="there are no snapshots")
def test_without_the_pristine_snapshot_it_takes_longer(start: Start) -> None:
    """As when memory has run short."""
    manager, client = start()
    pid = supervisor(client)
    client.execute("import os")
    settle(client)
    copies = below(pid, COPY)
    for copy in copies:
        with suppress(psutil.NoSuchProcess):
            copy.kill()
    psutil.wait_procs(copies, TIMEOUT)
    manager.restart_kernel()
    assert client.execute("os").error == "NameError"
    assert supervisor(client) == pid


def test_cells_that_ran_or_waited_are_answered(start: Start) -> None:
    manager, client = start()
    running = client.start("import time\nprint('begun')\ntime.sleep(1000)")
    waiting = [client.start("1") for _ in range(3)]
    client.wait(lambda channel, message: message["msg_type"] == "stream")
    client.ask("kernel_info_request")  # so that those before it have come, whatever the manager's own way is like
    manager.restart_kernel()
    after = client.start("2")
    assert client.finish(running).error in ("KeyboardInterrupt", "WorkerDied")
    assert {client.finish(run).status for run in waiting} == {"aborted"}
    assert client.finish(after).result == "2"


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell what there is below the supervisor")
def test_nobody_waits_for_what_a_worker_gives_back_but_the_next_cell(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another restart meanwhile costs what has come in between."""
    monkeypatch.setenv("IPYMINI_SHUTDOWN_GRACE", "100")
    manager, client = start()
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    slow = f"class Slow:\n    def __del__(self, open=os.open, flags=os.O_RDONLY): open({str(gate)!r}, flags)\n"
    worker = int(client.execute(f"import os, sys\n{slow}sys.slow = Slow(); os.getpid()").result)
    before = len(own_statuses(client))
    manager.restart_kernel()
    between = client.start("x = 1")
    assert client.ask("shutdown_request", {"restart": True}, channel="control").status == "ok"
    manager.restart_kernel()
    assert not has_ended(worker)
    after = client.start("x")
    assert client.finish(between).status == "aborted"
    os.close(os.open(gate, os.O_WRONLY))
    assert client.finish(after).error == "NameError"
    assert has_ended(worker)
    assert own_statuses(client)[before:] == ["restarting", "starting", "idle"]
    assert supervisor(client) == manager.provisioner.pid


def test_restart_that_is_over_before_it_is_waited_for(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request has been sent, and the manager's process gets no time until all is over."""
    manager, client = start()
    manager.restart_kernel()
    pid = supervisor(client)
    client.messages.clear()
    requested = manager.provisioner.shutdown_requested

    async def late(restart: bool = False) -> None:
        client.wait(lambda channel, message: own_statuses(client)[-2:] == ["starting", "idle"])
        await requested(restart)

    with monkeypatch.context() as patch:
        patch.setattr(manager.provisioner, "shutdown_requested", late)
        manager.restart_kernel()
    assert supervisor(client) == pid


def test_exit_and_a_restart_at_once(start: Start) -> None:
    """What the session before has asked for is no end of the next one."""
    manager, client = start()
    client.execute("exit")
    manager.restart_kernel()
    client.execute("import time; time.sleep(0.3)")
    assert client.execute("1").result == "1"


def test_cell_that_holds_the_gil(start: Start) -> None:
    manager, client = start()
    pid = supervisor(client)
    running = client.start("sum(range(10**15), print('begun') or 0)")
    client.wait(lambda channel, message: message["msg_type"] == "stream")
    manager.restart_kernel()
    assert client.finish(running).status == "error"
    assert supervisor(client) == pid


def test_worker_that_does_not_end_by_itself(start: Start) -> None:
    """SIGTERM and SIGKILL come from the supervisor, and not to it."""
    manager, client = start()
    pid = supervisor(client)
    client.execute("import atexit, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    client.execute("atexit.register(time.sleep, 1000)")
    manager.restart_kernel()
    assert client.execute("atexit").error == "NameError"
    assert supervisor(client) == pid


def test_kill_is_an_ordinary_restart(start: Start) -> None:
    manager, client = start()
    pid = supervisor(client)
    manager.restart_kernel(now=True)
    assert supervisor(client) != pid
    pid = supervisor(client)
    manager.restart_kernel()  # and the next one is in place again
    assert supervisor(client) == pid


@pytest.mark.parametrize("moment", ["before", "during"])
def test_supervisor_that_is_killed(start: Start, moment: str) -> None:
    """The manager finds out, and launches another one."""
    manager, client = start()
    pid = supervisor(client)
    if moment == "before":
        os.kill(pid, signal.SIGKILL)
        manager.provisioner.process.wait()
    else:
        client.execute(f"import atexit, os; atexit.register(os.kill, {pid}, 9)")
    manager.restart_kernel()
    assert manager.provisioner.pid != pid
    with ExitStack() as stack:
        assert supervisor(client_of(manager, stack)) == manager.provisioner.pid
    assert manager.is_alive()


def test_another_environment_is_an_ordinary_restart(start: Start) -> None:
    manager, client = start()
    pid = supervisor(client)
    manager.update_env(env={"JPY_SESSION_NAME": "renamed.ipynb"})
    manager.restart_kernel()
    assert client.execute("import os; os.environ['JPY_SESSION_NAME']").result == "'renamed.ipynb'"
    assert manager.provisioner.pid != pid
    assert not psutil.pid_exists(pid)


def test_over_ipc_it_is_an_ordinary_restart(start: Start, tmp_path: Path) -> None:
    """Because jupyter_client removes the sockets."""
    manager, client = start(transport="ipc", connection_file=str(tmp_path / "k.json"))
    pid = supervisor(client)
    manager.restart_kernel()
    with ExitStack() as stack:
        assert supervisor(client_of(manager, stack)) != pid


def test_restart_that_a_client_asks_for(start: Start) -> None:
    """Nobody has told the manager, which has nothing to do; its own restart works as before."""
    manager, client = start()
    pid = supervisor(client)
    client.execute("x = 1")
    assert client.ask("shutdown_request", {"restart": True}, channel="control").reply["restart"] is True
    assert client.execute("x").error == "NameError"
    assert supervisor(client) == pid
    manager.restart_kernel()
    assert supervisor(client) == pid


def test_shutdown_in_the_midst_of_a_restart(start: Start) -> None:
    manager, client = start()
    client.execute("1")
    client.send("shutdown_request", {"restart": True}, channel="control")
    client.send("shutdown_request", {"restart": False}, channel="control")
    assert manager.provisioner.process.wait(TIMEOUT) == 0


def test_line_is_not_there_for_cells(start: Start) -> None:
    _, client = start()
    assert client.execute("import os; [n for n in os.environ if n.startswith('IPYMINI_IN')]").result == "[]"
