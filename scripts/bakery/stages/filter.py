"""Decides which pictures to train on, and records why the others are left out.

Steps: measure each picture once; run every check, so that all reasons are recorded; find the
near-duplicates among the rest; draw some, if asked to; apply hand edits last, each to its own
picture only; write `decisions.csv` and draw the contact sheets.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from bakery.dataset import checks, details, second_look
from bakery.dataset.checks import Candidate
from bakery.edits.image_edits import EXCLUDE, INCLUDE, ImageEdits, match_images
from bakery.io import images, status, tables
from bakery.io.errors import BakeryError
from bakery.io.files import write_text
from bakery.pages import contact_sheet
from bakery.pages.page import Subject
from bakery.settings.filter import FACES, Filter
from bakery.sources import posts
from bakery.sources.posts import Post
from bakery.vision import critics, duplicates, quality

log = logging.getLogger("bakery.stages.filter")

COLUMNS = (
    "image", "kept", "reasons", "by_hand", "duplicate_of", "width", "height", "blur",
    "jpeg_quality", "detail",
)  # fmt: skip


def run(
    settings: Filter,
    *,
    scrape: Path,
    out: Path,
    edits: Mapping[str, Path] | None = None,
    models: Sequence[Path] = (),
    dataset: str = "",
) -> dict:
    """Writes `decisions.csv`, `contact_sheet.html` and `.jpg` to `out`; returns counts by reason.

    Also `boxes.csv`, if a model looks for faces (`details.BOX_COLUMNS`: a row for each face, a
    picture's largest first), and `untagged.json`, if pictures have no booru tags (`second_look`).
    `edits` are the hand edits by file name, `models` the files of `settings.models`, `dataset` the
    name under which the page suggests to save edits. Raises `BakeryError`, after writing
    everything, if no picture is left, with the number of pictures that each setting would keep.
    """
    rows = [post for post in posts.read(scrape / "posts.csv") if post.image]
    if not rows:
        raise BakeryError(f"{scrape / 'posts.csv'} lists no pictures: scrape again")
    by_hand = match_images(edits or {}, rows)
    loaded = [critics.load(*each) for each in zip(settings.models, models, strict=True)]
    out.mkdir(parents=True, exist_ok=True)
    coding = contact_sheet.coding(len(rows))
    candidates = []
    with duplicates.Spool(out) as spool:
        for post in status.each(rows, "measuring pictures"):
            candidate = measure(post, scrape / "images" / post.image, loaded, coding)
            checks.examine(settings, candidate)
            if candidate.small is not None:
                spool.append(candidate.small)
                candidate.small = None
            candidates.append(candidate)
        _ask_models(settings, candidates)
        _examine_together(settings, candidates)
        if settings.duplicate_distance >= 0:
            _mark_duplicates(candidates, spool, settings.duplicate_distance)
            _examine_together(settings, candidates)
    checks.draw(settings, candidates)
    _overrule(candidates, by_hand)
    _examine_together(settings, candidates)
    _tell_of_edits(candidates, by_hand)

    tables.write(out / "decisions.csv", [_row(candidate) for candidate in candidates], COLUMNS)
    _write_boxes(settings, candidates, out)
    items = [_item(candidate) for candidate in candidates]
    contact_sheet.draw(items).save(out / "contact_sheet.jpg", quality=88)
    page = contact_sheet.page(
        items, lines=by_hand.lines, subject=Subject(dataset, out.name), order=checks.REASONS
    )
    write_text(out / "contact_sheet.html", page)
    if not any(candidate.kept for candidate in candidates):
        raise BakeryError(_nothing_left(candidates))
    untagged = second_look.leave_open(settings, candidates, out)
    counts = _summary(candidates) | ({"untagged": untagged} if untagged else {})
    return counts | _hand_edit_counts(candidates, by_hand)


def measure(
    post: Post, path: Path, models: Sequence[critics.Critic], coding: contact_sheet.Coding
) -> Candidate:
    """Everything about a picture that is measured from its pixels."""
    candidate = Candidate(post)
    try:
        image = images.open_rgb(path)
        candidate.animated = images.is_animated(path)
        table = images.quantization(path)
    except images.UnreadableImage as problem:
        candidate.detail = problem.reason
        return candidate
    candidate.file_size = path.stat().st_size
    candidate.size = image.size
    candidate.small = duplicates.prepare(image)
    candidate.thumbnail = contact_sheet.thumbnail(image, coding)
    candidate.blur = quality.blur(image)
    candidate.jpeg_quality = quality.jpeg_quality(image, table)
    candidate.grey = quality.is_grey(candidate.small)
    candidate.seen = [model.look(image) for model in models]
    return candidate


def _ask_models(settings: Filter, candidates: list[Candidate]) -> None:
    """Turns the models' outputs into numbers."""
    seen = [candidate for candidate in candidates if candidate.readable]
    trusted = [not candidate.reasons for candidate in seen]
    for number, model in enumerate(settings.models):
        answers = [candidate.seen[number] for candidate in seen]
        if model.kind == "same_character" and seen:
            found = critics.likeness(answers, trusted).tolist()
        elif model.kind == FACES:
            found = [float(len(boxes)) for boxes in answers]
        else:
            found = [critics.score(answer) for answer in answers]
        for candidate, value in zip(seen, found, strict=True):
            candidate.numbers.append(value)
    for candidate in seen:
        said = zip(settings.models, candidate.numbers, strict=True)
        candidate.detail = "; ".join(f"{model.kind} {value:.4g}" for model, value in said)


def _examine_together(settings: Filter, candidates: list[Candidate]) -> None:
    for candidate in candidates:
        checks.examine(settings, candidate, of_set=True)


def _overrule(candidates: list[Candidate], by_hand: ImageEdits) -> None:
    """Hand edits: each changes only its own picture, not its copies."""
    excluded, included = by_hand.of(EXCLUDE), by_hand.of(INCLUDE)
    for candidate in candidates:
        if candidate.post.image in excluded:
            candidate.by_hand = "exclude"
        elif candidate.post.image in included:
            candidate.by_hand = "include"


def _tell_of_edits(candidates: list[Candidate], by_hand: ImageEdits) -> None:
    """Warns of hand edits that change nothing."""
    for entry in by_hand.unmatched():
        log.warning("config/edits: %s is not among the scraped pictures", entry)
    for candidate in candidates:
        if candidate.by_hand == "include" and not candidate.kept:
            log.warning("config/edits: %s is %s, which include.txt cannot overrule",
                        candidate.post.image, candidate.reasons[0])  # fmt: skip


def _mark_duplicates(
    candidates: list[Candidate], small: Sequence[Image.Image], distance: int
) -> None:
    """The best picture of each group stays: no other reason against it, largest, least compressed,
    oldest.

    `small` are the small copies of those that are readable.
    """
    readable = [candidate for candidate in candidates if candidate.readable]

    def rank(index: int) -> tuple:
        candidate = readable[index]
        area = candidate.size[0] * candidate.size[1]
        number = checks.number(candidate.post.id)
        return (
            bool(candidate.reasons),
            -area,
            -candidate.file_size / area,
            float("inf") if number is None else number,
            candidate.post.image,
        )

    order = sorted(range(len(readable)), key=rank)
    for index, better in duplicates.representatives(small, order, distance).items():
        readable[index].duplicate_of = readable[better].post.image


def _row(candidate: Candidate) -> dict:
    width, height = candidate.size
    measured = candidate.readable
    return {
        "image": candidate.post.image,
        "kept": "true" if candidate.kept else "false",
        "reasons": ";".join(candidate.reasons),
        "by_hand": candidate.by_hand,
        "duplicate_of": candidate.duplicate_of,
        "width": str(width or ""),
        "height": str(height or ""),
        "blur": f"{candidate.blur:.3f}" if measured else "",
        "jpeg_quality": str(candidate.jpeg_quality) if measured else "",
        "detail": candidate.detail,
    }


def _write_boxes(settings: Filter, candidates: list[Candidate], out: Path) -> None:
    """Writes `boxes.csv`: where the first of the models for faces sees them; nothing without one."""
    of_faces = [number for number, model in enumerate(settings.models) if model.kind == FACES]
    if not of_faces:
        return
    rows = [
        dict(zip(details.BOX_COLUMNS, (one.post.image, details.FACE, *box), strict=True))
        for one in candidates
        if one.readable and not one.final
        for box in details.within(one.seen[of_faces[0]].tolist(), one.size)
    ]
    tables.write(out / details.BOXES, rows, details.BOX_COLUMNS)


def _item(candidate: Candidate) -> contact_sheet.Item:
    refused = posts.FORBIDDEN in candidate.reasons
    return contact_sheet.Item(
        image=candidate.post.image,
        kept=candidate.kept,
        reasons=candidate.reasons,
        duplicate_of=candidate.duplicate_of,
        by_hand=candidate.by_hand,
        final=candidate.final,
        concept=candidate.post.concept,
        size=candidate.size,
        note="" if refused else candidate.detail,
        thumbnail=b"" if refused else candidate.thumbnail,
    )


def _summary(candidates: list[Candidate]) -> dict:
    counts = Counter(reason for candidate in candidates for reason in candidate.reasons)
    return {
        "images": len(candidates),
        "kept": sum(candidate.kept for candidate in candidates),
        "reasons": {reason: counts[reason] for reason in checks.REASONS if counts[reason]},
    }


def _hand_edit_counts(candidates: list[Candidate], by_hand: ImageEdits) -> dict:
    """Counts of the hand edits; empty without any."""
    if not any(by_hand.lines.values()):
        return {}
    done = Counter(candidate.by_hand for candidate in candidates)
    unmatched = len(by_hand.unmatched())
    return {"by_hand": {"excluded": done["exclude"], "included": done["include"],
                        "unmatched": unmatched}}  # fmt: skip


def _nothing_left(candidates: list[Candidate]) -> str:
    """The reasons, and how many pictures each setting would keep, else the best combination of
    several."""
    counts = _summary(candidates)["reasons"]
    why = ", ".join(f"{reason} {count}" for reason, count in counts.items())
    needed = Counter(
        tuple(dict.fromkeys(checks.CURES[reason] for reason in candidate.reasons))
        for candidate in candidates
        if set(candidate.reasons) <= set(checks.CURES)
    )
    single = [(cures, count) for cures, count in needed.most_common() if len(cures) == 1]
    options = single or sorted(needed.most_common(), key=lambda item: len(item[0]))[:1]
    said = [f"{' with '.join(cures)} would keep {count}" for cures, count in options]
    said = said or ["no single setting would keep any: scrape other posts"]
    return f"filter drops all {len(candidates)} pictures ({why}): {'; '.join(said)}"
