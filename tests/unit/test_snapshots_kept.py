"""Snapshots as the supervisor has them: which is kept, which ends, and how one becomes the worker."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forks import Forks, Peers, ended, readable
from ipymini_supervisor.oomscore import WORKER
from ipymini_supervisor.process import Exit, Process, read
from ipymini_supervisor.snapshots import Snapshot, Snapshots
from ipymini_worker.wire import Frame, Kind, encode

linux = pytest.mark.skipif(sys.platform != "linux", reason="snapshots need Linux")
FILES = ("stdout", "stderr", "work", "control", "fault")


@pytest.fixture
def peers() -> Iterator[Peers]:
    made = Peers()
    yield made
    made.close()


@pytest.fixture
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.end()


class Copy:
    """A child that sleeps on a socket, as a copy of the worker does, and then speaks on all that it is given."""

    def __init__(self, forks: Forks) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            self.pid = forks.start(lambda: _copy(theirs), [theirs.fileno()])
            self.fd = ours.detach()

    def snapshot(self) -> Snapshot:
        """What the supervisor makes of it."""
        return Snapshot(self.fd, self.pid, cell=3)


def _copy(own: socket.socket) -> None:
    data, files, _, _ = socket.recv_fds(own, 1, len(FILES))
    if not data:
        return
    given = dict(zip(FILES, files, strict=True))
    for name in ("stdout", "stderr", "fault"):
        os.write(given[name], name.encode())
    for name, kind in (("work", Kind.ROLLBACK), ("control", Kind.PONG)):
        os.write(given[name], b"".join(encode(kind)))
    os.read(given["work"], 1)  # until the supervisor says something
    os._exit(7)


def frames(process: Process, name: str) -> list[Frame]:
    link = process.work if name == "work" else process.control
    assert readable(link.fileno())
    return link.receive()


def wake_up_and_end(process: Process) -> Exit:
    process.work.send(Kind.RESUME, 0, (b"0", b""))
    assert readable(process.exit_fd)
    try:
        return process.reap()
    finally:
        process.close()


@linux
def test_snapshot_that_is_resumed_gets_a_link_and_pipes_of_its_own_each_in_its_place(forks: Forks) -> None:
    copy = Copy(forks)
    process = copy.snapshot().resume()
    try:
        assert [frame.kind for frame in frames(process, "work")] == [Kind.ROLLBACK]
        assert [frame.kind for frame in frames(process, "control")] == [Kind.PONG]
        for fd in process.pipes:
            assert readable(fd)
            assert read(fd) == process.pipe_name(fd).encode()
    finally:
        forks.forget(copy.pid)
        exit = wake_up_and_end(process)
    assert (process.pid, exit.status) == (copy.pid, 7)
    assert exit.peak > 0


@linux
def test_end_of_a_resumed_snapshot_is_the_end_of_its_link_because_nobody_else_holds_it(forks: Forks) -> None:
    copy = Copy(forks)
    process = copy.snapshot().resume()
    try:
        for name in ("work", "control"):
            frames(process, name)
        os.kill(copy.pid, signal.SIGKILL)
        for link in (process.work, process.control):
            assert readable(link.fileno())
            link.receive()
            assert link.ended
        assert readable(process.exit_fd)
    finally:
        forks.forget(copy.pid)
        assert process.reap().status == -signal.SIGKILL
        process.close()


@linux
def test_copy_that_has_ended_is_not_resumed_and_leaves_nothing_open(forks: Forks) -> None:
    copy = Copy(forks)
    os.kill(copy.pid, signal.SIGKILL)
    assert ended(copy.pid)
    with pytest.raises(ProcessLookupError):
        copy.snapshot().resume()


@linux
def test_copy_whose_exit_status_was_taken_is_not_resumed(forks: Forks) -> None:
    copy = Copy(forks)
    os.kill(copy.pid, signal.SIGKILL)
    forks.status(copy.pid)
    with pytest.raises(ChildProcessError):
        copy.snapshot().resume()


@linux
def test_copy_that_lives_and_has_closed_its_socket_is_not_resumed(forks: Forks) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        pid = forks.start(signal.pause)
    with pytest.raises(BrokenPipeError):
        Snapshot(ours.detach(), pid, 1).resume()


@linux
@pytest.mark.parametrize("pid", [0, os.getppid(), 1 << 23, (1 << 31) - 1])
def test_pid_that_is_no_child_of_ours_is_not_resumed(pid: int, peers: Peers) -> None:
    snapshot = peers.snapshot()
    snapshot.pid = pid
    with pytest.raises(OSError):  # noqa: PT011  # which one is the system's affair
        snapshot.resume()
    assert not peers.alive()


def test_descriptor_that_is_no_socket_is_refused_and_closed() -> None:
    reading, writing = os.pipe()
    with pytest.raises(OSError):  # noqa: PT011
        Snapshot(reading, 1, 1)
    with pytest.raises(BrokenPipeError):
        os.write(writing, b"x")
    os.close(writing)


@linux
def test_copy_that_is_discarded_ends_by_itself(forks: Forks) -> None:
    copy = Copy(forks)
    copy.snapshot().discard()
    assert ended(copy.pid)
    assert forks.status(copy.pid) == 0


@linux
def test_copy_ends_when_the_process_that_holds_its_socket_is_killed(forks: Forks) -> None:
    """A supervisor that is killed leaves no copies behind."""
    copy = Copy(forks)
    holder = forks.start(signal.pause, [copy.fd])
    os.close(copy.fd)
    assert not ended(copy.pid, 0)
    os.kill(holder, signal.SIGKILL)
    assert ended(copy.pid)
    assert forks.status(copy.pid) == 0


def score(pid: int | str) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@linux
def test_copy_goes_before_everything_else_when_memory_runs_out_and_the_worker_does_not(forks: Forks) -> None:
    copy = Copy(forks)
    snapshot = copy.snapshot()
    snapshot.sacrifice()
    assert score(copy.pid) == 1000
    process = snapshot.resume()
    try:
        assert score(copy.pid) == min(1000, score("self") + WORKER)
    finally:
        forks.forget(copy.pid)
        wake_up_and_end(process)


def test_no_snapshot_at_first() -> None:
    snapshots = Snapshots()
    assert (snapshots.latest(), snapshots.earlier(), snapshots.first()) == (None, None, None)
    assert snapshots.pids() == set()
    snapshots.request_started(cell=True)
    snapshots.discard_spare()
    snapshots.discard()


def test_snapshot_before_another_cell_makes_the_one_there_was_the_previous_one(peers: Peers) -> None:
    snapshots = Snapshots()
    made = [peers.snapshot(cell) for cell in (1, 2, 3)]
    for snapshot in made:
        snapshots.add(snapshot, pristine=False)
    assert (snapshots.previous, snapshots.current) == (made[1], made[2])
    assert peers.alive() == snapshots.pids() == {made[1].pid, made[2].pid}
    snapshots.discard()


def test_snapshot_before_the_same_cell_replaces_the_one_there_was(peers: Peers) -> None:
    snapshots = Snapshots()
    made = [peers.snapshot(cell) for cell in (1, 2, 2)]
    for snapshot in made:
        snapshots.add(snapshot, pristine=False)
    assert (snapshots.previous, snapshots.current) == (made[0], made[2])
    assert peers.alive() == {made[0].pid, made[2].pid}
    snapshots.discard()


def test_pristine_one_replaces_the_pristine_one_and_no_other(peers: Peers) -> None:
    snapshots = Snapshots()
    made = [peers.snapshot(cell) for cell in (0, 1, 0)]
    for snapshot in made:
        snapshots.add(snapshot, pristine=snapshot.cell == 0)
    assert (snapshots.pristine, snapshots.current, snapshots.previous) == (made[2], made[1], None)
    assert peers.alive() == {made[1].pid, made[2].pid}
    snapshots.discard()


@linux
def test_all_but_that_of_the_session_as_it_is_go_first_when_memory_runs_out(forks: Forks) -> None:
    snapshots = Snapshots()
    copies = [Copy(forks) for _ in range(3)]
    for cell, copy in enumerate(copies):
        snapshots.add(Snapshot(copy.fd, copy.pid, cell), pristine=cell == 0)
    assert [score(copy.pid) for copy in copies] == [1000, 1000, score("self")]
    snapshots.discard()
    assert [forks.status(copy.pid) for copy in copies] == [0, 0, 0]


@pytest.fixture
def three(peers: Peers) -> Iterator[Snapshots]:
    """The pristine one, that before In[1] and that before In[2]."""
    snapshots = Snapshots()
    for cell in (0, 1, 2):
        snapshots.add(peers.snapshot(cell), pristine=cell == 0)
    yield snapshots
    snapshots.discard()


def take(snapshot: Snapshot | None) -> int:
    """The cell of a snapshot that is ours from now on, which it must not be any longer for anybody else."""
    assert snapshot is not None
    cell = snapshot.cell
    snapshot.discard()
    return cell


def test_best_one_to_go_back_to_is_the_latest_and_then_the_one_before(three: Snapshots, peers: Peers) -> None:
    assert [take(three.latest()), take(three.latest())] == [2, 1]
    assert three.latest() is None
    assert take(three.first()) == 0
    assert three.first() is None
    assert not peers.alive()


def test_going_back_further_ends_the_latest(three: Snapshots, peers: Peers) -> None:
    found = three.earlier()
    assert three.current is None
    assert len(peers.alive()) == 2
    assert take(found) == 1
    assert three.earlier() is None


def test_latest_stays_when_there_is_nothing_earlier(peers: Peers) -> None:
    snapshots = Snapshots()
    snapshots.add(peers.snapshot(1), pristine=False)
    assert snapshots.earlier() is None
    assert take(snapshots.latest()) == 1


def test_nobody_who_wants_no_snapshots_of_cells_loses_the_pristine_one(three: Snapshots, peers: Peers) -> None:
    three.discard_cells()
    assert (three.current, three.previous) == (None, None)
    assert three.pristine is not None
    assert peers.alive() == three.pids() == {three.pristine.pid}


def test_spare_ones_are_all_but_that_of_the_session_as_it_is(three: Snapshots, peers: Peers) -> None:
    three.discard_spare()
    assert (three.pristine, three.previous) == (None, None)
    assert three.current is not None
    assert peers.alive() == three.pids() == {three.current.pid}


def test_cells_that_have_begun_since_are_counted(three: Snapshots, peers: Peers) -> None:
    three.request_started(cell=True)
    three.add(peers.snapshot(3), pristine=False)
    three.request_started(cell=True)
    three.request_started(cell=False)
    three.request_started(cell=True)
    assert (three.previous and three.previous.started, three.current and three.current.started) == (3, 2)
    assert three.pristine is not None
    assert three.pristine.started == 0
    assert three.requests == 4


@given(
    st.lists(
        st.one_of(
            st.integers(0, 3),  # a snapshot before that cell, the pristine one before none
            st.sampled_from(["latest", "earlier", "first", "discard_cells", "discard_spare", "missed"]),
            st.tuples(st.sampled_from(["base", "repeats"]), st.integers(1, 3)),
        ),
        max_size=30,
    )
)
def test_whatever_happens_no_copy_lives_but_those_that_are_there(steps: list[int | str | tuple[str, int]]) -> None:
    snapshots, peers = Snapshots(), Peers()
    try:
        for step in steps:
            if isinstance(step, int):
                snapshots.add(peers.snapshot(step), pristine=step == 0)
            elif step == ("base", step[1]):
                snapshots.base(int(step[1]))
            elif step == ("repeats", step[1]):
                snapshots.repeats(int(step[1]), b"record")
            elif (found := getattr(snapshots, step)()) is not None:
                assert found.pid in peers.alive()
                assert found.pid not in snapshots.pids()
                found.discard()
            assert peers.alive() == snapshots.pids()
            assert snapshots.current is None or snapshots.current is not snapshots.previous
        snapshots.discard()
        assert not peers.alive()
    finally:
        peers.close()


@linux
def test_that_of_the_session_does_not_go_first_when_memory_runs_out(forks: Forks) -> None:
    snapshots = Snapshots()
    copies = [Copy(forks) for _ in range(2)]
    snapshots.add(Snapshot(copies[0].fd, copies[0].pid, 0), pristine=True)
    snapshots.base(1)
    assert score(copies[0].pid) == min(1000, score("self") + WORKER)
    snapshots.add(Snapshot(copies[1].fd, copies[1].pid, 2), pristine=False)
    assert score(copies[0].pid) == 1000
    snapshots.discard_cells()
    snapshots.base(1)
    assert score(copies[0].pid) < 1000
    snapshots.discard_cells()
    assert score(copies[0].pid) == 1000
    snapshots.discard()
    assert [forks.status(copy.pid) for copy in copies] == [0, 0]
