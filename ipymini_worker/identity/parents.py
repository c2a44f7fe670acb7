"""Whose output is whose, in the terms in which libraries move output from one request to another.

Libraries carry a *parent* about, the message of a request: a thread that belongs to a cell calls
`set_thread_parent(parent)`, a library that runs a callback in the name of another cell `set_parent(parent)`. All of
these come down to the one context variable of `context`.
"""

from __future__ import annotations

from contextvars import Token
from typing import Any

from ipymini_worker import context

Message = dict[str, Any]


class _Parent:
    """Sets the request that the calling context belongs to."""

    def set_parent(self, parent: object) -> None:
        """What the calling thread or task publishes from now on belongs to `parent`, a message or its header."""
        context.enter(context.known(parent))

    def set_thread_parent(self, parent: object) -> Token[context.Request | None]:
        """As `set_parent`; returns a token that undoes it."""
        return context.enter(context.known(parent))

    def reset_thread_parent(self, token: Token[context.Request | None]) -> None:
        """Undoes `set_thread_parent`.

        :raises ValueError: that was called in another thread or task.
        """
        context.leave(token)


class MessageParent(_Parent):
    """For the shell, whose `parent_header` has always been the whole message."""

    def get_parent(self) -> Message:
        """The message of the request that the calling code belongs to."""
        return context.current().message()

    @property
    def parent_header(self) -> Message:
        """The same; setting it is `set_parent`."""
        return self.get_parent()

    @parent_header.setter
    def parent_header(self, parent: object) -> None:
        self.set_parent(parent)


class HeaderParent(_Parent):
    """For streams and displays."""

    @property
    def parent_header(self) -> Message:
        """The header of the request that the calling code belongs to; setting it is `set_parent`."""
        return context.current().header

    @parent_header.setter
    def parent_header(self, parent: object) -> None:
        self.set_parent(parent)
