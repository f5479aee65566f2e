"""What is said of a LoRA where it is published, read from its bake's results.

No local path is in it: a base or a folder is called by its last name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bakery.dataset import holdout
from bakery.dataset.entries import REG
from bakery.families import recognise, registry
from bakery.families.family import Family
from bakery.interop import sidecar
from bakery.interop.publishing import Example, Pictures, Release
from bakery.io import tables
from bakery.report.comparable import shown
from bakery.report.results import BakeResult, Shot
from bakery.settings.train import Train
from bakery.sources import posts

SETTINGS = (
    "network_dim", "network_alpha", "conv_dim", "conv_alpha", "unet_lr", "text_encoder_lr",
    "learning_rate", "optimizer_type", "lr_scheduler", "lr_scheduler_num_cycles",
    "lr_warmup_ratio", "train_batch_size", "resolution", "min_snr_gamma", "noise_offset",
    "clip_skip", "keep_tokens", "shuffle_caption", "flip_aug", "timestep_sampling",
    "discrete_flow_shift", "sigmoid_scale", "logit_mean", "logit_std", "weighting_scheme",
)  # fmt: skip
"""Settings of the train section that people ask for."""
EXAMPLES = 4
_HUB = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")
_FILES = (".safetensors", ".ckpt", ".pt")


def of(one: BakeResult, epoch: int) -> Release:
    """What is to say of the LoRA of `epoch`."""
    settings, baked = one.bake.settings, one.epoch(epoch)
    metadata = sidecar.metadata_of(one.bake.folders["train"] / baked.file)
    family = registry.family_of_metadata(metadata)
    idle = family.ignored_by_scripts if family else {}
    base = settings.get("train.base", "")
    return Release(
        name=one.bake.lora_name(epoch),
        trigger=one.bake.trigger,
        outfits=dict(settings.get("prune.outfits") or {}),
        weight=one.weight,
        negative=str(settings.get("sample.negative_prompt", "")),
        base=Path(recognise.main_part(base)).name if base else "",
        hub_id=_hub_id(base),
        family=_called(family),
        save_format=str(settings.get("train.save_format", "kohya")),
        epoch=epoch,
        epochs=int(settings.get("train.num_epochs") or one.last.number),
        steps=metadata.get("ss_steps", ""),
        clip_skip=_clip_skip(family, settings.get("train.clip_skip")),
        autov3=baked.sshs_model_hash,
        sha256=baked.sha256,
        settings=_told(settings, idle),
        pictures=_pictures(one),
        examples=[Example(s.path, s.prompt, s.infotext) for s in _examples(one, epoch)],
    )


def _called(family: Family | None) -> str:
    """As A1111 calls it, or by its own name where that has none."""
    if family is None:
        return ""
    return family.webui_version if family.webui_loads else family.title


def _clip_skip(family: Family | None, chosen: int | None) -> str:
    """As model sites call it; "" where it is not known, or there is none."""
    if chosen is None or family is None:
        return ""
    return str(family.called_clip_skip(chosen) or "")


def _told(settings: Mapping[str, Any], idle: Collection[str]) -> dict[str, str]:
    """What the training table says; `idle` settings do nothing with the family."""
    values = {name: settings.get(f"train.{name}") for name in SETTINGS if name not in idle}
    told = {
        name: shown(value)
        for name, value in values.items()
        if value is not None and Train.records(name, value)
    }
    repeats = settings.get("layout.repeats")
    return told | ({"repeats": shown(repeats)} if repeats else {})


def _hub_id(base: Any) -> str:
    """`base` if it names a model of the Hugging Face Hub, else ""."""
    if not isinstance(base, str) or base.endswith(_FILES) or Path(base).exists():
        return ""
    return base.partition("@")[0] if _HUB.fullmatch(base) else ""


def _pictures(one: BakeResult) -> Pictures:
    """The training pictures, as far as their folders still exist."""
    layout = one.bake.folders.get("layout", Path()) / "layout.csv"
    scrape = one.bake.folders.get("scrape", Path()) / "posts.csv"
    if not layout.is_file():
        return Pictures()
    rows = tables.records(tables.read(layout, ("image", "kind")))
    used = {row["image"] for row in rows if row["kind"] not in (REG, holdout.KIND)}
    found = posts.read(scrape) if scrape.is_file() else []
    own = [post for post in found if post.image in used]
    return Pictures(
        count=len(used),
        sites=Counter(_site(post.url) for post in own),
        licences=Counter(post.licence for post in own if post.licence),
        artists=Counter(name for post in own for name in post.tags_artist.split()),
    )


def _site(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and parts.hostname:
        return parts.hostname
    return "the embedded booru" if parts.scheme == "embedded" else "own pictures"


def _examples(one: BakeResult, epoch: int) -> list[Shot]:
    """Pictures of the first seed, one a prompt: the character alone first, then other scenes."""
    first: dict[str, Shot] = {}
    for shot in one.shots.values():
        if shot.epoch == epoch and shot.purpose in ("identity", "flexibility"):
            first.setdefault(shot.prompt_id, shot)
    ordered = sorted(first.values(), key=lambda shot: shot.purpose != "identity")
    alone = [shot for shot in ordered if shot.purpose == "identity"][: EXAMPLES // 2]
    return [*alone, *(s for s in ordered if s.purpose != "identity")][:EXAMPLES]
