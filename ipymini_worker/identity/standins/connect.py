"""How another client connects to this kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any


def get_connection_file(app: Any = None) -> str:
    """The path of the connection file of `app`, or of this kernel.

    :raises RuntimeError: there is no kernel.
    """
    from .kernelapp import IPKernelApp

    if app is None and not IPKernelApp.initialized():
        raise RuntimeError("This is no kernel, so that there is no connection file.")
    return str((app or IPKernelApp.instance()).abs_connection_file)


def get_connection_info(connection_file: str | None = None, unpack: bool = False) -> Any:
    """The content of a connection file, or of that of this kernel: as text, or as a dict with `unpack`.

    :raises OSError: the file cannot be read.
    """
    with open(connection_file or get_connection_file(), encoding="utf-8") as file:
        text = file.read()
    if not unpack:
        return text
    info = json.loads(text)
    info["key"] = info.get("key", "").encode()
    return info


def connect_qtconsole(connection_file: str | None = None, argv: Sequence[str] | None = None) -> subprocess.Popen[bytes]:
    """Opens a Qt console, which has to be installed, on this kernel."""
    code = "from qtconsole import qtconsoleapp; qtconsoleapp.main()"
    arguments = ["--existing", connection_file or get_connection_file(), *(argv or ())]
    return subprocess.Popen([sys.executable, "-c", code, *arguments], start_new_session=True)


def write_connection_file(*args: Any, **kwargs: Any) -> Any:
    """That of jupyter_client.

    :raises ImportError: jupyter_client is not installed.
    """
    from jupyter_client.connect import write_connection_file as write

    return write(*args, **kwargs)
