"""A new character's config: what can be seen is filled in, and nothing that exists is touched."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from made_checkpoints import LORA, SD1, SDXL, VPRED, checkpoint
from PIL import Image
from safetensors.torch import save_file
from single_file import anima_transformer
from tiny_base import TINY

from bakery.families import registry
from bakery.io.errors import BakeryError
from bakery.settings import config as cfg
from bakery.settings import config_file
from bakery.starting import new_config, trigger_words
from bakery.starting.new_config import Request
from bakery.starting.preset_text import PresetText, scalar

ROOT = Path(__file__).parents[2]
PRESETS = ("config", "sd15", "sdxl", "noobai-vpred", "anima")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with three checkpoints and twenty pictures of 800x600."""
    for name, tensors in (("sd", SD1), ("xl", SDXL), ("vpred", VPRED)):
        checkpoint(tmp_path / f"models/{name}.safetensors", tensors)
    pictures(tmp_path / "pics", 20)
    return tmp_path


def pictures(folder: Path, count: int, size: tuple[int, int] = (800, 600)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.new("1", size).save(folder / f"{i:04}.png")
    return folder


def made(here: Path, name: str = "suzu", source: str = "pics", base: str = "models/sd.safetensors"):
    """(the config, its text, what was told)"""
    new = new_config.make(Request(name, source, base), (here, ROOT))
    return cfg.load(config_file.parse(new.text, new.path)), new.text, " ".join(new.notes)


def refused(here: Path, *arguments: str) -> str:
    with pytest.raises(BakeryError) as caught:
        made(here, *arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("base", "preset", "resolution", "v"),
    [("sd", "sd15", 512, None), ("xl", "sdxl", 1024, None), ("vpred", "noobai-vpred", 1024, True)],
)
def test_the_preset_is_that_of_the_base(
    here: Path, base: str, preset: str, resolution: int, v
) -> None:
    config, text, _ = made(here, base=f"models/{base}.safetensors")
    theirs = cfg.load(config_file.read(ROOT / f"config/{preset}.yaml"))
    assert (config.train.resolution, config.train.v_parameterization) == (resolution, v)
    assert config.train.zero_terminal_snr is v
    same = {"base", "keep_tokens", "v_parameterization", "zero_terminal_snr"}
    assert config.train.model_dump(exclude=same) == theirs.train.model_dump(exclude=same)
    assert (config.sweeps, config.sample) == (theirs.sweeps, theirs.sample)
    comments = re.findall(r"# .*", text)
    for line in (ROOT / f"config/{preset}.yaml").read_text("utf-8").split("train:")[1].splitlines():
        if " # " in line and "train.base" not in line:
            assert "# " + line.split(" # ")[1] in comments or "v_parameterization" in line


def test_an_sd1_checkpoint_that_predicts_v_is_trained_so(here: Path) -> None:
    checkpoint(here / "models/v1.safetensors", SD1, **{"modelspec.prediction_type": "v"})
    config, _, _ = made(here, base="models/v1.safetensors")
    assert (config.train.v_parameterization, config.train.zero_terminal_snr) == (True, None)
    torch.save({name: torch.zeros(2) for name in SD1}, here / "old.ckpt")
    assert made(here, base="old.ckpt")[0].train.resolution == 512


def test_a_folder_is_the_only_source(here: Path) -> None:
    config, text, told = made(here)
    assert config.scrape.urls == ()
    assert [folder.path for folder in config.scrape.folders] == ["pics"]
    assert (config.scrape.name, config.prune.trigger) == ("suzu", "suzu")
    assert (config.filter.min_score, config.layout.repeats) == (None, 25)
    assert config.train.base == "models/sd.safetensors"
    assert told == ""
    assert text.startswith("# suzu. Made by `make new` from config/sd15.yaml;")
    for command in ("plan --configfile config/suzu.yaml", "--configfile config/suzu.yaml"):
        assert f"\n#   snakemake --cores all {command}\n" in text


@pytest.mark.parametrize(("count", "repeats", "epochs"), [(5, 25, 6), (50, 10, 6), (130, 4, 6),
                                                          (600, 1, 6), (1500, 1, 2)])  # fmt: skip
def test_repeats_follow_from_the_number_of_pictures(
    here: Path, count: int, repeats: int, epochs: int
) -> None:
    pictures(here / "set", count)
    config, _, told = made(here, source="set")
    assert (config.layout.repeats, config.train.num_epochs) == (repeats, epochs)
    assert ("are few" in told) == (count < new_config.FEW)


def test_captions_say_the_class_and_what_becomes_of_them(here: Path) -> None:
    for i in range(12):
        (here / f"pics/{i:04}.txt").write_text("suzu, 1girl, smile")
    config, text, told = made(here)
    assert (config.prune.class_tokens, config.train.keep_tokens) == ("1girl", 2)
    assert "12 of 20 pictures have captions" in told
    assert re.search(r"\n  source: \w+ +# 12 of 20 pictures have captions", text)
    for i in range(7):
        (here / f"pics/{i:04}.txt").write_text("suzu, smile")
    assert made(here)[0].prune.class_tokens == "", "most captions do not say so"


def test_an_address_is_no_base_and_a_file_no_folder(here: Path) -> None:
    said = refused(here, "suzu", "pics", "https://civitai.com/models/1234")
    assert "BASE is an address: download the model and give the file" in said
    said = refused(here, "suzu", "pics", "https://huggingface.co/owner/model")
    assert said.endswith("as in BASE=owner/model")
    (here / "a.zip").write_bytes(b"PK")
    assert "single file: unpack it and give its folder" in refused(here, "suzu", "a.zip")
    assert "give its folder, " in refused(here, "suzu", "pics/0001.png")
    (here / "broken").mkdir()
    (here / "broken/a.png").write_bytes(b"no picture")
    assert "which holds no picture (1 damaged)" in refused(here, "suzu", "broken")
    (here / ".hidden").mkdir()
    said = refused(here, "suzu", "pisc")
    assert "beside it are broken, models, pics" in said


def test_captions_that_name_traits_are_told(here: Path) -> None:
    for i in range(12):
        (here / f"pics/{i:04}.txt").write_text("suzu, 1girl, pink hair, smile")
    assert "write `always: [pink hair]` below prune" in made(here)[2]


def test_small_pictures_are_told_and_kept_if_they_are_most(here: Path) -> None:
    pictures(here / "few", 3, (400, 300))
    shutil.copytree(here / "few", here / "pics/few")
    config, _, told = made(here)
    assert config.filter.min_side == 512
    assert "3 of 23 pictures have a side below 512 pixels and will be left out" in told
    config, _, told = made(here, source="few")
    assert config.filter.min_side == 300
    assert "filter.min_side is lowered to 300" in told


@pytest.mark.parametrize(
    ("source", "address", "class_tokens"),
    [
        ("https://danbooru.donmai.us/posts?tags=suzu+1girl",
         "https://danbooru.donmai.us/posts?tags=suzu+1girl", "1girl"),
        ("danbooru.donmai.us/posts?tags=suzu", "https://danbooru.donmai.us/posts?tags=suzu", ""),
    ],
)  # fmt: skip
def test_an_address_is_the_only_source(
    here: Path, source: str, address: str, class_tokens: str
) -> None:
    config, _, _ = made(here, source=source)
    assert [url.url for url in config.scrape.urls] == [address]
    assert config.scrape.folders == ()
    assert config.prune.class_tokens == class_tokens


def test_one_checkpoint_in_models_need_not_be_named(here: Path) -> None:
    assert "BASE is missing (one of" in refused(here, "suzu", "pics", "")
    for name in ("sd", "vpred"):
        (here / f"models/{name}.safetensors").unlink()
    assert made(here, base="")[0].train.base == "models/xl.safetensors"
    (here / "models/xl.safetensors").unlink()
    assert "none is in models/" in refused(here, "suzu", "pics", "")


@pytest.mark.parametrize(
    ("base", "preset"),
    [("owner/anything-v5", 512), ("owner/Illustrious-XL-v1.0", 1024), ("owner/NoobAI-vPred", 1024)],
)
def test_a_hub_id_has_only_its_name_to_go_by(here: Path, base: str, preset: int) -> None:
    config, _, told = made(here, base=base)
    assert config.train.resolution == preset
    assert "shows when it is fetched" in told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("suzu", "pisc"), "which is neither a folder nor an address"),
        (("すず",), "has no letter that the names of LoRA files may have"),
        (("suzu", "empty"), "which holds no picture: give the folder with"),
        (("suzu", "texts"), "which holds no picture (2 .md): give"),
        (("suzu", "https://me:secret@danbooru.donmai.us/posts?tags=x"), "password or key"),
        (
            ("suzu", "pics", "models/ds.safetensors"),
            "BASE names models/ds.safetensors, which does not",
        ),
        (("suzu", "pics", "lora.safetensors"), "is a LoRA, not a model"),
        (("old", "pics"), "old.yaml exists already"),
        (("taken", "pics"), "other.yaml has the name taken already"),
    ],
)
def test_what_is_not_there_is_a_sentence(
    here: Path, arguments: tuple[str, ...], words: str
) -> None:
    (here / "empty").mkdir()
    (here / "texts").mkdir()
    for name in ("a.md", "b.md", "a.txt"):
        (here / "texts" / name).write_text("x")
    checkpoint(here / "lora.safetensors", LORA)
    (here / "config").mkdir()
    (here / "config/old.yaml").write_text("train: {}\n")
    (here / "config/other.yaml").write_text("scrape: {name: taken}\n")
    (here / "config/broken.yaml").write_text("scrape: [\n")
    assert words in refused(here, *arguments)
    assert "secret" not in refused(here, *arguments)


