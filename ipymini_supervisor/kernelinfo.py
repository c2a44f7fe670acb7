"""The answer to kernel_info_request, known before the worker is up: nothing of IPython is imported for it."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from ipymini_supervisor.session import PROTOCOL_VERSION

IMPLEMENTATION = "ipymini-supervisor"
IMPLEMENTATION_VERSION = "0.1.0"


def kernel_info(python: str, ipython: str, *, debugger: bool = False) -> dict[str, Any]:
    """The content of kernel_info_reply (protocol: Kernel info).

    :param python: version of the worker's Python, as "3.12.1".
    :param ipython: version of the worker's IPython; empty if it is not known.
    :param debugger: whether cells can be debugged.
    """
    major, minor = python.split(".")[:2]
    about = f" -- An enhanced Interactive Python{f' {ipython}' if ipython else ''}. Type '?' for help."
    return {
        "status": "ok",
        "protocol_version": PROTOCOL_VERSION,
        "implementation": IMPLEMENTATION,
        "implementation_version": IMPLEMENTATION_VERSION,
        "language_info": {
            "name": "python",
            "version": python,
            "mimetype": "text/x-python",
            "file_extension": ".py",
            "codemirror_mode": {"name": "ipython", "version": int(major)},
            "pygments_lexer": "ipython3",
            "nbconvert_exporter": "python",
        },
        "banner": f"Python {python}\nIPython{about}\nThe kernel survives its cells: {IMPLEMENTATION}.\n",
        "help_links": [
            {"text": "Python Reference", "url": f"https://docs.python.org/{major}.{minor}"},
            {"text": "IPython Reference", "url": "https://ipython.readthedocs.io/en/stable/"},
            {"text": "NumPy Reference", "url": "https://numpy.org/doc/stable/"},
            {"text": "SciPy Reference", "url": "https://docs.scipy.org/doc/scipy/"},
            {"text": "Matplotlib Reference", "url": "https://matplotlib.org/stable/"},
            {"text": "SymPy Reference", "url": "https://docs.sympy.org/latest/"},
            {"text": "pandas Reference", "url": "https://pandas.pydata.org/docs/"},
        ],
        "debugger": debugger,
        "supported_features": ["debugger", "kernel subshells"] if debugger else ["kernel subshells"],
    }


def guess_versions(python: str) -> tuple[str, str]:
    """Versions of the interpreter `python` and of the IPython in it, from file names; right in all but odd cases.

    HELLO tells the truth later; this is for frontends that ask earlier.
    """
    own = ".".join(map(str, sys.version_info[:3]))
    if os.path.abspath(python) == os.path.abspath(sys.executable):
        return own, _ipython_in(_folders(python))
    version = own
    try:
        with open(os.path.join(_prefix(python), "pyvenv.cfg"), encoding="utf-8", errors="replace") as file:
            found = re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+\.\d+)", file.read(), re.M)
        version = found[1] if found else own
    except OSError:
        pass
    return version, _ipython_in(_folders(python))


def guess_debugger(python: str) -> bool:
    """Whether the interpreter `python` has debugpy, from file names; HELLO tells the truth later."""
    return any(os.path.isdir(os.path.join(folder, "debugpy")) for folder in _folders(python))


def _prefix(python: str) -> str:
    return os.path.dirname(os.path.dirname(python))


def _folders(python: str) -> list[str]:
    """Where an interpreter's packages are, as far as their places tell."""
    if os.path.abspath(python) == os.path.abspath(sys.executable):
        return [path for path in sys.path if path]
    lib = os.path.join(_prefix(python), "lib")
    return [os.path.join(lib, name, "site-packages") for name in sorted(_names(lib)) if name.startswith("python3")]


def _ipython_in(folders: list[str]) -> str:
    for folder in folders:
        for name in _names(folder):
            if name.lower().startswith("ipython-") and name.endswith(".dist-info"):
                return name.split("-")[1].removesuffix(".dist")
    return ""


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # it is not there, or is a zip file
        return []
