"""Finished stage folders of a bake, made by hand: what compare reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from bakery import infotext, tables
from bakery.compare import Bake
from bakery.infotext import Infotext

PROMPTS = {"trigger": "mirael", "beach": "mirael, beach, smile"}


def made_bake(
    folder: Path,
    label: str,
    scores: Sequence[tuple[float, float]],
    *,
    settings: Mapping[str, Any] | None = None,
    prompts: Mapping[str, str] = PROMPTS,
    seeds: Sequence[int] = (1, 2),
    size: tuple[int, int] = (24, 24),
    missing: Sequence[str] = ("smile",),
    hue: int = 0,
) -> Bake:
    """A bake with (fidelity, flexibility) of epoch 0, 1, 2 ...; nan leaves a score empty.

    The first prompt is the identity prompt. Every picture has its own colour, a base picture the
    same in each bake unless `hue` differs.
    """
    train, sample, score = (folder / name for name in ("train-key", "sample-key", "score-key"))
    for place in (train, sample / "images", score):
        place.mkdir(parents=True)
    last = len(scores) - 1
    files = {e: f"mirael-{e:06d}.safetensors" for e in range(1, last)}
    files |= {last: "mirael.safetensors"} if last else {}
    saved = [
        {"epoch": e, "step": 10 * e, "file": file, "sshs_model_hash": _hash(label, e),
         "loss": 0.3 / e}
        for e, file in files.items()
    ]  # fmt: skip
    tables.write(train / "epochs.csv", saved, ("epoch", "step", "file", "sshs_model_hash", "loss"))
    rows = []
    for epoch in range(len(scores)):
        for number, (prompt_id, prompt) in enumerate(prompts.items()):
            for seed in seeds:
                image = f"e{epoch}_{prompt_id}_s{seed}.png"
                colour = (40 * epoch + hue, 90 * number, 60 * seed + 3 * epoch * len(label))
                token = f" {infotext.lora_token(Path(files[epoch]).stem)}" if epoch else ""
                facts = {"Steps": "3", "Sampler": "DDIM", "Seed": str(seed)}
                infotext.save_png(
                    Image.new("RGB", size, tuple(c % 256 for c in colour)),
                    sample / "images" / image,
                    Infotext(prompt + token, "", facts),
                )
                rows.append(
                    {"epoch": epoch, "prompt_id": prompt_id, "prompt": prompt, "seed": seed,
                     "purpose": "flexibility" if number else "identity", "image": image,
                     "asked": tables.join(["beach", *missing]), "found": "beach", "score": 0.5}
                )  # fmt: skip
    tables.write(sample / "samples.csv", rows, ("epoch", "prompt_id", "prompt", "seed", "image"))
    tables.write(score / "scores.csv", rows, ("epoch", "image", "found", "asked", "score"))
    scored = [
        {"epoch": e, "fidelity": f, "fidelity_low": f - 0.1, "fidelity_high": f + 0.1,
         "flexibility": x, "flexibility_low": x - 0.1, "flexibility_high": x + 0.1, "n": 4}
        for e, (f, x) in enumerate(scores)
    ]  # fmt: skip
    tables.write(score / "epochs.csv", scored, list(scored[0]))
    return Bake(label, train, sample, score, dict(settings or {}))


def _hash(label: str, epoch: int) -> str:
    return (label.encode().hex() + f"{epoch:02d}" * 32)[:64]
