"""Decides which pictures a bake may eat, and says of every other one why not.

Steps: measure each picture once; ask every check, so that all reasons are on record; find the
near-duplicates among the rest; let hand edits have the last word, each on its own picture only;
write `decisions.csv` and draw the contact sheets.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from bakery.edits.image_edits import EXCLUDE, INCLUDE, ImageEdits, match_images
from bakery.io import images, tables
from bakery.io.errors import BakeryError
from bakery.io.files import write_text
from bakery.pages import contact_sheet
from bakery.settings.filter import Filter
from bakery.sources import posts
from bakery.sources.posts import Post
from bakery.vision import critics, duplicates, quality

log = logging.getLogger("bakery.stages.filter")

UNREADABLE, EXCLUDED, DUPLICATE = "unreadable", "excluded", "duplicate"
REASONS = (
    UNREADABLE, posts.FORBIDDEN, EXCLUDED, "animation", "too_small", "extreme_aspect", "rating",
    "score", "unwanted_tag", "extra_character", "monochrome", "text_heavy", "ai_generated",
    "blurry", "compressed", *critics.KINDS, DUPLICATE,
)  # fmt: skip
"""Every reason, in the order in which they are recorded."""
FINAL = frozenset({UNREADABLE, posts.FORBIDDEN})
"""Reasons that no hand edit overrules."""
COLUMNS = (
    "image", "kept", "reasons", "by_hand", "duplicate_of", "width", "height", "blur",
    "jpeg_quality", "detail",
)  # fmt: skip
_CURE = {
    EXCLUDED: "an empty exclude.txt",
    "animation": "filter.animation: false",
    "too_small": "filter.min_side: 0",
    "extreme_aspect": "filter.max_aspect: null",
    "rating": "filter.ratings: []",
    "score": "filter.min_score: null",
    "unwanted_tag": "filter.unwanted_tags: []",
    "extra_character": "filter.extra_characters: false",
    "monochrome": "filter.monochrome: false",
    "text_heavy": "filter.text_heavy: false",
    "ai_generated": "filter.ai_generated: false",
    "blurry": "filter.max_blur: 1",
    "compressed": "filter.min_jpeg_quality: 0",
    **dict.fromkeys(critics.KINDS, "filter.models: []"),
}
"""Reason -> the setting that switches its check off."""

_SEVERAL = re.compile(
    r"[2-9]\+?(girls|boys|others|koma)"
    r"|multiple_(girls|boys|others|views|persona)|dual_persona"
    r"|comic|reference_sheet|character_sheet|everyone|crowd"
)
_ONE_EACH = {"1girl", "1boy", "1other"}
_QUALIFIER = re.compile(r"_\([^()]*\)")
_COLORLESS = {"monochrome", "greyscale", "grayscale", "sepia", "sketch", "lineart"}
# Writing is the point of the picture: one tag is enough.
_WRITING = {
    "text_focus", "text-only_page", "text_only_page", "wall_of_text", "speech_bubble",
    "dialogue_box", "subtitled", "lyrics", "chat_log", "infographic", "how_to", "user_interface",
    "character_profile", "screenshot", "game_screenshot", "fake_screenshot",
    "fake_phone_screenshot", "cover", "cover_page", "album_cover", "doujin_cover", "fake_cover",
    "magazine_cover", "manga_cover",
}  # fmt: skip
# Some writing is in it: it takes several.
_SOME_WRITING = re.compile(
    r"[a-z]+_text|(partially_)?translated|translation_request|check_translation|watermark"
    r"|sample_watermark|logo|title|(character|copyright|group|song)_name|dated|twitter_username"
)
_MUCH_WRITING = 3
_MADE_BY_A_MODEL = re.compile(
    r"ai[-_](generated|assisted|art)|stable_diffusion|novelai|nai_diffusion|midjourney|dall-e"
)
# Difference of the channels below which a pixel is grey, and the share of such pixels in a grey picture.
_GREY_LEVELS, _GREY_SHARE = 16, 0.99


@dataclass
class Candidate:
    """A picture before the court."""

    post: Post
    file_size: int = 0
    small: Image.Image | None = None
    """Until it is judged by itself; then it lies on a shelf."""
    size: tuple[int, int] = (0, 0)
    """Zeros when it cannot be opened."""
    thumbnail: bytes = b""
    animated: bool = False
    detail: str = ""
    blur: float = 0.0
    jpeg_quality: int = 100
    seen: list[np.ndarray] = field(default_factory=list)
    """What each of the user's models says of it, first as an array, then as a number."""
    numbers: list[float] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    by_hand: str = ""
    """`include`, `exclude` or nothing."""
    duplicate_of: str = ""

    @property
    def readable(self) -> bool:
        return self.size != (0, 0)

    @property
    def kept(self) -> bool:
        against = FINAL & set(self.reasons) if self.by_hand == "include" else self.reasons
        return not against


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

    `edits` are the hand edits by file name, `models` the files of `settings.models`, `dataset` the
    name under which the page tells to save edits. Raises `BakeryError`, after writing all, when no
    picture is left, and says which settings would keep how many.
    """
    rows = [post for post in posts.read(scrape / "posts.csv") if post.image]
    if not rows:
        raise BakeryError(f"{scrape / 'posts.csv'} lists no pictures: scrape again")
    by_hand = match_images(edits or {}, rows)
    judges = [
        critics.Critic(path, critic.kind, side=critic.side, mean=critic.mean, std=critic.std)
        for critic, path in zip(settings.models, models, strict=True)
    ]
    out.mkdir(parents=True, exist_ok=True)
    coding = contact_sheet.coding(len(rows))
    court = []
    with duplicates.Shelf(out) as shelf:
        for post in rows:
            candidate = measure(post, scrape / "images" / post.image, judges, coding)
            candidate.reasons = judge(settings, candidate)
            if candidate.small is not None:
                shelf.append(candidate.small)
                candidate.small = None
            court.append(candidate)
        _ask_models(settings, court)
        if settings.duplicate_distance >= 0:
            _mark_duplicates(court, shelf, settings.duplicate_distance)
    _overrule(court, by_hand)

    tables.write(out / "decisions.csv", [_row(candidate) for candidate in court], COLUMNS)
    items = [_item(candidate) for candidate in court]
    contact_sheet.draw(items).save(out / "contact_sheet.jpg", quality=88)
    page = contact_sheet.page(items, lines=by_hand.lines, dataset=dataset, order=REASONS)
    write_text(out / "contact_sheet.html", page)
    if not any(candidate.kept for candidate in court):
        raise BakeryError(_nothing_left(court))
    return _summary(court) | _told(court, by_hand)


def measure(
    post: Post, path: Path, judges: Sequence[critics.Critic], coding: contact_sheet.Coding
) -> Candidate:
    """Everything about a picture that needs its pixels."""
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
    candidate.seen = [critic.look(image) for critic in judges]
    return candidate


def judge(settings: Filter, candidate: Candidate) -> list[str]:
    """Every reason against a picture that needs no other picture, in fixed order."""
    post, readable = candidate.post, candidate.readable
    score, shape = _number(post.score), candidate.size
    tags = post.tags()
    against = {
        UNREADABLE: not readable,
        posts.FORBIDDEN: posts.forbidden(post),
        "animation": settings.animation and candidate.animated,
        "too_small": readable and min(shape) < settings.min_side,
        "extreme_aspect": readable
        and settings.max_aspect is not None
        and max(shape) > settings.max_aspect * min(shape),
        "rating": bool(settings.ratings) and (post.rating or "general") not in settings.ratings,
        "score": None not in (settings.min_score, score) and score < settings.min_score,
        "unwanted_tag": _any_like(tags, settings.unwanted_tags),
        "extra_character": settings.extra_characters and shows_several(post),
        "monochrome": settings.monochrome
        and (bool(tags & _COLORLESS) or (readable and is_grey(candidate.small))),
        "text_heavy": settings.text_heavy and is_writing(tags),
        "ai_generated": settings.ai_generated and any(map(_MADE_BY_A_MODEL.fullmatch, tags)),
        "blurry": candidate.blur > settings.max_blur,
        "compressed": candidate.jpeg_quality < settings.min_jpeg_quality,
    }
    return [reason for reason in REASONS if against.get(reason)]


def is_writing(tags: Iterable[str]) -> bool:
    """Whether the tags speak of a picture that is mostly writing."""
    tags = set(tags)
    some = sum(bool(_SOME_WRITING.fullmatch(tag)) for tag in tags)
    return bool(tags & _WRITING) or some >= _MUCH_WRITING


def _any_like(tags: set[str], patterns: Sequence[str]) -> bool:
    for pattern in patterns:
        pieces = "_".join(pattern.lower().split()).split("*")
        like = re.compile(".*".join(re.escape(piece) for piece in pieces))
        if any(like.fullmatch(tag) for tag in tags):
            return True
    return False


def shows_several(post: Post) -> bool:
    """Whether the tags speak of more than one character, or of one in several panels or views."""
    general = set(post.tags_general.lower().split())
    if any(_SEVERAL.fullmatch(tag) for tag in general) or len(general & _ONE_EACH) > 1:
        return True
    names = set(post.tags_character.lower().split())
    # `miku_(summer)` beside `miku` is a costume, not a second character.
    costumes = {
        name
        for name in names
        for qualifier in _QUALIFIER.findall(name)
        if name.replace(qualifier, "", 1) in names
    }
    return len(names - costumes) > 1


def is_grey(image: Image.Image) -> bool:
    """Whether nearly all pixels of an RGB picture are without colour."""
    pixels = np.asarray(image, np.int16)  # (H, W, 3)
    chroma = pixels.max(axis=2) - pixels.min(axis=2)
    return float((chroma < _GREY_LEVELS).mean()) >= _GREY_SHARE


def _ask_models(settings: Filter, court: list[Candidate]) -> None:
    """Turns what the models said into numbers and reasons."""
    seen = [candidate for candidate in court if candidate.readable]
    trusted = [not candidate.reasons for candidate in seen]
    for number, critic in enumerate(settings.models):
        answers = [candidate.seen[number] for candidate in seen]
        if critic.kind == "same_character" and seen:
            found = critics.likeness(answers, trusted).tolist()
        elif critic.kind == "face_count":
            found = [float(critics.faces(answer, critic.confidence)) for answer in answers]
        else:
            found = [critics.score(answer) for answer in answers]
        for candidate, value in zip(seen, found, strict=True):
            candidate.numbers.append(value)
            low = critic.min is not None and value < critic.min
            high = critic.max is not None and value > critic.max
            if (low or high) and critic.kind not in candidate.reasons:
                candidate.reasons.append(critic.kind)
    for candidate in seen:
        said = zip(settings.models, candidate.numbers, strict=True)
        candidate.detail = "; ".join(f"{critic.kind} {value:.4g}" for critic, value in said)
        candidate.reasons.sort(key=REASONS.index)


def _overrule(court: list[Candidate], by_hand: ImageEdits) -> None:
    """Hand edits: each changes its own picture and no other, whatever repeats it."""
    excluded, included = by_hand.of(EXCLUDE), by_hand.of(INCLUDE)
    for candidate in court:
        if candidate.post.image in excluded:
            candidate.by_hand = "exclude"
            candidate.reasons = sorted([*candidate.reasons, EXCLUDED], key=REASONS.index)
        elif candidate.post.image in included:
            candidate.by_hand = "include"
    for entry in by_hand.unmatched():
        log.warning("config/edits: %s is none of the pictures that were scraped", entry)
    for candidate in court:
        if candidate.by_hand == "include" and not candidate.kept:
            log.warning("config/edits: %s is %s, which include.txt cannot overrule",
                        candidate.post.image, candidate.reasons[0])  # fmt: skip


def _mark_duplicates(court: list[Candidate], small: Sequence[Image.Image], distance: int) -> None:
    """Of each group the best stays: nothing else against it, largest, least compressed, oldest.

    `small` are the small copies of those that are readable.
    """
    readable = [candidate for candidate in court if candidate.readable]

    def rank(index: int) -> tuple:
        candidate = readable[index]
        area = candidate.size[0] * candidate.size[1]
        number = _number(candidate.post.id)
        return (
            bool(candidate.reasons),
            -area,
            -candidate.file_size / area,
            float("inf") if number is None else number,
            candidate.post.image,
        )

    order = sorted(range(len(readable)), key=rank)
    for index, better in duplicates.representatives(small, order, distance).items():
        readable[index].reasons.append(DUPLICATE)
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


def _item(candidate: Candidate) -> contact_sheet.Item:
    refused = posts.FORBIDDEN in candidate.reasons
    return contact_sheet.Item(
        image=candidate.post.image,
        kept=candidate.kept,
        reasons=candidate.reasons,
        duplicate_of=candidate.duplicate_of,
        by_hand=candidate.by_hand,
        final=bool(FINAL & set(candidate.reasons)),
        concept=candidate.post.concept,
        size=candidate.size,
        note="" if refused else candidate.detail,
        thumbnail=b"" if refused else candidate.thumbnail,
    )


def _summary(court: list[Candidate]) -> dict:
    counts = Counter(reason for candidate in court for reason in candidate.reasons)
    return {
        "images": len(court),
        "kept": sum(candidate.kept for candidate in court),
        "reasons": {reason: counts[reason] for reason in REASONS if counts[reason]},
    }


def _told(court: list[Candidate], by_hand: ImageEdits) -> dict:
    """What the hand edits came to; nothing where there are none."""
    if not any(by_hand.lines.values()):
        return {}
    done = Counter(candidate.by_hand for candidate in court)
    unmatched = len(by_hand.unmatched())
    return {"by_hand": {"excluded": done["exclude"], "included": done["include"],
                        "unmatched": unmatched}}  # fmt: skip


def _nothing_left(court: list[Candidate]) -> str:
    """Why, and what would keep how many: one setting each, else the best combination of several."""
    counts = _summary(court)["reasons"]
    why = ", ".join(f"{reason} {count}" for reason, count in counts.items())
    needed = Counter(
        tuple(dict.fromkeys(_CURE[reason] for reason in candidate.reasons))
        for candidate in court
        if set(candidate.reasons) <= set(_CURE)
    )
    single = [(cures, count) for cures, count in needed.most_common() if len(cures) == 1]
    options = single or sorted(needed.most_common(), key=lambda item: len(item[0]))[:1]
    said = [f"{' with '.join(cures)} would keep {count}" for cures, count in options]
    said = said or ["no setting would keep any: scrape other posts"]
    return f"filter drops all {len(court)} pictures ({why}): {'; '.join(said)}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
