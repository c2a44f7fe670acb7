"""Whatever users put into a message becomes JSON in UTF-8; nothing breaks it."""

from __future__ import annotations

import enum
import json
import math
import string
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipymini_worker import jsonable


def strict(data: bytes) -> Any:
    """`data` as a frontend reads it: UTF-8, and no NaN or Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(data.decode("utf-8"), parse_constant=refuse)


def through(value: object) -> Any:
    return strict(jsonable.encode(value))


class Color(enum.IntEnum):
    RED = 1


class Shouting(str):
    __slots__ = ()


class Odd:
    """An object that raises `error` in the given method when JSON is made of it."""

    def __init__(self, method: str, error: type[Exception]) -> None:
        self.method, self.error = method, error

    def _ask(self, method: str) -> Any:
        if method == self.method:
            raise self.error("from the user's object")

    def __str__(self) -> str:
        self._ask("__str__")
        return "odd"

    @property
    def tolist(self) -> Any:
        self._ask("tolist")
        raise AttributeError

    @property
    def __iter__(self) -> Any:
        self._ask("__iter__")
        raise AttributeError


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -1.5, "", 'ünï\n"\\\x00', [], [1, [2]], {}, {"a": {"b": None}}, 2**70, "\u2028\U0001f600"],
)
def test_json_values_stay_what_they_are(value: object) -> None:
    assert through(value) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, 2), [1, 2]),
        (b"\x00\xff", "AP8="),
        (bytearray(b"ab"), "YWI="),
        (memoryview(b"ab"), "YWI="),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        ({"x": [1.0, math.nan]}, {"x": [1.0, "nan"]}),
        (datetime(2024, 2, 29, 1, 2, 3, 4, UTC), "2024-02-29T01:02:03.000004Z"),
        (datetime(2024, 2, 29, tzinfo=timezone(timedelta(hours=2))), "2024-02-29T00:00:00+02:00"),
        (date(2024, 2, 29), "2024-02-29"),
        ({7}, [7]),
        (frozenset({7}), [7]),
        (Path("/tmp/x"), "/tmp/x"),
        (PurePosixPath("a"), "a"),
        (Color.RED, 1),
        (Shouting("a"), "a"),
        (OrderedDict(a=1), {"a": 1}),
        (deque([1, 2]), [1, 2]),
        (range(3), [0, 1, 2]),
        ((i for i in (1, 2)), [1, 2]),
        ({"a": 1}.keys(), ["a"]),
        (Decimal("1.5"), "1.5"),
        (int, "<class 'int'>"),
        (Odd("", ValueError), "odd"),
    ],
)
def test_other_values_become_what_frontends_get_from_other_kernels(value: object, expected: object) -> None:
    assert through(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.float32("nan"), "nan"),
        (np.float64("inf"), "inf"),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.array([1.0, np.nan]), [1.0, "nan"]),
    ],
)
def test_numpy_values_become_plain_ones(value: object, expected: object) -> None:
    assert through({"v": value}) == {"v": expected}


def test_naive_datetime_is_taken_as_local_time() -> None:
    text = through(datetime(2024, 2, 29, 12, 0, 0))
    assert datetime.fromisoformat(text).astimezone() == datetime(2024, 2, 29, 12, 0, 0).astimezone()


@pytest.fixture(params=["UTC", "XXX-12", "XXX+12"])
def time_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("time_zone")
@pytest.mark.parametrize("value", [datetime.min, datetime.max])
def test_datetime_that_a_time_zone_cannot_hold_breaks_nothing(value: datetime) -> None:
    assert isinstance(through({"v": value})["v"], str)


@pytest.mark.parametrize("text", ["\ud800", "a\udc80b", "\udfff\ud800"])
def test_lone_surrogates_become_what_python_shows_of_them(text: str) -> None:
    """A notebook with one of them in it could not be written to a file."""
    shown = text.encode("utf-8", "backslashreplace").decode()
    assert through({text: [text]}) == {shown: [shown]}


@pytest.mark.parametrize(
    ("key", "expected"),
    [(1, "1"), (None, "null"), (True, "true"), (1.5, "1.5"), (Color.RED, "1"), ((1, 2), "(1, 2)"), (b"a", "b'a'")],
)
def test_odd_keys_become_strings(key: object, expected: str) -> None:
    assert through({key: 1}) == {expected: 1}
    assert through({key: 1, (): object}) == {expected: 1, "()": str(object)}  # in the way that nothing simple takes


def test_keys_that_are_nan_break_nothing() -> None:
    assert through({math.nan: math.nan}) == {"nan": "nan"}


def test_circles_end() -> None:
    circle: list[Any] = [1]
    circle.append({"again": circle})
    assert through(circle) == [1, {"again": "..."}]


def test_value_that_occurs_twice_is_no_circle() -> None:
    twice = {"x": math.nan}
    assert through([twice, twice]) == [{"x": "nan"}, {"x": "nan"}]


@pytest.mark.parametrize("depth", [300, 490, 510, 900, 5_000, 100_000])
@pytest.mark.parametrize("core", [1, math.nan], ids=["plain", "nan"])
def test_depth_breaks_nothing(depth: int, core: object) -> None:
    nested: Any = core
    for _ in range(depth):
        nested = [nested]
    text = jsonable.encode({"deep": nested})
    assert text.startswith(b'{"deep": [[[')
    assert text.count(b"[") == text.count(b"]")


def test_depth_of_dicts_breaks_nothing() -> None:
    nested: Any = math.nan
    for _ in range(5_000):
        nested = {"d": nested}
    assert jsonable.encode(nested).startswith(b'{"d": {"d": ')


def test_integer_of_too_many_digits_breaks_nothing() -> None:
    assert set(through({"big": 10**5000, "other": 1})) == {"big", "other"}


@pytest.mark.parametrize("error", [ValueError, RuntimeError, ZeroDivisionError, RecursionError, OSError])
@pytest.mark.parametrize("method", ["__str__", "tolist", "__iter__"])
def test_object_that_raises_when_it_is_asked_is_named_and_the_rest_arrives(method: str, error: type[Exception]) -> None:
    assert through({"odd": Odd(method, error), "other": 1}) == {"odd": "<Odd>", "other": 1}


def test_key_that_raises_when_it_is_asked_breaks_nothing() -> None:
    assert 1 in through({Odd("__str__", ValueError): 1, "other": 1}).values()


def test_view_that_is_not_contiguous_breaks_nothing() -> None:
    assert "v" in through({"v": memoryview(b"abcdef")[::2]})


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(st.characters(exclude_categories=()), max_size=10),  # surrogates too
    st.binary(max_size=10),
    st.datetimes(),
    st.dates(),
    st.timedeltas(),
    st.decimals(),
    st.complex_numbers(),
    st.frozensets(st.integers(), max_size=3),
    st.builds(Path, st.text(string.ascii_letters, min_size=1)),
    st.builds(np.float32, st.floats(width=32)),
    st.builds(object),
)
keys = st.one_of(st.text(st.characters(exclude_categories=()), max_size=5), st.integers(), st.floats(), st.tuples())
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4), st.tuples(inner)),
    max_leaves=12,
)


@given(values)
def test_any_value_is_valid_json_in_valid_utf8(value: object) -> None:
    strict(jsonable.encode(value))
