"""What `get_ipython().kernel` and `get_ipython().display_pub` offer to libraries, beside the real ipykernel and without."""

from __future__ import annotations

import pytest

from .client import Client
from .conftest import StartKernel
from .kernels import Kernel

TARGET = """
import comm, time
k = get_ipython().kernel
got = []
def opened(channel, message):
    @channel.on_msg
    def receive(message):
        got.append(message['content']['data'])
        print('received', message['content']['data'])
comm.get_comm_manager().register_target('echo', opened)
"""


@pytest.fixture(scope="module")
def kernel(either: Kernel) -> Kernel:
    """Beside the real ipykernel, and without it."""
    return either


@pytest.fixture
def k(client: Client) -> Client:
    """A client of a kernel that has its kernel object under the name `k`."""
    assert client.execute("ip = get_ipython(); k = ip.kernel").status == "ok"
    return client


def run(client: Client, code: str) -> str:
    """The result of a cell that has to succeed."""
    done = client.execute(code)
    assert done.status == "ok", done.traceback
    return done.result


@pytest.mark.row("Identity", "get_ipython().kernel is not None")
@pytest.mark.row("Identity", "kernel: shell, log, comm_manager, execution_count, parent.connection_file")
@pytest.mark.row("Identity", "get_ipython().kernel.shell.user_ns")
def test_what_it_has(k: Client, kernel: Kernel) -> None:
    assert run(k, "k.shell is ip, k.shell.user_ns['k'] is k") == "(True, True)"
    assert run(k, "k.parent.connection_file") == repr(kernel.file)
    assert run(k, "import comm; k.comm_manager is comm.get_comm_manager(), k.debugger is None or 1") != ""
    assert run(k, "k.log.debug('x'); k.execution_count == ip.execution_count > 0") == "True"
    assert run(k, "k.control_thread.is_alive(), k.control_thread.name != ''") == "(True, True)"


@pytest.mark.row("Identity", "kernel: user_ns")
def test_its_variables(k: Client) -> None:
    assert run(k, "k.user_ns['k'] is k, k.user_ns is ip.user_ns") == "(True, True)"


@pytest.mark.row("Identity", "kernel: language_info, implementation, banner, kernel_info")
def test_what_it_says_of_itself(k: Client) -> None:
    info = k.ask("kernel_info_request").reply
    assert run(k, "k.language_info['name'], k.language_info['file_extension']") == "('python', '.py')"
    assert run(k, "k.implementation") == repr(info["implementation"])
    assert run(k, "'IPython' in k.banner") == "True"
    for key in ("implementation", "language_info"):
        assert run(k, f"k.kernel_info[{key!r}]") == run(k, repr(info[key]))


@pytest.mark.row("Identity", "kernel: session (.session, .send that publishes) and iopub_socket; send_response")
def test_it_publishes(k: Client) -> None:
    content = "{'data': {'text/plain': 'mine'}, 'metadata': {}, 'transient': {}}"
    send = f"k.session.send(k.iopub_socket, 'display_data', {content}, parent=k.get_parent(), metadata={{'m': 1}})"
    done = k.execute(f"m = {send}")
    (message,) = [m for m in done.published if m["msg_type"] == "display_data"]
    assert message["content"]["data"] == {"text/plain": "mine"}
    assert message["metadata"] == {"m": 1}
    done = k.execute(f"k.send_response(k.iopub_socket, 'display_data', {content}, buffers=[b'12'])")
    (message,) = [m for m in done.published if m["msg_type"] == "display_data"]
    assert [bytes(b) for b in message["buffers"]] == [b"12"]
    assert run(k, "len(k.session.session) > 8, k.session.msg('status')['header']['msg_type']") == "(True, 'status')"
    assert run(k, "m['header']['msg_type'], m['content']['data']") == "('display_data', {'text/plain': 'mine'})"


def test_it_has_no_key_and_sends_no_replies(k: Client) -> None:
    assert run(k, "k.session.key") == "b''"
    content = "{'data': {'text/plain': 'mine'}, 'metadata': {}, 'transient': {}}"
    done = k.execute(f"k.session.send(k.iopub_socket, 'display_data', {content});")
    assert done.contents("display_data")  # without a parent it belongs to the cell
    assert k.execute("k.session.send(k.shell_stream, 'execute_reply', {})").error == "ValueError"
    assert run(k, "k.session.send(None, 'status', {'a': 1})['content']") == "{'a': 1}"


