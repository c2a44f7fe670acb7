"""A program: a qtconsole without a screen takes the tour, and prints what it shows at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable

from qtconsole.manager import QtKernelManager
from qtconsole.rich_jupyter_widget import RichJupyterWidget
from qtpy.QtCore import QEventLoop, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

#: Milliseconds until what does not come is waited for no longer.
PATIENCE = 60_000


class Console:
    """A console with a kernel of its own."""

    def __init__(self) -> None:
        self._manager = QtKernelManager(kernel_name="ipymini")
        self._manager.start_kernel()
        client = self._manager.client()
        client.start_channels()
        self.widget = RichJupyterWidget()
        self.widget.kernel_manager, self.widget.kernel_client = self._manager, client
        self.widget.show()
        self.until(lambda: "In [1]:" in self.text())

    def text(self) -> str:
        """What is to be seen."""
        return str(self.widget._control.toPlainText())

    def until(self, condition: Callable[[], bool]) -> None:
        """Lets Qt work until something is so."""
        loop, late, look = QEventLoop(), QTimer(), QTimer()
        late.setSingleShot(True)
        late.timeout.connect(lambda: loop.exit(1))
        late.start(PATIENCE)
        look.timeout.connect(lambda: condition() and loop.exit(0))
        look.start(10)
        if loop.exec() != 0:
            sys.exit(f"What was waited for has not come:\n{self.text()}")

    def start(self, code: str) -> None:
        """Runs a cell, as Return does."""
        self.widget.execute(code)

    def run(self, code: str, shown: str) -> None:
        """Runs a cell until all is to be seen that comes of it: its output may come behind the next prompt, which
        qtconsole does not wait with for longer than a moment, and would go when the next cell is put there.
        """
        prompts = self.text().count("In [")
        self.start(code)
        self.until(lambda: self.text().count("In [") > prompts and shown in self.text())
        print(self.text())

    def close(self) -> None:
        """Ends the kernel."""
        self.widget.kernel_client.stop_channels()
        self._manager.shutdown_kernel()
        self.widget.close()


application = QApplication(sys.argv)
console = Console()
console.run("kept = 6 * 7; print('printed'); kept", "Out[1]: 42")
console.run(
    "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 3, 2]);", "\N{OBJECT REPLACEMENT CHARACTER}"
)
console.start("name = input('Who? ')")
console.until(lambda: console.text().endswith("Who? "))
QTest.keyClicks(console.widget._control, "Ada\r")
console.until(lambda: "In [4]:" in console.text())
console.start("print('begun')\nwhile True: pass")
console.until(lambda: "begun\n" in console.text().rpartition("In [")[2])
console.widget.interrupt_kernel()
console.until(lambda: "In [5]:" in console.text() and "KeyboardInterrupt" in console.text())
print(console.text())
console.run("import ctypes; ctypes.string_at(0)", "WorkerDied: ")
console.run("print('after the crash', name, kept)", "after the crash Ada 42\n")
console.close()
