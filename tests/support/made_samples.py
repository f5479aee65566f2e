"""Samples made by hand: pictures in which `tiny_tagger` sees what a test wants, and their tables."""

from __future__ import annotations

import json
from pathlib import Path

from tiny_tagger import draw

from bakery.io import tables
from bakery.scoring import score_tables
from bakery.settings.tag import Thresholds
from bakery.tags.trigger import Trigger

TAGS = [
    "pink hair", "halo", "rare horn", "smile", "beach", ";d", "blue shirt", "mirael (game)",
    "red jacket", "jacket", "street", "forest",
]  # fmt: skip
CATEGORIES = {"mirael (game)": "character"}
PICTURES = ("a.png", "b.png", "c.png", "d.png")
Shot = tuple[int, str, str, str, int, dict[str, float]]
"""epoch, prompt, purpose, asked, seed, what is seen"""


def stages(
    folder: Path, traits: list[str] | None = None, pruned: tuple[str, ...] = ()
) -> dict[str, Path]:
    """Folders of scrape, tag and prune: 4 training pictures in red jackets, 3 of them in a street.

    Pink hair is on all of them, halo on 3, horn on 1.
    """
    scrape, prune, tag = folder / "scrape", folder / "prune", folder / "tag"
    for place in (prune, tag, scrape / "images"):
        place.mkdir(parents=True)
    captions = ({"image": name, "caption": "mirael"} for name in PICTURES)
    tables.write(prune / "captions.csv", captions, ("image", "caption"))
    known = ("pink hair", "halo", "rare horn") if traits is None else tuple(traits)
    limits = Thresholds(general=0.35, character=0.85)
    Trigger("mirael", pruned=pruned, traits=known, thresholds=limits).write(prune)
    seen = [(name, tag, 0.9) for name in PICTURES for tag in ("pink hair", "red jacket", "jacket")]
    seen += [("a.png", "halo", 0.35), ("b.png", "halo", 0.8), ("c.png", "halo", 0.99)]
    seen += [("d.png", "halo", 0.34), ("d.png", "rare horn", 0.9)]
    seen += [(name, "street", 0.9) for name in PICTURES[:3]]
    for name in PICTURES:
        shown = {t: p for image, t, p in seen if image == name}
        draw(TAGS, shown).save(scrape / "images" / name)
    rows = ({"image": i, "tag": t, "category": "general", "probability": p} for i, t, p in seen)
    tables.write(tag / "tags.csv", rows, ("image", "tag", "category", "probability"))
    tables.write(tag / "vocabulary.csv", [], ("tag", "category", "count"))
    (tag / "tagger.json").write_text(json.dumps({"model": "tiny", "unreadable": {}}))
    return {"prune": prune, "tag": tag, "scrape": scrape}


def sample_stage(folder: Path, shots: list[Shot], weight: float = 1.0) -> Path:
    """A sample folder with a picture for each shot; `epoch` 2.5 is epoch 2 at weight 0.5."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, prompt, purpose, asked, seed, seen in shots:
        epoch, part = int(number), number % 1
        prefix = f"e{epoch}w{part:g}" if part else f"e{epoch}"
        image = f"{prefix}_{prompt}_s{seed}.png"
        draw(TAGS, seen).save(folder / "images" / image)
        reference = f"e0_{prompt}-base_s{seed}.png" if purpose == "flexibility" else ""
        rows.append(
            {"epoch": epoch, "weight": part or (weight if epoch else 0), "nominal": int(not part),
             "prompt_id": prompt, "purpose": purpose, "prompt": "mirael", "asked": asked,
             "seed": seed, "image": image, "reference": reference}
        )  # fmt: skip
    tables.write(folder / "samples.csv", rows, score_tables.READ)
    return folder
