"""Keys decide: what a change of the config remakes, and what it leaves alone."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
from made_checkpoints import checkpoint, world

from bakery.families import registry
from bakery.graph import build, summary
from bakery.graph import nodes as nodes_module
from bakery.graph.nodes import CODE_VERSIONS
from bakery.io.errors import BakeryError
from bakery.settings import config as cfg
from bakery.settings import layout as settings_layout
from bakery.settings import named_files
from bakery.settings import scrape as settings_scrape
from bakery.settings import train as settings_train

SWEEP = {"sweeps": {"lr": {"grid": {"train.unet_lr": [1e-4, 1e-3, 1e-2]}}}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return world(tmp_path)


def nodes(root: Path, raw: dict) -> dict[str, set[str]]:
    """Stage -> folders of its nodes."""
    made = build.build(cfg.load(raw), [root])
    return {stage: {node.folder for node in made.of(stage)} for stage in cfg.STAGES}


def changed(before: dict[str, set[str]], after: dict[str, set[str]]) -> dict[str, int]:
    """Stage -> number of nodes that are new."""
    return {s: len(after[s] - before[s]) for s in cfg.STAGES if after[s] - before[s]}


def test_a_sweep_shares_every_stage_above_the_first_difference(root: Path) -> None:
    counts = {stage: len(folders) for stage, folders in nodes(root, SWEEP).items()}
    assert counts == dict.fromkeys(("scrape", "filter", "tag", "prune", "layout"), 1) | (
        dict.fromkeys(("train", "sample", "score"), 3) | {"compare": 1}
    )


@pytest.mark.parametrize("stage", build.CHAIN)
def test_a_changed_section_remakes_its_stage_and_all_below(root: Path, stage: str) -> None:
    values = {
        "scrape": {"limit": 7},
        "filter": {"min_side": 7},
        "tag": {"model": "resources/world/booru"},
        "prune": {"min_frequency": 0.7},
        "layout": {"repeats": 7},
        "train": {"network_dim": 7},
        "sample": {"steps": 7},
        "score": {"min_trait_share": 0.7},
    }
    new = changed(nodes(root, SWEEP), nodes(root, {**SWEEP, stage: values[stage]}))
    assert list(new) == list(cfg.STAGES[cfg.STAGES.index(stage) :])


def test_one_more_value_adds_only_its_own_bake(root: Path) -> None:
    more = {"sweeps": {"lr": {"grid": {"train.unet_lr": [1e-4, 1e-3, 1e-2, 5e-2]}}}}
    assert changed(nodes(root, SWEEP), nodes(root, more)) == dict.fromkeys(
        ("train", "sample", "score", "compare"), 1
    )


def test_one_more_variant_with_a_new_setting_renames_nothing(root: Path) -> None:
    more = {"sweeps": {"lr": {**SWEEP["sweeps"]["lr"], "variants": [{"train.network_dim": 4}]}}}
    assert changed(nodes(root, SWEEP), nodes(root, more)) == dict.fromkeys(
        ("train", "sample", "score", "compare"), 1
    )


def test_one_value_less_remakes_only_the_page(root: Path) -> None:
    less = {"sweeps": {"lr": {"grid": {"train.unet_lr": [1e-4, 1e-3]}}}}
    assert changed(nodes(root, SWEEP), nodes(root, less)) == {"compare": 1}


def test_a_page_s_best_lora_is_asked_for_under_the_page_s_key(root: Path) -> None:
    """So that a new recommendation, or going back to an old one, remakes it."""
    marks = set()
    for values in ([1e-4], [1e-3], [1e-4]):
        made = build.build(
            cfg.load({"sweeps": {"lr": {"grid": {"train.unet_lr": values}}}}), [root]
        )
        (page,) = made.of("compare")
        assert page.wanted[-1] == f"results/best/mirael/lr/from-{page.name}.json"
        marks.add(page.wanted[-1])
    assert len(marks) == 2


def made_by(root: Path, raw: dict) -> nodes_module.Graph:
    return build.build(cfg.load(raw), [root])


def swept(**grid: list) -> dict:
    return {"sweeps": {"a": {"grid": {k.replace("__", "."): v for k, v in grid.items()}}}}


def test_folders_and_loras_say_what_differs_in_their_sweep(root: Path) -> None:
    raw = swept(train__network_dim=[8, 16], train__network_alpha=[1, "4"], train__seed=[5])
    raw |= {"scrape": {"name": "sylvie"}}
    made = made_by(root, raw)
    expected = ("sylvie-dim8-alpha1", "sylvie-dim8-alpha4", "sylvie-dim16-alpha1",
                "sylvie-dim16-alpha4")  # fmt: skip
    for stage in ("train", "sample", "score"):
        assert tuple(node.readable for node in made.of(stage)) == expected
    (page,) = made.of("compare")
    assert page.names == expected
    assert page.best == "results/best/sylvie/a"


def test_a_bake_that_differs_from_none_is_called_by_its_rate(root: Path) -> None:
    for raw in ({}, swept(train__network_dim=[8])):
        (page,) = made_by(root, raw).of("compare")
        assert page.parents[0].readable == "mirael-lr0.002"
        assert page.names == ("mirael",), "and its files by the dataset alone"


def test_a_folder_is_found_by_its_key_whatever_it_is_called(root: Path) -> None:
    old = made_by(root, swept(train__network_dim=[8])).of("train")[0]
    (root / old.folder).mkdir(parents=True)
    halved = swept(train__network_dim=[8, 16], train__network_alpha=[2, 4])
    halved["train"] = {"num_epochs": 4}
    plain = swept(train__network_dim=[8, 16])
    first, second = made_by(root, plain).of("train")
    assert first == old, "no other name, so nothing to train"
    assert second.readable == "mirael-dim16"
    (page,) = made_by(root, plain).of("compare")
    assert page.names == ("mirael-dim8", "mirael-dim16"), "the files are called as they differ"
    halved["sweeps"]["a"]["halving"] = {"after": [1]}
    bake = made_by(root, halved).of("train")[0].baked
    (root / f"results/train/of-old-{bake.key}").mkdir()
    made = made_by(root, halved)
    assert {node.baked.name for node in made.of("train")} >= {f"of-old-{bake.key}"}


def test_of_two_folders_with_a_key_the_finished_one_counts(root: Path) -> None:
    key = made_by(root, {}).of("train")[0].key
    for name, finished in (("a", False), ("b", True), ("c", False)):
        folder = root / f"results/train/{name}-{key}"
        folder.mkdir(parents=True)
        if finished:
            (folder / "manifest.json").write_text("{}")
    assert made_by(root, {}).of("train")[0].name == f"b-{key}"


def test_existing_folders_change_no_key(root: Path) -> None:
    raw = swept(train__network_dim=[8, 16])
    before = made_by(root, raw)
    for stage in build.CHAIN:
        for node in before.of(stage):
            (root / f"results/{stage}/elsewhere-{node.key}").mkdir(parents=True)
    after = made_by(root, raw)
    for stage in (*build.CHAIN, "compare"):
        assert [n.key for n in after.of(stage)] == [n.key for n in before.of(stage)]
        renamed = stage != "compare"
        assert all(n.name.startswith("elsewhere-") == renamed for n in after.of(stage))


def test_a_bake_of_two_sweeps_has_one_folder_and_a_name_on_each_page(root: Path) -> None:
    raw = {
        "train": {"unet_lr": 1e-3, "network_dim": 8, "num_epochs": 4},
        "sweeps": {
            "rates": {"grid": {"train.unet_lr": [1e-3, 1e-2]}},
            "ranks": {"grid": {"train.network_dim": [4, 8]}, "halving": {"after": [1]}},
        },
    }
    made = made_by(root, raw)
    rates, ranks = made.of("compare")
    assert rates.names == ("mirael-lr0.001", "mirael-lr0.01")
    assert ranks.names == ("mirael-dim4", "mirael-dim8")
    bakes = made.of("train")
    (bake,) = {n.baked.name for n in bakes if n.rung} & {n.name for n in bakes if not n.rung}
    assert bake.startswith("mirael-lr0.001-"), "rungs of the other sweep are baked there, too"


def test_no_two_bakes_have_one_lora_name(root: Path) -> None:
    long = "x" * 200
    raw = {
        "sweeps": {
            "a": {"variants": [{"train.seed": 1}, {"sample.negative_prompt": "a:b"},
                               {"sample.negative_prompt": "a?b"}]},
            "b": {"variants": [{"sample.negative_prompt": long + "1"},
                               {"sample.negative_prompt": long + "2"}, {"train.network_dim": 9}]},
            "c": {"grid": {"train.network_dim": [9, 10]}, "variants": [{"train.seed": 1}]},
        }
    }  # fmt: skip
    pages = made_by(root, raw).of("compare")
    named = {}
    for page in pages:
        for leaf, name in zip(page.parents, page.names, strict=True):
            assert named.setdefault(name.casefold(), leaf.key) == leaf.key
            assert re.fullmatch(r"[A-Za-z0-9._+-]{1,170}", name)
    assert pages[0].names[0] == pages[2].names[2] == "mirael-seed1"


def test_a_page_of_several_datasets_has_a_folder_of_its_own(root: Path) -> None:
    both = [{"scrape.name": "b"}, {"scrape.name": "a"}]
    (page,) = made_by(root, {"sweeps": {"x": {"variants": both}}}).of("compare")
    assert page.best == "results/best/a,b/x"
    assert page.names == ("b", "a")
    many = [{"scrape.name": f"{letter * 60}"} for letter in "abcdefg"]
    (page,) = made_by(root, {"sweeps": {"x": {"variants": many}}}).of("compare")
    assert len(page.dataset) <= 100


def test_any_stage_can_be_swept(root: Path) -> None:
    raw = {"sweeps": {"prune": {"grid": {"prune.enabled": [True, False]}}}}
    counts = {stage: len(folders) for stage, folders in nodes(root, raw).items()}
    assert counts["tag"] == 1
    assert counts["prune"] == counts["score"] == 2


def test_writing_a_default_out_changes_no_key(root: Path) -> None:
    defaults = cfg.Config().model_dump(mode="json", exclude={"sweeps"})
    assert nodes(root, {}) == nodes(root, defaults)


def test_numbers_written_in_other_ways_are_the_same_bake(root: Path) -> None:
    one = {"train": {"unet_lr": 1e-4, "num_epochs": 3}}
    other = {"train": {"unet_lr": "1e-4", "num_epochs": "3"}}
    assert nodes(root, one) == nodes(root, other)


def test_another_model_under_the_same_name_is_another_bake(root: Path) -> None:
    before = nodes(root, {})
    (root / "resources/world/base/content").write_text("retrained")
    assert list(changed(before, nodes(root, {}))) == ["train", "sample", "score", "compare"]


def test_regularization_pictures_count_by_content(root: Path) -> None:
    (root / "class").mkdir()
    (root / "class/a.png").write_text("a")
    raw = {"layout": {"reg": {"folder": "class", "class_tokens": "1girl"}}}
    before = nodes(root, raw)
    (root / "class/a.txt").write_text("1girl, smile")
    assert list(changed(before, nodes(root, raw))) == list(cfg.STAGES[4:])


def test_a_raised_code_version_remakes_exactly_its_subtree(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = nodes(root, SWEEP)
    monkeypatch.setitem(CODE_VERSIONS, "sample", CODE_VERSIONS["sample"] + 1)
    assert changed(before, nodes(root, SWEEP)) == {"sample": 3, "score": 3, "compare": 1}


def families_of(monkeypatch: pytest.MonkeyPatch, **versions: int) -> None:
    for family in registry.FAMILIES:
        monkeypatch.setattr(type(family), "code_version", versions.get(family.name, 1))


def test_a_mended_family_remakes_its_own_bakes_and_no_others(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, pipeline in (("one", "StableDiffusionPipeline"), ("xl", "StableDiffusionXLPipeline")):
        (root / name).mkdir()
        (root / name / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    raws = [{"train": {"base": base}} for base in ("one", "xl", "owner/name")]
    families_of(monkeypatch)
    before = [nodes(root, raw) for raw in raws]
    families_of(monkeypatch, sdxl=2)
    after = [nodes(root, raw) for raw in raws]
    below = ["train", "sample", "score", "compare"]
    found = [list(changed(a, b)) for a, b in zip(before, after, strict=True)]
    # which family a hub id is of is not known before it is loaded: all count
    assert found == [[], below, below]
    families_of(monkeypatch)
    assert [nodes(root, raw) for raw in raws] == before  # version 1 is no part of a key


def test_a_base_named_part_by_part_counts_by_the_content_of_all(root: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        checkpoint(root / name)
    raw = {"train": {"base": {"checkpoint": "a.safetensors", "vae": "b.safetensors"}}}
    before = nodes(root, raw)
    turned = {"vae": "b.safetensors", "checkpoint": "a.safetensors"}
    assert nodes(root, {"train": {"base": turned}}) == before
    plan = build.build(cfg.load(raw), [root])
    (node,) = plan.of("sample")
    assert build.file_of(node, "train.base", [root]) == {
        "checkpoint": str(root / "a.safetensors"), "vae": str(root / "b.safetensors"),
    }  # fmt: skip
    json.dumps(node.about())
    summary.planned_bakes(plan, [root])
    for name in ("a.safetensors", "b.safetensors"):
        checkpoint(root / name, value=1)
        after = nodes(root, raw)
        assert list(changed(before, after)) == ["train", "sample", "score", "compare"]
        before = after


@pytest.mark.parametrize(
    ("base", "words"),
    [
        (
            {"checkpoint": "x", "wheel": "y"},
            r"^train\.base\.wheel is not a part .* \{checkpoint, vae\} or",
        ),
        ({"vae": "x"}, "train.base names vae, which is not a whole model"),
        ({}, "train.base names nothing"),
        ({"checkpoint": "nowhere.safetensors"}, r"train\.base\.checkpoint names nowhere"),
    ],
)
def test_parts_that_make_no_model_are_refused(root: Path, base: dict, words: str) -> None:
    with pytest.raises(BakeryError, match=words):
        nodes(root, {"train": {"base": base}})


def test_what_does_nothing_with_the_family_is_refused_before_anything_runs(root: Path) -> None:
    (root / "xl").mkdir()
    index = {"_class_name": "StableDiffusionXLPipeline"}
    (root / "xl" / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(BakeryError, match=r"train\.clip_skip is 4, but SDXL always takes"):
        nodes(root, {"train": {"base": "xl", "clip_skip": 4}})


def test_the_order_of_values_changes_no_folder(root: Path) -> None:
    folders = [
        nodes(root, {"sweeps": {"lr": {"grid": {"train.unet_lr": values}}}})
        for values in itertools.permutations([1e-4, 1e-3, 1e-2])
    ]
    assert all(other == folders[0] for other in folders)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"train": {"base": "models/mine.safetensors"}}, ["train.base", "models/mine"]),
        ({"tag": {"model": "resources/nothing"}}, ["tag.model", "does not exist"]),
        ({"scrape": {"folders": ["nowhere/at/all"]}}, ["scrape.folders", "nowhere"]),
        (
            {"layout": {"reg": {"folder": "my/class", "class_tokens": "1girl"}}},
            ["layout.reg.folder", "my/class", "does not exist"],
        ),
        ({"sweeps": {"a": {"grid": {"train.unet_l": [1]}}}}, ["unet_l", "unet_lr"]),
        ({"sweeps": {"a": {"grid": {"unet_lr": [1]}}}}, ["unet_lr", "train.unet_lr"]),
        ({"sweeps": {"a": {"grid": {"train.unet_lr": []}}}}, ["empty"]),
        ({"sweeps": {"a": {"grid": {"compare.title": ["x"]}}}}, ["compare.title", "page"]),
        ({"sweeps": {"a": {"grid": {"train.unet_lr": ["fast"]}}}}, ["train.unet_lr", "fast"]),
    ],
)
def test_bad_plans_are_refused_in_words(root: Path, raw: dict, words: list[str]) -> None:
    with pytest.raises(BakeryError) as caught:
        build.build(cfg.load(raw), [root])
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_hub_id_is_not_a_missing_file(root: Path) -> None:
    assert named_files.locate("SmilingWolf/wd-swinv2-tagger-v3", [root], "tag.model") is None


def test_asking_for_a_folder_outside_the_plan_says_what_there_is(root: Path) -> None:
    made = build.build(cfg.load({}), [root])
    with pytest.raises(BakeryError, match=r"results/train/nothing .* known are mirael"):
        made.node("train", "nothing")


def test_a_bake_on_two_pages_is_called_by_each_page_s_own_words(root: Path) -> None:
    raw = {
        "train": {"unet_lr": 1e-3, "network_dim": 8},
        "sweeps": {
            "rates": {"grid": {"train.unet_lr": [1e-3, 1e-2]}},
            "ranks": {"grid": {"train.network_dim": [4, 8]}},
        },
    }
    made = build.build(cfg.load(raw), [root])
    labels = {
        page.readable: [b["label"] for b in summary.bakes_of(page)] for page in made.of("compare")
    }
    assert labels == {
        "rates": ["unet_lr 0.001", "unet_lr 0.01"],
        "ranks": ["network_dim 4", "network_dim 8"],
    }
    assert len(made.of("train")) == 3, "the config's own bake is on both pages and trained once"


def test_a_label_spells_values_as_the_config_does(root: Path) -> None:
    raw = {"sweeps": {"s": {"grid": {"train.min_snr_gamma": [None, 5], "train.flip_aug": [True]}}}}
    (page,) = build.build(cfg.load(raw), [root]).of("compare")
    assert page.labels == ("min_snr_gamma null, flip_aug true", "min_snr_gamma 5, flip_aug true")


def test_how_fast_is_not_what(root: Path) -> None:
    fast = {"tag": {"batch_size": 1}, "score": {"batch_size": 1}}
    assert nodes(root, fast) == nodes(root, {})


def test_how_folders_are_read_counts_only_where_there_is_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "mine").mkdir()
    raw: dict[str, dict] = {
        "none": {},
        "scrape": {"scrape": {"folders": ["mine"]}},
        "layout": {"layout": {"reg": {"folder": "mine", "class_tokens": "1girl"}}},
        "train": {"train": {"reg_data_dir": "mine"}},
    }
    before = {name: nodes(root, one) for name, one in raw.items()}
    for module in (settings_scrape, settings_layout, settings_train):
        monkeypatch.setattr(module, "FOLDERS_READ", settings_scrape.FOLDERS_READ + 1)
    for name, one in raw.items():
        first = next(iter(changed(before[name], nodes(root, one))), "none")
        assert first == name


@pytest.mark.parametrize(
    "setting", [{"general_threshold": 0.5}, {"character_threshold": 0.5}, {"source": "union"}]
)
def test_what_is_believed_of_the_tagger_needs_no_new_tags(root: Path, setting: dict) -> None:
    new = changed(nodes(root, {}), nodes(root, {"prune": setting}))
    assert list(new) == list(cfg.STAGES[cfg.STAGES.index("prune") :])


def test_a_pinned_hub_revision_is_a_hub_id(root: Path) -> None:
    assert named_files.locate("owner/model@v1.0", [root], "tag.model") is None


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("exclude.txt", "filter"),
        ("include.txt", "filter"),
        ("tags.csv", "prune"),
        ("captions/a.txt", "layout"),
        ("boxes.csv", "layout"),
    ],
)
def test_a_hand_edit_remakes_the_stage_that_heeds_it_and_all_below(
    root: Path, name: str, stage: str
) -> None:
    before = nodes(root, SWEEP)
    edit = root / "config/edits/mirael" / name
    edit.parent.mkdir(parents=True)
    edit.write_text("a")
    with_edit = nodes(root, SWEEP)
    assert list(changed(before, with_edit)) == list(cfg.STAGES[cfg.STAGES.index(stage) :])
    edit.write_text("b")
    assert list(changed(with_edit, nodes(root, SWEEP))) == list(changed(before, with_edit))
    edit.unlink()
    assert not changed(before, nodes(root, SWEEP))


def test_hand_edits_of_another_dataset_change_nothing(root: Path) -> None:
    before = nodes(root, SWEEP)
    other = root / "config/edits/someone_else"
    other.mkdir(parents=True)
    (other / "exclude.txt").write_text("a.png")
    assert not changed(before, nodes(root, SWEEP))


def test_a_node_knows_its_hand_edits(root: Path) -> None:
    folder = root / "config/edits/mirael"
    folder.mkdir(parents=True)
    (folder / "exclude.txt").write_text("a.png")
    made = build.build(cfg.load({}), [root])
    (node,) = made.of("filter")
    assert build.edits_of(node, [root]) == {"exclude.txt": str(folder / "exclude.txt")}
    (node,) = made.of("prune")
    assert build.edits_of(node, [root]) == {}


@pytest.mark.parametrize(
    ("setting", "values", "together"),
    [
        ("train.unet_lr", [1e-4, 1e-3, 1e-2], 3),
        ("train.network_dim", [4, 8], 2),  # not trained together, but drawn
        ("layout.repeats", [1, 2], 2),
        ("train.clip_skip", [1, 2], 1),
        ("train.zero_terminal_snr", [True, False], 1),
        ("sample.steps", [10, 20], 1),
        ("prune.enabled", [True, False], 1),
    ],
)
def test_which_bakes_are_drawn_together(
    root: Path, setting: str, values: list, together: int
) -> None:
    made = build.build(cfg.load({"sweeps": {"a": {"grid": {setting: values}}}}), [root])
    for node in made.of("sample"):
        group = made.group(node)
        assert len(group) == together
        assert node in group
        assert all(made.group(other) == group for other in group)
