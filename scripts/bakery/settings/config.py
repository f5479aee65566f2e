"""The user's settings: every key with its type, range, default and meaning, in one place.

Each section has a file of its own; this one puts them together.

Steps from a YAML file to something that can be keyed:

1. `Config.model_validate` coerces (`"1e-4"` becomes a float) and refuses unknown keys;
2. `load` turns pydantic's report into one sentence a problem, with the nearest known name;
3. `chosen` gives the options that differ from their default, which is what goes into a key, so
   that a new option keeps old results.

`workflow/schemas/config.schema.yaml` is written from these models (a test holds them equal).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from bakery.gate import gate
from bakery.io import plain_data
from bakery.io.errors import BakeryError
from bakery.settings import credentials
from bakery.settings.compare import Compare
from bakery.settings.filter import Filter
from bakery.settings.gather import Gather
from bakery.settings.halve import Halving
from bakery.settings.layout import Layout
from bakery.settings.prune import Prune
from bakery.settings.sample import Sample
from bakery.settings.score import Score
from bakery.settings.scrape import Scrape
from bakery.settings.sections import NAME_PATTERN, Name, Section
from bakery.settings.tag import Tag, published_threshold
from bakery.settings.train import Train


class Sweep(Section):
    """Several bakes on one page: a product of values, and single variants besides."""

    grid: dict[str, tuple[Any, ...]] = {}
    """Setting (such as `train.unet_lr`) -> its values; every combination is baked."""
    variants: tuple[dict[str, Any], ...] = ()
    """Further bakes, each a set of settings that override the config."""
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
    gather: Gather = Gather()
    sweeps: dict[Name, Sweep] = {}
    """Sweeps by name; each gives one page. Without any, the config itself is the only bake. null
    leaves out a sweep of a file below."""

    @model_validator(mode="after")
    def _published_threshold_is_known(self) -> Config:
        if self.prune.general_threshold == "published":
            published_threshold(self.tag.model)
        return self

    @model_validator(mode="after")
    def _words_pass_the_gate_together(self) -> Config:
        front = f"{self.prune.trigger}, {self.prune.class_tokens}"
        texts = {f"sample.prompts {p.id}": p.prompt for p in self.sample.prompts or ()}
        texts |= {f"prune.outfits {word!r}": word for word in self.prune.outfits}
        texts |= {f"layout.concepts.{name}.caption_prefix": concept.caption_prefix
                  for name, concept in self.layout.concepts.items()}  # fmt: skip
        for where, text in {"prune.class_tokens": "", **texts}.items():
            if gate.of_text(f"{front}, {text}").refused:
                raise ValueError(
                    f"is refused: prune.trigger and {where} together speak of sexualised minors, "
                    "which are never trained on or drawn: remove these words"
                )
        return self

    @model_validator(mode="before")
    @classmethod
    def _empty_section_is_default(cls, raw: Any) -> Any:
        """`train:` with nothing below it is None in YAML, and means the defaults."""
        if not isinstance(raw, dict):
            return raw
        return {name: section for name, section in raw.items() if section is not None}

    @field_validator("sweeps", mode="before")
    @classmethod
    def _null_leaves_a_sweep_out(cls, raw: Any) -> Any:
        """A file that is laid over another can only add to it: null takes a sweep of that one away."""
        if not isinstance(raw, dict):
            return raw
        return {name: sweep for name, sweep in raw.items() if sweep is not None}


STAGES: tuple[str, ...] = tuple(
    name for name in Config.model_fields if name not in ("gather", "sweeps")
)
"""The sections of the stages, in the order of the chain."""


_WANTED = {
    "int_parsing": "a whole number is wanted, such as 4",
    "int_from_float": "a whole number is wanted, such as 4",
    "int_type": "a whole number is wanted, such as 4",
    "float_parsing": "a number is wanted, such as 0.5 or 1.0e-4",
    "float_type": "a number is wanted, such as 0.5 or 1.0e-4",
    "bool_parsing": "true or false is wanted",
    "bool_type": "true or false is wanted",
    "string_type": "text is wanted; put it in quotes",
}
"""Kind of problem -> what is wanted there. All others in pydantic's words."""


