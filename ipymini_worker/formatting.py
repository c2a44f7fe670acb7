"""IPython's formatters, which are not all asked about what none but one of them can have anything to say about.

A dict, a list, a string or a number has text and nothing else, unless somebody has registered a function for its type;
to find that out IPython asks eleven formatters, each in its own way, which takes three times as long as the text.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from IPython.core import formatters as ipython
from IPython.lib import pretty

#: Types whose objects can have no methods for formats, because nobody can give them attributes.
_PLAIN = frozenset(
    {dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float, complex, bool, range, type(None)}
)
#: IPython's own formatters, of which is known how they look for a function.
_KNOWN = frozenset(
    {
        ipython.HTMLFormatter,
        ipython.MarkdownFormatter,
        ipython.SVGFormatter,
        ipython.PNGFormatter,
        ipython.PDFFormatter,
        ipython.JPEGFormatter,
        ipython.LatexFormatter,
        ipython.JSONFormatter,
        ipython.JavascriptFormatter,
        ipython.IPythonDisplayFormatter,
        ipython.MimeBundleFormatter,
    }
)
_TEXT = "text/plain"
#: How IPython prints what has its `repr` for text as long as that fits into a line.
_PRINTERS = tuple((kind, pretty._type_pprinters[kind]) for kind in (int, str, bytes, tuple, list, dict))
_CALL = ipython.PlainTextFormatter.__call__
_SINGLETONS = dict(pretty._singleton_pprinters)
_FLOATS = "PlainTextFormatter._type_printers_default.<locals>.<lambda>"
#: Types of that kind that have no parts, and with others for parts.
_ATOMS, _SEQUENCES = frozenset({int, str, bytes, bool, type(None)}), frozenset({tuple, list})
#: Most objects that fit into a line, each with a comma and a space.
_MOST = 40


class DisplayFormatter(ipython.DisplayFormatter):  # type: ignore[misc]  # IPython is not typed
    """Bears the name of IPython's, so that configuration and `%config` find it."""

    def format(
        self, obj: Any, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As the base class: MIME bundle and metadata."""
        if include or exclude or not _is_plain(obj) or not self.only_text(obj):
            found: tuple[dict[str, Any], dict[str, Any]] = super().format(obj, include, exclude)
            return found
        printer = self.formatters[_TEXT]
        text = line(printer, obj)
        if text is None:
            text = printer(obj)
        return ({} if text is None else {_TEXT: text}), {}

    def only_text(self, obj: Any) -> bool:
        """Whether no formatter but IPython's own for text has a function for an object of a plain type."""
        others = self.formatters
        if type(others.get(_TEXT)) is not ipython.PlainTextFormatter:
            return False
        classes = type(obj).__mro__
        for formatter in (self.ipython_display_formatter, self.mimebundle_formatter, *others.values()):
            if type(formatter) not in _KNOWN:
                if formatter is others[_TEXT]:
                    continue
                return False
            # What a trait has for a value, at a fifth of the cost; one that nobody has asked for is empty.
            given = formatter._trait_values
            if given.get("deferred_printers") or id(obj) in given.get("singleton_printers", ()):
                return False
            printers = given.get("type_printers")
            if printers and any(cls in printers for cls in classes):
                return False
        return True


def _is_plain(obj: Any) -> bool:
    try:
        return type(obj) in _PLAIN
    except Exception:  # a class of the user's making may have a class that cannot be hashed
        return False


def line(printer: Any, obj: Any) -> str | None:
    """What IPython's printer makes of a small object of plain ones, if that is its `repr`, which takes a tenth of the
    time; None if it may be something else.
    """
    printers, width = printer.type_printers, printer.max_width
    if (
        type(printer).__call__ is not _CALL
        or not printer.pprint
        or 0 < printer.max_seq_length < _MOST
        or printer.singleton_printers != _SINGLETONS
    ):
        return None
    for kind, usual in _PRINTERS:
        if printers.get(kind) is not usual:
            return None
    floats = printer.float_format == "%r" and getattr(printers.get(float), "__qualname__", "") == _FLOATS
    left = [obj]
    for seen in range(_MOST):
        if not left:
            text = repr(obj)
            return text if len(text) < width else None
        part = left.pop()
        kind = type(part)
        if kind is dict:
            if seen + len(part) > _MOST:
                return None
            left += part
            left += part.values()
        elif kind in _SEQUENCES:
            if seen + len(part) > _MOST:
                return None
            left += part
        elif kind is float:
            if not floats:
                return None
        elif kind not in _ATOMS or _size(part) > width:
            return None
    return None


def _size(atom: Any) -> int:
    """How many characters it has at the least."""
    if isinstance(atom, int):
        return atom.bit_length() // 4
    return 0 if atom is None else len(atom)
