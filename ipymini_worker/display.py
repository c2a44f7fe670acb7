"""Rich output: IPython's display publisher and display hook, with iopub at the other end."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from traitlets import Any as AnyTrait

from ipymini_worker import context
from ipymini_worker.identity.parents import HeaderParent

Hook = Callable[[dict[str, Any]], dict[str, Any] | None]


class WorkerDisplayPublisher(HeaderParent, DisplayPublisher):  # type: ignore[misc]  # IPython is not typed
    """Sends display_data, update_display_data and clear_output."""

    publisher = AnyTrait()  # a Publisher
    session = AnyTrait()  # a Session, which hooks get their messages from
    pub_socket = AnyTrait()  # what `session` sends publishes to
    topic = b"display_data"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._of_thread = threading.local()

    @property
    def _hooks(self) -> list[Hook]:
        hooks: list[Hook] = self._of_thread.__dict__.setdefault("hooks", [])
        return hooks

    def register_hook(self, hook: Hook) -> None:
        """`hook` is called with each message of the calling thread; it returns what is to be sent, or None."""
        self._hooks.append(hook)

    def unregister_hook(self, hook: Hook) -> bool:
        """Takes a hook of the calling thread away; returns whether there was one."""
        if hook not in self._hooks:
            return False
        self._hooks.remove(hook)
        return True

    def _send(self, msg_type: str, content: dict[str, Any]) -> None:
        if not self._hooks:
            self.publisher.send(msg_type, content)
            return
        message = self.session.msg(msg_type, content, parent=self.parent_header)
        for hook in list(self._hooks):
            message = hook(message)
            if message is None:
                return
        self.session.send(self.pub_socket, message)

    def publish(
        self,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        source: Any = None,
        *,
        transient: dict[str, Any] | None = None,
        update: bool = False,
        **kwargs: Any,
    ) -> None:
        """Publishes a MIME bundle (protocol: Display data, update_display_data).

        :raises TypeError: `data` or `metadata` is not a dict.
        """
        self._validate_data(data, metadata)
        content = {"data": data, "metadata": metadata or {}, "transient": transient or {}}
        self._send("update_display_data" if update else "display_data", content)

    def clear_output(self, wait: bool = False) -> None:
        """Clears the output of the cell (protocol: Clear output); with `wait`, when the next output arrives."""
        self._send("clear_output", {"wait": bool(wait)})


class WorkerDisplayHook(HeaderParent, DisplayHook):  # type: ignore[misc]
    """Sends execute_result (protocol: Code execution result)."""

    publisher = AnyTrait()  # a Publisher
    session = AnyTrait()
    pub_socket = AnyTrait()
    topic = b"execute_result"

    @property
    def exec_result(self) -> Any:
        """IPython's record of the cell that the calling code belongs to, which its result is written into."""
        return context.current().run.result

    @exec_result.setter
    def exec_result(self, value: Any) -> None:
        context.current().run.result = value

    @property
    def _is_active(self) -> bool:
        return context.current().run.displaying

    @_is_active.setter
    def _is_active(self, value: bool) -> None:
        context.current().run.displaying = value

    @property
    def prompt_count(self) -> int:
        """The number of the cell that the calling code belongs to; of code without one, that of the last cell."""
        count = context.current().run.count
        return self.shell.execution_count - 1 if count is None else count

    def write_output_prompt(self) -> None:
        """The frontend draws the prompt."""

    def write_format_data(self, format_dict: dict[str, Any], md_dict: dict[str, Any] | None = None) -> None:
        """Publishes the result under the number of the cell that it came from."""
        content = {"data": format_dict, "metadata": md_dict or {}, "execution_count": self.prompt_count}
        self.publisher.send("execute_result", content)

    def finish_displayhook(self) -> None:
        """Base class writes a separator here, which frontends do not want."""
        sys.stdout.flush()
        self._is_active = False
