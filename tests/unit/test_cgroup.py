"""What the control group says about memory, in both versions, and where it says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipymini_supervisor import cgroup
from ipymini_supervisor.cgroup import oom_kills, room

MEMINFO = "MemTotal:       16000 kB\nMemFree:          100 kB\nMemAvailable:    8000 kB\nBuffers: 5 kB\n"
TOTAL, FREE = 16000 << 10, 8000 << 10
V1 = "12:cpu,cpuacct:/a\n7:memory:/docker/abc\n0::/\n"
V2 = "0::/user.slice/kernel\n"
#: What version 1 has where there is no limit.
UNLIMITED = 9223372036854771712


class System:
    """The files that are looked at, in a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.proc("self/cgroup", V2)
        self.proc("meminfo", MEMINFO)

    def proc(self, name: str, text: str) -> None:
        self._write(self.folder / "proc" / name, text)

    def group(self, name: str, **files: object) -> None:
        """Files of a control group; `memory__max` is "memory.max"."""
        for file, text in files.items():
            self._write(self.folder / "cgroup" / name / file.replace("__", "."), f"{text}\n")

    def remove(self, name: str) -> None:
        (self.folder / "proc" / name).unlink()

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    def path(name: str) -> Path:
        assert name.startswith("/proc/")
        return tmp_path / name[1:]

    monkeypatch.setattr(cgroup, "Path", path)
    monkeypatch.setattr(cgroup, "_ROOT", tmp_path / "cgroup")
    return System(tmp_path)


@pytest.mark.parametrize("folder", ["user.slice/kernel", ""])
def test_kills_are_counted_in_our_group_or_in_the_root_that_a_container_sees(system: System, folder: str) -> None:
    system.group(folder, memory__events="low 0\noom 4\noom_kill 3\noom_group_kill 9")
    assert oom_kills() == 3


def test_own_group_comes_before_the_root(system: System) -> None:
    system.group("", memory__events="oom_kill 7")
    system.group("user.slice/kernel", memory__events="oom_kill 0")
    assert oom_kills() == 0


@pytest.mark.parametrize("folder", ["memory/docker/abc", "memory"])
def test_kills_are_counted_in_version_1_too(system: System, folder: str) -> None:
    system.proc("self/cgroup", V1)
    system.group(folder, memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 2")
    assert oom_kills() == 2


def test_kills_are_not_known_where_nobody_counts_them(system: System) -> None:
    assert oom_kills() is None
    system.group("user.slice/kernel", memory__events="low 0")
    assert oom_kills() is None
    system.proc("self/cgroup", "3:cpu:/a\n")
    assert oom_kills() is None
    system.remove("self/cgroup")
    assert oom_kills() is None


def test_without_limits_the_room_is_that_of_the_machine(system: System) -> None:
    assert room() == (FREE, TOTAL)
    system.group("user.slice/kernel", memory__max="max", memory__current=5, memory__stat="inactive_file 0")
    assert room() == (FREE, TOTAL)


def limit(system: System, folder: str, total: int, used: int, cache: int = 0) -> None:
    stat = f"anon 1\ninactive_file {cache}\ntotal_inactive_file 0"
    system.group(folder, memory__max=total, memory__current=used, memory__stat=stat)


@pytest.mark.parametrize("folder", ["user.slice/kernel", ""])
def test_group_with_a_limit_has_the_room_that_is_left_in_it(system: System, folder: str) -> None:
    limit(system, folder, 4000, 3000)
    assert room() == (1000, 4000)


def test_files_that_nobody_uses_are_room(system: System) -> None:
    limit(system, "user.slice/kernel", 4000, 3900, 700)
    assert room() == (800, 4000)


def test_group_that_has_more_than_its_limit_has_no_room(system: System) -> None:
    limit(system, "user.slice/kernel", 4000, 5000)
    assert room() == (0, 4000)


def test_limit_over_the_memory_of_the_machine_is_none(system: System) -> None:
    limit(system, "user.slice/kernel", 2 * TOTAL, TOTAL)
    assert room() == (FREE, TOTAL)


def test_machine_may_have_less_room_than_the_group(system: System) -> None:
    limit(system, "user.slice/kernel", TOTAL, 0)
    assert room() == (FREE, TOTAL)


def test_least_of_own_group_and_root_counts(system: System) -> None:
    limit(system, "user.slice/kernel", 4000, 1000)
    limit(system, "", 8000, 7500)
    assert room()[0] in (500, 3000)
    limit(system, "", 4000, 3500)
    assert room() == (500, 4000)


@pytest.mark.parametrize("folder", ["memory/docker/abc", "memory"])
def test_room_in_version_1(system: System, folder: str) -> None:
    system.proc("self/cgroup", V1)
    stat = "inactive_file 5\ntotal_inactive_file 100"
    system.group(folder, memory__limit_in_bytes=4000, memory__usage_in_bytes=3000, memory__stat=stat)
    assert room() == (1100, 4000)
    system.group(folder, memory__limit_in_bytes=UNLIMITED)
    assert room() == (FREE, TOTAL)


@pytest.mark.parametrize("missing", ["memory__max", "memory__current", "memory__stat"])
def test_group_with_files_missing_says_nothing(system: System, missing: str) -> None:
    files = {"memory__max": "4000", "memory__current": "3000", "memory__stat": "x 1"}
    del files[missing]
    system.group("user.slice/kernel", **files)
    assert room() == (FREE, TOTAL)


@pytest.mark.parametrize("missing", ["meminfo", "self/cgroup"])
def test_where_the_system_does_not_tell_nothing_is_known(system: System, missing: str) -> None:
    system.remove(missing)
    assert room() == (0, 0)


def test_room_of_this_machine_makes_sense() -> None:
    free, total = room()
    assert 0 <= free <= total
    if Path("/proc/meminfo").exists():
        assert total > 1 << 20
