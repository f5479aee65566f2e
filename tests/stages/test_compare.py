"""Compare: the table, the recommendation, what stands on the page; a browser opens it in test_page."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from made_bakes import made_bake
from PIL import Image

from bakery.interop import infotext, prompt_syntax
from bakery.io import manifest, seals, tables
from bakery.io.errors import BakeryError
from bakery.pages import page
from bakery.report import comparable, lineage, picture_table, results
from bakery.settings.compare import Compare
from bakery.stages import compare

BASE = (0.2, 0.8)
LOW = [BASE, (0.3, 0.8), (0.4, 0.8)]
GOOD = [BASE, (0.6, 0.75), (0.9, 0.7)]
NASTY = '<script>fetch("http://evil.example/")</script>'
QUOTED = '"><img src=x onerror="document.title=1">'
ENDS = "</script><!--<script>"


def sweep(folder: Path, **changes: Any) -> list[results.Bake]:
    return [
        made_bake(folder, "unet_lr 0.0003", LOW, settings={"train.unet_lr": 3e-4}, **changes),
        made_bake(folder, "unet_lr 0.002", GOOD, settings={"train.unet_lr": 2e-3}, **changes),
    ]


def page_of(baked: list[results.Bake], out: Path, **settings: Any) -> str:
    compare.run(Compare(**settings), bakes=baked, out=out, sweep="lr")
    return (out / "index.html").read_text(encoding="utf-8")


def data_of(html: str) -> dict[str, Any]:
    """What the page's script reads."""
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    return json.loads(block)


def album_of(html: str) -> list[Image.Image]:
    (block,) = re.findall(r'<script type="text/plain" id="album">(.*?)</script>', html, re.S)
    return [Image.open(io.BytesIO(base64.b64decode(line))) for line in block.split("\n") if line]


def test_results_hold_a_row_for_each_bake_and_epoch(tmp_path: Path) -> None:
    more = {"leak": (0.0, 0.1, 0.2)}
    out = tmp_path / "out"
    summary = compare.run(Compare(), bakes=sweep(tmp_path, more=more), out=out, sweep="lr")
    assert summary["bakes"] == 2
    assert summary["verdict"] == "unet_lr 0.002, epoch 2"
    assert summary["best_bake"] == "unet_lr 0.002"
    assert summary["best_epoch"] == 2
    assert summary["best_file"] == "mirael.safetensors"
    assert summary["best_lora"] == "mirael-e02"
    assert list(summary["own_epochs"].values()) == [2, 2]
    assert summary["best_train"] == sweep(tmp_path, more=more)[1].folders["train"].name
    table = tables.read(out / "results.csv", ())
    assert list(table.columns) == [
        "label", "train.unet_lr", "epoch", "lora", "fidelity", "fidelity_low", "fidelity_high",
        "flexibility", "flexibility_low", "flexibility_high", "leak", "leak_low", "leak_high",
        "loss", "file", "sshs_model_hash",
    ]  # fmt: skip
    assert len(table) == 6
    row = table.iloc[4].to_dict()
    assert (row["label"], row["train.unet_lr"]) == ("unet_lr 0.002", "0.002")
    assert (row["epoch"], row["fidelity"], row["leak"]) == ("1", "0.6", "0.1")
    assert row["file"] == "mirael-000001.safetensors"
    assert len(row["sshs_model_hash"]) == 64
    assert table.iloc[3]["epoch"] == "0"
    assert row["lora"] == "mirael-e01"
    assert table.iloc[3]["file"] == table.iloc[3]["lora"] == ""


