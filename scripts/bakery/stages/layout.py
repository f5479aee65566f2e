"""Layout: kohya's repeat folders, `<repeats>_<name>/` with a caption beside each picture.

Steps: collect each folder's pictures and captions (rewritten by hand, prefixed, or as pruned);
choose those that are held out, if asked for; decide the repeats; build each folder (`entries.lay_out`).
Leftovers of a broken run are removed.
"""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bakery.dataset import caption_forms, concepts, decisions, details, holdout, regularization
from bakery.dataset.caption_forms import CaptionForms
from bakery.dataset.caption_marks import CaptionMarks
from bakery.dataset.concepts import RepeatFolder
from bakery.dataset.entries import REG, UNFINISHED, Entry, Tally, lay_out
from bakery.edits import caption_edits
from bakery.gate import gate
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.io.files import write_text
from bakery.pages import captions_page
from bakery.pages.captions_page import CaptionedPicture
from bakery.pages.page import Subject
from bakery.settings.layout import HOLDOUT, Concept, Layout
from bakery.settings.named_files import expanded
from bakery.settings.tag import Thresholds
from bakery.sources import posts
from bakery.sources.posts import Post
from bakery.tags import captions, outfits, picture_sentences, tagging
from bakery.tags.trigger import Trigger
from bakery.vision import duplicates

COLUMNS = ("image", "file", "caption", "repeats", "concept", "kind", "by_hand")
"""Of layout.csv. `kind`: picture, detail (shown a second time), reg or holdout; `by_hand`: true or
false."""
PAGE = "captions.html"

_REPEAT_FOLDER = re.compile(r"\d+_.*")

