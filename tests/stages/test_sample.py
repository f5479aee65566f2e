"""Sample: the same noise in every epoch, whatever the batch, exactly as a stock pipeline draws."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
import webui_reader
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_base import tiny_sd1, tiny_sdxl
from tiny_tagger import tiny_tagger

from bakery.families import registry, samplers
from bakery.interop import infotext
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.lora.network import LoRANetwork
from bakery.sampling import infotexts, prompts
from bakery.sampling.drawing import Drawer
from bakery.sampling.pipeline import ImagePipeline, ImageRequest
from bakery.settings.sample import Auto, Prompt, Sample, Sampler
from bakery.settings.tag import Thresholds
from bakery.stages import sample
from bakery.tags.trigger import Trigger

SIDE = 32


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd1(tmp_path_factory.mktemp("base") / "tinytoon")


@pytest.fixture(scope="module")
def bake(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A train folder with two epochs whose LoRAs change the picture clearly and differently."""
    folder = tmp_path_factory.mktemp("train")
    loaded = registry.load(str(base))
    rows = []
    for epoch, file in ((1, "mirael-000001.safetensors"), (2, "mirael.safetensors")):
        generator = torch.Generator().manual_seed(epoch)
        network = LoRANetwork(loaded.targets(), 2, 2, generator)
        for layer in network.layers.values():
            layer.ups[0].data.normal_(generator=generator).mul_(0.5)
        save_file(network.state_dict_kohya(), folder / file)
        rows.append((epoch, epoch * 10, file, f"{epoch}" * 64, 0.2 / epoch))
    columns = ["epoch", "step", "file", "sshs_model_hash", "loss"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "epochs.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def prune(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prune")
    limits = Thresholds(general=0.35, character=0.85)
    Trigger("mirael", "1girl", pruned=("pink hair",), thresholds=limits).write(folder)
    return folder


def settings(**changes: object) -> Sample:
    given = {
        "prompts": (
            Prompt(id="007", prompt="{trigger}", purpose="identity"),
            Prompt(id="NA", prompt="{trigger}, ;d, blue_shirt, beach", purpose="flexibility"),
        ),
        "seeds": (1, 2, 3),
        "steps": 3,
        "width": SIDE,
        "height": SIDE,
        "negative_prompt": "sad",
        "batch_size": 4,
    }
    return Sample(**(given | changes))


def draw(chosen: Sample, base: Path, bake: Path, prune: Path, out: Path) -> dict:
    stage = sample.SampleStage(chosen, prune, str(base), clip_skip=1, device="cpu", threads=1)
    return stage.run(bake, out)


