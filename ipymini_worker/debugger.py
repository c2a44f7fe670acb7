"""Debugging as Jupyter's frontends know it: DAP, and some requests of Jupyter's own, answered beside what runs.

All of it happens in one thread, which is started with the first request: what comes from the supervisor and what
comes from pydevd are put into one queue. Nothing of debugpy is imported before debugging is asked for.
"""

from __future__ import annotations

import json
import linecache
import os
import queue
import sys
import sysconfig
import threading
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from IPython.core.inputtransformer2 import leading_empty_lines

from ipymini_worker import jsonable
from ipymini_worker.control import leave
from ipymini_worker.identity import cells
from ipymini_worker.link import Link, LinkClosed
from ipymini_worker.pydevd_engine import DebuggerError, Engine, Message
from ipymini_worker.shell import WorkerShell
from ipymini_worker.variables import FIRST, Variables, is_shown
from ipymini_worker.wire import Frame, Kind

#: What runs around cells, and is neither stepped into nor shown.
_AROUND = ("ipymini_worker", "IPython", "traitlets", "comm", "debugpy", "asyncio", "concurrent", "threading")

Reply = Callable[[Message], None]


class Debugger:
    """Answers debug requests.

    :param link: the control socket's.
    :param folder: where the files of cells are.
    :param named: whether cells are named by these files, and not as IPython names them.
    """

    def __init__(self, link: Link, shell: WorkerShell, folder: str, *, named: bool) -> None:
        self._link = link
        self._shell = shell
        self._folder = folder
        self._named = named
        self._watching = False
        self._lock = threading.Lock()  # for the thread's beginning and end
        self._todo: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._engine: Engine | None = None
        self._changes = 0  # of breakpoints, in all sessions
        self._variables = Variables()
        self._waiting: dict[int, Reply] = {}
        self._last = 0
        self._bundle: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        self._own: dict[str, Callable[[Message, Reply], None]] = {
            "initialize": self._initialize,
            "attach": self._attach,
            "configurationDone": lambda message, reply: reply({}),
            "dumpCell": self._dump_cell,
            "stackTrace": self._stack_trace,
            "source": self._source,
            "variables": self._list_variables,
            "evaluate": self._evaluate,
            "inspectVariables": self._inspect,
            "richInspectVariables": self._inspect_richly,
            "copyToGlobals": self._copy_to_globals,
            "modules": self._modules,
            "disconnect": self._disconnect,
            "interrupt": self._interrupt,
        }

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do, and no thread for it."""
        return self._thread is None

    @property
    def attached(self) -> bool:
        """Whether user code is traced, so that the process must not be copied."""
        return self._engine is not None and self._engine.alive

    def hand(self, frame: Frame) -> None:
        """Takes a DEBUG frame; called in the control thread."""
        with self._lock:
            self._todo.put(partial(self._request, frame.request, bytes(frame.parts[0])))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ipymini-debugger", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        try:
            while True:
                self._todo.get()()
                with self._lock:  # without a debugger there is nothing to wait for, and a copy has no use for a thread
                    if self._engine is None and self._todo.empty():
                        self._thread = None
                        return
        except LinkClosed as error:
            leave(error)

    def _request(self, number: int, content: bytes) -> None:
        message: Message = json.loads(content)
        command = str(message.get("command"))
        answered = False

        def reply(response: Message) -> None:
            nonlocal answered
            if not answered:
                answered = True
                whole = {"type": "response", "request_seq": message.get("seq", 0), "command": command}
                whole |= {"success": True, "body": {}} | response | whole
                self._link.send(Kind.DEBUGGED, number, (jsonable.encode({"seq": self._next(), **whole}),))

        if not isinstance(message.get("arguments"), dict):
            message["arguments"] = {}
        try:
            self._own.get(command, self._forward)(message, reply)
        except LinkClosed:
            raise
        except DebuggerError as error:
            reply(failed(str(error)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reply(failed(f"The request {command!r:.80} makes no sense ({type(error).__name__}: {error})."))
        except Exception as error:  # of pydevd's, or of user code that it has run
            reply(failed(f"The request {command!r:.80} failed ({type(error).__name__}: {error})."))

    def _next(self) -> int:
        self._last += 1
        return self._last

    # -- pydevd

    def _forward(self, message: Message, reply: Reply) -> None:
        if self._engine is None:
            raise DebuggerError("The debugger has not been started.")
        number = self._next()
        self._waiting[number] = reply
        self._engine.write({**message, "type": "request", "seq": number})

    def _ask(self, command: str, arguments: Message, reply: Reply) -> None:
        self._forward({"command": command, "arguments": arguments}, reply)

    def _said(self, message: Message) -> None:
        """pydevd has said something."""
        if message.get("type") == "response":
            reply = self._waiting.pop(message.get("request_seq", 0), None)
            if reply is not None:
                kept = {key: message[key] for key in ("success", "message", "body") if message.get(key) is not None}
                reply(kept)
        elif message.get("type") == "event" and self.attached and not str(message.get("event")).startswith("pydevd"):
            body = message.get("body") or {}
            for claim in ("allThreadsStopped", "allThreadsContinued"):  # the others run on
                if claim in body:
                    body[claim] = False
            self._link.send(Kind.DEBUGGED, 0, (jsonable.encode({**message, "seq": self._next()}),))

    def _initialize(self, message: Message, reply: Reply) -> None:
        if self._engine is None:
            engine = Engine(lambda said: self._todo.put(partial(self._said, said)), self._changes)
            self._engine = engine
            if not self._watching:
                self._watching = True
                self._shell.events.register("pre_execute", self._before_cell)
            if not self._named:
                self._shell.compile.get_code_name = lambda raw, transformed, number: self._path(raw)
            cleanup = self._shell.input_transformer_manager.cleanup_transforms
            if leading_empty_lines in cleanup:  # or breakpoints would be that many lines off
                cleanup.remove(leading_empty_lines)
        self._forward(message, reply)

    def _before_cell(self) -> None:
        """Called in the thread that is going to run a cell."""
        engine = self._engine
        if engine is not None:
            engine.trace()
        elif "pydev" in type(sys.gettrace()).__module__:
            sys.settrace(None)

    def _attach(self, message: Message, reply: Reply) -> None:
        rules = [{"path": path, "include": False} for path in _stepped_over()]
        own = {"justMyCode": False, "rules": rules, "redirectOutput": False, "showReturnValue": False}
        one = {"stopAllThreadsOnSuspend": False, "steppingResumesAllThreads": False}
        arguments = own | message["arguments"] | {"rules": rules} | one

        def attached(response: Message) -> None:
            if response.get("success"):
                self._ask("configurationDone", {}, lambda done: reply(response))
            else:
                reply(response)

        self._ask("attach", arguments, attached)

    def _disconnect(self, message: Message, reply: Reply) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            self._changes = engine.stop()
            self._waiting.clear()
            cleanup = self._shell.input_transformer_manager.cleanup_transforms
            if leading_empty_lines not in cleanup:
                cleanup.insert(0, leading_empty_lines)
        reply({})

    def renew(self) -> None:
        """In a copy, which is made only while there is nothing to do: who held the lock may not be here."""
        self._lock = threading.Lock()

    def leave(self) -> None:
        """In a process that user code has forked: nobody would let it go on at a breakpoint."""
        if self._engine is not None:
            self._engine.leave()

    # -- interrupts

    def _interrupt(self, message: Message, reply: Reply) -> None:
        name = message["arguments"].get("subshell")
        thread = _thread(f"subshell-{name}") if name else threading.main_thread()
        done = self._engine is not None and thread is not None and self._engine.interrupt(thread)
        reply({"body": {"interrupted": done}})

    # -- sources

    def _path(self, code: str) -> str:
        return cells.path(self._folder, code)

    def _dump_cell(self, message: Message, reply: Reply) -> None:
        code = message["arguments"]["code"]
        path = self._path(code)
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        if os.stat(self._folder).st_uid != os.getuid():
            raise DebuggerError(f"The folder {self._folder} belongs to somebody else.")
        with open(path, "w", encoding="utf-8", errors="surrogatepass") as file:
            file.write(code)
        reply({"body": {"sourcePath": path}})

    def _source(self, message: Message, reply: Reply) -> None:
        path = message["arguments"]["source"]["path"]
        text = "".join(linecache.getlines(path))
        reply({"body": {"content": text}} if text else failed(f"There is no source of {path!r:.200}."))

    def _modules(self, message: Message, reply: Reply) -> None:
        found: list[Message] = []
        for name, module in list(sys.modules.items()):
            spec = getattr(module, "__spec__", None) if isinstance(module, ModuleType) else None
            path = getattr(spec, "origin", None)
            if isinstance(path, str) and path.endswith(".py") and not _is_around(path):
                found.append({"id": len(found), "name": name, "path": path})
        start = int(message["arguments"].get("startModule") or 0)
        count = int(message["arguments"].get("moduleCount") or 0) or len(found)
        reply({"body": {"modules": found[start : start + count], "totalModules": len(found)}})

    # -- what is stopped

    def _stack_trace(self, message: Message, reply: Reply) -> None:
        arguments = dict(message["arguments"])
        start, levels = int(arguments.pop("startFrame", 0) or 0), int(arguments.pop("levels", 0) or 0)

        def cut(response: Message) -> None:
            frames = response.get("body", {}).get("stackFrames", [])
            paths = [str((frame.get("source") or {}).get("path") or "") for frame in frames]
            of_cells = [at for at, path in enumerate(paths) if path.startswith(self._folder + os.sep)]
            end = of_cells[-1] + 1 if of_cells else len(frames)  # below are those that run cells
            kept = [f for f, path in zip(frames[:end], paths, strict=False) if not _is_around(path)]
            shown = kept[start : start + levels if levels else None]
            reply(response | {"body": {"stackFrames": shown, "totalFrames": len(kept)}})

        self._ask("stackTrace", arguments, cut)

    def _list_variables(self, message: Message, reply: Reply) -> None:
        reference = message["arguments"]["variablesReference"]
        if reference >= FIRST:
            found = self._variables.inside(reference)
            reply(failed("What this was about is gone.") if found is None else {"body": {"variables": found}})
            return

        def shown(response: Message) -> None:
            variables = response.get("body", {}).get("variables", [])
            reply(response | {"body": {"variables": [v for v in variables if is_shown(str(v["name"]))]}})

        self._forward(message, shown)

    def _inspect(self, message: Message, reply: Reply) -> None:
        reply({"body": {"variables": self._variables.session(self._shell.user_ns)}})

    def _evaluate(self, message: Message, reply: Reply) -> None:
        if message["arguments"].get("frameId") is not None:
            self._forward(message, reply)
            return
        expression, names = message["arguments"]["expression"], self._shell.user_ns
        try:
            code = compile(expression, "<debugger>", "eval")
        except SyntaxError:
            exec(compile(expression, "<debugger>", "exec"), names)
            reply({"body": {"result": "", "variablesReference": 0}})
        else:
            value = eval(code, names)
            reply({"body": {"result": repr(value), "type": type(value).__name__, "variablesReference": 0}})

    def show(self, value: Any) -> None:
        """Keeps how a value is displayed; evaluated in the frame that has it."""
        self._bundle = self._shell.display_formatter.format(value)

    def _inspect_richly(self, message: Message, reply: Reply) -> None:
        name, frame = str(message["arguments"]["variableName"]), message["arguments"].get("frameId")

        def shown(response: Message) -> None:
            if response.get("success", True):
                data, metadata = self._bundle
                about = {key: value for key, value in metadata.items() if key in data}
                reply({"body": {"data": data, "metadata": about}})
            else:
                reply(failed(f"The variable {name!r:.80} cannot be shown."))

        self._bundle = ({}, {})
        if not name.isidentifier():  # a heading among the variables
            shown({})
        elif frame is not None and self._engine is not None:
            expression = f"__import__('IPython').get_ipython().kernel.debugger.show({name})"
            self._ask("evaluate", {"expression": expression, "frameId": frame, "context": "clipboard"}, shown)
        elif name in self._shell.user_ns:
            self.show(self._shell.user_ns[name])
            shown({})
        else:
            shown({"success": False})

    def _copy_to_globals(self, message: Message, reply: Reply) -> None:
        arguments = message["arguments"]
        source, target = str(arguments["srcVariableName"]), str(arguments["dstVariableName"])
        if not (source.isidentifier() and target.isidentifier()):
            raise DebuggerError("The names of variables have to be identifiers.")
        # Not `globals()`: of a function from a module these are that module's.
        expression = f"__import__('IPython').get_ipython().user_ns[{target!r}]"
        asked = {"expression": expression, "value": source, "frameId": arguments["srcFrameId"]}
        self._ask("setExpression", asked, reply)


def failed(sentence: str) -> Message:
    """The part of a response that says that a request failed, and why."""
    return {"success": False, "message": sentence}


def _thread(name: str) -> threading.Thread | None:
    return next((thread for thread in threading.enumerate() if thread.name == name), None)


def _around() -> list[str]:
    """The folders and files of what runs around cells."""
    found = []
    for name in _AROUND:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file:
            found.append(os.path.dirname(file) if os.path.basename(file) == "__init__.py" else file)
    return found


def _stepped_over() -> list[str]:
    """As `_around`, and what that calls: the modules of the standard library that are there by now."""
    library = sysconfig.get_path("stdlib") + os.sep
    files = {str(getattr(module, "__file__", "")) for module in list(sys.modules.values())}
    return _around() + sorted(f for f in files if f.startswith(library) and f"{os.sep}site-packages{os.sep}" not in f)


def _is_around(path: str) -> bool:
    return any(path == place or path.startswith(place + os.sep) for place in _around())
