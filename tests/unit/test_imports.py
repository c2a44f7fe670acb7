"""What each room of the house may import, tried in fresh interpreters."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

FORBIDDEN_IN_SUPERVISOR = {"IPython", "traitlets", "tornado", "asyncio", "jupyter_client", "jupyter_core"}
#: What libraries would import, or what is imported when it is needed: it would cost
#: a fifth of the start.
NEEDLESS_IN_SUPERVISOR = {
    *("typing_extensions", "dataclasses", "pickle", "random", "platform"),
    *("psutil", "tempfile", "shutil", "subprocess", "argparse"),
    *("_hashlib", "hmac", "socket", "selectors", "json", "pathlib", "traceback", "textwrap"),
}
FORBIDDEN_IN_WORKER = {"zmq", "ipymini_supervisor", "msgspec", "psutil", "jupyter_client", "jupyter_core", "tornado"}
#: Modules that take events and return actions.
PURE = (
    *("ipymini_supervisor.router", "ipymini_supervisor.lanes", "ipymini_supervisor.statuses"),
    *("ipymini_supervisor.lifecycle", "ipymini_supervisor.outbox", "ipymini_supervisor.timers"),
    *(
        "ipymini_supervisor.obituary",
        "ipymini_supervisor.refusals",
        "ipymini_supervisor.debugging",
        "ipymini_supervisor.memory",
        "ipymini_worker.wire",
    ),
)
IMPURE = {
    "socket",
    "_socket",
    "select",
    "time",
    "threading",
    "subprocess",
    "multiprocessing",
    "os",
    "zmq",
    "asyncio",
    "fcntl",
}


def package(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def loaded(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after running `code`."""
    script = f"{code}\nimport sys\nprint(*{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.splitlines()[-1].split())


def imported(file: Path) -> set[str]:
    """The modules that a file imports at its top level, outside of functions."""
    names: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            names.add(node.module or "")
    return names


def files(name: str) -> list[Path]:
    return sorted(package(name).rglob("*.py"))


@pytest.mark.parametrize("name", ["ipymini_supervisor", "ipymini_worker"])
def test_packages_import_nothing_by_themselves(name: str) -> None:
    assert imported(package(name) / "__init__.py") == set()


def test_path_to_a_running_supervisor_loads_no_ipython_and_no_client() -> None:
    load = "import ipymini_supervisor.__main__\nfrom ipymini_supervisor import launch\nlaunch.load()"
    modules = loaded(f"{load}\nimport ipymini_supervisor.supervisor")
    assert modules & FORBIDDEN_IN_SUPERVISOR == set()
    assert modules & NEEDLESS_IN_SUPERVISOR - loaded("pass") == set()
    assert {"zmq", "msgspec", "ipymini_supervisor"} <= modules


def test_supervisor_imports_next_to_nothing_before_it_spawns_the_worker() -> None:
    modules = loaded("import ipymini_supervisor.__main__, ipymini_supervisor.launch") - loaded("pass")
    ours = {"ipymini_supervisor"}
    assert modules - ours <= {"__future__", "types", "gc", "_socket", "_signal", "fcntl"}


def test_worker_loads_no_zmq_and_nothing_of_the_supervisor() -> None:
    modules = loaded(
        "import ipymini_worker.main, ipymini_worker.app, ipymini_worker.requests, ipymini_worker.identity.assembly"
    )
    assert modules & FORBIDDEN_IN_WORKER == set()


def test_supervisor_takes_only_the_wire_from_the_worker() -> None:
    for file in files("ipymini_supervisor"):
        taken = {name for name in imported(file) if name.partition(".")[0] == "ipymini_worker"}
        assert taken <= {"ipymini_worker.wire"}, file


def test_only_sockets_and_the_commands_that_ask_kernels_import_zmq() -> None:
    assert {file.name for file in files("ipymini_supervisor") if "zmq" in imported(file)} == {"sockets.py", "asking.py"}


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_know_no_outer_world(name: str) -> None:
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    assert imported(Path(spec.origin)) & IMPURE == set()
