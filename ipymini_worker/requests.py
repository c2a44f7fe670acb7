"""What each shell request does: one method per message type of the Jupyter protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ipymini_worker import context
from ipymini_worker.comms import WorkerCommManager
from ipymini_worker.context import BadRequest
from ipymini_worker.latecompleter import recursion_limit_kept
from ipymini_worker.publish import Publisher
from ipymini_worker.repeatable import Cell
from ipymini_worker.shell import WorkerShell

Content = dict[str, Any]


class Requests:
    """Answers requests; every method takes a whole message and returns the content of the reply, if there is one."""

    def __init__(self, shell: WorkerShell, publisher: Publisher, comms: WorkerCommManager) -> None:
        self._shell = shell
        self._publisher = publisher
        self._comms = comms
        self._allow_stdin = False  # what the last cell said, which holds for callbacks as well
        self._table: Mapping[str, Callable[[Content], Content | None]] = {
            "execute_request": self.execute,
            "complete_request": self.complete,
            "inspect_request": self.inspect,
            "history_request": self.history,
            "is_complete_request": self.is_complete,
            "comm_info_request": self.comm_info,
            "comm_open": self.comm_open,
            "comm_msg": self.comm_msg,
            "comm_close": self.comm_close,
        }

    @property
    def kinds(self) -> Iterable[str]:
        """The types of message that are answered."""
        return self._table

    def answer(self, message: Content) -> Content | None:
        """The content of the reply to `message`; None for a message that has no reply.

        :raises BadRequest: the content is not what the protocol asks for.
        :raises KeyboardInterrupt: an interrupt came outside of user code.
        """
        handler = self._table.get(message["msg_type"])
        if handler is None:
            raise BadRequest(f"This kernel does not know the request {message['msg_type']!r}.")
        _check(message)
        if handler == self.execute:
            return handler(message)
        context.current().run.allow_stdin = self._allow_stdin
        if handler in (self.complete, self.inspect):
            self._shell.snapshots.doubt()  # both may run user code
        with self._shell.gate.opened():
            return handler(message)

    def execute(self, message: Content) -> Content:
        """Protocol: Execute."""
        cell = self._cell(message["content"], message["metadata"])
        with self._shell.numbered(kept=cell["store_history"]) as count:
            run = context.current().run
            # What is yet unsaid shows that the cell is small, and that user code has put nothing in our place.
            if run.unsaid and self._shell.snapshots.fresh and not message["content"].get("user_expressions"):
                run.repeats = self._shell.repeatable.candidate(Cell(cell["code"], count, cell["store_history"]))
            self._begin(cell, count)
            _, failure = self._shell.execute(**cell)
            if failure is not None or run.failed:
                run.record = b""
            return self._execute_reply(message["content"], _told(count, cell), failure)

    async def execute_inside(self, message: Content) -> Content:
        """Protocol: Execute, beside a cell that awaits.

        :raises BadRequest: the content is not what the protocol asks for.
        """
        _check(message)
        cell = self._cell(message["content"], message["metadata"])
        with self._shell.numbered(kept=cell["store_history"]) as count:
            self._begin(cell, count)
            _, failure = await self._shell.execute_inside(**cell)
            return self._execute_reply(message["content"], _told(count, cell), failure)

    def _cell(self, content: Content, metadata: Content) -> Content:
        """What the shell has to know of a cell."""
        silent = _get(content, "silent", bool, False)
        run = context.current().run
        run.allow_stdin = self._allow_stdin = _get(content, "allow_stdin", bool, False)
        run.aborts = content.get("stop_on_error", True) is not False
        cell_id = metadata.get("cellId")
        return {
            "code": _get(content, "code", str),
            "silent": silent,
            "store_history": _get(content, "store_history", bool, not silent) and not silent,
            "cell_id": cell_id if isinstance(cell_id, str) else None,
            "cell_meta": metadata,
        }

    def _begin(self, cell: Content, count: int) -> None:
        """Says that a cell has begun; all of it leaves at once, before anything of the user's runs."""
        run = context.current().run
        with self._shell.gate.closed(deliver=True):  # all of it, once, also beside a cell that is interrupted
            said = run.unsaid + self._shell.announce(count, cell["code"])
            if not cell["silent"]:
                content = {"code": cell["code"], "execution_count": count}
                self._publisher.send("execute_input", content, before=said)
            elif said:
                self._publisher.say(said)
            run.unsaid = b""

    def _execute_reply(self, content: Content, count: int, failure: context.Failure | None) -> Content:
        shell = self._shell
        reply: Content = {"status": "ok" if failure is None else "error", "execution_count": count}
        if failure is None:
            with shell.gate.opened(noted=False):
                reply["user_expressions"] = shell.user_expressions(_get(content, "user_expressions", dict, {}) or {})
        else:
            reply |= {**failure._asdict(), "user_expressions": {}}
        reply["payload"] = shell.payload_manager.read_payload()
        shell.payload_manager.clear_payload()
        return reply

    def complete(self, message: Content) -> Content:
        """Protocol: Completion, with the types that JupyterLab shows in `_jupyter_types_experimental`."""
        code, cursor = _code_and_cursor(message["content"])
        with recursion_limit_kept():
            from IPython.core.completer import rectify_completions

            found = list(rectify_completions(code, self._shell.Completer.completions(code, cursor)))
        start, end = (found[0].start, found[0].end) if found else (cursor, cursor)
        types = [
            {"start": c.start, "end": c.end, "text": c.text, "type": c.type or "<unknown>", "signature": c.signature}
            for c in found
        ]
        return {
            "status": "ok",
            "matches": [c.text for c in found],
            "cursor_start": start,
            "cursor_end": end,
            "metadata": {"_jupyter_types_experimental": types},
        }

    def inspect(self, message: Content) -> Content:
        """Protocol: Introspection."""
        from IPython.utils.tokenutil import token_at_cursor

        content = message["content"]
        code, cursor = _code_and_cursor(content)
        level = _get(content, "detail_level", int, 0)
        omit = message["metadata"].get("omit_sections", ())
        name = token_at_cursor(code, cursor)
        try:
            data = self._shell.object_inspect_mime(name, detail_level=level, omit_sections=omit)
        except KeyError:
            return {"status": "ok", "found": False, "data": {}, "metadata": {}}
        if not self._shell.enable_html_pager:
            data.pop("text/html", None)
        return {"status": "ok", "found": True, "data": data, "metadata": {}}

    def history(self, message: Content) -> Content:
        """Protocol: History."""
        content = message["content"]
        manager = self._shell.history_manager
        kind = _get(content, "hist_access_type", str, "tail")
        raw, output = _get(content, "raw", bool, True), _get(content, "output", bool, False)
        n = content.get("n")
        if kind == "tail":
            rows = manager.get_tail(n or 10, raw=raw, output=output, include_latest=True)
        elif kind == "range":
            rows = manager.get_range(
                _get(content, "session", int, 0),
                _get(content, "start", int, 0),
                content.get("stop"),
                raw=raw,
                output=output,
            )
        elif kind == "search":
            unique = _get(content, "unique", bool, False)
            rows = manager.search(_get(content, "pattern", str, "*"), raw=raw, output=output, n=n, unique=unique)
        else:
            raise BadRequest(f"hist_access_type is {kind!r}; it has to be 'tail', 'range' or 'search'.")
        # IPython calls the running session 0 in a range, and by its number in a tail; clients compare them.
        number = manager.session_number
        return {"status": "ok", "history": [(session or number, line, entry) for session, line, entry in rows]}

    def is_complete(self, message: Content) -> Content:
        """Protocol: Code completeness."""
        status, indent = self._shell.check_complete(_get(message["content"], "code", str))
        return {"status": status, "indent": indent} if status == "incomplete" else {"status": status}

    def comm_info(self, message: Content) -> Content:
        """Protocol: Comm info."""
        wanted = message["content"].get("target_name")
        comms = {
            comm_id: {"target_name": comm.target_name}
            for comm_id, comm in list(self._comms.comms.items())
            if wanted is None or comm.target_name == wanted
        }
        return {"status": "ok", "comms": comms}

    def comm_open(self, message: Content) -> None:
        """Protocol: Opening a Comm."""
        _get(message["content"], "comm_id", str)
        self._comms.comm_open(None, None, message)

    def comm_msg(self, message: Content) -> None:
        """Protocol: Comm Messages."""
        _get(message["content"], "comm_id", str)
        self._comms.comm_msg(None, None, message)

    def comm_close(self, message: Content) -> None:
        """Protocol: Tearing Down Comms."""
        _get(message["content"], "comm_id", str)
        self._comms.comm_close(None, None, message)


def _check(message: Content) -> None:
    if not isinstance(message["content"], dict) or not isinstance(message["metadata"], dict):
        raise BadRequest(f"Content and metadata of a {message['msg_type']} have to be JSON objects.")


_REQUIRED: Any = object()


def _get(content: Content, key: str, kind: type, default: Any = _REQUIRED) -> Any:
    value = content.get(key, default)
    if value is _REQUIRED:
        raise BadRequest(f"The request lacks {key!r}.")
    if value is None and default is not _REQUIRED:
        return default
    if not isinstance(value, kind):
        raise BadRequest(f"{key!r} of the request has to be of type {kind.__name__}, not {type(value).__name__}.")
    return value


def _code_and_cursor(content: Content) -> tuple[str, int]:
    code = _get(content, "code", str)
    cursor = _get(content, "cursor_pos", int, len(code))
    return code, min(max(0, cursor), len(code))


def _told(count: int, cell: Content) -> int:
    """The number in the reply to a cell.

    Consoles number their first prompt by the reply to a silent request: one that is not kept tells the last cell's.
    """
    return count if cell["store_history"] else count - 1
