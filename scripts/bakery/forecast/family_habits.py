"""Settings that are usual with one family of bases, and not with the one that is baked on."""

from __future__ import annotations

from bakery.families import recognise, registry
from bakery.families.family import Family
from bakery.families.recognise import Place, main_part
from bakery.io.errors import BakeryError
from bakery.settings.optimizers import OPTIMIZERS
from bakery.settings.train import Train

FAR = 2
"""How many times the highest usual learning rate is too high."""
MANY = 4
"""The same of pictures."""
TOYS = ("resources/world/base", "resources/world/anima")
"""The embedded bases."""
A1111 = "stable-diffusion-webui"
"""How the folder of A1111 is called; those of its forks go on: `stable-diffusion-webui-forge`."""


def family_of(base: Place) -> Family | None:
    """The family of a bake's base, as its files' headers tell it; None where it is not known, and for
    a toy, of which no habit holds."""
    if main_part(base).endswith(TOYS):
        return None
    try:
        return registry.family_of(base)
    except BakeryError:
        return None  # refused before any job


def of_training(train: Train, family: Family | None, pictures: int) -> list[str]:
    """Learning rates of another family's size, and more pictures than help; 0 pictures: none are known
    yet."""
    if family is None:
        return []
    found = []
    name, rate = ("unet_lr" if train.unet_lr else "learning_rate"), train.rates["unet_lr"]
    if family.usual_rates and not OPTIMIZERS[train.optimizer_type].finds_rate:
        low, high = family.usual_rates
        if rate > FAR * high:
            found.append(
                f"{name} {rate:g} is far above the {low:g} to {high:g} of published recipes for "
                f"{family.title}: pictures burn within an epoch; take {high:g}, or sweep over these."
            )
    if family.usual_pictures:
        few, enough = family.usual_pictures
        if pictures > MANY * enough:
            found.append(
                f"{pictures} pictures are many for {family.title}: {few} to {enough} good ones of a "
                "character are said to be enough, and mixed ones blur it; keep the best, with "
                "filter.min_score or by hand."
            )
    return found


def of_prediction(train: Train, base: Place) -> list[str]:
    """Settings of what the model predicts that its own files contradict."""
    try:
        header = recognise.header(main_part(base))
    except BakeryError:
        return []  # refused before any job
    if header is None:
        return []
    told = (
        ("v_parameterization", header.predicts_v, "predicts v"),
        ("zero_terminal_snr", header.zero_terminal_snr, "has a schedule that ends in pure noise"),
    )
    return [
        f"{name} is false, and the base's own files say that it {what}: with the wrong one a LoRA "
        "learns to undo it, and pictures turn grey; leave it out."
        for name, says, what in told
        if says and getattr(train, name) is False
    ]


def of_target(family: Family | None, folder: str) -> list[str]:
    """A program as target that cannot load such LoRAs."""
    parts = folder.replace("\\", "/").split("/")
    if family is None or family.webui_loads or A1111 not in parts:
        return []
    return [
        f"gather.to is a folder of A1111, which loads no {family.title}: use ComfyUI, Forge Neo or "
        "SD.Next, and name the folder of that."
    ]
