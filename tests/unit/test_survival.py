"""What a fork does not carry over: when there must be none, and how a copy is cut off and repaired."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import select
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from forks import Forks, readable
from ipymini_worker import connections, survival
from ipymini_worker.connections import connected, cut_connections, exclusive, loop_descriptors, positions
from ipymini_worker.survival import Lost, obstacle, pending, repair

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="snapshots need Linux")
OPENMP = "The GNU OpenMP runtime has threads that a copy would wait for in vain."


@pytest.fixture
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.end()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.run_until_complete(made.shutdown_default_executor())
    made.close()


# -- reasons against a fork


class Process:
    """What this process has, as far as `obstacle` looks at it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open: list[str] = ["/tmp/file", "socket:[1]", "/dev/pts/0"]
        self.threads: list[str] = ["python"]
        self.openmp = False
        self._monkeypatch = monkeypatch
        for module in ("pydevd", "polars", "grpc", "jaxlib", "tensorflow"):
            monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.setattr(survival, "descriptors", lambda: enumerate(self.open, 3))
        monkeypatch.setattr(survival, "_native_threads", lambda: self.threads)
        monkeypatch.setattr(survival, "_openmp", SimpleNamespace(loaded=lambda: self.openmp))

    def imports(self, name: str, **attributes: object) -> None:
        """A module is loaded from now on."""
        self._monkeypatch.setitem(sys.modules, name, SimpleNamespace(**attributes))  # type: ignore[arg-type]


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    return Process(monkeypatch)


