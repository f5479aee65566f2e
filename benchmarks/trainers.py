"""The trainers that `train_step.py` sets side by side, each told the same job (`models.job_of`).

All train the same parameters, kohya's full list of layers in UNet and text encoders, in float32, on a
frozen base at the job's precision. Where that is fp16 or bf16, activations are autocast to it, and
fp16 gradients are scaled.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import models
import torch
from stepwise import Worker

HERE = Path(__file__).absolute().parent


def ours(folder: Path, job: dict[str, Any]) -> None:
    """Our trainer as it is."""
    from bakery.settings.train import Train
    from bakery.training.setup import TrainSpec
    from bakery.training.trainer import Trainer

    spec = TrainSpec(Train(**job["settings"]), folder / "out", "mirael", {})
    Trainer(folder / "layout", job["device"], job["threads"]).fit_one(spec)


def plain(folder: Path, job: dict[str, Any]) -> None:
    """What one writes with diffusers and peft; the noise is drawn as our trainer draws it."""
    from bakery.io import seeds

    given, device = job["settings"], job["device"]
    torch.set_num_threads(job["threads"])
    parts = frozen_parts(job)
    scheduler, latents = parts["scheduler"], encoded(parts.pop("vae"), folder, job)
    learning = with_adapters(parts, given)
    optimizer = torch.optim.AdamW(learning, lr=given["learning_rate"], fused=True)
    dtype, batch = models.DTYPES[given["mixed_precision"]], len(latents)
    scaler = torch.amp.GradScaler(device, enabled=dtype == torch.float16)
    condition = conditioner(parts, job)
    for step in range(10**6):
        draw = seeds.generator(given["seed"], "noise", step)
        noise = torch.randn(latents.shape, generator=draw)
        t = torch.randint(scheduler.config.num_train_timesteps, (batch,), generator=draw)
        noise, t = noise.to(device), t.to(device)
        velocity = scheduler.config.prediction_type == "v_prediction"
        target = scheduler.get_velocity(latents, noise, t) if velocity else noise
        noisy = scheduler.add_noise(latents, noise, t).to(dtype)
        with half(device, dtype):
            hidden, added = condition()
            predicted = parts["unet"](noisy, t, hidden, added_cond_kwargs=added).sample
        loss = torch.nn.functional.mse_loss(predicted.float(), target)
        scaler.scale(loss).backward()
        if not step:
            (folder / "plain_loss").write_text(repr(loss.item()))
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()


def half(device: str, dtype: torch.dtype) -> Any:
    """Autocast to `dtype`, unless that is float32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device, dtype)


def frozen_parts(job: dict[str, Any]) -> dict[str, Any]:
    """The base's parts by name, frozen, on the device and at the precision of the job."""
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    from bakery.families.published import dtype_of

    kinds = {
        "unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel,
        "tokenizer": CLIPTokenizer, "scheduler": DDPMScheduler,
    }  # fmt: skip
    if job["sdxl"]:
        kinds |= {"text_encoder_2": CLIPTextModelWithProjection, "tokenizer_2": CLIPTokenizer}
    dtype = models.DTYPES[job["settings"]["mixed_precision"]]
    kind = "sdxl" if job["sdxl"] else "sd1"
    parts = {}
    for name, made in kinds.items():
        part = parts[name] = made.from_pretrained(job["settings"]["base"], subfolder=name)
        if isinstance(part, torch.nn.Module):  # the embedded base is kept in fp16
            part.requires_grad_(False).eval().to(job["device"], dtype_of(kind, name, dtype))
    return parts


def with_adapters(parts: dict[str, Any], given: dict[str, Any]) -> list[torch.nn.Parameter]:
    """peft's adapters on the layers that ours are on; what learns."""
    from diffusers.training_utils import cast_training_params
    from peft import LoraConfig

    from bakery.families import targets

    learners = [parts[n] for n in ("unet", "text_encoder", "text_encoder_2") if n in parts]
    found = (*targets.of_unet(learners[0], str), *targets.of_text_encoders(learners[1:]))
    wanted = {id(target.layer) for target in found}
    for part in learners:
        names = [name for name, layer in part.named_modules() if id(layer) in wanted]
        part.add_adapter(
            LoraConfig(
                r=given["network_dim"], lora_alpha=given["network_alpha"], target_modules=names
            )
        )
    cast_training_params(learners)  # learns in float32, whatever the base is in
    if given.get("torch_compile"):
        learners[0].compile(dynamic=False)
    return [p for part in learners for p in part.parameters() if p.requires_grad]


