"""The gather section: which LoRAs are collected, and where."""

from __future__ import annotations

from typing import Literal

from bakery.settings.sections import Name, Section


class Gather(Section):
    """What `snakemake --cores all gather` collects. No other command reads this section."""

    sweeps: tuple[Name, ...] = ()
    """Only the bakes of these sweeps; empty for all."""
    bakes: tuple[str, ...] = ()
    """Only these bakes, called as their files are before the epoch, for example `mirael-dim8`;
    empty for all."""
    epochs: Literal["recommended", "all"] = "recommended"
    """`recommended` takes of each bake the epoch that its scores recommend, `all` every saved
    epoch."""
    to: str = ""
    """Folder of an image generator, for example `~/stable-diffusion-webui/models/Lora`, that gets
    the LoRAs, sidecars and previews as well. Nothing there is removed."""
