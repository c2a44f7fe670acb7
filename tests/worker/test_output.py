"""sys.stdout and its descriptor; much output; output of threads, programs and forked processes."""

from __future__ import annotations

import ast
import re
import sys

import pytest

from ipymini_worker.wire import NUDGE_SIGNAL
from worker.driver import Worker


def test_attributes_of_the_stream_are_those_of_a_text_file(worker: Worker) -> None:
    answer = worker.good(
        "import io, sys\no = sys.stdout\n"
        "(o.encoding.lower(), o.fileno(), sys.stderr.fileno(), o.isatty(), o.writable(), o.readable(), o.closed,\n"
        " o.name, o.mode, isinstance(o, io.TextIOBase), o.buffer.fileno(), o.buffer.writable(), o.newlines)"
    )
    assert answer.result.replace("\n", "").replace(" ", "") == (
        "('utf-8',1,2,False,True,False,False,'<stdout>','w',True,1,True,None)"
    )


def test_stream_says_what_it_wrote_and_refuses_what_is_no_text(worker: Worker) -> None:
    assert worker.good("import sys\nsys.stdout.write('äöü\\n')").result == "4"
    assert worker.run("sys.stdout.write(b'x')").failure[0] == "TypeError"
    assert worker.good("sys.stdout.writelines(['a', 'b'])").stdout == "ab"
    assert worker.good("sys.stdout.write('')").stdout == ""


def test_stream_cannot_be_closed_or_broken_by_user_code(worker: Worker) -> None:
    worker.good("import sys\nsys.stdout.close()\nsys.stderr.close()\nsys.stdout.buffer.close()")
    answer = worker.good(
        "print('still')\nsys.stdout.reconfigure(line_buffering=True)\nsys.stdout.flush()\nsys.stdout.closed"
    )
    assert (answer.stdout, answer.result) == ("still\n", "False")
    with_statement = "with sys.stdout as out:\n    print('inside')\nprint('after')"
    assert worker.good(with_statement).stdout == "inside\nafter\n"


HELD = """
import signal, sys, time
recorder = sys.stdout.recorder

def interrupt(name, text, run):
    sys.stdout.recorder = recorder
    raise KeyboardInterrupt

try:
    for text in ("one", "two", "three", "held"):
        if text == "held":
            sys.stdout.recorder = interrupt  # is called between the text and its line's end
        print(text)
except KeyboardInterrupt:
    {}
    time.sleep(1000)
"""


@pytest.mark.parametrize("then", ["sys.stdout.flush()", f"signal.raise_signal({int(NUDGE_SIGNAL)})"])
def test_text_that_an_interrupt_took_the_line_end_from_leaves(worker: Worker, then: str) -> None:
    """When it is asked for, and by itself a moment after an interrupt that has not ended the cell."""
    request = worker.start(HELD.format(then))
    said = "one\ntwo\nthree\nheld"
    worker.wait(lambda: "".join(e.content for e in worker.events if (e.request, e.type) == (request, "stdout")) == said)
    worker.interrupt()
    assert worker.answer(request).failure == ("KeyboardInterrupt", "")


def test_bytes_written_to_the_buffer_arrive_as_text_however_they_are_cut(worker: Worker) -> None:
    answer = worker.good(
        "import sys\nfor b in 'ü€\U0001f600'.encode():\n    n = sys.stdout.buffer.write(bytes([b]))\nn"
    )
    assert (answer.stdout, answer.result) == ("ü€\U0001f600", "1")
    assert worker.good("sys.stdout.buffer.write(memoryview(b'abcd').cast('H'))").stdout == "abcd"


def test_text_that_no_encoding_holds_is_printed_all_the_same(worker: Worker) -> None:
    assert worker.good(r"print('a\ud800b')").stdout == "a\\ud800b\n"


KEPT = """
import sys
kept = get_ipython().history_manager.outputs
print("one", 1)
print("two", file=sys.stderr)
print("three")
print("four")
if {clears}:
    kept.clear()
    print("five")
"""


@pytest.mark.parametrize("clears", [False, True])
def test_what_is_printed_is_kept_for_magics_that_write_notebooks(worker: Worker, clears: bool) -> None:
    if worker.good("hasattr(get_ipython().history_manager, 'outputs')").result == "False":
        pytest.skip("this IPython keeps none")
    count = worker.good(KEPT.format(clears=clears)).content["execution_count"]
    shown = f"[(o.output_type, ''.join(o.bundle.get('stream', []))) for o in kept[{count}]]"
    whole = [("out_stream", "one 1\n"), ("err_stream", "two\n"), ("out_stream", "three\nfour\n")]
    assert ast.literal_eval(worker.good(shown).result) == ([("out_stream", "five\n")] if clears else whole)


def test_stream_can_be_replaced_and_redirected(worker: Worker) -> None:
    code = "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()) as caught:\n    print('caught')\ncaught.getvalue()"
    answer = worker.good(code)
    assert (answer.stdout, answer.result) == ("", r"'caught\n'")
    assert worker.good("%%capture out\nprint('captured')").stdout == ""
    assert worker.good("out.stdout").result == r"'captured\n'"


