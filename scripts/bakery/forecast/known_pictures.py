"""What is known of a bake's pictures, from the last stage that has run or from the user's folders."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from bakery.dataset import concepts, decisions, holdout, repeat_folders
from bakery.dataset.concepts import RepeatFolder
from bakery.families.recognise import Place
from bakery.forecast import own_folders
from bakery.io import images, tables
from bakery.io.errors import BakeryError
from bakery.io.images import Size
from bakery.io.manifest import NAME
from bakery.settings.filter import Filter
from bakery.settings.layout import Layout
from bakery.settings.named_files import expanded
from bakery.settings.scrape import Scrape
from bakery.settings.train import Train
from bakery.tags import captions
from bakery.tags.shuffling import Shuffling

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class PlannedBake:
    """One bake of the dry bake."""

    page: str
    label: str
    settings: Mapping[str, Mapping[str, Any]]
    """Stage -> its settings as plain values."""
    folders: Mapping[str, str]
    """Stage -> the folder of its node, relative to the working directory."""
    base: Place
    """Path or hub id of the base model, or of its parts."""
    tagger: str
    """The same of the tagger."""
    rungs: Sequence[Mapping[str, Any]] | None = None
    """With halving: each rung's last epoch (`until`), how many bakes run in it if none fails (`bakes`),
    and its folders by stage."""
    configs: Sequence[Path] = ()
    """The files that the config was read from."""
    has_gpu: bool = True
    """Whether this machine has a GPU, as far as can be seen without torch."""
    group: Sequence[str] = ()
    """Folders of the bakes that may be trained side by side with this one, its own among them."""
    workers: int = 1
    """Processes that train at a time."""
    gathered_to: str = ""
    """`gather.to`."""
    seen: dict[str, Any] = field(default_factory=dict, compare=False)
    """What was looked at already, for all bakes of a dry bake: most of them share their pictures."""

    def once(self, what: str, sections: Sequence[str], look: Callable[[], Seen]) -> Seen:
        """`look()`, once for all bakes with these sections and the folders of their stages."""
        stages = [stage for stage in self.folders if stage in sections]
        facts = [self.settings[section] for section in sections], [self.folders[s] for s in stages]
        key = what + json.dumps([*facts, self.settings["train"].get("reg_data_dir")])
        if key not in self.seen:
            self.seen[key] = look()
        return self.seen[key]


@dataclass(frozen=True)
class ShownPicture:
    """A picture of an epoch."""

    folder: str
    """`5_mirael`."""
    size: Size
    repeats: int
    is_reg: bool = False


@dataclass(frozen=True)
class KnownPictures:
    """What is known of a bake's pictures, and which stage said it."""

    stage: str
    """layout (exact), filter, scrape, folders if nothing has run and the pictures are the user's own,
    or ""."""
    folders: tuple[RepeatFolder, ...] = ()
    shown: tuple[ShownPicture, ...] = ()
    at_most: int = 0
    """Number of pictures, if no folder is known yet."""
    trouble: str = ""
    """A sentence on why no more is known."""
    captions: tuple[tuple[str, ...], ...] = ()
    """Of each training picture the captions that it may be shown with, once it is laid out."""
    by_hand: int = 0
    """Captions that were rewritten by hand and do not name the trigger."""
    held_out: int = 0
    """Pictures that are kept from training."""


def known_pictures(bake: PlannedBake) -> KnownPictures:
    """What is known of the pictures from the last stage that has run; looked at once for all bakes."""
    return bake.once("pictures", ("scrape", "filter", "prune", "layout"), lambda: _known(bake))


def _known(bake: PlannedBake) -> KnownPictures:
    folders = {stage: Path(folder) for stage, folder in bake.folders.items()}
    for stage, look in (("layout", _laid_out), ("filter", _filtered), ("scrape", _scraped)):
        if (folders[stage] / NAME).is_file():
            try:
                return look(bake, folders)
            except BakeryError as problem:
                return KnownPictures(stage, trouble=str(problem))
    if bake.settings["scrape"]["folders"]:
        try:
            return _in_folders(bake)
        except BakeryError as problem:
            return KnownPictures("folders", trouble=str(problem))
    return KnownPictures("", at_most=_asked_for(bake.settings["scrape"]))


def _in_folders(bake: PlannedBake) -> KnownPictures:
    """As the user's own folders show; what addresses will give is not counted."""
    scrape = Scrape.model_validate(bake.settings["scrape"])
    settings = Filter.model_validate(bake.settings["filter"])
    found = own_folders.look(scrape, settings)
    asked = _asked_for(bake.settings["scrape"])
    if asked:
        return KnownPictures("", at_most=asked + len(found.kept))
    if not found.kept:
        where = ", ".join(folder.path for folder in scrape.folders)
        raise BakeryError(
            f"In scrape.folders ({where}), the folders hold no picture to train on: give the folder "
            f"with the .png, .jpg or .webp files. {found.about(settings)}".rstrip()
        )
    staying = _without_held_out(bake, found.kept)
    planned, shown, later = _planned(bake, staying)
    return KnownPictures(
        "folders",
        planned,
        shown,
        trouble=f"{found.about(settings)}{later}".strip(),
        held_out=len(found.kept) - len(staying),
    )


