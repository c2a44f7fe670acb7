"""A kernel provisioner with which a restart swaps the worker and leaves the kernel's process and its ports as they are.

It runs in the process of jupyter_client, never in the kernel: `jupyter_client.kernel_provisioners` names it, and a
kernelspec asks for it (`ipymini-supervisor install --in-place-restart`). A restart by a kernel manager is a
shutdown_request, the end of a process, and a launch. Here the supervisor takes the request for what it is, says by the
line (`inplace`) when the session before is over, and that passes for the end of the process; what is launched then is
the process that is there. Whatever does not go this way ends in an ordinary restart: a kill, another command,
environment or connection, a supervisor that has ended, and the ipc transport, whose sockets jupyter_client removes.
"""

from __future__ import annotations

import asyncio
import enum
import os
import signal
import socket
import subprocess
from contextlib import suppress
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from ipymini_supervisor.inplace import VARIABLE

#: Seconds that a supervisor has to replace a worker that hangs, before it is ended itself; see `Ending`.
PATIENCE = 20.0
#: Seconds that a process which is not to be kept has to end.
_GRACE = 10.0


class _Restart(enum.Enum):
    """How far a restart in place has come."""

    NONE = "none"  #: there is none
    ASKED = "asked"  #: the supervisor has been asked
    DONE = "done"  #: it has told that there is another worker: what was the kernel's process passes for ended


class InPlaceProvisioner(LocalProvisioner):  # type: ignore[misc,unused-ignore]
    """Launches the kernel as a local process, and keeps that process through restarts."""

    _restart = _Restart.NONE
    _line: socket.socket | None = None
    _launched: tuple[Any, ...] = ()  # what the process was launched with
    _kept: subprocess.Popen[bytes] | None = None  # a process that waits for the launch after a restart
    _listening = False

    async def shutdown_requested(self, restart: bool = False) -> None:
        """The manager has sent a shutdown_request."""
        self._restart = _Restart.NONE
        if self._line is not None:
            with suppress(OSError):  # an answer that nobody has waited for
                self._line.recv(4096)
            if restart and self.parent is not None:
                self._restart = _Restart.ASKED
                with suppress(OSError):  # the supervisor has ended, which shows
                    self._line.send(f"{self.parent.session.session}\n".encode())

    def get_shutdown_wait_time(self, recommended: float = 5.0) -> float:
        """Twice the seconds after which a kernel that has been asked to end gets a signal."""
        return max(recommended, PATIENCE) if self._restart is not _Restart.NONE else recommended

    async def poll(self) -> int | None:
        """None while the kernel runs; during a restart in place it comes back when there is something to tell."""
        if self._restart is _Restart.ASKED and self.process is not None and not self._listening:
            await self._listen()
        if self._restart is _Restart.DONE and self.process is not None:
            return 0
        status: int | None = await super().poll()
        return status

    async def wait(self) -> int | None:
        """Waits for the end of the kernel, or for what passes for it."""
        while self._restart is not _Restart.NONE and self.process is not None:
            if await self.poll() is None:
                await asyncio.sleep(0.01)  # somebody else listens
                continue
            if self._restart is _Restart.DONE:
                self._kept, self.process = self.process, None
                return 0
            break
        status: int | None = await super().wait()
        return status

    async def _listen(self) -> None:
        """Waits for what the supervisor says; its end of the line closes when it ends."""
        assert self._line is not None
        line, loop = self._line, asyncio.get_running_loop()
        heard = asyncio.Event()
        self._listening = True
        loop.add_reader(line, heard.set)
        try:
            await heard.wait()
        finally:
            loop.remove_reader(line)
            self._listening = False
        try:
            told = line.recv(4096) != b""
        except OSError:
            told = False
        if self._restart is _Restart.ASKED:
            self._restart = _Restart.DONE if told else _Restart.NONE

    async def send_signal(self, signum: int) -> None:
        """Sends a signal to the kernel; one that ends it ends the restart in place."""
        if signum in (signal.SIGTERM, signal.SIGKILL):
            self._restart = _Restart.NONE
        await super().send_signal(signum)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Launches a kernel; after a restart in place, the one that is there."""
        env = dict(kwargs.pop("env", os.environ))
        env.pop(VARIABLE, None)
        wanted = (list(cmd), dict(env), dict(kwargs), dict(self.connection_info))
        kept, self._kept = self._kept, None
        self._restart = _Restart.NONE
        if kept is not None and kept.poll() is None and wanted == self._launched:
            self.process = kept
            return self.connection_info
        if kept is not None:
            await _end(kept)
        self._hang_up()
        self._launched = wanted
        if self.connection_info.get("transport") != "tcp":
            return await super().launch_kernel(cmd, env=env, **kwargs)
        self._line, theirs = socket.socketpair()
        self._line.setblocking(False)
        with theirs:
            env[VARIABLE] = str(theirs.fileno())
            fds = (*kwargs.pop("pass_fds", ()), theirs.fileno())
            return await super().launch_kernel(cmd, env=env, pass_fds=fds, **kwargs)

    async def cleanup(self, restart: bool = False) -> None:
        """Releases what the kernel had; also a process for which the launch has not come."""
        if not restart:
            self._hang_up()
            kept, self._kept = self._kept, None
            if kept is not None:
                await _end(kept)
        await super().cleanup(restart=restart)

    def _hang_up(self) -> None:
        """A supervisor that finds the line closed takes a restart for an ordinary one."""
        if self._line is not None:
            self._line.close()
            self._line = None


async def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that has not been waited for, and waits."""
    process.terminate()
    deadline = asyncio.get_running_loop().time() + _GRACE
    while process.poll() is None:
        if asyncio.get_running_loop().time() > deadline:
            process.kill()
        await asyncio.sleep(0.01)