def test_the_loss_on_held_out_pictures_is_drawn_and_judges_nothing(tmp_path: Path) -> None:
    baked = sweep(tmp_path)
    before = compare.run(Compare(), bakes=baked, out=tmp_path / "without", sweep="lr")
    assert "Held-out loss" not in (tmp_path / "without/index.html").read_text("utf-8")
    losses = [{"epoch": e, "step": e, "t": t, "loss": t + e} for e in range(3) for t in (0.2, 0.4)]
    tables.write(baked[0].folders["train"] / manifest.VALIDATION, losses, manifest.VALIDATED)
    (one, other) = (results.read_bake(bake) for bake in baked)
    assert one.held_out == [
        (0, pytest.approx(0.3)),
        (1, pytest.approx(1.3)),
        (2, pytest.approx(2.3)),
    ]
    assert other.held_out == []
    more = dict.fromkeys(("nearer", "same_character", "difference"), (0.1, 0.2, 0.3))
    html = page_of(sweep(tmp_path, more=more), tmp_path / "with")
    assert "epoch 2: held-out loss 2.3000" in html
    assert "is no judge of an epoch" in html
    for heading in ("Nearer to training", "Same character", "Difference"):
        assert heading in html
    after = compare.run(Compare(), bakes=baked, out=tmp_path / "with", sweep="lr")
    assert after == before, "the recommendation knows of none of them"


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    baked = sweep(tmp_path)
    assert page_of(baked, tmp_path / "results/1") == page_of(baked, tmp_path / "results/1")
    assert str(tmp_path) not in page_of(baked, tmp_path / "results/2")


def test_a_shot_stands_once_and_a_shared_base_for_all(tmp_path: Path) -> None:
    baked = [results.read_bake(bake) for bake in sweep(tmp_path)]
    table = picture_table.arrange(baked, [1, 0], 4)
    assert table.shared_base
    assert (table.epochs, list(table.seeds)) == ([0, 1, 2], ["1", "2"])
    assert [p.id for p in table.prompts] == ["trigger", "beach"]
    assert len(table.shots) == 5 * 2 * 2
    for prompt in range(2):
        assert table.cells[0][prompt][0] == table.cells[1][prompt][0]
    for b, one in enumerate(baked):
        for p, prompt in enumerate(table.prompts):
            for e, epoch in enumerate(table.epochs):
                for s, seed in enumerate(table.seeds):
                    shot = table.shots[table.cells[b][p][e][s]]
                    assert (shot.epoch, shot.prompt_id, shot.seed) == (epoch, prompt.id, seed)
                    assert epoch == 0 or shot.path.parents[1] == one.bake.folders["sample"]
    first = table.shots[:4]  # the base gets room first, then the best bake
    assert [shot.epoch for shot in first] == [0, 0, 1, 1]
    assert first[2].path.parents[1] == baked[1].bake.folders["sample"]


def test_bakes_of_different_bases_show_each_its_own(tmp_path: Path) -> None:
    baked = [
        results.read_bake(made_bake(tmp_path, "x", LOW)),
        results.read_bake(made_bake(tmp_path, "y", LOW, hue=90)),  # other pixels
    ]
    assert not results.same_base(*baked)
    table = picture_table.arrange(baked, [0, 1], 1)
    assert table.cells[0][0][0] != table.cells[1][0][0]
    other = made_bake(tmp_path, "z", LOW, prompts={"trigger": "mirael", "beach": "snow"})
    assert not results.same_base(baked[0], results.read_bake(other))  # another prompt


def test_prompts_and_seeds_that_only_one_bake_has_leave_cells_empty(tmp_path: Path) -> None:
    pair = [
        made_bake(tmp_path, "x", LOW, prompts={"trigger": "mirael"}),
        made_bake(tmp_path, "y", LOW, prompts={"night": "mirael, night"}, seeds=(2, 3)),
    ]
    found = data_of(page_of(pair, tmp_path / "out"))
    assert found["seeds"] == ["1", "2", "3"]
    present = [[n != -1 for n in found["cells"][b][p][1]] for b in (0, 1) for p in (0, 1)]
    assert present == [
        [True, True, False], [False, False, False], [False, False, False], [False, True, True],
    ]  # fmt: skip


def test_one_prompt_of_several_characters_is_one_row(tmp_path: Path) -> None:
    other = {"prune.trigger": "akari", "prune.class_tokens": "1girl"}
    pair = [
        made_bake(tmp_path, "x", LOW),
        made_bake(tmp_path, "y", LOW, settings=other, dataset="e",
                  prompts={"trigger": "akari, 1girl", "beach": "akari, 1girl, beach, smile"}),
    ]  # fmt: skip
    table = picture_table.arrange([results.read_bake(bake) for bake in pair], [0, 1], 1)
    assert [p.text for p in table.prompts] == ["{trigger}", "{trigger}, beach, smile"]


