"""An installed Chromium to look at pages with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# No GPU here: WebGL is computed.
_FLAGS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


@dataclass
class Opened:
    """A page in a browser, and what it complained about or asked the network for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def data(self, element: str, name: str) -> str | None:
        return self.page.get_attribute(f"#{element}", f"data-{name}")

    def press(self, selector: str) -> None:
        """Click without waiting for frames, which come slowly where WebGL is computed."""
        self.page.locator(selector).first.dispatch_event("click")

    def rows(self, table: str) -> int:
        return self.page.locator(f"#{table} tbody tr").count()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the installed Chromium; skip the test where there is none."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip(f"no {', '.join(_NAMES)} on the path: install chromium to look at pages")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        yield browser
        browser.close()


def opened(browser: Browser, path: Path, *, scheme: str = "light", width: int = 1300) -> Opened:
    """Open a file, listening, and return once its scripts have run."""
    page = browser.new_page(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]  # light or dark
        reduced_motion="reduce",
    )
    # A busy machine computes WebGL slowly.
    page.set_default_timeout(90_000)
    found = Opened(page)
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("console", found.hear)
    page.on("request", lambda request: found.requests.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    return found
