"""Regularization pictures: which of a folder are usable, and what stands in their captions."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bakery.gate import gate
from bakery.io import images
from bakery.settings.layout import Regularization
from bakery.sources import folders, posts
from bakery.sources.caption_grammar import PLACEHOLDER
from bakery.tags import captions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RegPicture:
    """A usable picture."""

    name: str
    """Its path in the folder."""
    path: Path
    caption: str


def usable(
    reg: Regularization, folder: Path, unpacked: Path
) -> tuple[list[RegPicture], Counter[str]]:
    """The usable pictures of `folder`, and how many are left out by reason.

    A picture's own caption is used, else the class tokens. Archives are unpacked into `unpacked`.
    """
    found: list[RegPicture] = []
    dropped: Counter[str] = Counter()
    captioned = 0
    for post, path in folders.collect(folder, unpacked, "layout.reg.folder"):
        if why := _unfit(reg, post, path):
            dropped[why] += 1
            continue
        caption = post.own.caption.text if post.own else ""
        caption = caption.replace(PLACEHOLDER, reg.class_tokens)
        captioned += bool(caption)
        caption = caption or captions.join(captions.split(reg.class_tokens))
        if (posts.known(post) | gate.of_text(caption)).refused:
            dropped[gate.FORBIDDEN] += 1
            continue
        name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else post.url
        found.append(RegPicture(name, path, caption))
    counts = captioned, len(found)
    log.info("layout: %d of %d regularization pictures have captions of their own", *counts)
    return found, dropped


def _unfit(reg: Regularization, post: posts.Post, path: Path) -> str:
    """Why a picture is left out; "" when it is not."""
    if post.status != posts.FETCHED:
        return post.reason
    if reg.ratings and (post.rating or "general") not in reg.ratings:
        return "rating"
    try:
        images.open_rgb(path)
    except images.UnreadableImage as problem:
        return f"unreadable: {problem.reason}"
    return ""
