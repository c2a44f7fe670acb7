"""User code does not notice that copies are made: not by its children, its descriptors, its handlers or its locks."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from .client import TIMEOUT, Client
from .conftest import StartKernel
from .faults import IMPORTS
from .kernels import Kernel, assert_gone
from .sessions import ON, copies, crash, history, run, settle, told, wait_copies, worker

PROFILE = "ipython/profile_default"
#: A worker that is slow on a busy machine is not ended by a signal before it has ended by itself.
ENVIRONMENT = {**ON, "IPYMINI_SHUTDOWN_GRACE": "15"}


@pytest.fixture
def kernel(start_kernel: StartKernel) -> Kernel:
    """A kernel for each test."""
    return start_kernel()


@pytest.fixture
def client(kernel: Kernel) -> Client:
    """A client of a worker that has the imports."""
    client = kernel.connect()
    run(client, IMPORTS)
    return client


# -- children and signals


def test_no_child_is_to_be_seen(client: Client) -> None:
    """By nobody who looks, before a crash and after it."""
    run(client, "import multiprocessing")
    for _ in range(2):
        for call in ("os.wait()", "os.waitpid(-1, 0)", "os.waitid(os.P_ALL, 0, os.WEXITED)", "os.wait3(0)"):
            assert client.execute(call).error == "ChildProcessError"
        assert run(client, "multiprocessing.active_children()").result == "[]"
        seen = run(client, "[open(f'/proc/self/task/{t}/children').read() for t in os.listdir('/proc/self/task')]")
        assert set(seen.result) <= set("[', ]")
        assert run(client, "resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >= 0").status == "ok"
        crash(client, "os._exit(1)")


def test_no_sigchld(client: Client) -> None:
    """Neither a handler of the user's nor a wakeup descriptor hears of copies; of the user's own children they do."""
    run(
        client,
        "calls = []; signal.signal(signal.SIGCHLD, lambda number, frame: calls.append(number))\n"
        "hear, tell = os.pipe(); os.set_blocking(tell, False); os.set_blocking(hear, False); old = signal.set_wakeup_fd(tell)",
    )
    for _ in range(10):
        run(client, "time.sleep(0.01)")
    assert run(client, "signal.set_wakeup_fd(old)\ncalls").result == "[]"
    assert client.execute("os.read(hear, 1)").error == "BlockingIOError"
    code = "p = subprocess.Popen(['true'])\nwhile not calls: time.sleep(0.001)\np.wait(), len(calls)"
    assert run(client, code).result == "(0, 1)"
    assert run(client, "signal.getsignal(signal.SIGCHLD)(1, 2); calls[-1]").result == "1"
    crash(client, "os._exit(1)")
    code = "calls.clear(); p = subprocess.Popen(['true'])\nwhile not calls: time.sleep(0.001)\np.wait(), len(calls)"
    assert run(client, code).result == "(0, 1)"


@pytest.mark.parametrize("handler", ["SIG_IGN", "SIG_DFL"])
def test_sigchld_without_a_handler(client: Client, handler: str) -> None:
    """It stays as the user has set it, and copies are made."""
    run(client, f"signal.signal(signal.SIGCHLD, signal.{handler})")
    for i in range(3):
        run(client, f"x = {i}")
        crash(client, "os._exit(1)")
        assert run(client, "x, signal.getsignal(signal.SIGCHLD).name").result == f"({i}, '{handler}')"


def test_children_of_the_user_are_the_user_s(client: Client) -> None:
    """Their ends are not taken away by ours; asyncio's among them."""
    for _ in range(3):
        run(client, "children = [subprocess.Popen(['sh', '-c', f'exit {i}']) for i in range(5)]")
        assert run(client, "[p.wait() for p in children]").result == "[0, 1, 2, 3, 4]"
    run(client, "pid = os.fork()\nif not pid: os._exit(3)")
    assert run(client, "os.waitstatus_to_exitcode(os.wait()[1])").result == "3"
    run(client, "p = await asyncio.create_subprocess_exec('cat', stdin=-1, stdout=-1)")
    assert run(client, "await p.communicate(b'through')").result == "(b'through', None)"
    assert run(client, "p.returncode").result == "0"


