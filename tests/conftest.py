"""What the suite shares: no test depends on luck, workers' threads, markers, a browser."""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

OpenPage = Callable[..., AbstractContextManager[tuple[Any, list[str]]]]
"""The type of `opened_page`."""

if "PYTEST_XDIST_WORKER" in os.environ:
    # A worker for each core: more threads would only wait for each other. Before torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples in each run, however slow the machine is; `--hypothesis-profile=search` tries others.
PATIENT: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [hypothesis.HealthCheck.too_slow],
}
hypothesis.settings.register_profile("suite", derandomize=True, **PATIENT)
hypothesis.settings.register_profile("search", **PATIENT)
hypothesis.settings.load_profile("suite")

PATIENCE = 60_000
"""Milliseconds that a page may take for what takes moments: workers slow each other down."""


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what opens a page in a browser; begins with the longest, so that no worker ends alone."""
    items.sort(key=lambda item: "workflow" not in item.path.parts)
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


@pytest.hookimpl(tryfirst=True)  # before the fixtures are made
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Random numbers that a test does not seed are the same whichever tests its worker ran before."""
    random.seed(0)
    for library, seed in (("numpy.random", "seed"), ("torch", "manual_seed")):
        if library in sys.modules:
            getattr(sys.modules[library], seed)(0)


@dataclass(frozen=True)
class PatientBrowser:
    """A browser whose pages wait for `PATIENCE`."""

    running: Any

    def new_context(self, **options: Any) -> Any:
        context = self.running.new_context(**options)
        context.set_default_timeout(PATIENCE)
        return context

    def new_page(self, **options: Any) -> Any:
        page = self.running.new_page(**options)
        page.set_default_timeout(PATIENCE)
        return page


@pytest.fixture(scope="module")
def browser() -> Iterator[PatientBrowser]:
    """A real headless Chromium, one a module: its event loop must not outlive the page's tests."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as driver:
        playwright.expect.set_options(timeout=PATIENCE)
        running = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"], timeout=PATIENCE
        )
        yield PatientBrowser(running)
        running.close()


@pytest.fixture(scope="module")
def opened_page(browser: PatientBrowser) -> OpenPage:
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
def with_another_tab() -> Callable[[Any], Any]:
    """Opens a page's file in another tab as well, and gives the page: the other tab holds what the
    browser keeps, which it may let go of between two documents of one tab."""

    def held(page: Any) -> Any:
        page.context.new_page().goto(page.url)
        return page

    return held


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
