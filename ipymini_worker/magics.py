"""Magics that a frontend needs and IPython itself does not have."""

from __future__ import annotations

import os
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from IPython.core import page
from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class
from IPython.core.magics.code import CodeMagics, MacroToEdit
from IPython.utils.process import arg_split

from ipymini_worker.snapshot import Mode


@magics_class
class KernelMagics(Magics):  # type: ignore[misc]  # IPython is not typed
    """Line magics whose work the frontend does."""

    @line_magic  # type: ignore[untyped-decorator]
    def edit(self, line: str = "", last_call: Any = None) -> None:
        """Opens a file, an object's source or earlier input in the frontend's editor.

        Usage: %edit [-n LINE] [-p] [-r] [TARGET]. What is edited is not run afterwards.
        """
        options, target = self.parse_options(line, "prn:")
        try:
            filename, number, _ = CodeMagics._find_edit_target(self.shell, target, options, last_call or ["", ""])
        except MacroToEdit:
            print("A macro cannot be edited in a frontend; define it anew with %macro.")
            return
        path = str(Path(filename).resolve())
        self.shell.payload_manager.write_payload(
            {"source": "edit_magic", "filename": path, "line_number": int(number or 0)}
        )

    ed = line_magic("ed")(edit)

    @line_magic  # type: ignore[untyped-decorator]
    def clear(self, line: str = "") -> None:
        """Clears the output of the cell."""
        self.shell.display_pub.clear_output()

    @line_magic  # type: ignore[untyped-decorator]
    def gui(self, line: str = "") -> None:
        """Serves the windows of a GUI toolkit while no cell runs.

        Usage: %gui [NAME], such as %gui qt or %gui tk. Without a name no toolkit is served any longer.
        """
        self.shell.enable_gui(line.strip() or None)

    @line_magic  # type: ignore[untyped-decorator]
    def autosave(self, line: str = "") -> None:
        """Sets how often the frontend saves the notebook, in seconds; 0 for never.

        Usage: %autosave SECONDS. It is the classic notebook that listens to this; others have a setting of their own.
        """
        try:
            seconds = int(line)
        except ValueError:
            raise UsageError(f"%autosave takes a number of seconds, not {line.strip()!r}.") from None
        if seconds < 0:
            raise UsageError("%autosave takes a number of seconds, 0 or more.")
        # Other frontends run Javascript too, and would show an error where there is no such object.
        code = (
            f"if (window.IPython && IPython.notebook) {{ IPython.notebook.set_autosave_interval({1000 * seconds}); }}"
        )
        self.shell.display_pub.publish({"application/javascript": code})
        print(f"Autosaving every {seconds} seconds" if seconds else "Autosave disabled")

    @line_magic  # type: ignore[untyped-decorator]
    def qtconsole(self, line: str = "") -> None:
        """Opens a Qt console on this kernel.

        Usage: %qtconsole [OPTION...]. The options are those of `jupyter qtconsole`.
        """
        if find_spec("qtconsole") is None:
            raise UsageError("There is no qtconsole in this environment; %pip install qtconsole PySide6 brings it.")
        path = self.shell.config.get("IPKernelApp", {}).get("connection_file", "")
        command = [sys.executable, "-m", "qtconsole", "--existing", path, *arg_split(line)]
        import subprocess

        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @line_magic  # type: ignore[untyped-decorator]
    def less(self, line: str = "") -> None:
        """Shows a file in the frontend's pager, with colours where it is Python.

        Usage: %less FILE
        """
        if not line:
            print("Usage: %less FILE")
            return
        try:
            text = Path(line).expanduser().read_text(errors="replace")
        except OSError as error:
            print(f"{line}: {error.strerror}")
            return
        page.page(self.shell.pycolorize(text) if line.endswith(".py") else text)

    more = line_magic("more")(less)

    @line_magic  # type: ignore[untyped-decorator]
    def man(self, line: str = "") -> None:
        """Shows a manual page in the frontend's pager.

        Usage: %man NAME
        """
        page.page(self.shell.getoutput(f"man {line} | col -b", split=False))

    @line_magic  # type: ignore[untyped-decorator]
    def snapshot(self, line: str = "") -> None:
        """Says whether there is a snapshot of the session, from when, what it costs, and if there is none, why.

        Usage: %snapshot [off|on|auto]. Off: none is taken; on: one is taken whatever it costs; auto: while it costs
        little. A cell that ends the worker costs what has happened since the last snapshot, and nothing more.
        """
        mode = line.strip().lower()
        if mode:
            if mode not in {m.value for m in Mode}:
                raise UsageError(f"%snapshot takes off, on or auto, not {line.strip()!r}.")
            self.shell.snapshots.switch(Mode(mode))
        print(self.shell.snapshots.describe())

    @line_magic  # type: ignore[untyped-decorator]
    def rollback(self, line: str = "") -> None:
        """Returns to the state of the session before the last cell.

        Usage: %rollback. What that cell did outside of the session, to files for instance, is not undone.
        """
        if line.strip():
            raise UsageError("%rollback takes no arguments: it returns to the state before the last cell.")
        self.shell.history_manager.writeout_cache()  # by this process, which is going to be ended
        raise UsageError(self.shell.snapshots.rollback())

    @line_magic  # type: ignore[untyped-decorator]
    def subshell(self, line: str = "") -> None:
        """Says which subshell the cell runs in, and which there are."""
        subshells = self.shell.kernel.subshells
        print(f"subshell id: {subshells.current()}")
        print(f"thread id: {threading.get_ident()}")
        print(f"main thread id: {threading.main_thread().ident}")
        print(f"pid: {os.getpid()}")
        print(f"thread count: {threading.active_count()}")
        print(f"subshell list: {subshells.names()}")

    @line_magic  # type: ignore[untyped-decorator]
    def connect_info(self, line: str = "") -> None:
        """Prints how another client connects to this kernel."""
        path = self.shell.config.get("IPKernelApp", {}).get("connection_file", "")
        try:
            print(Path(path).read_text())
        except OSError as error:
            print(f"The connection file {path} cannot be read: {error.strerror}.")
            return
        name = Path(path).name
        print("Paste the above JSON into a file, and connect with:\n    $> jupyter <app> --existing <file>")
        print(f"or, if you are local, with:\n    $> jupyter <app> --existing {name}")
