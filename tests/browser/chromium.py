"""Debian's chromium without a screen, driven by playwright."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from e2e.kernels import MARK, assert_gone
from hub.sites import PATIENCE
from playwright.sync_api import Error, Page, expect, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
expect.set_options(timeout=PATIENCE * 1000)


class Chromium:
    """A running browser with an empty profile.

    :param pictures: the folder for pictures of what went wrong.
    """

    def __init__(self, pictures: Path) -> None:
        self._pictures = pictures
        self._mark = uuid.uuid4().hex
        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=ARGUMENTS,
            env={**os.environ, MARK: self._mark},
        )
        self._context = self._browser.new_context(viewport={"width": 1200, "height": 900})
        self._context.set_default_timeout(PATIENCE * 1000)

    def open(self, url: str) -> Page:
        """A new page. Whether one may be left with changes that were not saved is not asked."""
        page = self._context.new_page()
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(url)
        return page

    def close_pages(self) -> None:
        """Closes all pages, whatever they would like to ask first."""
        for page in self._context.pages:
            page.close()

    def photograph(self, name: str) -> list[str]:
        """A picture of each page; returns where they are, or why there is none."""
        told = []
        for number, page in enumerate(self._context.pages):
            path = self._pictures / f"{name}-{number}.png"
            try:
                path.write_bytes(page.screenshot(timeout=5000))
                told.append(str(path))
            except Error as error:
                told.append(f"There is no picture: {error}")
        return told

    def stop(self) -> None:
        """Ends it, and looks at what is left of it."""
        try:
            self._browser.close()
            self._playwright.stop()
        finally:
            assert_gone(self._mark)
