"""Copies of a process that are not its children, made in both ways. Each test runs in a process of its own."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from forks import PATIENCE, Forks
from ipymini_worker import forking
from ipymini_worker.forking import Forker, NoCopy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="snapshots need Linux")
WAYS = ["twice", pytest.param("once", marks=pytest.mark.skipif(platform.machine() != "x86_64", reason="machine code"))]
#: The option by which a process becomes the parent of whatever is orphaned below it.
_SUBREAPER = 36


def forker(way: str) -> Forker:
    """One that forks in a certain way."""
    made = Forker()
    if way == "once":
        made._forks = forking._LOOKS_AT - 1
    return made


@contextmanager
def alone() -> Iterator[None]:
    """For the body of a test, in a process that gets what is orphaned below it."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    signal.alarm(int(PATIENCE))
    yield


def copied(made: Forker, says: Callable[[], object], *, exclusive: bool = False) -> tuple[int, Any]:
    """Makes a copy and has it say something; gives its process id and what it has said. It is over then."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = made.fork(theirs.fileno(), ours.fileno(), exclusive=exclusive)
    if pid == 0:
        try:
            ours.detach()
            for fd in made.cut:
                os.close(fd)
            if theirs.recv(1):
                theirs.send(json.dumps(says()).encode())
        finally:
            os._exit(0)
    theirs.close()
    ours.send(b"?")
    said = json.loads(ours.recv(1 << 16))
    ours.recv(1)  # until it has ended
    ours.close()
    return pid, said


def refused() -> int:
    """A system that does not fork."""
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def in_a_process(body: Callable[[], Any]) -> Any:
    """What `body` returns in a child of the tests' process."""
    forks = Forks()

    def run() -> Any:
        with alone():
            return body()

    try:
        return forks.result(run)
    finally:
        forks.end()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("exclusive", [False, True])
def test_copy_belongs_to_the_next_subreaper(way: str, exclusive: bool) -> None:
    def body() -> Any:
        made = forker(way)

        def parent() -> Any:  # one level below the subreaper, as the worker is
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            pid = made.fork(theirs.fileno(), ours.fileno(), exclusive=exclusive)
            if pid == 0:
                for fd in made.cut:
                    os.close(fd)
                theirs.recv(1)
                theirs.send(json.dumps([os.getpid(), os.getppid(), os.getpgid(0)]).encode())
                os._exit(0)
            theirs.close()
            ours.send(b"?")
            said = json.loads(ours.recv(1 << 10))
            try:
                found = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                found = None
            return [pid, said, found, made._once is not None]

        read, write = os.pipe()
        worker = os.fork()
        if worker == 0:
            os.write(write, json.dumps(parent()).encode())
            os._exit(0)
        told = json.loads(os.read(read, 1 << 10))
        ended = {os.waitpid(-1, 0)[0], os.waitpid(-1, 0)[0]}
        return [*told, os.getpid(), worker, sorted(ended)]

    pid, (own, parent, group), found, once, here, worker, ended = in_a_process(body)
    assert (own, parent) == (pid, here)
    assert group not in (here, worker)  # which may be killed as a whole
    assert found is None
    assert once == (way == "once")
    assert ended == sorted([pid, worker])


@pytest.mark.parametrize("way", WAYS)
def test_copies_of_copies_have_threads_signals_and_processors(way: str) -> None:
    libc = ctypes.CDLL(None)

    def look() -> list[Any]:
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        seen = []
        for cpu in sorted(os.sched_getaffinity(0))[:2]:
            os.sched_setaffinity(0, {cpu})
            seen.append(libc.sched_getcpu() == cpu)
        blocked = sorted(int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, []))
        output = subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, check=True).stdout
        return [blocked, all(seen), output.decode(), threading.active_count()]

    def body() -> Any:
        signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR1})
        made = forker(way)
        return copied(made, lambda: [look(), copied(made, look)[1]])[1]

    expected = [[int(signal.SIGUSR1)], True, "1\n", 1]
    assert in_a_process(body) == [expected, expected]


