"""What has to be true after every death of a worker, whatever it died of and whatever it was doing."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from .client import TIMEOUT, Client, Message, Run
from .faults import FAULTS, IMPORTS, Fault
from .kernels import Kernel

MIME = "application/vnd.ipymini.obituary+json"
#: Seconds from a death to its error reply that even a busy machine keeps.
SOON = 15.0


class Scene:
    """A kernel, a client of it, and a worker that knows how to die.

    :param name: one of `FAULTS`.
    """

    def __init__(self, kernel: Kernel, client: Client, name: str) -> None:
        self.kernel = kernel
        self.client = client
        self.name = name
        self.fault: Fault = FAULTS[name]
        self._gate = kernel.folder / "gate"
        if not self._gate.exists():
            os.mkfifo(self._gate)
        assert client.execute(IMPORTS).status == "ok"
        assert client.execute(self.fault.define()).status == "ok"
        self.worker = psutil.Process(int(client.evaluate("os.getpid()")))
        self.supervisor = kernel.process.pid
        self.since = len(client.messages)

    def open_gate(self) -> None:
        """Lets `at_gate` in the worker go on; waits until it has come there."""
        self._gate.write_text("go")

    def iopub(self) -> list[Message]:
        """What was published since the scene began."""
        return [m for channel, m in self.client.messages[self.since :] if channel == "iopub"]

    def life(self) -> list[str]:
        """The statuses of the kernel's own life since the scene began."""
        return [m["content"]["execution_state"] for m in self.iopub() if own_status(m)]

    def wait_reborn(self) -> None:
        """Waits until the supervisor has said that another worker is ready."""
        self.client.wait_until(lambda: self.life()[-1:] == ["idle"])

    def check_lives(self) -> None:
        """The next cell runs, in another worker of the same supervisor, with a session that begins anew."""
        client = self.client
        run = client.execute("import os; print(os.getpid(), os.getppid())")
        assert run.status == "ok", run.reply
        worker, supervisor = map(int, run.text().split())
        assert worker != self.worker.pid
        assert supervisor == self.supervisor == self.kernel.process.pid
        assert self.kernel.process.poll() is None
        assert run.reply["execution_count"] == 1
        assert self.life() == ["restarting", "starting", "idle"], self.life()

    def check_error(self, cell: Run, *, line: str = "", thread: bool = False) -> None:
        """The one error of an execute, its reply, its record; and their order with all else.

        :param line: where the Python stack has to begin, in the cell, for the faults that leave one.
        :param thread: not the main thread has died.
        """
        stack = self.fault.stack and not (thread and self.fault.main_only)
        assert cell.error == "WorkerDied", cell.reply  # reply and error agree
        reply = cell.reply
        count = reply["execution_count"]
        assert self.fault.tells(reply["evalue"], count), reply["evalue"]
        (error,) = [m for m in cell.published if m["msg_type"] == "error"]
        record = error["metadata"][MIME]
        self.check_record(record, reply)
        assert bool(record["stack"]) is stack, record
        text = cell.traceback
        assert reply["evalue"] in text
        assert "Peak memory: " in text
        if stack:
            assert "in die" in text, text
            assert f"Cell In[{count}], {line}" in text or not line, text
        self.check_order(cell, error)

    def check_record(self, record: dict[str, Any], reply: dict[str, Any]) -> None:
        """The facts for programs, against the sentence for people."""
        assert record["sentence"] == reply["evalue"]
        assert record["cell"] == reply["execution_count"]
        if self.fault.dies:
            assert (record["signal"], record["status"]) == (self.fault.signal, self.fault.status), record
        assert record["killed_by_us"] is ("was killed" in reply["evalue"])
        assert record["peak_bytes"] > 10 << 20
        assert record["uptime_seconds"] > 0
        assert record["oom_kill_delta"] in (0, None)

    def check_order(self, cell: Run, error: Message) -> None:
        """What was printed, the error, idle; and only then the news of another worker."""
        self.wait_reborn()
        parent = cell.request["header"]["msg_id"]
        told = []
        for message in self.iopub():
            if own_status(message):
                told.append(f"kernel {message['content']['execution_state']}")
            elif message["parent_header"]["msg_id"] == parent:
                if message["msg_type"] == "status":
                    told.append(message["content"]["execution_state"])
                elif message["msg_type"] in ("stream", "error") and told[-1:] != [message["msg_type"]]:
                    told.append(message["msg_type"])
        while "stream" in told[told.index("stream") + 1 : told.index("error")] if "stream" in told else False:
            told.remove("stream")  # text for stdout and stderr
        expected = ["busy", "stream", "error", "idle", "kernel restarting", "kernel starting", "kernel idle"]
        assert told == expected, told
        assert "before\n" in cell.text()


def own_status(message: Message) -> bool:
    """Whether a message tells of the kernel's own life, for no request."""
    return message["msg_type"] == "status" and message["parent_header"]["msg_type"] == "kernel_started"


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Holds a child of ours while the body runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def in_mid_frame(kernel: Kernel, client: Client, dies: int | None = None) -> Run:
    """A cell whose main thread has written a part of a frame of 50 MB when another thread calls `die`.

    :param dies: the process that ends by that, before anybody has read any more of the frame.
    """
    for name in ("reached", "gate"):
        if not (kernel.folder / name).exists():
            os.mkfifo(kernel.folder / name)
    client.execute(
        "from IPython.display import display\n"
        "def die_in_mid_frame():\n"
        "    while True:\n"
        "        code = sys._current_frames()[threading.main_thread().ident].f_code\n"
        "        if code.co_name == 'wait' and code.co_filename.endswith('link.py'): break\n"
        "        time.sleep(0.001)\n"
        "    open('reached', 'w').close()\n"
        "    die()\n"
        "def write():\n"
        "    threading.Thread(target=die_in_mid_frame, daemon=True).start()\n"
        "    open('gate').read()\n"
        "    display({'text/plain': 'x' * 50_000_000}, raw=True)"
    )
    cell = client.start("print('before')\nwrite()")
    client.wait_text(cell, "before")
    with stopped(kernel.process.pid):  # so that the frame stays as it is
        (kernel.folder / "gate").write_text("go")
        (kernel.folder / "reached").read_bytes()
        if dies is not None:
            wait_dead(dies)
    return cell


def wait_dead(pid: int) -> None:
    """Waits until a process has ended, reaped or not."""
    fd = os.pidfd_open(pid)
    try:
        assert select.select([fd], [], [], TIMEOUT)[0], f"{pid} has not ended"
    finally:
        os.close(fd)


def profile(folder: Path, startup: str) -> dict[str, str]:
    """The environment with a start-up file for every worker."""
    place = folder / "ipython" / "profile_default" / "startup"
    place.mkdir(parents=True)
    (place / "00-first.py").write_text(startup)
    return {"IPYTHONDIR": str(folder / "ipython")}
