"""What a fork, whoever makes it, waits for: that no history is in the midst of a write."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Writer(Protocol):
    """A history, which writes in a thread."""

    def hold(self) -> bool:
        """Called before a fork: returns True when nothing is being written, nor can be until `release`; False if that
        takes too long.
        """

    def release(self, *, copy: bool) -> None:
        """Called after a fork, in the original and in the copy, if `hold` has returned True."""

    def renew(self) -> None:
        """Called in the copy, after `release`: the threads of the original are not here."""


_writers: weakref.WeakSet[Writer] = weakref.WeakSet()


class _Held(threading.local):
    """What is held for a fork that the calling thread makes."""

    def __init__(self) -> None:
        self.writers: list[Writer] = []


_held = _Held()


def follow(writer: Writer) -> None:
    """From now on forks wait for `writer`, as long as it lives."""
    _writers.add(writer)


def _before_fork() -> None:
    _held.writers += [writer for writer in list(_writers) if writer.hold()]


def _after_fork(*, copy: bool) -> None:
    held, _held.writers = _held.writers, []
    for writer in held:
        writer.release(copy=copy)
    if copy:
        for writer in list(_writers):
            writer.renew()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=lambda: _after_fork(copy=False),
    after_in_child=lambda: _after_fork(copy=True),
)
