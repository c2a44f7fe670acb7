"""Kernelspecs: what tells frontends that this kernel exists and how to start it.

See https://jupyter-client.readthedocs.io/en/stable/kernels.html#kernel-specs
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

NAME = "ipymini"
DISPLAY_NAME = "Python 3 (ipymini)"
#: The kernel provisioner that carries out restarts in place, as the package's entry point calls it.
PROVISIONER = "ipymini-in-place"

_VALID_NAME = re.compile(r"[a-z0-9._\-]+", re.ASCII | re.IGNORECASE)
_LOGOS = ("logo-32x32.png", "logo-64x64.png", "logo-svg.svg")
_OLDEST_PYTHON = (3, 11)
_OLDEST_IPYTHON = (8, 20)
#: Seconds that an interpreter has to say what it is; on a slow network drive the first import takes its time.
_PATIENCE = 120

# Runs in the other interpreter, whatever its age, so it is Python 2 as well.
_PROBE = """\
import sys
sys.path[:] = [folder for folder in sys.path if folder]
import json
found = {"python": list(sys.version_info[:3]), "problems": {}}
if sys.version_info >= (3, 11):
    for name in ("IPython", "comm"):
        try:
            __import__(name)
        except ImportError as error:
            found["problems"][name] = str(error)
    if "IPython" not in found["problems"]:
        found["ipython"] = list(sys.modules["IPython"].version_info[:2])
