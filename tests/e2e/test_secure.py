"""Who may talk to a kernel, what may be read of it, and what its files are like."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.connect import write_connection_file
from jupyter_client.manager import KernelManager

from .client import TIMEOUT, Client
from .conftest import StartKernel
from .kernels import Kernel, assert_gone

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them")


@pytest.fixture(params=["tcp", "ipc"])
def managed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KernelManager]:
    """A kernel that the installed jupyter_client has started, with encryption required."""
    short = f"/tmp/e2e-{os.urandom(4).hex()}" if request.param == "ipc" else ""  # a socket's path has little room
    manager = KernelManager(
        kernel_name="ipymini",
        transport=request.param,
        connection_file=str(tmp_path / "kernel.json"),
        transport_encryption="required",
        **({"ip": f"{short}/k"} if short else {}),
    )
    if short:
        os.mkdir(short, 0o700)
    manager.start_kernel(cwd=str(tmp_path))
    try:
        yield manager
    finally:
        manager.shutdown_kernel(now=False)
        if short:
            left = os.listdir(short)
            os.rmdir(short)
            assert left == []


def client_of(manager: KernelManager, **changes: Any) -> BlockingKernelClient:
    """A client with other keys than the manager's, if `changes` say so."""
    client = manager.client(**changes)
    client.start_channels()
    return client


def executes(client: BlockingKernelClient) -> bool:
    """Whether a cell can be run."""
    try:
        client.wait_for_ready(timeout=TIMEOUT)
    except RuntimeError:
        return False
    return bool(client.execute_interactive("1 + 1", timeout=TIMEOUT)["content"]["status"] == "ok")


def hears_anything(client: BlockingKernelClient) -> bool:
    """Whether any channel has brought anything, a good while after a request."""
    channels = [getattr(client, f"{name}_channel") for name in ("shell", "control", "stdin", "iopub")]
    for channel in channels[:3]:
        message = client.session.serialize(client.session.msg("kernel_info_request"))
        with contextlib.suppress(zmq.Again):  # where the connection was refused there is nobody to send to
            channel.socket.send_multipart(message, zmq.NOBLOCK)
    return any(channel.socket.poll(500) for channel in channels)


@pytest.mark.row("Start", "CURVE keys in the connection file encrypt all channels")
def test_client_with_the_keys_works_and_others_hear_nothing(managed: KernelManager) -> None:
    info = managed.get_connection_info()
    assert info["curve_publickey"]
    assert info["curve_secretkey"]
    good = client_of(managed)
    _, other = zmq.curve_keypair()
    strangers = {
        "no keys": client_of(managed, curve_publickey=None, curve_secretkey=None),
        "the wrong server key": client_of(managed, curve_publickey=zmq.curve_public(other), curve_secretkey=other),
    }
    try:
        assert executes(good)
        assert good.hb_channel.is_alive()
        for name, stranger in strangers.items():
            assert not hears_anything(stranger), name
            assert not stranger.is_alive() or not stranger.hb_channel.is_beating(), name
        assert executes(good)
    finally:
        for client in (good, *strangers.values()):
            client.stop_channels()


def test_keys_for_encryption_are_kept_over_a_restart(managed: KernelManager) -> None:
    before = managed.get_connection_info()["curve_secretkey"]
    managed.restart_kernel()
    client = client_of(managed)
    try:
        assert executes(client)
        assert managed.get_connection_info()["curve_secretkey"] == before
    finally:
        client.stop_channels()


def test_without_keys_in_the_file_nothing_is_encrypted(tmp_path: Path) -> None:
    """The policy of jupyter_client that most have: encryption is off, whatever the kernelspec says."""
    manager = KernelManager(kernel_name="ipymini", connection_file=str(tmp_path / "kernel.json"))
    manager.start_kernel(cwd=str(tmp_path))
    client = client_of(manager)
    try:
        assert executes(client)
        assert "curve_publickey" not in manager.get_connection_info()
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=False)


def memory_of(process: psutil.Process) -> Iterator[bytes]:
    """All that can be read in the memory of a process, piece by piece; nothing if it has ended, as snapshots do."""
    try:
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        memory = open(f"/proc/{process.pid}/mem", "rb", buffering=0)  # noqa: SIM115  # closed below
    except (FileNotFoundError, ProcessLookupError):
        return
    with memory:
        for line in maps.splitlines():
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if found and "[v" not in line:
                begin, end = (int(number, 16) for number in found.groups())
                try:
                    memory.seek(begin)
                    yield memory.read(end - begin)
                except (OSError, OverflowError, ValueError):  # a mapping that cannot be read, whatever its flags say
                    continue


