"""Adding a family of base models by the recipe in CONTRIBUTING.md, in a copy of the project."""

from __future__ import annotations

import json
import re

import pytest
from added_family import LINES, NAME, NEW_FILES
from documents import section
from project_copy import ROOT, chores, copied, files, put, python

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory):
    """The copy, the files that were there and changed, and its record of code versions."""
    tree = copied(tmp_path_factory.mktemp("family"))
    before = files(tree)
    for line in LINES:
        put(tree, line)
    for name, text in NEW_FILES.items():
        (tree / name.replace("<name>", NAME)).write_text(text, "utf-8")
    after = files(tree)
    return tree, [name for name in before if after[name] != before[name]], chores(tree)


def test_one_file_of_the_library_is_changed_and_the_recipe_names_all(grown) -> None:
    _, changed, _ = grown
    assert [name for name in changed if name.startswith("scripts/")] == [
        "scripts/bakery/families/registry.py"
    ]
    recipe = section((ROOT / "CONTRIBUTING.md").read_text("utf-8"), "add-a-model-family")
    assert set(re.findall(r"`([\w./<>-]+)`", recipe)) >= {*NEW_FILES, *changed}


def test_bakes_of_other_families_and_other_stages_stay(grown) -> None:
    _, _, record = grown
    before = json.loads((ROOT / "tests/code_versions.json").read_text("utf-8"))
    own = record["families"].pop(NAME)
    assert record == before
    assert own["version"] == 1
    assert "families.pastel_model" in own["modules"]
    assert not any("diffus" in module or "sd" in module for module in own["modules"])


def test_it_does_what_every_family_has_to_do(grown) -> None:
    tree, _, _ = grown
    said = python(
        tree, "-m", "pytest", "-q", "-p", "no:cacheprovider",
        "tests/families/test_contract.py", "tests/families/test_seam.py", "-k", "pastel or module",
    )  # fmt: skip
    assert re.search(r"\d+ passed", said)
    assert not re.search(r"\d+ (failed|skipped)", said)


def test_what_does_nothing_with_it_is_refused_before_torch_is_loaded(grown, tmp_path) -> None:
    tree, _, _ = grown
    (tmp_path / "model_index.json").write_text('{"_class_name": "PastelPipeline"}')
    said = python(
        tree, "-c",
        "import sys\n"
        "from bakery.families import registry\n"
        "from bakery.io.errors import BakeryError\n"
        "family = registry.family_of(sys.argv[1])\n"
        "try:\n"
        "    registry.check(family, sys.argv[1], {'clip_skip': 2})\n"
        "except BakeryError as error:\n"
        "    print(family.name, error, 'torch' in sys.modules)\n",
        str(tmp_path),
    )  # fmt: skip
    expected = "train.clip_skip is 2, but Pastel has no CLIP: leave it out"
    assert said.strip() == f"{NAME} {expected} False"
