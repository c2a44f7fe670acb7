"""A worker that follows a script instead of the rules. It runs as a process of its own, in the place of the worker's
interpreter, and needs nothing but the standard library and the wire.

The script is Python text in the file that `FAKE_SCRIPT` names; it finds a `Fake` under the name `fake`.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

from ipymini_worker.wire import DUMP_SIGNAL, ERROR, WIRE_VERSION, Decoder, Frame, Kind, encode

WORK, CONTROL, FAULT = 3, 4, 5


class Fake:
    """The worker's side of the link, with nothing in the way of doing it wrong."""

    def __init__(self) -> None:
        with open(os.environ["FAKE_STARTS"], "ab+") as file:
            file.write(b".")
            #: How many workers the kernel has started, this one included.
            self.starts = file.tell()
        self._decoder = Decoder("supervisor", "work")
        self._stalled = ""
        self._frames: list[Frame] = []

    def raw(self, data: bytes, fd: int = WORK) -> None:
        """Writes any bytes."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:  # in a flood
                poll = select.poll()
                poll.register(fd, select.POLLOUT)
                if not poll.poll(500):
                    open(self._stalled, "w").close()
                    poll.poll()

    def say(self, kind: Kind, request: int = 0, *parts: bytes, flags: int = 0, fd: int = WORK) -> None:
        """Writes a frame."""
        self.raw(b"".join(encode(kind, request, parts, flags)), fd)

    def hello(self, **changes: object) -> None:
        """Says that it is ready; `changes` take the place of what is right."""
        signal.signal(DUMP_SIGNAL, signal.SIG_IGN)  # from now on it may come
        content = {"wire": WIRE_VERSION, "pid": os.getpid(), "python": "3.99.1", "ipython": "99.1", **changes}
        self.say(Kind.HELLO, 0, json.dumps(content).encode())

    def next(self) -> Frame:
        """The next frame on the work socket, waited for; ends the process when there is none."""
        while not self._frames:
            with self._decoder.buffer() as buffer:
                count = os.readv(WORK, [buffer])
            if count == 0:
                os._exit(0)
            self._frames += self._decoder.filled(count)
        return self._frames.pop(0)

    def begin(self, cell: int = 1) -> Frame:
        """The next request, which is begun."""
        frame = self.next()
        if frame.kind is Kind.STOP:
            os._exit(0)
        self.say(Kind.STARTED, frame.request, b"%d" % cell)
        return frame

    def print(self, frame: Frame, text: str) -> None:
        """Prints as part of a request."""
        self.say(Kind.STREAM, frame.request, text.encode())

    def reply(self, frame: Frame, flags: int = 0) -> None:
        """Replies to a request of any type, as well as it can."""
        status = "error" if flags & ERROR else "ok"
        content: dict[str, object] = {"status": status, "execution_count": 1, "user_expressions": {}, "payload": []}
        if flags & ERROR:
            content |= {"ename": "Faked", "evalue": "as the script says", "traceback": []}
        elif self.type(frame) == "complete_request":
            content = {"status": "ok", "matches": [], "cursor_start": 0, "cursor_end": 0, "metadata": {}}
        self.say(Kind.REPLY, frame.request, json.dumps(content).encode(), flags=flags)

    def type(self, frame: Frame) -> str:
        """The Jupyter type of a request."""
        return str(json.loads(bytes(frame.parts[0]))["msg_type"])

    def code(self, frame: Frame) -> str:
        """The code of an execute_request."""
        return str(json.loads(bytes(frame.parts[3]))["code"])

    def serve(self) -> NoReturn:
        """Is a good worker from now on: prints the code of each cell."""
        while True:
            frame = self.begin()
            if self.type(frame) == "execute_request":
                self.print(frame, self.code(frame))
            self.reply(frame)

    def hand_over(self, *descriptors: int, cell: int = 1, pid: int | None = None, flags: int = 0) -> None:
        """Says SNAPSHOT, with descriptors along."""
        parts = (b"%d" % cell, b"%d" % (os.getpid() if pid is None else pid))
        with socket.socket(fileno=os.dup(WORK)) as work:
            socket.send_fds(work, encode(Kind.SNAPSHOT, 0, parts, flags), list(descriptors))

    def snapshot(self, then: Callable[[], object], cell: int = 1, flags: int = 0) -> None:
        """Forks a copy that does `then` when it is woken, and says SNAPSHOT."""
        ours, theirs = socket.socketpair()
        r, w = os.pipe()
        if os.fork() == 0:
            os.setpgid(0, 0)  # before there is a copy: the worker's group may be killed at any time
            if copy := os.fork():
                os.write(w, b"%d" % copy)
                os._exit(0)
            os.setpgid(0, 0)
            ours.close()
            for fd in (WORK, CONTROL, FAULT, r, w):
                os.close(fd)
            data, files, _, _ = socket.recv_fds(theirs, 1, 5)
            if not data:
                os._exit(0)
            theirs.close()
            for fd, number in zip([fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in files], (1, 2, 3, 4, 5), strict=True):
                os.dup2(fd, number)
                os.close(fd)
            for fd in files:
                if fd > FAULT:
                    os.close(fd)
            self._decoder = Decoder("supervisor", "work")
            self._frames = []
            then()
            os._exit(0)
        os.wait()
        self.hand_over(ours.fileno(), cell=cell, pid=int(os.read(r, 20)), flags=flags)
        ours.close()
        theirs.close()

    def resumed(self) -> Frame:
        """In a copy: takes the RESUME frame and says that it is ready."""
        frame = self.next()
        assert frame.kind is Kind.RESUME
        self.hello(lost=["Nothing."])
        return frame

    def good_after(self, bad: int) -> None:
        """Is a good worker if it is not one of the first `bad`."""
        if self.starts > bad:
            self.hello()
            self.serve()

    def on(self, number: int, action: Callable[[], object]) -> None:
        """Does `action` when the signal comes."""
        signal.signal(number, lambda *_: action())

    def flood(self, write: Callable[[], object], fd: int, stalled: str) -> None:
        """Writes to `fd` for ever; makes a file when nothing could be written for a while, and goes on."""
        os.set_blocking(fd, False)
        self._stalled = stalled
        while True:
            write()

    def wait(self) -> NoReturn:
        """Does nothing until it is ended, or the supervisor is gone."""
        poll = select.poll()
        poll.register(WORK, select.POLLHUP)  # POLLIN is left out: what arrives is not read
        poll.poll()
        os._exit(0)


def main() -> None:
    """Follows the script."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fake = Fake()
    with open(os.environ["FAKE_SCRIPT"]) as file:
        script = compile(file.read(), "script", "exec")
    exec(
        script,
        {
            "fake": fake,
            "Kind": Kind,
            "os": os,
            "signal": signal,
            "sys": sys,
            "json": json,
            "encode": encode,
            "socket": socket,
        },
    )


if __name__ == "__main__":
    main()