def test_a_pool_works_from_cell_to_cell(client: Client) -> None:
    run(client, "import multiprocessing as m\npool = m.get_context('fork').Pool(2)")
    for _ in range(3):
        assert run(client, "pool.map(abs, [-1, -2, -3])").result == "[1, 2, 3]"
    run(client, "pool.close(); pool.join()")
    run(
        client,
        "from concurrent.futures import ProcessPoolExecutor\nexecutor = ProcessPoolExecutor(2, m.get_context('spawn'))",
    )
    assert run(client, "list(executor.map(abs, [-1]))").result == "[1]"
    run(client, "executor.shutdown()")
    run(
        client,
        "from multiprocessing.shared_memory import SharedMemory\nshared = SharedMemory(create=True, size=100); shared.buf[0] = 7",
    )
    run(client, "1")
    assert run(client, "same = SharedMemory(shared.name); value = same.buf[0]; same.close(); value").result == "7"
    run(client, "shared.close(); shared.unlink()")
    crash(client, "os._exit(1)")
    run(client, "with m.get_context('spawn').Pool(1) as pool: assert pool.map(abs, [-1]) == [1]")
    run(client, "other = SharedMemory(create=True, size=100); other.close(); other.unlink()")


# -- handlers, hooks and warnings


def test_exit_handlers_run_once(client: Client, kernel: Kernel) -> None:
    """At the shutdown; in no copy, however it ends, and not for what a crash has undone."""
    run(client, "def last(what):\n    with open('ends', 'a') as f: print(what, file=f)\natexit.register(last, 'first')")
    for i in range(5):
        run(client, f"x = {i}")
    crash(client, "atexit.register(last, 'undone'); os._exit(1)")
    run(client, "atexit.register(last, 'second')")
    run(client, "%snapshot off")
    run(client, "import weakref; f = weakref.finalize(last, print)")
    kernel.stop()
    assert (kernel.folder / "ends").read_text() == "second\nfirst\n"


@pytest.mark.parametrize("threads", [0, 3])
def test_no_warning_reaches_the_user(client: Client, threads: int) -> None:
    """Also where every warning is an error, and beside threads."""
    run(client, f"for _ in range({threads}): threading.Thread(target=threading.Event().wait, daemon=True).start()")
    run(
        client,
        "import warnings; warnings.simplefilter('error'); warnings.resetwarnings(); warnings.simplefilter('error')",
    )
    for i in range(5):
        cell = run(client, f"x = {i}")
        assert cell.types == []
    crash(client, "os._exit(1)")
    for i in range(5):
        assert run(client, f"x = {i}").types == []
    streams = [m["content"]["text"] for _, m in client.messages if m["msg_type"] == "stream"]
    assert streams == []


def test_fork_hooks_of_the_user(client: Client) -> None:
    """They are called as for any fork, and what they do costs nothing: neither the cell nor the session."""
    run(
        client,
        "kept, before = [1], []\nos.register_at_fork(before=lambda: before.append(1), after_in_child=lambda: kept.append(2))",
    )
    run(client, "1")
    assert run(client, "kept").result == "[1]"
    run(client, "os.register_at_fork(after_in_child=lambda: 1 / 0, after_in_parent=lambda: None)")
    for _ in range(2):
        crash(client, "os._exit(1)")
        assert run(client, "kept[0]").result == "1"


def test_a_fork_of_the_user_between_copies(client: Client) -> None:
    """It prints for itself, and ends for itself."""
    code = "pid = os.fork()\nif not pid: print('child', flush=True); os._exit(0)\nos.waitpid(pid, 0)[1]"
    for _ in range(3):
        cell = run(client, code)
        assert cell.result == "0"
        client.wait_text(cell, "child\n")
        crash(client, "os._exit(1)")


# -- descriptors and locks: a copy must not hold what the original gives back


def test_a_program_sees_the_end_of_its_input(client: Client) -> None:
    run(client, "p = subprocess.Popen(['cat'], stdin=-1, stdout=-1)")
    run(client, "p.stdin.write(b'text')")
    run(client, "p.stdin.close()")
    assert run(client, "p.wait(timeout=10), p.stdout.read()").result == "(0, b'text')"


def test_a_reader_sees_the_end_of_a_pipe(client: Client) -> None:
    run(
        client, "r, w = os.pipe(); got = []\nt = threading.Thread(target=lambda: got.append(open(r).read())); t.start()"
    )
    run(client, "os.write(w, b'text')")
    run(client, "os.close(w)")
    assert run(client, "t.join(10); got").result == "['text']"


