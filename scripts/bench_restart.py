"""How long a restart takes, in place and as usual, through a kernel manager and through jupyter_server's REST.

What counts are the two columns of a row, which were measured in alternation.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from jupyter_client.manager import KernelManager

from ipymini_supervisor.kernelspec import build, install

KERNELS = {"as usual": "ipymini-usual", "in place": "ipymini-in-place"}
TOKEN = "a-token-for-a-bench"


@contextmanager
def managed(kernel: str) -> Iterator[Callable[[], None]]:
    """Restarts of a kernel manager's kernel."""
    manager = KernelManager(kernel_name=kernel)
    manager.start_kernel()
    try:
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(60)
        client.stop_channels()
        yield manager.restart_kernel
    finally:
        manager.shutdown_kernel()


@contextmanager
def served(folder: str) -> Iterator[Callable[[str, str, object], dict[str, str]]]:
    """A jupyter_server's REST: method, path, content; returns the answer."""
    options = [f"--ServerApp.root_dir={folder}", "--ServerApp.port=0", "--ServerApp.allow_root=True"]
    options += ["--ServerApp.ip=127.0.0.1", "--ServerApp.open_browser=False", f"--IdentityProvider.token={TOKEN}"]
    command = [sys.executable, "-m", "jupyter_server", *options]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        found = next(found for line in server.stderr if (found := re.search(r"http://(127[\d.]+):(\d+)/", line)))
        address = found[0].rstrip("/")
        while True:  # it says where it is going to be before it is there
            try:
                socket.create_connection((found[1], int(found[2]))).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.01)
        log = open(server.stderr.fileno(), "rb", closefd=False)  # noqa: SIM115
        os.set_blocking(log.fileno(), False)

        def rest(method: str, path: str, content: object) -> dict[str, str]:
            log.read()  # or the pipe is full one day
            request = urllib.request.Request(f"{address}/api/{path}", json.dumps(content).encode(), method=method)
            request.add_header("Authorization", f"token {TOKEN}")
            with urllib.request.urlopen(request, timeout=60) as answer:
                return dict(json.loads(answer.read() or b"{}"))

        try:
            yield rest
        finally:
            server.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench --restart", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="restarts of each kind (default: %(default)s)")
    rounds = parser.parse_args().rounds
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        os.environ |= {f"JUPYTER_{name}_DIR": os.path.join(folder, name) for name in ("DATA", "RUNTIME", "CONFIG")}
        os.environ["IPYTHONDIR"] = os.path.join(folder, "ipython")
        for title, kernel in KERNELS.items():
            install(build(in_place=title == "in place"), kernel, user=True)
        ways = {("kernel manager", title): stack.enter_context(managed(kernel)) for title, kernel in KERNELS.items()}
        rest = stack.enter_context(served(folder))
        for title, kernel in KERNELS.items():
            name = rest("POST", "kernels", {"name": kernel})["id"]
            ways["REST", title] = lambda name=name: rest("POST", f"kernels/{name}/restart", None)  # type: ignore[misc]
        times: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, restart in ways.items():
                begun = time.perf_counter()
                restart()
                times[way].append(1000 * (time.perf_counter() - begun))
        print(f"Milliseconds of a restart: median (fastest, slowest) of {rounds}.")
        print(f"{'':16}" + "".join(f"{title:>26}" for title in KERNELS))
        for door in ("kernel manager", "REST"):
            figures = [times[door, title] for title in KERNELS]
            cells = [f"{statistics.median(t):.0f} ({min(t):.0f}, {max(t):.0f})" for t in figures]
            print(f"{door:16}" + "".join(f"{cell:>26}" for cell in cells))


if __name__ == "__main__":
    main()
