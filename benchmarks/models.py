"""What the speed benchmarks bake: bases of random weights in the real shapes, one picture, one job.

| model | blocks | for |
| --- | --- | --- |
| tiny, tiny-sdxl | of the tests | does it run? sd-scripts cannot build them |
| embedded | of the embedded base | the same |
| small, small-sdxl | SD1.5's and SDXL's with a tenth of the channels | sd-scripts on a CPU |
| sd15, sdxl | the real ones | the figures |
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).absolute().parents[1]
sys.path[:0] = [str(ROOT / "tests/support"), str(ROOT / "scripts")]

import torch  # noqa: E402

WORLD_BASE = ROOT / "resources" / "world" / "base"
CAPTION = "mirael, smile"
REPEATS = 9999
"""Of the picture: an epoch has more steps than are measured, also in batches of many."""
COMMON: dict[str, Any] = {
    "learning_rate": 1e-4, "unet_lr": 1e-4, "text_encoder_lr": 1e-4, "network_dim": 16,
    "network_alpha": 16, "lr_scheduler": "constant", "lr_warmup_ratio": 0.0, "num_epochs": 1,
    "shuffle_caption": False, "keep_tokens": 0, "enable_bucket": False, "bucket_reso_steps": 64,
    "max_token_length": 75, "clip_skip": 1, "seed": 23,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "tiny": {"resolution": 32, "train_batch_size": 2},
    "embedded": {"resolution": 128, "train_batch_size": 4},
    "small": {"resolution": 128, "train_batch_size": 1},
    "sd15": {"resolution": 256, "train_batch_size": 1},
    "tiny-sdxl": {"resolution": 32, "train_batch_size": 2},
    "small-sdxl": {"resolution": 128, "train_batch_size": 1},
    "sdxl": {"resolution": 1024, "train_batch_size": 1},
}
ON_A_GPU: dict[str, dict[str, Any]] = {"sd15": {"resolution": 512, "train_batch_size": 2}}
"""Sizes that a CPU is spared."""
CHANNELS = {
    "small": (32, 64, 128, 128), "sd15": (320, 640, 1280, 1280),
    "small-sdxl": (32, 64, 128), "sdxl": (320, 640, 1280),
}  # fmt: skip
"""Of the UNet, for the models that sd-scripts can build."""
TOKENIZERS = ("openai_clip-vit-large-patch14", "laion_CLIP-ViT-bigG-14-laion2B-39B-b160k")
"""Names under which sd-scripts looks for its tokenizers."""
DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where, at which precision and size: what all speed benchmarks can be told."""
    found = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cpu", "cuda"), default=found)
    parser.add_argument("--mixed-precision", choices=DTYPES, default="no")
    parser.add_argument("--resolution", type=int, help="instead of the model's own")
    parser.add_argument("--batch", type=int, help="of each bake, instead of the model's own")
    parser.add_argument("--torch-compile", action="store_true", help="for all trainers")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--warm-up", type=int, help="rounds that do not count; 2, on a GPU 5")
    parser.add_argument("--seconds", type=float, help="after which no further round begins")
    parser.add_argument("--sd-scripts", type=Path, help="a checkout of kohya-ss/sd-scripts")
    parser.add_argument("--python", default=sys.executable, help="interpreter for sd-scripts")
    parser.add_argument("--packages", type=Path, action="append", default=[])


def settled(given: argparse.Namespace) -> argparse.Namespace:
    """The arguments with what depends on others filled in."""
    if given.warm_up is None:
        given.warm_up = 5 if given.device == "cuda" else 2
    if given.device == "cpu" and given.mixed_precision == "fp16":
        raise SystemExit("fp16 needs a GPU: take --mixed-precision bf16 or no")
    if given.device == "cpu" and given.mixed_precision == "bf16" and given.sd_scripts:
        raise SystemExit("sd-scripts trains in bf16 on a GPU only: leave out --sd-scripts or bf16")
    return given


def is_sdxl(model: str) -> bool:
    return model.endswith("sdxl")


def job_of(model: str, base: Path, given: argparse.Namespace) -> dict[str, Any]:
    """What all trainers are told; `settings` as our Train section has them."""
    sizes = MODELS[model] | (ON_A_GPU.get(model, {}) if given.device == "cuda" else {})
    settings = COMMON | sizes | {"base": str(base), "mixed_precision": given.mixed_precision}
    asked = {"resolution": given.resolution, "train_batch_size": given.batch}
    settings |= {name: value for name, value in asked.items() if value is not None}
    settings |= dict.fromkeys(("min_bucket_reso", "max_bucket_reso"), settings["resolution"])
    settings |= {"torch_compile": True} if given.torch_compile else {}
    return {
        "model": model,
        "sdxl": is_sdxl(model),
        "settings": settings,
        "device": given.device,
        "threads": given.threads,
        "channels": CHANNELS.get(model),
    }


def what(job: dict[str, Any]) -> str:
    """The model and its sizes, as the tables name them."""
    settings = job["settings"]
    words = [job["model"], f"{settings['resolution']} px", f"batch {settings['train_batch_size']}"]
    words += [settings["mixed_precision"]] if settings["mixed_precision"] != "no" else []
    words += ["compiled"] if settings.get("torch_compile") else []
    return ", ".join(words)