def _laid_out(bake: PlannedBake, folders: Mapping[str, Path]) -> KnownPictures:
    """As the trainer reads them."""
    path = folders["layout"] / "layout.csv"
    table = tables.read(path, ("file", "concept", "kind", "caption", "by_hand"))
    rows = tables.records(table)
    reg = bake.settings["train"].get("reg_data_dir")
    items = repeat_folders.read_folders(
        folders["layout"], None if reg is None else expanded(reg)
    ).items
    shown = tuple(
        ShownPicture(item.folder, images.size_of(item.image), item.repeats, item.is_reg)
        for item in items
    )
    trigger = captions.same(str(bake.settings["prune"]["trigger"]))
    still = Shuffling.of(Train.model_validate(bake.settings["train"])).still
    by_hand = [captions.split(still(row["caption"])) for row in rows if row["by_hand"] == "true"]
    held = sum(row["kind"] == holdout.KIND for row in rows)
    return KnownPictures(
        "layout",
        _folders(bake, shown, {row["file"].split("/")[0]: row["concept"] for row in rows}),
        shown,
        captions=tuple(item.texts for item in items if not item.is_reg),
        by_hand=sum(trigger not in map(captions.same, tags) for tags in by_hand),
        held_out=held,
    )


def _folders(
    bake: PlannedBake, shown: Sequence[ShownPicture], concept: Mapping[str, str]
) -> tuple[RepeatFolder, ...]:
    """The repeat folders of the dataset; `concept` leads from a folder to its concept."""
    wished = bake.settings["layout"].get("concepts", {})
    main = [one for one in shown if not one.is_reg]
    total = sum(one.repeats for one in main)
    found = []
    for folder, count in Counter(one.folder for one in main).items():
        repeats, name = folder.split("_", 1)
        mine = concept.get(folder, concepts.MAIN)
        share = count * int(repeats) / total
        wish = wished.get(mine, {}).get("share")
        found.append(RepeatFolder(mine, name, int(repeats), count, share, wish))
    return tuple(sorted(found, key=lambda one: one.concept))


def _filtered(bake: PlannedBake, folders: Mapping[str, Path]) -> KnownPictures:
    """As kept by the filter, and by its second look if prune has run: detail folders and regularization
    pictures come later."""
    path = folders["filter"] / "decisions.csv"
    rows = tables.read(path, ("image", "kept", "width", "height"))
    dropped = decisions.dropped_later(folders["prune"])
    rows = rows[(rows["kept"] == "true") & ~rows["image"].isin(dropped)]
    if rows.empty:
        raise BakeryError(
            f"{path} keeps no picture: look at the reasons in it, and loosen the filter section"
        )
    width, height = (tables.numbers(rows[side], path) for side in ("width", "height"))
    concept = _concepts(folders["scrape"])
    of = [concept.get(image, concepts.MAIN) for image in rows["image"]]
    sizes = [(int(w), int(h)) for w, h in zip(width, height, strict=True)]
    staying = _without_held_out(bake, tuple(zip(of, sizes, strict=True)))
    planned, shown, later = _planned(bake, staying)
    held = len(sizes) - len(staying)
    return KnownPictures("filter", planned, shown, trouble=later.strip(), held_out=held)


def _without_held_out(
    bake: PlannedBake, pictures: Sequence[tuple[str, Size]]
) -> Sequence[tuple[str, Size]]:
    """`pictures` (concept, size) less as many as will be held out, evenly spread; which ones they are,
    the layout decides."""
    settings = Layout.model_validate(bake.settings["layout"])
    number = holdout.wanted(settings.holdout, len(pictures)) if settings.holdout else 0
    left_out = {place * len(pictures) // number for place in range(number)}
    return [one for place, one in enumerate(pictures) if place not in left_out]


def _planned(
    bake: PlannedBake, pictures: Sequence[tuple[str, Size]]
) -> tuple[tuple[RepeatFolder, ...], tuple[ShownPicture, ...], str]:
    """Repeat folders and showings of pictures (concept, size) that pass the filter, and what the
    layout will add to them."""
    of = [concept for concept, _ in pictures]
    settings = Layout.model_validate(bake.settings["layout"])
    accepted = {concepts.safe(trait) for trait in settings.details}
    known = {c: own for c, own in settings.concepts.items() if c not in accepted}
    planned = concepts.folders(
        settings.model_copy(update={"concepts": known}), Counter(of), _name(bake)
    )
    by_concept = {folder.concept: folder for folder in planned}
    shown = tuple(
        ShownPicture(by_concept[c].folder, size, by_concept[c].repeats) for c, size in pictures
    )
    later = []
    if accepted:
        later.append("the detail folders")
    if settings.reg is not None:
        later.append("the regularization pictures")
    trouble = f" Not counted yet: {' and '.join(later)}." if later else ""
    return tuple(planned), shown, trouble


def _scraped(bake: PlannedBake, folders: Mapping[str, Path]) -> KnownPictures:
    rows = tables.read(folders["scrape"] / "posts.csv", ("image",))
    return KnownPictures("scrape", at_most=int((rows["image"] != "").sum()))


def _concepts(scrape: Path) -> dict[str, str]:
    rows = tables.read(scrape / "posts.csv", ("image",))
    return dict(zip(rows["image"], rows["concept"], strict=True)) if "concept" in rows else {}


def _asked_for(scrape: Mapping[str, Any]) -> int:
    """Posts that the addresses give at most; local folders are not counted."""
    limits = [url.get("limit") if isinstance(url, dict) else None for url in scrape["urls"]]
    return sum(limit or scrape["limit"] for limit in limits)


def _name(bake: PlannedBake) -> str:
    return str(bake.settings["scrape"]["name"])
