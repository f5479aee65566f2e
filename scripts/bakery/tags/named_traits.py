"""Traits of the character that kept captions name: what a caption names, the trigger hardly learns.

With `prune.source: captions` nothing is pruned by rule. Captions that a tagger wrote name the hair and
the eyes on every picture, so whoever keeps such captions is told which traits those are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bakery.gate.sidecars import BrokenSidecar
from bakery.io import walk
from bakery.settings.prune import Prune
from bakery.sources import caption_files, glance
from bakery.tags import own_captions, pruning, vocabulary
from bakery.tags.trigger import Trigger


def beside_pictures(folders: Iterable[Path]) -> list[str]:
    """The captions of all pictures in `folders` and below, each as one line.

    A file that cannot be read is passed over here: the scrape leaves its picture out and says so.
    """
    files = caption_files.CaptionFiles()
    found = []
    for folder in folders:
        for path in walk.shown(folder):
            if path.suffix.lower() not in glance.PICTURES:
                continue
            try:
                own = files.of(path)
            except (BrokenSidecar, OSError):
                continue
            if own is not None and own.caption.pieces:
                found.append(own.caption.text)
    return found


def scraped(folder: Path) -> list[str]:
    """The captions that a finished scrape has found."""
    return list(caption_files.read(folder / caption_files.NAME).values())


def find(captions: Sequence[str], settings: Prune) -> list[str]:
    """Traits that at least `prune.min_frequency` of the captions name, the most frequent first.

    Those about which the config has decided already (`prune.always`, `prune.never`) are left out.
    """
    numbered = {str(number): caption for number, caption in enumerate(captions)}
    counts = own_captions.named(numbered, Trigger.of(settings))
    decided = pruning.known((*settings.always, *settings.never))
    often = [
        (-count, tag)
        for tag, count in counts.items()
        if count >= settings.min_frequency * len(captions)
        and tag not in decided
        and vocabulary.of(tag).trait is not None
    ]
    return [tag for _, tag in sorted(often)]


def advice(captions: Sequence[str], settings: Prune) -> str:
    """What to do about the traits that `captions` name; "" if there are none."""
    traits = find(captions, settings)
    if not traits or not settings.enabled:
        return ""
    return (
        f"the trigger will hardly learn what most captions name: write `always: [{', '.join(traits)}]` "
        "below prune to take these traits out of the captions, or prune.source: tagger"
    )
