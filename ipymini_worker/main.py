"""Composition root of the worker: makes the parts, then answers one request after the other.

The life of a request here: `loop.idle` returns when the link has a frame; `answering` says STARTED and lets
`requests` do the work, which opens the gate for interrupts while user code runs; then it sends the REPLY. Requests of
subshells, and questions while a cell runs, come by the control socket and are answered in threads (`subshells`).
"""

from __future__ import annotations

import atexit
import faulthandler
import gc
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from ipymini_worker import context, greeting, imports, jsonable, where
from ipymini_worker.control import Control, leave
from ipymini_worker.identity import disguise
from ipymini_worker.interrupts import Gate
from ipymini_worker.link import Link, LinkClosed, private_fd
from ipymini_worker.loop import Loop
from ipymini_worker.publish import Publisher
from ipymini_worker.snapshot import Files, Mode, Snapshots
from ipymini_worker.stdin import Stdin
from ipymini_worker.streams import OutStream
from ipymini_worker.warm import TRACEBACK, Warmth, completer
from ipymini_worker.wire import CALM, DUMP_SIGNAL, ON, OVER, STACK, Frame, Kind, WireError

if TYPE_CHECKING:
    from ipymini_worker.debugger import Debugger
    from ipymini_worker.subshells import Subshells


class Worker:
    """Everything that the process consists of.

    :param work, control, fault: inherited descriptors, two ends of the link and the pipe for fatal errors.
    :param connection_file: path of the connection file, for user code that asks; it is not read here.
    """

    def __init__(self, work: int, control: int, fault: int, connection_file: str) -> None:
        self._gate = Gate()
        self._report_to(fault)
        self._link = Link(work, "work")
        self._gate.on_nudge = self._on_nudge
        self._stdin = Stdin(self._link)
        self._control_link = Link(control, "control")
        self._control = Control(self._control_link, self._on_control)
        self._loop = Loop()
        self._gate.owing = lambda: self._loop.owing
        self._subshells: Subshells | None = None
        self._debugger: Debugger | None = None
        self._debugging = threading.Lock()  # a copy must not be made in the midst of the debugger's start
        self._snapshots = Snapshots(
            self._link,
            self._loop,
            Mode.read(os.environ),
            become=self._become,
            abandon=self._abandon,
            still=self._still,
        )
        self._warmth = Warmth(os.environ, *TRACEBACK, lambda: completer(self._shell))
        self._lost: list[str] = []  # what was lost on the way from a snapshot, in sentences
        self._goes_on = False  # this is the pristine copy, and the session is to go on
        self._based = False  # the pristine copy is that of the session, too
        self._records: list[bytes] = []  # of the cells that have to be repeated after it
        self._publisher = Publisher(self._link)
        self._connection_file = connection_file
        self._streams = (OutStream(self._link, 1), OutStream(self._link, 2))
        self._victim = (0, "")  # the cell that took the worker before this one with it
        self._owed: context.Request | None = None  # the request that has to be answered yet

    def start(self, arguments: Sequence[str]) -> None:
        """Makes the shell and says HELLO.

        :param arguments: IPython options from the command line.
        """
        self._control.start()
        self._gate.mind_lost()
        context.follow_threads()
        imports.install({"getpass": self._stdin.imported})
        sys.stdout, sys.stderr = self._streams
        sys.__stdout__, sys.__stderr__ = self._streams  # type: ignore[misc,assignment]
        os.register_at_fork(after_in_child=self._forked)
        # From here on the import of anything may be slow or fail, and the user must be able to see why.
        with imports.put_off("logging.config.dictConfig", "uuid.uuid4"):  # of which traitlets and comm need no more
            from ipymini_worker import comms
            from ipymini_worker.app import IPKernelApp
            from ipymini_worker.helpers import AliasFinder
            from ipymini_worker.identity import cells
            from ipymini_worker.identity.assembly import assemble
            from ipymini_worker.identity.kernel import Kernel
            from ipymini_worker.running import Home

        AliasFinder.install()
        manager = comms.install(self._publisher)
        kernel = Kernel(manager, self._publisher)
        names = disguise.put_on(kernel, self._link) if disguise.wanted(os.environ) else {}
        self._folder = cells.folder()
        app = IPKernelApp.instance(connection_file=self._connection_file, kernel=kernel)
        app.configure(arguments)
        self._shell = app.make_shell(
            publisher=self._publisher,
            home=Home(self._gate, self._loop),
            kernel=kernel,
            snapshots=self._snapshots,
            **names,
            stdin=self._stdin,
        )
        # Python 3.12 and later warn of a fork beside threads; these are ours, and no concern of user code.
        warnings.filterwarnings("ignore", r"This process .* is multi-threaded, use of fork", DeprecationWarning)
        self._stdin.install()
        self._answering, self._joining, self._subshells = assemble(
            kernel, app, self._link, self._control_link, self._publisher, self._stdin, self._streams, self._snapshots
        )
        plain, copied = app.plain, False
        if plain:
            app.run_startup()
        while self._snapshots.pristine():
            copied = True
            if not self._goes_on:
                self._shell.history_manager.reopen(new_session=True)
        gc.freeze()
        gc.enable()  # it rested from before the first import on, see `ipymini_supervisor.spawning`
        if self._goes_on:
            self._go_on()
        elif not plain or (copied and not app.plain):  # another session may find what the first one did not
            plain = False
            with self._gate.opened():
                app.run_startup()
        self._based = plain and not self._goes_on and self._snapshots.base(self._shell.execution_count)
        self._link.send(Kind.HELLO, 0, (jsonable.encode(greeting.hello(self._lost, self._folder)),))

    def run(self) -> None:
        """Answers requests until the supervisor says STOP.

        :raises LinkClosed: the supervisor is gone.
        """
        if not self._based:
            self._snapshot(after=True)
        deaf = 0  # how often waiting for a request has failed, and nothing else
        while True:
            try:
                self._loop.adopt()
                self._snapshots.look()
                self._warmth.idle(self._link, self._loop)
                with self._gate.opened(self._loop.on_sigint) if self._loop.shared else nullcontext():
                    self._loop.idle(self._link)
                frame = self._link.receive()
                deaf = 0
                if frame.kind is Kind.STOP:
                    return
                self._handle(context.Request(frame))
            except (LinkClosed, WireError):
                raise
            except BaseException as error:  # a task that ends with SystemExit, an interrupt that came late
                self._snapshots.expire()
                self._gate.shut()
                deaf += isinstance(error, Exception)
                if deaf > _DEAF:
                    print(f"The worker cannot wait for requests any longer: {error}", file=sys.stderr)
                    os._exit(1)
                self._told(error)

    def _told(self, error: BaseException) -> None:
        """What came past everything else ends neither us nor the wait of whoever has asked for something."""
        if self._owed is not None and not self._owed.run.over:
            context.activate(self._owed)
            self._answering.fail(self._owed, error)
            return
        if isinstance(error, KeyboardInterrupt) and self._loop.shared:
            with suppress(Exception):  # a cell has closed it
                self._loop.cancel()  # it came when the loop did not run, and is meant for the cells that are left in it
            return
        try:
            self._shell.showtraceback_as_text()
        except Exception:  # without descriptors or memory nothing can be shown
            traceback.print_exc()

    def _handle(self, request: context.Request) -> None:
        """Answers a request, and sees to it that there are snapshots of the session before and after."""
        self._owed, self._loop.owing = request, False
        kind = request.header.get("msg_type")
        if kind == "execute_request" and self._snapshot(after=False):
            return  # this is the copy, and the request is over for it
        context.activate(request)
        self._joining.begin(request)
        self._answering.answer(request, self._joining.end)
        if kind == "execute_request":
            self._warmth.cell()
            self._snapshot(after=True, record=request.run.record)
        elif kind in CHANGING:
            self._snapshots.expire()

    def _snapshot(self, *, after: bool, record: bytes = b"") -> bool:
        """Takes a snapshot after a cell or before one, if there is a reason to; True in a copy that has become the
        worker since.

        :param record: what repeats the cell; nothing if it cannot be repeated.
        """
        take, resumed = self._snapshots, False
        if self._loop.shared:  # what runs in it would go on in the copy, too
            take.expire()
            return False
        cell = self._shell.execution_count
        if after and take.repeats(cell, record):
            return False
        while take.after_cell(cell) if after else take.before_cell(cell):
            resumed = after = True
            self._go_on()
            cell = self._shell.execution_count
            self._link.send(Kind.HELLO, 0, (jsonable.encode(greeting.hello(self._lost, self._folder)),))
        return resumed

    def _go_on(self) -> None:
        """In a copy that goes on with the session: does again what the cells after it have done."""
        records, self._records = self._records, []
        try:
            for record in records:
                self._shell.repeatable.repeat(record)
        except Exception as error:  # they have been judged, and did it once
            self._lost.append(f"What its last cells had defined is lost ({type(error).__name__}: {error}).")
        self._shell.history_manager.reopen(new_session=False)
        if self._victim[0]:
            self._shell.history_manager.recall(*self._victim)

    @contextmanager
    def _still(self) -> Iterator[bool]:
        """For the time of a fork nothing of ours goes on in other threads; gives False if it does."""
        answers = self._subshells.still() if self._subshells is not None else nullcontext(True)
        with self._debugging, answers as still, self._shell.history_manager.still() as written:
            yield still and written and (self._debugger is None or self._debugger.idle)

    def _become(self, files: Files, lost: list[str]) -> None:
        """In a copy: takes the worker's place."""
        self._owed = None  # the supervisor has answered it
        for fd, number in ((files.stdout, 1), (files.stderr, 2)):
            os.dup2(fd, number)
            os.close(fd)
        self._report_to(files.fault)
        self._shell.renew_locks()
        self._link.renew(files.work)
        self._control_link.renew(files.control)
        frame = self._link.receive()
        if frame.flags & CALM and self._loop.leave():
            lost = [sentence for sentence in lost if "asyncio" not in sentence]
            lost.append("Its asyncio tasks were given up, because the worker had died by itself twice.")
        self._goes_on = bool(frame.flags & ON)
        self._lost, self._victim, self._records = (
            lost,
            greeting.victim(frame),
            [bytes(part) for part in frame.parts[2:]],
        )
        self._control.start()

    def _abandon(self) -> None:
        """In a copy: the link is the original's, and its threads are not here."""
        self._debugging = threading.Lock()
        self._gate.forked()
        if self._debugger is not None:
            self._debugger.renew()
        if self._subshells is not None:
            self._subshells.forget()
        self._link.close()
        self._control_link.close()
        os.close(self._fault)

    def _report_to(self, fault: int) -> None:
        """Fatal errors are reported to the descriptor `fault`, and so is where the worker is, on `DUMP_SIGNAL`."""
        self._fault = private_fd(fault)
        # Only the thread that dies: to look at the others while they run may crash a second time.
        faulthandler.enable(self._fault, all_threads=False)
        # Nor for a dump: it comes to this thread, the main one.
        faulthandler.register(DUMP_SIGNAL, self._fault, all_threads=False)

    def _on_control(self, frame: Frame) -> None:
        if frame.kind is Kind.INPUT_REPLY:
            self._stdin.deliver(frame.request, bytes(frame.parts[0]))
        elif frame.kind is Kind.PING:
            self._pong(frame)
        elif frame.kind is Kind.REFUSED:
            self._snapshots.refused.set()
        elif frame.kind is Kind.INTERRUPT:
            if frame.request == context.active().id:
                self._gate.tell()
            elif self._subshells is not None:
                self._subshells.interrupt(frame.request, stack=bool(frame.flags & STACK))
        elif frame.kind is Kind.MEMORY:
            self._tell_largest(frame)
        elif frame.kind is Kind.DEBUG:
            self._debug(frame)
        elif self._subshells is not None:
            self._to_a_thread(self._subshells, frame)

    def _pong(self, frame: Frame) -> None:
        parts: tuple[bytes, ...] = ()
        if frame.flags & STACK:
            try:
                parts = (where.stack(threading.main_thread().ident).encode("utf-8", "backslashreplace"),)
            except Exception:  # an audit hook of the user's that refuses it, or no memory: faulthandler needs neither
                parts = ()
        self._control_link.send(Kind.PONG, frame.request, parts)

    def _on_nudge(self) -> None:
        """A cell goes on after an interrupt that may have come in the midst of a `print`."""
        with suppress(LinkClosed):
            self._link.flush_text(wait=False)

    def _tell_largest(self, frame: Frame) -> None:
        request: context.Request | None = context.active()
        if request is not None and request.id != frame.request:
            request = self._subshells.executed(frame.request) if self._subshells is not None else None
        if request is not None:
            request.run.why = bytes(frame.parts[0]).decode()
        if not frame.parts[0]:
            return
        try:
            from ipymini_worker import largest

            found = largest.table(self._shell.user_ns)
        except BaseException as error:  # what is looked at changes, and may be of the user's making
            found = f"Its variables cannot be shown ({type(error).__name__})."
        self._control_link.send(Kind.LARGEST, frame.request, (found.encode("utf-8", "backslashreplace"),))

    def _debug(self, frame: Frame) -> None:
        with self._debugging:
            if self._debugger is None:
                from ipymini_worker.debugger import Debugger

                named = disguise.wanted(os.environ)
                self._debugger = Debugger(self._control_link, self._shell, self._folder, named=named)
                self._shell.kernel.debugger = self._debugger
            self._debugger.hand(frame)

    def _to_a_thread(self, subshells: Subshells, frame: Frame) -> None:
        name, *parts = frame.parts
        if frame.kind is Kind.ASIDE:
            request = context.Request(frame._replace(parts=parts))
            subshells.hand(bytes(name).decode(), request)
        elif frame.kind is Kind.SUBSHELL and frame.flags & OVER:
            subshells.end(bytes(name).decode())
        elif frame.kind is Kind.SUBSHELL:
            with suppress(OSError, RuntimeError):  # its first request will try again, and say why
                subshells.begin(bytes(name).decode())

    def _forked(self) -> None:
        """In a process that user code forked: what it prints goes to the descriptors, and the link is not its own."""
        if self._snapshots.forking:
            return
        self._gate.forked()
        if hasattr(self, "_shell"):
            self._shell.renew_traps()
        if self._debugger is not None:
            self._debugger.leave()
        for stream in self._streams:
            stream.detach_link()
        self._link.close()
        self._control_link.close()

    def stop(self) -> None:
        """Says GOODBYE after everything that user code registered for the end has run."""
        try:
            self._link.send(Kind.GOODBYE)
        except LinkClosed:
            pass


#: Message types that may change the session although they run no cell.
CHANGING = frozenset({"comm_open", "comm_msg", "comm_close"})
#: How often waiting for a request may fail in a row before the worker gives up; it would do nothing else for ever.
_DEAF = 10


def main(argv: Sequence[str]) -> None:
    """Runs the worker.

    :param argv: work, control and fault descriptor, path of the connection file, IPython options.
    """
    work, control, fault = (int(a) for a in argv[:3])
    connection_file, arguments = argv[3], argv[4:]
    sys.argv = [__file__, "-f", connection_file]
    worker = Worker(work, control, fault, connection_file)
    atexit.register(worker.stop)  # registered first, it runs last
    try:
        worker.start(arguments)
        worker.run()
    except (LinkClosed, WireError) as error:
        leave(error)
