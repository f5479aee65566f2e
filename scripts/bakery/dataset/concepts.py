"""Concepts: what each repeat folder shows, how often, and its share of all showings.

The main dataset is the concept "". A showing is one picture seen once; an epoch has
sum over folders of (pictures * repeats) of them.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bakery.io.errors import BakeryError
from bakery.io.files import unreserved
from bakery.settings.layout import Concept, Layout

MAIN = ""
"""The concept of pictures without another one."""
FAR_OFF = 0.25
"""Warn if the reached share differs from the requested one by more than this part of it."""

_LONGEST = 180  # bytes of a stem: trainers append to it (latent caches), and 255 is the limit
_FOUR_NUMBERS = re.compile(r"(_\d+){4}$")


@dataclass(frozen=True)
class RepeatFolder:
    """One concept's repeat folder."""

    concept: str
    name: str
    """The part after the repeats: the 'name' of `5_name`."""
    repeats: int
    images: int
    share: float
    """Of all showings of an epoch."""
    wished: float | None = None
    """The share requested in the config."""

    @property
    def shown(self) -> int:
        """Showings in an epoch."""
        return self.images * self.repeats

    @property
    def folder(self) -> str:
        return f"{self.repeats}_{self.name}"

    @property
    def summary(self) -> dict[str, int | float]:
        """Its entry in the layout's manifest."""
        wished = {} if self.wished is None else {"wished": self.wished}
        return {
            "images": self.images, "shown": self.shown, "share": round(self.share, 4), **wished
        }  # fmt: skip

    @property
    def trouble(self) -> str:
        """A sentence if whole repeats cannot get near the requested share; else ""."""
        if self.wished is None or abs(self.share - self.wished) <= FAR_OFF * self.wished:
            return ""
        return (
            f"{self.folder} gets {self.share:.0%} of the showings where {self.wished:.0%} were "
            "requested: repeats are whole numbers, and a larger layout.repeats gets closer"
        )


def folders(
    settings: Layout, counts: Mapping[str, int], name: str, details: Iterable[str] = ()
) -> list[RepeatFolder]:
    """The folder of each concept, the main dataset first, others by name.

    `counts` are pictures by concept, `name` is the dataset's; concepts in `details` show pictures
    a second time, and so are shown less by default. Repeats are the concept's own, else

        balanced: round(showings of the main dataset / pictures)
        by share: round(share * total / pictures), total = showings of the others / (1 - shares)

    and at least 1. Raises `BakeryError` for settings of a concept without pictures, and
    if every concept has a share.
    """
    counts = {concept: n for concept, n in sorted(counts.items()) if n}
    _check_known(settings, counts)
    own = {concept: settings.concepts.get(concept, Concept()) for concept in counts}
    shares = {concept: c.share for concept, c in own.items() if c.share is not None}
    if len(shares) == len(counts):
        raise BakeryError(
            f"layout.concepts gives a share to every concept ({', '.join(counts)}): leave at "
            "least one concept without a share"
        )
    repeats = _given(settings, own, counts, set(details))
    total = sum(counts[concept] * n for concept, n in repeats.items()) / (1 - sum(shares.values()))
    repeats |= {c: max(1, round(share * total / counts[c])) for c, share in shares.items()}
    shown = sum(counts[concept] * n for concept, n in repeats.items())
    names = unique({concept: concept or name for concept in counts})
    return [
        RepeatFolder(c, names[c], repeats[c], n, n * repeats[c] / shown, shares.get(c))
        for c, n in counts.items()
    ]


def _given(
    settings: Layout, own: Mapping[str, Concept], counts: Mapping[str, int], details: set[str]
) -> dict[str, int]:
    """Repeats of the concepts without a share."""
    reference = counts.get(MAIN, max(counts.values())) * settings.repeats
    repeats = {}
    for concept, n in counts.items():
        if own[concept].share is not None:
            continue
        if (given := own[concept].repeats) is not None:
            repeats[concept] = given
        elif concept in details:
            repeats[concept] = max(1, settings.repeats // 2)
        elif settings.balance and concept != MAIN:
            repeats[concept] = max(1, round(reference / n))
        else:
            repeats[concept] = settings.repeats
    return repeats


def _check_known(settings: Layout, counts: Mapping[str, int]) -> None:
    for concept in settings.concepts:
        if concept not in counts:
            known = [name for name in counts if name]
            close = difflib.get_close_matches(concept, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known) or 'none'}"
            raise BakeryError(
                f"layout.concepts names {concept}, which has no pictures to lay out; {hint}"
            )


def unique(wanted: Mapping[str, str]) -> dict[str, str]:
    """Key -> a file name's stem close to the wanted one: safe, and different for each key.

    Stems differ in more than case, since some file systems ignore it. Keys that sort first
    keep their name.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for key in sorted(wanted):
        name = first = safe(wanted[key])
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{first}-{number}"
        taken.add(name.casefold())
        names[key] = name
    return names


def safe(stem: str) -> str:
    """Letters and digits of any script and `_ . + -`, not hidden, no device of Windows', not too long.

    Four `_number` groups at the end are joined by `-` instead: sd-scripts takes them for a face's
    position, and then looks for the caption of the stem without them.
    """
    stem = re.sub(r"[^\w.+-]+", "-", unicodedata.normalize("NFC", stem))
    stem = stem.encode()[:_LONGEST].decode(errors="ignore").strip(".-") or "image"
    return unreserved(stem.replace("_", "-") if _FOUR_NUMBERS.search(stem) else stem)
