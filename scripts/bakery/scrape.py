"""Collects the pictures: booru posts through gallery-dl, and local folders.

Steps: look at every address before asking any site; fetch each into the shared store; link what
came into `images/` under names that differ; write the lineage of every post, come or not.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from bakery import booru as loopback
from bakery import folders, gallery, images, posts
from bakery.config import Scrape
from bakery.errors import BakeryError
from bakery.gallery import EMBEDDED, Found

log = logging.getLogger("bakery.scrape")


def run(settings: Scrape, *, booru: Path, out: Path, store: Path) -> dict:
    """Writes `images/` and `posts.csv` to `out`; returns counts.

    `booru` is the folder behind `embedded://` addresses. `store` is shared between runs: a raised
    limit, another search or a killed run fetches only what is not there yet. Raises `BakeryError`
    when a source gives nothing, or when less than `settings.minimum_share` of its posts came.
    """
    for url in settings.urls:
        gallery.check(url)
    store.mkdir(parents=True, exist_ok=True)
    with _alone(store):
        found = [*_from_urls(settings, booru, store), *_from_folders(settings, store)]
        _name(found)
        _enough(found, settings.minimum_share)
        out.mkdir(parents=True, exist_ok=True)
        _link(found, out / "images")
    rows = [each.post for each in found]
    posts.write(out / "posts.csv", rows)
    return _summary(rows)


def _from_urls(settings: Scrape, booru: Path, store: Path) -> list[Found]:
    """What the addresses give; a post that two of them find counts once."""
    if not settings.urls:
        return []
    found: dict[str, Found] = {}
    embedded = any(url.startswith(EMBEDDED) for url in settings.urls)
    with loopback.serve(booru) if embedded else nullcontext("") as base:
        for url in settings.urls:
            here = base if url.startswith(EMBEDDED) else ""
            listed = gallery.fetch(url, limit=settings.limit, store=store, base=here)
            came = sum(each.file is not None for each in listed)
            log.info("%s: %d posts, %d files", gallery.hide_credentials(url), len(listed), came)
            for each in listed:
                found.setdefault(str(each.file or each.post.url or each.post.id), each)
    return list(found.values())


def _from_folders(settings: Scrape, store: Path) -> list[Found]:
    """What the local folders give, copied into the store: the originals stay the user's own."""
    kept: list[Found] = []
    shelf = store / "folders"
    for name in settings.folders:
        for post, path in folders.collect(Path(name)):
            if posts.forbidden(post):
                post = posts.Post(status=posts.SKIPPED, reason=posts.FORBIDDEN)
            if post.status != posts.FETCHED:
                kept.append(Found(post))
                continue
            shelf.mkdir(exist_ok=True)
            copy = shelf / f"{folders.safe_stem(path)}-{post.md5}{_extension(path)}"
            if not copy.is_file():
                part = copy.with_name(copy.name + ".part")
                shutil.copyfile(path, part)
                os.replace(part, copy)
            kept.append(Found(post, copy))
    return kept


def _extension(path: Path) -> str:
    """The extension that tells what is inside; the file's own when that cannot be told."""
    try:
        return images.REAL_EXTENSIONS[images.real_format(path)]
    except images.UnreadableImage:
        return path.suffix.lower()


def _name(found: list[Found]) -> None:
    """Gives each picture a file name of which even the stem, in any case, is its own."""
    taken: set[str] = set()
    for each in found:
        if each.file is None:
            continue
        stem = each.file.stem
        if each.file.parent.name == "folders":
            stem = stem.rpartition("-")[0]
        unique, number = stem, 1
        while unique.casefold() in taken:
            number += 1
            unique = f"{stem}-{number}"
        taken.add(unique.casefold())
        each.post.image = unique + each.file.suffix


def _enough(found: list[Found], minimum_share: float) -> None:
    wanted = [each.post for each in found if each.post.status != posts.SKIPPED]
    came = sum(post.status == posts.FETCHED for post in wanted)
    if not came:
        raise BakeryError(f"scrape: none of {len(found)} posts gave a picture; {_most(wanted)}")
    if came < minimum_share * len(wanted):
        raise BakeryError(
            f"scrape: only {came} of {len(wanted)} posts could be fetched, less than "
            f"minimum_share {minimum_share:g}; {_most(wanted)}; what came is in the store: "
            "run again later, or lower scrape.minimum_share"
        )


def _most(rows: list[posts.Post]) -> str:
    """The most frequent reason why posts failed."""
    reasons = Counter(post.reason for post in rows if post.status == posts.FAILED)
    if not reasons:
        return "all were skipped on purpose"
    reason, count = reasons.most_common(1)[0]
    return f"most often ({count}): {reason}"


def _link(found: list[Found], target: Path) -> None:
    """Hard links into the store, or copies where links cannot be."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for each in found:
        if each.file is None:
            continue
        try:
            os.link(each.file, target / each.post.image)
        except OSError:
            shutil.copyfile(each.file, target / each.post.image)


def _summary(rows: list[posts.Post]) -> dict:
    status = Counter(post.status for post in rows)
    reasons = Counter(post.reason for post in rows if post.reason)
    return {
        "posts": len(rows),
        "images": status[posts.FETCHED],
        "failed": status[posts.FAILED],
        "skipped": status[posts.SKIPPED],
        "reasons": dict(sorted(reasons.items())),
    }


@contextmanager
def _alone(store: Path) -> Iterator[None]:
    """Waits until no other scrape writes to the store."""
    with (store / ".lock").open("w") as lock:
        # lockf, not flock: it is not inherited by children that outlive a killed run.
        fcntl.lockf(lock, fcntl.LOCK_EX)
        yield
