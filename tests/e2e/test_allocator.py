"""The memory that large messages take is kept at hand in the worker, and nobody else notices."""

from __future__ import annotations

import sys

import pytest

from .client import Client
from .conftest import StartKernel

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the allocator can be told on Linux only")
MEGABYTE = 1 << 20


def test_large_prints_take_the_same_memory_again(client: Client) -> None:
    cell = client.execute(
        "import resource\ndef faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        f"for _ in range(5): print('x' * {MEGABYTE})\nbefore = faults()\n"
        f"for _ in range(20): print('x' * {MEGABYTE})\nfaults() - before"
    )
    assert int(cell.result) < 20 * 128  # each of the two blocks of each print has 256 pages


def test_nobody_inherits_what_the_allocator_is_told(client: Client) -> None:
    told = "[name for name in __import__('os').environ if name.startswith('MALLOC_')]"
    assert client.evaluate(told) == "[]"
    cell = client.execute("import subprocess; print(subprocess.run('env', capture_output=True, text=True).stdout)")
    assert "PATH=" in cell.text()
    assert "MALLOC_" not in cell.text()


def test_what_the_user_tells_the_allocator_stays(start_kernel: StartKernel) -> None:
    client = start_kernel(env={"MALLOC_ARENA_MAX": "2"}).connect()
    assert client.evaluate("[(n, v) for n, v in __import__('os').environ.items() if n.startswith('MALLOC_')]") == (
        "[('MALLOC_ARENA_MAX', '2')]"
    )