def test_only_the_own_weight_is_in_the_table(tmp_path: Path) -> None:
    bake = made_bake(tmp_path, "x", LOW, seeds=(1,))
    path = bake.folders["sample"] / "samples.csv"
    table = tables.read(path, ())
    table["weight"] = ["0" if e == "0" else "1.0" if e == "1" else "0.5" for e in table["epoch"]]
    tables.write(path, table.to_dict("records"), list(table.columns))
    assert {epoch for epoch, _, _ in results.read_bake(bake).shots} == {0, 1}


def test_only_settings_that_differ_are_highlighted(tmp_path: Path) -> None:
    pair = sweep(tmp_path)
    assert comparable.differences(pair) == ["train.unet_lr"]
    html = page_of(pair, tmp_path / "out")
    assert '<th scope="col" class="differs">train.unet_lr</th>' in html
    assert re.search(r"\d+ settings are the same in every bake", html)
    values = [True, None, 0.002, 1e-5, 16, "a b", ["1", 2]]
    assert [comparable.shown(v) for v in values] == [
        "true", "null", "0.002", "1e-05", "16", "a b", '["1", 2]',
    ]  # fmt: skip


def test_equal_labels_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    twins = [
        made_bake(tmp_path / n, "mirael-lr0.002", LOW, settings={"train.network_dim": dim})
        for n, dim in (("a", 8), ("b", 16), ("c", 16))
    ]
    labels = [bake.label for bake in comparable.labelled(twins)]
    assert labels[0] == "mirael-lr0.002, network_dim 8"
    assert len(set(labels)) == 3
    assert twins[2].folders["score"].name.rpartition("-")[2] in labels[2]


@pytest.mark.slow
def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    plain = made_bake(tmp_path, "x", LOW)
    assert comparable.notes([results.read_bake(plain)]) == []
    assert comparable.notes([results.read_bake(bake) for bake in sweep(tmp_path)]) == []

    def said(**changes: Any) -> str:
        settings = {name.replace("__", "."): value for name, value in changes.items()}
        other = {
            key: settings.pop(key) for key in ("dataset", "seeds", "prompts") if key in settings
        }
        one = made_bake(tmp_path / f"{changes}"[:40], "y", LOW, settings=settings, **other)
        return " ".join(comparable.notes([results.read_bake(plain), results.read_bake(one)]))

    assert "trained on different pictures" in said(dataset="e")
    assert "same tagger" in said(tag__model="another")
    assert "Prompts or seeds differ" in said(seeds=(7,))
    assert "Prompts or seeds differ" in said(prompts={"trigger": "mirael", "beach": "mirael, snow"})
    akari = said(
        prune__trigger="akari", prompts={"trigger": "akari", "beach": "akari, beach, smile"}
    )
    assert "different characters" in akari
    assert "Prompts" not in akari, "the same but for the trigger"
    assert "not the same noise" in said(sample__steps=5)
    assert "different weights" in said(score__leak_weight=2)
    html = page_of([plain, made_bake(tmp_path, "y", LOW, dataset="e")], tmp_path / "out")
    assert "trained on different pictures" in html


def test_the_way_from_the_posts_to_the_steps(tmp_path: Path) -> None:
    baked = [results.read_bake(bake) for bake in sweep(tmp_path)]
    (line,) = lineage.trace(baked)
    assert line.bakes == ["unet_lr 0.0003", "unet_lr 0.002"]
    assert [(step.number, step.what) for step in line.steps] == [
        ("12", "posts looked at"), ("10", "pictures fetched"), ("7", "pictures kept"),
        ("2", "tags pruned"), ("7", "pictures laid out"), ("9", "steps an epoch"),
    ]  # fmt: skip
    assert [step.detail for step in line.steps][-2] == "in 5_mirael"
    assert line.dropped == {"rating": 2, "too small": 1, "duplicate": 1}
    assert line.dropped_total == 3
    assert line.unfetched == {"404 Not Found": 2}
    assert [tag for tag, _ in line.pruned] == ["halo", "pink hair"]
    assert line.kept == [("red jacket", 5), ("smile", 3)]
    other = results.read_bake(made_bake(tmp_path, "z", LOW, dataset="e"))
    assert [line.bakes for line in lineage.trace([*baked, other])][1] == ["z"]


