"""A real browser without the network: what pages show, and what they ask for."""

import contextlib
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)
needs_browser = pytest.mark.skipif(
    PROGRAM is None, reason="no Chromium or Chrome here; .ci/packages says how to install one"
)


@contextlib.contextmanager
def opened_page() -> Iterator[tuple[Page, list[str]]]:
    """A page, and the addresses that it asks for; no name resolves but this computer's."""
    offline = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", offline]  # root, as in a container, has no sandbox
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        try:
            yield page, asked
        finally:
            browser.close()
        assert errors == []


def outside(asked: list[str], *inside: str) -> list[str]:
    """What of `asked` begins with none of `inside`, and is no content of the page itself."""
    return [url for url in asked if not url.startswith(("data:", "blob:", *inside))]
