"""What all sections of the config are made of."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$")]


class Section(BaseModel):
    """A stage's settings: typos are errors, values are frozen once validated."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    not_in_key: ClassVar[frozenset[str]] = frozenset()
    """Settings that say how fast, never what."""

    def keyed(self, chosen: dict[str, Any]) -> dict[str, Any]:
        """`chosen` without what inside of a setting says how fast."""
        return chosen
