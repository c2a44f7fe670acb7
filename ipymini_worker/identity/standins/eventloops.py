"""Event loops of toolkits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from IPython import get_ipython

#: What has been registered, by the name that `%gui` knows it by. IPython's own input hooks serve toolkits here.
loop_map: dict[str | None, Any] = {}


def register_integration(*toolkitnames: str) -> Callable[[Any], Any]:
    """Keeps a function under these names."""

    def keep(function: Any) -> Any:
        loop_map.update(dict.fromkeys(toolkitnames, function))
        return function

    return keep


def enable_gui(gui: str | None, kernel: Any = None) -> None:
    """`%gui`.

    :raises ValueError: there is no such toolkit.
    """
    get_ipython().enable_gui(gui)
