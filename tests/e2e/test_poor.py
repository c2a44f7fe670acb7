"""Kernels that have little: descriptors, room on the disk, a home, the right time. They run, or say why they cannot."""

from __future__ import annotations

import ast
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from .client import Client
from .conftest import StartKernel

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs what only Linux has")
KERNEL = (sys.executable, "-m", "ipymini_supervisor")


def shell(script: str, *before: str) -> Sequence[str]:
    """A command that does something in a shell and then becomes a kernel."""
    return (*before, "/bin/sh", "-c", f'{script}; exec "$@"', "sh", *KERNEL)


def works(client: Client) -> None:
    """Cells run, die, and run again."""
    assert client.execute("print('hello'); x = 1").text() == "hello\n"
    assert client.execute("import os; os.kill(os.getpid(), 9)").error == "WorkerDied"
    assert client.execute("print('again')").text() == "again\n"
    assert client.ask("complete_request", {"code": "impor", "cursor_pos": 5}).status == "ok"
    assert (
        client.ask("history_request", {"hist_access_type": "tail", "n": 3, "raw": True, "output": False}).status == "ok"
    )
    assert client.ask("usage_request", channel="control").status == "ok"
    assert client.beat() == b"ping"


def test_64_descriptors_are_enough(start_kernel: StartKernel) -> None:
    client = start_kernel(command=shell("ulimit -n 64")).connect()
    for _ in range(3):
        works(client)


def test_with_fewer_descriptors_it_says_so(start_kernel: StartKernel) -> None:
    kernel = start_kernel(command=shell("ulimit -n 63"))
    assert kernel.wait() == 2
    assert kernel.log == "ipymini-supervisor: A kernel needs 64 file descriptors and may have 63 here (ulimit -n).\n"


def test_with_too_few_to_start_a_worker_it_says_so_as_well(start_kernel: StartKernel) -> None:
    kernel = start_kernel(command=shell("ulimit -n 12"))
    assert kernel.wait() == 2
    assert kernel.log == "ipymini-supervisor: A kernel needs 64 file descriptors and has fewer here (ulimit -n).\n"


#: A supervisor that finds no descriptor to watch so many workers with.
_UNWATCHED = """\
import errno, os, sys
from ipymini_supervisor import process
from ipymini_supervisor.cli import main
class Watch(process.ExitWatch):
    left = {count}
    def __init__(self, pid):
        if pid != os.getppid() and Watch.left:
            Watch.left -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        super().__init__(pid)
process.ExitWatch = Watch
sys.exit(main())
"""
_NOT_STARTED = "could not be started (Too many open files)"


def test_worker_that_cannot_be_watched_is_replaced(start_kernel: StartKernel) -> None:
    kernel = start_kernel(command=(sys.executable, "-c", _UNWATCHED.format(count=2)))
    works(kernel.connect())
    assert kernel.log.count("The worker could not be started: Too many open files.") == 2
    assert "Traceback" not in kernel.log


def test_cells_are_told_that_no_worker_can_be_watched(start_kernel: StartKernel) -> None:
    """As long as it is so."""
    kernel = start_kernel(command=(sys.executable, "-c", _UNWATCHED.format(count=4)))
    client = kernel.connect()
    cell = client.execute("1")
    assert cell.error == "WorkerDied"
    assert _NOT_STARTED in cell.reply["evalue"]
    client.execute("2")  # tries once more
    works(client)
    assert "Traceback" not in kernel.log


@linux
@pytest.mark.timeout(60)
@pytest.mark.parametrize("limit", ["-S -n 96", "-n 96"], ids=["soft", "hard"])
def test_crowd_of_connections_does_not_take_the_session(start_kernel: StartKernel, limit: str) -> None:
    """Each costs the supervisor a descriptor. It takes more than it was given, if it may; but the worker does not."""
    kernel = start_kernel(command=shell(f"ulimit {limit}"))
    client = kernel.connect()
    works(client)
    asked = "__import__('resource').getrlimit(__import__('resource').RLIMIT_NOFILE)[0]"
    assert client.evaluate(asked) == "96"
    client.execute("kept = 42")
    address = kernel.connection["ip"], kernel.connection["shell_port"]
    crowd = [socket.create_connection(address) for _ in range(95)]
    process = psutil.Process(kernel.process.pid)
    try:
        while process.num_fds() < 96:
            assert client.beat() == b"ping"
        for number in range(20):
            assert client.execute(f"print({number})").text() == f"{number}\n"
        assert client.ask("kernel_info_request", channel="control").status == "ok"
        assert client.ask("usage_request", channel="control").status in ("ok", "error")
        assert client.ask("worker_state_request", channel="control").status == "ok"
    finally:
        for sock in crowd:
            sock.close()
    while process.num_fds() > 80:
        assert client.beat() == b"ping"
    assert client.evaluate("kept") == "42"
    works(client)
    works(kernel.connect())


