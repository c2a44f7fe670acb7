"""The largest variables of the session and of the functions that run: what somebody wants to see whose memory runs out.

It is called in the control thread while user code runs. So it calls no code of the user's, makes no copies, looks at
so many objects and no more; and what it says of containers is an estimate, from some of what is in them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from types import FrameType, ModuleType
from typing import Any, NamedTuple

from ipymini_worker import where
from ipymini_worker.variables import is_shown

#: Variables that are shown, and the least that one is shown for, in bytes.
SHOWN, LEAST = 5, 1 << 20
#: Objects that are looked at, in all and for one variable.
_BUDGET, _EACH = 40_000, 4_000
#: Items of a container that are looked at, the fewer the deeper it is.
_SAMPLES = (50, 8, 4, 2)
#: What says itself how large its data is: by the module of the type, the attribute or method that says it.
_TOLD = {
    "numpy": "nbytes",
    "pyarrow": "nbytes",
    "torch": "nbytes",
    "xarray": "nbytes",
    "pandas": "memory_usage",
    "polars": "estimated_size",
}


class Row(NamedTuple):
    """One variable."""

    name: str
    kind: str  #: its type, and how many items it has
    size: int  #: bytes


def table(namespace: Mapping[str, Any]) -> str:
    """The largest variables as lines of text for people."""
    rows = find(namespace)
    if not rows:
        return "No variable is large."
    names, kinds = max(len(r.name) for r in rows), max(len(r.kind) for r in rows)
    lines = [f"  {r.name:<{names}}  {r.kind:<{kinds}}  {r.size / (1 << 20):>9,.1f} MiB" for r in rows]
    return "\n".join(["The largest variables:", *lines])


def find(namespace: Mapping[str, Any]) -> list[Row]:
    """The largest ones, the largest first; those of functions that run in other threads are named after them."""
    ruler, rows, seen = Ruler(), [], set[int]()
    for name, value in _variables(namespace):
        if id(value) in seen:  # a variable that is another name for what was there before
            continue
        seen.add(id(value))
        size = ruler.measure_variable(value)
        if size >= LEAST:
            rows.append(Row(name[:60], _kind(value), size))
    return sorted(rows, key=lambda row: -row.size)[:SHOWN]


def _variables(namespace: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from ((name, value) for name, value in list(namespace.items()) if is_shown(name))
    own = threading.get_ident()
    for thread, top in where.frames().items():
        frame: FrameType | None = top if thread != own else None
        while frame is not None:
            if frame.f_globals is namespace and frame.f_locals is not namespace:
                yield from ((f"{name} in {frame.f_code.co_name}()", value) for name, value in _locals(frame))
            frame = frame.f_back


def _locals(frame: FrameType) -> list[tuple[str, Any]]:
    return list(frame.f_locals.items())


def _kind(value: Any) -> str:
    name = type(value).__name__[:40]
    base = _base(value)
    return name if base is None else f"{name} of {base.__len__(value):,}"


def _base(value: Any) -> Any:
    """The type of Python's own that a container is; its methods are not the user's."""
    return next((base for base in (list, tuple, dict, set, frozenset, deque) if issubclass(type(value), base)), None)


class Ruler:
    """Estimates sizes, until it has looked at so many objects."""

    def __init__(self) -> None:
        self._total = _BUDGET
        self._left = 0

    def measure_variable(self, value: Any) -> int:
        """Bytes of an object and of what is in it; 0 for what is everybody's, such as a module."""
        self._left = min(_EACH, self._total)
        self._total -= self._left
        size = self.measure(value)
        self._total += self._left
        return size

    def measure(self, value: Any, depth: int = 0) -> int:
        """The same for an object in it."""
        # Not `isinstance`, which asks the object.
        if self._left <= 0 or issubclass(type(value), (ModuleType, type)):
            return 0
        self._left -= 1
        told = _told(value)
        if told is not None:
            return told
        size = _shallow(value)
        if depth >= len(_SAMPLES):
            return size
        try:
            return size + self._inside(value, depth)
        except RuntimeError:  # it changes while it is looked at
            return size

    def _inside(self, value: Any, depth: int) -> int:
        base = _base(value)
        if base is None:
            inner = _attributes(value)
            return self.measure(inner, depth + 1) if inner is not None else 0
        count, sample = base.__len__(value), _SAMPLES[depth]
        if base is dict:
            pairs = islice(dict.items(value), sample)
            return self._extrapolate([part for pair in pairs for part in pair], 2 * count, depth)
        if base in (list, tuple):
            return self._extrapolate(_spread(value, base, count, sample), count, depth)
        return self._extrapolate(list(islice(base.__iter__(value), sample)), count, depth)

    def _extrapolate(self, some: list[Any], count: int, depth: int) -> int:
        """What `count` objects have, of which these are some; the same one again costs nothing."""
        different = {id(item): item for item in some}
        size = sum(self.measure(item, depth + 1) for item in different.values())
        if len(different) < len(some) or not some:
            return size
        return size * count // len(some)


def _spread(value: Any, base: Any, count: int, sample: int) -> list[Any]:
    """Some items, from all over a sequence."""
    found = []
    for at in range(0, count, max(1, count // sample)):
        try:
            found.append(base.__getitem__(value, at))
        except IndexError:  # it has become shorter
            break
    return found


def _attributes(value: Any) -> dict[str, Any] | None:
    if type(value).__module__ == "builtins":
        return None
    try:
        inner = object.__getattribute__(value, "__dict__")
    except Exception:  # it has none
        return None
    return inner if type(inner) is dict else None


def _told(value: Any) -> int | None:
    """What an object of a library that we know says of its size."""
    name = _TOLD.get(type(value).__module__.partition(".")[0])
    if name is None:
        return None
    try:
        told = getattr(value, name)
        if callable(told):
            told = told(deep=False) if name == "memory_usage" else told()
        return int(told.sum() if hasattr(told, "sum") else told)
    except Exception:  # another one of its types, which does not say
        return None


def _shallow(value: Any) -> int:
    # Not a `__sizeof__` that is written in Python: the user's own code is not called here.
    method: Any = type(value).__sizeof__
    if hasattr(method, "__code__"):
        method = object.__sizeof__
    try:
        return int(method(value))
    except Exception:
        return 0
