"""The parts of the disguise, each by itself: file names of cells, modules that load when needed, and who passes for whom."""

from __future__ import annotations

import importlib.machinery
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipymini_worker import context
from ipymini_worker.identity import disguise
from ipymini_worker.identity.cells import murmur2
from ipymini_worker.identity.counterpart import Counterpart
from ipymini_worker.identity.finder import Finder
from ipymini_worker.identity.placeholder import Placeholder, place
from ipymini_worker.wire import Frame, Kind

# -- hashes


@pytest.mark.parametrize(
    ("text", "value"), [("", 3990065800), ("1 + 1", 2359671083), ("é€", 3212479216), ("print(1)\n", None)]
)
def test_known_hashes(text: str, value: int | None) -> None:
    """Computed with ipykernel 7.4."""
    found = murmur2(text.encode())
    assert 0 <= found < 2**32
    assert value in (None, found)


@given(st.text())
def test_hashes_are_those_of_ipykernel(text: str) -> None:
    compiler = pytest.importorskip("ipykernel.compiler")
    assert murmur2(text.encode()) == compiler.murmur2_x86(text, compiler.get_tmp_hash_seed())


# -- the switch


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(None, True), ("", True), ("ipykernel", True), ("zebra", True), ("plain", False), (" PLAIN ", False)],
)
def test_the_switch(value: str | None, wanted: bool) -> None:
    assert disguise.wanted({} if value is None else {"IPYMINI_IDENTITY": value}) is wanted


# -- placeholders


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a package that can be imported, and is not; a module `inner` is in it."""
    name = "placed_for_a_test"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text(
        f"from {name}.inner import value\n__version__ = '3'\nloaded = globals().get('loaded', 0) + 1\n"
    )
    (folder / "inner.py").write_text(f"import {name}\nvalue = 42\nwho = {name}.__name__\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for key in (name, f"{name}.inner"):
        monkeypatch.delitem(sys.modules, key, raising=False)
    place(name)
    place(f"{name}.inner")
    return name


def is_loaded(name: str) -> bool:
    return type(sys.modules[name]) is not Placeholder


def test_a_package_with_a_finder_of_its_own_is_not_shadowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those have that are installed to be worked on; they are not found by the path."""
    spec = importlib.machinery.ModuleSpec("ipykernel", None, origin="elsewhere")

    class Editable:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> object:
            return spec if name == "ipykernel" else None

    monkeypatch.setattr(sys, "meta_path", [Editable])
    assert Finder(lambda: lambda module: None).real
    monkeypatch.setattr(sys, "meta_path", [])
    alone = Finder(lambda: lambda module: None)
    assert not alone.real
    assert alone.find_spec("numpy") is None
    found = alone.find_spec("ipykernel")
    assert found is not None
    assert found.submodule_search_locations is not None


def test_looking_at_a_placeholder_loads_nothing(package: str) -> None:
    module = importlib.import_module(package)
    for name in ("__warningregistry__", "__wrapped__", "__bases__", "__test__"):
        assert not hasattr(module, name)
    assert module.__file__ is not None
    assert module.__file__.endswith("__init__.py")
    assert module.__path__
    assert module.__spec__ is not None
    assert module.__name__ == package
    assert not is_loaded(package)


@pytest.mark.parametrize("name", ["value", "__version__", "inner", "loaded"])
def test_asking_for_something_loads_it_once(package: str, name: str) -> None:
    module = importlib.import_module(package)
    getattr(module, name)
    if name != "inner":  # which is there, a placeholder too
        assert is_loaded(package)
    assert module.loaded == 1
    assert sys.modules[package] is module
    assert module.inner.value == module.value == 42


def test_what_is_not_there_is_not_there(package: str) -> None:
    module = importlib.import_module(package)
    with pytest.raises(AttributeError):
        module.nothing  # noqa: B018
    with pytest.raises(ImportError):
        importlib.import_module(f"{package}.nothing")
    assert {"value", "inner"} <= set(dir(module))


def test_a_submodule_can_be_first(package: str) -> None:
    inner = importlib.import_module(f"{package}.inner")
    assert (inner.value, inner.who) == (42, package)
    assert not is_loaded(package)
    assert importlib.import_module(package).value == 42


def test_a_module_that_fails_can_be_tried_again(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__file__ is not None
    file = Path(module.__file__)
    good = file.read_text()
    file.write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        module.value  # noqa: B018
    file.write_text(good + "# so that its length is another\n")
    assert module.value == 42


def test_reload_works(package: str) -> None:
    module = importlib.import_module(package)
    assert importlib.reload(module) is module
    assert importlib.reload(module).loaded == 2


# -- who passes for whom


class Ours(Counterpart):
    """Passes for `Theirs`."""


def test_an_object_passes_for_its_counterpart_when_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class Theirs:
        """Somebody else's class."""

    class Both(Ours):
        counterparts = (("a_module_of_theirs", "Theirs"), ("another", "X"))

    thing = Both()
    assert thing.__class__ is Both
    assert not isinstance(thing, Theirs)
    module = type(sys)("a_module_of_theirs")
    monkeypatch.setitem(sys.modules, "a_module_of_theirs", module)
    assert thing.__class__ is Both
    module.Theirs = Theirs  # type: ignore[attr-defined]
    assert isinstance(thing, Theirs)
    assert isinstance(thing, Ours)
    assert type(thing) is Both
    assert not isinstance(Ours(), Theirs)


# -- parents


def request(number: int) -> context.Request:
    header = {"msg_id": f"m{number}", "msg_type": "execute_request"}
    parts = [json.dumps(part).encode() for part in (header, {}, {"cellId": "c"}, {"code": str(number)})]
    return context.Request(Frame(Kind.REQUEST, number, 0, parts))


def test_messages_and_headers_that_user_code_hands_back_are_known() -> None:
    first, second = request(1), request(2)
    context.activate(first)
    message = first.message()
    assert context.known(message) is first
    assert context.known(message["header"]) is first
    context.activate(second)
    for nobody in ({}, None, "x", {"header": {}}):
        assert context.known(nobody) is second
    late = context.known(message)
    assert late.header == first.header
    assert late.message() == {**message, "buffers": []}
    assert late.id == second.id  # whom questions go to
    token = context.enter(late)
    assert context.current() is late
    assert context.active() is second
    context.leave(token)
    assert context.current() is second


# -- stand-ins


def test_stand_ins_say_what_they_are_and_import_no_zmq() -> None:
    """In an interpreter that does not find the real ones: all of them can be imported, in any order."""
    script = """
        import sys
        from importlib.machinery import PathFinder
        hidden = ("ipykernel", "zmq", "jupyter_client", "tornado")
        find = PathFinder.find_spec
        PathFinder.find_spec = lambda name, path=None, target=None: None if name in hidden else find(name, path, target)
        from ipymini_worker.identity import finder
        found = finder.Finder(lambda: lambda module: None)
        assert not found.real
        found.install()
        import importlib, pathlib
        folder = pathlib.Path(finder.__file__).parent / "standins"
        for file in sorted(folder.rglob("*.py"), reverse=True):
            name = ".".join(("ipykernel", *file.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__")
            if "pylab." not in name:
                module = importlib.import_module(name)
                assert len(dir(module)) > 8, name  # which loads it
        assert "zmq" not in sys.modules
        import ipykernel
        assert ipykernel.version_info >= (7, 4)
    """
    subprocess.run([sys.executable, "-P", "-c", textwrap.dedent(script)], check=True, timeout=60)
