"""What libraries look at to find out what kernel they are in, with the real ipykernel installed and without it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ipymini_worker.identity.cells import murmur2

from .client import Client
from .conftest import StartKernel
from .kernels import Kernel

ENVIRONMENT = {"JPY_SESSION_NAME": "/somewhere/notebook.ipynb"}


@pytest.fixture(scope="module")
def kernel(either: Kernel) -> Kernel:
    """Beside the real ipykernel, and without it."""
    return either


@pytest.fixture
def fresh(start_kernel: StartKernel, worker_options: tuple[str, ...]) -> Client:
    """A client of a kernel in which no test has imported anything."""
    return start_kernel(*worker_options, env=ENVIRONMENT).connect()


def run(client: Client, code: str) -> str:
    """The result of a cell that has to succeed and to be silent."""
    done = client.execute(code)
    assert done.status == "ok", done.traceback
    assert done.text("stderr") == ""
    return done.result


@pytest.mark.row("Identity", "class name of get_ipython() is ZMQInteractiveShell, in its MRO, and zmq in its text")
@pytest.mark.row("Identity", "its __module__ starts with ipykernel.")
def test_the_shell(client: Client) -> None:
    assert client.evaluate("type(get_ipython()).__name__") == "'ZMQInteractiveShell'"
    assert client.evaluate("get_ipython().__class__.__name__") == "'ZMQInteractiveShell'"
    assert client.evaluate("type(get_ipython()).__module__") == "'ipykernel.zmqshell'"
    assert client.evaluate("'zmq' in str(type(get_ipython())).lower()") == "True"
    assert client.evaluate("[c.__name__ for c in type(get_ipython()).__mro__].count('ZMQInteractiveShell')") == "1"


@pytest.mark.row("Identity", "isinstance(get_ipython(), ipykernel.zmqshell.ZMQInteractiveShell)")
def test_the_shell_is_an_instance_of_its_namesake(client: Client) -> None:
    code = "from ipykernel.zmqshell import ZMQInteractiveShell as Z\n"
    assert run(client, code + "isinstance(get_ipython(), Z), Z.instance() is get_ipython(), Z.initialized()") == (
        "(True, True, True)"
    )
    assert run(client, "from IPython.core.interactiveshell import InteractiveShell as I\nisinstance(get_ipython(), I)")
    assert "ZMQInteractiveShell" in client.execute("%config").text()
    assert client.execute("%config ZMQInteractiveShell").text()


@pytest.mark.row("Identity", "'ipykernel.zmqshell' in sys.modules")
@pytest.mark.row("Identity", "'ipykernel' in sys.modules")
def test_modules_that_libraries_look_for(client: Client) -> None:
    client.execute("import sys")
    assert client.evaluate("'ipykernel' in sys.modules, 'ipykernel.zmqshell' in sys.modules") == "(True, True)"


def test_modules_that_are_there_from_the_start(fresh: Client) -> None:
    """And whoever looks at all modules does not load them: neither what modules have, nor what they may have."""
    run(fresh, "import sys; before = set(sys.modules); 0")
    assert fresh.evaluate("'ipykernel' in sys.modules, 'ipykernel.zmqshell' in sys.modules") == "(True, True)"
    fresh.execute(  # some modules of Python's own warn of their end when they are looked at
        "import inspect, warnings\n"
        "for module in list(sys.modules.values()):\n"
        "    for name in ('__file__', '__warningregistry__', '__path__', '__spec__', '__wrapped__', '__doc__'):\n"
        "        getattr(module, name, None), hasattr(module, name)\n"
        "inspect.getmodule(type(get_ipython())), inspect.getmodule(lambda: 0)\n"
        "with warnings.catch_warnings(record=True):\n"
        "    warnings.warn('seen')\n"
    )
    fresh.execute("%load_ext autoreload\n%autoreload 2")
    fresh.execute("1")
    assert "'ipykernel" not in fresh.evaluate("{m for m in set(sys.modules) - before if 'ipykernel' in m} or 'none'")
    assert fresh.evaluate("'zmq' in sys.modules, 'traitlets' in sys.modules") == "(False, True)"
    assert fresh.evaluate("sys.modules['ipykernel'].__name__, sys.modules['ipykernel.zmqshell'].__package__") == (
        "('ipykernel', 'ipykernel')"
    )


MODULES = (
    *("comm", "comm.comm", "comm.manager", "connect", "iostream", "kernelapp", "kernelbase", "ipkernel", "kernelspec"),
    *("zmqshell", "inprocess.ipkernel", "embed", "jsonutil", "displayhook", "compiler", "_version"),
)


@pytest.mark.row("Start", "stand-ins of ipykernel are packages: import ipykernel.kernelapp and the like")
def test_every_module_can_be_imported_first(fresh: Client) -> None:
    """As in a program of its own: nothing of ipykernel has been imported before."""
    forget = "import sys\nfor m in [m for m in sys.modules if m.startswith('ipykernel.')]: del sys.modules[m]\n"
    for name in MODULES:
        assert run(fresh, f"{forget}import ipykernel.{name}\nipykernel.{name}.__name__") == f"'ipykernel.{name}'"
        assert run(fresh, f"from ipykernel import {name.partition('.')[0]} as m\nm.__package__.partition('.')[0]") == (
            "'ipykernel'"
        )


@pytest.mark.row("Start", "ipykernel.__version__ and version_info are those of ipykernel 7 or later")
def test_versions(fresh: Client) -> None:
    assert run(fresh, "from ipykernel import *\nget_connection_file.__module__") == "'ipykernel.connect'"
    assert run(fresh, "import ipykernel; ipykernel.version_info >= (7, 4), ipykernel.__version__ >= '7.4'") == (
        "(True, True)"
    )
    assert run(fresh, "import importlib; importlib.reload(ipykernel) is ipykernel") == "True"
    assert run(fresh, "'connect' in dir(ipykernel), ipykernel.kernel_protocol_version[0]") == "(True, '5')"
    assert fresh.execute("ipykernel.no_such_thing").error == "AttributeError"
    assert fresh.execute("import ipykernel.no_such_thing").error == "ModuleNotFoundError"


@pytest.mark.row("Identity", "IPKernelApp in get_ipython().config, with connection_file in it")
def test_the_configuration(client: Client, kernel: Kernel) -> None:
    assert client.evaluate("'IPKernelApp' in get_ipython().config") == "True"
    assert client.evaluate("get_ipython().config['IPKernelApp']['connection_file']") == repr(kernel.file)
    assert f"'{kernel.file}'" in client.execute("%config IPKernelApp").text()
    assert client.execute("%config IPKernelApp.connection_file").result == repr(kernel.file)


@pytest.mark.row("Identity", "ipykernel.get_connection_file(), ipykernel.connect.*")
@pytest.mark.row("Identity", "IPKernelApp.initialized() and .instance().connection_file")
def test_the_connection_file(client: Client, kernel: Kernel) -> None:
    file = repr(kernel.file)
    assert run(client, "import ipykernel; ipykernel.get_connection_file()") == file
    assert run(client, "from ipykernel.connect import get_connection_file; get_connection_file()") == file
    assert run(client, "import ipykernel.connect as c; c.get_connection_info(unpack=True)['transport']") == "'tcp'"
    info = run(client, "import json; json.loads(c.get_connection_info())['shell_port']")
    assert int(info) == kernel.connection["shell_port"]
    assert run(client, "from ipykernel.kernelapp import IPKernelApp as A\nA.initialized()") == "True"
    assert run(client, "A.instance().connection_file") == file
    assert client.execute("%config IPKernelApp").status == "ok"


@pytest.mark.row("Identity", "class of sys.stdout lives in a module ipykernel.*")
@pytest.mark.row("Identity", "isinstance(sys.stdout, ipykernel.iostream.OutStream)")
def test_streams(client: Client) -> None:
    run(client, "import sys; 0")
    for name in ("stdout", "stderr"):
        assert client.evaluate(f"sys.{name}.__class__.__module__.startswith('ipykernel.')") == "True"
        assert run(client, f"import ipykernel.iostream as i; isinstance(sys.{name}, i.OutStream)") == "True"
    assert run(client, "import io; isinstance(io.StringIO(), i.OutStream)") == "False"


def test_modules_are_attributes_of_the_package(client: Client) -> None:
    """As where ipykernel runs, and has imported them: nobody imports `ipykernel.iostream` before it is asked for."""
    assert run(client, "import ipykernel; ipykernel.iostream.OutStream.__name__") == "'OutStream'"
    assert run(client, "ipykernel.kernelapp.IPKernelApp.initialized()") == "True"
    assert client.execute("ipykernel.no_such_module").error == "AttributeError"
    assert client.execute("from ipykernel import no_such_module").error == "ImportError"


@pytest.mark.row(
    "Identity", "ipykernel.kernelbase.Kernel and ipykernel.ipkernel.IPythonKernel have our kernel for instance"
)
def test_the_kernel_is_the_instance(client: Client) -> None:
    code = "from ipykernel.ipkernel import IPythonKernel as I\nfrom ipykernel.kernelbase import Kernel as K\n"
    assert run(client, code + "k = get_ipython().kernel\n[c.instance() is k for c in (I, K)]") == "[True, True]"
    assert run(client, "isinstance(k, I), isinstance(k, K), K._instance is k, K.initialized()") == (
        "(True, True, True, True)"
    )
    # What panel does with it, before it makes one of its own.
    run(client, "kept = K._instance; K._instance = ''; K._instance = kept; 0")
    code = "class Own(K):\n    implementation = 'own'\nown = Own(); own.shell_handlers['comm_msg'] = None; own.implementation"
    assert run(client, code) == "'own'"
    assert run(
        client, "from ipykernel.comm import CommManager\nm = CommManager(kernel=own, parent=own); m.kernel is own"
    )


@pytest.mark.row("Identity", "from ipykernel.comm import Comm")
def test_comms_by_their_old_name(client: Client) -> None:
    code = "import warnings; warnings.simplefilter('ignore', DeprecationWarning)\nfrom ipykernel.comm import Comm\n"
    done = client.execute(code + "heard = []\nc = Comm(target_name='t', data={'a': 1}, metadata={'m': 2})\nc.comm_id")
    assert done.status == "ok", done.traceback
    comm_id = done.result.strip("'")
    (opened,) = done.contents("comm_open")
    assert (opened["comm_id"], opened["target_name"], opened["data"]) == (comm_id, "t", {"a": 1})
    client.execute("c.on_msg(lambda m: (heard.append(m['content']['data']), c.send({'back': 1}, buffers=[b'b'])))")
    echo = client.ask("comm_msg", {"comm_id": comm_id, "data": {"b": 3}})
    assert [m["content"]["data"] for m in echo.published if m["msg_type"] == "comm_msg"] == [{"back": 1}]
    assert [bytes(b) for m in echo.published if m["msg_type"] == "comm_msg" for b in m["buffers"]] == [b"b"]
    assert client.evaluate("heard") == "[{'b': 3}]"
    assert client.execute("c.close()").contents("comm_close")


@pytest.mark.row(
    "Start", "the real ipykernel, imported by a cell, steals neither comm.create_comm nor get_comm_manager"
)
def test_the_import_of_ipykernel_steals_no_comms(fresh: Client) -> None:
    run(fresh, "import comm; before = comm.create_comm, comm.get_comm_manager, comm.get_comm_manager(); 0")
    run(fresh, "import ipykernel, ipykernel.ipkernel, ipykernel.kernelapp, ipykernel.zmqshell, ipykernel.comm; 0")
    assert fresh.evaluate("(comm.create_comm, comm.get_comm_manager, comm.get_comm_manager()) == before") == "True"
    done = fresh.execute("comm.create_comm(target_name='t', data={'x': 1}).comm_id")
    assert done.contents("comm_open")[0]["comm_id"] == done.result.strip("'")
    # What user code has put in the place of ours stays, too.
    run(fresh, "import importlib; comm.create_comm = mine = lambda **k: 7\nimportlib.reload(ipykernel.ipkernel); 0")
    assert fresh.evaluate("comm.create_comm is mine") == "True"


@pytest.mark.row("Identity", "cell file name <tmp>/ipykernel_<pid>/<hash>.py")
def test_file_names_of_cells(client: Client) -> None:
    code = "import os, sys, tempfile\nhere = sys._getframe().f_code.co_filename; here"
    name = run(client, code).strip("'")
    assert name == f"{client.evaluate('tempfile.gettempdir()').strip(chr(39))}/" + "/".join(Path(name).parts[-2:])
    assert Path(name).parent.name == f"ipykernel_{client.evaluate('os.getpid()')}"
    assert Path(name).name == f"{murmur2(code.encode())}.py"
    assert run(client, "def f():\n    return 'é€'\nimport inspect; inspect.getsource(f)") == repr(
        "def f():\n    return 'é€'\n"
    )
    failed = client.execute("def g():\n    1 / 0\ng()")
    count = failed.reply["execution_count"]
    assert f"Cell In[{count}], line 3" in failed.traceback
    assert f"Cell In[{count}], line 2, in g()" in failed.traceback
    assert "ipykernel_" not in failed.traceback
    assert run(client, "from ipykernel.compiler import get_file_name; get_file_name('1 + 1')") == repr(
        f"{Path(name).parent}/{murmur2(b'1 + 1')}.py"
    )


@pytest.mark.row(
    "Identity", "environment: JPY_SESSION_NAME, JPY_PARENT_PID, TERM, CLICOLOR, PAGER, GIT_PAGER, MPLBACKEND"
)
def test_the_environment(client: Client) -> None:
    wanted = {
        "JPY_SESSION_NAME": "/somewhere/notebook.ipynb",
        "JPY_PARENT_PID": str(os.getpid()),
        "TERM": "xterm-color",
        "CLICOLOR": "1",
        "PAGER": "cat",
        "GIT_PAGER": "cat",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    found = run(client, f"import os, json; json.dumps({{k: os.environ.get(k) for k in {list(wanted)!r}}})")
    assert json.loads(found.strip("'")) == wanted
    assert client.evaluate("__session__") == "'/somewhere/notebook.ipynb'"
    assert "__session__" not in client.execute("%who").text()


def test_plain(start_kernel: StartKernel, worker_options: tuple[str, ...]) -> None:
    """`IPYMINI_IDENTITY=plain`: our own names, and no stand-ins."""
    client = start_kernel(*worker_options, env={"IPYMINI_IDENTITY": "Plain"}).connect()
    assert client.execute("import sys; type(get_ipython())").result == "ipymini_worker.shell.WorkerShell"
    assert client.evaluate("type(sys.stdout).__module__, type(get_ipython().kernel).__module__") == (
        "('ipymini_worker.streams', 'ipymini_worker.identity.kernel')"
    )
    assert client.evaluate("[m for m in sys.modules if m.startswith('ipykernel')]") == "[]"
    assert client.execute("sys._getframe().f_code.co_filename").result.startswith("'<ipython-input-2-")
    if worker_options:
        assert client.execute("import ipykernel").error == "ModuleNotFoundError"
    assert client.evaluate("get_ipython().kernel.session.key, get_ipython().kernel.parent.connection_file[:1]") == (
        "(b'', '/')"
    )


def test_nonsense_for_an_identity_is_the_default(start_kernel: StartKernel) -> None:
    client = start_kernel(env={"IPYMINI_IDENTITY": "zebra"}).connect()
    assert client.execute("type(get_ipython())").result == "ipykernel.zmqshell.ZMQInteractiveShell"
