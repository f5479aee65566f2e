"""The memory that each phase of a bake holds, with and without parts of the base that do not work in it.

`python benchmarks/phase_memory.py [--model sd15] [--model sdxl] [--mixed-precision bf16]`: a base of
random weights in the real shape is written, then one step is trained on one picture and one picture is
drawn in two steps, in processes of their own: as it is done (a part is in memory while it works), and
with every part in memory from the beginning to the end. The text encoder does not learn. On a CPU the
peak is the process's resident memory, on a GPU what torch holds there.

`--count sd1 512`: what a step at this size needs, counted on tensors without content (no weight is
made): bytes of each part's weights, and the most that a training step, the VAE and a drawing step hold
beside them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import models

import torch  # isort: skip
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import CLIPTextConfig, CLIPTextModel

from bakery.families import published
from bakery.families.family import DENOISER, LATENTS, TEXTS, Model
from bakery.interop.infotext import Infotext
from bakery.jobs import phases
from bakery.sampling import drawing
from bakery.sampling.pictures import SampleSet
from bakery.sampling.pipeline import ImagePipeline
from bakery.sampling.prompts import Cell, GridRow
from bakery.settings.sample import Prompt, Sample
from bakery.settings.train import Train
from bakery.training.setup import TrainSpec
from bakery.training.trainer import Trainer

PHASES = (phases.LATENTS, phases.TEXTS, phases.TRAINING, phases.PROMPTS, phases.DRAWING)
PARTS = (LATENTS, TEXTS, DENOISER)
GIB = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    models.arguments(parser)
    parser.add_argument("--model", choices=models.MODELS, action="append")
    parser.add_argument("--count", nargs=2, metavar=("FAMILY", "SIDE"), help="count, run nothing")
    parser.add_argument("--child", choices=("needed", "whole"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = models.settled(parser.parse_args())
    if given.count:
        if given.count[0] not in published.UNET:
            parser.error(f"--count takes {' or '.join(published.UNET)}, not {given.count[0]}")
        print(counted(given.count[0], int(given.count[1])))
    elif given.child:
        print(json.dumps(measured(given.folder, whole=given.child == "whole")))
    else:
        for model in given.model or ["tiny"]:
            compare(model, given)


def compare(model: str, given: argparse.Namespace) -> None:
    """Measure a model both ways and print its table."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write = [sys.executable, __file__, "--model", model]
        job = put_down(model, folder, given)
        found = {}
        for how in ("needed", "whole"):
            child = [*write, "--child", how, "--folder", str(folder), "--device", given.device]
            done = subprocess.run(child, stdout=subprocess.PIPE, text=True, check=True)
            found[how] = json.loads(done.stdout.splitlines()[-1])
    print(f"\n{models.what(job)}, {given.device}: GiB at most\n")
    print("| phase | parts while they work | all parts all the time |\n| --- | --- | --- |")
    for name in PHASES:
        pair = (found[how][name] / GIB for how in ("needed", "whole"))
        print(f"| {name} | {' | '.join(f'{most:.2f}' for most in pair)} |")