@torch.no_grad()
def encoded(vae: Any, folder: Path, job: dict[str, Any]) -> torch.Tensor:
    """A batch of the picture's latents."""
    import numpy as np
    from PIL import Image

    pixels = np.asarray(Image.open(models.pictures(folder) / "a.png"), np.float32)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1
    latent = vae.encode(image.to(vae.device, vae.dtype)).latent_dist.mean.float()
    batch = job["settings"]["train_batch_size"]
    return (latent * vae.config.scaling_factor).repeat(batch, 1, 1, 1)


def conditioner(parts: dict[str, Any], job: dict[str, Any]) -> Callable[[], tuple[Any, Any]]:
    """What encodes a batch of the caption: (hidden, what else SDXL's UNet takes)."""
    batch, side = job["settings"]["train_batch_size"], job["settings"]["resolution"]
    names = [("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")][: 1 + job["sdxl"]]

    def tokens(encoder: Any, tokenizer: Any) -> torch.Tensor:
        room = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
        ids = tokenizer([models.CAPTION] * batch, padding="max_length", max_length=room,
                        truncation=True, return_tensors="pt").input_ids  # fmt: skip
        return ids.to(job["device"])

    def condition() -> tuple[Any, Any]:
        pairs = [(parts[encoder], parts[tokenizer]) for encoder, tokenizer in names]
        if not job["sdxl"]:
            ((encoder, tokenizer),) = pairs
            return encoder(tokens(encoder, tokenizer)).last_hidden_state, None
        outs = [enc(tokens(enc, tok), output_hidden_states=True) for enc, tok in pairs]
        sizes = torch.tensor([[side, side, 0, 0, side, side]] * batch, dtype=torch.float32)
        added = {"text_embeds": outs[1].text_embeds, "time_ids": sizes.to(job["device"])}
        return torch.cat([out.hidden_states[-2] for out in outs], dim=-1), added

    return condition


def for_kohya(folder: Path, job: dict[str, Any]) -> None:
    """The same bake as sd-scripts' config.toml and dataset.toml."""
    import tomlkit

    from bakery.interop import kohya_terms
    from bakery.settings.train import Train

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
    arguments |= {"no_half_vae": True} if job["sdxl"] else {}  # as ours is
    if settings.torch_compile:
        arguments |= {"torch_compile": True, "dynamo_backend": settings.dynamo_backend}
    subset = {"image_dir": str(models.pictures(folder)), "num_repeats": models.REPEATS}
    general["caption_extension"] = ".txt"
    dataset = {"general": general, "datasets": [{"subsets": [subset]}]}
    (folder / "config.toml").write_text(tomlkit.dumps(arguments), encoding="utf-8")
    (folder / "dataset.toml").write_text(tomlkit.dumps(dataset), encoding="utf-8")


def start(name: str, folder: Path, job: dict[str, Any], given: argparse.Namespace) -> Worker:
    """The trainer `ours`, `plain` or `kohya` in a process of its own, behind its first step."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(job["threads"])}
    if job["device"] == "cpu":  # accelerate takes a GPU if it sees one
        environment["CUDA_VISIBLE_DEVICES"] = ""
    if name != "kohya":
        command = [sys.executable, HERE / "train_step.py", "--role", name, str(folder)]
        return Worker(command, env=environment)
    for_kohya(folder, job)
    path = os.pathsep.join(str(p.absolute()) for p in (*given.packages, given.sd_scripts))
    command = [given.python, HERE / "kohya" / "side.py", "train", folder]
    return Worker(command, env=environment | {"PYTHONPATH": path}, cwd=given.sd_scripts)


def takes_part(model: str, given: argparse.Namespace) -> bool:
    """Whether kohya's scripts are there and can build the model."""
    return given.sd_scripts is not None and model in models.CHANNELS