@linux
def test_no_key_is_in_the_worker_the_log_an_argument_or_the_environment(tmp_path: Path) -> None:
    """Not even in the worker's memory."""
    manager = KernelManager(
        kernel_name="ipymini", connection_file=str(tmp_path / "kernel.json"), transport_encryption="required"
    )
    log = tmp_path / "log"
    with log.open("wb") as file:
        manager.start_kernel(
            cwd=str(tmp_path), env={**os.environ, "IPYMINI_LOG_LEVEL": "DEBUG"}, stdout=file, stderr=file
        )
    client = client_of(manager)
    try:
        assert executes(client)
        info = manager.get_connection_info()
        keys = [info["key"], *(str(info[f"curve_{kind}key"]).encode() for kind in ("secret", "public"))]
        assert all(len(key) > 30 for key in keys)
        supervisor = psutil.Process(manager.provisioner.pid)
        family = [supervisor, *supervisor.children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                told = "\0".join([*process.cmdline(), *(f"{k}={v}" for k, v in process.environ().items())]).encode()
                assert not any(key in told for key in keys), process
        assert any(keys[0] in piece for piece in memory_of(supervisor))  # so that we know how to look
        for process in family[1:]:
            assert not any(key in piece for piece in memory_of(process) for key in keys), process
        assert not any(key in log.read_bytes() for key in keys)
        assert not any(key.decode() in log.read_text() for key in keys)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=False)


@linux
def test_worker_has_no_descriptor_of_the_connection_file_or_of_a_socket_of_jupyter(
    kernel: Kernel, client: Client
) -> None:
    client.execute("1")
    worker = kernel.worker()
    assert [file.path for file in worker.open_files() if file.path == kernel.file] == []
    assert [c for c in worker.net_connections() if c.status == psutil.CONN_LISTEN] == []


@pytest.mark.row("Output", "%connect_info shows how to connect to whoever can read the file")
def test_connect_info_is_for_whoever_can_read_the_file(client: Client, kernel: Kernel) -> None:
    assert kernel.connection["key"] in client.execute("%connect_info").text()


@linux
def test_supervisor_leaves_no_core_dump_and_the_worker_may(start_kernel: StartKernel) -> None:
    """Its memory has the key in it; what a cell's crash leaves is the user's own business."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    wanted = min(1 << 20, hard) if hard >= 0 else 1 << 20
    resource.setrlimit(resource.RLIMIT_CORE, (wanted, hard))
    try:
        kernel = start_kernel(env={"IPYMINI_SNAPSHOTS": "off"})
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    client = kernel.connect()
    asked = "__import__('resource').getrlimit(__import__('resource').RLIMIT_CORE)[0]"
    assert client.evaluate(asked) == str(wanted)
    assert resource.prlimit(kernel.process.pid, resource.RLIMIT_CORE)[0] == 0
    for process in psutil.Process(kernel.process.pid).children():  # the snapshot, too, which would come back else
        if process.name() == "ipymini-snap":
            process.kill()
    assert client.execute("import os; os.kill(os.getpid(), 9)").error == "WorkerDied"
    assert client.evaluate(asked) == str(wanted)  # one that was started later


#: As another user than root, one process that may be traced and one that may not look different.
_AS_USER = """\
import __future__, collections.abc, contextlib, ctypes, os, resource, sys  # all before, because this Python may be in a folder of root's
os.setgroups([]); os.setgid(65534); os.setuid(65534)
def readable(pid):
    found = []
    for name in ("environ", "mem", "fd", "maps"):
        try:
            os.listdir(f"/proc/{pid}/fd") if name == "fd" else open(f"/proc/{pid}/{name}", "rb").close()
            found.append(name)
        except PermissionError:
            pass
    return found
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # changing the user has taken it away
    if sys.argv[1] == "secret":
        exec(compile(sys.argv[2], "limits", "exec"))
        Limits({}).change()
    os.write(write, b"x")
    os.read(os.pipe()[0], 1)
