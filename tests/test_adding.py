"""Adding one more of a kind is adding one record: tried on a copy of the project, by a real bake.

A stage is added by the recipe in CONTRIBUTING.md, then a filter check, an optimizer and a sampler are
patched in. Each changes at most `MOST` files besides what `make docs` and `make same-results` write.
Then the workflow runs with them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from added_stage import NEW_FILES, STAGE
from documents import section
from PIL import Image
from project_copy import ROOT, Line, chores, copied, files, put, python
from safetensors import safe_open
from tiny_base import tiny_sd1
from tiny_tagger import draw, tiny_tagger

from bakery.interop import infotext
from bakery.io import tables

pytestmark = pytest.mark.slow

MOST = 2
TAGS = ["1girl", "solo", "pink_hair", "halo", "beach", "smile"]


ADDED = {
    "stage": (
        Line(
            "from bakery.settings.compare import Compare\nfrom bakery.settings.filter",
            "from bakery.settings.audit import Audit\n",
        ),
        Line("    train: Train = Train()\n", "    audit: Audit = Audit()\n"),
        Line('include: "workflow/rules/train.smk"', 'include: "workflow/rules/audit.smk"\n'),
        Line("    halve,\n    compare,\n    best,", "    audit,\n"),
    ),
    "filter check": (
        Line(
            '    Check(\n        "too_small",',
            '    Check(\n        "too_large",\n        "its longer side is above `filter.max_side`",\n'
            "        lambda settings, one: (\n"
            "            settings.max_side is not None and max(one.size) > settings.max_side\n"
            '        ),\n        cure="filter.max_side: null",\n    ),\n',
        ),
        Line(
            "    max_aspect: Annotated",
            "    max_side: Annotated[int, Field(ge=1)] | None = None\n"
            '    """Longer side in pixels above which a picture is too large; null keeps all."""\n',
        ),
    ),
    "optimizer": (
        Line('    "AdamW": Optimizer(', '    "SGD": Optimizer("torch.optim", "plain descent"),\n'),
    ),
    "sampler": (
        Line('    "UniPC": (', '    "DEIS": ("DEISMultistepScheduler", {}),\n'),
        Line('    "UniPC",\n', '    "DEIS",\n'),
    ),
}
CONFIG = {
    "scrape": {"name": "little", "urls": [], "folders": ["pictures"]},
    "filter": {"monochrome": False, "duplicate_distance": -1, "max_side": 200},
    "tag": {"model": "models/tagger"},
    "prune": {"trigger": "littlest"},
    "layout": {"repeats": 1},
    "audit": {"min_tags": 9},
    "train": {
        "base": "models/base", "network_dim": 2, "network_alpha": 1, "train_batch_size": 4,
        "num_epochs": 1, "resolution": 32, "min_bucket_reso": 32, "max_bucket_reso": 32,
        "optimizer_type": "SGD", "optimizer_args": {"momentum": 0.9},
    },
    "sample": {
        "steps": 3, "seeds": [1], "width": 32, "height": 32, "sampler": "DEIS",
        "prompts": [{"id": "alone", "prompt": "{trigger}", "purpose": "identity"}],
    },
}  # fmt: skip


@dataclass(frozen=True)
class Grown:
    """A copy of the project with all of `ADDED`."""

    tree: Path
    changed: dict[str, list[str]]
    """Kind of addition -> the files that it changed."""
    new: dict[str, list[str]]
    """Kind of addition -> the files that it brought."""
    record: dict
    """The record of code versions when only the stage had been added."""


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    tree = copied(tmp_path_factory.mktemp("grown"))
    changed, new, record = {}, {}, {}
    for kind, lines in ADDED.items():
        before = files(tree)
        for line in lines:
            put(tree, line)
        if kind == "stage":
            for name, text in NEW_FILES.items():
                (tree / name.replace("<stage>", STAGE)).write_text(text, "utf-8")
            record = chores(tree)
        after = files(tree)
        changed[kind] = [name for name in before if after[name] != before[name]]
        new[kind] = [name for name in after if name not in before]
    python(tree, "scripts/upkeep/describe_config.py")
    return Grown(tree, changed, new, record)


@pytest.fixture(scope="module")
def results(grown: Grown, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a bake leaves that uses all of `ADDED`, up to its samples."""
    place = tmp_path_factory.mktemp("bake")
    (place / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        seen = {"1girl", "solo", "pink_hair", "halo", *rng.choice(["beach", "smile"], 1)}
        picture = draw(TAGS, seen).resize((256, 256) if number == 5 else (128, 128))
        noise = rng.integers(0, 24, np.asarray(picture).shape)
        pixels = (np.asarray(picture) * 0.9 + noise).astype(np.uint8)
        Image.fromarray(pixels).save(place / "pictures" / f"{number}.png")
    tiny_sd1(place / "models/base")
    tiny_tagger(place / "models/tagger", TAGS)
    (place / "config.yaml").write_text(yaml.safe_dump(CONFIG), "utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", grown.tree / "Snakefile", "--cores", "2",
         "--directory", place, "--configfile", place / "config.yaml", "--until", "sample", "audit",
         "--workflow-profile", grown.tree / "profiles/default"],
        capture_output=True, text=True, check=False, timeout=1200, cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "", "TMPDIR": str(place)},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    return place / "results"


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


