"""Sessions that are worth keeping: what is in them, and what has to be true when one came back from a snapshot."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import NamedTuple

import psutil

from .client import TIMEOUT, Client, Message, Run
from .deaths import MIME, own_status
from .kernels import Kernel, marked

#: The environment of a kernel that takes snapshots whatever they cost: on a busy machine that may be too much.
ON = {"IPYMINI_SNAPSHOTS": "on"}
#: The name of a copy's process.
COPY = "ipymini-snap"


class Thing(NamedTuple):
    """Something that a session may have, each part as code."""

    make: str
    spoil: str  #: what the cell that dies does to it before
    check: str  #: that it is as `make` has left it


THINGS = {
    "objects": Thing(
        "class Own:\n    def __init__(self): self.parts = {'a': [1, {2: (3,)}]}\n"
        "nested = [1, ['two', {'three': {4.0}}]]\nown = Own(); nested.append(own)",
        "nested.clear(); own.parts['a'][1].clear(); del own, Own",
        "assert nested[:2] == [1, ['two', {'three': {4.0}}]] and nested[2] is own\n"
        "assert type(own) is Own and own.parts == {'a': [1, {2: (3,)}]}",
    ),
    "numpy": Thing(
        "import numpy as np\narray = np.arange(1_000_000).reshape(1000, 1000); square = np.ones((300, 300)) @ np.eye(300)\n"
        "dice = np.random.default_rng(5); np.random.seed(5)\nexpected = dice.random(), np.random.random()\n"
        "dice = np.random.default_rng(5); np.random.seed(5)",
        "array[:] = 0; square @ square; dice.random(); np.random.random()",
        "assert (array == np.arange(1_000_000).reshape(1000, 1000)).all() and (square @ square).sum() == 300 * 300 * 300\n"
        "assert expected == (dice.random(), np.random.random())",
    ),
    "pandas": Thing(
        "import pandas as pd\nframe = pd.DataFrame({'k': list('abab'), 'v': [1, 2, 3, 4]}, index=pd.date_range('2020', periods=4))",
        "frame.loc[:, 'v'] = 0; frame.drop(columns='k', inplace=True)",
        "assert frame.groupby('k').v.sum().to_dict() == {'a': 4, 'b': 6} and frame.index[3].year == 2020",
    ),
    "matplotlib": Thing(
        "import io, matplotlib.pyplot as plt\n"
        "def drawn():\n    page = io.BytesIO(); figure.savefig(page, format='rgba'); return page.getvalue()\n"
        "plt.rcParams['lines.linewidth'] = 3\nfigure, axes = plt.subplots(); axes.plot([1, 3, 2]); image = drawn(); plt.close('all')",
        "axes.clear(); axes.set_title('spoilt'); plt.rcdefaults()",
        "assert axes.lines[0].get_ydata().tolist() == [1, 3, 2] and plt.rcParams['lines.linewidth'] == 3 and drawn() == image",
    ),
    "C extensions": Thing(
        "import csv, decimal, hashlib, sqlite3, zlib\ndecimal.getcontext().prec = 50; csv.field_size_limit(4321)\n"
        "digest = hashlib.sha256(b'first'); unpack = zlib.decompressobj(); packed = zlib.compress(bytes(range(256)))\n"
        "assert unpack.decompress(packed[:100]) is not None\n"
        "memory = sqlite3.connect(':memory:'); memory.execute('create table t (x)'); memory.execute('insert into t values (7)')",
        "decimal.getcontext().prec = 3; csv.field_size_limit(1); digest.update(b'x'); unpack.flush(); memory.close()",
        "assert len(str(decimal.Decimal(1) / 3)) == 52 and csv.field_size_limit() == 4321\n"
        "assert digest.hexdigest() == hashlib.sha256(b'first').hexdigest()\n"
        "assert (unpack.decompress(packed[100:]), unpack.eof)[1] and memory.execute('select x from t').fetchall() == [(7,)]",
    ),
    "generator": Thing(
        "def numbers():\n    total = 0\n    for i in range(100):\n        total += i; yield total\n"
        "generator = numbers(); taken = [next(generator) for _ in range(4)]",
        "list(generator)",
        "assert taken == [0, 1, 3, 6] and next(generator) == 10",
    ),
    "file": Thing(
        "from pathlib import Path\nPath('lines').write_text(''.join(f'line {i}\\n' for i in range(10_000)))\n"
        "reader = open('lines'); skipped = [reader.readline() for _ in range(3)]\n"
        "raw = os.open('lines', os.O_RDONLY); os.lseek(raw, 5, os.SEEK_SET)",
        "reader.read(); os.read(raw, 100)",
        "assert reader.readline() == 'line 3\\n' and os.lseek(raw, 0, os.SEEK_CUR) == 5 and os.read(raw, 3) == b'0\\nl'",
    ),
    "task": Thing(
        "async def count():\n    while True:\n        await asyncio.sleep(0.002); ticks.append(len(ticks))\n"
        "if 'task' in globals(): task.cancel()\nticks = []; task = asyncio.create_task(count())",
        "task.cancel(); print('ticks', len(ticks)); ticks.clear()",
        "assert not task.done() and len(ticks) >= before\nsome = len(ticks)\n"
        "while len(ticks) == some: await asyncio.sleep(0.001)\nassert ticks == list(range(len(ticks)))",
    ),
    "context variable": Thing(
        "import contextvars\nif 'variable' not in globals(): variable = contextvars.ContextVar('variable')\nvariable.set('kept')",
        "variable.set('spoilt')",
        "assert variable.get() == 'kept'",
    ),
    "folder and environment": Thing(
        "os.makedirs('inner', exist_ok=True); os.chdir('inner'); folder = os.getcwd()\n"
        "os.environ['STATE'] = 'kept'; os.environ.pop('OTHER', None)",
        "os.chdir('..'); os.environ['OTHER'] = 'x'; del os.environ['STATE']",
        "assert os.getcwd() == folder and os.environ['STATE'] == 'kept' and 'OTHER' not in os.environ\n"
        "assert subprocess.run(['sh', '-c', 'echo $STATE $OTHER'], capture_output=True).stdout == b'kept\\n'",
    ),
    "random": Thing(
        "random_state = random.getstate()",
        "random.random(); random.seed(1)",
        "assert random.getstate() == random_state",
    ),
    "modules": Thing(
        "import types\nmodule = sys.modules['made'] = types.ModuleType('made'); module.value = 1; sys.path.append('/kept')",
        "module.value = 2; del sys.modules['made']; sys.path.remove('/kept')",
        "import made\nassert made is module and made.value == 1 and '/kept' in sys.path; sys.path.remove('/kept')",
    ),
    "signals and limits": Thing(
        "limits = resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_AS)\n"
        "def on_usr1(number, frame): pass\nsignal.signal(signal.SIGUSR1, on_usr1)",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (512, limits[0][1])); signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
        "assert limits == (resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_AS))\n"
        "assert signal.getsignal(signal.SIGUSR1) is on_usr1",
    ),
}


def told(messages: list[tuple[str, Message]]) -> list[str]:
    """The statuses of the kernel's own life."""
    return [m["content"]["execution_state"] for channel, m in messages if channel == "iopub" and own_status(m)]


