"""The table of what clients and libraries expect of a Python kernel, a row for each, printed after the tests.

A test says which row it shows with `@pytest.mark.row(section, what)`. A row that several tests show is kept if all of
them pass. With `--kernel ipykernel` the same tests run on ipykernel, for the comparison in README; with
`--kernel beside-ipykernel` on this kernel where ipykernel is installed, too, which matters to `libs` only.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

#: How the kernels that can be tested are started; None: as the tests do by themselves.
KERNELS: dict[str, Sequence[str] | None] = {
    "ipymini": None,
    "beside-ipykernel": None,
    "ipykernel": (sys.executable, "-m", "ipykernel_launcher"),
}

_rows: dict[tuple[str, str], bool] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kernel", choices=[*KERNELS], default="ipymini", help="the kernel that tests of rows run on")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):  # type: ignore[no-untyped-def]
    report = yield
    for mark in item.iter_markers("row"):
        if report.when == "call" or not report.passed:
            section, what = mark.args
            _rows[section, what] = _rows.get((section, what), True) and report.passed
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not _rows:
        return
    kernel = config.getoption("--kernel")
    terminalreporter.section(f"what a drop-in kernel must satisfy, on {kernel}: {sum(_rows.values())} of {len(_rows)}")
    for (section, what), kept in sorted(_rows.items()):
        terminalreporter.write_line(f"{'yes' if kept else 'NO ':<4} {section:<13} {what}")
