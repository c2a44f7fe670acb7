"""What cells print and show: all of it, in order, under the right parent."""

from __future__ import annotations

import hashlib
import json
import re
import time
from itertools import groupby

import pytest

from .client import TIMEOUT, Client

LIBC = "import ctypes; libc = ctypes.CDLL(None)\n"
NATIVE = {
    "os.write": "import os; os.write({fd}, b'text\\n')",
    "os.system": "import os; os.system('echo text >&{fd}')",
    "subprocess": "import subprocess; subprocess.run('echo text >&{fd}', shell=True)",
    "subprocess to a stream": "import subprocess, sys; subprocess.run(['echo', 'text'], stdout=[sys.stdout, sys.stderr][{fd} - 1])",
    "!": "!echo text >&{fd}",
    "%%bash": "%%bash\necho text >&{fd}",
    "fork": "import os\nif pid := os.fork(): os.waitpid(pid, 0)\nelse: os.write({fd}, b'text\\n'); os._exit(0)",
    "print in a fork": (
        "import os, sys\nif pid := os.fork(): os.waitpid(pid, 0)\n"
        "else: print('text', file=[sys.stdout, sys.stderr][{fd} - 1], flush=True); os._exit(0)"
    ),
    "multiprocessing": (
        "import multiprocessing, os, sys\n"
        "p = multiprocessing.get_context('fork').Process(target=os.write, args=({fd}, b'text\\n')); p.start(); p.join()"
    ),
    "open fd": "import io\nwith io.open({fd}, 'w', closefd=False) as f: f.write('text\\n')",
    "ctypes": LIBC + "libc.dprintf({fd}, b'text\\n')",
}


@pytest.mark.row("Output", "stdout and stderr keep their order")
def test_streams(client: Client) -> None:
    run = client.execute("import sys\nprint('out')\nprint('err', file=sys.stderr)\nsys.stdout.write('more')")
    assert run.text() == "out\nmore"
    assert run.text("stderr") == "err\n"
    names = [c["name"] for c in run.contents("stream")]
    assert [name for name, _ in groupby(names)] == ["stdout", "stderr", "stdout"]  # a line may come in two pieces
    run = client.execute("print('a', end=''); print('b', flush=True); sys.stdout.buffer.write(b'\\xc3'); 0")
    assert run.text() == "ab\n"
    run = client.execute("sys.stdout.buffer.write(b'\\xa4'); sys.stdout.writelines(['1', '2']); None")
    assert run.text() == "ä12"


@pytest.mark.row("Output", "`sys.stdout.buffer` takes bytes")
def test_bytes(client: Client) -> None:
    run = client.execute("import sys; _ = sys.stdout.buffer.write(b'bytes\\n')")
    assert run.status == "ok"
    assert run.text() == "bytes\n"


@pytest.mark.row("Output", "what C code, subprocesses and forks write to fd 1 and 2 reaches the cell")
@pytest.mark.row("Output", "`sys.stdout` as the stdout of a subprocess")
@pytest.mark.row("Seen to break", "stderr of child processes arrives")
@pytest.mark.parametrize("fd", [1, 2])
@pytest.mark.parametrize(
    "how", [pytest.param(how, marks=pytest.mark.row("Output", f"reaches the cell: {how}")) for how in NATIVE]
)
def test_what_is_written_to_the_real_descriptors(client: Client, how: str, fd: int) -> None:
    """It is there when the cell is over, under the cell's parent."""
    run = client.execute(NATIVE[how].format(fd=fd))
    assert run.status == "ok"
    # A pseudo-terminal, which `!` has, does not tell the two apart, and ends lines in its own way.
    name = "stdout" if fd == 1 or how == "!" else "stderr"
    assert run.text(name).replace("\r\n", "\n") == "text\n"


@pytest.mark.row("Output", "what C libraries hold back is there at the end of the cell")
def test_what_c_libraries_keep_back(client: Client) -> None:
    """Their buffers are emptied at the end of the cell."""
    run = client.execute(LIBC + "libc.puts(b'from C')")
    assert run.text() == "from C\n"
    assert client.execute("print('next')").text() == "next\n"


