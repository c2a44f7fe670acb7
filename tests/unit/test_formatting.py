"""What is displayed of an object is what IPython's own formatters make of it, whether all of them are asked or not."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
from IPython.core import formatters as ipython

from ipymini_worker.formatting import DisplayFormatter


class Rich(dict):  # type: ignore[type-arg]
    """A dict that is more than text."""

    def _repr_html_(self) -> str:
        return "<b>rich</b>"


class Unhashable(type):
    """Of a class that no set takes."""

    def __eq__(cls, other: object) -> bool:
        return cls is other

    __hash__ = None  # type: ignore[assignment]


class OfIt(metaclass=Unhashable):
    """An object of which has a class that no set takes."""


class Own(ipython.HTMLFormatter):  # type: ignore[misc]
    """Somebody's own formatter, which has something to say about everything."""

    def __call__(self, obj: Any) -> str:
        return f"<i>{obj}</i>"


CYCLE: list[Any] = [1]
CYCLE.append(CYCLE)
OBJECTS = [
    {"answer": 42, "text": "small"},
    {},
    [1, [2.5, ()], {3}],
    list(range(2000)),
    ("a", b"b", bytearray(b"c")),
    frozenset({1}),
    "text\nwith lines",
    1,
    True,
    0.1,
    2j,
    None,
    range(3),
    {"nested": [(1, {"deep": ["er", None, (), {}]}), -2.5e-300], "more": (float("nan"),)},
    {(1, "key"): [False, b"\xff", "\u2028\n'\""]},
    ["x" * 30, "y" * 41],
    ["x" * 30, "y" * 40],
    ["x" * 30, "y" * 42],
    10**78,
    10**4000,
    [[[[[[[[[[1]]]]]]]]]],
    [1] * 27,
    [[]] * 39,
    [OrderedDict(a=1), Rich(a=1)],
    [{2, 1}, frozenset({3})],
    CYCLE,
    OrderedDict(a=1),
    Rich(a=1),
    object,
    len,
    OfIt(),
]


def nothing(formatter: Any) -> None:
    """As it comes."""


def html_of_a_dict(formatter: Any) -> None:
    formatter.formatters["text/html"].for_type(dict, lambda d: f"<b>{len(d)}</b>")


def html_of_everything(formatter: Any) -> None:
    formatter.formatters["text/html"].for_type(object, lambda o: ("<b/>", {"isolated": True}))


def html_of_a_type_by_name(formatter: Any) -> None:
    formatter.formatters["text/html"].for_type_by_name("builtins", "list", lambda o: "<ul/>")


def html_of_one_object(formatter: Any) -> None:
    formatter.formatters["text/html"].singleton_printers[id(OBJECTS[0])] = lambda o: "<b>this one</b>"


def bundle_of_a_list(formatter: Any) -> None:
    formatter.mimebundle_formatter.for_type(
        list, lambda o, **more: {"application/x": 1, "text/plain": "from the bundle"}
    )


def display_of_an_int(formatter: Any) -> None:
    formatter.ipython_display_formatter.for_type(int, lambda o: None)


def own_formatter(formatter: Any) -> None:
    formatter.formatters["text/html"] = Own(parent=formatter)


def further_formatter(formatter: Any) -> None:
    further = Own(parent=formatter)
    further.format_type = "text/x-further"
    formatter.formatters["text/x-further"] = further


def text_of_a_float(formatter: Any) -> None:
    formatter.formatters["text/plain"].float_precision = "%.3e"


def text_of_every_float(formatter: Any) -> None:
    formatter.formatters["text/plain"].for_type(float, lambda o, p, cycle: p.text("a float"))


def text_of_an_int(formatter: Any) -> None:
    formatter.formatters["text/plain"].for_type(int, lambda o, p, cycle: p.text("an int"))


def text_of_none(formatter: Any) -> None:
    formatter.formatters["text/plain"].singleton_printers[id(None)] = lambda o, p, cycle: p.text("nothing")


def narrow_text(formatter: Any) -> None:
    formatter.formatters["text/plain"].max_width = 12


def short_text(formatter: Any) -> None:
    formatter.formatters["text/plain"].max_seq_length = 2


def text_without_an_end(formatter: Any) -> None:
    formatter.formatters["text/plain"].max_seq_length = 0


def plain_text(formatter: Any) -> None:
    formatter.formatters["text/plain"].pprint = False


def no_text(formatter: Any) -> None:
    del formatter.formatters["text/plain"]


def only_html(formatter: Any) -> None:
    formatter.active_types = ["text/html"]


CHANGES = [
    nothing,
    html_of_a_dict,
    html_of_everything,
    html_of_a_type_by_name,
    html_of_one_object,
    bundle_of_a_list,
    display_of_an_int,
    own_formatter,
    further_formatter,
    text_of_a_float,
    text_of_every_float,
    text_of_an_int,
    text_of_none,
    narrow_text,
    short_text,
    text_without_an_end,
    plain_text,
    no_text,
    only_html,
]


@pytest.mark.parametrize("change", CHANGES)
def test_same_as_ipython(change: Callable[[Any], None]) -> None:
    ours, theirs = DisplayFormatter(), ipython.DisplayFormatter()
    change(ours)
    change(theirs)
    for obj in OBJECTS:
        assert ours.format(obj) == theirs.format(obj), obj
        for options in ({"include": {"text/html"}}, {"include": ["text/plain"]}, {"exclude": ("text/plain",)}):
            assert ours.format(obj, **options) == theirs.format(obj, **options), (obj, options)


def test_small_object_has_its_repr_for_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*args: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("IPython.lib.pretty.RepresentationPrinter.pretty", asked)
    assert DisplayFormatter().format({"a": [1, 2.5]}) == ({"text/plain": "{'a': [1, 2.5]}"}, {})


def test_printer_that_somebody_has_patched_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipython.PlainTextFormatter, "__call__", lambda self, obj: "patched")
    assert DisplayFormatter().format({"a": 1}) == ({"text/plain": "patched"}, {})


def test_who_has_nothing_to_say_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*args: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(ipython.BaseFormatter, "__call__", asked)
    monkeypatch.setattr(ipython.MimeBundleFormatter, "__call__", asked)
    monkeypatch.setattr(ipython.IPythonDisplayFormatter, "__call__", asked)
    assert DisplayFormatter().format({"a": 1}) == ({"text/plain": "{'a': 1}"}, {})
