"""What a test may leave behind: nothing. Compared before and after."""

from __future__ import annotations

import gc
import os
import threading
from typing import NamedTuple

import psutil


class Belongings(NamedTuple):
    """What the test process has."""

    processes: frozenset[int]
    threads: frozenset[threading.Thread]
    descriptors: frozenset[tuple[int, str]]

    @classmethod
    def now(cls) -> Belongings:
        """What there is at this moment."""
        return cls(children(), frozenset(threading.enumerate()), descriptors())

    def left(self, before: Belongings) -> list[str]:
        """What is here and was not there before, in words."""
        found = [f"process {pid}: {described(pid)}" for pid in self.processes - before.processes]
        found += [f"thread {thread.name}" for thread in self.threads - before.threads]
        found += [f"descriptor {fd}: {target}" for fd, target in self.descriptors - before.descriptors]
        return found


def children() -> frozenset[int]:
    """The direct children of this process, zombies among them."""
    return frozenset(child.pid for child in psutil.Process().children())


def described(pid: int) -> str:
    """The command line of a process, or its state if it has none any longer."""
    try:
        process = psutil.Process(pid)
        return " ".join(process.cmdline())[:200] or process.status()
    except psutil.Error:
        return "gone"


def descriptors() -> frozenset[tuple[int, str]]:
    """The open descriptors of this process with what they refer to; empty where the system does not tell."""
    found = set()
    folder = "/proc/self/fd"
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        try:
            found.add((int(name), os.readlink(f"{folder}/{name}")))
        except OSError:  # the one that listdir itself used
            continue
    return frozenset(found)


def leaks_since(before: Belongings) -> list[str]:
    """What has come since `before` and is still here when everything unreachable is gone."""
    if Belongings.now().left(before):
        gc.collect()
    return Belongings.now().left(before)
