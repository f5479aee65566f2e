"""Pictures, trigger, concepts and regularization of a config from another program's folders.

What is said of a folder there has its own place here: the largest folder is the main dataset, a folder
with repeats or class tokens of its own is a concept, and exactly the folders marked as regularization
are that.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bakery.interop import picture_folders, plain_values
from bakery.interop.config_draft import Draft
from bakery.interop.other_config import KohyaConfig, Subset
from bakery.interop.picture_folders import REPEATS, common_front
from bakery.settings.tag import RECOMMENDED_TAGGER
from bakery.sources import caption_files
from bakery.sources.folders import safe_stem
from bakery.tags import captions, vocabulary

EVERY_PICTURE: dict[str, Any] = {
    "min_side": 0, "max_aspect": None, "min_score": None, "extra_characters": False,
    "monochrome": False, "text_heavy": False, "ai_generated": False, "max_blur": 1.0,
    "min_jpeg_quality": 0, "duplicate_distance": -1,
}  # fmt: skip
"""The filter that lets pass what other trainers would train on; ratings still count."""
_MOST_REPEATS = 1000


def fill(draft: Draft, source: KohyaConfig) -> None:
    """Put what `source` says of pictures into the sections scrape, filter, tag, prune and layout."""
    folders = [subset for subset in source.subsets if not subset.is_reg]
    _regularization(draft, source)
    if not folders:
        trigger = "" if source.trigger else ", and prune.trigger"
        draft.notes.append(
            f"the file names no pictures: set scrape.name, scrape.urls or scrape.folders{trigger}"
        )
        draft.put("tag.model", RECOMMENDED_TAGGER, "a choice: not in the file")
        if source.arguments.get("output_name"):
            draft.put("scrape.name", _name(draft, str(source.arguments["output_name"])))
        if source.trigger:
            draft.put("prune.trigger", _one_word(source.trigger), "trigger_word")
        if repeats := int(source.arguments.get("num_repeats") or 0):
            draft.put("layout.repeats", max(1, min(repeats, _MOST_REPEATS)),
                      source.words.get("num_repeats", ""))  # fmt: skip
        return
    main = max(folders, key=lambda s: s.num_repeats * max(s.images, 1))
    called, front, where = _trigger(draft, source, folders, main)
    name = _name(draft, str(source.arguments.get("output_name") or main.class_tokens or called))
    draft.put("scrape.name", name, "the name of the LoRA files")
    draft.put("scrape.urls", [])
    draft.put("scrape.folders", _places(draft, source, folders, main, [called, *front]))
    for setting, value in EVERY_PICTURE.items():
        draft.put(f"filter.{setting}", value, "other trainers take every picture")
    draft.put("tag.model", RECOMMENDED_TAGGER, "a choice: not in the file")
    draft.put("prune.trigger", called, where)
    if front:
        draft.put("prune.class_tokens", captions.join(front), where)
    draft.put("layout.repeats", min(main.num_repeats, _MOST_REPEATS),
              f"of {Path(main.image_dir).name}")  # fmt: skip
    if main.num_repeats > _MOST_REPEATS:
        draft.notes.append(f"{main.num_repeats} repeats are not possible here: {_MOST_REPEATS}")
    extension = main.caption_extension or source.arguments.get("caption_extension", ".caption")
    if extension == ".caption" and main.captions:
        draft.put("layout.caption_extension", extension)
    _captions(draft, source, folders, name)
    if source.arguments.get("enable_wildcard") and draft.captions:
        draft.put("layout.candidates", ["lines"], "enable_wildcard")


def name_of(text: str) -> str:
    """A name that our configs allow."""
    plain = re.sub(r"[^A-Za-z0-9_.+-]+", "-", text).strip("-_.+")[:64]
    return plain or "imported"


def _name(draft: Draft, text: str) -> str:
    """The same, with a note where it could not be kept."""
    name = name_of(text)
    if name != text.strip():
        draft.notes.append(
            f"the name {plain_values.printable(text)} becomes {name}: names of LoRA files have letters "
            "without accents, digits and _ . + -"
        )
    return name


def _one_word(text: str) -> str:
    return " ".join(re.sub(r"[,\n]", " ", plain_values.printable(text)).split()) or "imported"


def _trigger(
    draft: Draft, source: KohyaConfig, folders: list[Subset], main: Subset
) -> tuple[str, list[str], str]:
    """(the trigger, the class tokens behind it, where they are from)."""
    if source.trigger:
        return _one_word(source.trigger), [], "trigger_word"
    front = common_front(text for s in folders for text in s.captions.values())
    front = front or common_front(main.captions.values())
    front = front[: max(1, int(source.arguments.get("keep_tokens") or 0))]
    if not front:
        return _one_word(_of_folder(main, source)), [], "from the folder's name: check it"
    own = {captions.same(word) for word in captions.split(_of_folder(main, source))}
    if captions.same(front[0]) in own or not ordinary(front[0]):
        return _one_word(front[0]), front[1:], "the front of every caption"
    word = _one_word(_of_folder(main, source))
    draft.notes.append(
        f"every caption starts with {front[0]}, which is a common tag and no trigger: {word}, from the "
        "folder's name, is taken"
    )
    return word, [], "from the folder's name: check it"


def ordinary(tag: str) -> bool:
    """Whether a tag says something of many pictures, so that it is nobody's trigger."""
    return bool(vocabulary.of(tag).topic)


