"""The status page: what runs, what is finished, where the pages are, and what it costs to write."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_bakes import made_bake
from PIL import Image

from bakery.io import manifest
from bakery.jobs import claims, stop_requests
from bakery.report import disk_use, overview
from bakery.sampling import newest
from bakery.settings.compare import Compare
from bakery.stages import compare

NASTY = '<script>fetch("http://evil.example/")</script>'
STATUS = {
    "doing": "training", "done": 25, "of": 100, "per_second": 0.5, "eta_seconds": 4000.0,
    "epoch": 2, "epochs": 4, "loss": 0.0412,
}  # fmt: skip


def running(**about: Any) -> dict[str, Any]:
    return {"label": "mirael-lr0.002", "stage": "train", "folder": "", "status": STATUS} | about


def baking(root: Path, name: str, steps: int, *, of: int = 40) -> Path:
    """A train folder without a manifest after so many steps."""
    folder = root / "results" / "train" / name
    folder.mkdir(parents=True)
    lines = [
        {"step": step, "steps": of, "epoch": 1 + step * 4 // (of + 1), "epochs": 4,
         "eta_seconds": 2.0 * (of - step), "loss": 0.5, "loss_average": 1 / step}
        for step in range(1, steps + 1)
    ]  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / manifest.PROGRESS).write_text(text + '{"step": ')  # the next one is being written
    return folder


def finished(root: Path, sweep: str) -> Path:
    """The folder of a made sweep of one bake."""
    bakes = [made_bake(root, sweep, [(0.2, 0.9), (0.8, 0.8)])]
    out = root / "results" / "compare" / f"{sweep}-0123456789ab"
    summary = compare.run(Compare(), bakes=bakes, out=out, sweep=sweep)
    manifest.write(out, {"stage": "compare", "settings": {}, "above": {}}, summary)
    return out


def page(root: Path, jobs: list[dict[str, Any]] | None = None) -> str:
    return overview.write(root, jobs or []).read_text(encoding="utf-8")


def test_before_anything_has_run_there_is_a_page(tmp_path: Path) -> None:
    html = page(tmp_path)
    assert "Nothing is finished yet" in html
    assert 'http-equiv="refresh"' not in html


def test_it_loads_itself_again_only_while_something_runs(tmp_path: Path) -> None:
    html = page(tmp_path, [running()])
    assert f'<meta http-equiv="refresh" content="{overview.REFRESH}">' in html
    assert "<title>1 running: LoRA Bakery</title>" in html
    said = "training, 25 of 100, epoch 2 of 4, 2.0 s each, 67 min left, loss 0.0412"
    assert said in html
    assert "starting" in page(tmp_path, [running(status={})])
    assert "refresh" not in page(tmp_path).partition("</head>")[0]


def test_a_running_bake_says_how_to_end_it_and_that_it_ends(tmp_path: Path) -> None:
    folder = baking(tmp_path, "mirael-lr0.002-abc", 20)
    line = f"touch results/train/{folder.name}/stop-after-epoch"
    assert line in page(tmp_path, [running()])
    assert line not in page(tmp_path), "nothing trains"
    html = page(tmp_path, [running(status=STATUS | {"ending": [folder.name]})])
    assert line not in html
    assert "epoch 2 of 4, stopping after this epoch" in html
    baking(tmp_path, "mirael-lr0.01-def", 40)
    assert "lr0.01-def/stop-after-epoch" not in page(tmp_path, [running()]), "its last epoch"


def test_the_newest_pictures_of_a_running_bake_are_shown_as_they_come(tmp_path: Path) -> None:
    folder = baking(tmp_path, "mirael-lr0.002-abc", 20)
    images = tmp_path / "results" / "sample" / "mirael-lr0.002-def" / "images"
    images.mkdir(parents=True)
    names = [images / f"e2_{name}_s1.png" for name in ("alone", "beach", "street")]
    newest.record(folder, 2, names)
    assert 'class="newest"' not in page(tmp_path, [running()])
    Image.new("RGB", (64, 64), "red").save(names[0])
    names[1].write_bytes(b"half a picture")
    html = page(tmp_path, [running()])
    assert html.count('of epoch 2">') == 1
    assert "Epoch 2, drawn while it trains" in html
    newest.record(folder, 3, [images / "e3_alone_s1.png"])
    assert "Epoch 2, drawn while it trains" in page(tmp_path, [running()]), "until there is one"
    Image.new("RGB", (64, 64), "blue").save(images / "e3_alone_s1.png")
    assert "Epoch 3, drawn while it trains" in page(tmp_path, [running()])
    (folder / newest.NAME).write_text('{"epoch"')
    assert 'class="newest"' not in page(tmp_path, [running()])


def test_a_bake_stopped_by_a_person_says_so_and_how_it_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "train" / "mirael-lr0.002-abc"
    folder.mkdir(parents=True)
    stop_requests.record(folder, "owner", 6, 10)
    assert "Stopped by you" not in page(tmp_path), "not finished: it is still to be recorded"
    claims.finish(folder, {})
    html = page(tmp_path)
    assert "stopped by you after epoch 6 of 10" in html
    assert "--config resume=mirael-lr0.002-abc" in html


def test_a_bake_is_shown_with_its_curve_while_it_has_no_manifest(tmp_path: Path) -> None:
    folder = baking(tmp_path, "mirael-lr0.002-abc", 20)
    html = page(tmp_path, [running()])
    assert "step 20 of 40, epoch 2 of 4, 40 s left, loss 0.0500" in html
    (line,) = re.findall(r'<path class="line" d="([^"]*)"', html)
    assert line.count("L") == 19
    assert "last step" in page(tmp_path), "without a job nothing is left of the time left"
    (folder / manifest.NAME).write_text("{}")
    assert "mirael-lr0.002-abc" not in page(tmp_path, [running()])


def test_the_loss_on_held_out_pictures_is_a_second_curve(tmp_path: Path) -> None:
    folder = baking(tmp_path, "mirael-lr0.002-abc", 400, of=400)
    assert "held-out" not in page(tmp_path, [running()])
    lines = (folder / manifest.PROGRESS).read_text().splitlines()[:400]
    for number in (99, 199, 299):
        lines[number] = json.dumps(json.loads(lines[number]) | {"validation_loss": 0.4})
    (folder / manifest.PROGRESS).write_text("".join(f"{line}\n" for line in lines))
    html = page(tmp_path, [running()])
    (curve,) = re.findall(r'<path class="line held" d="([^"]*)"', html)
    assert curve.count("L") == 2, "no measurement is left out of a thinned curve"
    assert "dashed: held-out pictures" in html


def test_a_long_curve_has_few_points_and_ends_at_the_last_step(tmp_path: Path) -> None:
    baking(tmp_path, "long", 5000, of=8000)
    html = page(tmp_path, [running()])
    assert "step 5000 of 8000" in html
    (line,) = re.findall(r'<path class="line" d="([^"]*)"', html)
    assert 100 < line.count("L") <= overview.POINTS


def test_a_damaged_record_costs_points_and_not_the_page(tmp_path: Path) -> None:
    folder = baking(tmp_path, "odd", 3)
    record = folder / manifest.PROGRESS
    record.write_text('nonsense\n[1]\n{"step": 1}\n' + record.read_text() + "\n")
    assert "step 3 of 40" in page(tmp_path)
    record.write_text("")
    assert "odd" not in page(tmp_path)


def test_a_sweep_has_its_recommendation_its_picture_and_its_pages(tmp_path: Path) -> None:
    out = finished(tmp_path, "lr")
    others = ("filter/mirael #1-k/contact_sheet.html", "prune/p-k/prune.html", "plan/index.html")
    for other in others:
        path = tmp_path / "results" / other
        path.parent.mkdir(parents=True)
        path.write_text("x")
    html = page(tmp_path)
    assert "<h1>Epoch 1</h1>" in html
    assert 'src="data:image/webp;base64,' in html
    links = re.findall(r'href="([^"#:]+)"', html)
    assert f"compare/{out.name}/index.html" in links
    assert "filter/mirael%20%231-k/contact_sheet.html" in links
    assert {"plan/index.html", f"compare/{out.name}/grid.jpg"} <= set(links)
    (lora,) = [link for link in links if link.endswith(".safetensors")]
    for link in (lora, f"compare/{out.name}/index.html"):
        assert (tmp_path / "results" / link).is_file()


def test_the_newest_comparison_comes_first(tmp_path: Path) -> None:
    for age, sweep in enumerate(("new", "old")):
        out = finished(tmp_path, sweep)
        os.utime(out / manifest.NAME, (1e9 - age, 1e9 - age))
    html = page(tmp_path)
    assert "The newest comparison is of new." in html
    assert html.index(">new</a>") < html.index(">old</a>")
    (out / manifest.NAME).write_text("cut sho")
    assert ">old</a>" in page(tmp_path)
    (out / "grid.jpg").write_bytes(b"no picture")
    assert ">old</a>" in page(tmp_path)


def test_nothing_in_the_data_can_become_markup(tmp_path: Path) -> None:
    html = page(tmp_path, [running(label=NASTY, status=STATUS | {"doing": NASTY})])
    assert html.count("<script>") == 1
    assert str(tmp_path) not in html


def test_fifty_bakes_cost_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has not changed is not read again."""
    for number in range(25):
        baking(tmp_path, f"bake-{number}", 3000, of=8000)
        for stage in ("train", "sample", "score"):
            folder = tmp_path / "results" / stage / f"done-{number}"
            folder.mkdir(parents=True)
            for file in (manifest.NAME, "grid.png", manifest.PROGRESS, *map(str, range(40))):
                (folder / file).write_text("{}")
    finished(tmp_path, "lr")
    big = Image.effect_noise((2000, 6000), 60).convert("RGB")
    big.save(tmp_path / "results/compare/lr-0123456789ab/grid.jpg")
    monkeypatch.setattr(disk_use, "_COARSE", 0)  # its folders have just been made
    page(tmp_path, [running()])
    times = []
    for _ in range(5):
        begun = time.process_time()
        page(tmp_path, [running()])
        times.append(time.process_time() - begun)
    assert min(times) < 0.3


