"""What serves kernels over HTTP: a jupyter_server on loopback, over REST and websocket, as a browser uses it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import websocket

from .client import TIMEOUT
from .kernels import MARK, assert_gone

Message = dict[str, Any]
TOKEN = "a-token-for-tests"


def rest(address: str, method: str, path: str, content: object = None, patience: float = TIMEOUT) -> Any:
    """The answer to a request, decoded; None for an empty one."""
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(f"http://{address}/{path}", data, method=method)
    request.add_header("Authorization", f"token {TOKEN}")
    with urllib.request.urlopen(request, timeout=patience) as answer:
        body = answer.read()
    return json.loads(body) if body else None


class Service:
    """A running process that serves kernels over HTTP.

    :param folder: an empty folder of its own.
    """

    patience = TIMEOUT  #: seconds that it has for an answer, and for its end
    address: str  #: host, port and path of its API, without "/api"

    def __init__(self, folder: Path, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.mark = uuid.uuid4().hex
        self._log = folder / "server.log"
        environment = {**os.environ, MARK: self.mark, **env}
        environment.pop("PYTEST_CURRENT_TEST", None)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """What it, and its kernels, wrote."""
        return self._log.read_text(errors="replace")

    def rest(self, method: str, path: str, content: object = None) -> Any:
        """The answer to a request of the API."""
        return rest(self.address, method, f"api/{path}", content, self.patience)

    def stop(self) -> None:
        """Ends it, and looks at what is left of it and of its kernels."""
        self.process.terminate()
        try:
            self.process.wait(self.patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(self.log) from None
        finally:
            assert_gone(self.mark)


class Server(Service):
    """A jupyter_server."""

    def __init__(self, folder: Path) -> None:
        options = {
            "ServerApp.port": 0,
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.open_browser": False,
            "ServerApp.root_dir": str(folder),
            "ServerApp.allow_root": True,
            "ServerApp.log_level": "INFO",
            "IdentityProvider.token": TOKEN,
            "ServerApp.terminals_enabled": False,
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        super().__init__(folder, [sys.executable, "-m", "jupyter_server", *arguments], {})
        self.address = self._wait_address()

    def _wait_address(self) -> str:
        """The server says in its log where it is going to be, and nowhere that it is there."""
        deadline = time.monotonic() + 2 * TIMEOUT
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := re.search(r"http://(127\.0\.0\.1):(\d+)/\?token", self.log):
                try:
                    socket.create_connection((found[1], int(found[2]))).close()
                except ConnectionRefusedError:
                    pass
                else:
                    return f"{found[1]}:{found[2]}"
            time.sleep(0.01)
        raise TimeoutError(self.log)

    def wait_state(self, kernel: str, state: str) -> None:
        """Waits until the server says that the kernel is in a state; it hears of it at about the time that a tab does."""
        deadline = time.monotonic() + TIMEOUT
        while (told := self.rest("GET", f"kernels/{kernel}")["execution_state"]) != state:
            assert time.monotonic() < deadline, told
            time.sleep(0.01)

    def wait_log(self, text: str, since: int = 0) -> None:
        """Waits until the server has written something, after its first `since` characters."""
        deadline = time.monotonic() + TIMEOUT
        while text not in self.log[since:]:
            assert time.monotonic() < deadline, self.log
            time.sleep(0.01)


class Serves(Protocol):
    """Whoever serves kernels."""

    address: str  #: host and port, and what stands before "/api"


class Tab:
    """A browser's tab: one websocket to one kernel."""

    def __init__(self, server: Serves, kernel: str) -> None:
        self._session = uuid.uuid4().hex
        self.messages: list[Message] = []
        self._socket = websocket.create_connection(
            f"ws://{server.address}/api/kernels/{kernel}/channels?session_id={self._session}",
            timeout=TIMEOUT,
            header={"Authorization": f"token {TOKEN}"},
        )

    def close(self) -> None:
        """Closes the websocket."""
        self._socket.close()

    def send(self, code: str) -> str:
        """Sends a cell; returns the id of the request."""
        msg_id = uuid.uuid4().hex
        header = {"msg_id": msg_id, "msg_type": "execute_request", "session": self._session, "username": "u"}
        header |= {"version": "5.4", "date": "2024-02-29T00:00:00Z"}
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
        content |= {"allow_stdin": False, "stop_on_error": True}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        self._socket.send(json.dumps(message))
        return msg_id

    def of(self, msg_id: str, *types: str) -> list[Message]:
        """What has come for a request, of these types."""
        return [m for m in self.messages if m["parent_header"].get("msg_id") == msg_id and m["msg_type"] in types]

    def take(self) -> Message:
        """The next message; websocket.WebSocketTimeoutException if there is none."""
        message: Message = json.loads(self._socket.recv())
        self.messages.append(message)
        return message

    def take_for(self, seconds: float) -> None:
        """Takes what comes until nothing has come for a while."""
        self._socket.settimeout(seconds)
        try:
            while True:
                self.take()
        except websocket.WebSocketTimeoutException:
            pass
        finally:
            self._socket.settimeout(TIMEOUT)

    def finish(self, msg_id: str) -> Message:
        """The reply to a cell, when reply and idle have come."""
        while not (self.of(msg_id, "execute_reply") and "idle" in self.states(msg_id)):
            self.take()
        (reply,) = self.of(msg_id, "execute_reply")
        assert sorted(self.states(msg_id)) == ["busy", "idle"]
        return reply

    def states(self, msg_id: str) -> list[str]:
        """The states that were published for a request."""
        return [m["content"]["execution_state"] for m in self.of(msg_id, "status")]

    def run(self, code: str) -> Message:
        """Runs a cell to its end; returns the reply's content."""
        content: Message = self.finish(self.send(code))["content"]
        return content

    def supervisor(self) -> int:
        """The pid of the kernel's process."""
        return int(self.text("import os; print(os.getppid())"))

    def text(self, code: str) -> str:
        """What a cell prints."""
        msg_id = self.send(code)
        assert self.finish(msg_id)["content"]["status"] == "ok"
        return "".join(m["content"]["text"] for m in self.of(msg_id, "stream"))
