"""Hand edits: a person's decisions that overrule a stage, in `config/edits/<dataset>/`.

`exclude.txt` and `include.txt` name a picture on each line: by its `image` in posts.csv, or by its
md5. Everything after a `#` is a comment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bakery.io import regular_files
from bakery.io.errors import BakeryError
from bakery.sources.posts import Post

EXCLUDE, INCLUDE = "exclude.txt", "include.txt"


@dataclass(frozen=True)
class Line:
    """A line of a list as it was written, and the pictures that it names."""

    text: str
    entry: str = ""
    """Without its comment; empty if nothing else is on the line."""
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageEdits:
    """The two lists, matched with the pictures of a dataset."""

    lines: Mapping[str, tuple[Line, ...]]
    """File name -> its lines."""

    def of(self, name: str) -> set[str]:
        """The pictures that the list `name` names."""
        return {image for line in self.lines.get(name, ()) for image in line.images}

    def unmatched(self) -> list[str]:
        """Entries that name no picture."""
        lines = (line for listed in self.lines.values() for line in listed)
        return [line.entry for line in lines if line.entry and not line.images]


def read_images(path: Path) -> list[str]:
    """The lines of a list of pictures; raises `BakeryError` if it is not text."""
    try:
        return regular_files.read_text(path, "utf-8-sig").splitlines()
    except ValueError:
        raise BakeryError(f"{path} is not UTF-8 text: save it as UTF-8") from None
    except OSError as problem:
        raise BakeryError(f"{path} cannot be read ({problem.strerror}): repair it") from None


def match_images(files: Mapping[str, Path], posts: Iterable[Post]) -> ImageEdits:
    """The lists in `files` (`exclude.txt` and `include.txt`, each may be missing) among `posts`.

    Raises `BakeryError` when both lists name one picture.
    """
    named: dict[str, list[str]] = {}
    for post in posts:
        for name in {post.image, post.md5.lower()} - {""}:
            named.setdefault(name, []).append(post.image)
    lines = {}
    for name in (EXCLUDE, INCLUDE):
        listed = read_images(Path(files[name])) if name in files else []
        entries = [text.partition("#")[0].strip() for text in listed]
        lines[name] = tuple(
            Line(text, entry, tuple(named.get(entry) or named.get(entry.lower()) or ()))
            for text, entry in zip(listed, entries, strict=True)
        )
    edits = ImageEdits(lines)
    if both := edits.of(EXCLUDE) & edits.of(INCLUDE):
        raise BakeryError(
            f"{files[EXCLUDE]} and {Path(files[INCLUDE]).name} both name {min(both)}: "
            "take it out of one of them"
        )
    return edits
