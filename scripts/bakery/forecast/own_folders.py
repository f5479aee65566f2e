"""What the user's own folders hold, before anything has run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bakery.io.images import Size
from bakery.settings.filter import Filter
from bakery.settings.scrape import Scrape
from bakery.sources import glance


@dataclass(frozen=True)
class OwnPictures:
    """Pictures of `scrape.folders` as far as their headers show."""

    kept: tuple[tuple[str, Size], ...] = ()
    """Concept and size of those that the filter does not drop for their shape."""
    dropped: int = 0
    unreadable: int = 0

    def about(self, settings: Filter) -> str:
        """What becomes of the other files; "" if there are none."""
        told = []
        if self.dropped:
            told.append(
                f"{self.dropped} more are left out as too small or too long (filter.min_side "
                f"{settings.min_side}, filter.max_aspect {settings.max_aspect})"
            )
        if self.unreadable:
            told.append(f"{self.unreadable} more cannot be read")
        return "; ".join(told) + "." * bool(told)


def look(scrape: Scrape, settings: Filter) -> OwnPictures:
    """Counts and measures the pictures in all folders; each folder is looked at once."""
    kept: list[tuple[str, Size]] = []
    dropped = unreadable = 0
    for entry in scrape.folders:
        folder = Path(entry.path).expanduser()
        seen = glance.at([folder] if folder.is_dir() else [])
        unreadable += seen.unreadable
        for size in seen.sizes[: entry.limit]:
            if _fits(size, settings):
                kept.append((entry.concept, size))
            else:
                dropped += 1
    return OwnPictures(tuple(kept), dropped, unreadable)


def _fits(size: Size, settings: Filter) -> bool:
    longest = settings.max_aspect
    return min(size) >= settings.min_side and (longest is None or max(size) <= longest * min(size))
