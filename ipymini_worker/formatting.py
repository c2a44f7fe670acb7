"""IPython's formatters, which are not all asked about what none but one of them can have anything to say about.

A dict, a list, a string or a number has text and nothing else, unless somebody has registered a function for its type;
to find that out IPython asks eleven formatters, each in its own way, which takes three times as long as the text.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from IPython.core import formatters as ipython

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


class DisplayFormatter(ipython.DisplayFormatter):  # type: ignore[misc]  # IPython is not typed
    """Bears the name of IPython's, so that configuration and `%config` find it."""

    def format(
        self, obj: Any, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As the base class: MIME bundle and metadata."""
        if include or exclude or not _is_plain(obj) or not self._only_text(obj):
            found: tuple[dict[str, Any], dict[str, Any]] = super().format(obj, include, exclude)
            return found
        text = self.formatters[_TEXT](obj)
        return ({} if text is None else {_TEXT: text}), {}

    def _only_text(self, obj: Any) -> bool:
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
            if formatter.deferred_printers or id(obj) in formatter.singleton_printers:
                return False
            printers = formatter.type_printers
            if printers and any(cls in printers for cls in classes):
                return False
        return True


def _is_plain(obj: Any) -> bool:
    try:
        return type(obj) in _PLAIN
    except Exception:  # a class of the user's making may have a class that cannot be hashed
        return False
