"""Rules for all tests: nothing random, nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from leaks import Belongings, children, described, leaks_since

pytest_plugins = ["rows"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--libs", action="store_true", help="collect tests/libs, which needs the extra test-libs")
    parser.addoption("--hub", action="store_true", help="collect tests/hub, which needs the extra test-hub, and node")
    parser.addoption(
        "--browser", action="store_true", help="collect tests/browser, which needs the extra test-browser, and chromium"
    )
    parser.addoption("--pictures", metavar="FOLDER", help="where tests/browser/test_pictures.py puts those of README")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out the tests whose libraries are not there."""
    folder = collection_path.name
    if collection_path.parent == Path(__file__).parent and folder in ("libs", "hub", "browser"):
        return None if config.getoption(f"--{folder}") else True
    return None


settings.register_profile(
    "suite",
    database=None,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")


@pytest.fixture(scope="module", autouse=True)
def no_process_is_left_by_a_module() -> Iterator[None]:
    """Whatever a file starts, it ends: also what its module-scoped fixtures have started."""
    before = children()
    yield
    left = children() - before
    assert not left, f"left behind: {[described(pid) for pid in left]}"


@pytest.fixture(autouse=True)
def nothing_is_left_by_a_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test by itself; but for `e2e`, where clients keep threads and sockets from one test to the next."""
    if "e2e" in request.path.parts:
        yield
        return
    before = Belongings.now()
    yield
    left = leaks_since(before)
    assert not left, f"left behind: {left}"