@pytest.fixture(scope="module")
def drawn(base: Path, bake: Path, prune: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sample")
    summary = draw(settings(), base, bake, prune, out)
    # two prompts, three seeds, three rows; the base draws NA without the trigger, too
    assert summary == {"epochs": 2, "images": 21, "broken": 0, "warnings": []}
    return out


def pixels(folder: Path, name: str) -> np.ndarray:
    with Image.open(folder / "images" / name) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.slow
def test_every_epoch_prompt_and_seed_is_drawn_and_listed(drawn: Path) -> None:
    table = pd.read_csv(drawn / "samples.csv", dtype=str, keep_default_na=False)
    assert list(table.columns) == list(sample.COLUMNS)
    assert table[["epoch", "prompt_id", "seed"]].drop_duplicates().shape[0] == 21
    assert sorted(table["image"]) == sorted(p.name for p in (drawn / "images").iterdir())
    row = table[table["image"] == "e1_NA_s2.png"].iloc[0]
    assert row["prompt"] == "mirael, 1girl, ;d, blue_shirt, beach"
    assert row["asked"] == ";d; blue shirt; beach"  # neither trigger nor class tokens
    assert row["weight"] == "1"
    assert row["reference"] == "e0_NA-base_s2.png"
    assert set(table.loc[table["prompt_id"] == "007", "asked"]) == {""}
    reference = table[table["image"] == row["reference"]].iloc[0]
    assert (reference["purpose"], reference["weight"]) == ("base", "0")
    assert reference["prompt"] == "1girl, ;d, blue_shirt, beach"
    assert set(table.loc[table["purpose"] == "base", "epoch"]) == {"0"}
    sizes = {Image.open(p).size for p in (drawn / "images").iterdir()}
    assert sizes == {(SIDE, SIDE)}


def test_epoch_0_is_what_a_stock_pipeline_draws(base: Path, drawn: Path) -> None:
    stock = StableDiffusionPipeline.from_pretrained(base)
    stock.set_progress_bar_config(disable=True)
    for seed in (1, 3):
        picture = stock(
            "mirael, 1girl, ;d, blue_shirt, beach",
            negative_prompt="sad",
            generator=torch.Generator("cpu").manual_seed(seed),
            num_inference_steps=3,
            guidance_scale=4.0,
            width=SIDE,
            height=SIDE,
        ).images[0]
        difference = np.abs(np.asarray(picture).astype(int) - pixels(drawn, f"e0_NA_s{seed}.png"))
        assert difference.max() <= 1  # batches round differently


def test_a_lora_row_is_what_a_stock_pipeline_draws_with_the_file(
    base: Path, bake: Path, drawn: Path
) -> None:
    stock = StableDiffusionPipeline.from_pretrained(base)
    stock.set_progress_bar_config(disable=True)
    stock.load_lora_weights(bake, weight_name="mirael.safetensors")
    picture = stock(
        "mirael, 1girl",
        negative_prompt="sad",
        generator=torch.Generator("cpu").manual_seed(2),
        num_inference_steps=3,
        guidance_scale=4.0,
        width=SIDE,
        height=SIDE,
    ).images[0]
    assert np.abs(np.asarray(picture).astype(int) - pixels(drawn, "e2_007_s2.png")).max() <= 1
    assert np.abs(pixels(drawn, "e2_007_s2.png") - pixels(drawn, "e0_007_s2.png")).max() > 8


def test_seeds_prompts_and_epochs_all_matter(drawn: Path) -> None:
    one = pixels(drawn, "e1_NA_s1.png")
    for other in ("e1_NA_s2.png", "e1_007_s1.png", "e2_NA_s1.png", "e0_NA_s1.png"):
        assert np.abs(one - pixels(drawn, other)).max() > 2, other


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 6])
def test_batch_size_changes_nothing(
    batch_size: int, base: Path, bake: Path, prune: Path, drawn: Path, tmp_path: Path
) -> None:
    draw(settings(batch_size=batch_size), base, bake, prune, tmp_path)
    for picture in (drawn / "images").iterdir():
        difference = np.abs(pixels(drawn, picture.name) - pixels(tmp_path, picture.name))
        assert difference.max() <= 1, picture.name


@pytest.mark.slow
def test_another_prompt_in_the_grid_changes_no_picture(
    base: Path, bake: Path, prune: Path, drawn: Path, tmp_path: Path
) -> None:
    """Not even one so long that it needs more conditioning than the others."""
    more = Prompt(id="long", prompt="{trigger}, " + "letters " * 12, purpose="flexibility")
    chosen = settings()
    summary = draw(
        chosen.model_copy(update={"prompts": (more, *chosen.prompts)}), base, bake, prune, tmp_path
    )
    assert len(summary["warnings"]) == 1
    assert "2 chunks" in summary["warnings"][0]
    for name in ("e0_007_s1.png", "e2_NA_s3.png"):
        assert np.abs(pixels(drawn, name) - pixels(tmp_path, name)).max() <= 1


