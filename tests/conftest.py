"""What the suite shares: workers' threads, markers, a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

OpenPage = Callable[..., AbstractContextManager[tuple[Any, list[str]]]]
"""The type of `opened_page`."""

if "PYTEST_XDIST_WORKER" in os.environ:
    # A worker for each core: more threads would only wait for each other. Before torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what opens a page in a browser; begins with the longest, so that no worker ends alone."""
    items.sort(key=lambda item: "workflow" not in item.path.parts)
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real headless Chromium, one a module: its event loop must not outlive the page's tests."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield running
        running.close()


@pytest.fixture(scope="module")
def opened_page(browser: Any) -> OpenPage:
    """Opens a page's file in a window of `width` and `height`; gives the page and the list, which grows,
    of what it asks for. Messages on the console and errors fail the test at the end, and so do dialogs,
    but for a page that `may_ask`: its tests answer."""

    @contextmanager
    def opened(
        file: Path, width: int = 1200, height: int = 900, *, may_ask: bool = False
    ) -> Iterator[tuple[Any, list[str]]]:
        def refuse(dialog: Any) -> None:
            said.append(f"dialog {dialog.message}")
            dialog.dismiss()

        context = browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(60_000)  # workers for all cores slow each other down
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        asked: list[str] = []
        said: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        if not may_ask:
            page.on("dialog", refuse)
        page.goto(file.as_uri())
        yield page, asked
        assert said == []
        context.close()

    return opened


@pytest.fixture
def copied() -> Callable[[Any, Any], str]:
    """Presses a page's copy button and reads the clipboard, once the page says that it is done."""
    from playwright.sync_api import expect

    def copy(page: Any, button: Any) -> str:
        status = page.locator("#status")
        status.evaluate("node => node.textContent = ''")
        button.click()
        expect(status).to_have_text("Copied")
        return page.evaluate("navigator.clipboard.readText()")

    return copy


@pytest.fixture
def own_home(tmp_path_factory, monkeypatch) -> Any:
    """A test that sees no gallery-dl configuration of whoever runs it."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    return home
