"""What clients and libraries expect of a kernel and no other file here has looked at."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path

import pytest

from .client import Client
from .conftest import StartKernel
from .kernels import Kernel

MODULE = "def square(x):\n    print('child', x, flush=True)\n    return x * x\n"


# -- output


@pytest.mark.row("Output", "`faulthandler` writes to `sys.stdout` and `sys.stderr`")
def test_faulthandler(client: Client) -> None:
    run = client.execute("import faulthandler, sys\ndef here(): faulthandler.dump_traceback(file=sys.stdout)\nhere()")
    assert "in here" in run.text()
    assert "in here" in client.execute("def here(): faulthandler.dump_traceback()\nhere()").text("stderr")


@pytest.mark.row("Output", "`multiprocessing` with fork and spawn, and pools")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(client: Client, method: str) -> None:
    client.execute(
        f"import sys; sys.path.insert(0, ''); open('work.py', 'w').write({MODULE!r})\nimport multiprocessing, work"
    )
    client.execute(f"context = multiprocessing.get_context({method!r})")
    run = client.execute("p = context.Process(target=work.square, args=(3,)); p.start(); p.join(); p.exitcode")
    assert (run.result, run.text()) == ("0", "child 3\n")
    run = client.execute("with context.Pool(2) as pool: print(pool.map(work.square, [1, 2]))")
    assert run.status == "ok"
    assert "[1, 4]" in run.text()
    assert run.text().count("child") == 2


@pytest.mark.row("Output", "`concurrent.futures`")
def test_executors(client: Client) -> None:
    client.execute("from concurrent.futures import *\nimport multiprocessing\ndef square(x): return x * x")
    run = client.execute(
        "with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context('fork')) as pool: print(list(pool.map(square, [3, 4])))"
    )
    assert run.text() == "[9, 16]\n"
    assert (
        client.execute("with ThreadPoolExecutor() as pool: print(list(pool.map(square, [3, 4])))").text() == "[9, 16]\n"
    )


@pytest.mark.row("Output", "children of `fork` print, and duplicate nothing")
@pytest.mark.row("Seen to break", "a child of `fork` that prints does not close or duplicate the parent's output")
def test_a_fork_that_prints(client: Client) -> None:
    run = client.execute(
        "import os, sys\nprint('before', end=' ')\npid = os.fork()\nif pid == 0:\n"
        "    print('child'); sys.stdout.flush(); sys.stdout.close(); os._exit(0)\nos.waitpid(pid, 0); print('parent')"
    )
    assert run.text().count("before") == run.text().count("child") == run.text().count("parent") == 1
    assert client.execute("print('next')").text() == "next\n"


@pytest.mark.row("Output", "numpy scalars and arrays in metadata")
def test_numpy_in_metadata(client: Client) -> None:
    run = client.execute(
        "import numpy as np\nfrom IPython.display import display\n"
        "display({'text/plain': 'x'}, metadata={'a': np.float64('nan'), 'b': np.int64(3), 'c': np.arange(3)}, raw=True)"
    )
    assert run.contents("display_data")[0]["metadata"] == {"a": "nan", "b": 3, "c": [0, 1, 2]}


# -- protocol


@pytest.mark.row("Protocol", "MIME bundles pass untouched")
def test_mime_bundles(client: Client) -> None:
    bundle = {
        "text/plain": "x",
        "application/vnd.jupyter.widget-view+json": {"model_id": "m", "version_major": 2},
        "application/vnd.plotly.v1+json": {"data": [{"y": [1, 2.5, None]}]},
        "application/vnd.bokehjs_exec.v0+json": "",
        "application/vnd.dataresource+json": {"schema": {"fields": []}, "data": []},
    }
    metadata = {"image/png": {"width": 10, "height": 20}, "application/vnd.bokehjs_exec.v0+json": {"id": "p1"}}
    run = client.execute(f"from IPython.display import display\ndisplay({bundle!r}, metadata={metadata!r}, raw=True)")
    (content,) = run.contents("display_data")
    assert (content["data"], content["metadata"]) == (bundle, metadata)


@pytest.mark.row("Protocol", "`usage_request` on control, also while busy")
def test_usage(client: Client) -> None:
    cell = client.start("import time; print('begun'); time.sleep(1000)")
    client.wait_text(cell, "begun")
    usage = client.ask("usage_request", channel="control").reply
    assert {"hostname", "pid", "kernel_cpu", "kernel_memory", "cpu_count", "host_cpu_percent"} <= set(usage)
    assert "host_virtual_memory" in usage
    client.interrupt()
    client.finish(cell)


@pytest.mark.row("Protocol", "every iopub message has a parent with a `msg_id`")
def test_parents(start_kernel: StartKernel) -> None:
    """Those of the start, of idle threads, and those that follow a death."""
    client = start_kernel().connect()
    client.execute("import threading; threading.Timer(0.01, print, ('late',)).start()")
    client.wait(lambda channel, m: m["msg_type"] == "stream")
    client.execute("import os; os._exit(1)")
    client.execute("1")
    for channel, message in client.messages:
        assert channel != "iopub" or message["parent_header"]["msg_id"], message


@pytest.mark.row("Protocol", "Delete works while a cell holds the GIL")
def test_shutdown_while_the_gil_is_held(start_kernel: StartKernel) -> None:
    kernel = start_kernel()
    client = kernel.connect()
    cell = client.start("print('begun', flush=True)\nimport re; re.match(r'(a+)+$', 'a' * 60 + 'b')")
    client.wait_text(cell, "begun")
    client.send("shutdown_request", {"restart": False}, channel="control")
    assert kernel.wait() == 0


# -- start


@pytest.mark.row("Start", "SIGINT handling is installed where it was inherited as ignored")
def test_sigint_inherited_as_ignored(start_kernel: StartKernel) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        client = start_kernel().connect()
    finally:
        signal.signal(signal.SIGINT, before)
    assert (
        client.execute("import signal; signal.getsignal(signal.SIGINT) is signal.default_int_handler").result == "True"
    )
    cell = client.start("print('begun')\nwhile True: pass")
    client.wait_text(cell, "begun")
    client.interrupt()
    assert client.finish(cell).error == "KeyboardInterrupt"


@pytest.mark.row("Start", "an unwritable IPYTHONDIR or home costs a warning")
@pytest.mark.parametrize("name", ["IPYTHONDIR", "HOME"])
def test_unwritable_folders(start_kernel: StartKernel, tmp_path: Path, name: str) -> None:
    """A path below a file cannot be made by anybody, not even by root."""
    (tmp_path / "file").write_text("")
    env = {name: str(tmp_path / "file" / "below")}
    if name == "HOME":
        env["IPYTHONDIR"] = env["HOME"] + "/.ipython"
    assert start_kernel(env=env).connect().execute("1").result == "1"


@pytest.mark.row("Start", "the current folder is on `sys.path` of cells")
def test_the_path_of_cells(client: Client) -> None:
    assert client.execute("import os, sys; '' in sys.path or os.getcwd() in sys.path").result == "True"


@pytest.mark.row("Seen to break", "`--profile-dir DIR` is honoured")
def test_profile_dir(start_kernel: StartKernel, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "ipython_config.py").write_text("c.InteractiveShellApp.exec_lines = ['which = 5']")
    assert start_kernel("--profile-dir", str(tmp_path / "mine")).connect().evaluate("which") == "5"


# -- seen to break


@pytest.mark.row("Seen to break", "a SIGTERM that a cell sends to itself ends the worker as Python does")
def test_sigterm_to_itself(start_kernel: StartKernel) -> None:
    client = start_kernel().connect()
    run = client.execute("import os, signal; os.kill(os.getpid(), signal.SIGTERM)\nimport time; time.sleep(10)")
    assert run.error == "WorkerDied"
    assert "SIGTERM" in run.reply["evalue"]
    run = client.execute(
        "import signal; signal.signal(signal.SIGTERM, lambda *a: print('handled')); signal.raise_signal(15)"
    )
    assert run.text() == "handled\n"


@pytest.mark.row("Seen to break", "widgets that the frontend creates")
def test_a_widget_that_the_frontend_creates(client: Client) -> None:
    client.execute("import ipywidgets")
    comm_id = uuid.uuid4().hex
    state = {
        "_model_module": "@jupyter-widgets/controls", "_model_name": "IntSliderModel", "_model_module_version": "2.0.0",
        "_view_module": "@jupyter-widgets/controls", "_view_name": "IntSliderView", "_view_module_version": "2.0.0", "value": 4,
    }  # fmt: skip
    content = {"comm_id": comm_id, "target_name": "jupyter.widget", "data": {"state": state, "buffer_paths": []}}
    run = client.ask("comm_open", content, metadata={"version": "2.1.0"})
    assert run.text("stderr") == ""
    find = f"getattr(ipywidgets.widgets.widget, '_instances', ipywidgets.Widget.widgets if hasattr(ipywidgets.Widget, 'widgets') else {{}})[{comm_id!r}]"
    assert client.evaluate(f"{find}.value") == "4"


@pytest.mark.row("Seen to break", "children of the worker do not hold the kernel's descriptors")
def test_descriptors_are_not_inherited(client: Client, kernel: Kernel) -> None:
    run = client.execute(
        "import subprocess; print(subprocess.run(['ls', '/proc/self/fd'], capture_output=True, text=True).stdout)"
    )
    if os.path.isdir("/proc/self/fd"):
        assert {int(fd) for fd in run.text().split()} <= {0, 1, 2, 3}
