"""Which plain cells are run inside of a running loop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipymini_worker.awaits import needs_loop

NEEDING = [
    "task = asyncio.create_task(work())",
    "create_task(work())",
    "import asyncio\nloop = asyncio.get_running_loop()",
    "asyncio.ensure_future(work())",
    "print(asyncio.all_tasks())",
    "asyncio.current_task()",
    "for i in range(3):\n    asyncio.create_task(work(i))",
    "with thing:\n    if x:\n        tasks = [asyncio.create_task(w) for w in ws]",
    "try:\n    loop.create_task(work())\nexcept RuntimeError:\n    pass",
    "def f():\n    pass\nasyncio.create_task(f())",
]
PLAIN = [
    "",
    "1 + 1",
    "asyncio.run(work())",
    "# asyncio.create_task(work())",
    "s = 'asyncio.create_task(work())'",
    "def f():\n    return asyncio.create_task(work())",
    "async def f():\n    return asyncio.get_running_loop()",
    "class A:\n    async def f(self):\n        asyncio.create_task(work())",
    "f = lambda: asyncio.create_task(work())",
    "create_task",
    "create_task = 1",
    "async def main():\n    asyncio.create_task(work())\nasyncio.run(main())",
    "loop = asyncio.new_event_loop()\nt = loop.create_task(work())\nloop.run_until_complete(t)",
    "with asyncio.Runner() as runner:\n    runner.get_loop().create_task(work())",
    "asyncio.create_task(",
    "%%bash\ncreate_task()",
    "create_task(\0)",
]


@pytest.mark.parametrize("cell", NEEDING)
def test_cell_that_asks_for_a_running_loop_itself(cell: str) -> None:
    assert needs_loop(cell)


@pytest.mark.parametrize("cell", PLAIN)
def test_cell_that_does_not_or_brings_its_own(cell: str) -> None:
    assert not needs_loop(cell)


def test_cell_that_no_parser_survives_is_plain() -> None:
    assert not needs_loop("create_task(" + "(" * 100_000)
    assert not needs_loop("create_task" + "()" * 100_000)


@given(st.text(max_size=80).map(lambda text: f"create_task {text}"))
def test_any_text_is_answered(cell: str) -> None:
    assert needs_loop(cell) in (True, False)