@pytest.mark.row("Output", "`clear_output(wait=True)`, `update_display`, display ids")
def test_displays(client: Client) -> None:
    run = client.execute(
        "from IPython.display import *\n"
        "h = display(HTML('<b>1</b>'), display_id='d', metadata={'text/html': {'isolated': True}})\n"
        "update_display(HTML('<b>2</b>'), display_id='d')\n"
        "h.update(HTML('<b>3</b>'))\nclear_output(wait=True)\nclear_output()\n"
        "display({'application/x-custom+json': {'a': 1}}, raw=True)"
    )
    kinds = ["display_data", "update_display_data", "update_display_data"]
    assert run.types == [*kinds, "clear_output", "clear_output", "display_data"]
    shown = run.contents("display_data", "update_display_data")
    assert [c["data"].get("text/html") for c in shown] == ["<b>1</b>", "<b>2</b>", "<b>3</b>", None]
    assert [c["transient"] for c in shown] == [{"display_id": "d"}] * 3 + [{}]
    assert shown[0]["metadata"] == {"text/html": {"isolated": True}}
    assert [c["wait"] for c in run.contents("clear_output")] == [True, False]
    assert shown[3]["data"] == {"application/x-custom+json": {"a": 1}}


@pytest.mark.row("Output", "order between streams and displays")
def test_streams_and_displays_keep_their_order(client: Client) -> None:
    run = client.execute(
        "import sys\nfrom IPython.display import display\nfor i in range(200):\n"
        "    print(i); display(i)\n    print(i, file=sys.stderr); display(i)"
    )
    seen: list[tuple[str, str]] = []
    for message in run.published:
        content = message["content"]
        if message["msg_type"] == "display_data":
            seen.append(("display", content["data"]["text/plain"]))
        elif message["msg_type"] == "stream":
            joined = ""
            if seen and seen[-1][0] == content["name"]:  # a line may come in two pieces
                joined = seen.pop()[1]
            seen.append((content["name"], joined + content["text"]))
    expected = []
    for i in range(200):
        expected += [("stdout", f"{i}\n"), ("display", str(i)), ("stderr", f"{i}\n"), ("display", str(i))]
    assert seen == expected


@pytest.mark.row("Output", "NaN, infinity, bytes, datetimes, sets and paths in display data and metadata")
def test_what_json_cannot_say_does_not_break_the_message(client: Client) -> None:
    code = """
import datetime, pathlib
class Rich:
    def _repr_mimebundle_(self, include=None, exclude=None):
        odd = {'nan': float('nan'), 'inf': [float('inf')], 'bytes': b'abc', 'set': {1}, 'path': pathlib.Path('/a/b'),
               'date': datetime.datetime(2024, 2, 29, 12, 0, tzinfo=datetime.timezone.utc), 1: 2, None: (1, 2),
               'object': object(), 'complex': 1j}
        odd['circle'] = odd
        return {'text/plain': 'rich', 'application/json': odd}, {'application/json': odd}
Rich()
"""
    run = client.execute(code)
    (content,) = run.contents("execute_result")
    for got in (content["data"]["application/json"], content["metadata"]["application/json"]):
        json.dumps(got, allow_nan=False)
        assert (got["nan"], got["inf"]) == ("nan", ["inf"])
        assert (got["bytes"], got["set"], got["path"]) == ("YWJj", [1], "/a/b")
        assert got["date"] == "2024-02-29T12:00:00Z"
        assert (got["1"], got["null"]) == (2, [1, 2])
        assert isinstance(got["object"], str)


def test_text_of_every_kind(client: Client) -> None:
    text = "ä ß 漢字 \N{PILE OF POO} \u202e \x00\x1b[0m \u2028 \ue000"
    run = client.execute(f"print({text!r}); {text!r}")
    assert run.text() == text + "\n"
    assert run.result == repr(text)
    run = client.execute("print('a\\ud800b'); 'c\\udfffd'")
    assert run.status == "ok"
    assert run.text() == "a\\ud800b\n"
    run = client.execute("raise ValueError('\\ud800')")
    assert (run.error, run.reply["evalue"]) == ("ValueError", "\\ud800")
    json.dumps([m["content"] for m in run.published], ensure_ascii=False).encode()  # as notebooks are saved
    run = client.execute("import os; os.write(1, b'\\xff\\xfe ok\\n'); os.write(1, 'ä'.encode()[:1]); None")
    assert run.text() == "\ufffd\ufffd ok\n\ufffd"  # half a character does not wait for the next cell
    assert client.execute("os.write(1, b'clean'); None").text() == "clean"
    assert client.execute("'\N{PILE OF POO}' '漢'").result == "'\N{PILE OF POO}漢'"


