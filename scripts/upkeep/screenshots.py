"""Takes the pictures of the pages that README shows, from a bake's own pages, with Chromium.

    make && make pictures

`docs/comparison.webp`, `docs/status.webp` and `docs/captions.webp`. The status page is best taken while
a bake runs: `PYTHONPATH=scripts python scripts/upkeep/screenshots.py status` takes that one alone.
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Error, Page, sync_playwright

ROOT = Path(__file__).parents[2]
QUALITY = 80
"""Of WebP: letters stay sharp."""


def _nothing(page: Page) -> None:
    pass


def _captions_changed(page: Page) -> None:
    """As it looks while somebody works: one caption is being rewritten."""
    box = page.locator("textarea").nth(1)
    box.click()
    page.keyboard.press("End")
    page.keyboard.type(", waving")


@dataclass(frozen=True)
class Shown:
    """A page, and how much of it is pictured."""

    pattern: str
    """Below results; the newest file is taken."""
    width: int
    height: int
    prepare: Callable[[Page], None] = _nothing


PAGES: Mapping[str, Shown] = {
    "comparison": Shown("compare/*/index.html", 1280, 900),
    "status": Shown("index.html", 1280, 760),
    "captions": Shown("layout/*/captions.html", 1280, 560, _captions_changed),
}


def take(browser: Any, shown: Shown, target: Path) -> int:
    """Write the picture of a page; gives its bytes. Raises LookupError without such a page."""
    found = sorted((ROOT / "results").glob(shown.pattern), key=lambda path: path.stat().st_mtime)
    if not found:
        raise LookupError(f"there is no results/{shown.pattern}: run `make` first")
    size = {"width": shown.width, "height": shown.height}
    page = browser.new_page(viewport=size, color_scheme="light")
    page.goto(found[-1].as_uri())
    page.wait_for_load_state("networkidle")
    shown.prepare(page)
    picture = Image.open(io.BytesIO(page.screenshot()))
    page.close()
    picture.convert("RGB").save(target, "WEBP", quality=QUALITY, method=6)
    return target.stat().st_size


def main(names: list[str]) -> int:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
            )
            for name in names or PAGES:
                target = ROOT / "docs" / f"{name}.webp"
                print(f"{target.relative_to(ROOT)}: {take(browser, PAGES[name], target):,} bytes")
            browser.close()
    except (LookupError, Error) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