def stderr(messages: list[tuple[str, Message]]) -> str:
    """All that was written to stderr."""
    contents = [m["content"] for _, m in messages if m["msg_type"] == "stream"]
    return "".join(c["text"] for c in contents if c["name"] == "stderr")


def check_restored(cell: Run) -> str:
    """A cell has died, its error says so and that the session is as it was before; returns all that it says of that."""
    assert cell.error == "WorkerDied", cell.reply
    number = cell.reply["execution_count"]
    (error,) = [m for m in cell.published if m["msg_type"] == "error"]
    restored = str(error["metadata"][MIME]["restored"])
    assert restored.startswith(f"Restored to the state before In[{number}]."), restored
    assert cell.traceback.endswith(f" {restored}"), cell.traceback
    return restored


def crash(client: Client, code: str = "import os; os._exit(1)") -> Run:
    """Runs a cell that dies, and from which the session comes back."""
    cell = client.execute(code)
    check_restored(cell)
    return cell


def run(client: Client, code: str) -> Run:
    """Runs a cell that works."""
    cell = client.execute(code)
    assert cell.status == "ok", cell.traceback
    return cell


def settle(client: Client) -> None:
    """Waits until the copy of the state after the last cell has been made, which is after its reply."""
    assert client.ask("complete_request", {"code": "zi", "cursor_pos": 2}).status == "ok"


def worker(client: Client) -> psutil.Process:
    """The worker's process, by what the supervisor says of it."""
    return psutil.Process(client.ask("worker_state_request", channel="control").reply["pid"])


def copies(kernel: Kernel) -> list[psutil.Process]:
    """The processes of a kernel that are snapshots."""
    found = []
    for process in marked(kernel.mark):
        try:
            if process.name() == COPY:
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_copies(kernel: Kernel, count: int = 3) -> list[psutil.Process]:
    """Waits until a kernel has so many: one has its name a moment after it was made, and is there a moment too long."""
    deadline = time.monotonic() + TIMEOUT
    while len(found := copies(kernel)) != count:
        assert time.monotonic() < deadline, found
    return found


def history(kernel: Kernel) -> list[tuple[int, int, str]]:
    """Session, line and input of everything in the history database; the kernel has ended, or has been asked."""
    path = kernel.folder / "ipython" / "profile_default" / "history.sqlite"
    with closing(sqlite3.connect(path)) as database:
        return list(database.execute("SELECT session, line, source_raw FROM history ORDER BY session, line"))
