"""Collects the pictures: booru posts through gallery-dl, and local folders.

Steps: check every address before querying any site; fetch each into the shared store; link the
files into `images/` under unique names; record the lineage of every post, fetched or not.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from pathlib import Path

from bakery.io import images
from bakery.io.errors import BakeryError
from bakery.io.files import copy, link, sayable
from bakery.settings import credentials
from bakery.settings.named_files import expanded
from bakery.settings.scrape import Scrape
from bakery.sources import booru as loopback
from bakery.sources import caption_files, folders, posts
from bakery.sources import store as store_of
from bakery.sources.gallery import Gallery
from bakery.sources.gallery_process import Bounds
from bakery.sources.listing import EMBEDDED, FetchedPost

log = logging.getLogger("bakery.stages.scrape")

_UNPACKED = "unpacked-"
"""How folders begin that an archive is unpacked into for a while."""


def run(settings: Scrape, *, booru: Path, out: Path, store: Path) -> dict:
    """Writes `images/` and `posts.csv` to `out`, and `captions.csv` where pictures of local folders
    have captions of their own (`caption_files.COLUMNS`); returns counts, in all and by source.

    `booru` is the folder behind `embedded://` addresses. `store` is shared between runs: a raised
    limit, another search or a killed run fetches only what is not there yet, and tries again what
    failed. Raises `BakeryError` when a source gives nothing, or when less than
    `settings.minimum_share` of a concept's posts came.
    """
    with Gallery(store, settings.gallery_dl, _bounds(settings)) as gallery:
        for entry in settings.urls:
            gallery.check(entry.url)
        store.mkdir(parents=True, exist_ok=True)
        with _alone(store):
            listings = [*_from_urls(settings, booru, gallery), *_from_folders(settings, store)]
            return _collected(listings, settings, out)


def _bounds(settings: Scrape) -> Bounds:
    return Bounds(**{one.name: getattr(settings, one.name) for one in fields(Bounds)})


def _collected(listings: list[tuple[dict, list[FetchedPost]]], settings: Scrape, out: Path) -> dict:
    """Writes what came; the counts, in all and by source."""
    found = [each for _, listed in listings for each in listed]
    _name(found)
    _complain(found)
    _enough(found, settings.minimum_share)
    out.mkdir(parents=True, exist_ok=True)
    _link(found, out / "images")
    posts.write(out / "posts.csv", [each.post for each in found])
    return (
        _counts(found)
        | {
            "reasons": _reasons(found),
            "sources": [about | _counts(listed) for about, listed in listings],
        }
        | _captions(found, out)
    )


def _from_urls(
    settings: Scrape, booru: Path, gallery: Gallery
) -> Iterator[tuple[dict, list[FetchedPost]]]:
    """What each address gives; a post that two of them find belongs to the first."""
    if not settings.urls:
        return
    seen: set[str] = set()
    embedded = any(entry.url.startswith(EMBEDDED) for entry in settings.urls)
    with loopback.serve(booru) if embedded else nullcontext("") as base:
        for entry in settings.urls:
            here = base if entry.url.startswith(EMBEDDED) else ""
            limit = entry.limit or settings.limit
            listing = gallery.fetch(entry.url, limit=limit, base=here)
            listed = list(listing.found.values())
            new = []
            for each in listed:
                name = str(each.file or each.post.url or each.post.id)
                if name not in seen:
                    seen.add(name)
                    each.post.concept = entry.concept
                    new.append(each)
            shown = credentials.hide(entry.url)
            came = sum(each.file is not None for each in listed)
            log.info("%s: %d posts, %d files, %d of an earlier entry", shown, len(listed), came,
                     len(listed) - len(new))  # fmt: skip
            again = {"repeated": listing.repeats} if listing.repeats else {}
            yield {"source": shown, "concept": entry.concept, "limit": limit} | again, new


def _from_folders(settings: Scrape, store: Path) -> Iterator[tuple[dict, list[FetchedPost]]]:
    """What the local folders give, copied into the store: the originals stay the user's own.

    A file that two of them hold, since one is in the other, belongs to the first.
    """
    copies = store / store_of.FOLDERS
    seen: set[Path] = set()
    for entry in settings.folders:
        with tempfile.TemporaryDirectory(dir=store, prefix=_UNPACKED) as unpacked:
            place = expanded(entry.path)
            listed = folders.collect(place, Path(unpacked))
            found = [(post, path) for post, path in listed if _real(place, post) not in seen]
            kept = [_copied(post, path, copies) for post, path in found[: entry.limit]]
        seen |= {_real(place, each.post) for each in kept if each.post.url}
        for each in kept:
            each.post.concept = entry.concept
        log.info("%s: %d files, %d of an earlier entry", entry.path, len(kept),
                 len(listed) - len(found))  # fmt: skip
        _tell(entry.path, kept)
        about = {"source": place.name, "concept": entry.concept, "limit": entry.limit}
        yield about, kept


def _real(place: Path, post: posts.Post) -> Path:
    """Where a post of the folder or archive `place` lies, however the place was written."""
    real = place.resolve()
    return real / post.url.partition("/")[2] if place.is_dir() else real.parent / post.url


def _copied(post: posts.Post, path: Path, copies: Path) -> FetchedPost:
    if post.status != posts.FETCHED:
        return FetchedPost(post)
    copies.mkdir(exist_ok=True)
    own = copies / f"{folders.safe_stem(path)}-{post.md5}{_extension(path)}"
    if not own.is_file() or store_of.md5_of(own) != post.md5:
        copy(path, own)
    return FetchedPost(post, own)


def _tell(place: str, kept: list[FetchedPost]) -> None:
    """Logs in one line what of a folder is left alone, by reason."""
    left = Counter(each.post.reason for each in kept if each.post.status == posts.SKIPPED)
    if left:
        listed = "; ".join(f"{count} {reason}" for reason, count in left.most_common())
        log.warning("%s: left alone: %s", place, sayable(listed))


def _extension(path: Path) -> str:
    """The extension that tells what is inside; the file's own when that cannot be told."""
    try:
        return images.REAL_EXTENSIONS[images.real_format(path)]
    except images.UnreadableImage:
        return path.suffix.lower()