def test_a_peer_sees_the_end_of_a_connection(client: Client) -> None:
    run(
        client,
        "server = socket.create_server(('127.0.0.1', 0)); here = socket.create_connection(server.getsockname())\nthere, _ = server.accept(); there.settimeout(10)",
    )
    run(client, "here.sendall(b'text')")
    run(client, "here.close()")
    assert run(client, "there.recv(10), there.recv(10)").result == "(b'text', b'')"


@pytest.mark.parametrize("family", ["AF_INET", "AF_UNIX"])
def test_a_port_is_free_again(client: Client, family: str) -> None:
    """At once when the socket is closed."""
    address = "('127.0.0.1', 0)" if family == "AF_INET" else "'\\0test-' + str(os.getpid())"
    run(
        client,
        f"server = socket.socket(socket.{family}); server.bind({address}); server.listen(); name = server.getsockname()",
    )
    for _ in range(3):
        run(client, "server.close()")
        run(client, f"server = socket.socket(socket.{family}); server.bind(name); server.listen()")


@pytest.mark.parametrize(
    ("code", "again"),
    [
        ("f = socket.create_server(('127.0.0.1', 0)); name = f.getsockname()", "f = socket.socket(); f.bind(name)"),
        *[("f = open('lock', 'w'); fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)",) * 2],
    ],
    ids=["address", "lock"],
)
def test_what_only_one_can_have_is_free_however_slowly_a_copy_comes_up(client: Client, code: str, again: str) -> None:
    """The worker does not go on before the copy has given it up."""
    run(client, f"import fcntl, time; os.register_at_fork(after_in_child=lambda: time.sleep(0.3))\n{code}")
    run(client, f"f.close()\n{again}")


def test_a_file_lock_is_free_again(client: Client) -> None:
    """Without an unlock: the lock belongs to what a fork shares, and goes with the last of those who have it."""
    run(client, "import fcntl\nf = open('lock', 'w'); fcntl.flock(f, fcntl.LOCK_EX)")
    run(client, "1")
    run(client, "f.close()")
    run(client, "f = open('lock', 'w'); fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)")
    run(client, "f.close()")
    assert (
        run(client, "subprocess.run(['flock', '-n', 'lock', 'echo', 'free'], stdout=-1).stdout").result == "b'free\\n'"
    )


def test_a_terminal_hangs_up(client: Client) -> None:
    """What runs on it ends when the user closes it."""
    run(
        client,
        "import pty; main, sub = pty.openpty(); p = subprocess.Popen(['cat'], stdin=sub, stdout=sub, start_new_session=True); os.close(sub)",
    )
    run(client, "1")
    run(client, "os.close(main)")
    assert run(client, "p.wait(timeout=10) is not None").result == "True"


def test_what_was_written_in_pieces_is_there_once(client: Client, kernel: Kernel) -> None:
    """Buffers are copied too, and only one of the copies writes them."""
    run(client, "f = open('pieces', 'w'); f.write('one ')")
    run(client, "f.write('two ')")
    crash(client, "os._exit(1)")
    run(client, "f.write('three')")
    run(client, "f.close()")
    assert (kernel.folder / "pieces").read_text() == "one two three"


def test_what_is_removed_at_the_end_is_not_removed_before(client: Client, kernel: Kernel) -> None:
    """Finalizers run in no copy."""
    run(
        client,
        "import tempfile; place = tempfile.TemporaryDirectory(dir='.'); file = tempfile.NamedTemporaryFile(dir='.')",
    )
    for i in range(3):
        run(client, f"x = {i}")
        crash(client, "os._exit(1)")
        assert run(client, "os.path.exists(place.name), os.path.exists(file.name)").result == "(True, True)"
    run(client, "place.cleanup(); file.close()")
    assert not list(kernel.folder.glob("tmp*"))


def test_descriptors_do_not_pile_up(client: Client) -> None:
    """Nor do threads, from cell to cell and from crash to crash."""
    run(
        client,
        "import gc\ndef targets():\n    for fd in os.listdir('/proc/self/fd'):\n        try: yield os.readlink(f'/proc/self/fd/{fd}')\n"
        "        except OSError: pass",
    )
    # A thread of IPython's has the history open now and then, and SQLite the folder that it is in.
    count = "sum('profile_default' not in t for t in targets()), len(os.listdir('/proc/self/task'))"
    crash(client, "os._exit(1)")
    run(client, "gc.collect(); 1")
    first = run(client, count).result
    for _ in range(10):
        crash(client, "os._exit(1)")
        run(client, "gc.collect(); 1")
        assert run(client, count).result == first


