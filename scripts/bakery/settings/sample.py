"""The sample section: which pictures are drawn, and how."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from bakery.settings.sections import Name, Section, Words

Sampler = Literal[
    "DDIM",
    "PLMS",
    "Euler",
    "Euler a",
    "Heun",
    "LMS",
    "LMS Karras",
    "DPM2",
    "DPM2 Karras",
    "DPM2 a",
    "DPM2 a Karras",
    "DPM++ 2M",
    "DPM++ 2M Karras",
    "DPM++ 2M SDE",
    "DPM++ 2M SDE Karras",
    "UniPC",
]


MOST = 1000
"""Prompts, or seeds, of one bake; more is a mistake."""


class Prompt(Section):
    """One column of the grid."""

    id: Name
    """Short name of the column."""
    prompt: Words
    """The prompt; `{trigger}` stands for the trigger word and its class tokens, `{class_tokens}`
    for these alone."""
    purpose: Literal["identity", "flexibility", "recreate", "bleed"]
    """identity is the trigger alone; flexibility asks for things beyond the character; recreate
    asks for the training set's outfit; bleed leaves the trigger out."""
    seeds: Annotated[int, Field(ge=1)] | None = None
    """Draw only the first n of sample.seeds; null draws all."""

    @model_validator(mode="after")
    def _bleed_has_no_trigger(self) -> Prompt:
        if self.purpose == "bleed" and "{trigger}" in self.prompt:
            raise ValueError(
                f"{self.id} contains the trigger, but a bleed prompt shows the LoRA without it: "
                "leave {trigger} out, or write {class_tokens}"
            )
        return self


class Auto(Section):
    """How many prompts to derive from the dataset where sample.prompts gives none."""

    identity: Annotated[int, Field(ge=0, le=4)] = 2
    """The trigger alone, then with a plain white, grey and black background."""
    flexibility: Annotated[int, Field(ge=0, le=50)] = 4
    """Each has an outfit, a scene and an expression that are rarest in the training captions."""
    recreate: Annotated[int, Field(ge=0, le=10)] = 1
    """The outfits that are most frequent in the training captions."""
    recreate_tags: Annotated[int, Field(ge=1, le=30)] = 8
    """Most tags to take from such an outfit."""
    recreate_seeds: Annotated[int, Field(ge=1)] = 2
    """Seeds for them; these pictures are for viewing and are not scored."""
    bleed: Annotated[int, Field(ge=0, le=50)] = 2
    """How many of the flexibility prompts are also drawn without the trigger."""
    bleed_seeds: Annotated[int, Field(ge=1)] | None = None
    """Draw these for the first n seeds only; null draws all."""


class Sample(Section):
    """Pictures of every epoch, drawn from the same noise."""

    prompts: Annotated[tuple[Prompt, ...], Field(max_length=MOST)] | None = None
    """The grid's columns; null derives them from the dataset (see prompts.csv)."""
    auto: Auto = Auto()
    """How many prompts to derive, by purpose."""
    sampler: Sampler = "DDIM"
    """A1111's name of the sampler; the schedule of timesteps is the model's own."""
    clip_skip: Annotated[int, Field(ge=1, le=12)] | None = None
    """Use the text encoder's n-th last layer; null uses the bake's train.clip_skip."""
    weights: tuple[Annotated[float, Field(ge=0, le=4)], ...] = ()
    """Further LoRA weights, for example [0.4, 0.6, 0.8, 1.2], at which identity and flexibility
    prompts are drawn for one epoch, to find the preferred weight."""
    weights_epoch: Annotated[int, Field(ge=1)] | None = None
    """The epoch that is drawn at these weights; null means the last."""
    negative_prompt: str = ""
    """What the pictures should not show."""
    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, max_length=MOST)
    ] = (1, 2, 3, 4)
    """Each prompt is drawn once for each seed; the first one is shown in the grid."""
    steps: Annotated[int, Field(ge=1, le=1000)] = 20
    """Denoising steps."""
    cfg_scale: Annotated[float, Field(ge=1)] = 4.0
    """Strength of the prompt (classifier-free guidance)."""
    width: Annotated[int, Field(ge=32, multiple_of=8)] = 128
    """Pixels."""
    height: Annotated[int, Field(ge=32, multiple_of=8)] = 128
    """Pixels."""
    lora_weight: float = 1.0
    """Weight at which the LoRA is applied."""
    batch_size: Annotated[int, Field(ge=1)] = 8
    """Pictures drawn at once."""
    while_training: Literal["auto"] | bool = "auto"
    """Draw each epoch as it is saved, and show it on the status page; the sample stage takes these
    pictures over. It changes no result and takes the training's time and, while it draws, memory for a
    second copy of the base. auto does so on a GPU with enough free memory; on a CPU it leaves it to a
    second process on idle cores, if there are any. false never draws while a bake trains."""

    not_in_key: ClassVar[frozenset[str]] = frozenset({"while_training"})

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"is {list(value)}: each seed draws one picture, so name it once")
        return value

    @field_validator("prompts")
    @classmethod
    def _ids_differ(cls, value: tuple[Prompt, ...] | None) -> tuple[Prompt, ...] | None:
        if value is None:
            return None
        if not value:
            raise ValueError(
                "is empty: the grid needs at least one prompt; null derives them from the dataset"
            )
        counts = Counter(prompt.id for prompt in value)
        twice = sorted(one for one, count in counts.items() if count > 1)
        if twice:
            raise ValueError(f"uses the id {twice[0]!r} twice: give each prompt its own")
        return value