def put_down(model: str, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """As `models.put_down`, but its tokenizers know as many words as CLIP's."""
    torch.set_default_dtype(models.DTYPES[given.mixed_precision])  # SDXL is 14 GB in float32
    job = models.put_down(model, folder, given)
    torch.set_default_dtype(torch.float32)
    job["settings"] |= {
        "text_encoder_lr": 0.0, "max_steps": 1, "gradient_checkpointing": True, "fuse": "off",
    }  # fmt: skip
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    base = Path(job["settings"]["base"])
    known = {name.split("_")[-1]: one["vocab_size"] for name, one in configs(base)}
    for place in sorted(base.glob("tokenizer*")):
        fill(place, known.get(place.name.split("_")[-1], known["encoder"]))
    return job


def configs(base: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(folder, config) of each text encoder."""
    for config in sorted(base.glob("text_encoder*/config.json")):
        yield config.parent.name, json.loads(config.read_text(encoding="utf-8"))


def fill(place: Path, size: int) -> None:
    """Give a tokenizer of few words as many as its text encoder knows."""
    path = place / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    words = content["model"]["vocab"]
    words |= {f"word{number}</w>": number for number in range(len(words), size)}
    path.write_text(json.dumps(content), encoding="utf-8")
    (place / "vocab.json").write_text(json.dumps(words), encoding="utf-8")


def measured(folder: Path, *, whole: bool) -> dict[str, int]:
    """Phase -> the most bytes it held, of a bake of one step and a picture of two."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    if whole:
        hold_everything()
    settings = Train(**job["settings"])
    spec = TrainSpec(settings, folder / ("whole" if whole else "needed"), "mirael", {})
    spec.out.mkdir()
    Trainer(folder / "layout", job["device"], job["threads"]).fit_one(spec)
    side, dtype = settings.resolution, models.DTYPES[settings.mixed_precision]
    drawn = Sample(
        prompts=(Prompt(id="a", prompt=models.CAPTION, purpose="identity"),), seeds=(1,), steps=2,
        width=side, height=side, batch_size=1,
    )  # fmt: skip
    pipeline = ImagePipeline.load(
        drawn, base=settings.base, device=job["device"], dtype=dtype, clip_skip=settings.clip_skip
    )
    lora = GridRow(1, spec.out / "mirael.safetensors", "0" * 64, 1.0)
    cell = Cell("a", "identity", models.CAPTION, (), 1)
    facts = {"Steps": "2", "Sampler": drawn.sampler, "Seed": "1", "Size": f"{side}x{side}"}
    pictures = SampleSet(spec.out / "drawn", {(lora, cell): Infotext(models.CAPTION, "", facts)})
    pictures.open()
    drawing.draw(pipeline, [pictures])
    return phases.most()


def hold_everything() -> None:
    """From now on a part that is needed brings the others with it, and none is freed."""
    need = Model.need
    Model.need = lambda model, *parts: need(model, *PARTS)  # type: ignore[method-assign]
    Model.release = lambda model, *parts: None  # type: ignore[method-assign]


class Live(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, of those made inside."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor):
                self._note(x.untyped_storage())
        return out

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            weakref.finalize(storage, self._gone, key, size).atexit = False
            self.now += size
            self.most = max(self.most, self.now)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def counted(family: str, side: int, dtype: torch.dtype = torch.bfloat16) -> str:
    """A table in GiB; one picture, CFG for the drawing step, the text encoder frozen."""
    torch.set_default_dtype(dtype)
    F.scaled_dot_product_attention = flash  # without content, torch takes the plain product
    rows = []
    with FakeTensorMode():
        unet = UNet2DConditionModel.from_config(published.UNET[family]).requires_grad_(False)
        rows.append(("denoiser, weights", weights(unet)))
        for again in (False, True):
            rows.append((f"a training step{', checkpointed' * again}", step(unet, side, again)))
        rows.append(("a drawing step", drawing_step(unet, side)))
        texts = [CLIPTextModel(CLIPTextConfig(**one)) for one in published.TEXT_ENCODERS[family]]
        rows.append(("text encoders, weights", sum(map(weights, texts))))
        torch.set_default_dtype(published.dtype_of(family, "vae", dtype))
        vae = AutoencoderKL.from_config(published.VAE[family]).requires_grad_(False)
        rows.append(("VAE, weights", weights(vae)))
        pixels, latents = torch.randn(1, 3, side, side), torch.randn(1, 4, side // 8, side // 8)
        for name, run in (
            ("encode", lambda: vae.encode(pixels)),
            ("decode", lambda: vae.decode(latents)),
        ):
            with torch.no_grad(), Live() as live:
                run()
            rows.append((f"the VAE {name}s a picture", live.most))
    torch.set_default_dtype(torch.float32)
    lines = [f"| {what} | {size / GIB:.2f} |" for what, size in rows]
    return "\n".join([f"| {family}, {side} px, {dtype} | GiB |", "| --- | --- |", *lines])


def flash(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **_: Any) -> torch.Tensor:
    """Attention that never holds all products of a query and a key, as on a GPU."""
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)[0]


def weights(module: torch.nn.Module) -> int:
    return sum(w.numel() * w.element_size() for w in module.parameters())


def step(unet: Any, side: int, again: bool) -> int:
    """The most that forward and backward hold beside the weights."""
    if again:
        unet.enable_gradient_checkpointing()
        unet.train()
    given = inputs(unet, side, 1)
    given[0].requires_grad_(True)  # adapters are everywhere
    with Live() as live:
        unet(*given[:3], added_cond_kwargs=given[3]).sample.sum().backward()
    return live.most


def drawing_step(unet: Any, side: int) -> int:
    given = inputs(unet.eval(), side, 2)
    with torch.no_grad(), Live() as live:
        unet(*given[:3], added_cond_kwargs=given[3])
    return live.most


def inputs(unet: Any, side: int, rows: int) -> tuple[Any, ...]:
    """Latents, times, texts, and what SDXL is told besides."""
    more = None
    if unet.config.addition_embed_type:
        more = {"text_embeds": torch.randn(rows, 1280), "time_ids": torch.randn(rows, 6)}
    text = torch.randn(rows, 77, unet.config.cross_attention_dim)
    return torch.randn(rows, 4, side // 8, side // 8), torch.tensor([500] * rows), text, more


if __name__ == "__main__":
    main()
