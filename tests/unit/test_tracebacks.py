"""Tracebacks that are shortened: what is kept, and of which exceptions."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from types import FunctionType

import pytest

from ipymini_worker.tracebacks import KEPT, shorten


@pytest.fixture(autouse=True)
def deep() -> Iterator[None]:
    old = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    yield
    sys.setrecursionlimit(old)


def descend(depth: int, end: Callable[[], None]) -> None:
    if depth:
        descend(depth - 1, end)
    else:
        end()


def fail() -> None:
    raise ValueError("the end")


def caught(depth: int, end: Callable[[], None] = fail) -> BaseException:
    try:
        descend(depth, end)
    except (ValueError, LookupError, ExceptionGroup) as error:
        return error
    raise AssertionError


def length(error: BaseException | None) -> int:
    assert error is not None
    return len(list(traceback.walk_tb(error.__traceback__)))


def test_ends_are_kept() -> None:
    error = caught(5000)
    before = error.__traceback__
    whole = [(frame, line) for frame, line in traceback.walk_tb(before)]
    shorten(error)
    assert list(traceback.walk_tb(error.__traceback__)) == whole[:KEPT] + whole[-KEPT:]
    assert list(traceback.walk_tb(before)) == whole  # for whoever has it


def called(kind: type[BaseException]) -> BaseException:
    """What is raised in a function of the worker's that somebody calls."""
    space: dict[str, object] = {"__name__": "ipymini_worker.streams", "kind": kind}
    exec("def inner(): raise kind\ndef write(): inner()", space)
    write = space["write"]
    assert callable(write)
    try:
        write()
    except BaseException as error:
        return error
    raise AssertionError


def test_interrupt_ends_at_the_line_of_the_user_s() -> None:
    """What carries out a `print` says nothing, and takes longer to be shown than all else. Other errors may."""
    interrupt, error = called(KeyboardInterrupt), called(ValueError)
    assert length(interrupt) == length(error) == 3
    shorten(interrupt)
    shorten(error)
    assert [frame.f_code.co_name for frame, _ in traceback.walk_tb(interrupt.__traceback__)] == ["called"]
    assert length(error) == 3


@pytest.mark.parametrize("depth", [0, 900, 2 * KEPT - 3])
def test_what_is_not_too_long_stays_as_it_is(depth: int) -> None:
    error = caught(depth)
    before = error.__traceback__
    shorten(error)
    assert error.__traceback__ is before


def test_exceptions_that_led_to_it_are_shortened_too() -> None:
    def again() -> None:
        first = caught(3000)
        try:
            raise first
        except ValueError:
            raise LookupError from caught(4000)

    def group() -> None:
        raise ExceptionGroup("several", [caught(3000), caught(10, again)])

    error = caught(2000, group)
    error.__context__ = error  # which ends, all the same
    shorten(error)
    assert isinstance(error, ExceptionGroup)
    one, other = error.exceptions
    for each in (error, one, other.__cause__, other.__context__):
        assert length(each) == 2 * KEPT
    shorten(None)


def test_a_frame_without_a_line_has_the_first_of_its_code() -> None:
    nowhere = FunctionType(fail.__code__.replace(co_linetable=b""), globals())
    error = caught(3, nowhere)
    before = error.__traceback__
    lines = [entry_line for _, entry_line in traceback.walk_tb(before)]
    assert lines[-1] is None
    shorten(error)
    assert [line for _, line in traceback.walk_tb(error.__traceback__)] == [*lines[:-1], fail.__code__.co_firstlineno]
    assert [line for _, line in traceback.walk_tb(before)] == lines  # for whoever has it
