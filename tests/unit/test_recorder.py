"""The flight recorder: what it writes, what it does not write to, and that nothing depends on it."""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes import Clock, message
from ipymini_supervisor import recorder as module
from ipymini_supervisor.lanes import Request
from ipymini_supervisor.logs import FACTS
from ipymini_supervisor.memory import Pool
from ipymini_supervisor.recorder import EVERY, Recorder

log = logging.getLogger("ipymini")
GIB = 1 << 30


class House:
    """Recorders in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "record.jsonl"
        self.clock = Clock()
        self.made: list[Recorder] = []

    def recorder(self, size: int = 1 << 20, *, code: bool = False) -> Recorder:
        made = Recorder(str(self.path), size, "kernel-7", self.clock, code=code)
        self.made.append(made)
        made.flush()
        return made

    def entries(self) -> list[dict[str, Any]]:
        for recorder in self.made:
            recorder.flush()
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def events(self) -> list[str]:
        return [entry["event"] for entry in self.entries()]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    level = log.level
    monkeypatch.setattr(module, "PATIENCE", 60.0)  # a disk may be slow, and what is looked at has to be there
    made = House(tmp_path)
    yield made
    for recorder in made.made:
        recorder.close()
    log.setLevel(level)


def cell(code: str = "secret = 1") -> Request:
    request = Request(1, "shell", message("execute_request", {"code": code}, "asked"))
    request.cell = 12
    return request


def test_life_of_a_kernel_is_written_line_by_line(house: House) -> None:
    recorder = house.recorder()
    request = cell()
    recorder.request(request)
    recorder.started(request)
    recorder.memory(request, Pool("machine", GIB, 4 * GIB), GIB // 2)
    log.error("It died.", extra={FACTS: {"signal": "SIGKILL"}})
    log.debug("nobody wants to know")
    recorder.reply(request, "error", {"cpu_seconds": 1.5})
    recorder.end()
    log.error("too late")
    entries = house.entries()
    assert all(entry.pop("time").endswith("Z") and entry.pop("kernel") == "kernel-7" for entry in entries)
    assert entries == [
        {"event": "start", "pid": os.getpid()},
        {"event": "request", "msg_type": "execute_request", "msg_id": "asked", "channel": "shell"},
        {"event": "started", "msg_id": "asked", "cell": 12},
        {"event": "memory", "msg_id": "asked", "cell": 12, "pool": "machine", "used": GIB, "total": 4 * GIB, "own": GIB // 2},
        {"event": "log", "level": "ERROR", "message": "It died.", "facts": {"signal": "SIGKILL"}},
        {"event": "reply", "msg_id": "asked", "msg_type": "execute_request", "status": "error", "cpu_seconds": 1.5},
        {"event": "end"},
    ]  # fmt: skip
    assert house.path.stat().st_mode & 0o777 == 0o600


def test_code_is_written_only_if_that_is_asked_for(house: House) -> None:
    first = house.recorder()
    first.request(cell("secret = 1"))
    first.end()
    assert "secret" not in house.path.read_text()
    house.recorder(code=True).request(cell("secret = 1"))
    assert house.entries()[-1]["code"] == "secret = 1"


def test_only_cells_are_said_to_be_executed(house: House) -> None:
    recorder = house.recorder()
    recorder.started(Request(1, "shell", message("complete_request")))
    assert house.events() == ["start"]


def test_memory_is_written_now_and_then_and_when_it_grows(house: House) -> None:
    recorder, request = house.recorder(), cell()
    for used in (1.0, 1.01, 1.05, 2.0, 2.01, 1.0):
        recorder.memory(request, Pool("machine", int(used * GIB), 4 * GIB), 0)
    assert [entry["used"] / GIB for entry in house.entries()[1:]] == [1.0, 2.0]
    house.clock.advance(EVERY)
    recorder.memory(request, Pool("machine", GIB, 4 * GIB), 0)
    assert house.entries()[-1]["used"] == GIB


def test_without_a_path_nothing_is_done(house: House) -> None:
    recorder = Recorder("", 1 << 20, "k", house.clock)
    recorder.request(cell())
    recorder.end()
    assert list(house.folder.iterdir()) == []


def test_where_there_can_be_no_thread_nothing_is_recorded_and_that_is_said(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    recorder = house.recorder()
    recorder.request(cell())
    recorder.end()
    assert "which cannot be used (there can be no more threads); nothing is recorded." in caplog.text
    assert list(house.folder.iterdir()) == []


def test_next_kernel_tells_what_ended_the_last_one(house: House, caplog: pytest.LogCaptureFixture) -> None:
    recorder = house.recorder()
    recorder.started(cell())
    recorder.close()  # as the system does
    assert caplog.text == ""
    house.recorder().end()
    assert caplog.text.count("ended without saying goodbye while executing In[12]") == 1
    caplog.clear()
    house.recorder()
    assert caplog.text == ""


def test_line_that_was_cut_spoils_no_other(house: House) -> None:
    house.path.write_bytes(b'{"event": "started", "msg_id": "a", "cell": 3}\n{"event": "repl')
    house.recorder().flush()
    _, cut, start, _ = house.path.read_text().splitlines()
    assert cut == '{"event": "repl'
    assert json.loads(start)["event"] == "start"


def test_record_is_bounded_and_the_latest_is_kept(house: House) -> None:
    size = 1 << 16
    recorder, old = house.recorder(size), house.folder / "record.jsonl.1"
    for number in range(2000):
        recorder.write("x", number=number)
        recorder.flush()
        assert house.path.stat().st_size <= size // 2
    assert {path.name for path in house.folder.iterdir()} == {house.path.name, old.name}
    assert old.stat().st_size + house.path.stat().st_size <= size
    numbers = [json.loads(line)["number"] for path in (old, house.path) for line in path.read_text().splitlines()]
    assert numbers == list(range(numbers[0], 2000))
    assert len(numbers) > 200


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    (path.parent / "other").write_text("mine\n")
    path.symlink_to("other")


def hard_link(path: Path) -> None:
    (path.parent / "other").write_text("mine\n")
    path.hardlink_to(path.parent / "other")


@pytest.mark.parametrize("make", [fifo, link, hard_link, Path.mkdir], ids=lambda make: make.__name__)
def test_what_is_no_file_of_ours_is_refused(house: House, caplog: pytest.LogCaptureFixture, make: Any) -> None:
    make(house.path)
    recorder = house.recorder()
    recorder.request(cell())
    recorder.end()
    (record,) = caplog.records
    assert record.getMessage().startswith(f"IPYMINI_FLIGHT_RECORDER names {house.path}, which cannot be used (")
    other = house.folder / "other"
    assert not other.exists() or other.read_text() == "mine\n"


def test_pipe_with_a_reader_is_refused_too(house: House, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(house.path)
    reader = os.open(house.path, os.O_RDONLY | os.O_NONBLOCK)
    house.recorder().request(cell())
    os.close(reader)
    assert "cannot be used (it is not a file)" in caplog.text


def test_folder_that_is_not_there(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.path = house.folder / "none" / "record"
    house.recorder().request(cell())
    assert "cannot be used (No such file or directory)" in caplog.text


def test_two_kernels_do_not_write_to_one_record(house: House, caplog: pytest.LogCaptureFixture) -> None:
    first = house.recorder()
    house.recorder().request(cell())
    assert "cannot be used (another kernel writes to it)" in caplog.text
    first.request(cell())
    assert house.events().count("request") == 1
    first.close()
    house.recorder()
    assert house.events()[-2:] == ["start", "log"]  # of how the first one ended


class Disk:
    """One that takes nothing while it hangs, whatever is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.works = threading.Event()
        self.works.set()
        for name in ("open", "write"):
            monkeypatch.setattr(os, name, self._waits(getattr(os, name)))

    def _waits(self, does: Any) -> Any:
        def wait(*arguments: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                assert self.works.wait(60)
            return does(*arguments)

        return wait


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    made = Disk(monkeypatch)
    yield made
    made.works.set()


def test_disk_that_hangs_holds_nobody_and_costs_what_finds_no_room(
    house: House, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = house.recorder(1 << 26)
    disk.works.clear()
    for number in range(20_000):
        recorder.write("x", number=number)
    assert [record.getMessage() for record in caplog.records] == [
        f"{house.path} takes nothing; lines of the flight record are left out."
    ]
    disk.works.set()
    recorder.flush()
    recorder.write("again")
    assert len(caplog.records) == 2
    numbers = [entry.get("number") for entry in house.entries() if entry["event"] == "x"]
    missing = 20_000 - len(numbers)
    assert numbers == list(range(len(numbers)))
    assert missing
    lost, said, again = house.entries()[-3:]
    assert (lost["event"], lost["lines"]) == ("lost", missing + 1)  # and what the log said of it
    assert said["message"] == f"{house.path} takes the flight record again; {missing + 1} lines are missing."
    assert again["event"] == "again"
    assert caplog.records[1].getMessage() == said["message"]


def test_disk_that_hangs_from_the_start_holds_nobody(
    house: House, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor at the end, but for a time, after which it is told that the end is missing."""
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    disk.works.clear()
    recorder = house.recorder()
    recorder.request(cell())
    recorder.end()
    assert [record.getMessage() for record in caplog.records] == [
        f"The end of the flight record is missing: {house.path} takes nothing."
    ]
    disk.works.set()
    for thread in threading.enumerate():
        if thread.name == "flight-recorder":  # the test's process may have others, which never end
            thread.join(60)
    assert house.events() == ["start", "request", "end"]


def test_full_disk_is_told_of_once_and_ends_nothing(
    house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = house.recorder()
    with monkeypatch.context() as patch:

        def full(fd: int, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(os, "write", full)
        for _ in range(3):
            recorder.request(cell())
        recorder.flush()
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"The flight recorder cannot write to {house.path} (No space left on device)."]
    recorder.request(cell())
    assert house.events()[0] == "start"
    assert house.events()[-1] == "request"


def test_line_for_which_there_was_no_room_spoils_no_other(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = house.recorder()
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:10]))
        recorder.request(cell())
        recorder.flush()
    recorder.request(cell())
    recorder.flush()
    lines = house.path.read_text().splitlines()
    assert json.loads(lines[0])["event"] == "start"
    assert json.loads(lines[-1])["event"] == "request"


def test_what_takes_the_place_of_a_full_file_is_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = house.recorder(1 << 16)
    replace = os.replace

    def attacked(old: str, new: str) -> None:
        replace(old, new)
        link(Path(old))

    monkeypatch.setattr(os, "replace", attacked)
    for _ in range(2000):
        recorder.request(cell())
    recorder.flush()
    assert (house.folder / "other").read_text() == "mine\n"
