"""Layout: kohya's repeat folders, `<repeats>_<name>/` with a caption beside each picture.

Steps: collect each folder's pictures and captions (rewritten by hand, prefixed, or as pruned);
decide the repeats; give each picture a stem that sd-scripts reads as a plain name; link the picture
if sd-scripts loads it as `images.open_rgb` does, else write it as a PNG; write the caption. Folders
are built under temporary names and renamed when complete; leftovers of a broken run are removed.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from bakery.dataset import caption_forms, concepts, details, regularization, trainer_formats
from bakery.dataset.caption_forms import CaptionForms
from bakery.dataset.caption_marks import CaptionMarks
from bakery.dataset.details import Box
from bakery.edits import caption_edits
from bakery.gate import gate
from bakery.io import images, tables
from bakery.io.errors import BakeryError
from bakery.io.files import write_text
from bakery.pages import captions_page
from bakery.pages.captions_page import CaptionedPicture
from bakery.pages.page import Subject
from bakery.settings.layout import Concept, Layout
from bakery.settings.named_files import expanded
from bakery.settings.thresholds import Thresholds
from bakery.sources import candidates, posts
from bakery.tags import captions, picture_sentences, tagging
from bakery.tags.trigger import Trigger

COLUMNS = ("image", "file", "caption", "repeats", "concept", "kind", "by_hand")
"""Of layout.csv. `kind`: picture, detail (shown a second time) or reg; `by_hand`: true, false."""
REG = "reg"
PAGE = "captions.html"

_REPEAT_FOLDER = re.compile(r"\d+_.*")
_UNFINISHED = "unfinished_"  # no number in front, so that trainers ignore it

log = logging.getLogger("bakery.stages.layout")


@dataclass(frozen=True)
class Entry:
    """A picture as one folder shows it."""

    image: str
    source: Path
    concept: str
    caption: str
    kind: str = "picture"
    by_hand: bool = False
    box: Box | None = None
    automatic: str = ""
    """The caption without hand edits."""
    in_file: bool = False
    """Whether a hand edit is a file of its own."""
    lines: tuple[str, ...] | None = None
    """Of a caption by hand, each of its lines."""
    candidates: tuple[str, ...] = ()
    """The captions of which one is drawn, if the config asks for several."""


@dataclass
class Tally:
    """What became of the pictures."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    candidates: list[dict[str, Any]] = field(default_factory=list)
    reencoded: Counter[str] = field(default_factory=Counter)
    placed: Counter[str] = field(default_factory=Counter)
    renamed: int = 0


def run(
    settings: Layout,
    *,
    scrape: Path,
    tag: Path,
    prune: Path,
    out: Path,
    name: str,
    edits: Mapping[str, str] | None = None,
    filter: Path | None = None,
) -> dict[str, Any]:
    """Lays the captioned pictures out for training.

    Writes a `<repeats>_<name>/` for each concept, `reg/<repeats>_<class>/` if asked for, each
    `<stem>.<ext>` with its caption (UTF-8), `layout.csv` (`COLUMNS`, files relative to `out`),
    `candidates.csv` (`caption_forms.COLUMNS`) if asked for, and `captions.html`. `edits` are hand
    edits by name (`captions`, `captions.csv`, `boxes.csv`); in the folder of `filter` may be boxes that
    it found. Raises `BakeryError` if a picture is missing or broken, or if edits or settings do not fit
    the pictures.
    """
    edited = {name: Path(path) for name, path in (edits or {}).items()}
    entries, strangers = _pictures(scrape, prune, edited)
    entries += _details(settings, entries, tag, prune, edited.get(details.BOXES), filter)
    forms = CaptionForms.read(settings.candidates, prune)
    entries = [_prefixed(settings, _with_candidates(forms, entry)) for entry in entries]
    entries, refused = _admitted(entries, scrape, tag)
    page, marks = entries, CaptionMarks.read(settings.keep_tokens_separator, prune)
    entries = [_marked(marks, entry) for entry in entries]
    counts = Counter(entry.concept for entry in entries)
    again = {entry.concept for entry in entries if entry.kind == "detail"}
    repeat_folders = concepts.folders(settings, counts, name, again)
    for sentence in [*strangers, *(folder.trouble for folder in repeat_folders if folder.trouble)]:
        log.warning("layout: %s", sentence)

    out.mkdir(parents=True, exist_ok=True)
    _clear(out)
    tally = Tally()
    for folder in repeat_folders:
        mine = [entry for entry in entries if entry.concept == folder.concept]
        _lay_out(settings, mine, out / folder.folder, folder.repeats, out, tally)
    reg = _regularize(settings, out, tally) if settings.reg else {}
    tables.write(out / "layout.csv", tally.rows, COLUMNS)
    if forms is not None:
        caption_forms.write(out / caption_forms.NAME, tally.candidates)
    write_text(out / PAGE, _page(page, tally, prune, Subject(name, out.name)))
    # Link or copy depends on the file system, so it goes into the log, not into the summary.
    log.info("%d pictures are hard links, %d copies", tally.placed["link"], tally.placed["copy"])
    return {
        "images": len(entries),
        "folders": {folder.folder: folder.summary for folder in repeat_folders},
        "reencoded": dict(sorted(tally.reencoded.items())),
        "renamed": tally.renamed,
        "rewritten": sum(entry.by_hand for entry in entries),
        "unused_edits": len(strangers),
        **reg,
        **_about_candidates(settings, entries),
        **marks.summary(entry.caption for entry in entries),
        **({"reasons": {gate.FORBIDDEN: refused}} if refused else {}),
    }


