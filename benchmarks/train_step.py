"""One step of our trainer at K = 1, a plain diffusers + peft loop, and kohya's train_network.py.

    python benchmarks/train_step.py                            on the embedded base, and on SD1.5's sizes
    python benchmarks/train_step.py --model tiny --rounds 3    does it run?
    python benchmarks/train_step.py --sd-scripts PATH [--packages DIR]    kohya's beside them

All train the same parameters (kohya's full list of layers, UNet and text encoder) with the same
settings, one process each, taking turns step by step; the first rounds do not count. Prints a table
of medians, and of the medians of the ratios of steps done next to each other. sd-scripts builds
SD1.5's blocks and no others, so it cannot bake the embedded or the tiny base: it takes part with `sd15`
and with `small`, the same blocks with a tenth of the channels.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).absolute().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "scripts"))

import torch  # noqa: E402
from hardware import describe  # noqa: E402
from stepwise import Worker, obey  # noqa: E402

CAPTION = "mirael, smile"
WARM_UP = 2
COMMON: dict[str, Any] = {
    "learning_rate": 1e-4, "unet_lr": 1e-4, "text_encoder_lr": 1e-4, "network_dim": 16,
    "network_alpha": 16, "lr_scheduler": "constant", "lr_warmup_ratio": 0.0, "num_epochs": 1,
    "shuffle_caption": False, "keep_tokens": 0, "enable_bucket": False, "max_token_length": 75,
    "clip_skip": 1, "seed": 23,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "tiny": {"resolution": 32, "train_batch_size": 2},
    "embedded": {"resolution": 64, "train_batch_size": 4},
    "small": {"resolution": 128, "train_batch_size": 1},
    "sd15": {"resolution": 256, "train_batch_size": 1},
}
SHAPES = {"small": ((32, 64, 128, 128), 64, 4), "sd15": ((320, 640, 1280, 1280), 768, 12)}
"""SD1.5's blocks: channels of the UNet, width and heads of the text encoder."""


def base_of(model: str, folder: Path) -> Path:
    """Where the base lies; the random ones are written there first."""
    from tiny_base import tiny_sd1, tiny_tokenizer

    if model == "embedded":
        return ROOT / "resources" / "world" / "base"
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    tiny_sd1(folder, prediction_type="epsilon")
    if model == "tiny":
        without_spread(AutoencoderKL.from_pretrained(folder / "vae")).save_pretrained(
            folder / "vae"
        )
        return folder
    channels, width, heads = SHAPES[model]
    torch.manual_seed(0)
    UNet2DConditionModel(
        sample_size=64, cross_attention_dim=width, attention_head_dim=8, block_out_channels=channels
    ).save_pretrained(folder / "unet")
    text = CLIPTextConfig(vocab_size=49408, hidden_size=width, intermediate_size=4 * width,
                          num_hidden_layers=12, num_attention_heads=heads)  # fmt: skip
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
    )  # fmt: skip
    without_spread(vae).save_pretrained(folder / "vae")
    # the tokenizer stays tiny, a step does not care for words; sd-scripts looks for it under this name
    place = folder / "clip" / "openai_clip-vit-large-patch14"
    tokenizer = tiny_tokenizer(77)
    tokenizer.save_pretrained(place)
    (place / "vocab.json").write_text(json.dumps(tokenizer.get_vocab()))  # older transformers' way
    (place / "merges.txt").write_text("#version: 0.2\n")
    return folder


@torch.no_grad()
def without_spread(vae: Any) -> Any:
    """A VAE that always encodes a picture to the same latent, so that losses can be compared."""
    count = vae.config.latent_channels
    vae.quant_conv.weight[count:] = 0
    vae.quant_conv.bias[count:] = -30  # the logarithm of the variance
    return vae


def picture(folder: Path, side: int) -> None:
    """One picture, shown so often that an epoch has more steps than are measured."""
    import numpy as np
    from PIL import Image

    place = folder / "layout" / "999_mirael"
    place.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(place / "a.png")
    (place / "a.txt").write_text(CAPTION + "\n", encoding="utf-8")