log = logging.getLogger("bakery.stages.layout")


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

    Writes a `<repeats>_<name>/` for each concept, `reg/<repeats>_<class>/` and `holdout/1_<name>/` if
    asked for, each `<stem>.<ext>` with its caption (UTF-8), `layout.csv` (`COLUMNS`, files relative to
    `out`), `candidates.csv` (`caption_forms.COLUMNS`) if asked for, and `captions.html`. `edits` are by
    hand, by name (`captions`, `captions.csv`, `boxes.csv`); in the folder of `filter` may be boxes that
    it found. Raises `BakeryError` if a picture is missing or broken, or if edits or settings do not fit
    the pictures.
    """
    edited = {name: Path(path) for name, path in (edits or {}).items()}
    lineage = posts.by_image(scrape / "posts.csv")
    entries, strangers = _pictures(scrape / "images", lineage, prune, edited)
    trigger, sentences = Trigger.read(prune), picture_sentences.read(prune)
    entries, held = _divided(settings, entries, prune, filter, out)
    entries += _details(settings, entries, tag, trigger, edited.get(details.BOXES), filter) + held
    forms = CaptionForms.read(settings.candidates, trigger, sentences, prune)
    entries = [_prefixed(settings, _with_candidates(forms, entry)) for entry in entries]
    entries, refused = _admitted(entries, lineage, tag)
    unmarked = entries
    marks = CaptionMarks.made(settings.keep_tokens_separator, trigger, sentences)
    entries, held = _parted([_marked(marks, entry) for entry in entries])
    counts = Counter(entry.concept for entry in entries)
    again = {entry.concept for entry in entries if entry.kind == "detail"}
    repeat_folders = concepts.folders(settings, counts, name, again)
    for sentence in [*strangers, *(folder.trouble for folder in repeat_folders if folder.trouble)]:
        log.warning("layout: %s", sentence)

    out.mkdir(parents=True, exist_ok=True)
    _clear(out)
    tally, besides = _lay_out_all(settings, entries, held, repeat_folders, out)
    tables.write(out / "layout.csv", tally.rows, COLUMNS)
    if forms is not None:
        caption_forms.write(out / caption_forms.NAME, tally.candidates)
    page = _page(unmarked, tally, trigger, sentences, Subject(name, out.name))
    write_text(out / PAGE, page)
    return {
        "images": len(entries),
        "folders": {folder.folder: folder.summary for folder in repeat_folders},
        "reencoded": dict(sorted(tally.reencoded.items())),
        "renamed": tally.renamed,
        "rewritten": sum(entry.by_hand for entry in [*entries, *held]),
        "unused_edits": len(strangers),
        **besides,
        **_about_candidates(settings, entries),
        **marks.summary(entry.caption for entry in entries),
        **({"reasons": {gate.FORBIDDEN: refused}} if refused else {}),
    }


def _lay_out_all(
    settings: Layout,
    entries: Sequence[Entry],
    held: Sequence[Entry],
    repeat_folders: Sequence[RepeatFolder],
    out: Path,
) -> tuple[Tally, dict[str, Any]]:
    """Builds all folders; the second is what the summary says of pictures beside them."""
    tally = Tally()
    for folder in repeat_folders:
        mine = [entry for entry in entries if entry.concept == folder.concept]
        lay_out(settings, mine, out / folder.folder, folder.repeats, out, tally)
    kept_out = _lay_aside(settings, held, repeat_folders, out, tally)
    reg = _regularize(settings, out, tally) if settings.reg else {}
    # Link or copy depends on the file system, so it goes into the log, not into the summary.
    log.info("%d pictures are hard links, %d copies", tally.placed["link"], tally.placed["copy"])
    return tally, {**reg, **kept_out}


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


def _admitted(
    entries: Sequence[Entry], lineage: Mapping[str, Post], tag: Path
) -> tuple[list[Entry], int]:
    """The entries that pass the gate with their final captions, and the number that do not.

    A refused caption that was written by hand is an error: its author should know.
    """
    believed: Mapping[str, gate.Facts] = {}
    if (tag / "tags.csv").is_file():
        believed = tagging.read_tags(tag).facts(Thresholds(**gate.BELIEVED))
    admitted = []
    for entry in entries:
        known = posts.known(lineage.get(entry.image, Post()))
        known |= believed.get(entry.image, gate.NOTHING)
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
    pictures: Path, lineage: Mapping[str, Post], prune: Path, edited: Mapping[str, Path]
) -> tuple[list[Entry], tuple[str, ...]]:
    """The kept pictures with their captions, and a sentence for each caption of no picture."""
    table = tables.read(prune / "captions.csv", ("image", "caption")).sort_values("image")
    if table.empty:
        raise BakeryError(
            f"{prune / 'captions.csv'} lists no picture; loosen the filter section or scrape more"
        )
    written = caption_edits.read_captions(edited.get("captions"), table["image"])
    written = caption_edits.with_table(written, edited.get(caption_edits.TABLE), table["image"])
    entries = [
        Entry(
            image=image,
            source=pictures / image,
            concept=lineage[image].concept if image in lineage else concepts.MAIN,
            caption=written.captions.get(image, caption),
            by_hand=image in written.captions,
            automatic=caption,
            in_file=image in written.in_files,
            lines=written.lines.get(image, ()) if image in written.captions else None,
        )
        for image, caption in zip(table["image"], table["caption"], strict=True)
    ]
    return entries, written.strangers


def _divided(
    settings: Layout, entries: list[Entry], prune: Path, filter: Path | None, out: Path
) -> tuple[list[Entry], list[Entry]]:
    """(those to train on, those that `layout.holdout` keeps from training); `out` is for what lies on
    disk meanwhile."""
    if not settings.holdout:
        return entries, []
    number = holdout.wanted(settings.holdout, len(entries))
    words = frozenset(map(captions.same, Trigger.read(prune).outfits))
    choosable = [holdout.Choosable(e.image, e.concept, _worn(e.caption, words)) for e in entries]
    out.mkdir(parents=True, exist_ok=True)
    alike = duplicates.pairs_of_files([entry.source for entry in entries], holdout.NEAR, out)
    pairs = [(entries[one].image, entries[other].image) for one, other in alike]
    if filter is not None:
        pairs += decisions.repeated(filter)
    together = holdout.groups([entry.image for entry in entries], pairs)
    chosen = holdout.choose(choosable, together, number)
    if len(chosen) < number:
        log.warning(
            "layout: %d pictures are held out where layout.holdout asks for %d: the others belong to "
            "larger groups of near-duplicates, or are the only ones of their concept",
            len(chosen), number,
        )  # fmt: skip
    held = [replace(e, kind=holdout.KIND) for e in entries if e.image in chosen]
    return [e for e in entries if e.image not in chosen], held


def _worn(caption: str, words: frozenset[str]) -> frozenset[str]:
    """What a caption says is worn: garments, and words for whole outfits."""
    tags = map(captions.same, captions.split(caption))
    return frozenset(tag for tag in tags if tag in words or outfits.garment(tag))


def _parted(entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """(those to train on, those that are held out)."""
    held = [entry for entry in entries if entry.kind == holdout.KIND]
    return [entry for entry in entries if entry.kind != holdout.KIND], held


def _lay_aside(
    settings: Layout,
    held: Sequence[Entry],
    folders: Sequence[RepeatFolder],
    out: Path,
    tally: Tally,
) -> dict[str, Any]:
    """Lays the held-out pictures out, a folder for each concept; their entry in the summary."""
    if not settings.holdout:
        return {}
    counts = {}
    for folder in folders:
        if mine := [entry for entry in held if entry.concept == folder.concept]:
            target = out / HOLDOUT / f"1_{folder.name}"
            lay_out(settings, mine, target, 1, out, tally)
            counts[target.name] = len(mine)
    return {"holdout": {"asked": settings.holdout, "images": len(held), "folders": counts}}


def _details(
    settings: Layout,
    entries: Sequence[Entry],
    tag: Path,
    trigger: Trigger,
    boxes: Path | None,
    filter: Path | None,
) -> list[Entry]:
    """The pictures of accepted traits, shown again as a concept of that name; `boxes` are by hand."""
    if not settings.details:
        return []
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


def _page(
    entries: Sequence[Entry],
    tally: Tally,
    trigger: Trigger,
    sentences: Mapping[str, str],
    subject: Subject,
) -> str:
    """The captions page: every picture once, in its place."""
    file = {
        row["image"]: row["file"] for row in tally.rows if row["kind"] in ("picture", holdout.KIND)
    }
    pictures = []
    for e in (one for one in entries if one.kind in ("picture", holdout.KIND)):
        mine = sentences.get(e.image, "")
        said, before = (picture_sentences.finished(c, mine) for c in (e.caption, e.automatic))
        about = (
            e.caption,
            e.automatic,
            e.in_file,
            (said, before),
            e.candidates,
            e.kind == holdout.KIND,
        )
        pictures.append(CaptionedPicture(e.image, file[e.image], *about))
    return captions_page.draw(pictures, trigger, subject)


def _regularize(settings: Layout, out: Path, tally: Tally) -> dict[str, Any]:
    """Lays the regularization pictures out; pictures left out are counted with the reason."""
    assert settings.reg is not None
    folder, reg = expanded(settings.reg.folder), settings.reg
    with tempfile.TemporaryDirectory(dir=out, prefix=UNFINISHED) as unpacked:
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
        lay_out(settings, entries, target, reg.repeats, out, tally)
    return {"reg": {target.name: len(entries)}, "reg_dropped": dict(sorted(dropped.items()))}


def _clear(out: Path) -> None:
    """Removes leftovers of an earlier run: any repeat folder would be trained on."""
    for entry in out.iterdir():
        stale = entry.name.startswith(UNFINISHED) or _REPEAT_FOLDER.fullmatch(entry.name)
        if stale or entry.name in (REG, HOLDOUT):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    for name in ("layout.csv", caption_forms.NAME):
        (out / name).unlink(missing_ok=True)