@pytest.fixture(autouse=True)
def threads_of_other_tests_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries leave some behind in this process."""
    here = {thread.name for thread in threading.enumerate()}
    monkeypatch.setattr(survival, "OWN_THREADS", survival.OWN_THREADS | here)


def test_plain_process_may_be_forked(process: Process) -> None:
    assert obstacle() == ""


@pytest.mark.parametrize(
    ("target", "told"), [("/dev/nvidia0", True), ("/dev/nvidiactl", True), ("/dev/kfd", True), ("/dev/null", False)]
)
def test_gpu_in_use_is_an_obstacle(process: Process, target: str, told: bool) -> None:
    process.open.append(target)
    assert obstacle() == ("A GPU is in use, and its context cannot be copied." if told else "")


@pytest.mark.parametrize(
    ("attributes", "told"),
    [({"get_global_debugger": object}, True), ({"get_global_debugger": lambda: None}, False), ({}, False)],
)
def test_debugger_is_an_obstacle_when_it_is_attached(process: Process, attributes: dict[str, Any], told: bool) -> None:
    process.imports("pydevd", **attributes)
    assert obstacle() == ("A debugger is attached." if told else "")


@pytest.mark.parametrize(
    ("module", "thread"),
    [
        ("polars", "polars-0"),
        ("grpc", "grpc_global_tim"),
        ("grpc", "event_engine"),
        ("grpc", "resolver-executor"[:15]),
        ("jaxlib", "tf_XLAEigen"),
        ("jaxlib", "xla_something"),
        ("tensorflow", "tf_Compute"),
    ],
)
def test_pool_of_native_threads_is_an_obstacle_when_it_is_there_and_its_library_is(
    process: Process, module: str, thread: str
) -> None:
    process.imports(module)
    assert obstacle() == ""
    process.threads.append(thread)
    assert obstacle() == f"{module} has threads that a copy would wait for in vain."


def test_thread_by_the_name_of_a_pool_whose_library_is_not_loaded_is_none(process: Process) -> None:
    process.threads += ["polars-0", "tf_Compute", "grpc_x"]
    assert obstacle() == ""


def test_openmp_is_an_obstacle_when_there_are_threads_that_python_does_not_know(process: Process) -> None:
    process.openmp = True
    process.threads = ["python"] * threading.active_count()
    assert obstacle() == ""
    process.threads.append("python")
    assert obstacle() == OPENMP
    process.openmp = False
    assert obstacle() == ""


def test_memory_is_looked_through_only_when_something_was_imported_meanwhile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    maps, opened = tmp_path / "maps", []
    maps.write_text("7f00-7f01 r-xp 00000000 00:00 1 /usr/lib/libc.so.6\n")
    modules: dict[str, object] = {"one": None}

    def counted(path: str) -> Any:
        opened.append(path)
        return maps.open()

    monkeypatch.setattr(survival, "open", counted, raising=False)
    monkeypatch.setattr(survival, "sys", SimpleNamespace(modules=modules))
    openmp = survival._OpenMP()
    assert [openmp.loaded(), openmp.loaded()] == [False, False]
    assert opened == ["/proc/self/maps"]
    maps.write_text("7f00-7f01 r-xp 00000000 00:00 1 /x/numpy.libs/libgomp-a34b3233.so.1.0.0\n")
    assert not openmp.loaded()
    modules["two"] = None
    assert [openmp.loaded(), openmp.loaded()] == [True, True]
    assert len(opened) == 2


def test_own_threads_are_seen_with_native_ones(forks: Forks) -> None:
    def names() -> list[str]:
        Path("/proc/self/comm").write_text("a name")
        return survival._native_threads()

    assert forks.result(names) == ["a name"]


# -- what is lost


@pytest.mark.parametrize(
    ("lost", "connections", "said"),
    [
        (Lost((), 0, 0), 0, []),
        (Lost(("ticker",), 0, 0), 0, ["1 thread did not survive: ticker."]),
        (Lost(("a", "b"), 0, 0), 0, ["2 threads did not survive: a, b."]),
        (Lost((), 1, 0), 0, ["1 child process did not survive."]),
        (Lost((), 3, 0), 0, ["3 child processes did not survive."]),
        (Lost((), 0, 0), 1, ["1 pipe or socket had to be closed."]),
        (Lost((), 0, 0), 2, ["2 pipes and sockets had to be closed."]),
        (Lost((), 0, 1), 0, ["1 asyncio task goes on."]),
        (Lost((), 0, 2), 0, ["2 asyncio tasks go on."]),
        (
            Lost(("a",), 1, 1),
            1,
            [
                "1 thread did not survive: a.",
                "1 child process did not survive.",
                "1 pipe or socket had to be closed.",
                "1 asyncio task goes on.",
            ],
        ),
    ],
)
def test_what_is_lost_is_said_in_sentences(lost: Lost, connections: int, said: list[str]) -> None:
    assert lost.sentences(connections) == said


def test_of_many_threads_ten_are_named() -> None:
    (said,) = Lost(tuple(f"t{number}" for number in range(11)), 0, 0).sentences(0)
    assert said == "11 threads did not survive: t0, t1, t2, t3, t4, t5, t6, t7, t8, t9, …."
    (said,) = Lost(tuple(f"t{number}" for number in range(10)), 0, 0).sentences(0)
    assert said.endswith("t8, t9.")


def test_threads_children_and_tasks_are_counted_but_not_our_own(forks: Forks, loop: asyncio.AbstractEventLoop) -> None:
    before = Lost.now(loop)
    assert (before.threads, before.tasks) == ((), 0)
    leave = threading.Event()
    threads = [threading.Thread(target=leave.wait, name=name) for name in ("ticker", "ipymini-control")]
    pid = forks.start(signal.pause)
    task = loop.create_task(asyncio.sleep(3600))
    try:
        for thread in threads:
            thread.start()
        assert Lost.now(loop) == Lost(("ticker",), before.children + 1, 1)
    finally:
        leave.set()
        for thread in threads:
            thread.join()
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
    os.kill(pid, signal.SIGKILL)
    forks.status(pid)
    assert Lost.now(loop) == before


def test_closed_loop_and_none_have_nothing_that_waits() -> None:
    closed = asyncio.new_event_loop()
    closed.close()
    assert not pending(closed)
    assert not pending(None)
    assert survival.tasks(closed) == survival.tasks(None) == set()


@pytest.mark.parametrize("schedule", ["call_soon", "call_later", "create_task"])
def test_task_or_call_that_waits_may_change_the_session(loop: asyncio.AbstractEventLoop, schedule: str) -> None:
    assert not pending(loop)
    waiting: Any
    match schedule:
        case "call_soon":
            waiting = loop.call_soon(lambda: None)
        case "call_later":
            waiting = loop.call_later(3600, lambda: None)
        case _:
            waiting = loop.create_task(asyncio.sleep(0))
    assert pending(loop)
    waiting.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    assert not survival.tasks(loop)


# -- connections of a copy


class Cut:
    """A child that has cut its connections, and sleeps."""

    def __init__(self, forks: Forks, *fds: int) -> None:
        ready, tell = os.pipe()

        def body() -> None:
            cut_connections({tell})
            os.write(tell, b"r")
            signal.pause()

        forks.start(body, [tell, *fds])
        os.close(tell)
        assert readable(ready)
        assert os.read(ready, 1) == b"r"
        os.close(ready)


def test_reader_of_a_pipe_does_not_wait_for_a_copy(forks: Forks) -> None:
    reading, writing = os.pipe()
    Cut(forks, reading, writing)
    os.close(writing)
    assert readable(reading)
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_writer_of_a_pipe_learns_that_nobody_reads(forks: Forks) -> None:
    reading, writing = os.pipe()
    Cut(forks, reading, writing)
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        os.write(writing, b"x")
    os.close(writing)


def test_other_side_of_a_socket_does_not_wait_for_a_copy(forks: Forks) -> None:
    here, there = socket.socketpair()
    Cut(forks, there.fileno())
    there.close()
    assert readable(here.fileno())
    assert here.recv(1) == b""
    here.close()


def test_port_is_free_when_the_original_has_closed_it(forks: Forks) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        Cut(forks, server.fileno())
    with socket.create_server(address, reuse_port=False):
        pass


def test_terminal_hangs_up_when_the_original_has_closed_its_master(forks: Forks) -> None:
    master, slave = os.openpty()
    Cut(forks, master)
    os.close(master)
    assert os.read(slave, 1) == b""
    os.close(slave)


def test_reader_of_a_named_pipe_does_not_wait_for_a_copy(forks: Forks, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(tmp_path / "pipe", os.O_WRONLY)
    Cut(forks, writing)
    os.close(writing)
    try:
        assert os.read(reading, 1) == b""
    finally:
        os.close(reading)


def test_master_of_a_terminal_does_not_wait_for_a_copy(forks: Forks) -> None:
    master, slave = os.openpty()
    os.set_blocking(master, False)
    Cut(forks, slave)
    os.close(slave)
    try:
        with pytest.raises(OSError) as raised:  # noqa: PT011
            os.read(master, 1)
        assert raised.value.errno == errno.EIO
    finally:
        os.close(master)


def test_lock_that_is_given_up_by_closing_the_file_is_free(forks: Forks, tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        Cut(forks, file.fileno())
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_file_is_at_the_place_of_the_fork_although_the_original_has_gone_on(forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("0123456789")

    def body() -> list[int]:
        with (tmp_path / "file").open("rb", buffering=0) as file:
            file.read(3)
            places = positions(connections.descriptors())
            file.read(4)
            cut_connections(set(), places=places)
            return [places[file.fileno()], file.tell()]

    assert forks.result(body) == [3, 3]


def test_address_that_is_listened_to_is_free_and_listened_to_again(forks: Forks) -> None:
    """Free while the copy sleeps, quiet for a loop that serves it, and taken again by a copy that is the worker."""

    def body() -> dict[str, Any]:
        with socket.socket() as listening, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            listening.setblocking(False)
            datagrams.bind(("127.0.0.1", 0))
            addresses = listening.getsockname(), datagrams.getsockname()
            cut = cut_connections(set())
            with socket.socket() as other:
                other.bind(addresses[0])
            ready = select.select([listening, datagrams], [], [], 0)[0]
            opened = [server.open() for server in cut.servers]
            with socket.socket() as client, socket.socket(type=socket.SOCK_DGRAM) as sender:
                client.connect(addresses[0])
                sender.sendto(b"x", addresses[1])
                select.select([listening], [], [])
                accepted, _ = listening.accept()
                accepted.close()
                return {
                    "count": cut.connections,
                    "ready": len(ready),
                    "opened": opened,
                    "received": datagrams.recv(1).decode(),
                    "blocking": os.get_blocking(listening.fileno()),
                }

    expected = {"count": 0, "ready": 0, "opened": [True, True], "received": "x", "blocking": False}
    assert forks.result(body) == expected


def test_address_that_somebody_has_taken_stays_lost(forks: Forks) -> None:
    def body() -> dict[str, Any]:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            address = listening.getsockname()
            cut = cut_connections(set())
            with socket.socket() as other:
                other.bind(address)
                other.listen()
                return {"opened": [server.open() for server in cut.servers]}

    assert forks.result(body) == {"opened": [False]}
    assert Lost((), 0, 0).sentences(0, 1) == ["1 address could not be bound again."]


def test_what_was_connected_at_the_fork_counts_although_the_original_has_gone_since(forks: Forks) -> None:
    """It may have died before the copy had its turn."""

    def body() -> dict[str, Any]:
        here, there = socket.socketpair()
        reading, writing = os.pipe()
        over, gone = os.pipe()
        os.close(gone)
        before = connected()
        there.close()
        os.close(writing)
        cut = cut_connections(set(), before)
        for fd in (here.detach(), reading, over):
            os.close(fd)
        return {"before": len(before), "cut": cut.connections}

    result = forks.result(body)
    assert result["cut"] == result["before"] - 2  # those whose other ends were the child's own, and are closed
    assert result["cut"] >= 2


def test_copy_sees_a_plain_end_where_it_was_cut_off_and_its_files_are_as_they_were(
    forks: Forks, tmp_path: Path
) -> None:
    def body() -> dict[str, Any]:
        reading, writing = os.pipe()
        here, there = socket.socketpair()
        master, slave = os.openpty()
        kept_reading, kept_writing = os.pipe()
        os.set_inheritable(reading, True)
        with (tmp_path / "file").open("w+") as file:
            file.write("text")
            file.flush()
            file.seek(0)
            cut = cut_connections({kept_reading, kept_writing, slave})
            try:
                os.write(writing, b"x")
                broken = False
            except BrokenPipeError:
                broken = True
            os.write(kept_writing, b"kept")
            return {
                "cut": cut,
                "read": os.read(reading, 1).decode(),
                "broken": broken,
                "received": [here.recv(1).decode(), there.recv(1).decode()],
                "kept": os.read(kept_reading, 4).decode(),
                "master": os.read(master, 1).decode(),
                "file": file.read(),
                "inheritable": [os.get_inheritable(fd) for fd in (reading, writing)],
            }

    assert forks.result(body) == {
        "cut": [5, []],  # two ends of one that is the copy's own count as two
        "read": "",
        "broken": True,
        "received": ["", ""],
        "kept": "kept",
        "master": "",
        "file": "text",
        "inheritable": [True, False],
    }


# -- repair


def answered(body: Callable[[asyncio.AbstractEventLoop], Any], forks: Forks, loop: asyncio.AbstractEventLoop) -> Any:
    """What `body` returns in a copy that was cut off and repaired, as the worker does it."""
    own = loop_descriptors(loop)

    def copy() -> Any:
        cut_connections(own)
        repair(loop)
        return body(loop)

    return forks.result(copy, own)


def test_loop_knows_its_own_descriptors(loop: asyncio.AbstractEventLoop) -> None:
    assert len(loop_descriptors(loop)) == 3
    assert loop_descriptors(None) == loop_descriptors(SimpleNamespace(_ssock=None, _selector=object())) == set()
    closed = asyncio.new_event_loop()
    closed.close()
    assert loop_descriptors(closed) == set()


def test_task_goes_on_in_a_copy_where_it_was(forks: Forks, loop: asyncio.AbstractEventLoop) -> None:
    async def steps() -> int:
        seen.append(1)
        seen.append(await gate)
        return len(seen)

    def body(loop: asyncio.AbstractEventLoop) -> list[Any]:
        gate.set_result(2)
        return [loop.run_until_complete(task), seen]

    seen: list[int] = []
    gate: asyncio.Future[int] = loop.create_future()
    task = loop.create_task(steps())
    loop.run_until_complete(asyncio.sleep(0))
    assert answered(body, forks, loop) == [2, [1, 2]]
    assert seen == [1]
    gate.set_result(3)
    assert loop.run_until_complete(task) == 2
    assert seen == [1, 3]


def test_threads_and_other_processes_can_wake_a_repaired_loop(forks: Forks, loop: asyncio.AbstractEventLoop) -> None:
    """The executor's threads are gone, and a new one has to be made."""
    assert loop.run_until_complete(loop.run_in_executor(None, lambda: "here")) == "here"
    loop.run_until_complete(loop.shutdown_default_executor())
    loop._executor_shutdown_called = False  # type: ignore[attr-defined]
    assert answered(lambda loop: loop.run_until_complete(asyncio.to_thread(lambda: "there")), forks, loop) == "there"