def ours(folder: Path, job: dict[str, Any]) -> None:
    """Our trainer as it is. All that this script uses of it is here."""
    from bakery import train
    from bakery.config import Train

    train.run(
        Train(**job["settings"]),
        layout=folder / "layout",
        out=folder / "out",
        name="mirael",
        metadata={},
        threads=job["threads"],
    )


def plain(folder: Path, job: dict[str, Any]) -> None:
    """What one writes with diffusers and peft; the noise is drawn as our trainer draws it."""
    import numpy as np
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from peft import LoraConfig
    from PIL import Image
    from transformers import CLIPTextModel, CLIPTokenizer

    from bakery import seeds
    from bakery.lora import targets

    given = job["settings"]
    torch.set_num_threads(job["threads"])
    parts = [
        kind.from_pretrained(given["base"], subfolder=name)
        for kind, name in ((UNet2DConditionModel, "unet"), (CLIPTextModel, "text_encoder"),
                           (AutoencoderKL, "vae"), (CLIPTokenizer, "tokenizer"),
                           (DDPMScheduler, "scheduler"))
    ]  # fmt: skip
    unet, text_encoder, vae, tokenizer, scheduler = parts
    wanted = {id(layer) for _, layer in targets(unet, text_encoder)}
    for part in (unet, text_encoder, vae):
        part.requires_grad_(False).eval().float()  # the embedded base is kept in fp16
    for part in (unet, text_encoder):
        names = [name for name, layer in part.named_modules() if id(layer) in wanted]
        part.add_adapter(
            LoraConfig(
                r=given["network_dim"], lora_alpha=given["network_alpha"], target_modules=names
            )
        )
    learning = [p for part in (unet, text_encoder) for p in part.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=given["learning_rate"], fused=True)
    pixels = np.asarray(Image.open(folder / "layout/999_mirael/a.png"), np.float32)
    with torch.no_grad():
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1
        latent = vae.encode(image).latent_dist.mean * vae.config.scaling_factor
    batch = given["train_batch_size"]
    latents = latent.repeat(batch, 1, 1, 1)
    room = min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings)
    for step in range(10**6):
        draw = seeds.generator(given["seed"], "noise", step)
        noise = torch.randn(latents.shape, generator=draw)
        t = torch.randint(scheduler.config.num_train_timesteps, (batch,), generator=draw)
        velocity = scheduler.config.prediction_type == "v_prediction"
        target = scheduler.get_velocity(latents, noise, t) if velocity else noise
        tokens = tokenizer([CAPTION] * batch, padding="max_length", max_length=room,
                           truncation=True, return_tensors="pt").input_ids  # fmt: skip
        hidden = text_encoder(tokens).last_hidden_state
        predicted = unet(scheduler.add_noise(latents, noise, t), t, hidden).sample
        loss = torch.nn.functional.mse_loss(predicted, target)
        loss.backward()
        if not step:
            (folder / "plain_loss").write_text(repr(loss.item()))
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad()


def for_kohya(folder: Path, job: dict[str, Any]) -> None:
    """The same bake as sd-scripts' config.toml and dataset.toml."""
    import tomlkit

    from bakery import kohya_terms
    from bakery.config import Train

    settings = Train(**job["settings"])
    arguments, general = kohya_terms.to_kohya(settings)
    arguments |= {
        "pretrained_model_name_or_path": settings.base,
        "tokenizer_cache_dir": f"{settings.base}/clip",
        "dataset_config": str(folder / "dataset.toml"),
        "output_dir": str(folder / "kohya"),
        "cache_latents": True,
        "sdpa": True,
    }
    subset = {"image_dir": str(folder / "layout/999_mirael"), "num_repeats": 999}
    general["caption_extension"] = ".txt"
    dataset = {"general": general, "datasets": [{"subsets": [subset]}]}
    (folder / "config.toml").write_text(tomlkit.dumps(arguments), encoding="utf-8")
    (folder / "dataset.toml").write_text(tomlkit.dumps(dataset), encoding="utf-8")


