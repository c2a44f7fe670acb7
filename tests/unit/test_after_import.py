"""What is to be done when a module is imported is done then, and not lost with an import that comes to nothing."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ipymini_worker.imports import AfterImport

NAME = "imported_once"
SOURCE = "import builtins\nif getattr(builtins, 'interrupt_once', False):\n    builtins.interrupt_once = False\n    raise KeyboardInterrupt\n"


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ModuleType]]:
    """The modules that something was done with."""
    (tmp_path / f"{NAME}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    found: list[ModuleType] = []
    after = AfterImport({NAME: found.append})
    after.install()
    yield found
    sys.meta_path.remove(after)  # type: ignore[arg-type]
    sys.modules.pop(NAME, None)


def test_it_is_done_once(seen: list[ModuleType]) -> None:
    module = importlib.import_module(NAME)
    assert seen == [module]
    importlib.reload(module)
    assert seen == [module]


def test_it_is_done_after_somebody_has_only_looked(seen: list[ModuleType]) -> None:
    assert importlib.util.find_spec(NAME) is not None
    assert seen == []
    module = importlib.import_module(NAME)
    assert seen == [module]


def test_it_is_done_after_an_import_that_was_interrupted(
    seen: list[ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.interrupt_once", True, raising=False)
    with pytest.raises(KeyboardInterrupt):
        importlib.import_module(NAME)
    assert seen == []
    module = importlib.import_module(NAME)
    assert seen == [module]


def test_it_is_done_at_once_with_a_module_that_is_there() -> None:
    found: list[ModuleType] = []
    after = AfterImport({"json": found.append})
    after.install()
    sys.meta_path.remove(after)  # type: ignore[arg-type]
    assert found == [sys.modules["json"]]