def base_of(model: str, folder: Path, precision: str = "no", device: str = "cpu") -> Path:
    """Where the base lies; the random ones are written there first, at the precision they are used
    in: SDXL takes 7 GB in bf16, and twice that in float32. `device` draws the weights.
    """
    from diffusers import AutoencoderKL
    from tiny_base import tiny_sd1, tiny_sdxl

    if model == "embedded":
        return WORLD_BASE
    tiny_sdxl(folder) if is_sdxl(model) else tiny_sd1(folder, prediction_type="epsilon")
    if model not in CHANNELS:
        vae = AutoencoderKL.from_pretrained(folder / "vae")
        without_spread(vae).save_pretrained(folder / "vae")
        return folder
    tokenizers(folder, 2 if is_sdxl(model) else 1)
    torch.manual_seed(0)
    made = random_parts(model)
    while True:
        with torch.device(device):  # numbers by the billion: a CPU draws for a minute
            named = next(made, None)
        if named is None:
            return folder
        name, part = named
        part.to(DTYPES[precision]).save_pretrained(folder / name)
        del named, part


def random_parts(model: str) -> Any:
    """(name, model) of what is not tiny, one by one, so that not all are in memory at once."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from bakery.families import published

    kind = "sdxl" if is_sdxl(model) else "sd1"
    shape = published.UNET[kind] | {"block_out_channels": CHANNELS[model]}
    texts: Sequence[dict[str, Any]] = published.TEXT_ENCODERS[kind]
    if model == "small":
        shape |= {"cross_attention_dim": 64}
        texts = [texts[0] | {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 4}]
    if model == "small-sdxl":  # sd-scripts fixes the text's width, and the first encoder's depth
        shape |= {"attention_head_dim": (1, 1, 2)}
        texts = [texts[0], texts[1] | {"num_hidden_layers": 2}]
    yield "unet", UNet2DConditionModel(**shape)
    yield "vae", without_spread(AutoencoderKL(**published.VAE[kind]))
    kinds = (CLIPTextModel, CLIPTextModelWithProjection)
    for number, (make, text) in enumerate(zip(kinds, texts, strict=False)):
        yield f"text_encoder{'_2' if number else ''}", make(CLIPTextConfig(**text | ends(number)))


def ends(number: int) -> dict[str, int]:
    """Where a text begins and ends for the tiny tokenizers."""
    tokenizer = filled_tokenizer()
    end = tokenizer.eos_token_id
    pad = 0 if number else end
    return {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": end, "pad_token_id": pad}


def filled_tokenizer(**more: str) -> Any:
    """A tiny tokenizer with as many words as CLIP's; a step does not care for which."""
    from tiny_base import tiny_tokenizer
    from transformers import CLIPTextConfig, CLIPTokenizer

    words = tiny_tokenizer(77, **more).get_vocab()
    words |= {f"<word {i}>": i for i in range(len(words), CLIPTextConfig().vocab_size)}
    return CLIPTokenizer(vocab=words, merges=[], model_max_length=77, **more)


def tokenizers(folder: Path, count: int) -> None:
    """As the base has them; also where and how sd-scripts reads them."""
    made = [filled_tokenizer(), filled_tokenizer(pad_token="!")][:count]
    places = [folder / "clip" / name for name in TOKENIZERS]
    within = [folder / "tokenizer", folder / "tokenizer_2"]
    for tokenizer, *there in zip(made, places, within, strict=False):
        for place in there:
            tokenizer.save_pretrained(place)
            (place / "vocab.json").write_text(json.dumps(tokenizer.get_vocab()))  # the older way
            (place / "merges.txt").write_text("#version: 0.2\n")


@torch.no_grad()
def without_spread(vae: Any) -> Any:
    """A VAE that always encodes a picture to the same latent, so that losses can be compared."""
    count = vae.config.latent_channels
    vae.quant_conv.weight[count:] = 0
    vae.quant_conv.bias[count:] = -30  # the logarithm of the variance
    return vae


def pictures(folder: Path) -> Path:
    """Where the picture lies, as `a.png`."""
    return folder / "layout" / f"{REPEATS}_mirael"


def picture(folder: Path, side: int) -> None:
    """The picture, with its caption."""
    import numpy as np
    from PIL import Image

    place = pictures(folder)
    place.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(place / "a.png")
    (place / "a.txt").write_text(CAPTION + "\n", encoding="utf-8")


def put_down(model: str, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Base, picture and job in `folder`, where every trainer finds them; returns the job.

    What an earlier call with the same arguments finished there is taken as it is.
    """
    base = WORLD_BASE if model == "embedded" else folder / "base"
    job, record = job_of(model, base, given), folder / "job.json"
    if record.exists() and json.loads(record.read_text()) == json.loads(json.dumps(job)):
        return job
    base_of(model, base, given.mixed_precision, given.device)
    picture(folder, job["settings"]["resolution"])
    record.write_text(json.dumps(job))
    return job