os.close(write)
os.read(read, 1)
print(readable(pid))
os.kill(pid, 9)
os.waitpid(pid, 0)
"""


@linux
@pytest.mark.skipif(os.geteuid() != 0 if sys.platform == "linux" else True, reason="only root can become another user")
@pytest.mark.parametrize(("how", "readable"), [("secret", []), ("open", ["environ", "mem", "fd", "maps"])])
def test_memory_of_the_supervisor_cannot_be_read_by_its_own_user(how: str, readable: list[str]) -> None:
    from ipymini_supervisor import limits

    source = Path(limits.__file__).read_text()
    done = subprocess.run(
        [sys.executable, "-c", _AS_USER, how, source], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.strip() == str(readable), done


def started(folder: Path, content: dict[str, Any] | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """What a kernel says that cannot start."""
    arguments = []
    if content is not None:
        path = folder / "connection.json"
        write_connection_file(str(path), ip="127.0.0.1", key=b"")
        path.write_text(json.dumps({**json.loads(path.read_text()), **content}))
        arguments = ["-f", str(path)]
    mark = os.urandom(8).hex()
    done = subprocess.run(
        [sys.executable, "-m", "ipymini_supervisor", *arguments],
        env={**os.environ, "E2E_TEST_MARK": mark, **env},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert_gone(mark)
    return done


@pytest.mark.parametrize("ip", ["0.0.0.0", "*"])
def test_without_a_key_only_this_machine_may_connect(tmp_path: Path, ip: str) -> None:
    done = started(tmp_path, {"ip": ip})
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "has no key" in done.stderr
    assert "IPYMINI_ALLOW_UNSIGNED=1" in done.stderr


def test_without_a_key_there_is_a_warning(start_kernel: StartKernel) -> None:
    kernel = start_kernel(key="")
    assert kernel.connect().execute("1").status == "ok"
    assert kernel.log.count("Messages are not signed") == 1


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"curve_publickey": "a" * 40}, "curve_secretkey is missing"),
        ({"curve_publickey": "a" * 40, "curve_secretkey": "b" * 40}, "do not belong together"),
        ({"curve_publickey": "ä", "curve_secretkey": "b" * 40}, "curve_publickey must be a CURVE key"),
    ],
)
def test_keys_that_make_no_sense_are_told_of_and_not_quoted(
    tmp_path: Path, keys: dict[str, str], sentence: str
) -> None:
    done = started(tmp_path, {**keys, "key": "k"})
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "bbb" not in done.stderr
    assert "Traceback" not in done.stderr


def test_connection_file_that_others_can_read_is_a_warning_with_its_mode(start_kernel: StartKernel) -> None:
    kernel = start_kernel()  # made by jupyter_client: 0600
    assert kernel.connect().execute("1").status == "ok"
    assert kernel.log == ""
    Path(kernel.file).chmod(0o644)
    done = start_kernel("--InteractiveShell.autocall=0", command=_on(kernel.file))
    assert done.process.wait(TIMEOUT) == 2  # its addresses are taken
    assert "its mode is 0644" in done.log
    Path(kernel.file).chmod(0o600)


def _on(path: str) -> list[str]:
    """A command that starts a kernel on a certain connection file, whichever `-f` follows."""
    code = f"import sys; from ipymini_supervisor.cli import main; sys.exit(main(['-f', {path!r}]))"
    return [sys.executable, "-c", code]


def ipc_file(folder: Path, place: Path) -> dict[str, Any]:
    """The content of a connection file with sockets in `place`."""
    return {
        "transport": "ipc",
        "ip": str(place / "k"),
        "key": "k",
        **{f"{c}_port": n for n, c in enumerate(_CHANNELS, 1)},
    }


_CHANNELS = ("shell", "iopub", "stdin", "control", "hb")


def test_socket_does_not_take_the_place_of_a_file(tmp_path: Path) -> None:
    place = tmp_path / "s"
    place.mkdir(0o700)
    (place / "k-3").write_text("precious")
    done = started(tmp_path, ipc_file(tmp_path, place))
    assert (done.returncode, "is in the way of a socket" in done.stderr) == (2, True), done
    assert (place / "k-3").read_text() == "precious"
    assert os.listdir(place) == ["k-3"]  # those that were bound before are gone


def test_socket_is_not_made_where_others_could_replace_it(tmp_path: Path) -> None:
    place = tmp_path / "s"
    place.mkdir()
    place.chmod(0o777)
    done = started(tmp_path, ipc_file(tmp_path, place))
    assert (done.returncode, "Others may write to the folder" in done.stderr) == (2, True), done
    done = started(tmp_path, ipc_file(tmp_path, tmp_path / "none"))
    assert (done.returncode, "No socket can be made at" in done.stderr or "cannot be used" in done.stderr) == (2, True)


def test_file_of_a_kernel_started_by_hand_is_private_and_gone_in_the_end(tmp_path: Path) -> None:
    runtime = tmp_path / "jupyter" / "runtime"
    process = subprocess.Popen(
        [sys.executable, "-m", "ipymini_supervisor"],
        env={**os.environ, "JUPYTER_RUNTIME_DIR": str(runtime)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if "connection file is" in line:
                break
        (file,) = runtime.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(runtime.stat().st_mode) == 0o700
        client = BlockingKernelClient(connection_file=str(file))
        client.load_connection_file()
        client.start_channels()
        try:
            assert executes(client)
        finally:
            client.stop_channels()
        process.terminate()
        assert process.wait(TIMEOUT) == 0
    assert list(runtime.iterdir()) == []