def test_names_become_file_names_and_unusual_triggers(here: Path) -> None:
    config, _, told = made(here, name="Hoshi no Ai")
    assert (config.scrape.name, config.prune.trigger) == ("Hoshi-no-Ai", "hoshinoai")
    assert "the name is written Hoshi-no-Ai" in told
    tags = {"halo", "long hair"}
    assert trigger_words.propose("Halo", tags) == (
        "halooc", "Halo is an ordinary tag, which already means something"
    )  # fmt: skip
    assert trigger_words.propose("long_hair", tags)[0] == "longhairoc"
    assert trigger_words.propose("smile", set())[0] == "smileoc"
    assert trigger_words.propose("鈴", set())[0] == "鈴"
    assert trigger_words.propose("!!", set())[0] == "mychar"


def test_the_chore_writes_it_and_says_how_to_go_on(here: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts/new_config.py"), "suzu", "--from", "pics",
               "--base", "models/xl.safetensors"]  # fmt: skip
    run = subprocess.run(command, cwd=here, capture_output=True, text=True, check=True)
    assert run.stdout.startswith("wrote config/suzu.yaml\n")
    assert re.search(r"snakemake --cores all plan --configfile config/suzu\.yaml\n", run.stdout)
    assert re.search(r"snakemake --cores all --configfile config/suzu\.yaml\n", run.stdout)
    before = (here / "config/suzu.yaml").read_bytes()
    by_make = subprocess.run([*command[:2], "by", *command[3:], "--make"], cwd=here,
                             capture_output=True, text=True, check=True)  # fmt: skip
    assert "\n  make plan CONFIG=config/by.yaml\n  make CONFIG=config/by.yaml\n" in by_make.stdout
    assert "snakemake" not in by_make.stdout
    again = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert again.stderr.count("\n") == 1
    assert (here / "config/suzu.yaml").read_bytes() == before