def test_full_disk_as_files_that_cannot_grow(start_kernel: StartKernel) -> None:
    works(start_kernel(command=shell("ulimit -f 0")).connect())


@linux
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="only root can mount")
@pytest.mark.parametrize("options", ["size=4k", "size=1m,ro"], ids=["full", "read-only"])
def test_home_that_cannot_be_written_to(start_kernel: StartKernel, tmp_path: Path, options: str) -> None:
    """Home, IPython's folder and Jupyter's runtime folder are on a disk without room."""
    home = tmp_path / "home"
    home.mkdir()
    mount = f"mount -t tmpfs -o {options} none {home}"
    if subprocess.run(["unshare", "-m", "/bin/sh", "-c", mount], check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    fill = f"{mount}; cat /dev/zero > {home}/fill 2>/dev/null; cd {home}"
    env = {
        "HOME": str(home),
        "IPYTHONDIR": f"{home}/ipython",
        "JUPYTER_RUNTIME_DIR": f"{home}/runtime",
        "TMPDIR": str(home),
    }
    kernel = start_kernel(command=shell(fill, "unshare", "-m"), env=env)
    works(kernel.connect())


@pytest.mark.parametrize("home", ["/proc", "/nonexistent/home", "", "relative"])
def test_home_that_makes_no_sense(start_kernel: StartKernel, home: str) -> None:
    env = {"HOME": home, "IPYTHONDIR": f"{home}/.ipython", "JUPYTER_RUNTIME_DIR": f"{home}/runtime"}
    works(start_kernel(env=env).connect())


def test_no_home_and_no_folder_of_anybody(start_kernel: StartKernel) -> None:
    unset = "unset HOME JUPYTER_RUNTIME_DIR JUPYTER_DATA_DIR JUPYTER_CONFIG_DIR USER LOGNAME TMPDIR"
    works(start_kernel(command=shell(unset)).connect())


def test_by_hand_with_a_runtime_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        KERNEL,
        env={**os.environ, "JUPYTER_RUNTIME_DIR": str(tmp_path / "file" / "runtime")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "No connection file can be written" in done.stderr


def test_no_timer_looks_at_the_clock_on_the_wall() -> None:
    """It may jump; what is measured is measured on a clock that does not. The dates are those of messages and of a session."""
    for package in ("ipymini_supervisor", "ipymini_worker"):
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        for file in Path(spec.origin).parent.glob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    name = f"{node.value.id}.{node.attr}"
                    assert name not in ("time.time", "time.localtime", "time.time_ns"), f"{file.name}:{node.lineno}"
                    assert name != "datetime.now" or file.name in ("session.py", "publish.py", "historyfile.py"), (
                        f"{file.name}:{node.lineno}"
                    )


#: Lets the wall clock of the supervisor jump by years, back and forth, with every look at it.
_JUMPS = """\
import datetime, itertools, sys, time
real = datetime.datetime
class Jumping(real):
    years = itertools.cycle([1970, 2038, 2200, 1999])
    @classmethod
    def now(cls, tz=None):
        return real(next(cls.years), 1, 1, tzinfo=tz)
datetime.datetime = Jumping
time.time = lambda years=itertools.cycle([0.0, 4e9, -1e9]): next(years)
from ipymini_supervisor.cli import main
sys.exit(main())
"""


def test_clock_that_jumps(start_kernel: StartKernel) -> None:
    client = start_kernel(command=(sys.executable, "-c", _JUMPS)).connect()
    works(client)
    cell = client.start("while True: pass")
    client.wait_busy(cell)
    client.interrupt()
    assert client.finish(cell).error == "KeyboardInterrupt"
