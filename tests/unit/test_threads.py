"""Whether a process does not run, or is kept from running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from ipymini_supervisor.threads import Thread, leaving, look, starved


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Thread("S", 1.0), Thread("S", 1.0), False),  # waits for a lock
        (Thread("R", 1.0), Thread("R", 1.1), False),  # computes
        (Thread("R", 1.0), Thread("S", 1.02), False),
        (Thread("R", 1.0), Thread("R", 1.02), True),
        (Thread("S", 1.0), Thread("R", 1.0), True),  # was woken up, and has no CPU yet
        (Thread("S", 1.0), Thread("D", 1.0), True),  # waits for its memory
    ],
)
def test_starved(before: Thread, after: Thread, expected: bool) -> None:
    assert starved({7: before}, {7: after}, 0.1) is expected
    quiet = Thread("S", 3.0)
    assert starved({6: quiet, 7: before, 8: quiet}, {6: quiet, 7: after, 9: quiet}, 0.1) is expected


def test_new_thread_without_a_cpu_is_starved() -> None:
    assert starved({}, {7: Thread("R", 0.0)}, 0.1)


def test_nothing_is_known_where_the_system_does_not_tell() -> None:
    assert starved({7: Thread("S", 1.0)}, {}, 0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_look() -> None:
    ours = look(os.getpid())
    assert ours[os.getpid()].state in "RS"
    assert ours[os.getpid()].cpu > 0
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    os.kill(other.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, other.pid, os.WSTOPPED)
    assert look(other.pid)[other.pid].state in "Tt"
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    other.communicate()
    assert look(other.pid) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_who_has_ended_is_leaving() -> None:
    """Also as long as nobody has taken its status."""
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    assert not leaving(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert leaving(process.pid)
    process.wait()
    assert leaving(process.pid)
    assert process.stdin is not None
    process.stdin.close()
