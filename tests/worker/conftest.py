"""Workers to be driven, each with a home of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from worker.driver import Start, Worker, environment_in


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What a worker of this test has in its environment; may be changed before it is started."""
    return environment_in(tmp_path)


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    """Starts workers, which are ended with the test."""
    with ExitStack() as stack:

        def begin(*arguments: str, connection_file: str = "/nowhere/kernel-1.json") -> Worker:
            worker = Worker(environment, arguments, connection_file=connection_file)
            stack.callback(worker.close)
            return worker.ready()

        yield begin


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One worker for all tests of a file."""
    made = Worker(environment_in(tmp_path_factory.mktemp("worker")))
    try:
        yield made.ready()
    finally:
        made.close()


@pytest.fixture
def fresh(start: Start) -> Worker:
    """A worker for this test alone."""
    return start()
