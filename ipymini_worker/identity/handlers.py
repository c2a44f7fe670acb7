"""`kernel.shell_handlers`: what answers each shell request, for libraries that put handlers of their own in between."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from ipymini_worker import context

Message = dict[str, Any]
Content = dict[str, Any]
Handler = Callable[[Any, Any, Message], Any]


class Handlers:
    """Answers requests as `answer` does, or by what user code has put into `table`.

    A handler gets a stream, the identities of the asker and the message. The reply is what our own handler made of the
    message, if the other one has called it; else it says "ok".

    :param answer: the content of the reply to a message; None for a message that has no reply.
    :param user_code: calls a function as user code is called, and waits for what it returns.
    :param count: the prompt number, for the reply to an execute that a library's handler took.
    """

    def __init__(
        self,
        kinds: Iterable[str],
        answer: Callable[[Message], Content | None],
        user_code: Callable[[Callable[[], Any]], Any],
        count: Callable[[], int],
    ) -> None:
        self._count = count
        self._answer = answer
        self._user_code = user_code
        self._replies: dict[str, Content | None] = {}  # to requests that a library's handler has, by message id
        self._own: dict[str, Handler] = {kind: self._handler(kind) for kind in kinds}
        self.table: dict[str, Handler] = dict(self._own)
        self.before: Callable[[], Any] | None = None  #: `pre_handler_hook`
        self.after: Callable[[], Any] | None = None  #: `post_handler_hook`

    def _handler(self, kind: str) -> Handler:
        def handle(stream: Any, ident: Any, message: Message) -> None:
            reply = self._answer(message)
            if message.get("msg_id") in self._replies:
                self._replies[message["msg_id"]] = reply

        async def execute_request(stream: Any, ident: Any, message: Message) -> None:
            handle(stream, ident, message)

        # Libraries replace this one by one of its kind.
        return execute_request if kind == "execute_request" else handle

    def replaced(self, kind: str) -> bool:
        """Whether user code has put a handler of its own into the place of ours."""
        return self.table.get(kind) is not self._own.get(kind)

    def untouched(self, kind: str) -> bool:
        """Whether none of the user's code comes before or after ours when a request is answered."""
        return self.before is None and self.after is None and not self.replaced(kind)

    def answer(self, message: Message) -> Content | None:
        """The content of the reply to `message`; None for a message that has no reply."""
        kind = message["msg_type"]
        handler = self.table.get(kind)
        if self.before is not None:
            self._user_code(self.before)
        try:
            if handler is None or handler is self._own.get(kind):
                return self._answer(message)
            return self._by(handler, message)
        finally:
            if self.after is not None:
                self._user_code(self.after)

    def _by(self, handler: Handler, message: Message) -> Content | None:
        kind, msg_id = message["msg_type"], message["msg_id"]
        default: Content | None = {"status": "ok"} if kind.endswith("_request") else None
        if kind == "execute_request":
            default = {"status": "ok", "execution_count": self._count(), "user_expressions": {}, "payload": []}
        self._replies[msg_id] = default
        try:
            self._user_code(lambda: handler(None, [], message))
        finally:
            reply = self._replies.pop(msg_id, None)
        return reply

    async def run(self, kind: str, message: Message) -> None:
        """Does what the request `message` asks for, whose reply has been sent."""
        with_parent = context.enter(context.known(message))
        try:
            result = self._own[kind](None, [], message)
            if inspect.isawaitable(result):
                await result
        finally:
            context.leave(with_parent)


class Done(Awaitable[None]):
    """What has been done; to be awaited by those who must."""

    def __await__(self) -> Any:
        return iter(())
