"""A real limit for memory: what a cell that leaks is told, and when its worker is killed for it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest

from ipymini_supervisor import cgroup

from .client import TIMEOUT
from .conftest import StartKernel
from .sessions import ON, check_restored, run, settle

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc")

#: Room for a worker, and for cells to grow in while the supervisor looks now and then.
LIMIT = {"IPYMINI_MEMORY_LIMIT": "400M"}
#: Adds a megabyte each time; near the limit so slowly that a supervisor on a busy machine has some ten seconds.
LEAK = (
    "import time\ndata = []; near, pause = 320, 0.2\ndef leak():\n    while True:\n        data.append(bytearray(1 << 20))\n"
    "        time.sleep(pause if len(data) > near else 0.01 if len(data) > near - 80 else 0)\n"
)
#: Does so whatever anybody says.
STUBBORN = "while True:\n    try:\n        leak()\n    except KeyboardInterrupt:\n        print('no')\n"
SOFT = r"The cell was interrupted, because the kernel uses \d+ MiB of 400 MiB allowed \(IPYMINI_MEMORY_LIMIT\)\."
HARD = r"The worker was killed in cell \[{}\], because it used [\d.,]+ [MG]iB of 400 MiB allowed \(IPYMINI_MEMORY_LIMIT\)\."

GROUP = r"\d+ MiB of 512 MiB allowed to its control group {} used, \d+ MiB by this kernel"


def test_leak_is_interrupted_and_the_largest_variables_are_shown(start_kernel: StartKernel) -> None:
    client = start_kernel(env=LIMIT).connect()
    cell = client.execute(f"{LEAK}leak()")
    assert cell.error == "KeyboardInterrupt"
    assert re.fullmatch(SOFT, cell.reply["evalue"])
    first, second, third, *_ = cell.text("stderr").splitlines()
    assert first == cell.reply["evalue"]
    assert second == "The largest variables:"
    assert re.fullmatch(r"  data +list of \d+ +\d+\.\d MiB", third)
    # What is there can still be worked with, and got rid of.
    assert run(client, "time.sleep(0.3); count = len(data); data.clear(); count > 200").result == "True"
    assert run(client, "more = [bytearray(1 << 20) for _ in range(50)]; time.sleep(0.3); len(more)").result == "50"


def test_cell_that_does_not_listen_is_ended_and_the_session_comes_back(start_kernel: StartKernel) -> None:
    client = start_kernel(env=LIMIT | ON).connect()
    run(client, f"{LEAK}kept = 'kept'")
    settle(client)
    cell = client.finish(client.start(STUBBORN), 3 * TIMEOUT)  # slow as it is
    check_restored(cell)
    assert re.fullmatch(HARD.format(2), cell.reply["evalue"])
    assert "no\n" in cell.text()
    assert run(client, "kept, len(data)").result == "('kept', 0)"


def test_worker_that_does_not_answer_is_ended_all_the_same(start_kernel: StartKernel) -> None:
    """C code that fills memory and holds the interpreter's lock."""
    client = start_kernel(env=LIMIT).connect()
    cell = client.execute("import itertools\nlist(map(bytearray, itertools.repeat(1 << 14)))")
    assert cell.error == "WorkerDied"
    assert re.fullmatch(HARD.format(1), cell.reply["evalue"])
    assert run(client, "1").status == "ok"


def test_memory_of_what_a_cell_starts_counts(start_kernel: StartKernel) -> None:
    client = start_kernel(env=LIMIT).connect()
    child = "data = []\nwhile True: data.append(bytearray(1 << 19))"
    cell = client.execute(f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])")
    assert cell.status == "error"
    assert re.fullmatch(f"{SOFT}|{HARD.format(1)}", cell.reply["evalue"])  # it may be too fast to be interrupted


def test_what_forked_processes_share_counts_once(start_kernel: StartKernel) -> None:
    client = start_kernel(env=LIMIT).connect()
    run(client, "import os, signal, time\ndata = bytearray(b'x') * (150 << 20)")
    code = (
        "pids = []\n"
        "for _ in range(6):\n"
        "    pid = os.fork()\n"
        "    if not pid: signal.pause(); os._exit(0)\n"
        "    pids.append(pid)\n"
        "time.sleep(1.0)\n"
        "for pid in pids: os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)\n"
        "len(pids)"
    )
    cell = run(client, code)
    assert cell.result == "6"
    assert cell.text("stderr") == ""


def test_bad_limit_is_named_in_one_sentence_and_left_out(start_kernel: StartKernel) -> None:
    kernel = start_kernel(env={"IPYMINI_MEMORY_LIMIT": "much", "IPYMINI_MEMORY_CAP": "4X"})
    client = kernel.connect()
    assert run(client, "import resource; resource.getrlimit(resource.RLIMIT_DATA)[0]").result == "-1"
    for name, text in (("LIMIT", "much"), ("CAP", "4X")):
        sentence = f"IPYMINI_MEMORY_{name} is '{text}'; it has to be a size of 16M or more, such as 4G, or 80%, and is left out."
        assert [line.endswith(sentence) for line in kernel.log.splitlines() if f"_{name} " in line] == [True]


