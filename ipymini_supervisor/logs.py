"""The log on stderr: one line for each event, for people or for programs."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

log = logging.getLogger("ipymini")

FORMAT, LEVEL = "IPYMINI_LOG_FORMAT", "IPYMINI_LOG_LEVEL"
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
#: The attribute of a record under which facts for programs stand: `log.info(..., extra={FACTS: {...}})`.
FACTS = "facts"


class ForPeople(logging.Formatter):
    """Time, level and sentence; then the facts, if there are any. An error of ours comes with its traceback."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s ipymini %(levelname)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line."""
        record.message = _one_line(record.message)
        facts = getattr(record, FACTS, None)
        line = super().formatMessage(record)
        if not facts:
            return line
        import json  # most kernels log nothing

        return f"{line} {json.dumps(facts)}"


class ForPrograms(logging.Formatter):
    """A JSON object: `time` (ISO 8601, UTC), `level`, `kernel`, `message`, `facts` and `traceback` if there are any.

    :param kernel: the kernel's id.
    """

    def __init__(self, kernel: str) -> None:
        super().__init__()
        self._kernel = kernel

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry: dict[str, Any] = {"time": time, "level": record.levelname, "kernel": self._kernel}
        entry["message"] = record.getMessage()
        if facts := getattr(record, FACTS, None):
            entry[FACTS] = facts
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        import json

        return json.dumps(entry, default=str)


def configure(environment: Mapping[str, str], connection_file: str) -> None:
    """Begins the log, as `IPYMINI_LOG_FORMAT` ("human", "json") and `IPYMINI_LOG_LEVEL` want it. Bad values are named
    in it and left out.
    """
    kind, level = environment.get(FORMAT, "").lower(), environment.get(LEVEL, "").upper()
    handler = logging.StreamHandler()
    handler.setFormatter(ForPrograms(kernel_id(connection_file)) if kind == "json" else ForPeople())
    handler.setLevel(level if level in _LEVELS else "WARNING")
    logging.basicConfig(level=handler.level, handlers=[handler])
    if kind not in ("", "human", "json"):
        log.warning("%s is %r; it has to be human or json, and is left out.", FORMAT, environment[FORMAT])
    if level and level not in _LEVELS:
        names = f"{', '.join(_LEVELS[:-1])} or {_LEVELS[-1]}"
        log.warning("%s is %r; it has to be %s, and is left out.", LEVEL, environment[LEVEL], names)


def kernel_id(connection_file: str) -> str:
    """The id that the launcher has given the kernel, as its connection file has it in its name."""
    return os.path.basename(connection_file).removeprefix("kernel-").removesuffix(".json")


def _one_line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")
