"""What is told about a dead worker: one plain sentence, and what is known besides."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from ipymini_supervisor.obituary import Death, cause, details, error, failed_start, outcome, record, sentence
from ipymini_worker.wire import LINK_LOST

FAULT = """Fatal Python error: Segmentation fault

Current thread 0x00007f0000000001 (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "<ipython-input-7-0123456789ab>", line 2 in crash
  File "<ipython-input-7-0123456789ab>", line 3 in <module>
  File "/x/IPython/core/interactiveshell.py", line 3553 in run_code
"""


def death(status: int = -signal.SIGSEGV, **facts: Any) -> Death:
    return Death(status, **facts)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0, "ended with exit status 0"),
        (3, "ended with exit status 3"),
        (255, "ended with exit status 255"),
        (LINK_LOST, "ended, because something closed file descriptors that it had not opened"),
        (-signal.SIGSEGV, "died of SIGSEGV (segmentation fault)"),
        (-signal.SIGABRT, "died of SIGABRT (abort)"),
        (-signal.SIGKILL, "died of SIGKILL (killed from outside)"),
        (-signal.SIGTERM, "died of SIGTERM (terminated)"),
        (-signal.SIGBUS, "died of SIGBUS (bus error)"),
        (-signal.SIGFPE, "died of SIGFPE (arithmetic error)"),
        (-signal.SIGILL, "died of SIGILL (illegal instruction)"),
        (-signal.SIGUSR1, "died of SIGUSR1"),
        (-100, "died of signal 100"),
    ],
)
def test_cause_is_told_in_words(status: int, expected: str) -> None:
    assert cause(death(status)) == expected


def test_reason_of_ours_comes_before_the_signal_that_we_sent() -> None:
    assert cause(death(-signal.SIGKILL, reason="was killed, because it lied")) == "was killed, because it lied"


@pytest.mark.parametrize(("kills", "told"), [(1, True), (0, False), (None, False)])
def test_kill_by_the_system_for_memory_is_told_where_it_was_counted(kills: int | None, told: bool) -> None:
    assert ("memory ran out" in cause(death(-signal.SIGKILL, oom_kills=kills))) is told
    assert "memory" not in cause(death(-signal.SIGSEGV, oom_kills=kills))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"status": 1}, "The worker ended with exit status 1."),
        ({"status": 1, "cell": 7}, "The worker ended with exit status 1 in cell [7]."),
        (
            {"status": -9, "reason": "was killed, because it lied", "cell": 7},
            "The worker was killed in cell [7], because it lied.",
        ),
        (
            {"status": -9, "reason": "was killed after three interrupts"},
            "The worker was killed after three interrupts.",
        ),
    ],
)
def test_sentence_is_one(facts: dict[str, Any], expected: str) -> None:
    assert sentence(Death(**facts)) == expected


def test_error_is_the_sentence_with_the_stack_and_the_memory_below() -> None:
    content = error(death(fault=FAULT, stderr="native\n\nlast\n", peak=300 << 20, cell=7))
    assert content["ename"] == "WorkerDied"
    assert content["evalue"] == "The worker died of SIGSEGV (segmentation fault) in cell [7]."
    assert content["evalue"] in content["traceback"][0]
    lines = content["traceback"]
    assert lines.index("  Cell In[7], line 3") < lines.index("  Cell In[7], line 2, in crash")
    assert not any("interactiveshell" in line for line in lines)
    assert {"  native", "  last"} <= set(lines)
    assert "300 MiB" in lines[-1]
    json.dumps(content)


def test_only_the_last_native_words_are_told() -> None:
    told = error(death(stderr="".join(f"line {number}\n" for number in range(100))))["traceback"]
    lines = [line.strip() for line in told if line.strip().startswith("line ")]
    assert lines[-1] == "line 99"
    assert len(lines) < 20


def test_native_words_say_nothing_about_an_end_that_was_no_crash() -> None:
    assert not any("native" in line for line in error(death(3, stderr="native"))["traceback"])
    assert not any("native" in line for line in error(death(-9, reason="was killed", stderr="native"))["traceback"])


def test_details_are_what_the_error_has_left_out() -> None:
    many = "".join(f"line {number} of <b>\n" for number in range(20))
    told = details(death(fault=FAULT, stderr=many))
    assert told.startswith("<details><summary>")
    assert "line 0 of &lt;b&gt;\nline 1" in told
    assert "interactiveshell" in told
    assert "line 0 " not in " ".join(error(death(fault=FAULT, stderr=many))["traceback"])


def test_there_are_no_details_where_the_error_has_told_all() -> None:
    assert details(death(fault=FAULT, stderr="native\nlast\n")) == ""
    many = "line\n" * 20
    assert details(death(3, stderr=many)) == details(death(-9, reason="was killed", stderr=many)) == ""


def test_record_has_the_facts_for_programs() -> None:
    facts = record(death(fault=FAULT, peak=1000, uptime=1.23456, oom_kills=0, cell=7))
    assert facts == {
        "sentence": "The worker died of SIGSEGV (segmentation fault) in cell [7].",
        "signal": "SIGSEGV",
        "status": None,
        "killed_by_us": False,
        "cell": 7,
        "stack": ["Cell In[7], line 3", "Cell In[7], line 2, in crash", facts["stack"][-1]],
        "peak_bytes": 1000,
        "uptime_seconds": 1.235,
        "oom_kill_delta": 0,
        "restored": None,
    }
    assert "string_at" in facts["stack"][-1]
    json.dumps(facts)
    assert record(death(3, reason="was killed"))["status"] == 3
    assert record(death(3, reason="was killed"))["killed_by_us"] is True


def test_session_that_is_lost_is_told_to_be_lost_and_one_that_is_not_is_told_to_be_restored() -> None:
    lost = "Variables are lost; the next cell runs in a new worker."
    assert outcome(death()) == lost
    assert error(death())["traceback"][-1].endswith(lost)
    back = "Restored to the state before In[7]. 1 thread did not survive: ticker."
    assert outcome(death(restored=back)) == back
    told = error(death(restored=back, peak=1 << 20))["traceback"]
    assert told[-1] == f"Peak memory: 1 MiB. {back}"
    assert not any("lost" in line for line in told)
    assert record(death(restored=back))["restored"] == back


def test_failed_start_tells_how_the_last_attempt_ended_and_what_it_said() -> None:
    content = failed_start(death(1, stderr="Traceback\nModuleNotFoundError: No module named 'IPython'\n\n"))
    assert content["ename"] == "WorkerDied"
    assert "ended with exit status 1 before it was ready" in content["evalue"]
    assert "ModuleNotFoundError: No module named 'IPython'" in content["traceback"]
    assert "" not in content["traceback"]
    json.dumps(content)
