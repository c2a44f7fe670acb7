"""What comes back with a session and what does not: comms, displays, threads, locks, pipes, servers."""

from __future__ import annotations

import time

import pytest

from .client import TIMEOUT, Client
from .conftest import StartKernel
from .faults import IMPORTS
from .kernels import Kernel
from .sessions import ON, check_restored, crash, run, stderr
from .test_comms import TARGET


@pytest.fixture
def kernel(start_kernel: StartKernel) -> Kernel:
    """A kernel for each test."""
    return start_kernel(env=ON)


@pytest.fixture
def client(kernel: Kernel) -> Client:
    """A client of a worker that has the imports and something to lose."""
    client = kernel.connect()
    run(client, f"{IMPORTS}\nkept = [1]")
    return client


# -- what is connected to the session


def test_a_comm_lives_on(client: Client) -> None:
    """Both ways, whoever has opened it; what a message has changed since the last cell is kept too."""
    run(client, TARGET)
    client.ask("comm_open", {"comm_id": "theirs", "target_name": "echo", "data": {}})
    run(client, "mine = comm.create_comm(target_name='frontend', comm_id='mine')\nheard = []\nmine.on_msg(heard.append)")  # fmt: skip
    for i in range(3):
        client.ask("comm_msg", {"comm_id": "mine", "data": i})
        crash(client, "mine.close(); got.clear(); heard.clear(); os._exit(1)")
        echo = client.ask("comm_msg", {"comm_id": "theirs", "data": "hello"}, buffers=[b"abc"])
        (message,) = [m for m in echo.published if m["msg_type"] == "comm_msg"]
        assert message["content"] == {"comm_id": "theirs", "data": {"echo": "hello"}}
        assert [bytes(b) for b in message["buffers"]] == [b"cba"]
        (sent,) = run(client, "mine.send('out')").contents("comm_msg")
        assert sent == {"comm_id": "mine", "data": "out"}
        assert client.evaluate("[m['content']['data'] for m in heard]") == str([*range(i + 1)])
        assert {"theirs", "mine"} <= set(client.ask("comm_info_request").reply["comms"])


def test_a_widget_lives_on(client: Client) -> None:
    cell = run(client, "import ipywidgets\nslider = ipywidgets.IntSlider(3)\nslider.model_id")
    model = cell.result.strip("'")
    update = {"method": "update", "buffer_paths": []}
    client.ask("comm_msg", {"comm_id": model, "data": {**update, "state": {"value": 8}}})
    crash(client)
    assert run(client, "slider.value").result == "8"
    client.ask("comm_msg", {"comm_id": model, "data": {**update, "state": {"value": 9}}})
    assert client.evaluate("slider.value") == "9"


def test_a_display_lives_on(client: Client) -> None:
    (shown,) = [m for m in run(client, "handle = display('first', display_id=True)").published if m["msg_type"] == "display_data"]  # fmt: skip
    crash(client)
    (updated,) = [m for m in run(client, "handle.update('second')").published if m["msg_type"] == "update_display_data"]
    assert updated["content"]["transient"] == shown["content"]["transient"]
    assert "second" in updated["content"]["data"]["text/plain"]


def test_a_default_timeout_of_sockets_does_not_end_the_copies(client: Client, kernel: Kernel) -> None:
    """Programs that fetch pages set one; a copy sleeps on a socket for longer."""
    run(client, "socket.setdefaulttimeout(0.001)")
    run(client, "kept.append(2)")
    run(client, "time.sleep(0.1)")
    crash(client)
    assert run(client, "kept, socket.getdefaulttimeout()").result == "([1, 2], 0.001)"


# -- what does not survive


def test_what_is_lost_is_named(client: Client) -> None:
    """Threads by their names, programs, and what led to them; and the session has none of them any longer."""
    run(
        client,
        "thread = threading.Thread(target=threading.Event().wait, name='counter', daemon=True); thread.start()\n"
        "p = subprocess.Popen(['cat'], stdin=-1, stdout=-1)\nr, w = os.pipe()",
    )
    for first in (True, False):
        notice = check_restored(client.execute("os._exit(1)"))
        if first:
            assert "1 thread did not survive: counter." in notice
            assert "1 child process did not survive." in notice
            assert "4 pipes and sockets had to be closed." in notice
        else:
            assert "thread" not in notice
            assert "child process" not in notice
            assert "pipe" not in notice  # they have been closed before
    assert run(client, "thread.is_alive(), [t.name for t in threading.enumerate() if t.name == 'counter']").result == "(False, [])"  # fmt: skip
    assert run(client, "os.read(r, 1), p.stdout.read()").result == "(b'', b'')"
    assert run(client, "try: os.write(w, b'x')\nexcept BrokenPipeError: print('broken')").text() == "broken\n"
    assert run(client, "p.wait(timeout=10) is not None").result == "True"


