"""The workflow as a user runs it: real `snakemake` processes on a little world of the test's own."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from safetensors import safe_open
from tiny_base import tiny_sd1
from tiny_tagger import draw, tiny_tagger

from bakery.graph import build
from bakery.settings import config as cfg

ROOT = Path(__file__).parents[2]
TAGS = ["1girl", "solo", "pink_hair", "halo", "beach", "smile"]
SWEEP = {"unet_lr": {"grid": {"train.unet_lr": [1e-3, 1e-2]}}}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_sd1(folder / "base")
    tiny_tagger(folder / "tagger", TAGS)
    return folder


@pytest.fixture
def workdir(tmp_path: Path, models: Path) -> Path:
    """A working directory with pictures, models and a config that bakes in seconds."""
    return furnish(tmp_path, models)


def furnish(tmp_path: Path, models: Path) -> Path:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for i in range(8):
        seen = {"1girl", "solo", "pink_hair", "halo", *rng.choice(["beach", "smile"], 1)}
        picture = draw(TAGS, seen)
        picture = picture.resize((128, 128))
        noise = rng.integers(0, 24, np.asarray(picture).shape)
        Image.fromarray((np.asarray(picture) * 0.9 + noise).astype(np.uint8)).save(
            pictures / f"picture {i}.png"
        )
    shutil.copytree(models, tmp_path / "models")
    write_config(tmp_path, little())
    return tmp_path


def little() -> dict:
    return {
        "scrape": {"name": "little", "urls": [], "folders": ["pictures"]},
        "filter": {"monochrome": False, "duplicate_distance": -1},
        "tag": {"model": "models/tagger"},
        "prune": {"trigger": "littlest"},
        "layout": {"repeats": 1},
        "train": {
            "base": "models/base", "network_dim": 2, "network_alpha": 1, "train_batch_size": 4,
            "num_epochs": 2, "resolution": 32, "min_bucket_reso": 32, "max_bucket_reso": 32,
        },
        "sample": {
            "steps": 2, "seeds": [1], "width": 32, "height": 32,
            "prompts": [
                {"id": "alone", "prompt": "{trigger}", "purpose": "identity"},
                {"id": "beach", "prompt": "{trigger}, beach", "purpose": "flexibility"},
            ],
        },
        "sweeps": copy.deepcopy(SWEEP),
    }  # fmt: skip


def write_config(workdir: Path, raw: dict) -> None:
    (workdir / "config.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")


def snakemake(
    workdir: Path, *arguments: str, gpus: str = "99", python: str | Path = sys.executable
) -> subprocess.CompletedProcess[str]:
    """`gpus` need not be there: jobs lease them by name, and compute on the CPU."""
    return subprocess.run(
        [python, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--cores", "2",
         "--directory", workdir, "--configfile", workdir / "config.yaml",
         "--workflow-profile", ROOT / "profiles/default", *arguments],
        capture_output=True, text=True, check=False, timeout=1200, cwd=workdir,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": gpus,
             "TMPDIR": str(workdir.parent)},
    )  # fmt: skip


def jobs(workdir: Path) -> dict[str, int]:
    """Stage -> number of jobs that a dry run would do."""
    run = snakemake(workdir, "--dry-run")
    assert run.returncode == 0, run.stdout + run.stderr
    table = dict(re.findall(r"^(\w+) +(\d+)$", run.stdout + run.stderr, re.MULTILINE))
    return {stage: int(table[stage]) for stage in cfg.STAGES if stage in table}


def pretend_done(workdir: Path, raw: dict) -> None:
    """Finished-looking outputs for every node, to ask dry runs what a change would remake."""
    made = build.build(cfg.load(raw), [workdir, ROOT])
    for stage in cfg.STAGES:
        for node in made.of(stage):
            for file in node.wanted:
                (workdir / file).parent.mkdir(parents=True, exist_ok=True)
                (workdir / file).write_text("{}")


@pytest.mark.slow
def test_nothing_is_remade_by_time_touch_or_copy(workdir: Path) -> None:
    pretend_done(workdir, little())
    assert jobs(workdir) == {}
    # newest first: every mtime now says that inputs are younger than outputs
    for age, stage in enumerate(reversed(cfg.STAGES)):
        for file in (workdir / "results" / stage).rglob("*"):
            os.utime(file, (1e9 + 1000 * age, 1e9 + 1000 * age))
    for file in (workdir / "models").rglob("*"):
        os.utime(file)
    assert jobs(workdir) == {}
    # made by a clock that went ahead and was set back: all but the first stage is from the future
    for file in workdir.rglob("*"):
        os.utime(file, (4e9, 4e9))
    for file in (workdir / "results" / "scrape").rglob("*"):
        os.utime(file)
    assert jobs(workdir) == {}


@pytest.mark.slow
def test_one_more_rate_trains_only_that_one(workdir: Path) -> None:
    pretend_done(workdir, little())
    more = little() | {"sweeps": {"unet_lr": {"grid": {"train.unet_lr": [1e-3, 1e-2, 5e-2]}}}}
    write_config(workdir, more)
    assert jobs(workdir) == {"train": 1, "sample": 1, "score": 1, "compare": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gpus", "asked", "threads"),
    [
        ("0", [], 8),
        ("0,1", [], 6),
        ("0,1,2,3,4", [], 6),  # two bakes: more than two jobs there are never
        ("", [], 6),  # no GPU: two jobs
        ("", ["--resources", "gpu=1"], 8),
        ("0", ["--resources", "gpu=2"], 6),
        ("", ["--resources", "gpu=0"], 8),
        ("", ["--mode", "remote"], 8),  # as a job on a cluster reads it: no other shares its cores
        ("0,1,2", ["--mode", "remote"], 8),
        ("", ["--mode", "remote", "--resources", "gpu=2"], 8),
    ],
)
def test_jobs_that_run_at_once_share_the_cores(
    workdir: Path, gpus: str, asked: list[str], threads: int
) -> None:
    run = snakemake(workdir, "--dry-run", "--cores", "12", *asked, gpus=gpus)
    assert run.returncode == 0, run.stdout + run.stderr
    train = r"^rule train:\n(?: +.*\n)*? +threads: (\d+)$"
    assert re.findall(train, run.stdout + run.stderr, re.MULTILINE) == [str(threads)] * 2


@pytest.mark.slow
def test_a_setting_far_up_remakes_what_stands_on_it(workdir: Path) -> None:
    pretend_done(workdir, little())
    raw = little()
    raw["prune"]["min_frequency"] = 0.9
    write_config(workdir, raw)
    below = dict.fromkeys(("train", "sample", "score"), 2)
    assert jobs(workdir) == {"prune": 1, "layout": 1, **below, "compare": 1}
    write_config(workdir, little())
    assert jobs(workdir) == {}, "going back to an old value costs nothing"


@pytest.mark.slow
def test_a_config_file_stands_alone(workdir: Path) -> None:
    """Nothing of the shipped config shines through one that was named on the command line."""
    shutil.copytree(ROOT / "config", workdir / "config")
    pretend_done(workdir, little())
    assert jobs(workdir) == {}


@pytest.mark.slow
def test_the_catalog_s_snakefile_is_the_same_workflow(workdir: Path) -> None:
    run = snakemake(workdir, "--dry-run", "--snakefile", ROOT / "workflow/Snakefile")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "little-lr0.01-" in run.stdout + run.stderr


@pytest.mark.slow
def test_a_deleted_leaf_is_remade(workdir: Path) -> None:
    pretend_done(workdir, little())
    (grid,) = (workdir / "results/sample").glob("little-lr0.01-*/grid.png")
    grid.unlink()
    assert jobs(workdir).get("sample") == 1


@pytest.mark.slow
def test_the_whole_chain_for_real(workdir: Path) -> None:
    write_config(workdir, little() | {"layout": {"repeats": 1, "holdout": 2}})
    run = snakemake(workdir)
    assert run.returncode == 0, run.stdout + run.stderr
    loras = sorted(p.name for p in (workdir / "results/train").glob("*/*.safetensors"))
    assert loras == ["little-000001.safetensors"] * 2 + ["little.safetensors"] * 2
    (page,) = (workdir / "results/compare").glob("unet_lr-*/index.html")
    text = page.read_text(encoding="utf-8")
    assert "littlest" in text
    assert "0.001" in text
    (captions,) = (workdir / "results/prune").glob("*/captions.csv")
    assert "pink hair" not in captions.read_text("utf-8"), "the trigger absorbs the hair"

    for stage in ("tag", "train", "sample", "score"):
        logs = [path.read_text("utf-8") for path in (workdir / "logs" / stage).glob("*.log")]
        assert any("working on GPU 99" in log for log in logs), f"{stage} leases no GPU"

    held_out_pictures_are_measured(workdir)
    assert "Held-out loss" in text
    planned = snakemake(workdir, "plan")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    table = pd.read_csv(workdir / "results/plan/plan.csv")
    for train in (workdir / "results/train").glob("*/manifest.json"):
        facts = json.loads(train.read_text("utf-8"))
        (row,) = table[table["bake"] == f"unet_lr {facts['settings']['unet_lr']:g}"].to_dict(
            "records"
        )
        assert row["known_from"] == "layout"
        assert (row["steps_per_epoch"], row["steps"]) == (
            facts["summary"]["steps_per_epoch"], facts["summary"]["steps"],
        )  # fmt: skip
        assert row["files"] == len(facts["summary"]["epochs"])
    for samples in (workdir / "results/sample").glob("*/samples.csv"):
        assert set(table["samples"]) == {len(pd.read_csv(samples))}
    assert "to do\n" in planned.stdout
    assert re.search(r"unet_lr 0.01 .* 0 s .* nothing$", planned.stdout, re.MULTILINE)

    again = snakemake(workdir)
    assert "Nothing to do: all of it is made." in again.stderr
    assert "index.html" in again.stderr, "and where it is"

    gathered = snakemake(workdir, "gather", "--config", "gather={epochs: all}")
    assert gathered.returncode == 0, gathered.stdout + gathered.stderr
    folder = workdir / "results/gather/little"
    assert {path.name for path in folder.glob("*.safetensors")} == {
        f"little-lr{rate}-e0{epoch}.safetensors" for rate in ("0.001", "0.01") for epoch in (1, 2)
    }
    (best,) = (workdir / "results/best/little/unet_lr").glob("*.safetensors")
    assert best.samefile(folder / best.name), "one file, one name"
    assert f"&lt;lora:{best.stem}:1&gt;, littlest" in text

    before = {p: p.read_bytes() for p in (workdir / "results/train").glob("*/manifest.json")}
    for manifest in before:
        manifest.unlink()
    assert snakemake(workdir, "--until", "train").returncode == 0
    assert {p: p.read_bytes() for p in before} == before, "the same config gives the same LoRAs"
    copies_are_whole(workdir, workdir.parent / "elsewhere")
    nothing_altered_is_taken_on(workdir)


def held_out_pictures_are_measured(workdir: Path) -> None:
    """They are laid out apart, not trained on, and what a bake makes of them is in its tables."""
    (layout,) = (workdir / "results/layout").glob("*/layout.csv")
    table = pd.read_csv(layout)
    held = table[table["kind"] == "holdout"]
    assert sorted(table["kind"]) == ["holdout"] * 2 + ["picture"] * 6
    assert all((layout.parent / file).is_file() for file in held["file"])
    trained = list((workdir / "results/train").glob("*/"))
    assert len(trained) == 2
    for folder in trained:
        losses = pd.read_csv(folder / "validation.csv")
        assert losses.groupby("epoch").size().to_dict() == {0: 4, 1: 4, 2: 4}
        assert (losses["loss"] > 0).all()
        with safe_open(folder / "little.safetensors", framework="np") as lora:
            assert lora.metadata()["ss_num_train_images"] == "6"
    for manifest in (workdir / "results/score").glob("*/manifest.json"):
        assert json.loads(manifest.read_text("utf-8"))["summary"]["held_out"]["images"] == 2


def copies_are_whole(workdir: Path, moved: Path) -> None:
    """Results that were copied to another path, without times and links, are used as they are."""
    subprocess.run(["cp", "-r", workdir, moved], check=True)
    assert jobs(moved) == {}
    for name in ("pictures", "models"):
        shutil.rmtree(moved / name)
    verified = snakemake(moved, "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert re.search(r"\d{3} files compared, 12 finished folders: all as", verified.stdout)
    (lora,) = (moved / "results/best/little/unet_lr").glob("*.safetensors")
    lora.write_bytes(lora.read_bytes()[:-1] + b"?")
    verified = snakemake(moved, "verify")
    assert verified.returncode == 1
    assert "1 file of results is damaged or missing" in verified.stderr
    assert "Traceback" not in verified.stderr
    table = pd.read_csv(moved / "results/verify/verify.csv")
    assert table["path"].tolist() == [str(lora.relative_to(moved))]
    refused = snakemake(moved)
    assert refused.returncode != 0, "what the config names is needed for all else"


def nothing_altered_is_taken_on(workdir: Path) -> None:
    """A stage refuses what is not as it was made, and says how to make it again; that works."""
    (caption, *_) = sorted((workdir / "results/layout").glob("*/*/*.txt"))
    caption.write_text(caption.read_text() + ", altered")
    for train in (workdir / "results/train").glob("little-*"):
        shutil.rmtree(train)
    run = snakemake(workdir, "--until", "train")
    assert run.returncode != 0
    folder = caption.parents[1].relative_to(workdir)
    command = f"rm -r {folder}"
    assert f"{caption.relative_to(workdir)} is not as it was made" in run.stderr
    assert f"`{command}`" in run.stderr
    subprocess.run(command.split(), cwd=workdir, check=True)
    run = snakemake(workdir, "--until", "train")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "altered" not in caption.read_text()


@pytest.mark.slow
def test_what_no_config_needs_is_freed_by_its_word_alone(workdir: Path) -> None:
    other = little() | {"scrape": {"name": "other", "urls": [], "folders": ["pictures"]}}
    for raw in (little(), other):
        pretend_done(workdir, raw)
    (lora,) = (workdir / "results/train").glob("other-lr0.01-*")
    (lora / "other.safetensors").write_bytes(b"x" * 9000)
    before = set((workdir / "results").rglob("*"))
    run = snakemake(workdir, "clean")
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"9.0 kB  loras     results/train/{lora.name}: no given config needs it" in run.stdout
    assert set((workdir / "results").rglob("*")) == before
    (workdir / "config").mkdir()
    (workdir / "config/other.yaml").write_text(yaml.safe_dump(other), encoding="utf-8")
    assert lora.name not in snakemake(workdir, "clean").stdout, "a config that is not named"
    (workdir / "config/other.yaml").unlink()
    run = snakemake(workdir, "clean", "--config", "free=unneeded")
    assert run.returncode == 0, run.stdout + run.stderr
    assert (lora / "other.safetensors").exists()
    assert not list((workdir / "results/sample").glob("other-*"))
    assert jobs(workdir) == {}, "nothing of this config is gone"
    run = snakemake(workdir, "clean", "--config", "free=lora")
    assert run.returncode != 0
    assert "free names lora, which is no word" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.slow
def test_folders_under_an_older_name_are_used(workdir: Path) -> None:
    pretend_done(workdir, little())
    for folder in (workdir / "results").glob("*/little-lr*"):
        folder.rename(folder.with_name(folder.name.replace("little-lr", "little-of-old-")))
    assert jobs(workdir) == {}


@pytest.mark.slow
def test_a_bake_that_fails_ends_no_other(workdir: Path) -> None:
    raw = with_setting("train.max_grad_norm", 0)
    raw["sweeps"]["unet_lr"]["grid"]["train.unet_lr"] = [1e30, 1e-3]
    write_config(workdir, raw)
    run = snakemake(workdir)
    assert run.returncode != 0
    assert "Traceback" not in run.stdout + run.stderr
    _, ends = run.stderr.split("What failed in this run:")
    assert run.stderr.count("lower the learning rates") == 2, "once when it failed"
    assert ends.count("lower the learning rates") == 1, "and said again at the end"
    assert "INFO" not in ends, "and nothing else of the log of the job that trained it"
    (score,) = (workdir / "results/score").glob("*/manifest.json")
    assert score.parent.name.startswith("little-lr0.001-")
    assert not (workdir / "results/compare").exists()


@pytest.mark.slow
def test_a_sweep_with_halving_for_real(workdir: Path) -> None:
    raw = little()
    raw["sweeps"]["unet_lr"]["halving"] = {"after": [1]}
    write_config(workdir, raw)
    run = snakemake(workdir)
    assert run.returncode == 0, run.stdout + run.stderr
    made = build.build(cfg.load(raw), [workdir, ROOT])
    (verdict,) = made.of("halve")
    first, second = json.loads((workdir / verdict.manifest).read_text("utf-8"))["summary"]["bakes"]
    assert [first["goes_on"], second["goes_on"]] == [True, False]
    (page,) = made.of("compare")
    leaves = {leaf.above("train").baked.name: leaf for leaf in page.parents}
    for standing, epochs in ((first, 2), (second, 1)):
        leaf = leaves[standing["bake"]]
        train, sample = (workdir / leaf.above(stage).folder for stage in ("train", "sample"))
        facts = json.loads((train / "manifest.json").read_text("utf-8"))["summary"]
        assert [epoch["epoch"] for epoch in facts["epochs"]] == list(range(1, epochs + 1))
        assert ("stopped" in facts) == (epochs == 1)
        drawn = pd.read_csv(sample / "samples.csv")
        assert set(drawn["epoch"]) == set(range(epochs + 1))
        before = workdir / leaf.rung.before.above("sample").folder
        for image in (before / "images").glob("*.png"):
            assert image.read_bytes() == (sample / "images" / image.name).read_bytes()
    text = (workdir / page.folder / "index.html").read_text(encoding="utf-8")
    assert second["reason"] in text
    assert second["reason"].startswith("stopped after epoch 1 by halving: rank 2 of 2, trade-off ")
    (best,) = (workdir / "results/best/little/unet_lr").glob("*.safetensors")
    recommended = json.loads((workdir / page.manifest).read_text("utf-8"))["summary"]
    assert best.stem == recommended["best_lora"]
    assert re.fullmatch(r"little-lr0\.0?[01]+-e0[12]", best.stem)
    assert jobs(workdir) == {}


@pytest.mark.slow
def test_the_dry_bake_makes_nothing_and_runs_anew_each_time(workdir: Path) -> None:
    for _ in range(2):
        run = snakemake(workdir, "plan")
        assert run.returncode == 0, run.stdout + run.stderr
        assert "Time and memory: not known before a first bake of this kind has run" in run.stdout
        assert [path.name for path in (workdir / "results").iterdir()] == ["plan"]
    assert jobs(workdir)["scrape"] == 1, "and `all` does not know of it"


@pytest.mark.slow
def test_a_clone_may_lie_where_a_path_has_a_space(workdir: Path) -> None:
    """Snakemake writes the path of its Python into command lines as it is."""
    place = workdir / "my bakes"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True, timeout=60)
    for site in place.glob("lib/python*/site-packages"):
        (site / "those.pth").write_text(
            "\n".join(path for path in sys.path if "site-packages" in path)
        )
    run = snakemake(workdir, "--until", "tag", python=place / "bin/python")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "done tag" in run.stderr


def with_setting(dotted: str, value: object) -> dict:
    raw = little()
    stage, name = dotted.split(".")
    raw[stage][name] = value
    return raw


@pytest.mark.slow
@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (
            with_setting("train.network_dimm", 4),
            "train.network_dimm is not a setting; did you mean",
        ),
        (with_setting("train.network_dim", "wide"), "train.network_dim is 'wide'"),
        (with_setting("train.base", "models/gone.safetensors"), "models/gone.safetensors, which"),
        (with_setting("prune.trigger", "a, b"), "commas"),
        (with_setting("scrape.folders", ["nothing"]), "scrape.folders names nothing"),
    ],
)
def test_a_bad_config_is_one_sentence(workdir: Path, raw: dict, sentence: str) -> None:
    write_config(workdir, raw)
    run = snakemake(workdir)
    assert run.returncode != 0
    assert sentence in run.stderr
    assert "Traceback" not in run.stderr
    assert not (workdir / "results").exists()


@pytest.mark.slow
def test_a_picture_folder_of_junk_says_so_and_keeps_what_was_made(workdir: Path) -> None:
    for picture in (workdir / "pictures").iterdir():
        picture.write_bytes(picture.read_bytes()[:3000])
    run = snakemake(workdir)
    assert run.returncode != 0
    assert "Traceback" not in run.stdout + run.stderr
    assert "unreadable" in run.stderr
    (manifest,) = (workdir / "results/scrape").glob("*/manifest.json")
    assert json.loads(manifest.read_text("utf-8"))["stage"] == "scrape"


@pytest.mark.slow
def test_an_unreachable_booru_is_one_sentence(workdir: Path) -> None:
    raw = with_setting("scrape.urls", ["http://127.0.0.1:9/posts?tags=x"])
    raw["scrape"]["folders"] = []
    write_config(workdir, raw)
    run = snakemake(workdir)
    assert run.returncode != 0
    assert "Traceback" not in run.stdout + run.stderr
    assert "127.0.0.1:9" in run.stderr


@pytest.mark.slow
@pytest.mark.skipif("BAKERY_LONG" not in os.environ, reason="long: BAKERY_LONG=1 pytest ...")
def test_a_bake_stopped_by_a_person_is_finished_as_it_is_and_goes_on_when_told(
    workdir: Path,
) -> None:
    raw = with_setting("train.num_epochs", 3)
    raw["sample"]["batch_size"] = 2  # the pictures of an epoch fill one
    del raw["sweeps"]
    write_config(workdir, raw)
    running = threading.Thread(target=ask_to_stop, args=(workdir / "results/train",))
    running.start()
    run = snakemake(workdir)
    running.join()
    assert run.returncode == 0, run.stdout + run.stderr
    assert "touch results/train/<bake>/stop-after-epoch" in run.stderr
    assert "stopped by you after epoch 1 of 3" in run.stderr
    (train,) = (workdir / "results/train").glob("*/manifest.json")
    stopped = [path.read_bytes() for path in train.parent.glob("*.safetensors")]
    assert len(stopped) == 1
    (page,) = (workdir / "results/compare").glob("*/index.html")
    assert "The bake was stopped by you after epoch 1 of 3." in page.read_text("utf-8")
    (mark,) = (workdir / "results/best").glob("*/*/from-*.json")
    assert json.loads(mark.read_text("utf-8"))["best_stopped"].startswith("stopped by you")
    assert jobs(workdir) == {}
    (sample,) = (workdir / "results/sample").glob("*/images")
    drawn = {path: path.stat().st_mtime_ns for path in sample.iterdir()}

    misspelt = snakemake(workdir, "--config", "resume=litle-lr0.002")
    assert misspelt.returncode != 0
    assert "did you mean little-lr0.002?" in misspelt.stderr
    run = snakemake(workdir, "--config", "resume=little-lr0.002")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "little-lr0.002 goes on after epoch 1 of 3" in run.stderr
    assert len(list(train.parent.glob("*.safetensors"))) == 3
    assert "stopped" not in json.loads(train.read_text("utf-8"))["summary"]
    assert {path: path.stat().st_mtime_ns for path in drawn} == drawn, "these are not drawn again"
    epochs = Counter(path.name.partition("_")[0] for path in sample.iterdir())
    assert epochs["e1"] == epochs["e2"] == epochs["e3"] > 0
    assert len(list((workdir / "results/best").glob("*/*/*.safetensors"))) == 1
    assert "stopped by you" not in page.read_text("utf-8")


def ask_to_stop(place: Path) -> None:
    """As a person does who has seen enough: touch a file, as soon as there is a bake."""
    while not (found := list(place.glob("*/claim.lock"))):
        time.sleep(0.05)
    (found[0].parent / "stop-after-epoch").touch()