def test_too_large_an_allocation_is_an_error_where_there_is_a_cap(start_kernel: StartKernel) -> None:
    """Of the first worker, of one that comes from a snapshot, and of one that starts anew; not of the supervisor."""
    kernel = start_kernel(env={"IPYMINI_MEMORY_CAP": "1G", "IPYMINI_SNAPSHOTS": "off"})
    client = kernel.connect()
    for _ in range(2):
        cell = client.execute("data = bytearray(1 << 30)")
        assert cell.error == "MemoryError"
        assert run(client, "len(bytearray(1 << 27))").result == str(1 << 27)
        assert client.execute("import os; os._exit(1)").error == "WorkerDied"
    limits = Path(f"/proc/{kernel.process.pid}/limits").read_text()
    assert re.search(r"^Max data size +unlimited", limits, re.M)


def test_worker_goes_before_the_supervisor_when_the_system_runs_out_of_memory(start_kernel: StartKernel) -> None:
    kernel = start_kernel()
    client = kernel.connect()
    for _ in range(2):
        score = int(run(client, "int(open('/proc/self/oom_score_adj').read())").result)
        assert score > int(Path(f"/proc/{kernel.process.pid}/oom_score_adj").read_text())
        client.execute("import os; os._exit(1)")


class Container:
    """A control group with a limit that is the system's; what is in it is killed for memory by the system.

    :raises OSError: this system, or this user, may not make one.
    """

    def __init__(self, limit: int) -> None:
        self._version, self._folder = self._make(limit)

    @staticmethod
    def _make(limit: int) -> tuple[int, Path]:
        found = OSError(0, "there are no control groups")
        for version, above in ((version, Path(folder)) for version, folder in cgroup._groups()):
            folder = above / f"ipymini-tests-{os.getpid()}"
            try:
                folder.mkdir()
                (folder / ("memory.max" if version == 2 else "memory.limit_in_bytes")).write_text(str(limit))
            except OSError as error:
                found = error
                if folder.exists():
                    folder.rmdir()
            else:
                return version, folder
        raise found

    def run(self, *command: str) -> str:
        """Runs a command in it; returns what it printed, and what its shell did when it had ended."""
        procs = shlex.quote(str(self._folder / "cgroup.procs"))
        script = f"echo $$ > {procs} && {shlex.join(command)}; echo The container lives."
        done = subprocess.run(
            ["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=5 * TIMEOUT
        )
        return done.stdout.decode()

    def kills(self) -> int:
        """How many of its processes the system has killed."""
        file = self._folder / ("memory.events" if self._version == 2 else "memory.oom_control")
        return sum(map(int, re.findall(r"^oom_kill (\d+)$", file.read_text(), re.M)))

    def processes(self) -> list[int]:
        """What is in it."""
        return [int(pid) for pid in (self._folder / "cgroup.procs").read_text().split()]

    def wait_empty(self) -> None:
        """Waits until all that was in it has ended."""
        deadline = time.monotonic() + TIMEOUT
        while left := self.processes():
            assert time.monotonic() < deadline, left

    def close(self) -> None:
        """Ends what is left, and the group."""
        while left := self.processes():
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._folder.rmdir()


@pytest.fixture
def container() -> Iterator[Container]:
    """One with 512 MiB."""
    try:
        made = Container(512 << 20)
    except OSError as error:
        pytest.skip(f"no control group can be made here ({error})")
    yield made
    made.close()


def leaky(code: str) -> Any:
    cells = [nbformat.v4.new_code_cell(source) for source in ("kept = 1", f"{LEAK}{code}", "kept")]
    metadata = {"kernelspec": {"name": "ipymini", "display_name": "ipymini", "language": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "ename", "sentence"),
    [("leak()", "KeyboardInterrupt", SOFT), (STUBBORN, "WorkerDied", HARD.format(2))],
    ids=["that listens", "that does not"],
)
def test_papermill_run_with_a_leak_ends_with_our_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, ename: str, sentence: str
) -> None:
    monkeypatch.setenv("IPYMINI_MEMORY_LIMIT", LIMIT["IPYMINI_MEMORY_LIMIT"])
    source, target = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    nbformat.write(leaky(code), source)
    with pytest.raises(papermill.PapermillExecutionError, match=sentence) as caught:
        papermill.execute_notebook(str(source), str(target), progress_bar=False, cwd=str(tmp_path))
    assert caught.value.ename == ename
    check_told(target, sentence)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "ename", "sentence"),
    [
        ("leak()", "KeyboardInterrupt", f"The cell was interrupted, because {GROUP.format('are')}."),
        (STUBBORN, "WorkerDied", rf"The worker was killed in cell \[2\], because {GROUP.format('were')}."),
    ],
    ids=["that listens", "that does not"],
)
def test_papermill_run_with_a_leak_leaves_its_container_alive(
    tmp_path: Path, container: Container, code: str, ename: str, sentence: str
) -> None:
    """Which has a limit of the system's, and nobody has told the kernel of it."""
    source, target = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    nbformat.write(leaky(f"near, pause = 180, 0.1\n{code}"), source)  # papermill and the supervisor are in there, too
    paths = (str(source), str(target))
    printed = container.run(sys.executable, "-m", "papermill", "--no-progress-bar", "--cwd", str(tmp_path), *paths)
    assert printed.endswith("The container lives.\n")
    assert re.search(f"^{ename}: {sentence}$", printed, re.M), printed
    assert container.kills() == 0
    container.wait_empty()
    check_told(target, sentence)


def check_told(notebook: Path, sentence: str) -> None:
    """Looks at what a cell that leaked has in its outputs."""
    (cell,) = [c for c in nbformat.read(notebook, 4).cells if "leak" in c.source]
    assert "The largest variables:\n  data  list of " in "".join(o.get("text", "") for o in cell.outputs)
    assert re.fullmatch(sentence, cell.outputs[-1]["evalue"])
