"""Virtual environments that tests make."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

#: What the environment was before it was made neutral; for tools that find their own settings in it, as pip does.
ENVIRONMENT = dict(os.environ)


def pip(*arguments: str) -> None:
    """Runs pip with the settings that it has outside of these tests."""
    subprocess.run(
        [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", *arguments], env=ENVIRONMENT, check=True
    )


def make_environment(folder: Path, *packages: str) -> Path:
    """Makes a virtual environment; returns its folder of programs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip("--python", str(folder / "bin" / "python"), "install", *packages)
    return folder / "bin"
