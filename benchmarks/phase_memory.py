"""The memory that each phase of a bake holds, with and without parts of the base that do not work in it.

`python benchmarks/phase_memory.py [--model sdxl] [--model anima] [--mixed-precision bf16]`: a base of
random weights in the real shape is written, then one step is trained on one picture and one picture is
drawn in two steps, in processes of their own: as it is done (a part is in memory while it works), and
with every part in memory from the beginning to the end. The text encoder does not learn. On a CPU the
peak is the process's resident memory, on a GPU what torch holds there. A CPU multiplies in float32
(`memory/wide_sums.py`); weights, activations and what is kept of them are in the precision asked for.

`--count sd1 sdxl anima`: what a bake needs on a GPU, counted on tensors without content
(`memory/counted.py`).
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import models

sys.path.insert(0, str(Path(__file__).parent / "memory"))

import anima
import counted
import torch
from tiny_base import tiny_anima
from wide_sums import WideSums

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
ANIMA: dict[str, dict[str, Any]] = {
    "tiny-anima": {"resolution": 64, "train_batch_size": 1},
    "anima": {"resolution": 1024, "train_batch_size": 1},
}
"""Besides `models.MODELS`, which other trainers have to know as well."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    models.arguments(parser)
    parser.add_argument("--model", choices=[*models.MODELS, *ANIMA], action="append")
    parser.add_argument("--count", nargs="+", choices=counted.SIDES, help="count, run nothing")
    parser.add_argument("--child", choices=("needed", "whole"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = models.settled(parser.parse_args())
    if given.count:
        print(counted.tables(given.count))
    elif given.child:
        logging.basicConfig(format="%(message)s")
        logging.getLogger(phases.__name__).setLevel(logging.INFO)  # each phase as it ends
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
    job = (
        anima_job(model, folder, given) if model in ANIMA else models.put_down(model, folder, given)
    )
    torch.set_default_dtype(torch.float32)
    job["settings"] |= {
        "text_encoder_lr": 0.0, "max_steps": 1, "gradient_checkpointing": True, "fuse": "off",
    }  # fmt: skip
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    if model in ANIMA:
        return job
    base = Path(job["settings"]["base"])
    known = {name.split("_")[-1]: one["vocab_size"] for name, one in configs(base)}
    for place in sorted(base.glob("tokenizer*")):
        fill(place, known.get(place.name.split("_")[-1], known["encoder"]))
    return job


def anima_job(model: str, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Base and picture in `folder`, as `models.put_down` has them; returns the job."""
    base = folder / "base"
    models.MODELS |= ANIMA
    job = models.job_of(model, base, given)
    job["settings"] |= {"max_token_length": 225, "network_alpha": 16}
    if model == "anima":
        anima.write(base, models.DTYPES[given.mixed_precision])
    else:
        tiny_anima(base)
    models.picture(folder, job["settings"]["resolution"])
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
    with WideSums() if job["device"] == "cpu" else nullcontext():
        Trainer(folder / "layout", job["device"], job["threads"]).fit_one(spec)
        draw(job, settings, spec.out)
    return phases.most()


def draw(job: dict[str, Any], settings: Train, out: Path) -> None:
    """A picture with the LoRA in `out`, in two steps."""
    side, dtype = settings.resolution, models.DTYPES[settings.mixed_precision]
    drawn = Sample(
        prompts=(Prompt(id="a", prompt=models.CAPTION, purpose="identity"),), seeds=(1,), steps=2,
        width=side, height=side, batch_size=1, sampler="Euler",
    )  # fmt: skip
    pipeline = ImagePipeline.load(
        drawn, base=settings.base, device=job["device"], dtype=dtype, clip_skip=settings.clip_skip
    )
    lora = GridRow(1, out / "mirael.safetensors", "0" * 64, 1.0)
    cell = Cell("a", "identity", models.CAPTION, (), 1)
    facts = {"Steps": "2", "Sampler": drawn.sampler, "Seed": "1", "Size": f"{side}x{side}"}
    pictures = SampleSet(out / "drawn", {(lora, cell): Infotext(models.CAPTION, "", facts)})
    pictures.open()
    drawing.draw(pipeline, [pictures])


def hold_everything() -> None:
    """From now on a part that is needed brings the others with it, and none is freed."""
    need = Model.need
    Model.need = lambda model, *parts: need(model, *PARTS)  # type: ignore[method-assign]
    Model.release = lambda model, *parts: None  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