@pytest.mark.parametrize("preset", PRESETS)
@settings(deadline=None, max_examples=40)
@given(value=st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp"),
                                   exclude_characters="\x85\ufeff\ufffe\uffff"))
       | st.none() | st.booleans() | st.integers())  # fmt: skip
def test_a_value_that_is_put_is_the_only_change(preset: str, value: object) -> None:
    source = (ROOT / f"config/{preset}.yaml").read_text("utf-8")
    text = PresetText(source)
    text.put("train.base", value, "why # not")
    text.put("prune.brandnew", value)
    text.put_list("scrape.urls", ["a b", "https://x/y?z=1"])
    before, after = yaml.safe_load(source), yaml.safe_load(text.text(["head"]))
    before["train"]["base"] = before["prune"]["brandnew"] = value
    before["scrape"]["urls"] = ["a b", "https://x/y?z=1"]
    assert after == before
    assert yaml.safe_load(scalar(value)) == value


def test_zero_terminal_snr_is_as_the_file_marks_it(here: Path) -> None:
    checkpoint(here / "models/v.safetensors", (*SDXL, "v_pred"))
    config, text, _ = made(here, base="models/v.safetensors")
    assert (config.train.v_parameterization, config.train.zero_terminal_snr) == (True, False)
    assert "lacks the mark `ztsnr`" in text


@pytest.fixture(scope="module")
def flowing(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, torch.Tensor]]:
    """The files that a flow model is published in: part -> its tensors."""
    base = registry.load(str(TINY["anima"](tmp_path_factory.mktemp("flowing"))))
    text = {f"model.{k}": v.clone() for k, v in base.text.encoder.state_dict().items()}
    vae = {k: v.clone() for k, v in base.latents.module.state_dict().items()}
    return {"diffusion_models": anima_transformer(base), "text_encoders": text, "vae": vae}


@pytest.mark.parametrize("folder", ["models", "ComfyUI/models"])
def test_parts_that_lie_beside_are_named(here: Path, flowing, folder: str) -> None:
    for kind, tensors in flowing.items():
        place = here / folder / (kind if "ComfyUI" in folder else "")
        place.mkdir(parents=True, exist_ok=True)
        save_file(tensors, place / f"{kind}.safetensors")
    inner = {kind: f"{kind}/" if "ComfyUI" in folder else "" for kind in flowing}
    paths = {kind: f"{folder}/{inner[kind]}{kind}.safetensors" for kind in flowing}
    config, text, told = made(here, base=paths["diffusion_models"])
    assert config.train.base == {
        "checkpoint": paths["diffusion_models"], "text_encoder": paths["text_encoders"],
        "vae": paths["vae"],
    }  # fmt: skip
    assert "from config/anima.yaml" in text
    assert config.train.rates == {"unet_lr": 1e-4, "text_encoder_lr": 0}
    assert "name its other parts" not in told
    (here / paths["vae"]).unlink()
    config, _, told = made(here, "other", base=paths["diffusion_models"])
    assert "vae" not in config.train.base
    assert "name its other parts" in told


def test_a_hub_id_s_name_tells_a_flow_model(here: Path) -> None:
    config, text, _ = made(here, base="circlestone-labs/Anima-Base-v1.0-Diffusers")
    assert config.train.base == "circlestone-labs/Anima-Base-v1.0-Diffusers"
    assert (config.sample.sampler, config.train.bucket_reso_steps % 16) == ("Euler", 0)
    assert "models/qwen" not in text
