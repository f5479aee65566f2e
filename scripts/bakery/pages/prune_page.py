"""The prune page: every tag with examples, its decision and why, and a way to change it.

The page is one static file. Clicks on it give a `tags.csv` to download or copy.
It contains each picture once, however many tags it is an example of, so the page stays small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bakery.dataset.second_look import Judged
from bakery.edits import tag_edits
from bakery.edits.image_edits import INCLUDE
from bakery.io.images import UnreadableImage
from bakery.pages import page
from bakery.settings.prune import Prune
from bakery.tags import pruning
from bakery.tags.pruning import DecidedTag

EXAMPLES = 5
"""Example pictures of a tag."""
MOST = 240
"""Most pictures on the page; those that rare tags need are chosen first."""
SPOKEN = 60
"""Most captions with a sentence that the page shows."""
SIDE = 96
"""Pixels of a picture's longer side."""


def draw(
    settings: Prune,
    decided: Sequence[DecidedTag],
    outfits: Sequence[Mapping[str, Any]],
    *,
    pictures: Path,
    images: Sequence[str],
    subject: page.Subject,
    dropped: Sequence[Judged] = (),
    captions: Sequence[tuple[str, str, str]] = (),
) -> str:
    """The page as HTML.

    `outfits` are the rows of outfits.csv, `pictures` the folder of `images`, which the captions are
    written for; `dropped` are those that the second look left out, and `captions` those with a sentence:
    picture, tags, sentence.
    """
    spoken = captions[:SPOKEN]
    shown = examples([one.evidence.images for one in decided])
    left_out = [one.image for one in dropped[:MOST]]
    thumbnails = _thumbnails(
        pictures, {name for some in [*shown, left_out, [one[0] for one in spoken]] for name in some}
    )
    numbers = {name: number for number, name in enumerate(thumbnails)}
    rows = [
        (one, one.evidence, [(numbers[name], name) for name in some if name in numbers])
        for one, some in zip(decided, shown, strict=True)
    ]
    return page.render(
        "prune",
        tile=SIDE // 2,
        settings=settings,
        rows=rows,
        thumbnails=thumbnails,
        outfits=outfits,
        images=len(images),
        subject=subject,
        path=f"config/edits/{subject.dataset}/{tag_edits.NAME}",
        dropped=[(one, numbers.get(one.image)) for one in dropped[:MOST]],
        dropped_total=len(dropped),
        spoken=[(image, numbers.get(image), tags, said) for image, tags, said in spoken],
        spoken_total=len(captions),
        include=f"config/edits/{subject.dataset}/{INCLUDE}",
        kind_of=pruning.kind,
    )


def examples(of_tags: Sequence[Sequence[str]], most: int = MOST) -> list[list[str]]:
    """For each tag (its pictures, the surest first) up to EXAMPLES, of at most `most` different ones.

    Tags on few pictures choose first, since others find an example among theirs.
    """
    pool: set[str] = set()
    for mine in sorted(of_tags, key=len):
        for name in mine[:EXAMPLES]:
            if len(pool) < most:
                pool.add(name)
    return [[name for name in mine if name in pool][:EXAMPLES] for mine in of_tags]


def _thumbnails(pictures: Path, names: set[str]) -> dict[str, page.InlineImage]:
    """The pictures by name; one that cannot be read is left out."""
    found: dict[str, page.InlineImage] = {}
    for name in sorted(names):
        try:
            found[name] = page.thumbnail(pictures / name, SIDE)
        except UnreadableImage:
            continue
    return found
