"""A browser and a JupyterLab for the tests of a file, in an environment that knows nothing of the user's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from e2e.conftest import neutral_environment  # noqa: F401

from .chromium import Chromium
from .frontends import Lab


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):  # type: ignore[no-untyped-def]
    """A test that fails leaves a picture of what was to be seen, and the report says where."""
    report = yield
    chromium = getattr(item, "funcargs", {}).get("chromium")
    if chromium is not None and report.when == "call" and report.failed:
        report.sections.append(("What was to be seen", "\n".join(chromium.photograph(item.name))))
    return report


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A browser whose pages are closed after each test."""
    chromium = Chromium(tmp_path_factory.mktemp("pictures"))
    try:
        yield chromium
    finally:
        chromium.stop()


@pytest.fixture(scope="module")
def jupyterlab(tmp_path_factory: pytest.TempPathFactory, chromium: Chromium) -> Iterator[Lab]:
    """A JupyterLab for all tests of a module."""
    lab = Lab(tmp_path_factory.mktemp("lab"), chromium)
    try:
        lab.wait()
        yield lab
    finally:
        lab.stop()


@pytest.fixture
def lab(jupyterlab: Lab, chromium: Chromium) -> Iterator[Lab]:
    """The module's JupyterLab, without pages and kernels of other tests."""
    yield jupyterlab
    chromium.close_pages()
    jupyterlab.end_kernels()