@pytest.mark.row("Identity", "kernel: iopub_thread, shell_stream")
def test_threads_and_streams(k: Client) -> None:
    assert k.execute("k.iopub_thread.schedule(lambda: print('now'))").text() == "now\n"
    assert k.execute("k.shell_stream.flush()").status == "ok"


@pytest.mark.row("Identity", "kernel: io_loop, whose callbacks run")
def test_the_loop(k: Client) -> None:
    code = "import asyncio, threading\ndone = asyncio.Event()\nloop = k.io_loop\n"
    code += (
        "threading.Thread(target=loop.add_callback, args=(done.set,)).start()\nawait asyncio.wait_for(done.wait(), 10)"
    )
    assert run(k, code) == "True"
    assert run(k, "k.io_loop.asyncio_loop is asyncio.get_running_loop(); await asyncio.sleep(0, 7)") == "7"
    done = k.execute("loop.call_later(0, print, 'between cells')")
    k.wait_text(done, "between cells")


@pytest.mark.row("Identity", "kernel.get_parent(), _parent_header, ip.get_parent(), ip.parent_header")
@pytest.mark.row("Seen to break", "kernel.get_parent(channel), kernel._parent_ident, sys.stdout._is_master_process()")
def test_parents(k: Client) -> None:
    k.execute("import warnings; warnings.simplefilter('ignore')")
    done = k.execute("[m['header']['msg_id'] for m in (k.get_parent(), k.get_parent('shell'), k._parent_header, "
                     "ip.get_parent(), ip.parent_header)]")  # fmt: skip
    msg_id = done.request["header"]["msg_id"]
    assert done.result.count(msg_id) == 5
    assert run(k, "k.get_parent()['content']['code'][:5], k.get_parent('control').get('content')") != ""
    assert run(k, "sorted(k._parent_ident)[:0], k._parent_ident['shell'] is not None") == "([], True)"
    assert run(k, "import sys; sys.stdout._is_master_process(), sys.stderr._is_master_process()") == "(True, True)"
    code = "import os\npid = os.fork()\nif not pid: os._exit(3 if sys.stdout._is_master_process() else 4)\n"
    assert run(k, code + "os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])") == "4"


@pytest.mark.row("Seen to break", "get_ipython().set_thread_parent and reset_thread_parent, kernel.set_parent")
def test_output_for_another_cell(k: Client) -> None:
    first = k.execute("earlier = ip.get_parent()")
    later = k.execute(
        "from IPython.display import display\nimport threading\n"
        "token = ip.set_thread_parent(earlier)\nprint('to the first')\ndisplay('shown in the first')\n"
        "ip.reset_thread_parent(token)\nprint('to the second')\n"
        "def work():\n    ip.set_thread_parent(earlier)\n    print('from a thread')\n"
        "t = threading.Thread(target=work); t.start(); t.join()\n"
        "now = k.get_parent()\nk.set_parent(k._parent_ident, earlier)\nprint('by the kernel')\n"
        "k.set_parent(k._parent_ident, now)\nprint('the end')"
    )
    assert later.status == "ok", later.traceback
    k.wait_text(first, "by the kernel")
    assert first.text() == "to the first\nfrom a thread\nby the kernel\n"
    assert "display_data" in first.types
    assert later.text() == "to the second\nthe end\n"
    assert k.execute("print('as ever')").text() == "as ever\n"


@pytest.mark.row("Identity", "kernel: do_execute, do_shutdown")
def test_what_it_does(k: Client, start_kernel: StartKernel, worker_options: tuple[str, ...]) -> None:
    done = k.execute("import inspect\nr = k.do_execute('x = 6 * 7\\nprint(x)', True)\nr = await r; r['status'], x")
    assert (done.result, done.text()) == ("('ok', 42)", "42\n")
    assert "ZeroDivisionError" in run(k, "r = await k.do_execute('1/0', True); r['status'], r['ename']")
    other = start_kernel(*worker_options)
    client = other.connect()
    assert client.execute("get_ipython().kernel.do_shutdown(False)").status == "ok"
    assert other.wait() == 0


