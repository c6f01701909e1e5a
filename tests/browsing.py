"""Pages in headless Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENS = [("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)]
"""Colour schemes and widths that pages are looked at in."""


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser; the test is skipped where it or Playwright is missing."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="needs: pip install 'pepbench[browser]'"
    )
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@contextmanager
def screen(browser: Any, theme: str, width: int, **options: Any) -> Iterator[Any]:
    """An empty page of that width; fails if what is opened in it logs an error."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=theme, **options
    )
    opened = context.new_page()
    problems: list[str] = []
    opened.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    yield opened
    assert problems == []
    context.close()


def scrolls_sideways(page: Any) -> bool:
    """Whether the page itself does, not a table in its box."""
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))