def test_what_the_second_look_drops_is_part_of_the_way(tmp_path: Path) -> None:
    baked = [results.read_bake(bake) for bake in sweep(tmp_path)]
    folder = baked[0].bake.folders["prune"]
    about = json.loads((folder / "manifest.json").read_text())
    about["summary"]["second_look"] = {"images": 5, "dropped": 1, "reasons": {"too_small": 1}}
    seals.write(folder / "manifest.json", json.dumps(about))
    rows = [{"image": "a.png", "kept": "false", "reasons": "monochrome;duplicate"}]
    tables.write(folder / "second_look.csv", rows, ("image", "kept", "reasons"))
    (line,) = lineage.trace(baked)
    assert [(step.number, step.what, step.detail) for step in line.steps][2:4] == [
        ("7", "pictures kept", "3 dropped"),
        ("1", "pictures dropped by a second look", "of 5 without booru tags"),
    ]
    assert line.dropped == {"rating": 2, "too small": 1, "duplicate": 2, "monochrome": 1}
    assert line.dropped_total == 4


def test_pictures_are_inlined_faithfully_and_once(tmp_path: Path) -> None:
    html = page_of(sweep(tmp_path), tmp_path / "out", thumbnail=32)
    found, album = data_of(html), album_of(html)
    assert len(found["shots"]) == 20
    assert len(album) == len({shot[0] for shot in found["shots"]})
    assert all(shot[0] == shot[1] for shot in found["shots"]), "small pictures are their thumbnails"
    shot = found["shots"][found["cells"][0][0][0][0]]
    seen = album[shot[0]].convert("RGB").getpixel((12, 12))
    assert max(abs(a - b) for a, b in zip(seen, (0, 0, 60), strict=True)) < 8


def test_infotexts_are_whole(tmp_path: Path) -> None:
    pair = sweep(tmp_path)
    found = data_of(page_of(pair, tmp_path / "out"))
    for b, p, e, s in ((0, 0, 0, 0), (0, 1, 1, 1), (1, 1, 2, 0)):
        shot = found["shots"][found["cells"][b][p][e][s]]
        file = pair[b].folders["sample"] / "images" / shot[3]
        own = infotext.read_png(file)
        trained = {1: "mirael-000001", 2: "mirael"}.get(e, "")
        leaving = own.replace(f"lora:{trained}:", f"lora:mirael-e0{e}:")
        leaving = leaving.replace(f'"{trained}: ', f'"mirael-e0{e}: ')
        assert "".join(found["pieces"][i] for i in shot[5]) == leaving
        assert (own == leaving) == (e == 0), "a LoRA is called as the file that leaves"
        assert (tmp_path / "out" / found["folders"][shot[2]] / shot[3]).is_file()


def noise(folder: Path, side: int) -> None:
    """Puts pictures that no codec can make small in place of those in `folder`."""
    for picture in sorted(folder.iterdir()):
        info = infotext.parse(infotext.read_png(picture))
        made = Image.effect_noise((side, side), 60).convert("RGB")
        infotext.save_png(made, picture, info)


@pytest.mark.slow
def test_whole_pictures_are_inside_while_there_is_room(tmp_path: Path) -> None:
    bake = made_bake(tmp_path, "x", LOW, size=(400, 300), seeds=(1,))
    html = page_of([bake], tmp_path / "out", thumbnail=64)
    found, album = data_of(html), album_of(html)
    assert {album[shot[0]].size for shot in found["shots"]} == {(128, 96)}
    assert {album[shot[1]].size for shot in found["shots"]} == {(400, 300)}
    assert found["sizes"] == [[400, 300]]
    noise(bake.folders["sample"] / "images", 500)
    html = page_of([bake], tmp_path / "out", thumbnail=64, max_mb=1)
    wholes = [shot[1] for shot in data_of(html)["shots"]]
    assert -1 in wholes, "not all of six large pictures fit into 1 MB"
    assert "read from <code>results/sample</code>" in html
    assert len(html.encode()) <= 1_000_000