@pytest.mark.row("Identity", "kernel: pre_handler_hook, post_handler_hook, debugger")
def test_hooks_around_requests(k: Client) -> None:
    k.execute("calls = []\nkept = k.pre_handler_hook, k.post_handler_hook")
    k.execute(
        "k.pre_handler_hook = lambda: calls.append('before')\nk.post_handler_hook = lambda: calls.append('after')"
    )
    k.execute("calls.append('cell')")
    run_ = k.execute("k.pre_handler_hook, k.post_handler_hook = kept; k.debugger; calls")
    assert run_.result == "['after', 'before', 'cell', 'after', 'before']"
    assert k.execute("calls").result == run_.result


@pytest.mark.row("Identity", "kernel.shell_handlers['execute_request'] can be replaced and called")
def test_handlers(k: Client) -> None:
    """A handler that keeps cells until one comes that it knows, and then runs them in their own name."""
    k.execute(
        "kept = []\nown = k.shell_handlers['execute_request']\n"
        "async def keep(stream, ident, parent):\n"
        "    kept.append((stream, ident, parent))\n"
        "    if parent['content']['code'] != 'go on': return\n"
        "    k.shell_handlers['execute_request'] = own\n"
        "    for stream, ident, parent in kept[:-1]:\n"
        "        k.set_parent(ident, parent)\n"
        "        await k.execute_request(stream, ident, parent)\n"
        "k.shell_handlers['execute_request'] = keep"
    )
    held = [k.start(f"print('later', {n}); later = {n}") for n in range(2)]
    last = k.start("go on")
    k.wait_text(held[1], "later 1")
    assert k.finish(last).text() == ""
    assert held[0].text() == "later 0\n"
    assert k.execute("print(later, k.shell_handlers['execute_request'] is own)").text() == "1 True\n"


@pytest.mark.row("Identity", "kernel.shell_handlers['comm_msg'] can be replaced by one that looks on")
def test_handlers_that_look_on(k: Client) -> None:
    assert k.execute(TARGET).status == "ok"
    k.ask("comm_open", {"comm_id": "look", "target_name": "echo", "data": {}})
    k.execute(
        "own = k.shell_handlers['comm_msg']\nlooked = []\n"
        "def look(stream, ident, message):\n    looked.append(message['msg_type'])\n    own(stream, ident, message)\n"
        "k.shell_handlers['comm_msg'] = look"
    )
    assert k.ask("comm_msg", {"comm_id": "look", "data": 1}).text() == "received 1\n"
    k.execute("k.shell_handlers['comm_msg'] = own")
    k.ask("comm_msg", {"comm_id": "look", "data": 2})
    assert run(k, "looked, got") == "(['comm_msg'], [1, 2])"


@pytest.mark.row("Identity", "kernel.do_one_iteration(): a widget's event reaches its callback in mid-cell")
def test_events_in_the_middle_of_a_cell(client: Client) -> None:
    assert client.execute(TARGET).status == "ok"
    client.ask("comm_open", {"comm_id": "a", "target_name": "echo", "data": {}})
    cell = client.start(
        "got.clear()\nprint('waiting')\nwhile len(got) < 3:\n    k.do_one_iteration()\nprint('got', got)"
    )
    behind = client.start("print('behind')")
    client.wait_text(cell, "waiting")
    events = [client.ask("comm_msg", {"comm_id": "a", "data": n}) for n in range(3)]
    client.finish(cell)
    client.finish(behind)
    assert [event.text() for event in events] == ["received 0\n", "received 1\n", "received 2\n"]
    assert cell.text() == "waiting\ngot [0, 1, 2]\n"
    assert behind.text() == "behind\n"
    # The last status before the cell's own idle is busy, whoever it belongs to.
    states = [m["content"]["execution_state"] for c, m in client.messages if m["msg_type"] == "status"]
    assert states.count("busy") == states.count("idle")


