"""What is to be done when a module is imported is done then, and not lost with an import that comes to nothing."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ipymini_worker.imports import AfterImport, completed, put_off

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


def test_a_package_that_is_a_file_of_the_users_is_left_as_it_is() -> None:
    module = ModuleType("html")
    completed(module)
    assert not hasattr(module, "entities")
    assert not hasattr(module, "__getattr__")


def test_a_module_of_a_package_that_is_not_there_is_no_attribute(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("xml")
    package.__path__ = []
    completed(package)
    monkeypatch.setitem(sys.modules, "xml.parsers", None)  # to import it is an ImportError
    assert not hasattr(package, "parsers")
    assert not hasattr(package, "nothing")


def test_what_is_said_of_one_module_is_not_done_with_others_of_its_loader(seen: list[ModuleType]) -> None:
    """As in a zip file."""
    (after,) = (finder for finder in sys.meta_path if isinstance(finder, AfterImport) and NAME in finder._then)
    execute = after._both(lambda module: None, seen.append, NAME)
    execute(ModuleType("other"))
    assert seen == []
    execute(ModuleType(NAME))
    assert [module.__name__ for module in seen] == [NAME]


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that tells when it is imported."""
    (tmp_path / "imported_late.py").write_text(
        "import sys\nsys.imported_late = True\nTHRICE = 3\ndef twice(x): return 2 * x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "imported_late", False, raising=False)
    yield "imported_late"
    sys.modules.pop("imported_late", None)


def test_a_module_that_is_put_off_is_imported_when_its_function_is_called(late: str) -> None:
    with put_off(f"{late}.twice"):
        module = importlib.import_module(late)
        twice = module.twice
    assert late not in sys.modules
    assert not sys.imported_late  # type: ignore[attr-defined]
    assert module.twice(2) == twice(2) == 4
    assert sys.imported_late  # type: ignore[attr-defined]
    assert sys.modules[late] is not module


def test_a_function_that_is_put_off_can_be_called_at_once(late: str) -> None:
    with put_off(f"{late}.twice"):
        assert importlib.import_module(late).twice(3) == 6
        real = sys.modules[late]
    assert sys.modules[late] is real
    assert hasattr(real, "__file__")


def test_whoever_asks_for_more_gets_it(late: str) -> None:
    with put_off(f"{late}.twice"):
        module = importlib.import_module(late)
        assert module.THRICE == 3
        assert importlib.import_module(late) is not module
        assert not hasattr(module, "four")
        assert not hasattr(module, "__path__")


def test_a_module_that_is_there_is_not_put_off(late: str) -> None:
    real = importlib.import_module(late)
    with put_off(f"{late}.twice"):
        assert importlib.import_module(late) is real


def test_nothing_is_put_off_after_an_error(late: str) -> None:
    with pytest.raises(KeyError), put_off(f"{late}.twice"):
        raise KeyError
    assert late not in sys.modules
