"""How fast output leaves, what a flood of it costs, and whether all of it arrives."""

from __future__ import annotations

import os
import threading
import time

import psutil

from .client import Message, NoAnswer, Run
from .kernels import Kernel, Spec
from .speed import Results

LINE = "a line of output that is neither long nor short, as they are"


def lines(spec: Spec, quick: bool) -> Results:
    """Printed lines, each with a `print` of its own."""
    count = 20_000 if quick else 100_000
    with Kernel(spec) as kernel:
        client = kernel.ready().client
        client.execute("print('warm')")
        run = client.execute(f"for i in range({count}): print({LINE!r})")
        _complete(run, LINE.encode(), count)
        return {
            "100,000 printed lines": run.seconds * 100_000 / count,
            "their messages": sum(1 for _ in run.text) * 100_000 / count,
            "their first line": 1000 * (run.first["stream"] - run.sent),
        }


def large(spec: Spec, quick: bool) -> Results:
    """Prints of one megabyte."""
    count = 50 if quick else 200
    with Kernel(spec) as kernel:
        client = kernel.ready().client
        client.execute("text = 'x' * (1 << 20)")
        run = client.execute(f"for i in range({count}): print(text)", timeout=30)
        _complete(run, b"xxxxxxxxxxxxxxxx", count << 16)
        return {"prints of 1 MB": count * (1 << 20) / 1e6 / run.seconds}


def _complete(run: Run, what: bytes, count: int) -> None:
    found = sum(content.count(what) for content in run.text)
    # A message may end in the middle of a line.
    if not count - len(run.text) <= found <= count:
        raise NoAnswer(f"Of what was printed {100 * found / count:.1f} % arrived.")


def displays(spec: Spec, quick: bool) -> Results:
    """Displays of a small dict, formatted by IPython and ready-made."""
    count = 1000 if quick else 5000
    results: Results = {}
    with Kernel(spec) as kernel:
        client = kernel.ready().client
        client.execute("from IPython.display import display")
        for name, call in (
            ("displays", "display({'answer': 42, 'text': 'small'})"),
            ("raw displays", "display({'text/plain': 'small'}, raw=True)"),
        ):
            client.execute(f"for i in range(50): {call}")
            run = client.execute(f"for i in range({count}): {call}")
            shown = run.messages - 3  # busy, execute_input, idle
            if shown != count:
                raise NoAnswer(f"Of {count} displays {shown} arrived.")
            results[name] = count / run.seconds
    return results


_COMM = """
from comm import create_comm, get_comm_manager
taken = []
def opened(comm, message):
    comm.on_msg(lambda message: taken.append(len(message["buffers"][0])))
get_comm_manager().register_target("bench", opened)
down = create_comm(target_name="bench-down")
data = bytes({size})
"""


def comms(spec: Spec, quick: bool) -> Results:
    """Buffers of comm messages: 64 MB from the kernel, 32 MB to it."""
    size = (8 if quick else 64) << 20
    with Kernel(spec) as kernel:
        client = kernel.ready().client
        client.execute(_COMM.format(size=size))
        arrived: list[Message] = []
        client.on_publish = lambda message: arrived.append(message) if message.type == "comm_msg" else None
        downs, ups = [], []
        for _ in range(3):
            arrived.clear()
            run = client.execute("down.send({}, buffers=[data])")
            client.wait(lambda: bool(arrived))
            if len(arrived[0].buffers[0]) != size:
                raise NoAnswer("The buffer did not arrive.")
            downs.append(1000 * (arrived[0].at - run.sent))
        client.on_publish = lambda message: None
        client.send("comm_open", {"comm_id": "up", "target_name": "bench", "data": {}})
        client.execute("pass")
        up = bytes(size // 2)
        for _ in range(3):
            run = client.send("comm_msg", {"comm_id": "up", "data": {}}, buffers=[up])
            client.wait(lambda run=run: run.idle > 0)  # type: ignore[misc]
            ups.append(1000 * (run.idle - run.sent))
        client.execute(f"assert taken == [{size // 2}] * 3, taken")
    return {"comm buffer, 64 MB down": min(downs), "comm buffer, 32 MB up": min(ups)}


class _Peak:
    """Watches the largest resident size of a process, in megabytes above what it was."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._before = self._process.memory_info().rss
        self._largest = self._before
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Peak:
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._end.wait(0.02):
            self._largest = max(self._largest, self._process.memory_info().rss)

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def above(self) -> float:
        """The largest size so far, less the first."""
        return (self._largest - self._before) / 2**20


def flood(spec: Spec, quick: bool) -> Results:
    """A flood of output that a client reads as fast as it can: memory of the process with the sockets, and speed."""
    # 10,000 for what the promise is about.
    megabytes = 100 if quick else int(os.environ.get("BENCH_FLOOD_MB", "1000"))
    count = 0
    with Kernel(spec) as kernel:
        client = kernel.ready().client
        client.execute("text = 'x' * 9998 + '\\n'")

        def take(message: Message) -> None:
            nonlocal count
            if message.type == "stream":
                count += message.content.count(b"xx")

        client.on_publish = take
        run = client.start(f"for i in range({megabytes * 100}): print(text, end='')")
        with _Peak(kernel.process.pid) as peak:
            while not run.over:
                client.wait(lambda: bool(run.text) or run.over, 120)
                run.text.clear()
        whole = megabytes * 100 * 4999
        if count != whole:  # a message that ends in the middle of a line would count for one less
            raise NoAnswer(f"Of what was printed {100 * count / whole:.3f} % arrived.")
        return {"flood, speed": megabytes / run.seconds, "flood, memory": peak.above}


def slow_client(spec: Spec, quick: bool) -> Results:
    """The same flood, and a client that reads five megabytes in a second: what it misses, and what that costs."""
    megabytes = 20
    with Kernel(spec) as kernel:
        kernel.ready()
        client = kernel.client
        client.execute("text = 'x' * 9998 + '\\n'")
        run = client.start(f"for i in range({megabytes * 100}): print(text, end='')")
        count = 0
        end = time.perf_counter() + 60
        with _Peak(kernel.process.pid) as peak:
            while not run.over and time.perf_counter() < end:
                if not client.pump(1.0) and run.reply is not None:
                    break
                size = sum(map(len, run.text))
                count += sum(content.count(b"xx") for content in run.text)
                run.text.clear()
                time.sleep(size / 5e6)
        missing = 100 - 100 * count / (megabytes * 100 * 4999)
        return {"slow client, missing": missing, "slow client, memory": peak.above}


def interrupt(spec: Spec, quick: bool) -> Results:
    """From an interrupt in the midst of a flood to the error, and to idle."""
    with Kernel(spec) as kernel:
        client = kernel.ready().client
        run = client.start("while True: print('x' * 1000)")
        end = time.perf_counter() + 1.0
        while time.perf_counter() < end:
            client.pump(0.1)
            run.text.clear()
        begun = time.perf_counter()
        kernel.interrupt()
        client.finish(run, 30)
        return {"interrupt in a flood": 1000 * (run.sent + run.seconds - begun)}
