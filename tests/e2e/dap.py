"""A frontend that debugs, as JupyterLab does it."""

from __future__ import annotations

from typing import Any

from .client import TIMEOUT, Client, Content, Message, Run

INITIALIZE = {
    "clientID": "jupyterlab",
    "clientName": "JupyterLab",
    "adapterID": "python3",
    "pathFormat": "path",
    "linesStartAt1": True,
    "columnsStartAt1": True,
    "supportsVariableType": True,
    "supportsVariablePaging": True,
    "supportsRunInTerminalRequest": True,
    "locale": "en",
}


class Debugger:
    """Sends debug requests and collects events."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._seq = 0
        self._seen = 0

    def send(self, command: str, **arguments: Any) -> Run:
        """Sends a request; returns its account, which is still empty."""
        self._seq += 1
        content = {"type": "request", "seq": self._seq, "command": command, "arguments": arguments}
        return self.client.send("debug_request", content, channel="control")

    def ask(self, command: str, **arguments: Any) -> Content:
        """Sends a request and waits for its response."""
        reply = self.client.finish(self.send(command, **arguments)).reply
        assert (reply["type"], reply["command"], reply["request_seq"]) == ("response", command, self._seq), reply
        return reply

    def good(self, command: str, **arguments: Any) -> Content:
        """As `ask`; returns the body of a response that says success."""
        reply = self.ask(command, **arguments)
        assert reply["success"], reply
        body: Content = reply.get("body") or {}
        return body

    def failure(self, command: str, **arguments: Any) -> str:
        """As `ask`; returns what a response says that says no success."""
        reply = self.ask(command, **arguments)
        assert not reply["success"], reply
        return str(reply["message"])

    def start(self) -> None:
        """Begins to debug, with the requests of JupyterLab."""
        self.good("initialize", **INITIALIZE)
        self.good("attach")

    def stop(self) -> None:
        """Ends it."""
        self.good("disconnect", restart=False, terminateDebuggee=False)

    def break_at(self, code: str, *lines: int) -> str:
        """Sets the breakpoints of a cell; returns its path."""
        path = str(self.good("dumpCell", code=code)["sourcePath"])
        self.break_in(path, *lines)
        return path

    def break_in(self, path: str, *lines: int) -> None:
        """Sets the breakpoints of a file."""
        points = [{"line": line} for line in lines]
        body = self.good("setBreakpoints", breakpoints=points, source={"path": path}, sourceModified=False)
        assert [(p["verified"], p["line"]) for p in body["breakpoints"]] == [(True, line) for line in lines]

    def event(self, name: str, timeout: float = TIMEOUT) -> Content:
        """The next event of a name; those before it are passed over. Returns its body."""
        event = self.client.wait(
            lambda channel, m: m["msg_type"] == "debug_event" and m["content"]["event"] == name,
            since=self._seen,
            timeout=timeout,
        )
        self._seen = 1 + next(n for n, (_, m) in enumerate(self.client.messages) if m is event)
        body: Content = event["content"].get("body") or {}
        return body

    def events(self) -> list[Message]:
        """The events that have come so far."""
        return [m for _, m in self.client.messages if m["msg_type"] == "debug_event"]

    def stopped(self, reason: str = "breakpoint") -> int:
        """Waits until a thread stops; returns its number."""
        body = self.event("stopped")
        assert body["reason"] == reason, body
        return int(body["threadId"])

    def stack(self, thread: int) -> list[Content]:
        """The frames of a thread."""
        frames: list[Content] = self.good("stackTrace", threadId=thread)["stackFrames"]
        return frames

    def where(self, thread: int) -> list[tuple[str, int]]:
        """The names and lines of the frames of a thread."""
        return [(frame["name"], frame["line"]) for frame in self.stack(thread)]

    def variables(self, frame: Content) -> dict[str, Content]:
        """The local variables of a frame."""
        scopes = self.good("scopes", frameId=frame["id"])["scopes"]
        return self.inside(scopes[0]["variablesReference"])

    def inside(self, reference: int) -> dict[str, Content]:
        """What a reference stands for."""
        return {v["name"]: v for v in self.good("variables", variablesReference=reference)["variables"]}
