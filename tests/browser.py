"""A real headless Chromium for pages; a test that uses it is skipped where none is installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def executable() -> str:
    """Return Chromium's path; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if found is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    return found


@contextmanager
def opened(url: str, **context: Any) -> Iterator[Any]:
    """Open a page; on leaving, everything that it logged as an error must have been nothing."""
    from playwright.sync_api import sync_playwright

    path = executable()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(**context)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))

        def refuse(dialog: Any) -> None:
            errors.append(f"dialog: {dialog.message}")
            dialog.dismiss()

        page.on("dialog", refuse)
        try:
            page.goto(url)
            yield page
            assert errors == []
        finally:
            browser.close()