def test_executor_whose_threads_are_gone_is_forgotten(forks: Forks, loop: asyncio.AbstractEventLoop) -> None:
    loop._default_executor = SimpleNamespace(shutdown=lambda wait: None)  # type: ignore[attr-defined]
    assert answered(lambda loop: loop._default_executor is None, forks, loop)  # type: ignore[attr-defined]


def test_what_a_copy_watches_does_not_disturb_the_original(forks: Forks, loop: asyncio.AbstractEventLoop) -> None:
    """An epoll instance is one for both, so that the copy must not go on with it."""
    here, there = socket.socketpair()
    heard: list[str] = []
    loop.add_reader(here, lambda: heard.append("original"))

    def body(loop: asyncio.AbstractEventLoop) -> list[str]:
        loop.remove_reader(here)
        loop.run_until_complete(asyncio.sleep(0))
        return heard

    assert answered(body, forks, loop) == []
    there.send(b"x")
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    assert set(heard) == {"original"}
    loop.remove_reader(here)
    here.close()
    there.close()


def test_reader_of_a_connection_that_was_cut_off_hears_the_end(forks: Forks, loop: asyncio.AbstractEventLoop) -> None:
    here, there = socket.socketpair()
    own = {*loop_descriptors(loop), here.fileno()}
    heard: asyncio.Future[str] = loop.create_future()
    loop.add_reader(here, lambda: heard.done() or heard.set_result(here.recv(1).decode()))

    def copy() -> str:
        cut_connections(loop_descriptors(loop))
        repair(loop)
        return loop.run_until_complete(heard)

    assert forks.result(copy, own) == ""
    loop.remove_reader(here)
    here.close()
    there.close()


