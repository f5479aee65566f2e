"""Bakes drawn together: each gets the pictures it would get alone, and has its own outcome."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_base import tiny_sd1

from bakery.families import registry
from bakery.families.family import UNET
from bakery.io import manifest
from bakery.io.errors import BakeryError
from bakery.jobs import claims
from bakery.lora.network import LoRANetwork
from bakery.sampling import pipeline
from bakery.sampling.pipeline import ImagePipeline, ImageRequest
from bakery.settings.sample import Prompt, Sample
from bakery.settings.tag import Thresholds
from bakery.stages import sample
from bakery.tags.trigger import Trigger

ROOT = Path(__file__).parents[2]
PROMPTS = (
    Prompt(id="alone", prompt="{trigger}", purpose="identity"),
    Prompt(id="beach", prompt="{trigger}, beach", purpose="flexibility"),
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a trigger, and three bakes of two epochs whose LoRAs differ clearly."""
    root = tmp_path_factory.mktemp("workdir")
    loaded = registry.load(str(tiny_sd1(root / "base")))
    (root / "prune").mkdir()
    limits = Thresholds(general=0.35, character=0.85)
    Trigger("mirael", "1girl", thresholds=limits).write(root / "prune")
    for number, bake in enumerate("abc"):
        folder = root / "train" / bake
        folder.mkdir(parents=True)
        rows = []
        for epoch, file in ((1, "mirael-000001.safetensors"), (2, "mirael.safetensors")):
            generator = torch.Generator().manual_seed(10 * number + epoch)
            network = LoRANetwork(loaded.targets(), 2 + number, 2, generator)
            for layer in network.layers.values():
                layer.ups[0].data.normal_(generator=generator).mul_(0.4)
            save_file(network.state_dict_kohya(), folder / file)
            rows.append((epoch, epoch * 10, file, f"{number}{epoch}" * 32, 0.1))
        columns = ["epoch", "step", "file", "sshs_model_hash", "loss"]
        pd.DataFrame(rows, columns=columns).to_csv(folder / "epochs.csv", index=False)
        (folder / manifest.NAME).write_text(
            json.dumps({"settings": {"clip_skip": 1, "mixed_precision": "no"}})
        )
    return root


def settings(**changes: object) -> Sample:
    given = {
        "prompts": PROMPTS, "seeds": (1, 2), "steps": 2, "width": 32, "height": 32,
        "negative_prompt": "sad", "batch_size": 4,
    }  # fmt: skip
    return Sample(**(given | changes))


def bakes(workdir: Path, out: Path, names: str = "abc") -> dict[Path, Path]:
    return {out / name: workdir / "train" / name for name in names}


def stage(workdir: Path, chosen: Sample) -> sample.SampleStage:
    return sample.SampleStage(
        chosen, workdir / "prune", str(workdir / "base"), clip_skip=1, device="cpu", threads=1
    )


