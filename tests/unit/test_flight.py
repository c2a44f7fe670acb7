"""What a flight record says about the end of the kernel that wrote it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipymini_supervisor.flight import Last, read, tell

GIB = 1 << 30


def lines(*events: dict[str, Any]) -> list[bytes]:
    return [json.dumps({"time": f"2026-01-01T00:00:{at:02}Z", **event}).encode() for at, event in enumerate(events)]


START: dict[str, Any] = {"event": "start", "pid": 77}
END: dict[str, Any] = {"event": "end"}


def started(msg_id: str, cell: int) -> dict[str, Any]:
    return {"event": "started", "msg_id": msg_id, "cell": cell}


def reply(msg_id: str) -> dict[str, Any]:
    return {"event": "reply", "msg_id": msg_id, "status": "ok"}


def memory(used: float, msg_id: str = "a", cell: int = 0) -> dict[str, Any]:
    return {"event": "memory", "used": int(used * GIB), "total": 4 * GIB, "msg_id": msg_id, "cell": cell}


@pytest.mark.parametrize("events", [[], [START, END], [START, started("a", 1), END], [START, END, START, END]])
def test_there_is_nothing_to_be_told_about_an_orderly_end(events: list[dict[str, Any]]) -> None:
    assert tell(read(lines(*events))) == ""


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([START], "; its last line is from 2026-01-01T00:00:00Z."),
        ([START, END, START], "; its last line is from 2026-01-01T00:00:02Z."),
        ([START, started("a", 12)], " while executing In[12]; its last line is from 2026-01-01T00:00:01Z."),
        ([started("a", 12), started("b", 13), reply("a")], " while executing In[13]; its last line is from 2026-01-01T00:00:02Z."),
        ([START, started("a", 1), started("b", 2)], " while executing In[1] and In[2]; its last line is from 2026-01-01T00:00:02Z."),
        ([START, started("a", 1), START], "; its last line is from 2026-01-01T00:00:02Z."),
        ([START, started("a", 1), reply("a"), memory(3.9)], "; its last line is from 2026-01-01T00:00:03Z."),
        (
            [START, started("a", 12), memory(1.0), memory(3.9)],
            " while executing In[12], at 3.9 GiB of 4.0 GiB; its last line is from 2026-01-01T00:00:03Z. Memory may have run out.",
        ),
        ([memory(1.0, "a", 12)], " while executing In[12], at 1.0 GiB of 4.0 GiB; its last line is from 2026-01-01T00:00:00Z."),
    ],
)  # fmt: skip
def test_end_without_a_goodbye_is_told_with_what_was_executing(events: list[dict[str, Any]], said: str) -> None:
    assert tell(read(lines(*events))) == f"The previous kernel on this record ended without saying goodbye{said}"


def test_last_words_are_kept() -> None:
    last = read(lines(START, {"event": "log", "level": "ERROR", "message": "It died."}, started("a", 1)))
    assert last == Last("2026-01-01T00:00:02Z", 77, False, (1,), 0, 0, "It died.")


def test_line_that_is_cut_is_skipped() -> None:
    whole = lines(START, started("a", 1), reply("a"))
    assert read([*whole[:2], whole[2][:-5]]).cells == (1,)
    assert read([whole[0][5:], *whole[1:]]).cells == ()


values = st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
names = st.sampled_from(["time", "event", "msg_id", "cell", "used", "total", "pid", "message", "x"])
events = st.sampled_from(["start", "end", "started", "reply", "memory", "log", "request"])
entries = st.tuples(events, st.dictionaries(names, values)).map(lambda pair: json.dumps({"event": pair[0], **pair[1]}))


@given(st.lists(st.binary(max_size=60) | entries.map(str.encode)))
def test_nothing_in_a_record_is_too_strange(found: list[bytes]) -> None:
    said = tell(read(found))
    assert len(said) < 1000
