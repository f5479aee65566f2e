"""Sentences about pictures: written beside them, or by a captioner, with the trigger for the name.

The tag stage writes what its captioner says to `NAME`; the prune stage writes the sentences that are in
the captions to a table of the same name. A person's sentence wins over a captioner's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bakery.io import tables
from bakery.sources import sentences
from bakery.sources.caption_grammar import PLACEHOLDER
from bakery.tags import captions

NAME = "sentences.csv"
COLUMNS = ("image", "sentence", "source")
"""`source`: caption (written beside the picture) or captioner."""
_QUALIFIER = re.compile(r"\s*\([^()]*\)$")
_SHORTEST = 2
"""Letters of a name that is looked for in sentences."""


@dataclass(frozen=True)
class Naming:
    """Puts the trigger in the place of the character's names."""

    word: str
    """The trigger."""
    names: tuple[str, ...] = ()

    def spoken(self, sentence: str) -> str:
        """`sentence` with the trigger for each of the names, in any case, and for the placeholder."""
        text = sentence.replace(PLACEHOLDER, self.word)
        forms = sorted(
            {form for name in self.names for form in _forms(name)}, key=len, reverse=True
        )
        if not forms:
            return text
        any_of_them = "|".join(map(re.escape, forms))
        # a function, since a trigger may hold what a template would read as a group
        return re.sub(
            rf"(?<!\w)(?:{any_of_them})(?!\w)", lambda _: self.word, text, flags=re.IGNORECASE
        )


@dataclass(frozen=True)
class PictureSentences:
    """The sentences about pictures, names replaced."""

    of_image: Mapping[str, str]
    source: Mapping[str, str]
    """Picture -> `caption` or `captioner`."""
    renamed: frozenset[str] = frozenset()
    """Pictures in whose sentence the trigger took the place of a name."""

    def rows(self) -> list[dict[str, str]]:
        return [
            {"image": image, "sentence": text, "source": self.source[image]}
            for image, text in self.of_image.items()
        ]

    def summary(self, images: Sequence[str]) -> dict[str, Any]:
        """Counts for the manifest: where the sentences of `images` are from, and who has none."""
        count = Counter(self.source[image] for image in images if image in self.of_image)
        none = len(images) - sum(count.values())
        renamed = sum(image in self.renamed for image in images)
        return {**dict(sorted(count.items())), "none": none, "renamed": renamed}

    def warnings(self, images: Sequence[str], pruned: Iterable[str]) -> list[str]:
        """What of `images` is not as asked for: those without a sentence, and sentences that name what
        the trigger absorbs (`pruned`)."""
        mine = [self.of_image[image] for image in images if image in self.of_image]
        found = []
        if len(mine) < len(images):
            found.append(
                f"{len(images) - len(mine)} of {len(images)} pictures have no sentence, so their "
                "captions are tags alone: write one beside the picture, or name a tag.captioner"
            )
        named = {tag: sum(names(text, captions.same(tag)) for text in mine) for tag in pruned}
        if named := {tag: count for tag, count in named.items() if count}:
            often = sorted(named, key=lambda tag: (-named[tag], tag))[:5]
            listed = ", ".join(f"{tag} {named[tag]}" for tag in often)
            found.append(
                f"sentences name what the trigger is to absorb ({listed} of {len(mine)}): it learns "
                "less of that; edit them in captions.html"
            )
        return found


def gather(
    images: Sequence[str], written: Mapping[str, str], seen: Mapping[str, str], naming: Naming
) -> PictureSentences:
    """Of each of `images` the sentence of its own caption (`written`), else the captioner's (`seen`)."""
    of_image, source, renamed = {}, {}, set()
    for image in images:
        own = of_caption(written.get(image, ""))
        said = own or seen.get(image, "")
        if not said:
            continue
        of_image[image] = naming.spoken(said)
        source[image] = "caption" if own else "captioner"
        if of_image[image] != said:
            renamed.add(image)
    return PictureSentences(of_image, source, frozenset(renamed))


def names(sentence: str, word: str) -> bool:
    """Whether a sentence names a word, in any case."""
    return bool(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", sentence, re.IGNORECASE))


def of_caption(caption: str) -> str:
    """The sentences of a caption in one line; "" where it has none."""
    return " ".join(part.text for part in sentences.parts(caption) if part.is_sentence)


def finished(caption: str, sentence: str = "") -> str:
    """The sentence of a caption if it is `sentence`, or else ends as one: what only reads like prose, as
    some tags do, is none."""
    said = divided(caption, sentence)[1]
    return said if said == sentence or sentences.ends(said) else ""


def divided(caption: str, sentence: str = "") -> tuple[str, str]:
    """(tags, sentence) of a caption; its sentence is `sentence` where it holds that, else found by the
    grammar of captions. Either may be empty."""
    if sentence and sentence in caption:
        before, _, after = caption.partition(sentence)
        return captions.join([*captions.split(before), *captions.split(after)]), sentence
    parts = sentences.parts(caption)
    tags = [tag for part in parts if not part.is_sentence for tag in captions.split(part.text)]
    return captions.join(tags), of_caption(caption)


def read(folder: Path) -> dict[str, str]:
    """Picture -> sentence, from the table in the folder of the tag or the prune stage; {} where there
    is none."""
    path = folder / NAME
    if not path.exists():
        return {}
    rows = tables.records(tables.read(path, COLUMNS))
    return {row["image"]: row["sentence"] for row in rows}


def write(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    tables.write(path, list(rows), COLUMNS)


def _forms(name: str) -> Collection[str]:
    """How sentences write a name: without its qualifier, and with its two words in either order."""
    whole = captions.normalise(name)
    plain = _QUALIFIER.sub("", whole)
    words = plain.split()
    turned = " ".join(reversed(words)) if len(words) == 2 else plain
    return {form for form in (whole, plain, turned) if len(form) >= _SHORTEST}