def _about_candidates(settings: Layout, entries: Sequence[Entry]) -> dict[str, Any]:
    """Counts for the summary, and a warning where no picture has more than one caption."""
    if not settings.candidates:
        return {}
    told = caption_forms.summary([entry.candidates for entry in entries if entry.candidates])
    if not told["several"]:
        log.warning(
            "layout: layout.candidates asks for %s, but no picture has more than one caption: sentences "
            "need one in prune.caption_order, lines a prune.source: captions with several lines a file",
            ", ".join(settings.candidates),
        )
    return {"candidates": told}


def _admitted(entries: Sequence[Entry], scrape: Path, tag: Path) -> tuple[list[Entry], int]:
    """The entries that pass the gate with their final captions, and the number that do not.

    A refused caption that was written by hand is an error: its author should know.
    """
    told = [posts.facts_by_image(scrape / "posts.csv")]
    if (tag / "tags.csv").is_file():
        told.append(tagging.read_tags(tag).facts(Thresholds(**gate.BELIEVED)))
    admitted = []
    for entry in entries:
        known = gate.together(facts.get(entry.image, gate.NOTHING) for facts in told)
        if not (known | gate.of_texts([entry.caption, *entry.candidates])).refused:
            admitted.append(entry)
        elif entry.by_hand:
            raise BakeryError(
                f"captions/{Path(entry.image).stem}.txt or captions.csv among the edits makes "
                f"{entry.image} speak of sexualised minors, which are never trained on: rewrite it, or "
                "exclude the picture"
            )
        else:
            log.warning("layout: %s is left out: %s", entry.image, gate.FORBIDDEN)
    if not admitted:
        raise BakeryError(
            f"layout: the gate refuses all of the pictures ({gate.FORBIDDEN}): scrape others"
        )
    return admitted, len(entries) - len(admitted)


def _pictures(
    scrape: Path, prune: Path, edited: Mapping[str, Path]
) -> tuple[list[Entry], tuple[str, ...]]:
    """The kept pictures with their captions, and a sentence for each caption of no picture."""
    table = tables.read(prune / "captions.csv", ("image", "caption")).sort_values("image")
    if table.empty:
        raise BakeryError(
            f"{prune / 'captions.csv'} lists no picture; loosen the filter section or scrape more"
        )
    known = tables.read(scrape / "posts.csv", ("image",)).set_index("image")
    concept = dict(known["concept"]) if "concept" in known.columns else {}
    written = caption_edits.read_captions(edited.get("captions"), table["image"])
    written = caption_edits.with_table(written, edited.get(caption_edits.TABLE), table["image"])
    entries = [
        Entry(
            image=image,
            source=scrape / "images" / image,
            concept=concept.get(image, concepts.MAIN),
            caption=written.captions.get(image, caption),
            by_hand=image in written.captions,
            automatic=caption,
            in_file=image in written.in_files,
            lines=written.lines.get(image, ()) if image in written.captions else None,
        )
        for image, caption in zip(table["image"], table["caption"], strict=True)
    ]
    return entries, written.strangers


