"""From a connection file to a running supervisor. The worker is started first, so that both start-ups overlap.

Whatever is imported at the top of this file delays the first cell of every kernel, so it is next to nothing.
"""

from __future__ import annotations

import gc
import os
import sys

from ipymini_supervisor import connectionfile
from ipymini_supervisor.inplace import Line
from ipymini_supervisor.limits import FEWEST, Limits
from ipymini_supervisor.oomscore import expose
from ipymini_supervisor.spawning import Ends, adopt_orphans, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipymini_supervisor.connection import Connection
    from ipymini_supervisor.process import Process


class LaunchError(Exception):
    """The kernel cannot start; one plain sentence says why and what to do."""


def run(connection_file: str, python: str | None, worker_args: Sequence[str]) -> int:
    """Runs a kernel until it is shut down; returns the exit status of the process.

    :param python: the interpreter of the worker; None for our own.
    :param worker_args: IPython options.
    :raises ConnectionFileError: the connection file is missing or makes no sense.
    :raises LaunchError: the interpreter or the addresses cannot be used.
    """
    gc.disable()  # what is made until the kernel runs stays; to look through it for what does not takes a tenth of it
    path = os.path.abspath(connection_file)
    data = connectionfile.read(path)
    interpreter = os.path.abspath(python) if python else sys.executable
    line = Line.take(os.environ)  # before the environment goes on to the worker
    environment = dict(os.environ)
    # Descendants inherit this mark, and can be found by it when they have left the process group.
    mark = environment["IPYMINI_KERNEL_ID"] = f"{os.getpid()}-{os.urandom(8).hex()}"

    def start() -> tuple[int, Ends]:
        pid, ends = spawn(interpreter, path, worker_args, environment)
        expose(pid)
        return pid, ends

    try:
        pid, ends = start()
    except OSError as error:
        import errno

        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise LaunchError(f"A kernel needs {FEWEST} file descriptors and has fewer here (ulimit -n).") from None
        raise LaunchError(
            f"The Python interpreter {interpreter} cannot be started ({error.strerror}); "
            "name another one with --python."
        ) from None

    limits = Limits(os.environ)
    limits.give(pid)  # which has most of them already
    limits.change()
    adopt_orphans()  # now: the worker's first snapshot is an orphan, and needs some time to come up
    from ipymini_supervisor.process import adopt, signal_group

    def respawn() -> Process:
        pid, ends = start()
        limits.give(pid)
        return adopt(pid, ends)

    try:
        if limits.files < FEWEST:
            raise LaunchError(f"A kernel needs {FEWEST} file descriptors and may have {limits.files} here (ulimit -n).")
        load()
        import logging

        from ipymini_supervisor import connection as connections
        from ipymini_supervisor import logs
        from ipymini_supervisor.session import Session
        from ipymini_supervisor.settings import Settings
        from ipymini_supervisor.sockets import BindError, Sockets

        logs.configure(os.environ, path)
        settings = Settings.read(os.environ)
        connection = connections.parse(data, path)
        for warning in (connectionfile.exposed(path), _unsigned(connection, settings.allow_unsigned)):
            if warning is not None:
                logging.getLogger("ipymini").warning("%s", warning)
        sockets = Sockets(settings.max_message)
        try:
            sockets.bind(connection)
        except BindError as error:
            raise LaunchError(str(error)) from None
        from ipymini_supervisor import thrift
        from ipymini_supervisor.supervisor import Supervisor  # only now: frontends connect meanwhile

        thrift.keep()

        session = Session(connection.key, connection.signature_scheme, settings.max_message)
    except BaseException:
        signal_group(pid, 9)
        os.waitpid(pid, 0)
        raise

    def first() -> Process:
        return adopt(pid, ends)

    supervisor = Supervisor(connection, session, sockets, first, respawn, interpreter, mark, settings, line)
    gc.freeze()
    gc.enable()
    return supervisor.run()


def load() -> None:
    """Imports what the sockets need, and with it the libraries, while the worker imports IPython."""
    from ipymini_supervisor.later import Lean

    with Lean():
        import logging  # noqa: F401

        import ipymini_supervisor.sockets  # noqa: F401


def _unsigned(connection: Connection, allowed: bool) -> str | None:
    """A warning if messages are not signed, because the connection file has no key.

    :raises LaunchError: others than this machine could connect, and nobody has said that they may.
    """
    if connection.key:
        return None
    if not connection.local and not allowed:
        raise LaunchError(
            f"The connection file {connection.path} has no key, so that whoever can reach {connection.ip} could run "
            "code as you; give it a key, or set IPYMINI_ALLOW_UNSIGNED=1 if that is what you want."
        )
    return "Messages are not signed, because the connection file has no key: whoever can connect can run code as you."