def test_signal_handler_of_a_loop_works_in_a_copy(forks: Forks, loop: asyncio.AbstractEventLoop) -> None:
    came: asyncio.Future[bool] = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR1, lambda: came.set_result(True))

    def body(loop: asyncio.AbstractEventLoop) -> bool:
        signal.raise_signal(signal.SIGUSR1)
        return loop.run_until_complete(came)

    try:
        assert answered(body, forks, loop) is True
        assert not came.done()
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)


def test_loop_that_is_none_or_closed_or_strange_is_left_alone() -> None:
    closed = asyncio.new_event_loop()
    closed.close()
    repair(None)
    repair(closed)
    strange = SimpleNamespace(is_closed=lambda: False, _selector=object())
    repair(strange)  # type: ignore[arg-type]
    assert not isinstance(strange._selector, selectors.BaseSelector)


def test_what_only_one_process_can_have(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened: dict[int, str] = {}
    monkeypatch.setattr(connections, "descriptors", opened.items)
    with (
        socket.socket() as tcp,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socketpair()[0] as pair,
        open(tmp_path / "locked", "w") as locked,
        open(tmp_path / "process", "w") as process,
    ):
        for fd in (file.fileno() for file in (tcp, unix, pair, locked, process)):
            opened[fd] = os.readlink(f"/proc/self/fd/{fd}")
        fcntl.lockf(process, fcntl.LOCK_EX)  # which a fork does not share
        assert not exclusive(connections.descriptors())
        fcntl.flock(locked, fcntl.LOCK_SH)
        assert exclusive(connections.descriptors())
        fcntl.flock(locked, fcntl.LOCK_UN)
        assert not exclusive(connections.descriptors())
        unix.bind("\0" + str(tmp_path))
        assert exclusive(connections.descriptors())
        del opened[unix.fileno()]
        tcp.bind(("127.0.0.1", 0))
        assert exclusive(connections.descriptors())
    assert not exclusive(connections.descriptors())  # they have been closed meanwhile


def test_who_is_connected_has_nothing_that_others_want(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: dict[int, str] = {}
    monkeypatch.setattr(connections, "descriptors", opened.items)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as here:
        there, _ = server.accept()
        with there:
            opened.update({here.fileno(): "socket:[1]", there.fileno(): "socket:[2]"})
            assert not exclusive(connections.descriptors())
            opened[server.fileno()] = "socket:[3]"
            assert exclusive(connections.descriptors())


def test_multiprocessing_forgets_the_processes_of_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    process = SimpleNamespace(_children={1, 2})
    tracker = SimpleNamespace(_fd=5, _pid=6)
    server = SimpleNamespace(_forkserver_address="x", _forkserver_alive_fd=2, _forkserver_pid=3, _preload_modules=["m"])
    fakes = {
        "process": process,
        "resource_tracker": SimpleNamespace(_resource_tracker=tracker),
        "forkserver": SimpleNamespace(_forkserver=server),
    }
    for name, fake in fakes.items():
        monkeypatch.setitem(sys.modules, f"multiprocessing.{name}", fake)  # type: ignore[arg-type]
    repair(None)
    assert process._children == set()
    assert (tracker._fd, tracker._pid) == (None, None)
    assert (server._forkserver_address, server._forkserver_alive_fd, server._forkserver_pid) == (None, None, None)
    assert server._preload_modules == ["m"]


def test_names_of_multiprocessing_are_those_of_this_python() -> None:
    """What is set to None above exists; a Python that has renamed it would be repaired in vain."""
    from multiprocessing import forkserver, process, resource_tracker

    assert isinstance(process._children, set)  # type: ignore[attr-defined]
    for name in ("_fd", "_pid"):
        assert hasattr(resource_tracker._resource_tracker, name)  # type: ignore[attr-defined]
    for name in ("_forkserver_address", "_forkserver_alive_fd", "_forkserver_pid"):
        assert hasattr(forkserver._forkserver, name)  # type: ignore[attr-defined]


def test_nothing_is_imported_for_a_repair(forks: Forks) -> None:
    def body() -> bool:
        for name in [name for name in sys.modules if name.startswith("multiprocessing")]:
            del sys.modules[name]
        repair(None)
        return any(name.startswith("multiprocessing") for name in sys.modules)

    assert forks.result(body) is False
