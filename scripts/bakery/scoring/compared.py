"""The pictures that samples are compared with: those that were trained on, and those held out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bakery.dataset import holdout
from bakery.io import tables
from bakery.io.errors import BakeryError


@dataclass(frozen=True)
class Compared:
    """Pictures of a dataset as they were scraped, by what became of them."""

    trained: tuple[Path, ...]
    held_out: tuple[Path, ...] = ()

    @classmethod
    def read(cls, prune: Path, scrape: Path, layout: Path | None = None) -> Compared:
        """By the folders of these stages; without `layout` nothing is held out.

        Raises `BakeryError` where no picture was trained on.
        """
        names = dict.fromkeys(tables.read(prune / "captions.csv", ("image",))["image"])
        if not names:
            raise BakeryError(
                f"{prune / 'captions.csv'} lists no picture: loosen the filter section"
            )
        held = set()
        if layout is not None:
            rows = tables.read(layout / "layout.csv", ("image", "kind"))
            held = set(rows.loc[rows["kind"] == holdout.KIND, "image"])
        folder = scrape / "images"
        return cls(
            tuple(folder / name for name in names if name not in held),
            tuple(folder / name for name in names if name in held),
        )

    @property
    def likest(self) -> tuple[Path, ...]:
        """The pictures that a good sample resembles: those held out, else those trained on."""
        return self.held_out or self.trained
