"""What the tests with a browser ask for: Chromium, and the product served by its own program."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser.people import Service
from playwright.sync_api import Browser, Playwright, expect, sync_playwright


@pytest.fixture(scope="session")
def playwright(chromium: dict[str, Any]) -> Iterator[Playwright]:
    """Start what drives the browser."""
    expect.set_options(timeout=20_000)  # only what is wrong may fail, not what is slow
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def browser(playwright: Playwright, chromium: dict[str, Any]) -> Iterator[Browser]:
    """Start Chromium once; everyone has a context of their own in it."""
    launched = playwright.chromium.launch(**chromium)
    yield launched
    launched.close()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Serve the demonstration, for the tests that look at pages rather than at the story."""
    service = Service(tmp_path_factory.mktemp("demo") / "data")
    with service.serving("demo", "--data", str(service.folder), "--port", str(service.port)):
        yield service


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Give the folder of an installation to come."""
    return tmp_path / "data"
