"""The object at `get_ipython().kernel`: what libraries look for in a kernel."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from ipymini_worker import context
from ipymini_worker.comms import WorkerCommManager
from ipymini_worker.identity.counterpart import Counterpart
from ipymini_worker.identity.handlers import Done, Handlers
from ipymini_worker.identity.loops import io_loop
from ipymini_worker.identity.session import PubThread, Session, ShellStream
from ipymini_worker.joining import Joining
from ipymini_worker.publish import Publisher
from ipymini_worker.shell import WorkerShell
from ipymini_worker.subshells import Subshells

Content = dict[str, Any]


class Kernel(Counterpart):
    """A view of the worker in the form that libraries expect of a kernel object. It holds no key and no socket."""

    implementation = "ipymini-supervisor"
    #: Set by whoever has one (a debugger, a toolkit); nothing here depends on them.
    debugger: Any = None
    eventloop: Any = None
    app: Any = None
    _aborting = False
    _poll_interval = 0.01
    _darwin_app_nap = True

    def __init__(self, comm_manager: WorkerCommManager, publisher: Publisher) -> None:
        self.comm_manager = comm_manager
        self.log = logging.getLogger("ipymini_worker")
        self.iopub_thread = PubThread()
        self.iopub_socket = self.iopub_thread.socket
        self.session = Session(publisher, self.iopub_socket)
        self.ident = self.session.session
        self.shell_stream = ShellStream()
        self.shell_streams = [self.shell_stream]
        self.control_handlers: dict[str, Any] = {}
        self.shell: WorkerShell
        self.parent: Any = None  # the application, whose `connection_file` is the path of it
        self._handlers: Handlers
        self._joining: Joining
        self.subshells: Subshells

    def attach(self, shell: WorkerShell, app: Any, handlers: Handlers, joining: Joining, subshells: Subshells) -> None:
        """Gives the kernel what is made after it."""
        self.shell, self.parent, self.subshells = shell, app, subshells
        self._handlers, self._joining = handlers, joining
        for publishes in (shell.display_pub, shell.displayhook):
            publishes.session, publishes.pub_socket = self.session, self.iopub_socket

    # -- requests

    @property
    def shell_handlers(self) -> dict[str, Any]:
        """What answers each type of request; may be replaced one by one. See `Handlers`."""
        return self._handlers.table

    async def execute_request(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        """Runs the code of an execute request that a handler of a library has kept; its reply has been sent."""
        await self._handlers.run("execute_request", parent)

    def do_one_iteration(self) -> Done:
        """Lets a request that waits, but no cell, run now: a widget's event reaches its callbacks in mid-cell.

        It has been done when this returns; the result can be awaited.
        """
        self._joining.one()
        return Done()

    def unlock(self) -> bool:
        """Lets queued requests run while the cell that calls awaits, from now until its end.

        :returns: False outside of a cell, where nothing has to be unlocked.
        """
        return self._joining.unlock()

    def subshell(self) -> AbstractContextManager[str]:
        """While the body runs, cells that come from the same client are executed at once, in a subshell of their own,
        whose id it gives. That ends when the body has ended and its cells have, too.

        :raises RuntimeError: used outside of a cell.
        """
        return self._joining.detour()

    @property
    def pre_handler_hook(self) -> Callable[[], Any]:
        """Called before each request; may be replaced."""
        return self._handlers.before or _nothing

    @pre_handler_hook.setter
    def pre_handler_hook(self, hook: Callable[[], Any]) -> None:
        self._handlers.before = hook

    @property
    def post_handler_hook(self) -> Callable[[], Any]:
        """Called after each request; may be replaced."""
        return self._handlers.after or _nothing

    @post_handler_hook.setter
    def post_handler_hook(self, hook: Callable[[], Any]) -> None:
        self._handlers.after = hook

    # -- whose output is whose

    def get_parent(self, channel: str | None = None) -> dict[str, Any]:
        """The message of the request that the calling code belongs to; {} for the control channel, where none runs."""
        return {} if channel == "control" else context.current().message()

    def set_parent(self, ident: object, parent: object, channel: str = "shell") -> None:
        """What the calling thread or task publishes from now on belongs to `parent`, a message."""
        if channel == "shell":
            context.enter(context.known(parent))

    @property
    def _parent_header(self) -> dict[str, Any]:
        return self.get_parent()

    @property
    def _parent_ident(self) -> dict[str, Any]:
        """The identities of the asker, which the supervisor keeps to itself: by channel, as `set_parent` takes them."""
        return {"shell": [], "control": []}

    def send_response(
        self,
        stream: Any,
        msg_or_type: Any,
        content: Content | None = None,
        ident: Any = None,
        buffers: Any = None,
        track: bool = False,
        header: Any = None,
        metadata: Content | None = None,
        channel: str | None = None,
    ) -> dict[str, Any]:
        """`session.send`, as part of the request that the calling code belongs to."""
        parent = self.get_parent(channel)
        return self.session.send(stream, msg_or_type, content, parent, ident, buffers, track, header, metadata)

    # -- what it does, as code that wraps kernels calls it

    async def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: Content | None = None,
        allow_stdin: bool = False,
        *,
        cell_meta: Content | None = None,
        cell_id: str | None = None,
    ) -> Content:
        """Runs code as a cell of the session; returns the content of the reply (protocol: Execute)."""
        shell, kept = self.shell, store_history and not silent
        count = shell.execution_count if kept else shell.execution_count - 1
        _, failure = shell.execute(code, silent=silent, store_history=kept, cell_id=cell_id, cell_meta=cell_meta or {})
        if failure is not None:
            return {"status": "error", "execution_count": count, **failure._asdict(), "user_expressions": {}}
        expressions = shell.user_expressions(user_expressions or {})
        return {"status": "ok", "execution_count": count, "user_expressions": expressions, "payload": []}

    def do_shutdown(self, restart: bool) -> Content:
        """Ends the kernel when the cell is over. To start it again is up to whoever has started it."""
        context.current().run.exit_asked = True
        return {"status": "ok", "restart": restart}

    # -- what it is

    @property
    def user_ns(self) -> dict[str, Any]:
        """The variables of the session."""
        return self.shell.user_ns  # type: ignore[no-any-return]

    @property
    def user_module(self) -> Any:
        """The module that cells run in."""
        return self.shell.user_module

    @property
    def execution_count(self) -> int:
        """The number that the next cell gets."""
        return self.shell.execution_count

    @property
    def config(self) -> Any:
        """The configuration."""
        return self.shell.config

    @property
    def io_loop(self) -> Any:
        """The event loop: tornado's where tornado is installed, else one that has its `add_callback`."""
        return io_loop(self.shell.loop)

    @property
    def control_thread(self) -> threading.Thread | None:
        """The thread that listens to the supervisor while cells run."""
        return next((thread for thread in threading.enumerate() if thread.name == "ipymini-control"), None)

    @property
    def implementation_version(self) -> str:
        """The version of the package; that of IPython where only the worker is installed."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version(self.implementation)
        except PackageNotFoundError:
            return version("ipython")

    @property
    def language_info(self) -> Content:
        """Protocol: Kernel info."""
        return {
            "name": "python",
            "version": sys.version.partition(" ")[0],
            "mimetype": "text/x-python",
            "file_extension": ".py",
            "codemirror_mode": {"name": "ipython", "version": sys.version_info[0]},
            "pygments_lexer": "ipython3",
            "nbconvert_exporter": "python",
        }

    @property
    def banner(self) -> str:
        """What consoles show first."""
        return self.shell.banner  # type: ignore[no-any-return]

    @property
    def kernel_info(self) -> Content:
        """Protocol: Kernel info; the supervisor's own answer says more."""
        return {
            "protocol_version": "5.5",
            "implementation": self.implementation,
            "implementation_version": self.implementation_version,
            "language_info": self.language_info,
            "banner": self.banner,
            "help_links": [],
        }


def _nothing() -> None:
    """What runs before and after a request where nobody wants anything to."""
