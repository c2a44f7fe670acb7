"""The variables of the session as a debugger shows them while nothing is stopped (DAP: variables)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

#: References from here on are ours; below are pydevd's, for what is stopped.
FIRST = 1 << 40
#: Items of one container, and characters of one value, that are shown.
_ITEMS, _TEXT = 1000, 1000
_HIDDEN = re.compile(r"_i\d*|_ii|_iii|_oh|_dh|_ih|_+|_\d+|In|Out|get_ipython|exit|quit|open|__\w+__|debugpy")
_PLAIN = (str, bytes, bytearray, int, float, complex, bool, type(None))


def is_shown(name: str) -> bool:
    """Whether a variable is the user's, and not IPython's."""
    return not _HIDDEN.fullmatch(name)


class Variables:
    """Lists variables, and what is in them by the reference that stands for it."""

    def __init__(self) -> None:
        self._values: list[Any] = []

    def session(self, namespace: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The variables of the session. References from before are void."""
        self._values = []
        return [self._row(name, value, name) for name, value in list(namespace.items()) if is_shown(name)]

    def inside(self, reference: int) -> list[dict[str, Any]] | None:
        """What is in a value; None if the reference is not one of ours."""
        at = reference - FIRST
        if not 0 <= at < len(self._values):
            return None
        return [self._row(name, value) for name, value in _children(self._values[at])]

    def _row(self, name: str, value: Any, path: str = "") -> dict[str, Any]:
        row: dict[str, Any] = {"name": name, "value": _text(value), "type": type(value).__name__}
        row["variablesReference"] = 0
        if not isinstance(value, _PLAIN):
            row["variablesReference"] = FIRST + len(self._values)
            self._values.append(value)
        return row | {"evaluateName": path} if path else row


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    try:
        if isinstance(value, Mapping):
            pairs = [(_text(key), item) for key, item in zip(value, value.values(), strict=False)]
        elif isinstance(value, (list, tuple, set, frozenset)):
            pairs = [(str(number), item) for number, item in enumerate(value)]
        else:
            pairs = list(vars(value).items())
    except Exception:  # the user's object does not want to be looked into, or changes meanwhile
        pairs = []
    yield from pairs[:_ITEMS]


def _text(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as error:  # from the user's __repr__
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}…"