def _name(found: list[FetchedPost]) -> None:
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


def _complain(found: list[FetchedPost]) -> None:
    """Logs the posts that should have been fetched and were not."""
    failed = [each.post for each in found if each.post.status == posts.FAILED]
    for post in failed:
        log.warning("%s", sayable(f"{post.url or post.id}: {post.reason}"))
    if failed:
        log.warning("%d posts failed: they are tried again whenever the store is used, so raise "
                    "scrape.limit or scrape.attempt to ask again", len(failed))  # fmt: skip


def _enough(found: list[FetchedPost], minimum_share: float) -> None:
    """Each concept separately: a large one must not hide a missing small one."""
    for concept in dict.fromkeys(each.post.concept for each in found):
        rows = [each.post for each in found if each.post.concept == concept]
        wanted = [post for post in rows if post.status != posts.SKIPPED]
        came = sum(post.status == posts.FETCHED for post in wanted)
        of = f" of the concept {concept}" if concept else ""
        if not came:
            raise BakeryError(
                f"scrape: none of {len(rows)} posts{of} gave a picture; {_most(rows)}"
            )
        if came < minimum_share * len(wanted):
            raise BakeryError(
                f"scrape: only {came} of {len(wanted)} posts{of} could be fetched, less than "
                f"minimum_share {minimum_share:g}; {_most(wanted)}; what was fetched is kept: run "
                "again later, or lower scrape.minimum_share"
            )


def _most(rows: list[posts.Post]) -> str:
    """The most frequent reason why posts failed."""
    reasons = Counter(post.reason for post in rows if post.status == posts.FAILED)
    if not reasons:
        return "all were skipped on purpose"
    reason, count = reasons.most_common(1)[0]
    return f"most often ({count}): {reason}"


def _link(found: list[FetchedPost], target: Path) -> None:
    """Hard links into the store, or copies where links cannot be."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for each in found:
        if each.file is not None:
            link(each.file, target / each.post.image)


def _counts(found: list[FetchedPost]) -> dict:
    status = Counter(each.post.status for each in found)
    return {
        "posts": len(found),
        "images": status[posts.FETCHED],
        "failed": status[posts.FAILED],
        "skipped": status[posts.SKIPPED],
    }


def _reasons(found: list[FetchedPost]) -> dict:
    reasons = Counter(each.post.reason for each in found if each.post.reason)
    return dict(sorted(reasons.items()))


def _captions(found: list[FetchedPost], out: Path) -> dict:
    """Writes the pictures' own captions, and counts them; nothing without any caption file."""
    own = [
        (each.post.image, f"{each.post.url.rpartition('/')[0]}/{each.post.own.file}", each.post.own)
        for each in found
        if each.post.image and each.post.own
    ]
    caption_files.write(out / caption_files.NAME, own)
    several = [(image, one.candidates) for image, _, one in own]
    caption_files.write_candidates(out / caption_files.CANDIDATES, several)
    if not own:
        return {}
    counts = caption_files.summary([one for _, _, one in own], _counts(found)["images"])
    log.info("%s", caption_files.told(counts))
    return {"own_captions": counts}


@contextmanager
def _alone(store: Path) -> Iterator[None]:
    """Waits until no other scrape writes to the store."""
    with (store / ".lock").open("w") as lock:
        # lockf, not flock: it is not inherited by children that outlive a killed run.
        fcntl.lockf(lock, fcntl.LOCK_EX)
        for left in store.glob(f"{_UNPACKED}*"):  # of a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        yield