@pytest.mark.parametrize(
    ("ago", "counted"), [(0, 2), (1, 2), (3, 1), (-99, 2)], ids=["now", "just", "long ago", "ahead"]
)
def test_a_change_that_bears_the_time_of_the_last_one_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ago: int, counted: int
) -> None:
    """As on file systems whose clock ticks seldom; what changed long ago is not counted again."""
    folder, at = tmp_path / "train", time.time_ns()
    folder.mkdir()
    monkeypatch.setattr(disk_use, "time", SimpleNamespace(time_ns=lambda: at))
    for number in (1, 2):
        (folder / str(number)).write_bytes(b"x")
        os.utime(folder, ns=(at, at - ago * 10**9))
        found = disk_use.by_stage(tmp_path)
    assert found == [("train", counted)]


def test_disk_use_is_by_stage_and_counts_a_file_once(tmp_path: Path) -> None:
    for place, size in (("scrape/a/images", 1000), ("train/b", 300), ("cache/00", 50)):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "file").write_bytes(b"x" * size)
    (tmp_path / "layout/c/5_c").mkdir(parents=True)
    os.link(tmp_path / "scrape/a/images/file", tmp_path / "layout/c/5_c/file")
    expected = [("scrape", 1000), ("layout", 0), ("train", 300), ("cache", 50)]
    assert disk_use.by_stage(tmp_path) == expected
    (tmp_path / "train/b/more").write_bytes(b"x" * 7)
    assert disk_use.by_stage(tmp_path)[2] == ("train", 307)
    (tmp_path / "train/b/file").unlink()
    assert disk_use.by_stage(tmp_path)[2] == ("train", 7)
    assert disk_use.by_stage(tmp_path / "nothing") == []


@pytest.mark.parametrize("width", [390, 1280])
def test_browser_it_fits_and_asks_for_nothing(opened_page: Any, tmp_path: Path, width: int) -> None:
    finished(tmp_path, "a_sweep_with_a_very_long_name_" * 3)
    baking(tmp_path, "a-bake-with-a-very-long-name-" * 3, 9)
    file = overview.write(tmp_path, [running(label="x" * 90)])
    with opened_page(file, width, 800) as (opened, asked):
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        assert not opened.locator("#stale").is_visible()
        (at,) = re.findall(r'data-at="(\d+)"', file.read_text())
        opened.clock.set_fixed_time(int(at) + 600)
        opened.reload()
        assert "10 minutes" in opened.locator("#stale").inner_text()
    assert {url for url in asked if not url.startswith("data:")} == {file.as_uri()}