def _of_folder(subset: Subset, source: KohyaConfig) -> str:
    """`shiroko` of the folder `5_shiroko 1girl`, else the name of the files."""
    match = REPEATS.fullmatch(Path(subset.image_dir).name)
    said = subset.class_tokens or (match[2] if match else "")
    words = captions.split(said) or [str(source.arguments.get("output_name") or "")]
    return words[0].split(" ")[0] or Path(subset.image_dir).name


def _captions(draft: Draft, source: KohyaConfig, folders: list[Subset], name: str) -> None:
    """What is written beside the pictures, under the names that the scrape stage gives them."""
    keep = source.arguments.get("keep_tokens_separator")
    twice = []
    for subset in folders:
        for picture, text in subset.captions.items():
            stem = safe_stem(picture)
            if stem in draft.captions:
                twice.append(picture)
            else:
                draft.captions[stem] = subset.marked.get(picture, text) if keep else text
    if twice:
        draft.notes.append(
            f"{len(twice)} pictures have the name of one in another folder ({twice[0].name}, for one): "
            "--captions copies the first caption of a name"
        )
    if keep:
        draft.put("layout.keep_tokens_separator", keep, "keep_tokens_separator")
    if not draft.captions:
        return
    _unread_captions(draft, folders)
    draft.put("prune.source", "captions", "as there; tagger writes new ones and prunes them")
    draft.notes.append(
        f"there are {len(draft.captions)} captions, which are kept as they are, with the trigger in "
        f"front; --captions copies them to config/edits/{name}/captions, where you can change them"
    )
    others = sum(
        extension != ".txt" and picture.with_suffix(".txt").is_file()
        for subset in folders
        if (extension := subset.extension)
        for picture in subset.captions
    )
    if others:
        draft.notes.append(
            f"{others} pictures have a .txt beside the caption that the file asks for: the .txt is "
            "taken unless you move it away, or use --captions"
        )


def _unread_captions(draft: Draft, folders: list[Subset]) -> None:
    """A note where captions have an ending that the scrape stage takes for no caption's."""
    known = {*caption_files.EXTENSIONS, ".json"}
    endings = {s.extension for s in folders if s.captions and s.extension.lower() not in known}
    for ending in sorted(endings):
        draft.notes.append(
            f"files that end in {plain_values.printable(ending)} are no captions here: rename them to "
            ".txt, or use --captions"
        )