def draw(workdir: Path, out: Path, names: str = "abc", **changes: object) -> None:
    stage(workdir, settings(**changes)).draw_claimed(bakes(workdir, out, names))


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[list[ImageRequest]]:
    """The batches that are really drawn; base pictures have LoRA -1."""
    found: list[list[ImageRequest]] = []
    real_use, real_draw = ImagePipeline.use, ImagePipeline.draw
    in_use: list = []

    def use(pipeline, loras):
        in_use[:] = loras
        real_use(pipeline, loras)

    def spy(pipeline, batch):
        found.append([s if in_use[s.lora][0] else s._replace(lora=-1) for s in batch])
        return real_draw(pipeline, batch)

    monkeypatch.setattr(ImagePipeline, "use", use)
    monkeypatch.setattr(ImagePipeline, "draw", spy)
    return found


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    kept = (p for p in files if p.name not in (claims.LOCK, "progress.jsonl"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in kept}


def test_of_a_lora_file_each_part_of_the_base_gets_its_own_tensors_read(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    @contextmanager
    def watched(file: Path, *cure: str, framework: str) -> Iterator[Any]:
        with safe_open(file, framework=framework) as tensors:
            yield SimpleNamespace(
                keys=tensors.keys,
                get_tensor=lambda key: (read.append(key), tensors.get_tensor(key))[1],
            )

    monkeypatch.setattr(pipeline, "weight_files", SimpleNamespace(opened=watched))
    drawing = ImagePipeline.load(settings(), base=str(workdir / "base"), device="cpu")
    file = workdir / "train" / "a" / "mirael.safetensors"
    with safe_open(file, framework="pt") as tensors:
        keys = set(tensors.keys())
    of_texts = {key for key in keys if key.startswith("lora_te")}
    drawing.use([(file, 1.0)])
    assert sorted(read) == sorted(keys - of_texts)
    for prompt in ("smile", "cat"):
        read.clear()
        drawing.encode([(file, 1.0)], [prompt])
        assert sorted(read) == sorted(of_texts)
    read.clear()
    drawing.encode([(file, 1.0)], ["smile", "cat"])
    assert not read


@pytest.mark.slow
def test_sets_of_half_a_batch_are_the_same_bytes_in_any_group(
    workdir: Path, tmp_path: Path, requests: list
) -> None:
    """4 pictures of each LoRA, in batches of 4: all files of the folder, whoever is beside."""
    draw(workdir, tmp_path / "together")
    assert [len(batch) for batch in requests] == [3, 3] + [4] * 6
    draw(workdir, tmp_path / "alone", "b")
    draw(workdir, tmp_path / "pair", "ca")
    for folder, names in (("alone", "b"), ("pair", "ac")):
        for name in names:
            assert contents(tmp_path / folder / name) == contents(tmp_path / "together" / name)
    for name in "abc":
        table = pd.read_csv(tmp_path / "together" / name / "samples.csv")
        assert len(table) == 14
        assert claims.finished(tmp_path / "together" / name) == {
            "epochs": 2, "images": 14, "broken": 0, "warnings": [],
        }  # fmt: skip
        lines = (tmp_path / "together" / name / "progress.jsonl").read_text().splitlines()
        assert json.loads(lines[-1]) == {"epoch": 2, "step": 14, "steps": 14}
    grids = {claims.kept(tmp_path / "together" / name / "grid.png").read_bytes() for name in "abc"}
    assert len(grids) == 3


@pytest.mark.slow
def test_smaller_sets_share_batches_and_are_the_same_up_to_rounding(
    workdir: Path, tmp_path: Path, requests: list
) -> None:
    changes = {"seeds": (3,), "prompts": PROMPTS[:1], "batch_size": 4}
    draw(workdir, tmp_path / "together", **changes)
    assert [len(batch) for batch in requests] == [1, 4, 2]
    assert len({request.lora for request in requests[1]}) == 4
    draw(workdir, tmp_path / "alone", "b", **changes)
    for picture in (tmp_path / "alone" / "b" / "images").iterdir():
        mine = pixels(tmp_path / "together" / "b" / "images" / picture.name)
        assert np.abs(mine - pixels(picture)).max() <= 1, picture


@pytest.mark.slow
def test_the_base_is_drawn_once_and_is_in_every_folder(
    workdir: Path, tmp_path: Path, requests: list
) -> None:
    draw(workdir, tmp_path)
    from_base = [request for batch in requests for request in batch if request.lora == -1]
    assert len(from_base) == len(set(from_base)) == 6
    for picture in (tmp_path / "a" / "images").glob("e0_*.png"):
        for other in "bc":
            copy = tmp_path / other / "images" / picture.name
            assert copy.read_bytes() == picture.read_bytes()
    requests.clear()
    shutil.rmtree(tmp_path / "b")
    shutil.rmtree(tmp_path / "c" / "images")
    draw(workdir, tmp_path)  # from a folder that has it still
    assert {request.lora for batch in requests for request in batch} == {0}
    assert len(requests) == 4


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["damaged", "missing", "of another model"])
def test_a_broken_lora_fails_its_own_bake_alone(
    workdir: Path, tmp_path: Path, harm: str, requests: list
) -> None:
    train = tmp_path / "train"
    shutil.copytree(workdir / "train", train)
    file = train / "b" / "mirael.safetensors"
    if harm == "damaged":
        file.write_bytes(file.read_bytes()[:-10])
    elif harm == "missing":
        file.unlink()
    else:
        save_file({"lora_unet_nowhere.lora_up.weight": torch.zeros(2, 2)}, file)
    claimed = {tmp_path / name: train / name for name in "abc"}
    (tmp_path / "b").mkdir()  # a claim is a lock in the folder
    stage(workdir, settings(seeds=(1,))).draw_claimed(claimed)
    assert (
        claims.finished(tmp_path / "a")["images"] == claims.finished(tmp_path / "c")["images"] == 7
    )
    assert claims.finished(tmp_path / "b") is None
    assert not (tmp_path / "b" / "images").exists(), "found before anything was drawn"
    with pytest.raises(BakeryError, match=r"b/mirael\.safetensors") as caught:
        claims.ensure_finished(
            tmp_path / "b", claims.deal([tmp_path / "b"], 1, 1), work=lambda folders: None
        )
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_what_an_earlier_run_left_is_not_drawn_again(
    workdir: Path, tmp_path: Path, requests: list
) -> None:
    draw(workdir, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for file in ("a/images/e2_beach_s2.png", "c/images/e0_alone_s1.png", "b/samples.csv"):
        (tmp_path / "cut" / file).unlink()
    damaged = tmp_path / "cut/b/images/e1_alone_s1.png"
    damaged.write_bytes(damaged.read_bytes()[:40])
    requests.clear()
    draw(workdir, tmp_path / "cut")
    assert len(requests) == 2, "the batches of a's and b's picture; the base's is copied"
    for name in "abc":
        assert contents(tmp_path / "cut" / name) == contents(tmp_path / "whole" / name)


@pytest.mark.slow
def test_pictures_that_are_no_number_are_told_after_an_interruption_too(
    workdir: Path, tmp_path: Path
) -> None:
    train = tmp_path / "train"
    shutil.copytree(workdir / "train", train)
    loaded = registry.load(str(workdir / "base"))
    network = LoRANetwork(loaded.targets([UNET]), 2, 2)
    for layer in network.layers.values():
        layer.ups[0].data.fill_(1e30)
    save_file(network.state_dict_kohya(), train / "b" / "mirael.safetensors")
    claimed = {tmp_path / name: train / name for name in "ab"}
    for _ in range(2):
        specs = [sample.SampleSpec(t, out) for out, t in claimed.items()]
        made = stage(workdir, settings()).run_all(specs)
        assert [facts["broken"] for facts in made] == [0, 4]
        assert "first e2_alone_s1.png" in made[1]["warnings"][0]


@pytest.mark.slow
def test_the_text_s_keys_are_computed_once_for_all_steps(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = ImagePipeline.load(
        settings(steps=3), base=str(workdir / "base"), clip_skip=1, device="cpu"
    )
    attention = pipeline.base.unet.mid_block.attentions[0].transformer_blocks[0].attn2
    calls = []
    own = type(attention.to_k).forward

    def counted(layer, x):
        if layer in (attention.to_k, attention.to_q):
            calls.append("k" if layer is attention.to_k else "q")
        return own(layer, x)

    monkeypatch.setattr(type(attention.to_k), "forward", counted)
    pipeline.use([(None, 0.0)])
    for seed in (1, 2):
        calls.clear()
        pipeline.draw([ImageRequest(0, "mirael", seed)])
        assert calls.count("k") == 1
        assert calls.count("q") == 3
    assert "forward" not in vars(attention.to_k)


def draw_in_turn(workdir: Path, out: Path, turns: Semaphore) -> None:
    """In a process of its own: draw as many batches as there are turns, and wait."""
    real = ImagePipeline.draw

    def waiting(pipeline: ImagePipeline, batch: Any) -> Any:
        turns.acquire()
        return real(pipeline, batch)

    ImagePipeline.draw = waiting
    draw(workdir, out, steps=8)


@pytest.mark.slow
def test_killed_in_the_middle_and_started_again_ends_in_the_same_bytes(
    workdir: Path, tmp_path: Path, requests: list
) -> None:
    draw(workdir, tmp_path / "whole", steps=8)
    out = tmp_path / "killed"
    context = multiprocessing.get_context("fork")
    turns = context.Semaphore(3)  # the base's pictures, one epoch's, and others' while it is killed
    job = context.Process(target=draw_in_turn, args=(workdir, out, turns))
    job.start()
    end = time.monotonic() + 900
    while not any(out.glob("a/images/e1_*.png")):
        assert job.is_alive(), "ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.005)
    job.kill()
    job.join()
    assert all(claims.finished(out / name) is None for name in "abc")
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/images/e0_*.png")}
    requests.clear()
    draw(workdir, out, steps=8)
    assert len(requests) < 8
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for name in "abc":
        whole = contents(tmp_path / "whole" / name)
        assert {file: contents(out / name)[file] for file in whole} == whole


DOOR = """
import runpy, sys, types
from pathlib import Path
sys.path.insert(0, {scripts!r})
import bakery.jobs.claims, bakery.jobs.job
bakery.jobs.job.device = lambda: "cpu"
fake = types.ModuleType("bakery.stages.sample")


class SampleStage:
    def __init__(self, **given):
        pass

    def draw_claimed(self, bakes, mirrors):
        for folder in bakes:
            print(folder.name)
            bakery.jobs.claims.fail(folder, "there is nothing to draw with")


fake.SampleStage = SampleStage
sys.modules["bakery.stages.sample"] = fake
tagger = types.ModuleType("bakery.vision.tagger")
tagger.fetch = Path
sys.modules["bakery.vision.tagger"] = tagger
root = Path({root!r})
job = types.SimpleNamespace(
    params=types.SimpleNamespace(
        node={{"stage": "sample", "key": "k", "settings": {{"steps": 2}}}}, base="base", model="tagger",
        group={{str(root / "sample" / n): str(root / "train" / n) for n in "abc"}}, workers=1,
        rung={{}}, mirrors={{}},
    ),
    input={{s: str(root / s / f / "manifest.json") for s, f in (("train", "a"), ("prune", "."))}},
    output=[str(root / "sample" / "a" / "manifest.json")], log=[str(root / "log")], threads=1,
)
try:
    runpy.run_path({door!r}, init_globals={{"snakemake": job}})
finally:
    print("torch" if "torch" in sys.modules else "light")
"""


def through_the_door(root: Path) -> subprocess.CompletedProcess[str]:
    (root / "prune").mkdir(exist_ok=True)
    manifest.write(root / "prune", {"stage": "prune", "key": "k"}, {})
    code = DOOR.format(
        scripts=str(ROOT / "scripts"), door=str(ROOT / "scripts/sample.py"), root=str(root)
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.slow
def test_its_own_job_finds_a_drawn_bake_finished_without_torch(
    workdir: Path, tmp_path: Path
) -> None:
    shutil.copytree(workdir / "train", tmp_path / "train")
    draw(workdir, tmp_path / "sample", "a", seeds=(1,))
    assert not (tmp_path / "sample/a/grid.png").exists()
    run = through_the_door(tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["light"]
    facts = manifest.read(tmp_path / "sample/a")
    assert facts["summary"]["images"] == 7
    assert {"grid.png", "samples.csv", "images/e1_alone_s1.png"} <= facts["files"].keys()
    assert not any(name.endswith(".state") for name in facts["files"])


@pytest.mark.slow
def test_only_what_is_trained_is_claimed(workdir: Path, tmp_path: Path) -> None:
    shutil.copytree(workdir / "train", tmp_path / "train")
    run = through_the_door(tmp_path)
    assert run.stdout.split() == ["a", "b", "c", "light"], run.stderr
    assert "there is nothing to draw with" in run.stderr
    (tmp_path / "train/c" / manifest.NAME).unlink()  # its LoRAs are there, but it has not finished
    shutil.rmtree(tmp_path / "sample")
    assert through_the_door(tmp_path).stdout.split() == ["a", "b", "light"]
