"""Debug requests (protocol: debug_request, debug_reply, debug_event): some the supervisor answers by itself, so that
nothing that the worker does can keep it from that; the others go to the worker, and come back whenever they do.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ipymini_supervisor.debugging import Content, Debugging
from ipymini_supervisor.frontends import Frontends
from ipymini_supervisor.lanes import MAIN, Request
from ipymini_supervisor.router import Action, Router
from ipymini_supervisor.timers import Timers
from ipymini_supervisor.worker import Worker
from ipymini_worker.wire import Frame, Kind

log = logging.getLogger("ipymini")

#: Seconds after which it is looked whether the worker can answer at all.
WITHIN = 2.0
#: Seconds that a stopped thread may take to go on before it is interrupted where it is.
RELEASE_WITHIN = 1.0
_NO_DEBUGPY = "Debugging needs debugpy, which the environment of the cells does not have."
_STUCK = "The worker does not answer, because native code keeps Python from running."
_DIED = "The worker has ended, and debugging with it; it can be started again."
_ENDED = "Debugging has been ended."


class _Asked(msgspec.Struct):
    """What the worker has been asked, or is going to be."""

    command: str
    arguments: Content
    content: bytes
    done: Callable[[Content], None]
    sent: bool = False


class Debugger:
    """Answers debug requests.

    :param worker: the worker that there is; None between two of them.
    :param carry_out: carries out what the router decides.
    """

    def __init__(
        self,
        router: Router,
        frontends: Frontends,
        worker: Callable[[], Worker | None],
        timers: Timers,
        clock: Callable[[], float],
        carry_out: Callable[[Iterable[Action]], None],
    ) -> None:
        self.state = Debugging()
        self._router = router
        self._frontends = frontends
        self._worker = worker
        self._timers = timers
        self._clock = clock
        self._carry_out = carry_out
        self._ready = False
        self._asked: dict[int, _Asked] = {}
        self._last = 0
        self._seq = 0
        self._parent = b""  # of events: the header of the last request
        self._terminated = False  # whether frontends have to be told so

    # -- frontends

    def request(self, request: Request) -> None:
        """A debug_request has come."""
        self._parent = request.message.header_bytes
        try:
            message = msgspec.json.decode(request.message.content, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            message = {}
        command, arguments = str(message.get("command", "")), message.get("arguments")
        seq = message.get("seq")

        def reply(response: Content) -> None:
            fixed = {"type": "response", "request_seq": seq if isinstance(seq, int) else 0, "command": command}
            content = {"seq": self._number(), "success": True, "body": {}} | response | fixed
            self._carry_out(self._router.answer(request, content))

        arguments = arguments if isinstance(arguments, dict) else {}
        if command in ("disconnect", "terminate"):
            self._disconnect(command)
            reply({})
        elif command == "debugInfo" and (self.state.prefix or self._router.ending):
            reply({"body": self.state.info()})
        elif command != "debugInfo" and not self.state.available:
            reply(_failed(_NO_DEBUGPY))
        elif self._router.ending:
            reply(_failed(_ENDED))
        else:
            self._ask(command, arguments, bytes(request.message.content), reply)

    def _disconnect(self, command: str) -> None:
        worker = self._worker()
        if worker is not None and self._ready and self.state.started:
            worker.send_control(Kind.DEBUG, 0, (_encode("disconnect", {}),))
        self.state.disconnected()
        self._fail(_ENDED)
        if command == "terminate":
            self._tell("terminated")

    def _ask(self, command: str, arguments: Content, content: bytes, done: Callable[[Content], None]) -> int:
        """Asks the worker, when it is ready; `done` is called with its response, or with one of ours."""
        self._last += 1
        number = self._last
        self._asked[number] = _Asked(command, arguments, content, done)
        if self._ready:
            self._send(number)
        return number

    def _send(self, number: int) -> None:
        asked, worker = self._asked[number], self._worker()
        if asked.command == "debugInfo":
            del self._asked[number]
            asked.done({"body": self.state.info()})
        elif worker is not None:
            asked.sent = True
            worker.send_control(Kind.DEBUG, number, (asked.content,))
            self._timers.at(self._clock() + WITHIN, lambda: self._late(number))

    def _late(self, number: int) -> None:
        worker = self._worker()
        if number in self._asked and worker is not None:
            worker.ping(lambda alive: self._later(number, alive=alive))

    def _later(self, number: int, *, alive: bool) -> None:
        if not alive:
            self._done(number, _failed(_STUCK))
        elif number in self._asked:
            self._timers.at(self._clock() + WITHIN, lambda: self._late(number))

    def _done(self, number: int, response: Content) -> None:
        asked = self._asked.pop(number, None)
        if asked is None:
            return
        self.state.responded(asked.command, asked.arguments, response)
        wanted = self.state.restored() if asked.command == "attach" and response.get("success") else []
        left = len(wanted)

        def one_less(ignored: Content) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                asked.done(response)

        for command, arguments in wanted:
            self._ask(command, arguments, _encode(command, arguments), one_less)
        if not wanted:
            asked.done(response)

    def _fail(self, sentence: str) -> None:
        waiting, self._asked = self._asked, {}
        for asked in waiting.values():
            asked.done(_failed(sentence))

    def _number(self) -> int:
        self._seq += 1
        return self._seq

    def _tell(self, event: str) -> None:
        content = {"seq": self._number(), "type": "event", "event": event, "body": {}}
        self._frontends.publish("debug_event", content, self._parent or self._frontends.last_parent())

    # -- the worker

    def frame(self, frame: Frame) -> None:
        """The worker has said something: a response to what it was asked, or an event of its own."""
        message = msgspec.json.decode(frame.parts[0], type=dict[str, Any])
        if frame.request:
            self._done(frame.request, message)
        elif message.get("type") == "event" and self.state.started:
            self.state.happened(message)
            self._frontends.publish("debug_event", message, self._parent or self._frontends.last_parent())

    def hello(self, content: Content) -> None:
        """The worker is ready; this is what it has said of itself."""
        prefix, seed = content.get("cells"), content.get("seed")
        if isinstance(prefix, str) and isinstance(seed, int):
            if prefix != self.state.prefix:
                self.clean()
            self.state.hello(prefix, seed, available=content.get("debugger") is True)
        if not self.state.available:
            self._fail(_NO_DEBUGPY)
        self._ready = True
        for number in list(self._asked):
            self._send(number)

    def died(self) -> None:
        """The worker is gone. Frontends hear so by `announce`, after the error of what it was executing."""
        self._ready = False
        self._terminated = self.state.died() or self._terminated
        unsent = {number: asked for number, asked in self._asked.items() if not asked.sent}
        self._asked = {number: asked for number, asked in self._asked.items() if asked.sent}
        self._fail(_DIED)
        self._asked = unsent

    def forget(self) -> None:
        """Another session begins, in which nobody has set a breakpoint."""
        self.state.disconnected()

    def announce(self) -> None:
        """Tells frontends, if they have not been told, that debugging has ended with the worker."""
        if self._terminated:
            self._terminated = False
            self._tell("terminated")

    def release(self, request: Request, interrupt: Callable[[], None]) -> None:
        """Calls `interrupt`, but for a request that is stopped at a breakpoint: a signal in the midst of the debugger's
        own code would be the end of debugging, so the worker raises the interrupt where the code goes on.
        """
        if not self.state.stopped:
            interrupt()
            return
        waiting = True

        def now(response: Content | None = None) -> None:
            nonlocal waiting
            if waiting:
                waiting = False
                done = (response or {}).get("body", {}).get("interrupted") is True
                if request in self._router.running() and not done:
                    interrupt()

        arguments = {"subshell": request.lane if request.lane != MAIN else ""}
        self._ask("interrupt", arguments, _encode("interrupt", arguments), now)
        self._timers.at(self._clock() + RELEASE_WITHIN, now)

    # -- the end

    def clean(self) -> None:
        """Removes the files of cells; only what can be no other folder's."""
        if not self.state.dumped:
            return
        import tempfile

        folder = self.state.prefix.rstrip(os.sep)
        place, name = os.path.split(folder)
        if place != tempfile.gettempdir() or not re.fullmatch(r"ipykernel_\d+", name):
            return
        self.state.dumped = False
        try:
            for file in os.listdir(folder):
                if re.fullmatch(r"\d+\.py", file):
                    os.unlink(os.path.join(folder, file))
            os.rmdir(folder)
        except OSError as error:
            log.info("The files of cells in %s were not all removed: %s.", folder, error.strerror)


def _encode(command: str, arguments: Content) -> bytes:
    return msgspec.json.encode({"type": "request", "seq": 0, "command": command, "arguments": arguments})


def _failed(sentence: str) -> Content:
    return {"success": False, "message": sentence}
