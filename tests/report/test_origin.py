"""Where a LoRA is from, told from the file alone, wherever it is and whatever it is called."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from made_bakes import made_bake
from safetensors.torch import load_file, save_file

from bakery.io import manifest, tables
from bakery.io.errors import BakeryError
from bakery.jobs import rungs
from bakery.lora import lora_file
from bakery.report import origin
from bakery.report.results import Bake

KEY = "0123456789ab"
SCORES = [(0.2, 0.8), (0.6, 0.7), (0.9, 0.7)]


def rewritten(folder: Path) -> None:
    about = manifest.read(folder)
    manifest.write(folder, about, about["summary"])


@pytest.fixture
def bake(tmp_path: Path) -> Bake:
    """A bake whose LoRAs and tables are whole, as those of a real one."""
    made = made_bake(tmp_path, "a", SCORES, dataset=KEY)
    posts = [{"image": f"{n}.png", "url": f"https://site/posts/{n}", "md5": f"{n}" * 32,
              "source": ""} for n in range(3)]  # fmt: skip
    tables.write(made.folders["scrape"] / "posts.csv", posts, list(posts[0]))
    laid = [{"image": f"{n}.png", "file": f"5_mirael/{n}.png", "caption": f"mirael, smile {n}"}
            for n in range(2)]  # fmt: skip
    tables.write(made.folders["layout"] / "layout.csv", laid, list(laid[0]))
    train = made.folders["train"]
    about = manifest.read(train)
    rows = []
    for epoch, file in ((1, "mirael-000001.safetensors"), (2, "mirael.safetensors")):
        metadata = {
            "bakery_bake": json.dumps({key: about[key] for key in
                                       ("stage", "key", "code_version", "settings", "above")}),
            "bakery_trigger": "mirael", "bakery_torch": "2.13", "ss_epoch": str(epoch),
            "ss_dataset_dirs": '{"5_mirael": {"img_count": 2, "n_repeats": 5}}',
            "ss_tag_frequency": '{"5_mirael": {"smile": 2}}',
        }  # fmt: skip
        state = {"lora_unet_x.lora_up.weight": torch.full((2, 2), float(epoch))}
        found = lora_file.write(train / file, state, metadata)
        rows.append({"epoch": epoch, "step": 9, "file": file, "sshs_model_hash": found, "loss": 1})
    tables.write(train / "epochs.csv", rows, rungs.EPOCHS)
    for stage in ("scrape", "layout", "train"):
        rewritten(made.folders[stage])
    return made


def told(path: Path, results: Path) -> str:
    return "\n".join(origin.lines(origin.find(path, results)))


def test_a_renamed_copy_tells_posts_decisions_tags_settings_and_code(
    bake: Bake, tmp_path: Path
) -> None:
    copy = tmp_path / "webui/anything.safetensors"
    copy.parent.mkdir()
    shutil.copyfile(bake.folders["train"] / "mirael-000001.safetensors", copy)
    text = told(copy, tmp_path / "results")
    for line in (
        f"is epoch 1 of {bake.folders['train']}: mirael-000001.safetensors",
        "trained on 5_mirael (2 pictures, 5 times)",
        f"scrape   {bake.folders['scrape']}",
        "train.unet_lr: 0.002",
        "versions: scrape 1, filter 1",
        "torch 2.13",
        "halo: on 7",
        "8.png: rating, too_small",
        f"5_mirael/1.png  https://site/posts/1  {'1' * 32}",
        "mirael, smile 1",
    ):
        assert line in text, line
    assert "NOT AS IT WAS MADE" not in text
    assert "posts/2" not in text, "a post whose picture was not trained on"


def test_without_results_the_file_tells_what_it_can(bake: Bake, tmp_path: Path) -> None:
    key = manifest.read(bake.folders["train"])["key"]
    text = told(bake.folders["train"] / "mirael.safetensors", tmp_path / "nowhere")
    assert f"says that it is epoch 2 of a bake with the key {key}" in text
    assert "no longer in the results, or unfinished: scrape, filter, tag" in text
    assert "train.unet_lr: 0.002" in text
    assert "5_mirael, tags by how many captions have them: smile 2" in text


def test_without_the_bake_the_stages_above_are_still_found(bake: Bake, tmp_path: Path) -> None:
    copy = tmp_path / "x.safetensors"
    shutil.move(bake.folders["train"] / "mirael.safetensors", copy)
    shutil.rmtree(bake.folders["train"])
    text = told(copy, tmp_path / "results")
    assert "No bake in the results has its hash" in text
    assert "https://site/posts/1" in text


def test_a_file_without_metadata_is_found_by_its_tensors(bake: Bake, tmp_path: Path) -> None:
    bare = tmp_path / "bare.safetensors"
    save_file(load_file(bake.folders["train"] / "mirael.safetensors"), bare)
    text = told(bare, tmp_path / "results")
    assert f"is epoch 2 of {bake.folders['train']}: mirael.safetensors" in text
    assert "but the metadata were edited" in text


def test_altered_tensors_and_tables_are_said(bake: Bake, tmp_path: Path) -> None:
    copy = tmp_path / "x.safetensors"
    content = bytearray((bake.folders["train"] / "mirael.safetensors").read_bytes())
    content[-1] ^= 1
    copy.write_bytes(bytes(content))
    (bake.folders["layout"] / "layout.csv").write_text("image,file,caption\nother.png,x,y\n")
    text = told(copy, tmp_path / "results")
    assert text.count("NOT AS IT WAS MADE") == 2
    assert "layout.csv is not as it was made" in text
    assert "other.png" not in text
    command = [
        sys.executable,
        str(Path(__file__).parents[2] / "scripts/lora.py"),
        "lineage",
        str(copy),
    ]
    ran = subprocess.run(
        [*command, "--results", str(tmp_path / "results")], capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (1, text + "\n")


def test_a_file_of_another_program_is_one_sentence(bake: Bake, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, other, {"ss_dataset_dirs": "None"})
    with pytest.raises(BakeryError, match=r"does not say that LoRA Bakery made it.*--results"):
        told(other, tmp_path / "results")
    other.write_bytes(b"no safetensors")
    with pytest.raises(BakeryError, match="not a safetensors file"):
        told(other, tmp_path / "results")