def raw(worker: Worker, code: str, *texts: str) -> str:
    """Runs a cell; returns what came on descriptor 1 when all `texts` are there."""
    worker.raw["stdout"] = b""
    worker.good(code)
    worker.wait(lambda: all(text.encode() in worker.raw["stdout"] for text in texts))
    return worker.raw["stdout"].decode()


def test_writes_to_the_real_descriptor_arrive(worker: Worker) -> None:
    raw(
        worker, "import os\nn = os.write(1, b'written\\n')\nn = os.system('echo from system')", "written", "from system"
    )


def test_c_library_output_is_there_when_the_cell_is_over(worker: Worker) -> None:
    assert "from C" in raw(worker, "import ctypes\nctypes.CDLL(None).puts(b'from C');", "from C\n")


def test_stream_can_be_given_to_a_program(worker: Worker) -> None:
    raw(
        worker,
        "import subprocess, sys\nsubprocess.run(['echo', 'program'], stdout=sys.stdout, stderr=sys.stderr, check=True);",
        "program\n",
    )


def test_stderr_of_a_program_arrives(worker: Worker) -> None:
    worker.good("import subprocess, sys\nsubprocess.run(['sh', '-c', 'echo oops >&2']);")
    worker.wait(lambda: b"oops\n" in worker.raw["stderr"])


def test_faulthandler_can_dump_to_the_stream(worker: Worker) -> None:
    text = raw(worker, "import faulthandler, sys\nfaulthandler.dump_traceback(file=sys.stdout)", "Current thread")
    assert "most recent call first" in text


def test_forked_process_prints_once_and_closes_nothing(worker: Worker) -> None:
    text = raw(
        worker,
        "import os, sys\nprint('before')\npid = os.fork()\n"
        "if pid == 0:\n    print('in the child')\n    sys.stdout.flush()\n    os._exit(0)\n"
        "_ = os.waitpid(pid, 0)",
        "in the child\n",
    )
    assert text.count("in the child") == 1
    assert "before" not in text
    assert worker.good("print('after')").stdout == "after\n"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_process_of_multiprocessing_prints(worker: Worker, method: str) -> None:
    worker.raw["stdout"] = b""
    worker.good(
        f"import multiprocessing\nctx = multiprocessing.get_context({method!r})\n"
        f"p = ctx.Process(target=print, args=('by {method}',))\np.start()\np.join()\nassert p.exitcode == 0"
    )
    worker.wait(lambda: f"by {method}\n".encode() in worker.raw["stdout"])
    assert worker.raw["stdout"].count(b"by ") == 1


def test_forked_process_that_forgets_to_exit_does_not_answer_requests(worker: Worker) -> None:
    worker.good("import os\nmain = os.getpid()\npid = os.fork()")
    assert worker.good("os.getpid() == main").result == "True"
    assert worker.good("os.waitpid(pid, 0)[0] == pid").result == "True"


def test_many_prints_arrive_complete_and_in_order(worker: Worker) -> None:
    assert worker.good("for i in range(20_000): print(i)").stdout == "".join(f"{i}\n" for i in range(20_000))


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="other Pythons may need two")
def test_line_costs_one_system_call(worker: Worker) -> None:
    code = (
        # What finalizers of other tests have to say is not of this one.
        "import gc, sys\nfrom ipymini_worker.wire import HEADER, STDERR\ngc.collect()\n"
        "link = sys.stdout._link\nreal, calls = link._socket, []\n"
        "class Counting:\n"
        "    def send(self, *data): calls.append(data); return real.send(*data)\n"
        "    def __getattr__(self, name): return getattr(real, name)\n"
        "link._socket = Counting()\n"
        "for i in range(1000): print(i)\n"
        "link._socket = real; sum(not HEADER.unpack_from(data)[2] & STDERR for data, in calls)"
    )
    assert int(worker.good(code).result) <= 1002  # by the first two it is told what follows


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "os._exit(3)", "ctypes.string_at(0)"])
def test_what_was_printed_before_a_death_has_arrived(fresh: Worker, end: str) -> None:
    request = fresh.start(f"import ctypes, os\nfor i in range(1000):\n    print(i)\n    if i == 500: {end}")
    fresh.wait_for_end()
    printed = "".join(e.content for e in fresh.events if e.request == request and e.type == "stdout")
    assert printed == "".join(f"{i}\n" for i in range(501))


def test_lines_of_threads_arrive_complete(worker: Worker) -> None:
    code = (
        "import sys, threading\n"
        "before = sys.getswitchinterval(); sys.setswitchinterval(1e-6)\n"
        "def talk(n):\n    for i in range(2000): print(f'<{n}:{i}>')\n"
        "threads = [threading.Thread(target=talk, args=(n,)) for n in range(4)]\n"
        "for t in threads: t.start()\n"
        "for t in threads: t.join()\n"
        "sys.setswitchinterval(before)"
    )
    printed = worker.good(code).stdout
    assert printed.count("\n") == 8000
    for n in range(4):
        assert [i for m, i in re.findall(r"<(\d):(\d+)>", printed) if m == str(n)] == [str(i) for i in range(2000)]


