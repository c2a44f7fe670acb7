"""Configuration: IPython's application, which reads profiles, configuration files and the command line.

The class bears the name that `ipython_kernel_config.py` files and command lines have for a kernel's application, so
that `c.IPKernelApp.…` and `--IPKernelApp.…` mean what they have always meant.
"""

from __future__ import annotations

import atexit
import copy
import logging
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from IPython.core.application import (
    ENV_CONFIG_DIRS,
    SYSTEM_CONFIG_DIRS,
    BaseIPythonApplication,
    base_aliases,
    base_flags,
)
from IPython.core.profiledir import ProfileDir
from IPython.core.shellapp import InteractiveShellApp, shell_aliases, shell_flags
from traitlets import Any as AnyTrait
from traitlets import TraitError, Type, Unicode
from traitlets.config import Config
from traitlets.config.application import Application, LevelFormatter

from ipymini_worker import imports
from ipymini_worker.shell import WorkerShell

#: Folders besides the profile's in which IPython looks for scripts.
_CONFIG_DIRS = (*ENV_CONFIG_DIRS, *SYSTEM_CONFIG_DIRS)
#: Values of the configuration that may be left out one by one.
_REFUSALS = 20


class IPKernelApp(BaseIPythonApplication, InteractiveShellApp):  # type: ignore[misc]  # IPython is not typed
    """Reads the configuration and makes the shell."""

    name = "ipython-kernel"
    description = "The IPython kernel of a Jupyter frontend."
    aliases = {**base_aliases, **shell_aliases, "profile-dir": "ProfileDir.location"}  # noqa: RUF012
    flags = {**base_flags, **shell_flags}  # noqa: RUF012
    classes = [WorkerShell, ProfileDir, InteractiveShellApp]  # noqa: RUF012
    shell_class = Type(WorkerShell)
    config: Any
    connection_file = Unicode("", help="The connection file that the kernel was started with.").tag(config=True)

    kernel = AnyTrait()

    @property
    def connection_dir(self) -> str:
        """The folder of the connection file."""
        return os.path.dirname(self.abs_connection_file)

    @property
    def abs_connection_file(self) -> str:
        """The path of the connection file, in full."""
        return os.path.abspath(self.connection_file)

    def __init__(self, **traits: Any) -> None:
        if hasattr(Application, "_configure_logging"):  # traitlets 5.2 and later
            traits.setdefault("log", _log(type(self).__name__))
        super().__init__(**traits)

    def configure(self, arguments: Sequence[str]) -> None:
        """Reads `arguments` and the configuration files. What makes no sense costs a warning, never the kernel."""
        accepted = self._accepted(arguments)
        try:
            if not accepted:
                with imports.put_off("tempfile.mkdtemp"):  # for folders that cannot be used
                    self.ipython_dir  # noqa: B018
            self.initialize(accepted)
        except OSError as error:  # there is no folder for profiles, and none can be made
            import shutil
            import tempfile

            folder = tempfile.mkdtemp(prefix="ipython-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            print(f"The IPython folder cannot be used ({error}); history and profile are temporary.", file=sys.stderr)
            self.initialize([*accepted, f"--ipython-dir={folder}"])
        except SystemExit:  # from traitlets, which has said why on stderr
            print("The IPython configuration could not be read; the kernel runs without it.", file=sys.stderr)

    def parse_command_line(self, argv: Any = None) -> None:
        """As the base class, which makes a parser of all that could be asked for even if nothing is."""
        if argv:
            super().parse_command_line(argv)

    def _accepted(self, arguments: Sequence[str]) -> list[str]:
        """The arguments that IPython can make sense of; others are named on stderr and left out."""
        if not arguments or self._refusal(arguments) is None:
            return list(arguments)
        accepted: list[str] = []
        for option in _options(arguments):
            refusal = self._refusal(option)
            if refusal is None:
                accepted += option
            else:
                print(f"The option {' '.join(option)!r} was left out: {refusal}", file=sys.stderr)
        return accepted

    def _refusal(self, arguments: Sequence[str]) -> BaseException | None:
        """Why IPython cannot make sense of `arguments`; None if it can."""
        try:
            # The undecorated method: the decorated one ends the process on bad input.
            Application.parse_command_line.__wrapped__(type(self)(), list(arguments))  # type: ignore[attr-defined]
        except (Exception, SystemExit) as error:
            return error
        return None

    def init_crash_handler(self) -> None:
        """None: a crash report would go where nobody looks, and the supervisor tells what happened."""

    def make_shell(self, **traits: Any) -> WorkerShell:
        """The shell, configured; start-up files have not run yet."""
        traits |= {"parent": self, "profile_dir": self.profile_dir, "ipython_dir": self.ipython_dir}
        self.update_config(Config(IPKernelApp={"connection_file": self.connection_file}))
        for _ in range(_REFUSALS):
            try:
                self.shell = self.shell_class.instance(**traits)
                break
            except TraitError as error:
                self.shell_class.clear_instance()
                self._leave_out(error)
        self.shell.configurables.append(self)  # for %config IPKernelApp
        return self.shell  # type: ignore[no-any-return]

    def _leave_out(self, error: TraitError) -> None:
        """Takes the value that a trait refuses out of the configuration, or all of it if it cannot be told which."""
        refused = re.match(r"The '(\w+)' trait", str(error))
        config = copy.deepcopy(self.config)
        sections = [section for section in config.values() if refused and section.pop(refused[1], None) is not None]
        if not sections:
            config = Config(IPKernelApp={"connection_file": self.connection_file})
        print(f"The IPython configuration has a value that was left out: {error}", file=sys.stderr)
        self.config = config

    @property
    def plain(self) -> bool:
        """Whether `run_startup` is going to run nothing of the user's."""
        if self.profile_dir is None:
            return False
        asked = (
            self.default_extensions != ["storemagic"],
            *(self.extensions, getattr(self, "extra_extensions", ()), self.config.get("StoreMagics")),
            *(self.gui, self.matplotlib, self.pylab),
            *(self.exec_lines, self.exec_files, self.code_to_run, self.file_to_run, self.module_to_run),
            self.exec_PYTHONSTARTUP and os.environ.get("PYTHONSTARTUP"),
        )
        folders = (self.profile_dir.startup_dir, *(os.path.join(p, "startup") for p in _CONFIG_DIRS))
        return not any(asked) and not any(map(_has_scripts, folders))

    def init_path(self) -> None:
        """As the base class, which puts the notebook's folder on the path."""
        super().init_path()
        imports.Reserved.install()

    def run_startup(self) -> None:
        """What the user's configuration runs before the first cell: toolkit, extensions, lines and files."""
        for step in (self.init_path, self.init_gui_pylab, self.init_extensions, self.init_code):
            try:
                step()
            except (Exception, SystemExit, KeyboardInterrupt) as error:
                print(f"Start-up step {step.__name__} failed: {type(error).__name__}: {error}", file=sys.stderr)


def _log(name: str) -> logging.Logger:
    """What an application logs to where nothing of that is configured; else it sets up its own in its place.

    The same as traitlets makes, which takes a fortieth of the start, for the sake of warnings that hardly anybody gets.
    """
    log = logging.getLogger(name)
    if not log.handlers:
        log.propagate = False
        log.setLevel(logging.DEBUG)
        handler = logging.StreamHandler(sys.stderr)
        handler.setLevel(logging.WARNING)
        traits = Application.class_traits()
        formatter = LevelFormatter(traits["log_format"].default_value, traits["log_datefmt"].default_value)
        handler.setFormatter(formatter)
        log.addHandler(handler)
    return log


def _has_scripts(folder: str) -> bool:
    try:
        return any(name.endswith((".py", ".ipy")) for name in os.listdir(folder))
    except OSError:  # there is none, or it cannot be read, by IPython neither
        return False


def _options(arguments: Sequence[str]) -> list[list[str]]:
    """The arguments, an option together with its value where that is an argument of its own."""
    options: list[list[str]] = []
    for argument in arguments:
        if options and len(options[-1]) == 1 and not argument.startswith("-") and "=" not in options[-1][0]:
            options[-1].append(argument)
        else:
            options.append([argument])
    return options