def test_hundreds_of_events_do_not_make_a_cell_forgotten(client: Client) -> None:
    assert client.execute(TARGET).status == "ok"
    client.ask("comm_open", {"comm_id": "many", "target_name": "echo", "data": {}})
    cell = client.start("got.clear()\nprint('waiting')\nwhile len(got) < 300: k.do_one_iteration()\nprint('over')\n7")
    client.wait_text(cell, "waiting")
    events = [client.send("comm_msg", {"comm_id": "many", "data": n}) for n in range(300)]
    client.finish(cell)
    for event in events:
        client.finish(event)
    assert cell.text() == "waiting\nover\n"
    assert cell.result == "7"
    assert events[-1].text() == "received 299\n"


def test_events_by_a_thread_while_the_cell_waits_for_it(client: Client) -> None:
    """As jupyter_ui_poll does it: a loop of its own in a thread, handlers replaced meanwhile, parents put back."""
    assert client.execute(TARGET).status == "ok"
    client.ask("comm_open", {"comm_id": "thread", "target_name": "echo", "data": {}})
    cell = client.start(
        "import asyncio, inspect, sys, threading\n"
        "got.clear()\nloop = asyncio.new_event_loop()\nthread = threading.Thread(target=loop.run_forever); thread.start()\n"
        "parent = k._parent_ident, k.get_parent()\nkept = k.shell_handlers['execute_request']\nevents = []\n"
        "async def execute(*event): events.append(event)\nk.shell_handlers['execute_request'] = execute\n"
        "async def poll(n):\n"
        "    for _ in range(n):\n"
        "        result = k.do_one_iteration()\n"
        "        if inspect.isawaitable(result): await result\n"
        "        k.set_parent(*parent)\n"
        "print('waiting')\n"
        "try:\n"
        "    while not got:\n"
        "        asyncio.run_coroutine_threadsafe(poll(3), loop).result()\n"
        "        print('.', end='')\n"
        "finally:\n"
        "    k.shell_handlers['execute_request'] = kept\n"
        "    loop.call_soon_threadsafe(loop.stop); thread.join()\n"
        "print(got, events)"
    )
    behind = client.start("print('behind')")
    client.wait_text(cell, "waiting")
    event = client.ask("comm_msg", {"comm_id": "thread", "data": "x"})
    client.finish(cell)
    assert client.finish(behind).text() == "behind\n"
    assert event.text() == "received x\n"
    assert cell.text().endswith("['x'] []\n")


def test_an_interrupt_while_events_are_served(client: Client) -> None:
    """It ends the cell, and the next request is answered by what it asks for."""
    assert client.execute(TARGET).status == "ok"
    client.ask("comm_open", {"comm_id": "i", "target_name": "echo", "data": {}})
    for _ in range(5):
        cell = client.start("print('waiting')\nwhile True: k.do_one_iteration()")
        client.wait_text(cell, "waiting")
        client.send("comm_msg", {"comm_id": "i", "data": 1})
        client.interrupt()
        assert client.finish(cell).error == "KeyboardInterrupt"
        assert client.execute("6 * 7").result == "42"


INTERRUPT = """
import os, signal, sys
def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(100): pass
"""
#: Where an interrupt finds a cell that serves events: before the request that has come, in a callback of IPython's or
#: of the user's beside its own code.
MOMENTS = {
    "before a request": """
import ipymini_worker.context as context
enter = context.enter
def first(request):
    context.enter = enter
    interrupt()
    return enter(request)
context.enter = first
""",
    "in a callback of IPython's": """
def callback():
    ip.events.unregister('pre_execute', callback)
    interrupt()
callback.__module__ = 'IPython.core'
ip.events.register('pre_execute', callback)
""",
    "in a callback after the event": """
def callback():
    ip.events.unregister('post_execute', callback)
    interrupt()
ip.events.register('post_execute', callback)
""",
}