def job_of(model: str, base: Path, *, threads: int) -> dict[str, Any]:
    """What all trainers are told; settings as our Train section has them."""
    settings = COMMON | MODELS[model] | {"base": str(base)}
    settings |= dict.fromkeys(("min_bucket_reso", "max_bucket_reso"), settings["resolution"])
    channels = SHAPES[model][0] if model in SHAPES else None
    return {"settings": settings, "threads": threads, "channels": channels}


def measure(model: str, folder: Path, given: argparse.Namespace) -> tuple[dict, dict[str, list]]:
    """(the job, trainer -> its reports), the trainers taking turns."""
    job = job_of(model, base_of(model, folder / "base"), threads=given.threads)
    picture(folder, job["settings"]["resolution"])
    (folder / "job.json").write_text(json.dumps(job))
    environment = {**os.environ, "OMP_NUM_THREADS": str(given.threads)}
    workers = {
        name: Worker([sys.executable, __file__, "--role", name, str(folder)], env=environment)
        for name in ("ours", "plain")
    }
    if given.sd_scripts and model in SHAPES:
        for_kohya(folder, job)
        path = os.pathsep.join(str(p.absolute()) for p in (*given.packages, given.sd_scripts))
        workers["kohya"] = Worker(
            [given.python, Path(__file__).with_name("kohya_side.py").absolute(), "train", folder],
            env=environment | {"PYTHONPATH": path}, cwd=given.sd_scripts,
        )  # fmt: skip
    reports: dict[str, list] = {name: [] for name in workers}
    for turn in range(WARM_UP + given.rounds):
        order = list(workers) if turn % 2 else list(workers)[::-1]
        for name in order:
            reports[name].append(workers[name].step())
    for worker in workers.values():
        worker.stop()
    check(folder, reports, exact=model != "embedded")
    return job, {name: rows[WARM_UP:] for name, rows in reports.items()}


def check(folder: Path, reports: dict[str, list], *, exact: bool) -> None:
    """All learn as many parameters; where the VAE has no spread, the first losses are equal."""
    counts = {name: rows[0]["parameters"] for name, rows in reports.items()}
    if len(set(counts.values())) > 1:
        raise SystemExit(f"the trainers do not learn the same: {counts} parameters")
    line = (folder / "out" / "progress.jsonl").read_text("utf-8").splitlines()[0]
    losses = json.loads(line)["loss"], float((folder / "plain_loss").read_text())
    print(f"first loss {losses[0]:.6f} and {losses[1]:.6f}, {counts['ours']} parameters")
    if exact and abs(losses[0] - losses[1]) > 1e-5:
        raise SystemExit("the first losses differ by more than 1e-5")


def table(model: str, job: dict[str, Any], reports: dict[str, list]) -> str:
    """Rows of the markdown table."""
    seconds = {name: [row["seconds"] for row in rows] for name, rows in reports.items()}
    given = job["settings"]
    lines = []
    for name, times in seconds.items():
        ratios = [own / other for own, other in zip(times, seconds["ours"], strict=True)]
        lines.append(
            f"| {model}, {given['resolution']} px, batch {given['train_batch_size']} | {name} "
            f"| {statistics.median(times):.3f} | {statistics.median(ratios):.3f} "
            f"| {max(row['gib'] for row in reports[name]):.2f} | {len(times)} |"
        )
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, action="append")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--sd-scripts", type=Path)
    parser.add_argument("--python", default=sys.executable, help="interpreter for sd-scripts")
    parser.add_argument("--packages", type=Path, action="append", default=[])
    parser.add_argument("--role", choices=("ours", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("folder", type=Path, nargs="?", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    given = parsed()
    if given.role:
        job = json.loads((given.folder / "job.json").read_text())
        obey()
        {"ours": ours, "plain": plain}[given.role](given.folder, job)
        return
    rows = []
    for model in given.model or ("embedded", "sd15"):
        with tempfile.TemporaryDirectory() as scratch:
            rows.append(table(model, *measure(model, Path(scratch), given)))
    print(
        f"\n{describe()}, {given.threads} threads\n\n"
        "| base | trainer | seconds a step (median) | time over ours (median) | peak GiB | steps |\n"
        "| --- | --- | --- | --- | --- | --- |\n" + "\n".join(rows)
    )


if __name__ == "__main__":
    main()