@pytest.mark.parametrize("way", WAYS)
def test_original_goes_on_as_it_was(way: str) -> None:
    def body() -> Any:
        heard: list[int] = []
        signal.signal(signal.SIGCHLD, lambda number, frame: heard.append(number))
        signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR2})
        waits = threading.Event()
        thread = threading.Thread(target=waits.wait)
        thread.start()
        made = forker(way)
        before = len(os.listdir("/proc/self/fd"))
        pids = {copied(made, os.getpid)[1] for _ in range(20)}
        after = len(os.listdir("/proc/self/fd"))
        blocked = sorted(int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, []))
        waits.set()
        thread.join()
        return [len(pids), after - before, blocked]

    assert in_a_process(body) == [20, 0, [int(signal.SIGUSR2)]]


@pytest.mark.parametrize("way", WAYS)
def test_copy_that_is_discarded_ends(way: str) -> None:
    def body() -> Any:
        made = forker(way)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = made.fork(theirs.fileno(), ours.fileno(), exclusive=False)
        if pid == 0:
            os._exit(0 if not theirs.recv(1) else 1)
        theirs.close()
        ours.close()
        return os.waitpid(pid, 0)[1]

    assert in_a_process(body) == 0


def _fails_at(made: Forker) -> None:
    copied(made, os.getpid)
    assert made._once is not None
    # The process in between has no child to wait for, so that this returns -1 as `fork` does.
    made._once._words[2] = ctypes.cast(ctypes.CDLL(None).wait, ctypes.c_void_p).value or 0


@pytest.mark.parametrize("way", WAYS)
def test_system_that_refuses_a_process_leaves_everything_as_it_was(way: str) -> None:
    def body() -> Any:
        made = forker(way)
        if way == "once":
            _fails_at(made)
        os.fork = refused
        before = len(os.listdir("/proc/self/fd"))
        try:
            made.fork(0, 1, exclusive=True)
        except NoCopy as reason:
            return [str(reason), len(os.listdir("/proc/self/fd")) - before, made.broken]
        return None

    assert in_a_process(body) == ["The system refuses a copy (Resource temporarily unavailable).", 0, ""]


@pytest.mark.parametrize("way", WAYS[1:])
def test_where_one_fork_does_not_do_two_are_made(way: str) -> None:
    def body() -> Any:
        made = forker(way)
        _fails_at(made)
        return [copied(made, os.getpid)[1] > 0, made._once is None]

    assert in_a_process(body) == [True, True]


@pytest.mark.parametrize("way", WAYS[1:])
def test_where_native_threads_run_two_are_made(way: str) -> None:
    """A thread that Python does not know of, as those of OpenBLAS."""

    def body() -> Any:
        libc = ctypes.CDLL(None)
        made = forker(way)
        copied(made, os.getpid)
        once: Any = made._once
        calls: list[int] = []
        call = once._call
        once._call = lambda argument: (calls.append(1), call(argument))[1]
        thread = ctypes.c_ulong()
        assert not libc.pthread_create(ctypes.byref(thread), None, libc.pause, None)
        copied(made, os.getpid)
        before = len(calls)
        libc.pthread_cancel(thread)
        libc.pthread_join(thread, None)
        copied(made, os.getpid)
        return [before, len(calls)]

    assert in_a_process(body) == [0, 1]


@pytest.mark.parametrize("way", WAYS)
def test_copy_minds_its_own_copies_and_not_those_of_the_original(way: str) -> None:
    """One that has been discarded while it rested has never come up."""

    def body() -> Any:
        made = forker(way)

        def later() -> str:
            made._made -= forking._PATIENCE + 1
            copied(made, os.getpid)
            return made.broken

        def goes_on() -> str:
            assert told is not None
            told[:16] = os.getpid().to_bytes(8, "little") + bytes(8)  # as the original would
            return later()

        copied(made, os.getpid)
        told = made._told
        return copied(made, goes_on)[1]

    assert in_a_process(body) == ""


def test_copy_that_does_not_come_up_is_the_last_one() -> None:
    def body() -> Any:
        made = forker("twice")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = made.fork(theirs.fileno(), ours.fileno(), exclusive=False)
        if pid == 0:
            theirs.send(b"!")
            theirs.recv(1)
            os._exit(0)
        theirs.close()
        assert ours.recv(1) == b"!"
        assert made._told is not None
        made._told[8:16] = bytes(8)  # as if it had not
        made._made -= forking._PATIENCE + 1
        try:
            made.fork(0, 1, exclusive=False)
        except NoCopy as reason:
            return [str(reason), made.broken]
        finally:
            ours.close()
        return None

    sentence = "A copy took too long to be made; a library keeps it from coming up."
    assert in_a_process(body) == [sentence, sentence]
