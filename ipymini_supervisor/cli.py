"""The command line: run a kernel, install a kernelspec for it, or look after those that run.

Whatever is imported at the top of this file delays the start of every kernel, so it is next to nothing.
"""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "ipymini-supervisor"

HELP = f"""\
Usage: {PROGRAM} [-f FILE] [--python PATH] [OPTION ...]
       {PROGRAM} install [--help] [OPTION ...]
       {PROGRAM} ps|stack|interrupt|shutdown [--help] [KERNEL] [OPTION ...]

A Jupyter kernel for Python in two processes. Jupyter starts it by itself; by hand it is good for this:

  -f FILE          run a kernel on this connection file (also --connection-file FILE); without it, a new
                   one is written and named, for a frontend to connect to
  --python PATH    the interpreter that cells run in; it needs IPython and comm, and nothing of ours
  --version        say the version
  -h, --help       say this
  OPTION           anything else is IPython's configuration, such as --matplotlib=inline or
                   --InteractiveShell.ast_node_interactivity=all

  install          install a kernelspec, so that frontends list this kernel
  ps               list your kernels that run, and what they do
  stack, interrupt, shutdown
                   say where a kernel is right now, interrupt its cell, end it
"""
#: First words of command lines that run no kernel.
COMMANDS = frozenset({"install", "ps", "stack", "interrupt", "shutdown"})

_FILE_OPTIONS = frozenset(
    {
        *("-f", "--f", "--connection-file"),
        *("--IPKernelApp.connection_file", "--ConnectionFileMixin.connection_file"),
    }
)
_PYTHON_OPTION = "--python"


class UsageError(Exception):
    """The command cannot be carried out as it was given; one plain sentence says why and what to do."""


class Options(SimpleNamespace):
    """What a command line that runs a kernel asks for.

    :param connection_file: as given; None: write a new one.
    :param python: the worker's interpreter, as given; None: the supervisor's own.
    :param worker_args: all that is left, in order, for IPython's configuration in the worker.
    """

    def __init__(
        self, connection_file: str | None = None, python: str | None = None, worker_args: tuple[str, ...] = ()
    ) -> None:
        super().__init__(connection_file=connection_file, python=python, worker_args=worker_args)


def main(argv: Sequence[str] | None = None) -> int:
    """Does what the command line asks for; returns the exit status.

    The status is 2, after one plain sentence on stderr, for what cannot be done as asked: an unusable connection file,
    address, interpreter or option.

    :param argv: the arguments without the program's name; None for those of this process.
    """
    args = sys.argv[1:] if argv is None else list(argv)
    try:
        if sys.platform == "win32":
            raise UsageError("This kernel needs Linux or macOS; on Windows it runs inside WSL.")
        if args[:1] == ["install"]:
            return _install(args[1:])
        if args and args[0] in COMMANDS:
            from ipymini_supervisor.operate import operate

            return operate(args)
        if "-h" in args or "--help" in args:
            print(HELP, end="")
            return 0
        if "--version" in args:
            from importlib.metadata import version

            print(version(PROGRAM))
            return 0
        return _run(parse(args))
    except UsageError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2


def parse(argv: Sequence[str]) -> Options:
    """Sorts the arguments into ours and IPython's. Of an option that is given twice the last one counts.

    :param argv: the arguments without the program's name.
    :raises UsageError: an option of ours has no value.
    """
    connection_file: str | None = None
    python: str | None = None
    rest: list[str] = []
    args = iter(argv)
    for arg in args:
        name, equals, value = arg.partition("=")
        if name in _FILE_OPTIONS:
            connection_file = value if equals else next(args, "")
            if not connection_file or (not equals and connection_file.startswith("-")):
                raise UsageError(f"{name} needs the path of a connection file.")
        elif name == _PYTHON_OPTION:
            python = value if equals else next(args, "")
            if not python or (not equals and python.startswith("-")):
                raise UsageError(f"{name} needs the path of a Python interpreter.")
        else:
            rest.append(arg)
    return Options(connection_file, python, tuple(rest))


def _install(args: Sequence[str]) -> int:
    from ipymini_supervisor.kernelspec import KernelspecError, install_command

    try:
        return install_command(args)
    except KernelspecError as error:
        raise UsageError(str(error)) from None


def _run(options: Options) -> int:
    from ipymini_supervisor.connectionfile import ConnectionFileError, write_new
    from ipymini_supervisor.launch import LaunchError, run

    written = None
    try:
        if options.connection_file is not None:
            path = _find(options.connection_file)
        else:
            path = written = write_new()
            print("To connect another client to this kernel, use:")
            print(f"    --existing {os.path.basename(path)}")
            print(f"Its connection file is {path}", flush=True)
        return run(path, options.python, options.worker_args)
    except (ConnectionFileError, LaunchError) as error:
        raise UsageError(str(error)) from None
    finally:
        # Only what we have written ourselves: a launcher removes its own file.
        if written is not None and os.path.exists(written):
            os.unlink(written)


def _find(path: str) -> str:
    """The connection file itself, or the one of that name in the Jupyter runtime folder."""
    if os.path.isabs(path) or os.path.exists(path):
        return os.path.abspath(path)
    from jupyter_core.paths import jupyter_runtime_dir

    elsewhere = os.path.join(jupyter_runtime_dir(), path)
    return elsewhere if os.path.exists(elsewhere) else os.path.abspath(path)
