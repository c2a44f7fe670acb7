"""The table of faults and moments, the part in which a request is being executed when the worker dies."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from .client import Client, Run
from .deaths import SOON, Scene, in_mid_frame
from .faults import FAULTS
from .kernels import Kernel

#: Without snapshots: what happens when there is nothing to go back to.
ENVIRONMENT = {"IPYMINI_SNAPSHOTS": "off"}

Moment = Callable[[Scene], Run]


def in_the_cell(scene: Scene) -> Run:
    return scene.client.start("print('before')\ndie()")


def in_a_thread(scene: Scene) -> Run:
    """Of the cell itself, which waits for it."""
    return scene.client.start("print('before')\nthreading.Thread(target=die).start()\ntime.sleep(1000)")


def in_a_thread_of_an_earlier_cell(scene: Scene) -> Run:
    scene.client.execute("at_gate(die)")
    cell = scene.client.start("print('before')\ntime.sleep(1000)")
    scene.client.wait_text(cell, "before\n")
    scene.open_gate()
    return cell


def in_a_task(scene: Scene) -> Run:
    """Of an earlier cell, while another one awaits something else."""
    scene.client.execute(
        "event = asyncio.Event()\nasync def later():\n    await event.wait(); die()\ntask = asyncio.create_task(later())"
    )
    return scene.client.start("print('before')\nevent.set()\nawait asyncio.sleep(1000)")


def in_input(scene: Scene) -> Run:
    """The question is open, and is answered when nobody waits for the answer any more."""
    cell = scene.client.start("print('before')\nat_gate(die)\ninput('?')")
    question = scene.client.wait_question(cell)
    scene.open_gate()
    scene.client.finish(cell)
    scene.client.answer(question, "too late")
    return cell


def in_a_repr(scene: Scene) -> Run:
    """Of the cell's result."""
    return scene.client.start("class Mortal:\n    def _repr_html_(self): die()\nprint('before')\nMortal()")


MOMENTS: dict[str, Moment] = {
    "cell": in_the_cell,
    "thread": in_a_thread,
    "earlier thread": in_a_thread_of_an_earlier_cell,
    "task": in_a_task,
    "input": in_input,
    "repr": in_a_repr,
}
IN_THREADS = ("thread", "earlier thread", "input")


def check_completion(answer: Run, name: str) -> None:
    """It is of the next worker; or of the dying one, which may have had no memory left for it; or was given up."""
    if answer.reply["status"] == "error" and name.startswith("out of memory"):
        assert answer.reply["ename"] in ("MemoryError", "RuntimeError"), answer.reply
    else:
        matches = answer.reply.get("matches")
        assert matches == [] or (matches and "zip" in matches), answer.reply


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", FAULTS)
def test_death(kernel: Kernel, client: Client, name: str, moment: str) -> None:
    """One error, after what was printed and before any news of another worker; and the next cell runs."""
    scene = Scene(kernel, client, name)
    cell = MOMENTS[moment](scene)
    queued = [client.start("1"), client.start("print(2)", silent=True)]
    completion = client.send("complete_request", {"code": "zi", "cursor_pos": 2})
    info = client.send("kernel_info_request")
    client.finish(cell)
    scene.check_error(cell, line="line 2" if moment == "cell" else "", thread=moment in IN_THREADS)
    assert cell.text().startswith("before\n")  # a thread of IPython's may complain of what has become of its files
    # They may have come after the end of the cell; then the next worker runs them.
    for run in queued:
        assert client.finish(run).status in ("aborted", "ok")
    check_completion(client.finish(completion), name)
    assert client.finish(info).status == "ok"
    assert client.evaluate("1") == "1"


