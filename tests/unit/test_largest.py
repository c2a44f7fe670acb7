"""The largest variables, found without calling anything of the user's and without looking at everything."""

from __future__ import annotations

import collections
import threading
import types
from typing import Any

import pytest

from ipymini_worker.largest import LEAST, SHOWN, find, table

MIB = 1 << 20


def sizes(**namespace: Any) -> dict[str, float]:
    """What is found, in MiB."""
    return {row.name: row.size / MIB for row in find(namespace)}


class Plain:
    """An object with attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Slotted:
    """An object without."""

    __slots__ = ("data",)


#: The methods of the user's that were called.
called: list[str] = []


class Hostile:
    """Whatever is asked of it is noted, raises, or would never return."""

    def __getattribute__(self, name: str) -> Any:
        called.append(name)
        raise AssertionError(name)

    def _refuse(self, *args: Any) -> Any:
        called.append("a method")
        raise AssertionError

    __len__ = __iter__ = __repr__ = __sizeof__ = __eq__ = __hash__ = _refuse  # type: ignore[assignment]


class HostileList(list[Any]):
    """A list whose methods are the user's."""

    def _refuse(self, *args: Any) -> Any:
        called.append("a method of the list")
        raise AssertionError

    __len__ = __iter__ = __getitem__ = __sizeof__ = _refuse  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (bytearray(5 * MIB), 5),
        ("x" * (3 * MIB), 3),
        ([bytes(MIB) for _ in range(7)], 7),
        ([bytes(1000 + i % 2) for i in range(20_000)], 19.7),
        ({i: bytearray(1000) for i in range(20_000)}, 20.8),
        ({b"%d" % i + bytes(1000) for i in range(20_000)}, 20.7),
        (collections.deque(bytearray(1000) for _ in range(20_000)), 20.3),
        ([bytearray(5 * MIB)] * 1000, 5),
        (Plain(one=bytearray(2 * MIB), more=[bytearray(3 * MIB)]), 5),
        ((Plain(data=(bytes(4 * MIB),)),), 4),
        (HostileList([bytearray(2 * MIB), bytearray(2 * MIB)]), 4),
    ],
    ids=lambda value: type(value).__name__,
)
def test_size_is_about_right(value: Any, size: float) -> None:
    assert sizes(value=value)["value"] == pytest.approx(size, rel=0.15)


def test_libraries_say_how_large_their_data_is() -> None:
    np, pd = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    array = np.zeros(2 * MIB)
    found = sizes(array=array, view=array[: MIB // 4], frame=pd.DataFrame({"a": array}), column=pd.Series(array))
    assert found == pytest.approx({"array": 16, "view": 2, "frame": 16, "column": 16}, rel=0.01)


def test_what_refers_to_itself_has_an_end() -> None:
    ring: list[Any] = [bytearray(2 * MIB)]
    ring.append(ring)
    node = Plain(data=bytearray(2 * MIB))
    node.node = node  # type: ignore[attr-defined]
    assert sizes(ring=ring, node=node).keys() == {"ring", "node"}


def test_nothing_of_the_users_is_called() -> None:
    called.clear()
    namespace = {"value": Hostile(), "values": HostileList([Hostile()] * 2), "data": bytearray(2 * MIB)}
    assert sizes(**namespace) == pytest.approx({"data": 2}, rel=0.01)
    assert called == []


def test_work_has_an_end() -> None:
    deep: Any = [[[[[i] for i in range(9)] for _ in range(9)] for _ in range(9)] for _ in range(90)]
    many = {f"v{i}": deep for i in range(100)} | {f"w{i}": list(deep) for i in range(1000)}
    assert len(find(many)) <= SHOWN


def test_only_the_largest_are_shown_and_one_of_two_names() -> None:
    namespace: dict[str, Any] = {f"v{i}": bytearray((i + 1) * 2 * MIB) for i in range(SHOWN + 3)}
    namespace |= {"again": namespace["v7"], "small": bytearray(LEAST // 2), "_1": bytearray(99 * MIB)}
    namespace |= {"module": types, "kind": Plain}
    assert list(sizes(**namespace)) == ["v7", "v6", "v5", "v4", "v3"]


def test_variables_of_functions_that_run_are_found() -> None:
    namespace: dict[str, Any] = {"gate": threading.Event(), "there": threading.Event()}
    exec(
        "def inner(part):\n    there.set(); gate.wait()\n"
        "def outer():\n    local = bytearray(9 << 20)\n    inner(bytearray(3 << 20))",
        namespace,
    )
    thread = threading.Thread(target=namespace["outer"])
    thread.start()
    try:
        assert namespace["there"].wait(20)
        assert [row.name for row in find(namespace)] == ["local in outer()", "part in inner()"]
    finally:
        namespace["gate"].set()
        thread.join()


def test_table_is_for_people() -> None:
    assert table({}) == "No variable is large."
    shown = table({"data": [bytearray(MIB) for _ in range(1100)], "text": "x" * (2 * MIB)})
    assert shown.splitlines() == [
        "The largest variables:",
        "  data  list of 1,100    1,100.1 MiB",
        "  text  str                  2.0 MiB",
    ]