def _details(
    settings: Layout,
    entries: Sequence[Entry],
    tag: Path,
    prune: Path,
    boxes: Path | None,
    filter: Path | None,
) -> list[Entry]:
    """The pictures of accepted traits, shown again as a concept of that name; `boxes` are by hand."""
    if not settings.details:
        return []
    trigger = Trigger.read(prune)
    seen = tagging.read_tags(tag).seen(trigger.decided)
    known, detected = details.read_boxes(boxes), details.read_found(filter)
    of_image = {entry.image: entry for entry in entries}
    found = []
    for trait in dict.fromkeys(map(captions.same, settings.details)):
        concept = concepts.safe(trait)
        if any(entry.concept == concept for entry in entries):
            raise BakeryError(
                f"layout.details names {trait}, but there is a concept {concept} with pictures of "
                "its own: raise the repeats of that one instead"
            )
        for detail in details.choose(trait, seen, of_image, known, detected):
            entry = of_image[detail.image]
            written = details.caption(trait, entry.caption, trigger, cropped=detail.box is not None)
            found.append(
                Entry(entry.image, entry.source, concept, written, "detail", False, detail.box)
            )
    return found


def _with_candidates(forms: CaptionForms | None, entry: Entry) -> Entry:
    """The entry with its candidates; a picture that is shown again as a detail has one caption."""
    if forms is None or entry.kind == "detail":
        return entry
    return replace(entry, candidates=forms.of(entry.image, entry.caption, entry.lines))


def _prefixed(settings: Layout, entry: Entry) -> Entry:
    """The entry with its concept's caption prefix; what is written by hand stays as it is."""
    prefix = captions.split(settings.concepts.get(entry.concept, Concept()).caption_prefix)
    if not prefix:
        return entry
    automatic = captions.lead(prefix, entry.automatic)
    if entry.by_hand:
        return replace(entry, automatic=automatic)
    several = tuple(captions.lead(prefix, one) for one in entry.candidates)
    caption = captions.lead(prefix, entry.caption)
    return replace(entry, caption=caption, automatic=automatic, candidates=several)


def _marked(marks: CaptionMarks, entry: Entry) -> Entry:
    several = tuple(marks.of(entry.image, one) for one in entry.candidates)
    return replace(entry, caption=marks.of(entry.image, entry.caption), candidates=several)


def _page(entries: Sequence[Entry], tally: Tally, prune: Path, subject: Subject) -> str:
    """The captions page: every picture once, in its place."""
    file = {row["image"]: row["file"] for row in tally.rows if row["kind"] == "picture"}
    known = picture_sentences.read(prune)
    pictures = []
    for e in (one for one in entries if one.kind == "picture"):
        mine = known.get(e.image, "")
        said, before = (picture_sentences.finished(c, mine) for c in (e.caption, e.automatic))
        about = e.caption, e.automatic, e.in_file, (said, before), e.candidates
        pictures.append(CaptionedPicture(e.image, file[e.image], *about))
    return captions_page.draw(pictures, Trigger.read(prune), subject)


