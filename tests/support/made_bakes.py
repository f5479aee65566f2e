"""Finished stage folders of a bake, made by hand: what compare reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from bakery.interop import infotext
from bakery.interop.infotext import Infotext
from bakery.io import manifest, tables
from bakery.report.results import Bake

PROMPTS = {"trigger": "mirael", "beach": "mirael, beach, smile"}
PURPOSES = {"trigger": "identity", "jacket": "recreate", "nobody": "bleed"}
"""Of prompts by their id; others ask for flexibility."""
SETTINGS = {
    "scrape": {"name": "mirael"},
    "filter": {"min_side": 64},
    "tag": {"model": "resources/world/tagger"},
    "prune": {"trigger": "mirael", "class_tokens": ""},
    "layout": {"repeats": 5},
    "train": {"unet_lr": 2e-3, "network_dim": 16},
    "sample": {"lora_weight": 1.0, "negative_prompt": "lowres"},
    "score": {"min_trait_share": 0.5},
}
SUMMARIES: dict[str, dict[str, Any]] = {
    "scrape": {"posts": 12, "images": 10, "reasons": {"404 Not Found": 2}},
    "filter": {"images": 10, "kept": 7},
    "layout": {"images": 7, "folders": {"5_mirael": {"images": 7}}},
    "train": {"steps_per_epoch": 9},
}
_SHARED = ("scrape", "filter", "tag", "prune", "layout")


def made_bake(
    root: Path,
    label: str,
    scores: Sequence[tuple[float, float]],
    *,
    settings: Mapping[str, Any] | None = None,
    prompts: Mapping[str, str] = PROMPTS,
    seeds: Sequence[int] = (1, 2),
    size: tuple[int, int] = (24, 24),
    missing: Sequence[str] = ("smile",),
    hue: int = 0,
    more: Mapping[str, Sequence[float]] | None = None,
    dataset: str = "d",
    name: str = "",
) -> Bake:
    """A bake with (fidelity, flexibility) of epoch 0, 1, 2 ... in `root`/results; nan is not measured.

    `more` has further scores by name. The prompt `trigger` is the identity prompt. Every picture has
    its own colour, a base picture the same in each bake unless `hue` differs. Bakes of one `dataset`
    share the stages above train. `name` is what its files are called where they leave.
    """
    chosen = {
        f"{stage}.{name}": value for stage, all_ in SETTINGS.items() for name, value in all_.items()
    }
    chosen |= dict(settings or {})
    key = hashlib.sha256(f"{label} {root}".encode()).hexdigest()[:12]
    names = {stage: f"mirael-{dataset if stage in _SHARED else key}" for stage in SETTINGS}
    folders = {stage: root / "results" / stage / name for stage, name in names.items()}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    bake = Bake(label, folders, chosen, name=name)
    _origin(folders)
    last = len(scores) - 1
    files = {e: f"mirael-{e:06d}.safetensors" for e in range(1, last)}
    files |= {last: "mirael.safetensors"} if last else {}
    _train(folders["train"], label, files)
    rows = _sample(folders["sample"], label, len(scores), files, prompts, seeds, size, missing, hue)
    _score(folders["score"], rows, scores, more or {})
    above = ""
    for stage, folder in folders.items():
        about = {
            "stage": stage,
            "key": names[stage].rpartition("-")[2],
            "code_version": 1,
            "settings": {k.split(".", 1)[1]: v for k, v in chosen.items() if k.startswith(stage)},
            "above": {names[above]: above} if above else {},
        }
        manifest.write(folder, about, SUMMARIES.get(stage, {}))
        above = stage
    return bake


def _origin(folders: Mapping[str, Path]) -> None:
    """Seven pictures kept, three thrown out; two tags pruned, two kept, one dropped."""
    reasons = [""] * 7 + ["rating", "rating;too_small", "duplicate"]
    tables.write(
        folders["filter"] / "decisions.csv",
        [{"image": f"{i}.png", "kept": "false" if r else "true", "reasons": r}
         for i, r in enumerate(reasons)],
        ("image", "kept", "reasons"),
    )  # fmt: skip
    tags = [("halo", 7, "prune"), ("pink hair", 6, "prune"), ("smile", 3, "keep"),
            ("red jacket", 5, "keep"), ("general", 7, "drop")]  # fmt: skip
    tables.write(
        folders["prune"] / "prune.csv",
        [{"tag": tag, "count": n, "decision": what, "reason": f"on {n}"} for tag, n, what in tags],
        ("tag", "count", "decision", "reason"),
    )


def _train(folder: Path, label: str, files: Mapping[int, str]) -> None:
    saved = [
        {"epoch": e, "step": 10 * e, "file": file, "sshs_model_hash": _hash(label, e),
         "loss": 0.3 / e}
        for e, file in files.items()
    ]  # fmt: skip
    for row in saved:
        header = json.dumps(
            {"__metadata__": {"ss_output_name": "mirael", "ss_epoch": str(row["epoch"])}}
        )
        raw = header.encode()
        (folder / row["file"]).write_bytes(len(raw).to_bytes(8, "little") + raw)
    tables.write(folder / "epochs.csv", saved, ("epoch", "step", "file", "sshs_model_hash", "loss"))


def _sample(
    folder: Path,
    label: str,
    epochs: int,
    files: Mapping[int, str],
    prompts: Mapping[str, str],
    seeds: Sequence[int],
    size: tuple[int, int],
    missing: Sequence[str],
    hue: int,
) -> list[dict[str, Any]]:
    (folder / "images").mkdir(exist_ok=True)
    rows = []
    for epoch in range(epochs):
        for number, (prompt_id, prompt) in enumerate(prompts.items()):
            for seed in seeds:
                image = f"e{epoch}_{prompt_id}_s{seed}.png"
                colour = (40 * epoch + hue, 90 * number, 60 * seed + 3 * epoch * len(label))
                loras = {Path(files[epoch]).stem: 1.0} if epoch else {}
                facts = {"Steps": "3", "Sampler": "DDIM", "Seed": str(seed)}
                if epoch:
                    facts["Lora hashes"] = f"{Path(files[epoch]).stem}: {_hash(label, epoch)[:12]}"
                infotext.save_png(
                    Image.new("RGB", size, tuple(c % 256 for c in colour)),
                    folder / "images" / image,
                    Infotext(prompt, "", facts, loras),
                )
                rows.append(
                    {"epoch": epoch, "prompt_id": prompt_id, "prompt": prompt, "seed": seed,
                     "purpose": PURPOSES.get(prompt_id, "flexibility"), "image": image,
                     "asked": tables.join(["beach", *missing]), "found": "beach", "score": 0.5,
                     "leaked": "red jacket" if epoch > 1 else "", "broken": 0, "memorised": 0}
                )  # fmt: skip
    columns = ("epoch", "prompt_id", "purpose", "prompt", "seed", "image")
    tables.write(folder / "samples.csv", rows, columns)
    return rows


def _score(
    folder: Path,
    rows: list[dict[str, Any]],
    scores: Sequence[tuple[float, float]],
    more: Mapping[str, Sequence[float]],
) -> None:
    columns = ("epoch", "image", "found", "asked", "score", "leaked", "broken", "memorised")
    tables.write(folder / "scores.csv", rows, columns)
    scored = [
        {"epoch": e, "n": 4, **_banded("fidelity", f), **_banded("flexibility", x)}
        | {k: v for name, values in more.items() for k, v in _banded(name, values[e]).items()}
        for e, (f, x) in enumerate(scores)
    ]
    tables.write(folder / "epochs.csv", scored, list(scored[0]))


def _banded(name: str, value: float) -> dict[str, float]:
    return {name: value, f"{name}_low": value - 0.1, f"{name}_high": value + 0.1}


def _hash(label: str, epoch: int) -> str:
    return (label.encode().hex() + f"{epoch:02d}" * 32)[:64]