def test_the_supervisor_keeps_nothing_either(client: Client, kernel: Kernel) -> None:
    """At most three copies, and no descriptor more after ten crashes than after two."""

    def count() -> int:
        settle(client)
        wait_copies(kernel)
        return len(os.listdir(f"/proc/{kernel.process.pid}/fd"))

    for _ in range(2):
        run(client, "len('1')")
        crash(client, "os._exit(1)")
    run(client, "len('1')")
    first = count()
    for _ in range(10):
        run(client, "len('1')")
        crash(client, "os._exit(1)")
    run(client, "len('1')")
    assert count() == first


# -- memory


def test_memory_is_counted_once(client: Client) -> None:
    """However many copies share it."""

    def memory() -> int:
        return int(client.ask("usage_request", channel="control").reply["kernel_memory"])

    run(client, "1")
    settle(client)
    before = memory()
    run(client, "big = bytearray(b'x') * (300 << 20)")
    run(client, "1")
    run(client, "2")
    settle(client)
    deadline = time.monotonic() + TIMEOUT
    while (grown := memory() - before) < 300 << 20:  # a copy that ends may still share it, and is not counted any more
        assert time.monotonic() < deadline, grown
    assert grown < 1.6 * (300 << 20)


def test_copies_go_first_when_memory_runs_out(client: Client, kernel: Kernel) -> None:
    """All but that of the session as it is, and no worker that was one."""
    run(client, "x = len('1')")
    run(client, "x = len('2')")
    settle(client)
    scores = [Path(f"/proc/{copy.pid}/oom_score_adj").read_text().strip() for copy in wait_copies(kernel)]
    assert scores.count("1000") >= 2
    crash(client, "os._exit(1)")
    assert run(client, "open('/proc/self/oom_score_adj').read().strip()").result != "'1000'"


# -- the end


@pytest.mark.parametrize("end", ["shutdown", "SIGTERM", "SIGKILL of the supervisor", "SIGKILL of both"])
@pytest.mark.parametrize("doing", ["idle", "busy"])
def test_no_copy_is_left(client: Client, kernel: Kernel, end: str, doing: str) -> None:
    run(client, "x = len('1')")
    crash(client, "os._exit(1)")
    run(client, "x = len('2')")
    settle(client)
    mine = worker(client)
    wait_copies(kernel)
    if doing == "busy":
        cell = client.start("sum(range(10**15), print('begun') or 0)")
        client.wait_text(cell, "begun")
    if end == "shutdown":
        client.send("shutdown_request", {"restart": False}, channel="control")
    elif end == "SIGTERM":
        kernel.process.terminate()
    else:
        kernel.process.kill()
        if end == "SIGKILL of both":
            with suppress(psutil.NoSuchProcess):  # without its supervisor it ends by itself
                mine.kill()
    assert kernel.wait() == (-signal.SIGKILL if "SIGKILL" in end else 0)
    assert_gone(kernel.mark, 10)
    assert copies(kernel) == []


# -- respawns from the pristine copy


def test_respawns_from_the_first_copy(start_kernel: StartKernel) -> None:
    """One after the other: start-up files run each time, nothing of the user's is there, the session is another."""
    startup = "with open('started', 'a') as f: print('again', file=f)\nstarted = True"
    kernel = start_kernel(files={f"{PROFILE}/startup/00-first.py": startup})
    client = kernel.connect()
    workers = set()
    for i in range(4):
        assert run(client, "started").reply["execution_count"] == 1
        assert client.execute("x").error == "NameError"
        run(client, f"x = {i}")
        run(client, "get_ipython().history_manager.writeout_cache()")  # with snapshots off a death may be quicker
        run(client, "%snapshot off")
        settle(client)
        wait_copies(kernel, 1)
        workers.add(worker(client).pid)
        since = len(client.messages)
        cell = client.execute("import os; os._exit(1)")
        assert cell.error == "WorkerDied"
        assert "Variables are lost" in cell.traceback
        client.wait_until(lambda: told(client.messages[since:]) == ["restarting", "starting", "idle"])  # noqa: B023
        assert (kernel.folder / "started").read_text() == "again\n" * (i + 2)
    assert len(workers) == 4
    run(client, "'last'")
    kernel.stop()
    rows = history(kernel)
    assert sorted({session for session, _, _ in rows}) == [1, 2, 3, 4, 5]
    assert [row for row in rows if "x = " in row[2]] == [(i + 1, 3, f"x = {i}") for i in range(4)]