def _lay_out(
    settings: Layout, entries: Sequence[Entry], target: Path, repeats: int, out: Path, tally: Tally
) -> None:
    """Builds the folder `target` below `out`."""
    building = target.with_name(f"{_UNFINISHED}{target.name}")
    building.mkdir(parents=True)
    stems = file_stems([entry.image for entry in entries])
    for entry in entries:
        file, why = _place(entry, building / stems[entry.image], tally)
        several = entry.candidates or (entry.caption,)
        text = candidates.written(several) if settings.candidates else f"{entry.caption}\n"
        file.with_suffix(settings.caption_extension).write_text(text, encoding="utf-8")
        place = (target / file.name).relative_to(out).as_posix()
        tally.candidates += [{"image": entry.image, "file": place, "caption": c} for c in several]
        tally.reencoded.update([why] if why else [])
        tally.renamed += stems[entry.image] != Path(entry.image).stem
        tally.rows.append(
            {
                "image": entry.image,
                "file": place,
                "caption": entry.caption,
                "repeats": repeats,
                "concept": entry.concept,
                "kind": entry.kind,
                "by_hand": "true" if entry.by_hand else "false",
            }
        )
    building.rename(target)


def _regularize(settings: Layout, out: Path, tally: Tally) -> dict[str, Any]:
    """Lays the regularization pictures out; pictures left out are counted with the reason."""
    assert settings.reg is not None
    folder, reg = expanded(settings.reg.folder), settings.reg
    with tempfile.TemporaryDirectory(dir=out, prefix=_UNFINISHED) as unpacked:
        found, dropped = regularization.usable(reg, folder, Path(unpacked))
        entries = [Entry(one.name, one.path, REG, one.caption, REG) for one in found]
        for why, count in sorted(dropped.items()):
            log.warning("layout: %d regularization pictures are left out: %s", count, why)
        if not entries:
            raise BakeryError(
                f"layout.reg.folder {folder} has no usable picture "
                f"({', '.join(f'{why} {n}' for why, n in sorted(dropped.items()))}): use other pictures"
            )
        target = out / REG / f"{reg.repeats}_{concepts.safe(reg.class_tokens)}"
        _lay_out(settings, entries, target, reg.repeats, out, tally)
    return {"reg": {target.name: len(entries)}, "reg_dropped": dict(sorted(dropped.items()))}


def file_stems(names: Sequence[str]) -> dict[str, str]:
    """File name -> the stem under which it is laid out: safe, and different for each.

    Stems must differ even where extensions do, since a caption is found by its stem.
    """
    return concepts.unique({name: Path(name).stem for name in names})


def _place(entry: Entry, target: Path, tally: Tally) -> tuple[Path, str | None]:
    """Puts the picture at `target` (a path without extension).

    Returns the path with it, and why the picture was converted, if it was.
    """
    source = entry.source
    why = "a crop" if entry.box else trainer_formats.why_reencode(source)
    if why:
        file = target.with_name(f"{target.name}.png")
        picture = images.open_rgb(source)
        (_crop(picture, entry) if entry.box else picture).save(file, format="PNG")
        return file, why
    allowed = trainer_formats.EXTENSIONS[images.real_format(source)]
    suffix = source.suffix.lower()
    file = target.with_name(target.name + (suffix if suffix in allowed else allowed[0]))
    tally.placed[_link(source, file, copy=entry.kind == REG)] += 1
    return file, None


def _link(source: Path, file: Path, *, copy: bool) -> str:
    """A hard link, or a copy if links are impossible; returns which.

    A regularization picture is always copied: it is the user's own file, which may still change.
    """
    if not copy:
        try:
            os.link(source.resolve(), file)
            return "link"
        except OSError:  # another file system, or one without links
            pass
    shutil.copyfile(source, file)
    return "copy"


def _crop(picture: Image.Image, entry: Entry) -> Image.Image:
    assert entry.box is not None
    if entry.box[2] > picture.width or entry.box[3] > picture.height:
        raise BakeryError(
            f"{details.BOXES}: the box of {entry.image} ends at {entry.box[2]}, {entry.box[3]}, but the "
            f"picture at {picture.width}, {picture.height}: give pixels of the upright picture"
        )
    return picture.crop(details.around(entry.box, picture.size))


def _clear(out: Path) -> None:
    """Removes leftovers of an earlier run: any repeat folder would be trained on."""
    for entry in out.iterdir():
        stale = entry.name.startswith(_UNFINISHED) or _REPEAT_FOLDER.fullmatch(entry.name)
        if stale or entry.name == REG:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    for name in ("layout.csv", caption_forms.NAME):
        (out / name).unlink(missing_ok=True)
