"""Which kernel is meant, and the table that shows them; without a kernel."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ipymini_supervisor import running, table
from ipymini_supervisor.asking import ask
from ipymini_supervisor.cli import UsageError, main
from ipymini_supervisor.connection import Connection
from ipymini_supervisor.operate import record
from ipymini_supervisor.running import Kernel, choose


def kernel(name: str, pid: int, notebook: str | None = None, worker: int = 0) -> Kernel:
    connection = Connection("tcp", "127.0.0.1", 1, 2, 3, 4, 5, b"k", "hmac-sha256", "", f"/run/kernel-{name}.json")
    return Kernel(connection, pid, {"session_name": notebook, "pid": worker or pid + 1, "state": "idle"})


KERNELS = (
    kernel("abc-1", 100, "/home/me/a.ipynb"),
    kernel("abc-2", 200, "/home/me/b.ipynb"),
    kernel("300ff", 400, "/home/me/a.ipynb"),
    kernel("900", 300),
)


@pytest.mark.parametrize(
    ("text", "pid"),
    [
        *[("abc-1", 100), ("abc-2", 200), ("30", 400), ("9", 300), ("300f", 400)],
        *[("100", 100), ("201", 200), ("300", 300), ("400", 400)],  # of a pid and the beginning of an id the pid
        *[("b.ipynb", 200), ("b", 200), ("/home/me/b.ipynb", 200)],
        *[("/run/kernel-900.json", 300), ("kernel-900.json", 300)],
    ],
)
def test_what_is_meant(text: str, pid: int) -> None:
    assert choose(text, KERNELS).pid == pid


@pytest.mark.parametrize(("text", "pids"), [("abc", {100, 200}), ("a.ipynb", {100, 400}), ("a", {100, 400})])
def test_what_may_be_several_names_all_of_them(text: str, pids: set[int]) -> None:
    with pytest.raises(UsageError) as caught:
        choose(text, KERNELS)
    assert all((f"pid {k.pid})" in str(caught.value)) is (k.pid in pids) for k in KERNELS)


@pytest.mark.parametrize("text", ["", "x", "c-1", "/run/kernel-x.json", "None"])
def test_what_nobody_is_called(text: str) -> None:
    with pytest.raises(UsageError, match="There is no kernel"):
        choose(text, KERNELS)
    with pytest.raises(UsageError, match="none is running"):
        choose(text, [])


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("/bin/python -P -m ipymini_supervisor -f k.json", ["-f", "k.json"]),
        ("/bin/python /bin/ipymini-supervisor -f k.json", ["-f", "k.json"]),
        ("/bin/ipymini-supervisor", []),
        ("/bin/python -m ipymini_supervisor ps", None),
        ("/bin/ipymini-supervisor install --user", None),
        ("/bin/python -c code -m ipymini_supervisor", None),
        ("/bin/python -m pytest -m ipymini_supervisor", None),
        ("vim notes about ipymini-supervisor", None),
        ("", None),
    ],
)
def test_command_lines_that_run_a_kernel(command: str, arguments: list[str] | None) -> None:
    assert running._arguments(command.split()) == arguments


def test_kernel_that_nobody_listens_for_is_not_waited_for() -> None:
    """It would be as long as the test may take."""
    assert ask([kernel("gone", 1).connection], "worker_state_request", within=1e6) == [None]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ps", "--watch", "x"], "number of seconds"),
        (["ps", "--watch", "0"], "number of seconds"),
        (["ps", "x"], "Unrecognized"),
        (["stack"], "KERNEL"),
        (["stack", "--watch", "x"], "Unrecognized"),
        (["interrupt", "no-such-kernel"], "There is no kernel 'no-such-kernel'"),
        (["shutdown", "/no/such/file.json"], "There is no kernel '/no/such/file.json'"),
    ],
)
def test_bad_input_is_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_processes", list)
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert words in said.err


def test_file_that_is_no_connection_file_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    for content, words in (("{", "not valid JSON"), (json.dumps({}), "is missing")):
        file.write_text(content)
        assert main(["stack", str(file)]) == 2
        said = capsys.readouterr().err
        assert words in said
        assert said.count("\n") == 1


def test_table() -> None:
    """Ids are as short as they can be, numbers end at the right, and a notebook's name commands no terminal."""
    kernels = [record(k) for k in (*KERNELS[:2], kernel("0123456789", 7, "/x/\x1b[2J.ipynb"))]
    long: dict[str, Any] = {"cell": 12, "seconds": 65.0, "cpu_seconds": 4.25, "memory_bytes": 123_456_789}
    kernels[0] |= long | {"snapshots": 2, "deaths": 0, "uptime_seconds": 7500.0}
    head, first, second, third = table.table(kernels)
    assert head.split() == list(table.HEAD)
    assert first.split() == [
        "abc-1",
        "100",
        "idle",
        "[12]",
        "1:05",
        "4.2",
        "s",
        "123",
        "MB",
        "2",
        "0",
        "2",
        "h",
        "05",
        "/home/me/a.ipynb",
    ]
    assert first.index("idle") == second.index("idle") == head.index("STATE")
    assert third.startswith("01234567 ")
    assert third.endswith("/x/?[2J.ipynb")
    assert table.rows(kernels, {"abc-1": 0.5})[0][5] == "50 %"
    alike = table.rows([record(kernel("abcdefghij-1", 1)), record(kernel("abcdefghij-2", 2))])
    assert [row[0] for row in alike] == ["abcdefghij-1", "abcdefghij-2"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *[(None, ""), (0.0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1:00"), (61.0, "1:01")],
        *[(3599.0, "59:59"), (3600.0, "1 h 00"), (90_000.0, "25 h 00"), (180_000.0, "2 d 02 h")],
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert table.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(None, ""), (0, "0 MB"), (999_400_000, "999 MB"), (2_500_000_000, "2.5 GB")]
)
def test_sizes(count: int | None, text: str) -> None:
    assert table.size(count) == text


def test_kernel_that_does_not_answer_is_told_as_such() -> None:
    found = record(KERNELS[0]._replace(state=None))
    assert (found["state"], found["cell"], found["pid"]) == ("no answer", None, 100)
    assert table.table([found])[1].split() == ["abc-1", "100", "no", "answer"]


def test_own_process_is_no_kernel() -> None:
    assert os.getpid() not in [pid for pid, _ in running._processes()]