def test_interrupts_in_the_midst_of_prints_lose_nothing_and_print_nothing_twice(worker: Worker) -> None:
    code = "i = 0\nwhile True:\n    print(i)\n    i += 1"
    for _ in range(20):
        request = worker.start(code)
        worker.wait(lambda request=request: any(e.request == request and e.type == "stdout" for e in worker.events))
        worker.interrupt()
        answer = worker.answer(request)
        assert answer.failure[0] == "KeyboardInterrupt"
        lines = answer.stdout.splitlines()
        assert lines == [str(i) for i in range(len(lines))]
        last = int(worker.good("i").result)
        assert last <= len(lines) <= last + 1
        worker.events.clear()


def test_an_error_in_code_without_lines_is_shown(worker: Worker) -> None:
    """As an interrupt that comes between two lines is."""
    answer = worker.answer(
        worker.start("def f(): 1/0\nf = type(f)(f.__code__.replace(co_linetable=b''), globals())\nf()")
    )
    assert answer.failure[0] == "ZeroDivisionError"
    assert answer.stdout == ""


def test_large_text_arrives_complete(worker: Worker) -> None:
    answer = worker.good("print('x' * 20_000_000 + 'end')")
    assert len(answer.stdout) == 20_000_004
    assert answer.stdout.endswith("xend\n")


def test_large_frame_that_is_interrupted_leaves_the_link_in_step(worker: Worker) -> None:
    for _ in range(3):
        request = worker.start("data = 'x' * 50_000_000\nprint('ready')\nprint(data)\nwhile True: pass")
        worker.wait(lambda: worker.process.work.partial)  # the frame is on its way, and no more of it is read now
        worker.interrupt()
        answer = worker.answer(request)
        assert answer.failure[0] == "KeyboardInterrupt"
        assert answer.stdout.count("x") in (0, 50_000_000)  # a frame arrives whole or not at all
        assert worker.good("'in step'").result == "'in step'"


def test_interrupts_in_the_midst_of_many_large_frames_leave_the_link_in_step(worker: Worker) -> None:
    for _ in range(20):
        request = worker.start("while True: print('x' * 300_000)")
        worker.wait(lambda request=request: any(e.request == request and e.type == "stdout" for e in worker.events))
        worker.interrupt()
        assert worker.answer(request).failure[0] == "KeyboardInterrupt"
        worker.events.clear()
        assert worker.good("'in step'").result == "'in step'"


def test_threads_print_while_the_main_thread_prints_large_frames(worker: Worker) -> None:
    code = (
        "import threading\n"
        "def talk(n):\n    for i in range(300): print(f'<{n}:{i}>', end='')\n"
        "threads = [threading.Thread(target=talk, args=(n,)) for n in range(4)]\n"
        "for t in threads: t.start()\n"
        "for _ in range(10): print('x' * 1_000_000, end='')\n"
        "for t in threads: t.join()"
    )
    answer = worker.good(code)
    assert answer.stdout.count("x") == 10_000_000
    for n in range(4):
        places = [answer.stdout.index(f"<{n}:{i}>") for i in range(300)]
        assert places == sorted(places)


def test_thread_prints_into_the_cell_that_runs_when_it_has_no_other(worker: Worker) -> None:
    worker.good("import threading\ngo, said = threading.Event(), threading.Event()\n"
                "def talk():\n    go.wait()\n    print('from a thread')\n    said.set()\n"
                "threading.Thread(target=talk).start()")  # fmt: skip
    worker.good("go.set()\n_ = said.wait()")
    worker.prints("from a thread")


def test_exception_of_a_thread_is_shown(worker: Worker) -> None:
    answer = worker.good("import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()")
    assert "ZeroDivisionError" in answer.stderr


def test_descriptors_of_the_link_are_out_of_the_way_of_user_code(worker: Worker) -> None:
    assert worker.good("import os\nos.closerange(3, 100)\n'alive'").result == "'alive'"
    assert worker.good("'on'").result == "'on'"


def test_programs_inherit_no_socket_of_the_link(worker: Worker) -> None:
    code = (
        "import os, subprocess\n"
        "script = 'for fd in /proc/self/fd/*; do readlink $fd; done; true'\n"
        "program = subprocess.check_output(script, shell=True, close_fds=False, text=True).split()\n"
        "own = [os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if os.path.exists(f'/dev/fd/{n}')]\n"
        "sockets = {target for target in own if target.startswith('socket:')}\n"
        "len(sockets) >= 2, sockets & set(program)"
    )
    assert worker.good(code).result == "(True, set())"


def test_small_limit_of_descriptors_is_no_obstacle(worker: Worker) -> None:
    code = (
        "import resource\nold = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, old[1]))\nprint('printed')\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, old)"
    )
    assert worker.good(code).stdout == "printed\n"
