"""The class of kernels, for libraries that look up its instance, or make an instance with a session of their own."""

from __future__ import annotations

import logging
from typing import Any

from traitlets import Any as AnyTrait
from traitlets import Dict
from traitlets.config import SingletonConfigurable


class Kernel(SingletonConfigurable):
    """What all kernels have. `Kernel.instance()` is the kernel that runs here."""

    session: Any = AnyTrait()
    iopub_socket: Any = AnyTrait()
    iopub_thread: Any = AnyTrait()
    shell_stream: Any = AnyTrait()
    control_stream: Any = AnyTrait()
    stdin_socket: Any = AnyTrait()
    profile_dir: Any = AnyTrait()
    shell: Any = AnyTrait()
    user_ns: Any = AnyTrait()
    comm_manager: Any = AnyTrait()
    eventloop: Any = AnyTrait()
    log: Any = AnyTrait()
    shell_handlers: Any = Dict()
    control_handlers: Any = Dict()
    execution_count = 0
    implementation = ""
    implementation_version = ""
    banner = ""
    language_info: dict[str, Any] = {}  # noqa: RUF012  # as subclasses have it

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.log = self.log or logging.getLogger("ipykernel")
        self._parent: tuple[Any, dict[str, Any]] = ([], {})

    def set_parent(self, ident: Any, parent: dict[str, Any], channel: str = "shell") -> None:
        """Keeps the request that what is sent from now on belongs to."""
        self._parent = (ident, parent)

    def get_parent(self, channel: str | None = None) -> dict[str, Any]:
        """The request that what is sent belongs to."""
        return self._parent[1]

    def send_response(
        self,
        stream: Any,
        msg_or_type: Any,
        content: Any = None,
        ident: Any = None,
        buffers: Any = None,
        track: bool = False,
        header: Any = None,
        metadata: Any = None,
        channel: str | None = None,
    ) -> Any:
        """Sends a message by the session that the kernel was given."""
        return self.session.send(
            stream, msg_or_type, content, self.get_parent(channel), ident, buffers, track, header, metadata
        )
