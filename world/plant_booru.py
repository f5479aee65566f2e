"""Plants the embedded booru: posts of three characters, and all that a bake must not eat.

`python -m world.plant_booru resources/world/booru` writes, the same bytes for the same seed,

- `posts.json`: Danbooru post objects, one a line
- `files/<md5>.<ext>`
- `truth.csv`: post id, md5, search, kind, keep (true/false), reasons (as the filter would name
  them, `;`-joined; for files that never arrive, the scrape's status)

`PLANTED` says how many of each kind there are. Every picture is a harmless portrait: ratings and
tags that must be refused are labels only. The tags of a portrait are true by construction.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path

import numpy as np

from world import planting, spoil
from world.planting import Draft, Gardener

COPYRIGHT = "crumb_chronicles"
FIRST_ID, FIRST_DAY = 4100, datetime(2021, 3, 1, 9)

PLANTED: dict[Callable[[Gardener], list[Draft]], int] = {
    planting.clean: 40,
    planting.same_pose: 3,
    planting.as_file("png_alpha", "png", spoil.png_alpha): 2,
    planting.as_file("png_palette", "png", spoil.png_palette): 2,
    planting.as_file("png_16bit", "png", spoil.png_16bit): 1,
    planting.as_file("webp", "webp", spoil.webp): 4,
    planting.as_file("exif_rotated", "jpg", spoil.jpeg_rotated): 3,
    planting.as_file("cmyk", "jpg", spoil.jpeg_cmyk): 2,
    planting.as_file("wrong_extension", "png", spoil.jpeg): 2,
    planting.as_file("wrong_extension", "jpg", spoil.webp): 2,
    planting.two_people: 14,
    planting.comic: 7,
    planting.grey_by_tag: 7,
    planting.grey_untagged: 4,
    planting.sepia: 3,
    planting.sketch: 6,
    planting.low_score: 12,
    planting.other_rating: 16,
    planting.refused: 4,
    planting.copies("copy_reencoded", lambda image, rng: image): 4,
    planting.copies("copy_resized", spoil.shrunk): 4,
    planting.copies("copy_cropped", spoil.cropped): 4,
    planting.copies("copy_bright", spoil.brightened): 2,
    planting.better_upload: 3,
    planting.tiny: 6,
    planting.corrupt: 4,
    planting.truncated: 6,
    planting.animated("animated_gif", "gif", spoil.gif): 3,
    planting.animated("animated_webp", "webp", spoil.webp_animated): 2,
    planting.several_reasons: 3,
    planting.without_file("hidden", "failed", hidden=True): 5,
    planting.without_file("missing_file", "failed"): 2,
    planting.empty_file: 1,
    planting.without_file("deleted", "skipped", is_deleted=True): 5,
    planting.without_file("video", "skipped", ext="webm"): 1,
}
OTHERS = {"velka": 26, "torrin": 24}
"""Characters with a search of their own: good posts only."""


def drafts(seed: int) -> list[Draft]:
    """All posts in the order of their ids."""
    rng = np.random.default_rng(seed)
    grown = []
    for plant, count in PLANTED.items():
        for _ in range(count):
            grown += plant(Gardener(rng, "mirael"))
    for character, count in OTHERS.items():
        for _ in range(count):
            grown += planting.clean(Gardener(rng, character))
    for draft in grown:  # a copy comes after what it was copied from
        if draft.parent:
            draft.late = max(draft.late, draft.parent.late + 1e-6)
    grown.sort(key=lambda draft: draft.late)
    number = FIRST_ID
    for draft in grown:
        number += int(rng.integers(1, 9))
        draft.id = number
    return grown


def post_of(draft: Draft, rng: np.random.Generator) -> tuple[dict, str]:
    """The Danbooru post object, and the name of its file in `files/` ("" when there is none)."""
    md5 = hashlib.md5(draft.data if draft.data is not None else b"%d" % draft.id).hexdigest()
    ext = draft.extra.get("ext", draft.ext)
    general = sorted({tag.replace(" ", "_") for tag in draft.tags})
    meta = ["animated"] if "animated" in general else []
    general = [tag for tag in general if tag not in meta]
    artist = f"baker_{int(rng.integers(1, 15)):02d}"
    groups = {
        "general": general, "character": sorted(draft.characters), "copyright": [COPYRIGHT],
        "artist": [artist], "meta": meta,
    }  # fmt: skip
    day = FIRST_DAY + timedelta(hours=7 * (draft.id - FIRST_ID))
    post = {
        "id": draft.id,
        "created_at": day.isoformat(timespec="milliseconds") + "+00:00",
        "source": "",
        "md5": md5,
        "rating": draft.rating,
        "score": draft.score,
        "fav_count": max(0, draft.score + int(rng.integers(-2, 9))),
        "image_width": draft.size[0],
        "image_height": draft.size[1],
        "file_ext": ext,
        "file_size": len(draft.data or b"") or 20_000,
        "parent_id": draft.parent.id if draft.parent else None,
        "is_deleted": bool(draft.extra.get("is_deleted")),
        "tag_string": " ".join(sorted(chain.from_iterable(groups.values()))),
        **{f"tag_string_{group}": " ".join(tags) for group, tags in groups.items()},
        "file_url": f"/data/{md5}.{ext}",
    }
    if draft.extra.get("hidden"):  # as for members only: neither file nor checksum
        del post["file_url"], post["md5"]
    return post, f"{md5}.{ext}" if draft.data is not None else ""


def plant(out: Path, seed: int) -> None:
    """Writes the whole folder anew."""
    rng = np.random.default_rng([seed, 1])
    files = out / "files"
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir(parents=True)
    posts, truth = [], []
    for draft in drafts(seed):
        post, name = post_of(draft, rng)
        posts.append(post)
        if name:
            (files / name).write_bytes(draft.data)
        truth.append({
            "id": draft.id, "md5": post.get("md5", ""), "search": draft.characters[0],
            "kind": draft.kind, "keep": "false" if draft.reasons else "true",
            "reasons": ";".join(draft.reasons),
        })  # fmt: skip
    lines = ",\n".join(json.dumps(post, separators=(",", ":")) for post in reversed(posts))
    (out / "posts.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    with (out / "truth.csv").open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, truth[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(reversed(truth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to write, e.g. resources/world/booru")
    parser.add_argument("--seed", type=int, default=130)
    args = parser.parse_args()
    plant(args.out, args.seed)
    names = list((args.out / "files").iterdir())
    size = sum(name.stat().st_size for name in names)
    print(f"{len(names)} files, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