sys.stdout.write("\\n" + json.dumps(found))
"""


class KernelspecError(Exception):
    """No kernelspec can be installed as asked; one plain sentence says why and what to do."""


def install_command(args: Sequence[str]) -> int:
    """`ipymini-supervisor install`: installs a kernelspec and says where; returns the exit status.

    :param args: the arguments after `install`.
    :raises KernelspecError: they make no sense, or the kernelspec cannot be written.
    """
    options = _parser().parse_args(args)
    python = None if options.python is None else check_interpreter(options.python)
    environment = dict(_variable(text) for text in options.env)
    spec = build(python, options.display_name, environment, in_place=options.in_place_restart)
    prefix = sys.prefix if options.sys_prefix else options.prefix
    folder = install(spec, options.name, user=options.user, prefix=prefix)
    print(f"Installed kernelspec {options.name.lower()} in {folder}")
    return 0


def build(
    python: str | None = None,
    display_name: str = DISPLAY_NAME,
    env: Mapping[str, str] | None = None,
    *,
    in_place: bool = False,
) -> dict[str, Any]:
    """The content of a kernel.json that starts the supervisor with the interpreter that runs now.

    :param python: the worker's interpreter; None for the supervisor's own.
    :param env: variables for the environment of the kernel.
    :param in_place: whether a restart replaces the worker only.
    """
    provisioner = {"kernel_provisioner": {"provisioner_name": PROVISIONER}} if in_place else {}
    worker = [] if python is None else ["--python", python]
    return {
        # -P: `-m` itself imports from the current folder, and a warnings.py beside the notebook would end it there.
        "argv": [sys.executable, "-P", "-m", "ipymini_supervisor", *worker, "-f", "{connection_file}"],
        "display_name": display_name,
        "language": "python",
        "interrupt_mode": "message",
        "kernel_protocol_version": "5.5",
        "env": dict(env or {}),
        "metadata": {"debugger": True, "supported_encryption": ["curve"], **provisioner},
    }


def install(spec: Mapping[str, Any], name: str = NAME, *, user: bool = False, prefix: str | None = None) -> str:
    """Writes a kernelspec with our logos, in place of one that has the same name; returns its folder.

    :param spec: the content of its kernel.json.
    :param user: for this user alone; with neither this nor `prefix` it is for all users of the machine.
    :param prefix: under `share/jupyter` of this folder.
    :raises KernelspecError: the name is not valid, or the place cannot be written to.
    """
    if not _VALID_NAME.fullmatch(name) or not name.strip("."):
        raise KernelspecError(f"{name!r} is no name for a kernel: use ASCII letters, digits, '.', '-' and '_' only.")
    from jupyter_client.kernelspec import KernelSpecManager

    place = f"under {prefix}" if prefix is not None else "for this user" if user else "for all users"
    advice = "choose a --prefix that you may write to" if user or prefix is not None else "try --user or --sys-prefix"
    try:
        with tempfile.TemporaryDirectory() as folder:
            # mkdtemp makes it private, and its mode is copied: other users must be able to read a kernelspec.
            os.chmod(folder, 0o755)
            with open(os.path.join(folder, "kernel.json"), "w", encoding="utf-8") as file:
                json.dump(spec, file, indent=2, ensure_ascii=False)
                file.write("\n")
            for logo in logos():
                shutil.copyfile(logo, os.path.join(folder, os.path.basename(logo)))
            return KernelSpecManager().install_kernel_spec(
                folder, name, user=user, prefix=None if prefix is None else os.path.abspath(prefix)
            )
    except (OSError, shutil.Error) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise KernelspecError(f"The kernelspec cannot be written {place} ({reason}); {advice}.") from None


def logos() -> list[str]:
    """The paths of our logos, as installed or in the source tree; empty where there are none."""
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for place in (home, sys.prefix):
        folder = os.path.join(place, "share", "jupyter", "kernels", NAME)
        found = [path for path in (os.path.join(folder, logo) for logo in _LOGOS) if os.path.isfile(path)]
        if found:
            return found
    return []


def check_interpreter(python: str) -> str:
    """Makes sure that a worker can run in an interpreter, by asking it; returns its absolute path.

    Symbolic links stay as they are, because the Python of a virtual environment is one.

    :param python: a path, or the name of a command.
    :raises KernelspecError: it is missing, too old, or has no IPython or comm.
    """
    command = shutil.which(python) if os.path.basename(python) == python else None
    path = os.path.abspath(command or os.path.expanduser(python))
    if os.path.isdir(path):
        raise KernelspecError(f"{path} is a folder; give --python the interpreter in it, as {path}/bin/python.")
    if not os.path.isfile(path):
        raise KernelspecError(f"There is no Python interpreter {path}; give --python the path of one.")
    try:
        done = subprocess.run(
            [path, "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        version = ".".join(str(number) for number in found["python"])
        problems = dict(found["problems"])
    except OSError as error:
        raise KernelspecError(f"{path} cannot be run ({(error.strerror or str(error)).lower()}).") from None
    except subprocess.TimeoutExpired:
        raise KernelspecError(f"{path} did not answer within {_PATIENCE} seconds.") from None
    except (subprocess.CalledProcessError, ValueError, LookupError, TypeError):
        raise KernelspecError(f"{path} does not work as a Python interpreter.") from None
    if tuple(found["python"]) < _OLDEST_PYTHON:
        raise KernelspecError(f"{path} is Python {version}; cells need 3.11 or later.")
    if problems:
        names = " and ".join(problems)
        packages = " ".join(name.lower() for name in problems)
        raise KernelspecError(
            f"{path} cannot import {names}; install {'it' if len(problems) == 1 else 'them'} there: "
            f"{path} -m pip install {packages}"
        )
    if tuple(found["ipython"]) < _OLDEST_IPYTHON:
        raise KernelspecError(
            f"{path} has IPython {'.'.join(str(number) for number in found['ipython'])}; cells need 8.20 or later: "
            f"{path} -m pip install --upgrade ipython"
        )
    return path


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals or "\0" in text:
        raise KernelspecError(f"--env needs NAME=VALUE, not {text!r}.")
    return name, value


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, as all of our commands do."""

    def error(self, message: str) -> NoReturn:
        raise KernelspecError(f"{message[:1].upper()}{message[1:]}; `{self.prog} --help` lists the options.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ipymini-supervisor install",
        description="Install a kernelspec, so that frontends list this kernel.",
        allow_abbrev=False,
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--user", action="store_true", help="for this user alone (default: for all users)")
    place.add_argument("--sys-prefix", action="store_true", help="in the environment of this Python")
    place.add_argument("--prefix", metavar="P", help="under P/share/jupyter")
    parser.add_argument("--name", default=NAME, metavar="N", help="the kernel's name (default: %(default)s)")
    parser.add_argument(
        "--display-name", default=DISPLAY_NAME, metavar="D", help="the name that users see (default: %(default)s)"
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="K=V",
        help="set a variable in the kernel's environment; may be repeated",
    )
    parser.add_argument(
        "--python",
        metavar="PATH",
        help="the interpreter that cells run in, which needs IPython and comm and may belong to another environment",
    )
    parser.add_argument(
        "--in-place-restart",
        action="store_true",
        help="a restart swaps the worker only; this package has to be installed where Jupyter's server runs, too",
    )
    return parser