@pytest.mark.slow
def test_a_page_keeps_its_size_by_coarser_then_fewer_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bake = made_bake(tmp_path, "a", [BASE] * 2, seeds=(1, 2, 3))
    noise(bake.folders["sample"] / "images", 128)
    large = page_of([bake], tmp_path / "out", thumbnail=64)
    bare = len(re.sub(r'id="album">.*?<', "<", large, flags=re.S).encode())
    album = len(large.encode()) - bare
    found = []
    for room in (album // 2, album // 8):
        monkeypatch.setattr(compare, "REPORT_BYTES", bare + room)
        page_of([bake], tmp_path / "out", thumbnail=64)
        report = (tmp_path / "out/report.html").read_text("utf-8")
        assert len(report.encode()) <= bare + room
        assert "index.html</code>" in report
        assert not [shot for shot in data_of(report)["shots"] if shot[0] == -1]
        found.append(len(data_of(report)["seeds"]))
    assert found == [3, 1], "coarser first, then fewer seeds"
    assert "2 more seeds are in the sample folders" in report


@pytest.mark.slow
def test_when_nothing_else_helps_the_last_bakes_lose_their_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = [made_bake(tmp_path, n, s, seeds=(1,)) for n, s in (("a", LOW), ("b", GOOD))]
    for bake in pair:
        noise(bake.folders["sample"] / "images", 96)
    bare = len(
        re.sub(r'id="album">.*?<', "<", page_of(pair, tmp_path / "out"), flags=re.S).encode()
    )
    monkeypatch.setattr(compare, "REPORT_BYTES", bare + 9_000)
    page_of(pair, tmp_path / "out")
    html = (tmp_path / "out/report.html").read_text("utf-8")
    found = data_of(html)
    assert len(html.encode()) <= bare + 9_000
    absent = [shot[0] == -1 for shot in found["shots"]]
    assert any(absent)
    assert not all(absent)
    held = [not absent[found["cells"][b][0][2][0]] for b in (0, 1)]
    assert held in ([False, True], [False, False]), "the worse bake goes first"
    assert f"{sum(absent)} of {len(absent)} pictures did not fit" in html
    for shot in found["shots"]:
        assert (tmp_path / "out" / found["folders"][shot[2]] / shot[3]).is_file()


def test_nothing_in_the_data_can_become_markup(tmp_path: Path) -> None:
    prompts = {"trigger": NASTY, "beach": QUOTED, "night": ENDS}
    pair = [
        made_bake(tmp_path, f"{NASTY} {n}", GOOD, prompts=prompts, missing=(QUOTED, ENDS),
                  settings={"train.base": f"{QUOTED} {n}", "prune.trigger": NASTY})
        for n in "ab"
    ]  # fmt: skip
    prune = pair[0].folders["prune"] / "prune.csv"
    row = {"tag": ENDS, "count": 3, "decision": "prune", "reason": QUOTED}
    tables.write(prune, [row], list(row))
    compare.run(Compare(title=NASTY), bakes=pair, out=tmp_path, sweep=QUOTED)
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script[^>]*>", html) == [
        '<script type="application/json" id="data">', '<script type="text/plain" id="album">',
        "<script>",
    ]  # fmt: skip
    assert html.count("</script>") == 3
    assert "<img src=x" not in html
    assert "&lt;script&gt;" in html
    markup = re.sub(r"<script.*?</script>", "", html, flags=re.S)
    assert not re.search(r"<[^>]+\son\w+=", re.sub(r'"[^"]*"', '""', markup))
    assert prompt_syntax.escape(NASTY) in "".join(data_of(html)["pieces"])


def test_json_in_the_page_is_what_went_in() -> None:
    value = {"a": [ENDS, "\u2028 é", 1, None], "b": NASTY}
    block = str(page.data(value))
    assert "<" not in block
    assert json.loads(block) == value


