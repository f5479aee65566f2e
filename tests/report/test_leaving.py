"""LoRA files that leave results/train."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_bakes import made_bake
from PIL import Image

from bakery.interop import infotext, previews
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.report import leaving, results

LOW = [(0.2, 0.8), (0.3, 0.8), (0.4, 0.8)]


def test_all_epochs_of_all_bakes_lie_in_one_folder(tmp_path: Path) -> None:
    out = tmp_path / "Lora"
    for name in ("mirael-dim8", "mirael-dim16"):
        one = results.read_bake(made_bake(tmp_path, name, LOW, name=name))
        for epoch in (1, 2):
            placed = leaving.place(one, epoch, out)
            stem = f"{name}-e0{epoch}"
            assert [p.name for p in placed] == [
                f"{stem}.safetensors", f"{stem}.json", f"{stem}.preview.png",
            ]  # fmt: skip
            source = one.bake.folders["train"] / one.epoch(epoch).file
            assert placed[0].samefile(source), "no second copy on the disk"
            assert one.prompt_line(epoch) == f"<lora:{stem}:1>, mirael"
            shot = leaving.preview(one, epoch)
            assert infotext.read_png(placed[2]) == shot.infotext
            with Image.open(placed[2]) as copied, Image.open(shot.path) as drawn:
                assert np.array_equal(np.asarray(copied), np.asarray(drawn))
    assert len(list(out.iterdir())) == 12


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("m, <lora:m-000001:0.8>, x", "m, <lora:new:0.8>, x"),
        ('p\nSteps: 1, Lora hashes: "m-000001: 12"', 'p\nSteps: 1, Lora hashes: "new: 12"'),
        ('Lora hashes: "a: 1, m-000001: 2"', 'Lora hashes: "a: 1, new: 2"'),
        ("<lora:am-000001:1> m-000001", "<lora:am-000001:1> m-000001"),
        ('Lora hashes: "am-000001: 12"', 'Lora hashes: "am-000001: 12"'),
    ],
)
def test_only_the_lora_is_renamed(text: str, expected: str) -> None:
    assert previews.renamed(text, "m-000001", "new") == expected
    assert previews.renamed(text, "", "new") == text


def test_the_preview_is_the_best_identity_picture_of_the_first_seed(tmp_path: Path) -> None:
    prompts = {"beach": "mirael, beach", "trigger": "mirael", "jacket": "mirael, red jacket"}
    bake = made_bake(tmp_path, "a", LOW, prompts=prompts)
    path = bake.folders["score"] / "scores.csv"
    table = tables.read(path, ())
    table.loc[table["image"] == "e2_trigger_s2.png", "score"] = "1.0"
    table.loc[table["image"] == "e2_beach_s1.png", "score"] = "0.9"
    tables.write(path, table.to_dict("records"), list(table.columns))
    assert leaving.preview(results.read_bake(bake), 2).path.name == "e2_trigger_s1.png"
    with pytest.raises(BakeryError, match="no picture of epoch 7"):
        leaving.preview(results.read_bake(bake), 7)