@pytest.mark.row("Output", "100,000 prints arrive complete")
def test_100_000_prints_arrive_complete_and_in_order(client: Client) -> None:
    begun = time.perf_counter()
    run = client.execute("for i in range(100_000): print(i)")
    assert run.text() == "".join(f"{i}\n" for i in range(100_000))
    assert len(run.contents("stream")) < 5000  # joined, not one by one
    assert time.perf_counter() - begun < TIMEOUT


def test_20_megabytes_arrive(client: Client) -> None:
    run = client.execute(
        "import hashlib, random\nr = random.Random(1); total = hashlib.sha256()\n"
        "for i in range(200):\n    text = ''.join(r.choices('abcdefghij\\n', k=1000)) * 100\n"
        "    total.update(text.encode()); print(text, end='')\n"
        "print(total.hexdigest(), file=__import__('sys').stderr)"
    )
    text = run.text()
    assert len(text) == 20_000_000
    assert hashlib.sha256(text.encode()).hexdigest() == run.text("stderr").strip()
    run = client.execute("print('x' * 20_000_000)")
    assert run.text() == "x" * 20_000_000 + "\n"
    run = client.execute("import os\nfor i in range(200): os.write(1, b'y' * 65_536)")
    assert run.text() == "y" * 65_536 * 200


def test_a_thread_prints_after_its_cell(client: Client) -> None:
    """Its output belongs to a cell, and to nobody's while there is none; the parent is never null."""
    cell = client.execute(
        "import threading\ngo = threading.Event()\ndef later():\n    go.wait(); print('later'); go_on.set()\n"
        "go_on = threading.Event()\nthread = threading.Thread(target=later); thread.start()"
    )
    other = client.execute("go.set(); go_on.wait(); thread.join()")
    client.wait_until(lambda: "later\n" in cell.text() + other.text())


@pytest.mark.row("Output", "tasks print into the cell that created them")
def test_a_task_prints_into_its_own_cell_while_others_run(client: Client) -> None:
    cell = client.execute(
        "import asyncio\nfrom IPython.display import display\n"
        "event = asyncio.Event()\nasync def later():\n"
        "    await event.wait(); print('later'); display('shown'); await asyncio.sleep(0.05); print('idle')\n"
        "task = asyncio.create_task(later())\nprint('now')"
    )
    assert cell.text() == "now\n"
    other = client.execute("event.set(); await asyncio.sleep(0.01); print('other')")
    client.wait_until(lambda: cell.text() == "now\nlater\nidle\n")  # the last of it while the kernel is idle
    assert [c["data"]["text/plain"] for c in cell.contents("display_data")] == ["'shown'"]
    assert other.text() == "other\n"


def test_an_uncaught_exception_of_a_thread_is_shown(client: Client) -> None:
    run = client.execute(
        "import threading\ndef fail(): raise ValueError('in a thread')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()"
    )
    assert run.status == "ok"
    plain = re.sub(r"\x1b\[[0-9;]*m", "", run.text("stderr"))  # Python 3.13 and later write it in colours
    assert "ValueError: in a thread" in plain


def test_a_subprocess_prints_after_its_cell(client: Client) -> None:
    """What comes from a program in the background is shown as well, under some parent."""
    run = client.execute(
        "import subprocess\np = subprocess.Popen('read line; echo \"got $line\"', shell=True, stdin=-1)"
    )
    other = client.execute("p.communicate(b'it\\n'); None")
    client.wait_until(lambda: "got it\n" in run.text() + other.text())


def test_what_is_kept_of_what_a_cell_prints_is_bounded(client: Client) -> None:
    """For magics that write notebooks; a flood must not fill the memory."""
    client.execute("for _ in range(40): print('x' * 100_000)")
    kept = "sum(len(text) for o in get_ipython().history_manager.outputs[{n}] for text in o.bundle['stream'])"
    number = client.execute("print('short')").reply["execution_count"]
    assert client.execute(kept.format(n=number)).result == "6"
    assert 900_000 < int(client.execute(kept.format(n=number - 1)).result) <= 1 << 20
