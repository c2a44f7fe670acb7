"""What worker and supervisor tell each other when a worker comes, from nothing or from a snapshot."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from ipymini_worker.wire import WIRE_VERSION, Frame


def victim(frame: Frame) -> tuple[int, str]:
    """The prompt number and the code of the cell that a RESUME frame is about; 0 if its input is not to be kept."""
    cell = int(bytes(frame.parts[0]))
    try:
        content = json.loads(bytes(frame.parts[1]) or b"{}")
        code, silent = content["code"], content.get("silent", False)
        kept = isinstance(code, str) and not silent and content.get("store_history", True)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return 0, ""
    return (cell, code) if kept else (0, "")


def hello(lost: Sequence[str], folder: str) -> dict[str, Any]:
    """What HELLO says.

    :param lost: what was lost on the way from a snapshot, in sentences.
    :param folder: that cells claim to have their files in.
    """
    from importlib.util import find_spec

    import IPython

    from ipymini_worker.identity.cells import SEED

    return {
        "lost": list(lost),
        "wire": WIRE_VERSION,
        "debugger": find_spec("debugpy") is not None,
        "cells": folder + os.sep,
        "seed": SEED,
        "pid": os.getpid(),
        "python": sys.version.partition(" ")[0],
        "ipython": IPython.__version__,
    }
