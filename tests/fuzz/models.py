"""Bases, LoRAs, tokenizers, taggers, critics and saved states that are damaged or hostile.

Each is opened as a stage opens it. What must be refused is refused by one sentence that names its
place; nothing that it holds is run; what is taken gives numbers that are finite.
"""

from __future__ import annotations

import random
import shutil
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bakery.families import registry
from bakery.families.family import DENOISER, TEXTS
from bakery.io.errors import BakeryError
from bakery.lora.network import LoRANetwork
from bakery.sampling.pipeline import ImagePipeline, ImageRequest
from bakery.settings.filter import FilterModel
from bakery.settings.sample import Sample
from bakery.training.checkpoint import STATE, Checkpoint
from bakery.vision import critics, likeness, onnx_model
from bakery.vision.tagger import Tagger
from tests.fuzz import made_bases, made_onnx
from tests.fuzz.outcome import Outcome

LONG, SHORT = 500, 12
onnx_model.PATIENCE = 1.0
PICTURES = [Image.new("RGB", (24, 18), color) for color in ("red", "navy", "white")]


def base(place: Path) -> None:
    """Recognised, loaded, and asked for one step."""
    registry.family_of(str(place))
    model = registry.load(str(place))
    text = model.encode(["cat"])
    noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    answer = model.predict(noise, torch.tensor([500]), text)
    assert torch.isfinite(answer).all(), "the base predicts NaN"


def a_base(rng: random.Random, folder: Path) -> bool:
    family = rng.choice(["sd1", "sd1", "sdxl"])
    made = rng.choice([made_bases.odd_tensors, made_bases.odd_header, made_bases.odd_pickle,
                       made_bases.odd_folder, made_bases.odd_folder, made_bases.odd_pickle])  # fmt: skip
    place, must = made(rng, folder / "base", family)
    return _opened(lambda: base(place), must)


@cache
def _pipeline() -> ImagePipeline:
    settings = Sample(width=32, height=32, steps=2)
    return ImagePipeline.load(settings, base=str(made_bases.original("sd1")), device="cpu")


@cache
def _lora() -> dict[str, torch.Tensor]:
    base = _pipeline().base
    base.need(DENOISER, TEXTS)
    network = LoRANetwork(base.targets(convolutions=False), 2)
    state = network.state_dict_kohya()
    network.remove()
    return state


def a_lora(rng: random.Random, folder: Path) -> bool:
    """A LoRA as the sample stage takes one: looked at, then used."""
    path = folder / "a.safetensors"
    must = made_bases.odd_lora(rng, path, _lora())

    def use() -> None:
        _pipeline().check(path)
        _pipeline().use([(path, 1.0)])
        _, finite = _pipeline().draw([ImageRequest(0, "cat", 1)])
        assert finite == [True], "it draws NaN"

    return _opened(use, must)


def a_state(rng: random.Random, folder: Path) -> bool:
    """A saved state of a killed bake: one that is no good is not resumed from."""
    saved = Checkpoint(folder, "mirael", owner="me", rested="me")
    path, _ = made_bases.odd_pickle(rng, folder / "base", "sd1")
    shutil.copyfile(path, folder / STATE)
    if rng.random() < 0.3:
        odd = rng.choice([{"owner": "me"}, {"owner": "me", "rows": 5, "step": "x"}, [], None,
                          {"owner": "me", "rows": [{}]}, {"owner": ["me"]}])  # fmt: skip
        torch.save(odd, folder / STATE)
    saved.resume_points()
    assert saved.resume() is None, "resumed from a state that is none"
    return False


def a_tagger(rng: random.Random, folder: Path) -> bool:
    must = made_onnx.odd_tagger(rng, folder / "tagger")

    def use() -> None:
        rows = Tagger.load(folder / "tagger", threads=1).tag(PICTURES, batch_size=2)
        assert rows.shape[0] == len(PICTURES)
        assert ((rows >= 0) & (rows <= 1)).all(), "no probabilities"

    return _opened(use, must)


def a_critic(rng: random.Random, folder: Path) -> bool:
    path = folder / "critic.onnx"
    must = rng.choice([made_onnx.odd_answer, made_onnx.odd_input, made_onnx.odd_graph,
                       made_onnx.outside, made_onnx.damaged])(rng, path)  # fmt: skip
    kind = rng.choice(["face_count", "same_character", "aesthetic", "likeness"])

    def use() -> None:
        if kind == "likeness":
            vectors = likeness.Embedder(path, mean=0.5, std=0.5, threads=1).embed(PICTURES)
            numbers, _ = likeness.cosines(vectors, vectors)
        else:
            model = FilterModel(path=str(path), kind=kind, min=0, side=rng.choice([0, 8]))
            loaded = critics.load(model, path)
            answers = [loaded.look(picture) for picture in PICTURES]
            if kind == "face_count":
                numbers = np.array([len(answer) for answer in answers])
            elif kind == "aesthetic":
                numbers = np.array([critics.score(answer) for answer in answers])
            else:
                numbers = critics.likeness(answers, [False] * len(answers))
        assert np.isfinite(numbers).all(), "a picture's number is NaN"

    return _opened(use, must)


def _opened(use: Callable[[], None], must: str | bool) -> bool:
    """Whether it was taken. `BakeryError` where it was refused."""
    use()
    assert not must, f"taken, and it must be refused: {must}"
    return True


KINDS = (a_base, a_base, a_base, a_lora, a_state, a_tagger, a_critic, a_critic)


def attack(seed: int, folder: Path) -> Outcome:
    rng = random.Random(seed)
    if seed < 0:
        _lora()
        for family in ("sd1", "sdxl"):
            made_bases.tensors(family)
        return Outcome("taken")
    kind = rng.choice(KINDS)
    place = folder / "given"
    place.mkdir()
    try:
        taken = kind(rng, place)
    except BakeryError as problem:
        said = str(problem)
        if "\n" in said.strip() or str(place) not in said:
            return Outcome("failed", f"{kind.__name__}: no sentence that names its file: {said!r}")
        outcome = Outcome("refused", said)
    except Exception:
        return Outcome("failed", f"{kind.__name__}: {''.join(traceback.format_exc()[-1500:])}")
    else:
        outcome = Outcome("taken" if taken else "recorded", kind.__name__)
    if ran := [path for path in folder.rglob("ran") if path.exists()]:
        return Outcome("failed", f"{kind.__name__}: what it holds was run: {ran[0]}")
    return outcome
