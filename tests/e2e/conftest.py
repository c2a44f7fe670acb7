"""Kernels and clients for the tests in this folder, in an environment that knows nothing of the user's."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from rows import KERNELS

from .client import Client
from .environments import make_environment
from .kernels import Kernel

if TYPE_CHECKING:  # it needs websockets, which are not in every environment that has these fixtures
    from .server import Server, Tab

#: Only Linux tells how often a thread has been woken up.
collect_ignore = [] if sys.platform == "linux" else ["test_idle.py"]


class StartKernel(Protocol):
    """Starts a kernel; the arguments are those of `Kernel`, but for the folder."""

    def __call__(self, *arguments: str, **options: object) -> Kernel: ...


@pytest.fixture(scope="session", autouse=True)
def neutral_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Home, IPython's and Jupyter's folders are empty ones; commands are those of this Python's environment."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("JUPYTER", "JPY_", "IPY", "PYTHON", "MPL", "COVERAGE")):
                patch.delenv(name)
        patch.setenv("HOME", str(home))
        patch.setenv("IPYTHONDIR", str(home / "ipython"))
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        for name in ("CONFIG", "DATA", "RUNTIME"):
            patch.setenv(f"JUPYTER_{name}_DIR", str(home / name.lower()))
        patch.setenv("MPLCONFIGDIR", str(home / "matplotlib"))
        patch.setenv("PATH", os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]))
        # A kernel's current folder is on its path: the source tree must not stand in for the installed package.
        patch.chdir(home)
        yield


@pytest.fixture
def start_kernel(
    tmp_path: Path, environment: dict[str, str], command: Sequence[str] | None, lenient: bool
) -> Iterator[StartKernel]:
    """Starts kernels that are shut down at the end of the test."""
    numbers = count()
    with ExitStack() as stack:  # each is stopped, also when another one fails to

        def start(*arguments: str, **options: object) -> Kernel:
            folder = tmp_path / f"jupyter-kernel{next(numbers)}"
            folder.mkdir()
            env = {**environment, **options.pop("env", {})}  # type: ignore[dict-item]
            if "command" not in options:
                options |= {"command": command, "lenient": lenient}
            kernel = Kernel(folder, *arguments, env=env, **options)  # type: ignore[arg-type]
            stack.callback(kernel.stop)
            return kernel

        yield start


@pytest.fixture(scope="module")
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """What the kernels of a module have in their environment, besides ours: its `ENVIRONMENT`."""
    return getattr(request.module, "ENVIRONMENT", {})


@pytest.fixture(scope="session")
def command(pytestconfig: pytest.Config) -> Sequence[str] | None:
    """What starts a kernel, as `--kernel` says; None for the installed package."""
    return KERNELS[pytestconfig.getoption("--kernel")]


@pytest.fixture(scope="session")
def lenient(command: Sequence[str] | None) -> bool:
    """Whether the kernel is not ours, so that it keeps no account as ours does."""
    return command is not None


@pytest.fixture(scope="module")
def kernel(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], command: Sequence[str] | None, lenient: bool
) -> Iterator[Kernel]:
    """A kernel for all tests of a module."""
    kernel = Kernel(tmp_path_factory.mktemp("jupyter-kernel"), env=environment, command=command, lenient=lenient)
    yield kernel
    kernel.stop()


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has IPython and comm, what they need, and nothing of ours."""
    return make_environment(tmp_path_factory.mktemp("other"), "ipython", "comm") / "python"


@pytest.fixture(scope="module", params=["beside ipykernel", pytest.param("without ipykernel", marks=pytest.mark.slow)])
def worker_options(request: pytest.FixtureRequest, command: Sequence[str] | None) -> Sequence[str]:
    """The options of a kernel whose cells find the real ipykernel, and of one whose cells do not."""
    if request.param == "beside ipykernel" or command is not None:  # cells of another kernel run where that kernel is
        return ()
    return ("--python", str(request.getfixturevalue("other")))


@pytest.fixture(scope="module")
def either(
    tmp_path_factory: pytest.TempPathFactory,
    environment: dict[str, str],
    command: Sequence[str] | None,
    worker_options: Sequence[str],
) -> Iterator[Kernel]:
    """A kernel for all tests of a module, which run twice: beside the real ipykernel, and without it."""
    kernel = Kernel(tmp_path_factory.mktemp("kernel"), *worker_options, env=environment, command=command)
    yield kernel
    kernel.stop()


@pytest.fixture
def connect(kernel: Kernel) -> Iterator[Callable[[], Client]]:
    """Connects clients to the module's kernel; the account of each is looked at when the test is over."""
    with ExitStack() as stack:

        def connect() -> Client:
            client = kernel.connect()
            stack.callback(kernel.disconnect, client)
            return client

        yield connect


@pytest.fixture
def client(connect: Callable[[], Client]) -> Client:
    """A client of the module's kernel."""
    return connect()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A jupyter_server with the kernelspecs `ipymini`, which comes with us, and `in-place`."""
    from .server import Server

    prefix = tmp_path_factory.mktemp("prefix")
    command = ["ipymini-supervisor", "install", "--prefix", str(prefix), "--name", "in-place", "--in-place-restart"]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(prefix / "share" / "jupyter"))
        server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture
def spec() -> str:
    """The kernelspec of the server's kernels."""
    return "ipymini"


@pytest.fixture
def served(server: Server, spec: str) -> Iterator[str]:
    """The id of a kernel of the server."""
    kernel = str(server.rest("POST", "kernels", {"name": spec})["id"])
    yield kernel
    server.rest("DELETE", f"kernels/{kernel}")


@pytest.fixture
def tab(server: Server, served: str) -> Iterator[Tab]:
    """A browser's tab with that kernel."""
    from .server import Tab

    tab = Tab(server, served)
    yield tab
    tab.close()