def test_threads_that_are_busy_when_the_copy_is_made(client: Client) -> None:
    """They hold locks that nobody gives back in the copy: those of streams, of logging, of imports, of the link."""
    run(
        client,
        "import logging; logging.basicConfig(force=True)\n"
        "def busy():\n"
        "    while True: print('x' * 50); logging.warning('y'); __import__('json'); os.write(1, b'z\\n'); time.sleep(0)\n"
        "def more():\n    for _ in range(4): threading.Thread(target=busy, daemon=True).start()",
    )
    for i in range(5):
        run(client, "more()")
        crash(client, "kept.append(1); os._exit(1)")
        assert run(client, f"print('out'); logging.warning('log'); kept.append({i}); len(kept)").result == str(i + 2)


def test_a_module_that_a_thread_was_importing(client: Client) -> None:
    """The thread is gone, and the lock of the module with it: a later cell imports it from the beginning."""
    run(
        client,
        "import builtins, threading\nbuiltins.begun, builtins.go = threading.Event(), threading.Event()\n"
        "with open('slowly.py', 'w') as file: file.write('begun.set()\\ngo.wait()\\nwhole = True\\n')\n"
        "threading.Thread(target=lambda: __import__('slowly'), daemon=True).start()\nbegun.wait()",
    )
    crash(client)
    assert run(client, "go.set()\nimport slowly\nslowly.whole").result == "True"


def test_locks_of_threads_that_are_gone(client: Client) -> None:
    """A ThreadPoolExecutor of before the crash cannot work; a new one can, and so can the loop's own."""
    run(client, "await asyncio.to_thread(time.sleep, 0)")
    crash(client)
    assert run(client, "await asyncio.to_thread(len, kept)").result == "1"
    code = "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(2) as pool: print(list(pool.map(abs, [-1])))"
    assert run(client, code).text() == "[1]\n"


#: Something that an asyncio loop waits for all the time.
SERVERS = {
    "stream": "server = await asyncio.start_server(print, '127.0.0.1', 0)",
    "unix": "server = await asyncio.start_unix_server(print, 'server')",
    "datagram": (
        "server, _ = await asyncio.get_running_loop().create_datagram_endpoint("
        "asyncio.DatagramProtocol, local_addr=('127.0.0.1', 0))"
    ),
    "client": (
        "async def hold(r, w): await r.read()\nserver = await asyncio.start_server(hold, '127.0.0.1', 0)\n"
        "r, w = await asyncio.open_connection(*server.sockets[0].getsockname())"
    ),
}


@pytest.mark.parametrize("name", SERVERS)
def test_servers_of_asyncio(client: Client, name: str) -> None:
    """They hear nothing any more, and the loop does not turn about them in vain."""
    run(client, SERVERS[name])
    crash(client, "os._exit(1)")
    since = len(client.messages)
    code = "turns = 0\nasync def turn():\n    global turns\n    while True: await asyncio.sleep(0.01); turns += 1\n"
    run(client, f"{code}begun = time.process_time(); task = asyncio.create_task(turn())")
    run(client, "while turns < 50: await asyncio.sleep(0.01)\nused = time.process_time() - begun; task.cancel()")
    assert stderr(client.messages[since:]) == ""
    assert float(client.evaluate("used / turns")) < 0.005
    assert run(client, "server.close()").types == []


def test_all_else_works_afterwards(client: Client) -> None:
    """Interrupts, questions, what native code and programs print, and stacks."""
    for _ in range(2):
        crash(client, "os._exit(1)")
        cell = client.start("print('begun'); subprocess.run(['sleep', '1000'])")
        client.wait_text(cell, "begun")
        deadline = time.monotonic() + TIMEOUT
        while not (stack := client.ask("worker_state_request", {"stack": True}, channel="control").reply["stack"]):
            assert time.monotonic() < deadline  # a worker that is slow to tell has none
        assert stack[0].startswith("Cell In[")
        assert client.interrupt().reply["rung"] == 1
        assert client.finish(cell).error == "KeyboardInterrupt"
        cell = client.start("input('?')")
        client.answer(client.wait_question(cell), "yes")
        assert client.finish(cell).result == "'yes'"
        cell = run(
            client,
            "print('python'); os.write(1, b'native\\n'); subprocess.run(['echo', 'program']); libc.puts(b'C'); 1",
        )
        client.wait_until(lambda: set(cell.text().split()) == {"python", "native", "program", "C"})  # noqa: B023
        cell = client.execute("1 / 0")
        assert cell.error == "ZeroDivisionError"
        assert "Cell In[" in cell.traceback
        assert run(client, "os.getpgrp() == os.getpid(), int(open('/proc/self/oom_score_adj').read()) > int(open(f'/proc/{os.getppid()}/oom_score_adj').read())").result == "(True, True)"  # fmt: skip
