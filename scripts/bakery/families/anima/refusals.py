"""What is refused with Anima, and why: settings, and files of other models. No torch is needed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bakery.families import recognise
from bakery.families.anima import names, shapes
from bakery.families.recognise import Header
from bakery.io.errors import BakeryError

LONGEST_SIDE = shapes.MOST_POSITIONS * shapes.PATCH * 8
"""In pixels; latents are 8 times smaller than pictures."""
SAMPLINGS = ("uniform", "sigmoid", "logit_normal", "shift")
WEIGHTINGS = ("uniform", "none", "sigma_sqrt", "cosmap")

_FLOW = "Anima follows a flow, which has no noise schedule"
_REFUSED: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("min_snr_gamma", bool, f"{_FLOW} to weigh by: use weighting_scheme or timestep_sampling"),
    ("v_parameterization", bool, "Anima always predicts the velocity of its flow: leave it out"),
    ("zero_terminal_snr", bool, f"{_FLOW}: leave it out"),
    ("noise_offset", bool, "Anima's pictures begin as plain noise: leave it out"),
    ("conv_dim", bool, "Anima's transformer has no convolutions: leave it out"),
    ("clip_skip", lambda n: n > 1, "Anima has no CLIP: leave it out"),
    (
        "max_token_length",
        lambda n: n < 225,
        f"Anima reads up to {shapes.MOST_TOKENS} tokens: leave it out",
    ),
    (
        "mixed_precision",
        lambda kind: kind == "fp16",
        "what Anima's blocks add up leaves the range of fp16: take bf16",
    ),
)  # fmt: skip
"""A setting, whether its value is refused, and why."""
_ONLY_WITH = {
    "discrete_flow_shift": (("shift", "logit_normal"), 1.0),
    "sigmoid_scale": (("sigmoid", "shift"), 1.0),
    "logit_mean": (("logit_normal",), 0.0),
    "logit_std": (("logit_normal",), 1.0),
}
"""A setting -> the values of timestep_sampling that it does something with, and what changes nothing."""


def check_settings(settings: Mapping[str, Any]) -> None:
    """`BakeryError` for settings of `train` that do nothing here, or nothing good."""
    for name, refuses, why in _REFUSED:
        value = settings.get(name)
        if value is not None and refuses(value):
            raise BakeryError(f"train.{name} is {value}, but {why}")
    _check_rates(settings)
    _check_timesteps(settings)
    for name in ("resolution", "max_bucket_reso"):
        if (settings.get(name) or 0) > LONGEST_SIDE:
            raise BakeryError(
                f"train.{name} is {settings[name]}, but Anima knows no positions beyond "
                f"{LONGEST_SIDE} pixels: give at most {LONGEST_SIDE}"
            )


def _check_rates(settings: Mapping[str, Any]) -> None:
    if settings.get("text_encoder_lr") and not settings.get("network_train_unet_only"):
        raise BakeryError(
            f"train.text_encoder_lr is {settings['text_encoder_lr']:g}, but Anima's text encoder is a "
            "language model that is not trained: leave it out"
        )
    if settings.get("unet_lr") == 0:
        raise BakeryError(
            "train.unet_lr is 0, but nothing of Anima is trained besides its transformer: leave it out"
        )


def _check_timesteps(settings: Mapping[str, Any]) -> None:
    sampling = settings.get("timestep_sampling") or "sigmoid"
    if sampling not in SAMPLINGS:
        raise BakeryError(
            f"train.timestep_sampling is {sampling}, which is not known: take one of "
            f"{', '.join(SAMPLINGS)}"
        )
    for name, (wanted, plain) in _ONLY_WITH.items():
        value = settings.get(name)
        if value is not None and value != plain and sampling not in wanted:
            raise BakeryError(
                f"train.{name} is {value:g}, but does nothing with timestep_sampling {sampling}: take "
                f"{' or '.join(wanted)}, or leave it out"
            )
    scheme = settings.get("weighting_scheme") or "uniform"
    if scheme not in WEIGHTINGS:
        raise BakeryError(
            f"train.weighting_scheme is {scheme}, which weighs no loss: take one of "
            f"{', '.join(WEIGHTINGS)}; how timesteps are drawn is timestep_sampling"
        )


def check_checkpoint(path: str, header: Header, inside: Mapping[str, Mapping[str, Any]]) -> None:
    """`BakeryError` for a single file that has something besides weights, or lacks some."""
    if (beside := header.beside()) is not None:
        what, name = beside
        raise BakeryError(
            f"train.base: {path} has {what} in it ({name}), with which its pictures would be other "
            "ones: give a plain Anima checkpoint"
        )
    strange = sorted(
        name
        for name in inside["transformer"]
        if names.to_diffusers(name.rpartition(".")[0]) is None
    )
    if strange:
        raise BakeryError(
            f"train.base: the transformer in {path} has {len(strange)} weights that Anima's has not "
            f"({strange[0]}): it is a different kind of model than it seems"
        )


def shapes_of_part(part: str, path: str) -> dict[str, tuple[int, ...]]:
    """The shapes in a text encoder's or VAE's file, without prefix; `BakeryError` for other kinds."""
    try:
        header = recognise.header(path)
    except BakeryError as problem:
        raise BakeryError(str(problem).replace("train.base:", f"train.base.{part}:", 1)) from None
    found = {} if header is None else dict(header.shapes)
    if part == "text_encoder":
        if text := names.language_model(found):
            return text
        what = "no text encoder of Qwen3's kind"
    else:
        if any(sign in found for sign in names.VAE_SIGNS):
            return found
        what = "no VAE of Qwen-Image's kind"
        if any(name.startswith(("encoder.down.", "first_stage_model.", "encoder.down_blocks.0.resnets"))
               for name in found):  # fmt: skip
            what = "a VAE of Stable Diffusion"
    raise BakeryError(
        f"train.base.{part}: {path} is {what}: give the one that Anima is published with"
    )


def check_widths(pieces: Mapping[str, str], inside: Mapping[str, Mapping[str, Any]]) -> None:
    """`BakeryError` unless the parts whose shapes are known fit together."""
    path = pieces["checkpoint"]
    try:
        takes = inside.get("text_conditioner", {}).get("blocks.0.cross_attn.k_proj.weight")
        if takes and "text_encoder" in inside:
            gives = inside["text_encoder"]["embed_tokens.weight"][1]
            check_text(path, pieces.get("text_encoder", path), takes[1], gives)
        if inside.get("transformer") and "vae" in inside:
            channels = inside["vae"].get("conv2.weight") or inside["vae"]["post_quant_conv.weight"]
            wanted = shapes.transformer(inside["transformer"])["in_channels"]
            check_channels(path, pieces.get("vae", path), wanted, channels[0])
    except KeyError as missing:
        raise BakeryError(f"train.base: {path} lacks {missing}: download it again") from None


def check_text(path: str, text_path: str, takes: int, gives: int) -> None:
    """`BakeryError` unless the adapter of `path` takes text as wide as the text encoder gives."""
    if takes != gives:
        raise BakeryError(
            f"train.base: Anima's text adapter in {path} takes text of width {takes}, and the text "
            f"encoder in {text_path} gives {gives}: Anima needs Qwen3-0.6B-Base"
        )


def check_channels(path: str, vae_path: str, takes: int, gives: int) -> None:
    """`BakeryError` unless the transformer takes latents of as many channels as the VAE gives."""
    if takes != gives:
        raise BakeryError(
            f"train.base: the transformer of {path} takes latents of {takes} channels, and the VAE in "
            f"{vae_path} gives {gives}: Anima needs the VAE of Qwen-Image"
        )
