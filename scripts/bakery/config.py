"""The user's choices: every key, its type, range, default and meaning, said once.

Steps from a YAML file to something that can be keyed:

1. `Config.model_validate` coerces (`"1e-4"` becomes a float) and refuses unknown keys;
2. `load` turns pydantic's report into one sentence a problem, with the nearest known name;
3. `chosen` gives the options that differ from their default, which is what goes into a key, so
   that a new option keeps old results.

`workflow/schemas/config.schema.json` is written from these models (a test holds them equal).
"""

from __future__ import annotations

import difflib
import math
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from bakery import credentials, thresholds
from bakery.errors import BakeryError
from bakery.filter_settings import Filter, Rating
from bakery.sample_settings import Sample
from bakery.sections import Name, Section, Share
from bakery.sources import Scrape
from bakery.train_settings import Train

Repeats = Annotated[int, Field(ge=1, le=1000)]
Threshold = Annotated[float, Field(ge=0.05, le=1)]
"""Below 0.05 the tag stage writes nothing down."""


class Tag(Section):
    """The WD tagger that describes each picture."""

    model: str = "resources/world/tagger"
    """Folder with model.onnx and selected_tags.csv, or a hub id (SmilingWolf/wd-swinv2-tagger-v3)."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 16
    """Pictures per inference; does not change the tags, and is not part of the key."""

    not_in_key: ClassVar[frozenset[str]] = frozenset({"batch_size"})

    @model_validator(mode="before")
    @classmethod
    def _thresholds_stand_in_prune(cls, raw: Any) -> Any:
        for name in ("general_threshold", "character_threshold"):
            if isinstance(raw, dict) and name in raw:
                raise ValueError(
                    f"has no {name}: write it in the prune section, where another value needs no "
                    "new tagging"
                )
        return raw


class Prune(Section):
    """Which tags are believed, and which of them the trigger word absorbs."""

    trigger: str = "mirael"
    """The word that will call the character; first in every caption."""
    class_tokens: str = ""
    """What stands right behind the trigger, for example `1girl`."""
    source: Literal["tagger", "booru", "union"] = "tagger"
    """Whose tags go into captions: the tagger's, the booru's (or a sidecar's), or both."""
    general_threshold: Threshold | Literal["published"] = 0.35
    """Probability (0.05 to 1) from which a general tag is believed, or `published`: where the tagger's
    own page says that precision equals recall. Another value needs no new tagging."""
    character_threshold: Threshold = 0.85
    """Probability from which a character tag is believed."""
    min_frequency: Share = 0.5
    """Share of the pictures from which a trait of the vocabulary counts as the character's."""
    min_lift: Annotated[float, Field(ge=0)] = 1.0
    """How many times its usual frequency a trait must have here; 0 does not ask. Usual is what the
    tagger's own selected_tags.csv counts."""
    always: tuple[str, ...] = ()
    """Tags to prune however rare they are."""
    never: tuple[str, ...] = ()
    """Tags to keep however frequent they are."""
    outfits: dict[str, tuple[str, ...]] = {}
    """Sub-triggers: a word for each outfit -> the tags it absorbs on the pictures that show more than
    half of them. `outfits.csv` proposes some."""
    drop_implied: bool = False
    """Leave out of a caption what another of its tags says already (jacket beside red jacket)."""
    enabled: bool = True
    """false leaves every tag in the captions, to see what pruning is worth."""

    @field_validator("general_threshold", mode="before")
    @classmethod
    def _number_or_published(cls, value: Any) -> Any:
        if value is None or value == "published":
            return "published"
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = -1.0
        if isinstance(value, bool) or not 0.05 <= number <= 1:
            raise ValueError(f"is {value!r}: give a number from 0.05 to 1, or published")
        return number

    @field_validator("outfits")
    @classmethod
    def _sub_triggers(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for word, tags in value.items():
            if not word.strip() or "," in word or len(word.splitlines()) > 1:
                raise ValueError(f"names {word!r}: a sub-trigger is one word or phrase, no comma")
            if not tags:
                raise ValueError(f"gives {word!r} no tags: list the garments that make the outfit")
        return value

    @field_validator("trigger")
    @classmethod
    def _one_caption_word(cls, value: str) -> str:
        value = value.strip()
        if not value:
            raise ValueError("is empty: give the word that will call the character")
        if "," in value or "\n" in value:
            raise ValueError(
                f"is {value!r}, but commas and line breaks separate tags: use one word or phrase"
            )
        return value


class Concept(Section):
    """What one concept's folder does in its own way."""

    repeats: Repeats | None = None
    """How often an epoch shows each of its pictures; null takes the dataset's."""
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of all showings that the concept is to get: its repeats follow from it."""
    caption_prefix: str = ""
    """Tags at the front of each of its captions; what they say is not said again behind them."""

    @model_validator(mode="after")
    def _one_way(self) -> Concept:
        if self.repeats is not None and self.share is not None:
            raise ValueError("has repeats and a share, which decides the repeats: leave one out")
        return self


class Regularization(Section):
    """Pictures of the class that the character belongs to, so that the class stays as it was."""

    folder: str
    """Local folder of pictures; a picture's own `.txt` is its caption."""
    class_tokens: str
    """What the pictures are called that have no `.txt`, for example `1girl`."""
    repeats: Repeats = 1
    """How often an epoch shows each picture at least."""
    ratings: tuple[Rating, ...] = ("general",)
    """Ratings to take; a picture without a rating counts as general."""

    @field_validator("class_tokens")
    @classmethod
    def _some_word(cls, value: str) -> str:
        if not value.replace(",", " ").strip():
            raise ValueError("is empty: give the words for what the pictures show, such as 1girl")
        return value


class Layout(Section):
    """kohya's repeat folders."""

    repeats: Repeats = 5
    """How often an epoch shows each picture: the 5 of `5_name`."""
    caption_extension: Literal[".txt", ".caption"] = ".txt"
    """Extension of the caption beside each picture."""
    concepts: dict[Name, Concept] = {}
    """Concept (of scrape.urls and scrape.folders) -> its own repeats or share, and caption prefix."""
    balance: bool = False
    """Give every concept as many showings as the main dataset, whatever its number of pictures."""
    details: tuple[str, ...] = ()
    """Traits to show again in a folder of their own, as details.csv of the score stage proposes."""
    reg: Regularization | None = None
    """Regularization pictures, laid out as `reg/<repeats>_<class>`."""

    @model_validator(mode="after")
    def _shares_leave_room(self) -> Layout:
        shares = [c.share for c in self.concepts.values() if c.share is not None]
        if sum(shares) >= 1:
            raise ValueError(
                f"concepts want {sum(shares):g} of all showings: shares must leave room for the rest"
            )
        return self


class Score(Section):
    """What the tagger sees in the samples."""

    min_trait_share: Share = 0.5
    """A pruned trait counts if the tagger sees it on this share of the training pictures."""
    habit: Annotated[float, Field(gt=0, le=1)] = 0.25
    """An outfit or scene tag can leak if the training pictures show it more often than the base does, by
    this share of the pictures."""
    memorised_distance: Annotated[int, Field(ge=0, le=32)] = 6
    """Largest Hamming distance between 64-bit perceptual hashes of a picture and a training picture that
    it copies."""
    leak_weight: Annotated[float, Field(ge=0)] = 0.5
    """How much leak costs in the trade-off."""
    bleed_weight: Annotated[float, Field(ge=0)] = 0.1
    """How much bleed costs in the trade-off: little, as a character is why one loads its LoRA."""
    clarity_weight: Annotated[float, Field(ge=0)] = 0.5
    """How much it costs in the trade-off when pictures are less clear than the base's."""
    embedding_model: str = ""
    """ONNX file that turns a picture into a vector in which one character lies together (for example the
    feature model of CCIP): gives likeness; empty leaves it out."""
    embedding_mean: float = 0.5
    """Subtracted from the 0..1 pixels that this model sees."""
    embedding_std: Annotated[float, Field(gt=0)] = 0.5
    """Divides them after that."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 16
    """Samples per inference of the tagger; does not change the scores, and is not part of the key."""

    not_in_key: ClassVar[frozenset[str]] = frozenset({"batch_size"})


class Compare(Section):
    """The page."""

    model_config = ConfigDict(serialize_by_alias=True)

    title: str = "LoRA Bakery"
    """Heading of the page."""
    thumbnail: Annotated[int, Field(ge=32, le=512)] = 96
    """Side of a picture in the page's grid, in pixels."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 4
    """Seeds to put on the page; each adds as many pictures as the first."""
    max_mb: Annotated[float, Field(ge=1, le=200)] = 4.5
    """Size of the page in MB: pictures are made smaller, then fewer, until it is kept; whole pictures
    that do not fit are linked to their files."""
    with_: Annotated[tuple[str, ...], Field(alias="with")] = ()
    """Finished bakes of other configs or days to put beside: folders such as `results/train/<name>`,
    `results/score/<name>`, or `results/compare/<name>` for all bakes of a page."""


class Halving(Section):
    """Successive halving: the worst bakes of a sweep are stopped early, by score."""

    after: Annotated[tuple[int, ...], Field(min_length=1)]
    """Epochs after which bakes are drawn, scored and ranked, rising. Each must be saved, and come before
    the last."""
    keep: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the bakes in the race that goes on each time, rounded up."""

    @field_validator("after")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value[0] < 1 or list(value) != sorted(set(value)):
            raise ValueError(f"is {list(value)}: name each epoch once, from 1, the earlier first")
        return value

    def places(self, bakes: int) -> int:
        """How many of `bakes` go on: ceil(keep * bakes)."""
        return math.ceil(round(self.keep * bakes, 9))  # 0.07 * 100 is a little more than 7


class Sweep(Section):
    """Several bakes on one page: a product of values, and single variants besides."""

    grid: dict[str, tuple[Any, ...]] = {}
    """Setting (`train.unet_lr`) -> its values; every combination is baked."""
    variants: tuple[dict[str, Any], ...] = ()
    """Further bakes, each a set of settings laid over the config."""
    halving: Halving | None = None
    """Stop the worst bakes early; null bakes all of them to the end."""


class Config(Section):
    """The whole of a bake's config."""

    scrape: Scrape = Scrape()
    filter: Filter = Filter()
    tag: Tag = Tag()
    prune: Prune = Prune()
    layout: Layout = Layout()
    train: Train = Train()
    sample: Sample = Sample()
    score: Score = Score()
    compare: Compare = Compare()
    sweeps: dict[Name, Sweep] = {}
    """Sweeps by name; each ends in one page. None bakes the config as it stands."""

    @model_validator(mode="after")
    def _published_threshold_is_known(self) -> Config:
        if self.prune.general_threshold == "published":
            thresholds.published(self.tag.model)
        return self

    @model_validator(mode="before")
    @classmethod
    def _empty_section_is_default(cls, raw: Any) -> Any:
        """`train:` with nothing below it is None in YAML, and means the defaults."""
        if not isinstance(raw, dict):
            return raw
        return {name: section for name, section in raw.items() if section is not None}


STAGES: tuple[str, ...] = tuple(name for name in Config.model_fields if name != "sweeps")


def load(raw: dict[str, Any]) -> Config:
    """The validated, coerced config, or a `BakeryError` with a line for each problem."""
    try:
        return Config.model_validate(raw)
    except ValidationError as report:
        raise BakeryError("\n".join(_sentence(e) for e in report.errors())) from None


def overlay(config: Config, changes: dict[str, Any]) -> Config:
    """`config` with dotted settings (`{"train.unet_lr": 1e-3}`) laid over it, validated again."""
    raw = config.model_dump()
    raw["sweeps"] = {}
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        place = raw
        for step in path:
            place = place.get(step) if isinstance(place, dict) else None
        if not path or path[0] not in STAGES or not isinstance(place, dict):
            close = difflib.get_close_matches(dotted, _dotted_names(), n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise BakeryError(f"config: sweeps: there is no setting {dotted}{hint}")
        place[last] = value
    return load(raw)


def chosen(section: Section) -> dict[str, Any]:
    """The options of `section` that differ from their default, as plain JSON values."""
    exclude = set(section.not_in_key)
    return section.keyed(section.model_dump(mode="json", exclude_defaults=True, exclude=exclude))


def _sentence(error: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "the whole"
    if error["type"] == "extra_forbidden":
        *parents, name = (str(part) for part in error["loc"])
        close = difflib.get_close_matches(name, _names_at(parents), n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(_names_at(parents))}"
        return f"config: {where} is not a setting; {hint}"
    if error["type"] == "value_error":
        return f"config: {where} {error['ctx']['error']}"
    if error["type"] == "missing":
        return f"config: {where} is missing: it has no default"
    message = error["msg"][0].lower() + error["msg"][1:]
    return f"config: {where} is {credentials.hide(repr(error['input']))}: {message}"


def _names_at(path: list[str]) -> list[str]:
    """Setting names of the section that `path` leads to."""
    model: Any = Config
    for step in path:
        if isinstance(model, type) and issubclass(model, BaseModel) and step in model.model_fields:
            model = model.model_fields[step].annotation
        else:  # an entry of a tuple or dict: its element type
            model = section_in(model)
    model = section_in(model)  # or null
    return list(getattr(model, "model_fields", {}))


def section_in(annotation: Any) -> Any:
    """The section that an annotation such as `dict[Name, Concept]` or `Concept | None` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = [section_in(part) for part in get_args(annotation)]  # a tuple in a union, too
    return next((section for section in reversed(found) if section is not None), None)


def _dotted_names() -> list[str]:
    return [
        f"{stage}.{name}"
        for stage in STAGES
        for name in Config.model_fields[stage].annotation.model_fields
    ]
