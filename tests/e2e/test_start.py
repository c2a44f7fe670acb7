"""What a start leaves out for the sake of the first cell is there when somebody needs it, as if it had been."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .client import Client
from .conftest import StartKernel

#: What libraries import that we need, or that we need ourselves later on.
NEEDLESS = (
    *("subprocess", "tempfile", "shutil", "random", "socket", "selectors", "uuid", "platform", "pickle", "getpass"),
    *("logging.config", "sqlite3", "locale", "asyncio", "jedi", "stack_data", "pdb"),
)


def test_what_the_first_cell_does_not_need_is_not_loaded(start_kernel: StartKernel, tmp_path: Path) -> None:
    environment = {"IPYMINI_WARM": "0", "IPYTHONDIR": str(tmp_path / "ipython")}
    start_kernel(env=environment).connect().execute("")  # which makes a profile, and needs more
    client = start_kernel(env=environment).connect()
    cell = f"import sys; print([name for name in {NEEDLESS} if name in sys.modules])"
    # What is kept in the history is written to it at the same time, by SQLite.
    assert client.execute(cell, store_history=False).text() == "[]\n"


@pytest.mark.parametrize(
    "name",
    [
        *("concurrent.futures", "email.utils", "html.entities", "http.client", "importlib.metadata", "logging.config"),
        *("logging.handlers", "xml.parsers", "xmlrpc.client", "urllib.parse"),
    ],
)
def test_modules_that_other_kernels_have_loaded_need_no_import(client: Client, name: str) -> None:
    package = name.partition(".")[0]
    assert client.execute(f"import {package}; {name}.__name__").result == repr(name)
    wrong = client.execute(f"{package}.nothing")
    assert wrong.error == "AttributeError"
    assert wrong.reply["evalue"] == f"module {package!r} has no attribute 'nothing'"


LOG = """
from traitlets.config import Application
class Other(Application): pass
ours, other = get_ipython().parent, Other()
assert type(ours).__name__ == 'IPKernelApp'
"""


def test_application_logs_as_traitlets_has_it(start_kernel: StartKernel) -> None:
    client = start_kernel().connect()
    assert client.execute(LOG).status == "ok"
    said = [
        client.execute(f"{app}.log.warning('so %s', 'it is'); {app}.log.info('not this')").text("stderr")
        for app in ("ours", "other")
    ]
    assert said[0] == said[1].replace("Other", "IPKernelApp")
    assert "so it is" in said[0]
    assert "not this" not in said[0]
    change = "ours.log_level = other.log_level = 'DEBUG'; {}.log.debug('and this')"
    assert client.execute(change.format("ours")).text("stderr").count("and this") == 1
    assert client.evaluate("ours.log.propagate, len(ours.log.handlers)") == "(False, 1)"


def test_log_level_of_the_command_line_counts(start_kernel: StartKernel) -> None:
    client = start_kernel("--log-level=INFO").connect()
    assert "said" in client.execute("get_ipython().parent.log.info('said')").text("stderr")


@pytest.mark.parametrize("there", [True, False])
def test_cells_are_in_the_folder_that_python_has_for_temporary_files(
    start_kernel: StartKernel, tmp_path: Path, there: bool
) -> None:
    folder = tmp_path / "temporary"
    if there:
        folder.mkdir()
    client = start_kernel(env={"TMPDIR": str(folder)}).connect()
    client.execute("import os, tempfile\nhere = (lambda: 0).__code__.co_filename")
    assert client.evaluate("os.path.dirname(os.path.dirname(here)) == tempfile.gettempdir()") == "True"
    assert client.evaluate(f"tempfile.gettempdir() == {str(folder)!r}") == str(there)


def test_comms_have_ids_of_their_own(start_kernel: StartKernel) -> None:
    client = start_kernel().connect()
    client.execute("import comm\nids = {comm.create_comm(target_name='t').comm_id for _ in range(3)}")
    assert client.evaluate("len(ids), {len(i) for i in ids}") == "(3, {32})"
    assert client.evaluate("__import__('uuid').uuid4().version") == "4"
    made = "get_ipython().kernel.session.msg_header('x')['msg_id']"
    assert client.evaluate(f"__import__('uuid').UUID({made}).version, len({made})") == "(4, 32)"


@pytest.mark.skipif(sys.platform != "linux", reason="snapshots are Linux's")
def test_a_resumed_session_can_use_what_was_put_off(start_kernel: StartKernel) -> None:
    client = start_kernel(env={"IPYMINI_SNAPSHOTS": "on"}).connect()
    client.execute("import comm\nx = 1")
    client.execute("import os; os._exit(1)")
    assert client.evaluate("x, len(comm.create_comm(target_name='t').comm_id)") == "(1, 32)"
    assert client.execute("!echo so").text().strip() == "so"


def test_the_supervisor_catches_up_after_the_start(start_kernel: StartKernel) -> None:
    kernel = start_kernel(env={"PYTHONPROFILEIMPORTTIME": "1"})
    client = kernel.connect()

    def loaded() -> set[str]:
        return {line.rpartition("|")[2].strip() for line in kernel.log.splitlines() if line.startswith("import time:")}

    for _ in range(200):
        if {"json", "traceback"} <= loaded():
            break
        client.execute("import time; time.sleep(0.1)")  # nobody tells when it has happened
    assert {"json", "traceback"} <= loaded()
    assert {"_hashlib", "hmac", "random"} & loaded() == set()
