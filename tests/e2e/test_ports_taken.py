"""A port that somebody else has got since the launcher chose it: the kernel says so and ends, and the launcher retries."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.connect import write_connection_file
from jupyter_client.ioloop.manager import AsyncIOLoopKernelManager
from traitlets.config import Config

from .client import TIMEOUT
from .kernels import ADDRESS, MARK, assert_gone


@pytest.mark.parametrize("channel", ["shell", "iopub", "control", "stdin", "hb"])
def test_kernel_whose_port_is_taken_says_so_and_ends(tmp_path: Path, channel: str) -> None:
    """With nothing left of the worker that had been started by then."""
    file, mark = tmp_path / "kernel.json", uuid.uuid4().hex
    _, connection = write_connection_file(str(file), ip=ADDRESS, key=b"a key")
    address = (ADDRESS, connection[f"{channel}_port"])
    command = [sys.executable, "-m", "ipymini_supervisor", "-f", str(file)]
    with socket.create_server(address):
        done = subprocess.run(
            command, env={**os.environ, MARK: mark}, cwd=tmp_path, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 2
    assert_gone(mark)
    (line,) = done.stderr.splitlines()
    assert f"The {channel} address tcp://{address[0]}:{address[1]} is already in use" in line


class Unlucky(AsyncIOLoopKernelManager):
    """The first time somebody takes a port of the kernel after it has been chosen, and before the kernel has it."""

    taken: socket.socket | None = None

    def write_connection_file(self, **options: Any) -> None:
        super().write_connection_file(**options)
        if self.taken is None:
            self.taken = socket.create_server((self.ip, self.shell_port))


def test_launcher_tries_again_with_other_ports() -> None:
    async def launch() -> None:
        mark = uuid.uuid4().hex
        config = Config()
        config.KernelRestarter.time_to_dead = 0.1
        manager = Unlucky(kernel_name="ipymini", cache_ports=False, config=config)
        await manager.start_kernel(env={**os.environ, MARK: mark})
        assert manager.taken is not None
        try:
            first = manager.shell_port
            async with asyncio.timeout(3 * TIMEOUT):
                while manager.shell_port in (0, first):
                    await asyncio.sleep(0.02)
            client = manager.client()
            client.start_channels()
            await client.wait_for_ready(timeout=3 * TIMEOUT)
            client.stop_channels()
        finally:
            manager.taken.close()
            await manager.shutdown_kernel()
        assert_gone(mark)

    asyncio.run(launch())