@pytest.mark.parametrize("name", FAULTS)
def test_what_the_next_worker_is(kernel: Kernel, client: Client, name: str) -> None:
    """A new session in the same kernel; what was queued is aborted, and its error comes soon."""
    scene = Scene(kernel, client, name)
    client.execute("x = 1")
    cell = client.start("print('before')\nat_gate(die)\ntime.sleep(1000)")
    queued = [client.start("y = 1") for _ in range(3)]
    completion = client.send("complete_request", {"code": "zi", "cursor_pos": 2})
    client.wait_text(cell, "before\n")
    client.ask("kernel_info_request")  # what was sent before has arrived
    at = time.perf_counter()
    scene.open_gate()
    client.finish(cell)
    assert time.perf_counter() - at < SOON
    scene.check_error(cell, thread=True)
    for run in queued:
        assert client.finish(run).reply == {"status": "aborted"}
        assert run.types == []
    check_completion(client.finish(completion), name)
    scene.check_lives()
    assert client.execute("x").error == "NameError"


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.words])
def test_last_words_of_native_code(kernel: Kernel, client: Client, name: str) -> None:
    """They are in the cell's stderr, and once more in the error."""
    scene = Scene(kernel, client, name)
    cell = client.execute("print('before')\ndie()")
    scene.check_error(cell)
    assert re.search(scene.fault.words, cell.text("stderr"))
    said = cell.traceback.partition("Last words on stderr:\n")[2]
    assert re.search(scene.fault.words, said), cell.traceback


@pytest.mark.parametrize("name", FAULTS)
def test_death_in_a_comm(kernel: Kernel, client: Client, name: str) -> None:
    """There is no reply, but busy, idle, and a line that says why the widgets are gone."""
    scene = Scene(kernel, client, name)
    client.execute(
        "import comm\ndef opened(channel, message):\n"
        "    channel.on_msg(lambda message: (print('before'), die()))\n"
        "comm.get_comm_manager().register_target('mortal', opened)"
    )
    client.ask("comm_open", {"comm_id": "c", "target_name": "mortal", "data": {}})
    run = client.ask("comm_msg", {"comm_id": "c", "data": {}})
    assert run.text() == "before\n"
    scene.wait_reborn()
    assert scene.fault.tells(told_on_stderr(scene), 0)
    scene.check_lives()


@pytest.mark.parametrize("name", FAULTS)
def test_death_in_a_completion(kernel: Kernel, client: Client, name: str) -> None:
    scene = Scene(kernel, client, name)
    client.execute(
        "get_ipython().Completer.use_jedi = False\nclass Mortal:\n    def __dir__(self): die()\nmortal = Mortal()"
    )
    run = client.ask("complete_request", {"code": "mortal.", "cursor_pos": 7})
    assert run.status == "error"
    assert run.reply["ename"] == "WorkerDied"
    assert scene.fault.tells(run.reply["evalue"], 0)
    scene.wait_reborn()
    scene.check_lives()


def told_on_stderr(scene: Scene) -> str:
    """The sentence that was published where there is no cell for it."""
    texts = [m["content"]["text"] for m in scene.iopub() if m["msg_type"] == "stream"]
    (told,) = re.findall(r"The worker .*?\.(?= |\n|$)", "".join(texts))
    return str(told)


# Garbage in the middle of a frame is content, which the supervisor does not look into; see test_deaths_hung.py.
WHOLE = [name for name in FAULTS if name not in ("garbage", "zeros", "noise until it is full")]


@pytest.mark.parametrize("name", WHOLE)
def test_death_in_mid_frame(kernel: Kernel, client: Client, name: str) -> None:
    """A thread dies when the main thread has written a part of 50 MB; nothing of that is published."""
    scene = Scene(kernel, client, name)
    cell = in_mid_frame(kernel, client, scene.worker.pid if scene.fault.dies else None)
    client.finish(cell)
    scene.check_error(cell, thread=True)
    words = bool(scene.fault.words) or "history" in cell.text("stderr")  # which may have lost its file as well
    assert cell.types == (["stream", "stream", "error"] if words else ["stream", "error"])
    scene.check_lives()
