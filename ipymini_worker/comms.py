"""Comms (protocol: Custom Messages): the `comm` package's managers with iopub at the other end."""

from __future__ import annotations

import sys
from typing import Any

import comm
from comm.base_comm import BaseComm, CommManager

from ipymini_worker.identity.counterpart import Counterpart
from ipymini_worker.publish import Publisher


class WorkerCommManager(Counterpart, CommManager):
    """The `comm` package's manager, with errors of callbacks shown to the user instead of logged."""

    def show_error(self) -> None:
        """Prints the exception that is being handled as a cell would show it, on stderr."""
        shell = sys.modules["IPython"].get_ipython()
        if shell is not None:
            shell.showtraceback_as_text()

    def comm_open(self, stream: Any, ident: Any, msg: dict[str, Any]) -> None:
        """A frontend opens a comm; an unknown target is closed again, as the protocol says."""
        content = msg["content"]
        opened = comm.create_comm(
            comm_id=content["comm_id"], primary=False, target_name=content.get("target_name", "comm")
        )
        self.register_comm(opened)
        target = self.targets.get(content.get("target_name", ""))
        if target is None:
            print(
                f"No comm target is registered under the name {content.get('target_name')!r}; the comm was closed.",
                file=sys.stderr,
            )
        else:
            try:
                target(opened, msg)
                return
            except Exception:
                self.show_error()
        opened.close()

    def comm_msg(self, stream: Any, ident: Any, msg: dict[str, Any]) -> None:
        """Hands a message to its comm; one for a comm that is gone is ignored, as the protocol says."""
        target = self.comms.get(msg["content"]["comm_id"])
        if target is not None:
            try:
                target.handle_msg(msg)
            except Exception:
                self.show_error()

    def comm_close(self, stream: Any, ident: Any, msg: dict[str, Any]) -> None:
        """The frontend closed a comm."""
        target = self.comms.pop(msg["content"]["comm_id"], None)
        if target is not None:
            target._closed = True
            try:
                target.handle_close(msg)
            except Exception:
                self.show_error()


def install(publisher: Publisher) -> WorkerCommManager:
    """Makes `comm.create_comm` and `comm.get_comm_manager` ours; returns the manager."""

    class WorkerComm(Counterpart, BaseComm):
        """A comm whose messages are published as part of the request that the calling code belongs to."""

        def publish_msg(
            self,
            msg_type: str,
            data: Any = None,
            metadata: Any = None,
            buffers: Any = None,
            **keys: Any,
        ) -> None:
            content = {"data": {} if data is None else data, "comm_id": self.comm_id, **keys}
            publisher.send(msg_type, content, metadata, buffers or ())

    manager = WorkerCommManager()
    comm.create_comm = WorkerComm
    comm.get_comm_manager = lambda: manager
    return manager
