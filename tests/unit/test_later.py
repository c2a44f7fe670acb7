"""Modules whose import is put off."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ipymini_supervisor.later import ABSENT, UNUSED, Lean, catch_up


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_a_module_that_is_put_off_is_there_when_somebody_uses_it() -> None:
    code = """
from ipymini_supervisor.later import Lean
import sys
with Lean():
    import pickle
assert "pickle" not in sys.modules
late = pickle
assert late.DEFAULT_PROTOCOL and "pickle" not in sys.modules
assert late.loads(late.dumps({1: 2})) == {1: 2}
import pickle
assert late is not pickle and late.dumps is pickle.dumps
"""
    assert run(code) == ""


def test_a_module_is_there_for_who_takes_something_out_of_it_at_once() -> None:
    code = """
from ipymini_supervisor.later import Lean
import sys
with Lean():
    from random import Random
    import random
assert sys.modules["random"] is random and random.Random is Random
"""
    assert run(code) == ""


def test_afterwards_everything_can_be_imported_again() -> None:
    names = {*UNUSED, ABSENT}
    before = {name: sys.modules.get(name) for name in names}
    with pytest.raises(KeyError), Lean():
        raise KeyError
    assert {name: sys.modules.get(name) for name in names} == before


@pytest.mark.parametrize("name", UNUSED)
def test_what_is_said_for_a_module_is_what_it_would_say(name: str) -> None:
    module = __import__(name)
    for attribute, known in UNUSED[name].items():
        real = getattr(module, attribute)
        if callable(real):
            assert known() == real()
        else:
            assert isinstance(known, type(real))


LOGS_AN_ERROR = """
import os, resource, sys
from ipymini_supervisor.later import Lean, catch_up
with Lean():
    import logging
{}
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    1 / 0
except ZeroDivisionError:
    logging.exception("so")
"""


@pytest.mark.parametrize("caught_up", [True, False])
def test_an_error_can_be_logged_when_no_descriptors_are_left(caught_up: bool) -> None:
    code = LOGS_AN_ERROR.format("catch_up()" if caught_up else "")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ("ZeroDivisionError: division by zero" in done.stderr) == caught_up


def test_what_cannot_be_loaded_is_none_of_its_concern(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "json", None)  # to import it is an ImportError
    catch_up()
