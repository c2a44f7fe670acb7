"""A comm that goes by a kernel: the one that runs here, or one of a library's own."""

from __future__ import annotations

from typing import Any

from comm.base_comm import BaseComm

from ..kernelbase import Kernel


class Comm(BaseComm):
    """Opens itself when it is made, unless the frontend has (`primary=False`).

    :param kernel: whose session it sends with; by default the kernel that runs here.
    """

    kernel: Any = None

    def __init__(
        self,
        target_name: str = "comm",
        data: Any = None,
        metadata: Any = None,
        buffers: Any = None,
        show_warning: bool = True,
        kernel: Any = None,
        **kwargs: Any,
    ) -> None:
        self.kernel = Kernel.instance() if kernel is None and Kernel.initialized() else kernel
        super().__init__(target_name=target_name or "comm", data=data, metadata=metadata, buffers=buffers, **kwargs)

    def publish_msg(
        self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any
    ) -> None:
        """Publishes a message (protocol: Custom Messages)."""
        if self.kernel is None:
            return
        content = {"data": {} if data is None else data, "comm_id": self.comm_id, **keys}
        self.kernel.session.send(
            self.kernel.iopub_socket,
            msg_type,
            content,
            metadata=metadata or {},
            parent=self.kernel.get_parent(),
            ident=self.topic,
            buffers=buffers,
        )
