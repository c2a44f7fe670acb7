"""JSON for whatever users put into displays, metadata and comms: a message must never break for its content."""

from __future__ import annotations

import base64
import json
import math
import os
import re
from datetime import date, datetime
from typing import Any

#: Containers in containers that are written out; frontends cannot show more.
_DEEPEST = 100
_SURROGATE = re.compile("[\ud800-\udfff]")


def encode(content: object) -> bytes:
    """`content` as JSON in UTF-8; never fails.

    What JSON has no form for becomes what frontends get from other kernels: NaN and infinities their `repr`, bytes
    base64, dates ISO 8601, sets lists, paths and unknown objects strings. Lone surrogates become what Python shows of
    them, as in printed text: no UTF-8 has them, and a notebook with one in it cannot be saved.
    """
    try:
        text = _encode(content)
    except Exception:  # NaN, a circle, and whatever the user's objects raise when they are asked
        text = _encode(_clean(content, ()))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub(lambda match: rf"\\u{ord(match[0]):04x}", text).encode()


def _default(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return value.tolist()
    if hasattr(value, "__iter__") and not isinstance(value, type):
        return list(value)
    return str(value)


#: One for all: `json.dumps` makes an encoder for each call, which takes as long as the work.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_default).encode


def _clean(value: Any, above: tuple[int, ...]) -> Any:
    """A copy of `value` that is certain to be JSON; `above` are the containers that we are in, against circles."""
    if value is None or isinstance(value, (bool, str)):
        return value
    try:
        if isinstance(value, int):
            return int(value) if value.bit_length() < 10_000 else hex(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else repr(float(value))
        if id(value) in above or len(above) >= _DEEPEST:
            return "..."
        inner = (*above, id(value))
        if isinstance(value, dict):
            return {_key(k): _clean(v, inner) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [_clean(v, inner) for v in value]
        return _clean(_default(value), inner)
    except Exception:  # from the user's object
        return f"<{type(value).__name__}>"


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    try:
        return json.dumps(key) if key is None or isinstance(key, (bool, int)) else str(key)
    except Exception:  # from the user's object
        return f"<{type(key).__name__}>"