@pytest.mark.slow
def test_lora_weight_0_is_the_base_and_cfg_1_ignores_the_negative_prompt(
    base: Path, bake: Path, prune: Path, drawn: Path, tmp_path: Path
) -> None:
    draw(settings(lora_weight=0.0, seeds=(1,)), base, bake, prune, tmp_path / "weight")
    weightless = pixels(tmp_path / "weight", "e2_NA_s1.png")
    assert np.abs(weightless - pixels(drawn, "e0_NA_s1.png")).max() <= 1
    for negative in ("sad", "an entirely different wish"):
        draw(
            settings(cfg_scale=1.0, negative_prompt=negative, seeds=(1,)),
            base, bake, prune, tmp_path / negative,
        )  # fmt: skip
    a, b = (pixels(tmp_path / n, "e1_NA_s1.png") for n in ("sad", "an entirely different wish"))
    assert (a == b).all()


@pytest.mark.slow
def test_other_weights_are_drawn_for_one_epoch(
    base: Path, bake: Path, prune: Path, drawn: Path, tmp_path: Path
) -> None:
    chosen = settings(weights=(0.5, 1.0, 0.0), weights_epoch=1, seeds=(1,))
    summary = draw(chosen, base, bake, prune, tmp_path)
    assert summary["epochs"] == 2
    table = pd.read_csv(tmp_path / "samples.csv", dtype=str, keep_default_na=False)
    weighed = table[table["image"].str.contains("w")]
    assert sorted(weighed["image"]) == [
        "e1w0.5_007_s1.png", "e1w0.5_NA_s1.png", "e1w0_007_s1.png", "e1w0_NA_s1.png",
    ]  # fmt: skip
    assert set(weighed["weight"]) == {"0", "0.5"}  # 1 is drawn anyway
    half = pixels(tmp_path, "e1w0.5_NA_s1.png")
    assert np.abs(half - pixels(drawn, "e0_NA_s1.png")).max() > 2
    assert np.abs(half - pixels(drawn, "e1_NA_s1.png")).max() > 2
    assert np.abs(pixels(tmp_path, "e1w0_NA_s1.png") - pixels(drawn, "e0_NA_s1.png")).max() <= 1
    info = infotext.parse(infotext.read_png(tmp_path / "images" / "e1w0.5_NA_s1.png"))
    assert info.loras == {"mirael-000001": 0.5}
    with pytest.raises(BakeryError, match=r"weights_epoch is 7.*only the epochs 1, 2"):
        draw(settings(weights=(0.5,), weights_epoch=7), base, bake, prune, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", list(samplers.TABLE))
def test_every_sampler_draws_as_a_stock_pipeline_with_it(
    sampler: str, base: Path, bake: Path, prune: Path, tmp_path: Path
) -> None:
    """Also those that add noise on the way, whatever the batch."""
    pipeline = ImagePipeline.load(
        settings(sampler=sampler), base=str(base), clip_skip=1, device="cpu"
    )
    pipeline.use([(None, 0.0)])
    (_, second), finite = pipeline.draw(
        [ImageRequest(0, "mirael", 1), ImageRequest(0, "mirael", 2)]
    )
    assert all(finite)
    stock = StableDiffusionPipeline.from_pretrained(base)
    stock.set_progress_bar_config(disable=True)
    stock.scheduler = samplers.scheduler(sampler, stock.scheduler.config)
    picture = stock(
        "mirael", negative_prompt="sad", generator=torch.Generator("cpu").manual_seed(2),
        num_inference_steps=3, guidance_scale=4.0, width=SIDE, height=SIDE,
    ).images[0]  # fmt: skip
    assert np.abs(np.asarray(picture).astype(int) - np.asarray(second).astype(int)).max() <= 1
    assert np.asarray(picture).std() > 1


def test_the_config_offers_the_samplers_there_are(bake: Path) -> None:
    assert list(samplers.TABLE) == list(get_args(Sampler))
    cell = prompts.Cell("a", "identity", "mirael", (), 1)
    chosen = settings(sampler="DPM++ 2M Karras")
    info = infotexts.describe(
        cell, prompts.GridRow(0), "", infotexts.common_settings(chosen, "base", 1)
    )
    assert infotext.parse(infotext.write(info)).settings["Sampler"] == "DPM++ 2M Karras"


@pytest.mark.slow
def test_clip_skip_is_the_bakes_unless_the_sample_section_says_so(
    base: Path, bake: Path, prune: Path, tmp_path: Path
) -> None:
    draw(settings(clip_skip=2, seeds=(1,)), base, bake, prune, tmp_path)
    info = infotext.parse(infotext.read_png(tmp_path / "images" / "e1_NA_s1.png"))
    assert info.settings["Clip skip"] == "2"


@pytest.mark.slow
def test_prompts_are_derived_where_the_config_has_none(
    base: Path, bake: Path, prune: Path, tmp_path: Path
) -> None:
    tagger = tiny_tagger(tmp_path / "tagger", ["shirt", "beach", "forest", "smile", "pink hair"])
    facts = tmp_path / "prune"
    facts.mkdir()
    (facts / "trigger.json").write_text((prune / "trigger.json").read_text())
    tables.write(
        facts / "captions.csv",
        [{"image": "a.png", "caption": "mirael, 1girl, beach, red jacket"}],
        ("image", "caption"),
    )
    chosen = settings(prompts=None, seeds=(1,), auto=Auto(flexibility=1, bleed=1))
    stage = sample.SampleStage(
        chosen, facts, str(base), clip_skip=1, device="cpu", threads=1, tagger=tagger
    )
    summary = stage.run(bake, tmp_path / "out")
    asked = tables.read(tmp_path / "out" / "prompts.csv", prompts.COLUMNS)
    assert dict(zip(asked["id"], asked["prompt"], strict=True)) == {
        "trigger": "{trigger}",
        "white": "{trigger}, simple background, white background",
        "forest": "{trigger}, shirt, forest, smile",
        "recreate": "{trigger}, red jacket",
        "forest-bleed": "{class_tokens}, shirt, forest, smile",
    }
    drawn = tables.read(tmp_path / "out" / "samples.csv", sample.COLUMNS)
    assert set(drawn.loc[drawn["prompt_id"] == "forest-bleed", "prompt"]) == {
        "1girl, shirt, forest, smile"
    }
    assert summary["images"] == 15  # the bleed prompt is the flexibility prompt's reference


def test_pictures_carry_their_infotext(bake: Path, drawn: Path) -> None:
    info = infotext.parse(infotext.read_png(drawn / "images" / "e1_NA_s2.png"))
    assert info.prompt == "mirael, 1girl, ;d, blue_shirt, beach"
    assert info.loras == {"mirael-000001": 1.0}
    assert info.negative_prompt == "sad"
    assert info.settings == {
        "Steps": "3",
        "Sampler": "DDIM",
        "CFG scale": "4",
        "Seed": "2",
        "Size": "32x32",
        "Model": "tinytoon",
        "Clip skip": "1",
        "RNG": "CPU",
        "Lora hashes": "mirael-000001: 111111111111",
    }
    assert infotext.parse(infotext.read_png(drawn / "images" / "e0_NA_s2.png")).loras == {}


@pytest.mark.parametrize(
    ("family", "chosen", "told"),
    [("sd1", 1, "1"), ("sd1", 2, "2"), ("sdxl", 1, "2"), ("anima", 1, None)],
)
def test_clip_skip_is_told_as_a1111_counts(
    family: str, chosen: int, told: str | None, prune: Path
) -> None:
    (mine,) = (one for one in registry.FAMILIES if one.name == family)
    base = SimpleNamespace(family=mine, schedule_type=lambda sampler: "")
    drawer = Drawer(settings(), prune, "x.safetensors", chosen, device="cpu", threads=1)
    row, cell = prompts.GridRow(0), prompts.Cell("a", "identity", "mirael", (), 1)
    (info,) = drawer.infos(SimpleNamespace(base=base), [row], [cell]).values()
    assert info.settings.get("Clip skip") == told


def test_the_grid_shows_base_and_epochs_by_prompts(drawn: Path) -> None:
    with Image.open(drawn / "grid.png") as grid:
        width, height = grid.size
    assert width > 2 * 192
    assert height > 3 * 192


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_ends_in_the_same_pictures(
    base: Path, bake: Path, prune: Path, drawn: Path, tmp_path: Path
) -> None:
    draw(settings(), base, bake, prune, tmp_path)
    untouched = tmp_path / "images" / "e0_007_s1.png"
    before = untouched.stat().st_mtime_ns
    (tmp_path / "images" / "e1_NA_s3.png").unlink()
    (tmp_path / "samples.csv").unlink()
    draw(settings(), base, bake, prune, tmp_path)
    assert untouched.stat().st_mtime_ns == before
    for file in ("images/e1_NA_s3.png", "images/e1_007_s1.png", "samples.csv", "grid.png"):
        assert (tmp_path / file).read_bytes() == (drawn / file).read_bytes(), file
    other = settings(steps=2)
    draw(other, base, bake, prune, tmp_path)
    assert "Steps: 2" in infotext.read_png(untouched)  # another infotext is drawn anew


@pytest.mark.slow
def test_a_burnt_lora_is_reported_not_hidden(
    base: Path, bake: Path, prune: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    burnt = tmp_path / "train"
    burnt.mkdir()
    (burnt / "epochs.csv").write_text((bake / "epochs.csv").read_text())
    state = load_file(bake / "mirael.safetensors")
    save_file(state, burnt / "mirael.safetensors")
    broken = {key: value * 1e30 for key, value in state.items()}
    save_file(broken, burnt / "mirael-000001.safetensors")
    with caplog.at_level(logging.WARNING):
        summary = draw(settings(seeds=(1,)), base, burnt, prune, tmp_path / "out")
    assert summary["broken"] == 2  # one for each prompt
    assert "burnt" in caplog.text
    assert "e1_007_s1.png" in caplog.text
    assert np.isfinite(pixels(tmp_path / "out", "e2_007_s1.png")).all()


def baked(base: Path, file: Path, rank: int, **more: int) -> Path:
    """A LoRA file that changes the pictures of `base`."""
    loaded = registry.load(str(base))
    generator = torch.Generator().manual_seed(rank)
    layers = loaded.targets(convolutions="conv_dim" in more)
    network = LoRANetwork(layers, rank, 2, generator, **more)
    for layer in network.layers.values():
        layer.ups[0].data.normal_(generator=generator).mul_(0.5)
    save_file(network.state_dict_kohya(), file)
    return file


@pytest.mark.slow
def test_loras_of_any_kind_share_a_batch(base: Path, tmp_path: Path) -> None:
    """Ranks, convolutions, no LoRA at all: each picture is that of its LoRA alone."""
    files = [
        None,
        baked(base, tmp_path / "a.safetensors", 2),
        baked(base, tmp_path / "b.safetensors", 5, conv_dim=3),
    ]
    pipeline = ImagePipeline.load(settings(batch_size=8), base=str(base), clip_skip=1, device="cpu")
    requests = [ImageRequest(lora, "mirael", seed) for seed in (1, 2) for lora in (2, 0, 1)]
    pipeline.use([(file, 1.0) for file in files])
    together, finite = pipeline.draw(requests)
    assert all(finite)
    for lora, file in enumerate(files):
        pipeline.use([(file, 1.0)])
        mine = [place for place, request in enumerate(requests) if request.lora == lora]
        alone, _ = pipeline.draw([requests[place]._replace(lora=0) for place in mine])
        for place, picture in zip(mine, alone, strict=True):
            difference = np.asarray(picture).astype(int) - np.asarray(together[place])
            assert np.abs(difference).max() <= 1
    different = {np.asarray(picture).tobytes() for picture in together}
    assert len(different) == len(requests)


@pytest.mark.slow
def test_a_prompt_is_drawn_as_long_as_its_negative_prompt_needs(base: Path) -> None:
    pipeline = ImagePipeline.load(settings(), base=str(base), clip_skip=1, device="cpu")
    assert pipeline.lengths(["short", "letters " * 12, "x" * 500]) == [1, 2, 3]
    longer = settings(negative_prompt="letters " * 12)
    pipeline = ImagePipeline.load(longer, base=str(base), clip_skip=1, device="cpu")
    assert pipeline.lengths(["short"]) == [2]


@pytest.mark.slow
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_sdxl_is_drawn_as_a_stock_pipeline_does(tmp_path: Path, prediction: str) -> None:
    base = tiny_sdxl(tmp_path / "toonxl", prediction_type=prediction)
    file = baked(base, tmp_path / "x.safetensors", 3, conv_dim=2)
    pipeline = ImagePipeline.load(settings(), base=str(base), clip_skip=2, device="cpu")
    pipeline.use([(None, 0.0), (file, 1.0)])
    ours, finite = pipeline.draw(
        [ImageRequest(0, "mirael, beach", 3), ImageRequest(1, "mirael, beach", 3)]
    )
    assert all(finite)
    stock = StableDiffusionXLPipeline.from_pretrained(base, add_watermarker=False)
    stock.set_progress_bar_config(disable=True)
    for lora, picture in enumerate(ours):
        if lora:
            stock.load_lora_weights(tmp_path, weight_name="x.safetensors")
        theirs = stock(
            "mirael, beach",
            negative_prompt="sad",
            generator=torch.Generator("cpu").manual_seed(3),
            num_inference_steps=3,
            guidance_scale=4.0,
            width=SIDE,
            height=SIDE,
        ).images[0]
        difference = np.asarray(theirs).astype(int) - np.asarray(picture)
        assert np.abs(difference).max() <= 1
    both = [np.asarray(picture).astype(int) for picture in ours]
    assert np.abs(both[0] - both[1]).max() > 8


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_half_precision_draws_nearly_the_same(tmp_path: Path, kind: str) -> None:
    base = {"sd1": tiny_sd1, "sdxl": tiny_sdxl}[kind](tmp_path / "toon")
    file = baked(base, tmp_path / "x.safetensors", 3)
    drawn = []
    for dtype in (torch.float32, torch.bfloat16):
        pipeline = ImagePipeline.load(
            settings(), base=str(base), clip_skip=1, device="cpu", dtype=dtype
        )
        pipeline.use([(None, 0.0), (file, 1.0)])
        pictures, finite = pipeline.draw(
            [ImageRequest(0, "mirael", 3), ImageRequest(1, "mirael", 3)]
        )
        assert all(finite)
        drawn.append([np.asarray(picture).astype(int) for picture in pictures])
    for exact, half in zip(*drawn, strict=True):
        assert np.abs(exact - half).mean() < 3


def test_what_the_bake_was_told_of_the_base_holds_for_its_pictures(base: Path) -> None:
    pipeline = ImagePipeline.load(
        settings(), base=str(base), clip_skip=1, device="cpu",
        v_parameterization=False, zero_terminal_snr=False,
    )  # fmt: skip
    config = pipeline.base.noise_scheduler.config
    assert (config.prediction_type, config.rescale_betas_zero_snr) == ("epsilon", False)


def test_a_lora_of_another_family(base: Path, tmp_path: Path) -> None:
    file = baked(tiny_sdxl(tmp_path / "toonxl"), tmp_path / "x.safetensors", 2)
    pipeline = ImagePipeline.load(settings(), base=str(base), clip_skip=1, device="cpu")
    with pytest.raises(
        BakeryError, match=r"x.safetensors: LoRA: .* an SDXL model, and the base is"
    ):
        pipeline.use([(file, 1.0)])


def test_what_is_missing_or_wrong_is_said(
    base: Path, bake: Path, prune: Path, tmp_path: Path
) -> None:
    lost = tmp_path / "lost"
    lost.mkdir()
    (lost / "epochs.csv").write_text((bake / "epochs.csv").read_text())
    with pytest.raises(BakeryError, match=r"mirael-000001.safetensors is missing"):
        draw(settings(), base, lost, prune, tmp_path / "a")
    with pytest.raises(BakeryError, match=r"epochs.csv does not exist"):
        draw(settings(), base, tmp_path, prune, tmp_path / "a")
    with pytest.raises(BakeryError, match=r"trigger.json does not exist"):
        draw(settings(), base, bake, tmp_path, tmp_path / "a")
    (lost / "mirael-000001.safetensors").write_bytes(b"no weights")
    (lost / "mirael.safetensors").write_bytes(b"no weights")
    with pytest.raises(BakeryError, match=r"mirael-000001.safetensors is damaged or not a"):
        draw(settings(seeds=(1,)), base, lost, prune, tmp_path / "a")
    odd = settings().model_copy(update={"width": 36})
    with pytest.raises(BakeryError, match=r"sample.width is 36.*give 32 or 40"):
        draw(odd, base, bake, prune, tmp_path / "a")


def test_a_prompt_beyond_all_chunks_is_said_to_be_cut(base: Path) -> None:
    warnings = sample.about_prompts(registry.load(str(base)), ["short", "x" * 80 + " " + "y" * 200])
    assert len(warnings) == 1
    assert "is cut" in warnings[0]
    assert "4 chunks" in warnings[0]


@pytest.mark.slow
def test_a_prompt_in_a1111s_syntax_is_drawn_literally_and_said(base: Path) -> None:
    loaded = registry.load(str(base))
    (warning,) = sample.about_prompts(loaded, ["mirael", r"shiroko \(blue archive\)"])
    assert "drawn as they are written" in warning


@pytest.mark.parametrize(
    ("base", "name"),
    [
        ("models/toon v1.5.safetensors", "toon v1.5"),
        ("models/old.ckpt", "old"),
        ("models/sd-v1.5", "sd-v1.5"),
        ("someone/sd-v1.5", "sd-v1.5"),
        ({"checkpoint": "a.safetensors", "vae": "b.safetensors"}, "a"),
        (".", Path().resolve().name),
    ],
)
def test_the_model_is_called_as_a1111_calls_it(base: str | dict[str, str], name: str) -> None:
    assert infotexts.common_settings(settings(), base, 1)["Model"] == name


def test_an_infotext_has_no_empty_value() -> None:
    for sampler in samplers.TABLE:
        found = infotexts.common_settings(settings(sampler=sampler), "toon", 1, "")
        assert all(found.values())
        assert "Schedule type" not in found
    found = infotexts.common_settings(settings(), "toon", 1, "Uniform")
    assert list(found)[:4] == ["Steps", "Sampler", "Schedule type", "CFG scale"]


def test_brackets_of_a_trigger_reach_a1111() -> None:
    trigger = Trigger("shiroko (blue archive)", "1girl")
    asked = (Prompt(id="a", prompt="{trigger}, smile", purpose="identity"),)
    (cell,) = prompts.cells(asked, [1], trigger)
    assert cell.prompt == "shiroko (blue archive), 1girl, smile"  # drawn as it stands
    facts = infotexts.common_settings(settings(), "toon", 1)
    lora = prompts.GridRow(1, Path("shiroko.safetensors"), "1" * 64, 0.8)
    written = infotext.write(infotexts.describe(cell, lora, "", facts))
    read = webui_reader.read_infotext(written)
    conditions = webui_reader.read_prompt(read.prompt)
    assert conditions.networks == ["<lora:shiroko:0.8>"]
    assert conditions.literal.strip() == cell.prompt
    assert read.settings["Lora hashes"] == "shiroko: 111111111111"
