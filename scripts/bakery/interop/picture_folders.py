"""The picture folders that a config of another program names, and the captions in them.

Steps of `look`: list repeat folders as sd-scripts does, leave out what is named twice, read captions
as sd-scripts reads them (the first line, separators, wildcards), and say what becomes of the rest.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from bakery.interop import plain_values
from bakery.interop.other_config import KohyaConfig, Subset
from bakery.io import text_files
from bakery.io.text_files import UTF8, UnreadableText
from bakery.sources import metadata
from bakery.sources.caption_files import CaptionFiles
from bakery.sources.caption_grammar import TooLong
from bakery.tags import captions

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
REPEATS = re.compile(r"(\d+)_(.*)")
_WILDCARD = re.compile(r"\{[^{}]*\|[^{}]*\}")


def look(source: KohyaConfig) -> None:
    """Find the folders of `source`, each once, and read what they hold."""
    for subset in source.subsets:
        subset.image_dir = plain_values.path_of(subset.image_dir)
    given = source.arguments
    for name, is_reg in (("train_data_dir", False), ("reg_data_dir", True)):
        if given.get(name):
            given[name] = plain_values.path_of(given[name])
            source.subsets += _repeat_folders(given[name], is_reg, source.notes)
    given.pop("train_data_dir", None)
    source.subsets = _once(source)
    said: Counter[str] = Counter()
    fixed: set[int] = set()
    for subset in source.subsets:
        _read(subset, source, said, fixed)
    _tell(source, said, fixed)


def common_front(texts: Iterable[str]) -> list[str]:
    """The tags that all captions start with: the trigger, and perhaps class tokens."""
    fronts = [captions.split(text) for text in texts]
    if not fronts:
        return []
    shared = []
    for tags in zip(*fronts, strict=False):
        if len(set(map(captions.same, tags))) > 1:
            break
        shared.append(tags[0])
    return shared


def called(subset: Subset) -> str:
    """What the folder is about: its class tokens, or its name without repeats."""
    name = Path(subset.image_dir).name
    match = REPEATS.fullmatch(name)
    return subset.class_tokens or (match[2].strip() if match else "") or name


def _repeat_folders(parent: str, is_reg: bool, notes: list[str]) -> list[Subset]:
    place = Path(parent)
    inside = sorted(place.iterdir()) if place.is_dir() else []
    folders = [path for path in inside if path.is_dir()]
    found = []
    for folder in folders:
        match = REPEATS.fullmatch(folder.name)
        if match and int(match[1]):
            found.append(Subset(folder.as_posix(), int(match[1]), match[2].strip(), is_reg))
        else:
            notes.append(f"{folder} is no <repeats>_<name> and is ignored there, too")
    if found or is_reg:
        return found
    match = REPEATS.fullmatch(place.name)
    if match and int(match[1]):
        notes.append(f"{parent} is a repeat folder itself, not the folder of them: it is taken")
        return [Subset(parent, int(match[1]), match[2].strip())]
    if any(path.suffix.lower() in PICTURES for path in inside):
        notes.append(f"{parent} holds pictures and no repeat folder: each is shown once an epoch")
    elif not place.is_dir():
        notes.append(f"{parent} is not here, so its repeat folders cannot be seen")
    else:
        notes.append(f"{parent} holds neither repeat folders nor pictures")
    return [Subset(parent)]


def _once(source: KohyaConfig) -> list[Subset]:
    """Each folder once, as sd-scripts does; those shown less than once are none."""
    kept: dict[str, Subset] = {}
    for subset in source.subsets:
        if not subset.image_dir:
            source.notes.append("a folder without image_dir is left out")
            continue
        place = Path(subset.image_dir)
        same = str(place.resolve()) if place.is_dir() else subset.image_dir.lower()
        if subset.num_repeats < 1:
            source.notes.append(f"{subset.image_dir} has {subset.num_repeats} repeats: left out")
        elif same in kept:
            source.notes.append(f"{subset.image_dir} is named more than once: it is taken once")
        else:
            kept[same] = subset
    return list(kept.values())


def _read(subset: Subset, source: KohyaConfig, said: Counter[str], fixed: set[int]) -> None:
    folder = Path(subset.image_dir)
    if not folder.is_dir():
        if not any(note.startswith(f"{subset.image_dir} is not here") for note in source.notes):
            source.notes.append(
                f"{subset.image_dir} is not here, so its pictures and captions cannot be seen"
            )
        return
    pictures = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in PICTURES]
    subset.images = len(pictures)
    extension = subset.caption_extension or source.arguments.get("caption_extension", ".caption")
    extension = extension if extension.startswith(".") else f".{extension}"
    subset.extension = extension
    files = CaptionFiles()
    for picture in pictures:
        found = files.beside(picture, stem_only=True, endings=(extension.lower(),))
        for beside in filter(Path.is_file, found):
            try:
                read = text_files.read(beside)
            except UnreadableText as problem:
                source.notes.append(f"{beside} {problem}")
                continue
            said[f"encoding {read.encoding}"] += read.encoding != UTF8
            text = read.text
            if extension.lower() == ".json":
                text = _in_json(text)
                if not text:
                    source.notes.append(f"{beside} holds no caption that is known here")
                    continue
            line = _line(text, source, said)
            keep = source.arguments.get("keep_tokens_separator")
            if not subset.is_reg:
                fixed.add(_front(line, keep, said))
            subset.captions[picture] = _one_row(line.replace(keep, ",") if keep else line)
            if keep and keep in line:
                subset.marked[picture] = f" {keep} ".join(map(_one_row, line.split(keep, 2)))


def _in_json(text: str) -> str:
    """The caption in a picture's own JSON, as the scrape stage reads it; "" if there is none."""
    try:
        found = [metadata.of_table(table).own for table in metadata.several(json.loads(text))]
    except (ValueError, RecursionError, TooLong):
        return ""
    return next((own.caption.text for own in found if own), "")


