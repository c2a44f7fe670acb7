"""What the control group says about memory, in both versions, and where it says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipymini_supervisor import cgroup
from ipymini_supervisor.cgroup import oom_kills, pools
from ipymini_supervisor.memory import Pool

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
    monkeypatch.setattr(cgroup, "_PROC", str(tmp_path / "proc"))
    monkeypatch.setattr(cgroup, "_ROOT", str(tmp_path / "cgroup"))
    return System(tmp_path)


@pytest.mark.parametrize("folder", ["user.slice/kernel", ""])
def test_kills_are_counted_in_our_group_or_in_the_root_that_a_container_sees(system: System, folder: str) -> None:
    system.group(folder, memory__events="low 0\noom 4\noom_kill 3\noom_group_kill 9")
    assert oom_kills() == 3


def test_kills_are_counted_in_a_group_above_ours(system: System) -> None:
    system.group("user.slice", memory__events="oom_kill 5")
    system.group("", memory__events="oom_kill 7")
    assert oom_kills() == 5


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


def machine(used: int = TOTAL - FREE, total: int = TOTAL) -> Pool:
    return Pool("machine", used, total)


def groups(system: System) -> dict[str, tuple[int, int]]:
    """What is used of each control group, and what there is; by folder."""
    first, *others = pools()
    assert first == machine()
    return {str(Path(name).relative_to(system.folder / "cgroup")): (used, total) for name, used, total in others}


def test_without_limits_there_is_the_machine(system: System) -> None:
    assert pools() == [machine()]
    system.group("user.slice/kernel", memory__max="max", memory__current=5, memory__stat="inactive_file 0")
    assert pools() == [machine()]


def test_swap_is_memory_of_the_machine(system: System) -> None:
    system.proc("meminfo", f"{MEMINFO}SwapTotal:      5000 kB\nSwapFree:       1000 kB\n")
    assert pools() == [machine(TOTAL - FREE + (4000 << 10), TOTAL + (5000 << 10))]


def limit(system: System, folder: str, total: int, used: int, inactive: int = 0, active: int = 0) -> None:
    stat = f"anon 1\ninactive_file {inactive}\nactive_file {active}\ntotal_inactive_file 7\nworkingset_active_file 9"
    system.group(folder, memory__max=total, memory__current=used, memory__stat=stat)


@pytest.mark.parametrize("folder", ["user.slice/kernel", "user.slice", ""])
def test_group_with_a_limit_is_ours_or_one_above_it(system: System, folder: str) -> None:
    limit(system, folder, 4000, 3000)
    assert groups(system) == {folder or ".": (3000, 4000)}


def test_all_of_them_count(system: System) -> None:
    limit(system, "user.slice/kernel", 4000, 1000)
    limit(system, "user.slice", 8000, 7000)
    limit(system, "", 9000, 8000)
    limit(system, "user.slice/other", 10, 10)
    assert groups(system) == {"user.slice/kernel": (1000, 4000), "user.slice": (7000, 8000), ".": (8000, 9000)}


def test_files_are_no_use_of_memory(system: System) -> None:
    limit(system, "user.slice/kernel", 4000, 3900, 700, 200)
    assert groups(system) == {"user.slice/kernel": (3000, 4000)}
    limit(system, "user.slice/kernel", 4000, 3900, 5000)
    assert groups(system) == {"user.slice/kernel": (0, 4000)}


def test_files_are_not_asked_for_where_there_is_enough(system: System) -> None:
    limit(system, "user.slice/kernel", 4000, 2000, 700)
    assert groups(system) == {"user.slice/kernel": (2000, 4000)}


def test_limit_over_the_memory_of_the_machine_is_none(system: System) -> None:
    limit(system, "user.slice/kernel", 2 * TOTAL, TOTAL)
    assert groups(system) == {}


@pytest.mark.parametrize("folder", ["memory/docker/abc", "memory/docker", "memory"])
def test_groups_of_version_1(system: System, folder: str) -> None:
    system.proc("self/cgroup", V1)
    stat = "inactive_file 5\ntotal_inactive_file 100\ntotal_active_file 50"
    files = {"memory__limit_in_bytes": 4000, "memory__usage_in_bytes": 3500, "memory__stat": stat}
    system.group(folder, **files)
    assert groups(system) == {folder: (3350, 4000)}
    system.group(folder, **(files | {"memory__limit_in_bytes": UNLIMITED}))
    assert groups(system) == {}


def test_group_above_what_a_container_shows_is_not_looked_for_elsewhere(system: System) -> None:
    system.proc("self/cgroup", "0::/../../other\n")
    limit(system, "../other", 10, 10)
    limit(system, "", 4000, 3000)
    assert groups(system) == {".": (3000, 4000)}


def test_group_without_memory_is_none(system: System) -> None:
    limit(system, "", 0, 0)
    assert groups(system) == {}


def test_nothing_is_known_where_the_system_does_not_tell(system: System) -> None:
    system.proc("meminfo", "MemTotal: 1 kB\n")
    assert pools() == []
    system.proc("meminfo", MEMINFO)
    system.remove("self/cgroup")
    assert pools() == [machine()]
    system.remove("meminfo")
    assert pools() == []
