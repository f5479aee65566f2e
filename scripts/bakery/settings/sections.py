"""What all sections of the config are made of."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bakery.gate import gate

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$"), AfterValidator(gate.allowed)
]
"""A name given by the user; it may become a folder's name, and so a caption."""
Words = Annotated[str, AfterValidator(gate.allowed)]
"""Text that goes into captions or prompts: the gate reads it."""


class Section(BaseModel):
    """A stage's settings: typos are errors, values are frozen once validated."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    not_in_key: ClassVar[frozenset[str]] = frozenset()
    """Settings that affect speed, never results."""

    def keyed(self, chosen: dict[str, Any]) -> dict[str, Any]:
        """`chosen` without what inside of a setting says how fast."""
        return chosen
