"""Objects of ours that pass for instances of ipykernel's classes, once somebody has imported these."""

from __future__ import annotations

import sys
from typing import Any, ClassVar


class Counterpart:
    """`isinstance` goes by `__class__` where the type itself does not fit, as Python's manual has it.

    So the real ipykernel, when a cell imports it, takes our kernel for its own: it checks each instance that it is
    given. Nothing is imported for the answer. `type()` tells the truth.
    """

    #: Module and name of the classes that instances pass for, the most special one first; none without the disguise.
    counterparts: ClassVar[tuple[tuple[str, str], ...]] = ()

    @property
    def __class__(self) -> Any:
        for module, name in type(self).counterparts:
            # Not by getattr, which would make a placeholder load the module.
            found = getattr(sys.modules.get(module), "__dict__", {}).get(name)
            if isinstance(found, type):
                return found
        return type(self)

    @__class__.setter
    def __class__(self, value: type) -> None:  # for `HasTraits.add_traits`
        object.__dict__["__class__"].__set__(self, value)