def load(raw: dict[str, Any]) -> Config:
    """The validated, coerced config, or a `BakeryError` with a line for each problem.

    What comes from a file was held to the same bounds before (`config_file`), what comes from
    `--config`, a sweep or another program was not. A section that is a `Section` already is taken as
    it is.
    """
    plain = {name: value for name, value in raw.items() if not isinstance(value, Section)}
    if found := plain_data.problem(plain):
        what = credentials.hide(found.what)
        raise BakeryError(f"config: {found.where or 'the whole'} {what}")
    try:
        return Config.model_validate(raw)
    except ValidationError as report:
        # alternatives of one setting may all say the same
        raise BakeryError("\n".join(dict.fromkeys(_sentences(report.errors())))) from None


def overlay(config: Config, changes: dict[str, Any]) -> Config:
    """`config` with dotted settings (`{"train.unet_lr": 1e-3}`) applied, validated again.

    Sections without a change are those of `config` itself, so bakes of a sweep share them.
    """
    changed = {dotted.split(".")[0] for dotted in changes}
    raw: dict[str, Any] = {"sweeps": {}}
    for name in Config.model_fields:
        if name != "sweeps":
            section = getattr(config, name)
            raw[name] = section.model_dump() if name in changed else section
    if "scrape" in changed and "urls" not in config.scrape.model_fields_set:
        del raw["scrape"]["urls"]  # the default depends on the folders
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        place: Any = raw
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


def _sentences(errors: Sequence[ErrorDetails]) -> list[str]:
    """A line for each problem; where a section is indented, only that: the rest follows from it."""
    unknown = [error["loc"] for error in errors if error["type"] == "extra_forbidden"]
    inner = [where for where in unknown if len(where) > 1 and where[-1] in Config.model_fields]
    told = [
        f"config: {name} is indented, so it is read as a part of {parents[0]}: sections begin at the "
        "left margin"
        for *parents, name in inner
    ]
    broken = {where[:1] for where in inner}
    return told + [_sentence(error) for error in errors if error["loc"][:1] not in broken]


def _sentence(error: ErrorDetails) -> str:
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
    given = error["input"]
    if given is None:
        where = ".".join(str(part) for part in error["loc"] if not _ALTERNATIVE.match(str(part)))
        return (
            f"config: {where} is empty, as null and a bare ~ are, too: give a value, or remove the line "
            "for the default"
        )
    return (
        f"config: {where} is {credentials.hide(repr(given))}: {_cure(error['type'], given, error)}"
    )


_ALTERNATIVE = re.compile(
    r"(?:str|int|float|bool|(?:dict|tuple|literal|function|constrained)\b.*)$"
)
"""What pydantic puts behind a setting's name for each kind of value that it takes."""


def _cure(kind: str, given: Any, error: ErrorDetails) -> str:
    """What is wrong with a value, for somebody who knows YAML and not pydantic."""
    text = given if isinstance(given, str) else ""
    if kind == "string_pattern_mismatch" and error["ctx"].get("pattern") == NAME_PATTERN:
        return (
            "a name has at most 64 letters without accents, digits and _ . + -, and begins with one "
            "of the first two"
        )
    if kind == "string_type" and isinstance(given, bool):
        return "YAML reads yes, no, on, off, true and false so: put the word in quotes"
    if kind == "string_type" and isinstance(given, int | float):
        return "this has to be text: put it in quotes"
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        words = given if isinstance(given, list | tuple) else [given]
        pairs = re.findall(r"(\w+)=([^\s,]+)", " ".join(map(str, words)))
        example = ", ".join(f"{name}: {value}" for name, value in pairs)
        return f"this has to be a table of names and values{example and f', such as {{{example}}}'}"
    if kind in ("int_type", "float_type") and isinstance(given, list | tuple):
        return "this has to be one number, not a list"
    message = _WANTED.get(kind, error["msg"][0].lower() + error["msg"][1:])
    if re.fullmatch(r"\s*\d{2,}\s*[,x]\s*\d{2,}\s*", text):
        return "this has to be one number, not two"
    if re.fullmatch(r"\s*[\d.]+,[\d.]+(e-?\d+)?\s*", text):
        message += f"; write {text.strip().replace(',', '.')}, with a point"
    return message


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
    """The section inside an annotation such as `dict[Name, Concept]` or `Concept | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = [section_in(part) for part in get_args(annotation)]  # a tuple in a union, too
    return next((section for section in reversed(found) if section is not None), None)


def section_of(stage: str) -> type[Section]:
    """The class of a stage's settings."""
    return section_in(Config.model_fields[stage].annotation)


def _dotted_names() -> list[str]:
    return [f"{stage}.{name}" for stage in STAGES for name in section_of(stage).model_fields]
