"""The interactive shell: IPython's own, with the frontend where a terminal would be."""

from __future__ import annotations

import inspect
import os
import sys
from contextlib import nullcontext
from typing import Any, ClassVar

from IPython.core import page
from IPython.core.autocall import ZMQExitAutocall
from IPython.core.error import UsageError
from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult
from traitlets import Any as AnyTrait
from traitlets import Type, default

from ipymini_worker import context, large, toolkits
from ipymini_worker.awaits import needs_loop
from ipymini_worker.context import Failure
from ipymini_worker.display import WorkerDisplayHook, WorkerDisplayPublisher
from ipymini_worker.failing import PROMPT, Failing
from ipymini_worker.formatting import DisplayFormatter
from ipymini_worker.history import HistoryManager
from ipymini_worker.identity.counterpart import Counterpart
from ipymini_worker.identity.parents import MessageParent
from ipymini_worker.interrupts import not_swallowed
from ipymini_worker.magics import KernelMagics
from ipymini_worker.repeatable import Repeatable
from ipymini_worker.tokens import Transformers


class WorkerShell(Counterpart, MessageParent, Failing):
    """An `InteractiveShell` that publishes what it has to say."""

    display_pub_class = Type(WorkerDisplayPublisher)
    displayhook_class = Type(WorkerDisplayHook)
    snapshots = AnyTrait()  # a Snapshots
    stdin = AnyTrait()  # a Stdin
    kernel = AnyTrait()
    #: What the supervisor has to know of a cell before it runs, from prompt number and code; an encoded frame, or none.
    announce = AnyTrait(lambda number, code: b"")
    #: What user code sees in its environment: a frontend shows colours, and has no pager and no keyboard.
    environment: ClassVar[dict[str, str]] = {
        "TERM": "xterm-color",
        "CLICOLOR": "1",
        "FORCE_COLOR": "1",
        "CLICOLOR_FORCE": "1",
        "PAGER": "cat",
        "GIT_PAGER": "cat",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.keepkernel_on_exit: bool | None = None
        super().__init__(*args, **kwargs)
        accepted = inspect.signature(self.run_cell).parameters
        self.cell_options = frozenset(accepted) & {"cell_id", "cell_meta"}
        self.repeatable = Repeatable(self)

    @default("exiter")
    def _exiter_default(self) -> ZMQExitAutocall:
        return ZMQExitAutocall(self)

    @default("input_transformer_manager")
    def _input_transformer_manager_default(self) -> Transformers:
        return Transformers()

    # -- construction, in the order in which the base class calls it

    def init_environment(self) -> None:
        """Tells programs that user code starts what kind of terminal they have."""
        os.environ.update(self.environment)
        os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")

    def init_virtualenv(self) -> None:
        """The interpreter was chosen on purpose; the environment of whoever started the server says nothing."""

    def init_history(self) -> None:
        """The history is written behind the cells' backs."""
        self.history_manager = HistoryManager(shell=self, parent=self)
        self.configurables.append(self.history_manager)

    def init_hooks(self) -> None:
        """Pages go to the frontend."""
        super().init_hooks()
        self.set_hook("show_in_pager", page.as_hook(self._page), 99)

    def init_display_formatter(self) -> None:
        """What can only have text is not asked for more."""
        self.display_formatter = DisplayFormatter(parent=self)
        self.configurables.append(self.display_formatter)

    def init_display_pub(self) -> None:
        """Displays go to iopub."""
        self.display_pub = self.display_pub_class(parent=self, shell=self, publisher=self.publisher)
        self.configurables.append(self.display_pub)

    def init_displayhook(self) -> None:
        """Results go to iopub."""
        super().init_displayhook()
        self.displayhook.publisher = self.publisher

    def init_magics(self) -> None:
        """IPython's magics and those that need a frontend."""
        super().init_magics()
        self.register_magics(KernelMagics)

    # -- payloads (protocol: Payloads, deprecated there and used by every frontend)

    def _page(self, text: Any, start: int = 0, screen_lines: int = 0, pager_cmd: Any = None) -> None:
        data = text if isinstance(text, dict) else {"text/plain": text}
        self.payload_manager.write_payload({"source": "page", "data": data, "start": max(0, start)})

    def set_next_input(self, text: str, replace: bool = False) -> None:
        """Asks the frontend to put `text` into the next cell, or into this one with `replace`."""
        self.payload_manager.write_payload({"source": "set_next_input", "text": text, "replace": replace})

    def ask_exit(self) -> None:
        """`exit` and `quit`: asks the frontend to leave, and ends the kernel unless it is to be kept."""
        context.current().run.exit_asked = not self.keepkernel_on_exit
        self.payload_manager.write_payload({"source": "ask_exit", "keepkernel": bool(self.keepkernel_on_exit)})

    # -- running cells

    def execute(
        self, code: str, *, silent: bool, store_history: bool, cell_id: str | None, cell_meta: dict[str, Any]
    ) -> tuple[ExecutionResult, Failure | None]:
        """Runs a cell; returns IPython's result and what went wrong, if something did.

        :raises KeyboardInterrupt: an interrupt hit the work around user code.
        """
        options: dict[str, Any] = {"cell_id": cell_id, "cell_meta": cell_meta}
        try:
            result = self.run_cell(
                code, store_history=store_history, silent=silent, **{k: options[k] for k in self.cell_options}
            )
        finally:
            if PROMPT in sys.modules:
                sys.modules[PROMPT].end()
        return result, self._failure(result)

    async def execute_inside(
        self, code: str, *, silent: bool, store_history: bool, cell_id: str | None, cell_meta: dict[str, Any]
    ) -> tuple[ExecutionResult, Failure | None]:
        """As `execute`, in a loop that runs already, because the cell that it runs for awaits."""
        options: dict[str, Any] = {"cell_id": cell_id, "cell_meta": cell_meta}
        options = {k: options[k] for k in self.cell_options}
        preprocessing, transformed = None, code
        try:
            transformed = self.transform_cell(code)
        except Exception:  # from a transformer, the user's or IPython's
            preprocessing = sys.exc_info()
        result = None
        try:
            result = await self.run_cell_async(
                code,
                store_history=store_history,
                silent=silent,
                transformed_cell=transformed,
                preprocessing_exc_tuple=preprocessing,
                **options,
            )
        except BaseException as error:  # what IPython's `run_cell` shows, too
            result = ExecutionResult(ExecutionInfo(code, store_history, silent, True, *options.values()))
            result.error_in_exec = error
            self.showtraceback(running_compiled_code=True)
        finally:
            self.events.trigger("post_execute")
            if not silent:
                self.events.trigger("post_run_cell", result)
        return result, self._failure(result)

    def transform_cell(self, raw_cell: str) -> str:
        """As the base class, but for large cells that have nothing to be transformed."""

        def name(cell: str) -> str:
            return self.compile.get_code_name(raw_cell, cell, self.execution_count)  # type: ignore[no-any-return]

        parsed = large.plain(raw_cell, self.input_transformer_manager, self.input_transformers_post, name)
        if parsed is not None:
            context.current().run.parsed = parsed
            return parsed.cell
        return super().transform_cell(raw_cell)  # type: ignore[no-any-return]

    def transformed(self, code: str) -> str:
        """As `transform_cell`; what cannot be transformed is kept as it is, as IPython does."""
        try:
            return self.transform_cell(code)
        except Exception:
            return code

    def transform_ast(self, node: Any) -> Any:
        """As the base class. What the cell is, is known now, and nothing of the user's has run."""
        node = super().transform_ast(node)
        run = context.current().run
        if run.repeats is not None:
            run.record, run.repeats = self.repeatable.judge(run.repeats, node), None
        return node

    def should_run_async(self, raw_cell: str, **kwargs: Any) -> bool:
        """Whether the cell needs a running loop: it awaits, or its own code asks asyncio for tasks or the loop."""
        parsed = context.current().run.parsed
        if parsed is not None and parsed.still and parsed.cell is kwargs.get("transformed_cell"):
            return False
        checked = len(raw_cell) <= large.LARGE or large.may_await(raw_cell)
        if checked and super().should_run_async(raw_cell, **kwargs):
            return True
        cell = kwargs.get("transformed_cell")
        return bool(self.autoawait and cell is not None and needs_loop(cell))

    def run_line_magic(self, magic_name: str, line: str, _stack_depth: int = 1) -> Any:
        """As the base class, but a file that fails in %run fails the cell, and an interrupt of it ends the cell."""
        self._check_questions(magic_name)
        if magic_name != "run":
            return self._awaited(super().run_line_magic(magic_name, line, _stack_depth + 1))
        run = context.current().run
        before = run.failure
        with not_swallowed():
            result = super().run_line_magic(magic_name, line, _stack_depth + 1)
        run.failed = run.failed or run.failure is not before
        return result

    def getoutput(self, cmd: str, split: bool = True, depth: int = 0) -> Any:
        """As the base class (`x = !cmd`, `%sx`); an interrupt ends the cell, not only the command."""
        with not_swallowed():
            return super().getoutput(cmd, split=split, depth=depth + 1)

    def run_cell_magic(self, magic_name: str, line: str, cell: str) -> Any:
        """As the base class, but code that fails in a magic that runs code (`%%capture`) fails the cell, and `%%bash`
        and its kin do not take an interrupt for their own end only.
        """
        self._check_questions(magic_name)
        function = self.find_cell_magic(magic_name)
        script = getattr(function, "__module__", "") == "IPython.core.magics.script"
        run = context.current().run
        before = run.failure
        with not_swallowed() if script else nullcontext():
            result = super().run_cell_magic(magic_name, line, cell)
        run.failed = run.failed or run.failure is not before
        return self._awaited(result)

    def _check_questions(self, magic_name: str) -> None:
        """`%debug` catches what its prompt raises; so that nobody can be asked is told before.

        :raises UsageError: the magic is the debugger, and the frontend does not take questions.
        """
        if magic_name == "debug" and not context.current().run.allow_stdin:
            raise UsageError(
                "The debugger cannot ask for commands, because this frontend does not support input requests."
            )

    def _awaited(self, result: Any) -> Any:
        """What an asynchronous magic has for a result; where a loop runs, the cell has to await it by itself."""
        if not inspect.iscoroutine(result) or _loop_runs():
            return result
        return self.loop.run(result)

    def system_piped(self, cmd: str) -> None:
        """`!cmd`: runs a shell command with its output in the cell; the exit status is left in `_exit_code`."""
        if cmd.rstrip().endswith("&"):
            raise OSError("Background processes are not supported by !; use subprocess.Popen or %%bash --bg.")
        from ipymini_worker import command  # what it is made of takes a fortieth of the start

        self.user_ns["_exit_code"] = command.run(self.var_expand(cmd, depth=1), sys.stdout.write)

    system = system_piped

    def enable_gui(self, gui: str | None = None) -> None:
        """`%gui`: the events of a toolkit are served while no cell runs; without a name, of none.

        :raises UsageError: the toolkit is unknown or cannot be used; the one before goes on.
        """
        toolkit = toolkits.find(gui)
        self.loop.toolkit = toolkit
        self.active_eventloop = toolkit.name if toolkit is not None else None

    def enable_matplotlib(self, gui: str | None = None) -> Any:
        """As the base class; where a backend cannot be used, a plain sentence says so, and all stays as it was.

        :raises UsageError: it is unknown, or its toolkit is missing or finds no display.
        """
        selected: str | None = self.pylab_gui_select  # type: ignore[has-type]  # IPython is not typed
        toolkit, backend = self.loop.toolkit, toolkits.backend()
        try:
            return super().enable_matplotlib(gui)
        except Exception as error:  # from matplotlib, a backend of somebody else's, or a toolkit
            self.pylab_gui_select = selected
            if toolkits.is_inline(backend):
                super().enable_matplotlib("inline")
            else:
                toolkits.restore_backend(backend)
            self.loop.toolkit = toolkit
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"The backend {gui!r} cannot be used: {toolkits.sentence(error)}") from None

    # -- interrupts: let in where user code runs, kept out where IPython works for it

    def init_events(self) -> None:
        """Callbacks of events, which draw plots and the like, can be interrupted as cells can."""
        super().init_events()
        trigger = self.events.trigger

        def interruptible(event: str, *args: Any, **kwargs: Any) -> None:
            modules = [getattr(callback, "__module__", None) or "" for callback in self.events.callbacks[event]]
            # IPython shows what is raised in a callback, and goes on.
            if all(module.startswith("IPython.") for module in modules):
                with self.gate.closed(deliver=True):  # they take no time, and what follows is what is meant
                    trigger(event, *args, **kwargs)
                return
            # What comes before a cell, or in the midst of one, must not hide that the cell is not wanted any longer.
            within = event.startswith("pre_") or self.gate.is_open
            with self.gate.opened(noted=False), not_swallowed() if within else nullcontext():
                trigger(event, *args, **kwargs)

        self.events.trigger = interruptible

    async def run_code(self, code_obj: Any, result: Any = None, *, async_: bool = False) -> bool:
        """As the base class, with the gate for interrupts open."""
        __tracebackhide__ = True
        with self.gate.opened(self.loop.on_sigint if async_ else None):
            return await super().run_code(code_obj, result, async_=async_)  # type: ignore[no-any-return]

    def find_line_magic(self, magic_name: str) -> Any:
        """As the base class, which imports most magics when they are first used."""
        with self.gate.closed(deliver=True):
            return super().find_line_magic(magic_name)

    def find_cell_magic(self, magic_name: str) -> Any:
        """As the base class, see `find_line_magic`."""
        with self.gate.closed(deliver=True):
            return super().find_cell_magic(magic_name)

    # -- the debugger

    @property
    def debugger_cls(self) -> Any:
        """The class behind `%debug`, `%%debug` and `%pdb`."""
        from ipymini_worker.debugprompt import WorkerPdb

        return WorkerPdb

    def debugger(self, force: bool = False) -> None:
        """As the base class; an interrupt reaches the prompt, also in the middle of the making of a traceback."""
        with self.gate.opened(noted=False):
            super().debugger(force)


def _loop_runs() -> bool:
    """Whether the caller is inside of a running asyncio loop."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None