def _places(
    draft: Draft, source: KohyaConfig, folders: list[Subset], main: Subset, front: list[str]
) -> list[Any]:
    """The folders as scrape names them; one with repeats or tokens of its own becomes a concept."""
    places: list[Any] = []
    concepts: dict[str, dict[str, Any]] = {}
    for subset in folders:
        repeats = min(subset.num_repeats, _MOST_REPEATS)
        tokens = subset.class_tokens and subset.class_tokens != main.class_tokens
        if subset is main or (subset.num_repeats == main.num_repeats and not tokens):
            places.append(subset.image_dir)
            continue
        name = name_of(subset.class_tokens or Path(subset.image_dir).name)
        while name in concepts:
            name = f"{name[:60]}-2"
        concepts[name] = {"repeats": repeats}
        if prefix := _prefix(subset, source, front):
            concepts[name]["caption_prefix"] = prefix
        places.append({"path": subset.image_dir, "concept": name})
    if concepts:
        draft.put("layout.concepts", concepts, "folders with repeats or class tokens of their own")
    return _inner_first(places)


def _inner_first(places: list[Any]) -> list[Any]:
    """Folders inside of others before these, as a picture belongs to the first entry that holds it."""
    paths = [Path(one["path"] if isinstance(one, dict) else one) for one in places]
    if not any(one in other.parents for one in paths for other in paths):
        return places
    order = sorted(range(len(places)), key=lambda n: -len(paths[n].parts))
    return [places[n] for n in order]


def _prefix(subset: Subset, source: KohyaConfig, front: list[str]) -> str:
    """What a concept's captions start with: class tokens where pictures have no caption."""
    known = {captions.same(tag) for tag in front}
    if subset.captions and len(subset.captions) == subset.images:
        kept = max(1, int(source.arguments.get("keep_tokens") or 0))
        tags = [t for t in common_front(subset.captions.values())[:kept] if not ordinary(t)]
    else:
        tags = []
        for tag in captions.split(subset.class_tokens):
            words = tag.split(" ")
            while words and captions.same(words[0]) in known:
                words.pop(0)
            tags.append(" ".join(words))
    return captions.join(tag for tag in tags if tag and captions.same(tag) not in known)


def _regularization(draft: Draft, source: KohyaConfig) -> None:
    """Exactly the folders that are marked so, wherever they are."""
    subsets = [subset for subset in source.subsets if subset.is_reg]
    given = source.arguments.get("reg_data_dir")
    if given and all(
        Path(s.image_dir).parent.as_posix() == Path(given).as_posix() for s in subsets
    ):
        draft.put("train.reg_data_dir", given, source.words.get("reg_data_dir", ""))
        return
    if not subsets:
        return
    parents = {Path(subset.image_dir).parent.as_posix() for subset in subsets}
    if len(parents) == 1 and _whole_folder(parents.copy().pop(), source):
        draft.put("train.reg_data_dir", parents.pop(), "is_reg")
        return
    first = max(subsets, key=lambda subset: subset.num_repeats * max(subset.images, 1))
    tokens = plain_values.printable(picture_folders.called(first))
    repeats = max(1, min(first.num_repeats, _MOST_REPEATS))
    draft.put("layout.reg", {"folder": first.image_dir, "class_tokens": tokens, "repeats": repeats},
              "is_reg")  # fmt: skip
    for other in subsets:
        if other is not first:
            draft.left_out.append(
                f"the regularization folder {other.image_dir} (one can be named: put the pictures of "
                f"both into {first.image_dir})"
            )


def _whole_folder(parent: str, source: KohyaConfig) -> bool:
    """Whether the repeat folders of `parent` are exactly the regularization folders."""
    marked = {Path(s.image_dir).name: s for s in source.subsets
              if s.is_reg and Path(s.image_dir).parent.as_posix() == parent}  # fmt: skip
    for name, subset in marked.items():
        match = REPEATS.fullmatch(name)
        if not match or int(match[1]) != subset.num_repeats:
            return False
        if subset.class_tokens and subset.class_tokens != match[2].strip():
            return False
    if any(Path(s.image_dir).parent.as_posix() == parent for s in source.subsets if not s.is_reg):
        return False
    place = Path(parent)
    inside = [p.name for p in place.iterdir() if p.is_dir()] if place.is_dir() else []
    return all(name in marked for name in inside if REPEATS.fullmatch(name))