@pytest.mark.parametrize("kind", ADDED)
def test_adding_touches_few_files(kind: str, grown: Grown) -> None:
    assert 1 <= len(grown.changed[kind]) <= MOST, grown.changed[kind]
    assert set(grown.new[kind]) == (
        {name.replace("<stage>", STAGE) for name in NEW_FILES} if kind == "stage" else set()
    )


def test_the_recipe_for_a_stage_names_the_files_it_takes(grown: Grown) -> None:
    recipe = section((ROOT / "CONTRIBUTING.md").read_text("utf-8"), "add-a-stage")
    named = set(re.findall(r"`([\w./<>-]+)`", recipe))
    assert named >= {*NEW_FILES, *grown.changed["stage"]}


def test_a_new_stage_leaves_the_code_versions_of_the_others(grown: Grown) -> None:
    before = json.loads((ROOT / "tests/code_versions.json").read_text("utf-8"))
    assert {name: grown.record[name] for name in before} == before
    assert grown.record[STAGE]["version"] == 1


def test_a_new_stage_and_the_house_agree(grown: Grown) -> None:
    tests = ("tests/test_house.py", "tests/test_code_versions.py", f"tests/stages/test_{STAGE}.py")
    concerned = f"{STAGE} or rules or floor or circle or crowded or contents or lie_as or shows_the"
    said = python(
        grown.tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", concerned, *tests
    )
    passed = re.search(r"(\d+) passed", said)
    assert passed
    assert int(passed[1]) > 15


def test_a_new_stage_runs_in_its_place(grown: Grown, results: Path) -> None:
    manifest = json.loads(only(results, "audit/*/manifest.json").read_text("utf-8"))
    assert manifest["settings"] == {"min_tags": 9}
    assert manifest["code_version"] == 1
    assert list(manifest["above"].values()) == ["layout"]
    listed = tables.read(only(results, "audit/*/audit.csv"), ("image", "tags"))
    captions = {
        f"{path.parent.name}/{path.stem}.png": len(path.read_text("utf-8").split(","))
        for path in results.glob("layout/*/*_*/*.txt")
    }
    thin = {name: str(count) for name, count in captions.items() if count < 9}
    assert dict(zip(listed["image"], listed["tags"], strict=True)) == thin
    assert 0 < len(thin) <= manifest["summary"]["captions"] == len(captions)
    trained = json.loads(only(results, "train/*/manifest.json").read_text("utf-8"))
    assert list(trained["above"].values()) == [STAGE], "what comes after it stands on it"
    left = python(
        results.parent, "-m", "snakemake", "-n", "--snakefile", str(grown.tree / "Snakefile"),
        "--configfile", "config.yaml", "--workflow-profile", str(grown.tree / "profiles/default"),
    )  # fmt: skip
    assert "rule score:" in left
    assert "rule audit:" not in left, "it is made once"


def test_what_is_added_is_described_to_people(grown: Grown) -> None:
    told = (grown.tree / "config/README.md").read_text("utf-8")
    assert "## audit\n\nA list of captions that say little." in told
    assert "| `max_side` |" in told
    assert "`SGD`" in told
    assert "`DEIS`" in told


def test_a_new_filter_check_is_on_record_and_on_the_page(results: Path) -> None:
    table = tables.read(only(results, "filter/*/decisions.csv"), ("image", "kept", "reasons"))
    assert sorted(table["reasons"]) == ["", "", "", "", "", "too_large"]
    assert set(table["kept"][table["reasons"] == "too_large"]) == {"false"}
    page = only(results, "filter/*/contact_sheet.html").read_text("utf-8")
    assert '<option value="too_large">too large (1)</option>' in page
    assert '<span class="reason">too large</span>' in page


def test_a_new_optimizer_trains(results: Path) -> None:
    with safe_open(only(results, "train/*/little.safetensors"), framework="np") as file:
        metadata = file.metadata()
        weights = [file.get_tensor(name) for name in file.keys() if "lora_up" in name]  # noqa: SIM118
    assert metadata["ss_optimizer"] == "torch.optim.sgd.SGD(momentum=0.9)"
    assert any(np.abs(weight).max() > 0 for weight in weights)  # they start at 0


def test_a_new_sampler_draws(results: Path) -> None:
    pictures = sorted(only(results, "sample/*/images").glob("*.png"))
    assert len(pictures) == 2  # the base and one epoch
    for picture in pictures:
        told = infotext.parse(infotext.read_png(picture))
        assert told.settings["Sampler"] == "DEIS"
        assert np.asarray(Image.open(picture)).std() > 1
