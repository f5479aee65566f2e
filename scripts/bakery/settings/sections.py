"""What all sections of the config are made of."""

from __future__ import annotations

import functools
import re
from types import UnionType
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from bakery.gate import gate
from bakery.settings import credentials

Share = Annotated[float, Field(ge=0, le=1)]


def _channels(given: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """One sentence for both of what a `Mean` or a `Deviation` may be."""
    try:
        return read(given)
    except ValidationError:
        if given is None:
            raise
        raise ValueError(
            f"is {credentials.hide(repr(given))}: a number is wanted (a deviation is above 0), or a "
            "list of three, for red, green and blue"
        ) from None


_Positive = Annotated[float, Field(gt=0)]
Mean = Annotated[float | tuple[float, float, float], WrapValidator(_channels)]
"""Of the pixels that a model was made for: a number, or one each for red, green and blue."""
Deviation = Annotated[_Positive | tuple[_Positive, _Positive, _Positive], WrapValidator(_channels)]
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$"
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)


def portable(name: str) -> str:
    """`name`, which may become a file's or folder's; ValueError where Windows cannot have it."""
    if _DEVICE.fullmatch(name):
        raise ValueError(f"is {name}, which Windows keeps for a device: choose another name")
    if name.endswith("."):
        raise ValueError(f"is {name}: Windows drops the dot at its end, so leave it out")
    return name


Name = Annotated[
    str, Field(pattern=NAME_PATTERN), AfterValidator(gate.allowed), AfterValidator(portable)
]
"""A name given by the user; it may become a folder's name, and so a caption."""
Words = Annotated[str, AfterValidator(gate.allowed)]
"""Text that goes into captions or prompts: the gate reads it."""


def separator(text: str) -> str:
    """A `keep_tokens_separator`, without white space around it; ValueError for what cannot be one."""
    plain = text.strip()
    if text and not plain:
        raise ValueError(f"is {text!r}, which is in every caption: give a sign such as |||")
    if set(plain) & set(",{}\n\r"):
        raise ValueError(
            f"is {text!r}: commas, braces and line breaks mean something else in captions; give a sign "
            "such as |||"
        )
    return plain


class Section(BaseModel):
    """A stage's settings: typos are errors, values are frozen once validated."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False,
        hide_input_in_errors=True,  # it may be an account that was written in the wrong place
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _one_or_a_list(cls, raw: Any) -> Any:
        """One value where a list is asked for is a list of it, and a list of one is that value."""
        if not isinstance(raw, dict):
            return raw
        fields = _fields(cls)
        return {k: _as_kinds(fields[k], v) if k in fields else v for k, v in raw.items()}

    not_in_key: ClassVar[frozenset[str]] = frozenset()
    """Settings that affect speed, never results."""
    came_later: ClassVar[frozenset[str]] = frozenset()
    """Settings that records leave out at their default: what was made before there were any is made
    again as the same bytes. Such a default is a plain value, of which JSON makes the same."""

    def differs(self, name: str) -> bool:
        """Whether a setting is not at its default."""
        return getattr(self, name) != type(self).model_fields[name].default

    def recorded(self) -> dict[str, Any]:
        """The settings as plain JSON values, as manifests and LoRA files keep them."""
        dumped = self.model_dump(mode="json")
        return {name: value for name, value in dumped.items() if self.records(name, value)}

    @classmethod
    def records(cls, name: str, value: Any) -> bool:
        """Whether records name a setting that has `value`, as JSON has it."""
        return name not in cls.came_later or value != cls.model_fields[name].default

    def keyed(self, chosen: dict[str, Any]) -> dict[str, Any]:
        """`chosen` without what inside of a setting says how fast."""
        return chosen


def as_declared(annotation: Any, value: Any) -> Any:
    """`value` as a list of one where `annotation` takes only lists, and without its list where it takes
    none; inside of lists and mappings, too."""
    return _as_kinds(_kinds(annotation), value)


@functools.cache
def _fields(section: type[Section]) -> dict[str, list[Any]]:
    """What each setting may be, under the name that it has in a file."""
    found = section.model_fields.items()
    return {field.alias or name: _kinds(field.annotation) for name, field in found}


def _as_kinds(kinds: list[Any], value: Any) -> Any:
    lists = [kind for kind in kinds if _is_list(kind)]
    if isinstance(value, (list, tuple)):
        if lists:
            (entry, *_) = get_args(lists[0])
            return [as_declared(entry, one) for one in value]
        wants_several = kinds and all(get_origin(kind) is tuple for kind in kinds)
        return value[0] if len(value) == 1 and not wants_several and Any not in kinds else value
    one = isinstance(value, (str, int, float, dict, BaseModel)) and not isinstance(value, bool)
    if one and lists and len(lists) == len(kinds):
        (entry, *_) = get_args(lists[0])
        return [as_declared(entry, value)]
    tables = [kind for kind in kinds if get_origin(kind) is dict]
    if isinstance(value, dict) and tables:
        return {key: as_declared(get_args(tables[0])[1], one) for key, one in value.items()}
    return value


def _kinds(annotation: Any) -> list[Any]:
    """The alternatives of an annotation, null left out."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [kind for one in get_args(annotation) for kind in _kinds(one)]
    return [] if annotation is type(None) else [annotation]


def _is_list(kind: Any) -> bool:
    """Whether it is `tuple[X, ...]`; a pair of numbers is no list."""
    return get_origin(kind) is tuple and get_args(kind)[-1] is Ellipsis
