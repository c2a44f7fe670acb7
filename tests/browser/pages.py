"""What a person sees and does in JupyterLab and Notebook 7. Acts as one would; waits for what the application says."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page, expect

#: The application's own idea of the kernel of the notebook that is to be seen.
KERNEL = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
#: Notes what the kernel's status has been, what the indicator has shown of it, what it has been sent, and the dialogs
#: that have come up.
WATCH = f"""() => {{
    const seen = window.seen = {{status: [], indicator: [], sent: [], dialogs: []}};
    {KERNEL}.statusChanged.connect((_, status) => seen.status.push(status));
    {KERNEL}.anyMessage.connect((_, one) => one.direction === 'send' && seen.sent.push(one.msg.header.msg_type));
    const shown = () => document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status;
    new MutationObserver(() => {{
        if (shown() && shown() !== seen.indicator.at(-1)) seen.indicator.push(shown());
        for (const dialog of document.querySelectorAll('.jp-Dialog'))
            if (!seen.dialogs.includes(dialog)) seen.dialogs.push(dialog);
    }}).observe(document.body, {{subtree: true, childList: true, attributes: true, attributeFilter: ['data-status']}});
}}"""


class Notebook:
    """The notebook of a page, whose kernel has started."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.cells = page.locator(".jp-Notebook .jp-Cell")
        self.indicator = page.locator(".jp-Notebook-ExecutionIndicator")
        self.dialog = page.locator(".jp-Dialog")
        self.attach()

    def attach(self) -> None:
        """Waits for the notebook and its kernel, and begins to note what is to be seen of it."""
        self.page.wait_for_function(f"['idle', 'busy'].includes({KERNEL}?.status)")
        expect(self.cells.first).to_be_visible()
        self.page.evaluate(WATCH)

    @property
    def status(self) -> str:
        """The kernel's status, as the application has it."""
        return str(self.page.evaluate(f"{KERNEL}.status"))

    def seen(self, what: str) -> list[str]:
        """What has been noted: "status", "indicator", "sent", or "dialogs"."""
        found: list[str] = self.page.evaluate(f"window.seen.{what}.map(one => one.textContent ?? one)")
        return found

    def wait_status(self, status: str) -> None:
        """Waits until the kernel has a status, and the indicator shows it."""
        self.page.wait_for_function(f"{KERNEL}?.status === '{status}'")
        expect(self.indicator).to_have_attribute("data-status", status)

    def editor(self, number: int) -> Locator:
        """Where the code of a cell is written."""
        return self.cells.nth(number).locator(".cm-content")

    def outputs(self, number: int) -> Locator:
        """All outputs of a cell."""
        return self.cells.nth(number).locator(".jp-OutputArea-child")

    def prompts(self) -> list[str]:
        """The prompts of all cells, such as "[1]:", "[*]:" and "[ ]:"."""
        found = self.page.locator(".jp-Notebook .jp-InputArea-prompt")
        return [text.strip() for text in found.all_inner_texts()]

    def start(self, number: int) -> None:
        """Runs a cell, as Control-Enter does."""
        self.editor(number).click()
        self.page.keyboard.press("Control+Enter")

    def run(self, number: int) -> Locator:
        """Runs a cell to its end; returns its outputs."""
        self.start(number)
        self.wait_done(number)
        return self.outputs(number)

    def wait_done(self, number: int) -> None:
        """Waits until a cell has got its number, and the kernel is idle."""
        self.wait_prompt(number, r"[1-9]")
        self.wait_status("idle")

    def wait_prompt(self, number: int, prompt: str) -> None:
        """Waits until what stands between the brackets before a cell begins as a pattern says."""
        self.page.wait_for_function(
            """([number, prompt]) => {
                const cell = document.querySelectorAll('.jp-Notebook .jp-Cell')[number];
                return new RegExp('^\\\\[' + prompt).test(cell.querySelector('.jp-InputArea-prompt').textContent.trim());
            }""",
            arg=[number, prompt],
        )

    def menu(self, menu: str, command: str) -> None:
        """Chooses something from the menu bar, by the id of its command."""
        self.page.locator(".lm-MenuBar-item", has_text=menu).first.click()
        self.page.locator(f".lm-Menu-item[data-command='{command}']").first.click()

    def wait_arrived(self, cells: int) -> None:
        """Waits until the kernel has the requests of some cells: what was asked behind them has been answered."""
        sent = "window.seen.sent.filter(one => one === 'execute_request').length"
        self.page.wait_for_function(f"{sent} === {cells}")
        self.ask_kernel("requestKernelInfo()")

    def accept(self, said: str) -> None:
        """Says yes to a dialog that says something."""
        expect(self.dialog).to_contain_text(said)
        self.dialog.locator(".jp-mod-accept").click()
        expect(self.dialog).to_have_count(0)

    def ask_kernel(self, call: str) -> Any:
        """The content of the reply to a call of the application's connection to the kernel."""
        return self.page.evaluate(f"async () => (await {KERNEL}.{call}).content")