@pytest.mark.parametrize("loop", [False, True], ids=["by iterations", "by a loop"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_between_events_and_cell(k: Client, moment: str, loop: bool) -> None:
    """Whatever it hits, it ends the cell, and the event has its end, too."""
    assert k.execute(TARGET + INTERRUPT).status == "ok"
    k.ask("comm_open", {"comm_id": moment, "target_name": "echo", "data": {}})
    wait = "import asyncio\nwhile True: await asyncio.sleep(0.01)" if loop else "while True: k.do_one_iteration()"
    cell = k.start(f"{MOMENTS[moment]}\nprint('waiting')\n{wait}")
    k.wait_text(cell, "waiting")
    event = k.send("comm_msg", {"comm_id": moment, "data": 1})
    assert k.finish(cell).error == "KeyboardInterrupt"
    k.finish(event)
    assert k.execute("6 * 7").result == "42"


def test_an_interrupt_before_a_cell_inside_of_another_has_begun(k: Client) -> None:
    """Both end; it may come where nothing of what answers the one inside runs yet."""
    cell = k.start(
        "import asyncio, ipymini_worker.answering as a\nown = a.Answering.answer_inside\n"
        "async def interrupted(self, request):\n    a.Answering.answer_inside = own\n    raise KeyboardInterrupt\n"
        "a.Answering.answer_inside = interrupted\nk.unlock()\nprint('waiting')\nawait asyncio.sleep(1000)"
    )
    k.wait_text(cell, "waiting")
    inside = k.start("print('inside')")
    assert k.finish(inside).error == "KeyboardInterrupt"
    assert k.finish(cell).error == "KeyboardInterrupt"
    assert k.execute("6 * 7").result == "42"


def test_a_question_while_events_are_served(client: Client) -> None:
    """A callback that asks something in mid-cell asks whoever caused it."""
    assert client.execute(TARGET).status == "ok"
    client.execute("c = comm.create_comm(target_name='t')\nsaid = []\nc.on_msg(lambda m: said.append(input('what? ')))")
    comm_id = client.evaluate("c.comm_id").strip("'")
    cell = client.start("print('waiting')\nwhile not said: k.do_one_iteration()\nsaid")
    client.wait_text(cell, "waiting")
    event = client.send("comm_msg", {"comm_id": comm_id, "data": 1})
    client.answer(client.wait_question(event), "this")
    assert client.finish(cell).result == "['this']"
    client.finish(event)


def test_an_iteration_outside_of_a_cell_does_nothing(client: Client) -> None:
    client.execute(TARGET)
    code = "import threading\nt = threading.Timer(0, lambda: [k.do_one_iteration() for _ in range(100)]); t.start()"
    client.execute(code)
    for number in range(20):
        assert client.execute(f"{number}").result == str(number)
    assert client.execute("t.join(); await k.do_one_iteration()").status == "ok"


@pytest.mark.row("Identity", "display_pub: session, pub_socket, topic, clear_output, register_hook, unregister_hook")
def test_the_display_publisher(k: Client) -> None:
    k.execute("from IPython.display import display\npub = ip.display_pub\nseen = []")
    assert (
        run(k, "pub.session is k.session, pub.pub_socket is k.iopub_socket, type(pub.topic)") == "(True, True, bytes)"
    )
    assert k.execute("pub.clear_output(wait=True)").contents("clear_output") == [{"wait": True}]
    k.execute("def hook(m):\n    seen.append(m)\n    return m if 'keep' in str(m['content']) else None")
    done = k.execute("pub.register_hook(hook)\ndisplay('drop this')\ndisplay('keep this')\npub.clear_output()")
    assert [c["data"]["text/plain"] for c in done.contents("display_data")] == ["'keep this'"]
    assert done.contents("clear_output") == []
    assert run(k, "pub.unregister_hook(hook), pub.unregister_hook(hook)") == "(True, False)"
    msg_id = done.request["header"]["msg_id"]
    assert run(k, "[m['header']['msg_type'] for m in seen]") == "['display_data', 'display_data', 'clear_output']"
    assert run(k, "{m['parent_header']['msg_id'] for m in seen}") == f"{{{msg_id!r}}}"
    assert k.execute("display('drop this')").contents("display_data")


@pytest.mark.row("Identity", "ipywidgets.Output takes what is printed: kernel.get_parent()['header']['msg_id']")
def test_parents_are_what_output_widgets_ask_for(k: Client) -> None:
    done = k.execute("print(k.get_parent()['header']['msg_id'] == ip.parent_header['header']['msg_id'])")
    assert done.text() == "True\n"