def test_what_does_not_fit_together_is_said(tmp_path: Path) -> None:
    with pytest.raises(BakeryError, match="sweep lr has no bake"):
        compare.run(Compare(), bakes=[], out=tmp_path, sweep="lr")
    (bake, other) = sweep(tmp_path)
    (bake.folders["train"] / "epochs.csv").write_text(
        "epoch,step,file,sshs_model_hash,loss\n1,1,a.safetensors,00,0.1\n"
    )
    with pytest.raises(BakeryError, match="do not both know epoch 2"):
        compare.run(Compare(), bakes=[bake], out=tmp_path / "out", sweep="lr")
    scores = other.folders["score"] / "scores.csv"
    lines = scores.read_text().splitlines()
    scores.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(BakeryError, match=r"does not score e2_beach_s2.png"):
        compare.run(Compare(), bakes=[other], out=tmp_path / "out", sweep="lr")
    scores.write_text("\n".join(lines) + "\n")
    (other.folders["sample"] / "images" / "e2_beach_s2.png").unlink()
    with pytest.raises(BakeryError, match=r"e2_beach_s2.png"):
        compare.run(Compare(), bakes=[other], out=tmp_path / "out", sweep="lr")


def test_what_does_not_beat_the_base_is_not_called_recommended(tmp_path: Path) -> None:
    pages = [
        page_of([made_bake(tmp_path, name, scores)], tmp_path)
        for name, scores in (("good", GOOD), ("worse", [GOOD[2], GOOD[1]]))
    ]
    assert [re.findall(r'<p class="over">(.*?)</p>', page) for page in pages] == [
        ["Recommended"],
        ["Best of these"],
    ]
    chips = [set(re.findall(r'class="chip">(.*?)<', page)) for page in pages]
    assert chips == [{"recommended"}, {"best of these"}]
    assert "ecommended" not in re.sub(r"<(script|style).*?</\1>", "", pages[1], flags=re.DOTALL)


def test_without_scores_there_is_a_page_but_no_recommendation(tmp_path: Path) -> None:
    alone = [made_bake(tmp_path, "x", [(math.nan, 0.5), (math.nan, 0.6)])]
    summary = compare.run(Compare(), bakes=alone, out=tmp_path / "out", sweep="lr")
    assert summary["best_file"] is None
    assert summary["best_train"] is None
    html = (tmp_path / "out" / "index.html").read_text()
    assert "Recommended" not in html
    assert "results/best" not in html
    assert data_of(html)["best"] is None
    assert data_of(html)["shots"]
    assert 'width="nan"' not in html
    assert "NaN" not in html.split("</style>")[1].split('<script type="text/plain"')[0]


def test_scores_that_were_not_measured_have_no_place(tmp_path: Path) -> None:
    html = page_of(sweep(tmp_path), tmp_path / "a")
    assert "Leak" not in html
    more = {"leak": (0.0, 0.1, 0.3), "variety": (1.0, math.nan, 0.8)}
    html = page_of(sweep(tmp_path, more=more), tmp_path / "b")
    assert 'data-sort="leak"' in html
    assert "<b>Leak</b>" in html
    assert 'data-sort="variety"' in html
    assert 'data-sort="drift"' not in html


def test_the_answer_to_the_lora_weight_is_drawn(tmp_path: Path) -> None:
    bake = made_bake(tmp_path, "x", LOW)
    score = bake.folders["score"]
    rows = [
        {"epoch": 1, "weight": weight, "fidelity": weight / 2, "flexibility": 1 - weight / 2}
        for weight in (1.2, 0.4, 0.8)
    ]
    tables.write(score / "weights.csv", rows, list(rows[0]))
    about = json.loads((score / "manifest.json").read_text("utf-8"))
    about["summary"] = {"preferred_weight": 0.8, "warnings": ["bleed is empty: <b>"]}
    seals.write(score / "manifest.json", json.dumps(about))
    html = page_of([bake], tmp_path / "out")
    assert "Epoch 1 at other LoRA weights; 0.8 is the one to start from." in html
    assert "weight 0.4: fidelity 20%" in html
    assert "&lt;lora:mirael-e02:0.8&gt;, mirael" in html
    assert "bleed is empty: &lt;b&gt;" in html
