"""Bakes as the dry bake is given them, and finished folders of their stages made by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from bakery.io import tables
from bakery.settings import config as cfg
from bakery.stages import layout

CHAIN = cfg.STAGES[:-1]


def outlined(folder: Path, label: str = "bake", **sections: Mapping[str, Any]) -> dict[str, Any]:
    """A bake whose results lie in `folder`, with some settings by stage."""
    config = cfg.load({stage: dict(settings) for stage, settings in sections.items()})
    key = label.replace(" ", "_")
    below = CHAIN.index("train")
    return {
        "page": "sweep",
        "label": label,
        "settings": {stage: getattr(config, stage).model_dump(mode="json") for stage in CHAIN},
        "folders": {
            stage: str(folder / stage / (key if CHAIN.index(stage) >= below else "data"))
            for stage in CHAIN
        },
        "base": str(folder / "base"),
        "tagger": str(folder / "tagger"),
    }


def done(bake: Mapping[str, Any], *stages: str) -> None:
    """Marks stages as finished."""
    for stage in stages:
        place = Path(bake["folders"][stage])
        place.mkdir(parents=True, exist_ok=True)
        about = {"stage": stage, "settings": bake["settings"][stage]}
        (place / "manifest.json").write_text(json.dumps(about))


def filtered(bake: Mapping[str, Any], sizes: Sequence[tuple[int, int]], concept: str = "") -> None:
    """Scrape and filter have run and kept pictures of these sizes; a dropped one is there, too."""
    done(bake, "scrape", "filter")
    names = [f"{i:03}.png" for i in range(len(sizes))]
    posts = [{"image": name, "concept": concept} for name in (*names, "dropped.png", "")]
    tables.write(Path(bake["folders"]["scrape"]) / "posts.csv", posts, ("image", "concept"))
    rows = [
        {"image": name, "kept": "true", "width": width, "height": height}
        for name, (width, height) in zip(names, sizes, strict=True)
    ]
    rows.append({"image": "dropped.png", "kept": "false", "width": 9, "height": 9})
    columns = ("image", "kept", "width", "height")
    tables.write(Path(bake["folders"]["filter"]) / "decisions.csv", rows, columns)


def laid_out(bake: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """The layout has run; each row has file, repeats and size, and what else differs."""
    done(bake, "layout")
    folder = Path(bake["folders"]["layout"])
    usual = {"image": "", "caption": "mirael", "concept": "", "kind": "picture", "by_hand": "false"}
    for row in rows:
        (folder / row["file"]).parent.mkdir(parents=True, exist_ok=True)
        Image.new("1", row["size"]).save(folder / row["file"])
    tables.write(folder / "layout.csv", [usual | dict(row) for row in rows], layout.COLUMNS)


def baked(
    bake: Mapping[str, Any], speed: float, *, memory: float | None = None, size: int = 9
) -> None:
    """The bake has run at `speed` steps a second and left a LoRA of `size` bytes."""
    done(bake, "train")
    folder = Path(bake["folders"]["train"])
    line = {"step": 2, "steps_per_second": speed}
    line |= {} if memory is None else {"memory_gib": memory}
    (folder / "progress.jsonl").write_text('{"step": 1}\n' + json.dumps(line) + "\n")
    (folder / "mirael.safetensors").write_bytes(b"x" * size)
