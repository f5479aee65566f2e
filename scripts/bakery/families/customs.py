"""What people and other programs are used to with a family: its names, its training, its layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class Customs:
    """A part of `Family`. Where there is a default, it is Stable Diffusion's."""

    title: ClassVar[str]
    """In sentences: `SDXL`."""
    article: ClassVar[str] = "a"
    webui_version: ClassVar[str]
    """A1111's name for it (`sd version`)."""
    base_version: ClassVar[str]
    """ss_base_model_version."""
    training_script: ClassVar[str]
    """kohya's script that trains it."""
    ignored_by_scripts: ClassVar[Mapping[str, str]] = {}
    """Settings that this script does not take, and why."""
    preset: ClassVar[str] = "config"
    """The shipped config, in `config/`, that a new character on such a base begins with ..."""
    preset_v: ClassVar[str] = ""
    """... and the one for v-prediction, if that is another."""
    samplers: ClassVar[tuple[str, ...]] = ()
    """A1111's names of those that its models can be drawn with, the usual one first; () for all."""
    hub_words: ClassVar[str] = ""
    """Pattern of names that hub ids of this family have: all that is known before a download."""
    follows_flow: ClassVar[bool] = False
    """Whether it is trained along a flow, so that t is drawn as `timestep_sampling` says."""
    usual_rates: ClassVar[tuple[float, float] | None] = None
    """Lowest and highest learning rate of published recipes; the plan warns of far higher ones."""
    usual_pictures: ClassVar[tuple[int, int] | None] = None
    """How many pictures of a character are said to be enough; the plan warns of far more."""
    webui_loads: ClassVar[bool] = True
    """Whether A1111 loads such models."""
    network_module: ClassVar[str] = "networks.lora"
    """kohya's module with the network."""

    def called_clip_skip(self, chosen: int) -> int | None:
        """What other programs call the layer that texts are read from; None where there is none.

        `chosen` is the setting.
        """
        return chosen

    def lora_name(self, path: str) -> str | None:
        """kohya's name of the layer at `path`, with dots, as LoRA files of other forms have it.

        Whatever prefix a program puts in front belongs to `path`. None for the layers of other families,
        and where this one has no such files.
        """
        return None

    def lora_path(self, name: str) -> str | None:
        """The other way round: the path in files of `train.save_format: diffusion_model`."""
        return None
