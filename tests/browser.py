"""A real browser without network access: the pages that it shows and the addresses it requests."""

import contextlib
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)
needs_browser = pytest.mark.skipif(
    PROGRAM is None, reason="no Chromium or Chrome found; .ci/packages installs one"
)


@contextlib.contextmanager
def open_page() -> Iterator[tuple[Page, list[str]]]:
    """Open an empty page, which can connect to this computer only. Script errors fail the test.

    Returns:
        The page, and a growing list of the addresses that it requests.
    """
    offline = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", offline]  # the sandbox does not work for root in a container
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        requested: list[str] = []
        page.on("request", lambda request: requested.append(request.url))
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        try:
            yield page, requested
        finally:
            browser.close()
        assert errors == []


def external_urls(requested: list[str], *allowed: str) -> list[str]:
    """List the `requested` addresses that begin with none of `allowed`, data: and blob:."""
    return [url for url in requested if not url.startswith(("data:", "blob:", *allowed))]
