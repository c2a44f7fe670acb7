"""Many kernels that start at the same time, as when a class begins or a night's jobs do."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator

import pytest
from jupyter_client.multikernelmanager import MultiKernelManager

from .client import Client
from .kernels import MARK, assert_gone

#: On two cores some twenty seconds for fifty.
COUNT = 50


@pytest.fixture
def launcher() -> Iterator[tuple[MultiKernelManager, str]]:
    """What a Jupyter server starts kernels with, and their mark."""
    manager, mark = MultiKernelManager(), uuid.uuid4().hex
    yield manager, mark
    manager.shutdown_all(now=True)
    assert_gone(mark, 20)


def wait_listening(ip: str, port: int, deadline: float) -> None:
    """Waits until somebody listens; on a machine with much else to do the last of fifty begins late."""
    while True:
        try:
            socket.create_connection((ip, port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_fifty_kernels_that_start_at_once(launcher: tuple[MultiKernelManager, str]) -> None:
    """No two get the same port, none gives up, and each runs its cell."""
    manager, mark = launcher
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    begun = time.perf_counter()
    ids = [manager.start_kernel(kernel_name="ipymini", env={**environment, MARK: mark}) for _ in range(COUNT)]
    deadline = time.monotonic() + 200
    clients: list[Client] = []
    try:
        for kernel in ids:
            info = manager.get_kernel(kernel).get_connection_info()
            wait_listening(info["ip"], info["iopub_port"], deadline)
            clients.append(Client({**info, "key": info["key"].decode()}))
        runs = [client.start(f"print({number})") for number, client in enumerate(clients)]
        for number, (client, run) in enumerate(zip(clients, runs, strict=True)):
            assert client.finish(run, timeout=120).text() == f"{number}\n"
        print(f"{COUNT} kernels: {time.perf_counter() - begun:.1f} s")
        ports = [port for kernel in ids for port in manager.get_kernel(kernel).ports]
        assert len(set(ports)) == 5 * COUNT
        assert all(manager.is_alive(kernel) for kernel in ids)
    finally:
        for client in clients:
            client.drop()
