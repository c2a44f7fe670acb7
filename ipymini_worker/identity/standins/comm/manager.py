"""A manager of comms, for libraries that have one of their own beside that of the kernel."""

from __future__ import annotations

from typing import Any

from comm.base_comm import CommManager as Base


class CommManager(Base):
    """The `comm` package's, with the kernel that it was made for."""

    def __init__(self, *, kernel: Any = None, parent: Any = None, **kwargs: Any) -> None:
        super().__init__()
        self.kernel = kernel
        self.parent = parent
