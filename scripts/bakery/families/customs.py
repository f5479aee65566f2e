"""What people and other programs are used to with a family: how they train it, and name its layers."""

from __future__ import annotations

from typing import ClassVar


class Customs:
    """A part of `Family`; all of it has a default, that of Stable Diffusion."""

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