def _line(text: str, source: KohyaConfig, said: Counter[str]) -> str:
    """A caption file's first line, as sd-scripts reads it, with commas between its tags."""
    given = source.arguments
    lines = [line.strip() for line in text.splitlines()] or [""]
    said["captions"] += 1
    said["lines"] += any(lines[1:])
    line = lines[0]
    said["wildcards"] += any(map(_WILDCARD.search, lines))
    separator = given.get("caption_separator") or ","
    if separator != "," and separator in line:
        said["separator"] += 1
        line = line.replace(separator, ",")
    second = given.get("secondary_separator")
    if second and second in line:
        said["second"] += 1
        line = line.replace(second, ",")
    return line


def _front(line: str, keep: str | None, said: Counter[str]) -> int:
    """How many tags keep_tokens_separator keeps in front, -1 where a caption does not hold it."""
    if not keep or keep not in line:
        return -1
    front, _, rest = line.partition(keep)
    said["ended"] += bool(captions.split(rest.partition(keep)[2]))
    return len(captions.split(front))


def _one_row(text: str) -> str:
    return captions.join(captions.split(text))


def _tell(source: KohyaConfig, said: Counter[str], fixed: set[int]) -> None:
    """A note for each way of writing captions that is not ours."""
    given, notes, count = source.arguments, source.notes, said["captions"]
    wild = given.get("enable_wildcard")
    if said["lines"] and not wild:
        notes.append(
            f"{said['lines']} captions have several lines: there the others do nothing, here lines that "
            "begin alike are alternatives, of which the first is taken, and other lines go on with the "
            "caption; with --captions the first is taken"
        )
    for name in sorted(+said):
        if name.startswith("encoding "):
            notes.append(
                f"{said[name]} captions are in {name.removeprefix('encoding ')}, not in UTF-8"
            )
    if wild and count:
        notes.append(
            f"enable_wildcard: {said['lines']} captions have several lines, {said['wildcards']} hold "
            "{a|b}: layout.candidates draws one of them each time, as there; with --captions the first "
            "is taken"
        )
    elif wild:
        notes.append("enable_wildcard is not carried over, as no captions can be seen here")
    if said["separator"]:
        notes.append(f"caption_separator {given['caption_separator']!r} becomes a comma")
    elif given.get("caption_separator", ",") not in (",", "") and not count:
        notes.append(f"caption_separator {given['caption_separator']!r} is not carried over")
    if given.get("secondary_separator"):
        notes.append(
            f"secondary_separator {given['secondary_separator']!r} is not carried over: tags that it "
            f"holds together become tags of their own ({said['second']} captions)"
        )
    _tell_separator(source, said, fixed)


def _tell_separator(source: KohyaConfig, said: Counter[str], fixed: set[int]) -> None:
    """Carry keep_tokens_separator over: as a number of tags where that is the same, else as it is."""
    given, notes = source.arguments, source.notes
    keep = given.get("keep_tokens_separator")
    if not keep:
        return
    seen = fixed - {-1}
    if set(keep) & set(",{}\n"):
        given.pop("keep_tokens_separator")
        notes.append(
            f"keep_tokens_separator {keep!r} is left out: it means something else in captions"
        )
    elif said["captions"] and not seen:
        given.pop("keep_tokens_separator")
        notes.append(f"keep_tokens_separator {keep!r} is left out: no caption here holds it")
    elif len(fixed) == 1 and min(fixed) > 0 and not said["ended"]:
        given.pop("keep_tokens_separator")
        given["keep_tokens"] = fixed.pop()
        source.words["keep_tokens"] = "keep_tokens_separator"
        notes.append(f"keep_tokens_separator {keep!r} keeps {given['keep_tokens']} tags in front")
    elif seen:
        numbers = ", ".join(map(str, sorted(seen)))
        ended = f", and {said['ended']} captions have an end that stays" * bool(said["ended"])
        notes.append(
            f"keep_tokens_separator {keep!r} keeps {numbers} tags in front{ended}: it is written around "
            "the tags of captions with a sentence; --captions keeps it wherever it is"
        )
    else:
        notes.append(
            f"keep_tokens_separator {keep!r} is taken over, and no captions can be seen here"
        )
