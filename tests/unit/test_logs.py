"""The log: one line for each event."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from datetime import datetime
from io import StringIO

import pytest

from ipymini_supervisor.logs import FACTS, FORMAT, LEVEL, configure, kernel_id

FILE = "/run/kernel-1234-abcd.json"


class Stderr:
    """What the log is written to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._stream = StringIO()

    def begin(self, environment: dict[str, str]) -> None:
        """Configures the log, as if nobody had; pytest has handlers and a stderr of its own in each phase."""
        self._monkeypatch.setattr(sys, "stderr", self._stream)
        logging.getLogger().handlers[:] = []
        configure(environment, FILE)

    @property
    def lines(self) -> list[str]:
        return self._stream.getvalue().splitlines()


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stderr]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield Stderr(monkeypatch)
    root.handlers[:] = handlers
    root.setLevel(level)


def events(log: logging.Logger) -> None:
    log.debug("debug")
    log.info("info %d", 7)
    log.warning("two\nlines\r")
    log.error("It died.", extra={FACTS: {"signal": "SIGKILL", "stack": ["a", "b"]}})
    try:
        raise ValueError("oops")
    except ValueError:
        log.exception("A bug.")


def test_people_get_a_line_with_time_level_and_sentence(stderr: Stderr) -> None:
    stderr.begin({})
    events(logging.getLogger("ipymini"))
    lines = [line.partition(" ipymini ") for line in stderr.lines]
    datetime.fromisoformat(lines[0][0].replace(",", "."))
    assert [text for *_, text in lines[:3]] == [
        "WARNING: two\\nlines\\r",
        'ERROR: It died. {"signal": "SIGKILL", "stack": ["a", "b"]}',
        "ERROR: A bug.",
    ]
    assert lines[3][0] == "Traceback (most recent call last):"


def test_programs_get_objects(stderr: Stderr) -> None:
    stderr.begin({FORMAT: "JSON", LEVEL: "info"})
    events(logging.getLogger("ipymini"))
    entries = [json.loads(line) for line in stderr.lines]
    assert [(entry["level"], entry["message"]) for entry in entries] == [
        ("INFO", "info 7"),
        ("WARNING", "two\nlines\r"),
        ("ERROR", "It died."),
        ("ERROR", "A bug."),
    ]
    assert {entry["kernel"] for entry in entries} == {"1234-abcd"}
    assert all(datetime.fromisoformat(entry["time"]).utcoffset() is not None for entry in entries)
    assert entries[2]["facts"] == {"signal": "SIGKILL", "stack": ["a", "b"]}
    assert entries[3]["traceback"].endswith("ValueError: oops")
    assert "facts" not in entries[0]


@pytest.mark.parametrize(
    ("level", "count"), [("DEBUG", 5), ("info", 4), ("", 3), ("WARNING", 3), ("ERROR", 2), ("CRITICAL", 0)]
)
def test_levels(stderr: Stderr, level: str, count: int) -> None:
    stderr.begin({FORMAT: "json", LEVEL: level})
    events(logging.getLogger("ipymini"))
    assert len(stderr.lines) == count


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        (FORMAT, "xml", "IPYMINI_LOG_FORMAT is 'xml'; it has to be human or json, and is left out."),
        (
            LEVEL,
            "loud",
            "IPYMINI_LOG_LEVEL is 'loud'; it has to be DEBUG, INFO, WARNING, ERROR or CRITICAL, and is left out.",
        ),
    ],
)
def test_bad_values_are_named_and_left_out(stderr: Stderr, name: str, text: str, sentence: str) -> None:
    stderr.begin({name: text})
    (line,) = stderr.lines
    assert line.endswith(f" ipymini WARNING: {sentence}")


@pytest.mark.parametrize(
    ("file", "kernel"), [(FILE, "1234-abcd"), ("mine.json", "mine"), ("/a/kernel-7", "7"), ("/a/b", "b")]
)
def test_kernel_has_the_id_of_its_connection_file(file: str, kernel: str) -> None:
    assert kernel_id(file) == kernel
