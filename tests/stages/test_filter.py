"""The filter against the planted truth, and each of its checks alone."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bakery.dataset import checks, decisions
from bakery.dataset.checks import Candidate
from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.settings.filter import Filter
from bakery.settings.scrape import Scrape
from bakery.sources import posts
from bakery.sources.posts import Post
from bakery.stages import filter, scrape
from bakery.tags import content
from bakery.vision import duplicates, quality

WORLD = Path(__file__).parents[2] / "resources" / "world" / "booru"


@pytest.fixture(scope="module")
def scraped(tmp_path_factory) -> Path:
    """All of the planted booru, over loopback through gallery-dl."""
    out = tmp_path_factory.mktemp("scrape")
    urls = tuple(f"embedded://posts?tags={name}" for name in ("mirael", "velka", "torrin"))
    settings = Scrape(urls=urls, limit=100_000)
    scrape.run(settings, booru=WORLD, out=out, store=tmp_path_factory.mktemp("store"))
    return out


@pytest.fixture(scope="module")
def truth():
    return tables.read(WORLD / "truth.csv", ("id", "kind", "keep", "reasons")).set_index("id")


def reasons_of(folder: Path) -> dict[str, list[str]]:
    table = tables.read(folder / "decisions.csv", filter.COLUMNS)
    return {row.image: row.reasons.split(";") if row.reasons else [] for row in table.itertuples()}


# --- the planted truth ----------------------------------------------------------------------


def precision_and_recall(scraped: Path, truth, given: dict[str, list[str]]) -> str:
    """A line for each reason: how many are planted, how often it is right, how many it finds."""
    ids = {post.image: post.id for post in posts.read(scraped / "posts.csv") if post.image}
    planted = {image: set(truth.loc[id_, "reasons"].split(";")) for image, id_ in ids.items()}
    lines = ["| reason | planted | precision | recall |", "| --- | --- | --- | --- |"]
    for reason in checks.REASONS:
        said = {image for image, reasons in given.items() if reason in reasons}
        true = {image for image, reasons in planted.items() if reason in reasons}
        if said or true:
            right = len(said & true)
            shares = [right / len(all_) if all_ else 1.0 for all_ in (said, true)]
            lines.append(f"| {reason} | {len(true)} | {shares[0]:.0%} | {shares[1]:.0%} |")
    return "\n".join(lines)


@pytest.mark.slow
def test_every_planted_kind_is_told_with_all_its_reasons(scraped, truth, tmp_path, capsys):
    summary = filter.run(Filter(), scrape=scraped, out=tmp_path)
    given = reasons_of(tmp_path)
    wrong, kept_by_kind = [], {}
    for post in posts.read(scraped / "posts.csv"):
        kind, keep, reasons = truth.loc[post.id, ["kind", "keep", "reasons"]]
        if post.image:
            got = ";".join(given[post.image])
        else:
            got = posts.FORBIDDEN if post.reason == posts.FORBIDDEN else post.status
        if got != reasons:
            wrong.append((post.id, kind, reasons, got))
        kept_by_kind.setdefault((kind, keep), []).append(bool(post.image) and not got)
    with capsys.disabled():
        print("\n" + precision_and_recall(scraped, truth, given))
    assert not wrong
    for (kind, keep), kept in kept_by_kind.items():  # precision and recall of every kind
        assert all(kept) if keep == "true" else not any(kept), kind
    assert summary["kept"] == sum(truth["keep"] == "true") == len(decisions.kept(tmp_path))
    with Image.open(tmp_path / "contact_sheet.jpg") as sheet:
        assert min(sheet.size) > 500


@pytest.mark.slow
def test_the_same_pictures_give_the_same_files(scraped, tmp_path):
    few = tmp_path / "few"
    shutil.copytree(scraped / "images", few / "images")
    posts.write(few / "posts.csv", posts.read(scraped / "posts.csv")[:40])
    for out in ("first", "second"):
        filter.run(Filter(), scrape=few, out=tmp_path / out)
    for name in ("decisions.csv", "contact_sheet.jpg"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


OFF = Filter(min_side=0, max_aspect=None, ratings=(), min_score=None, extra_characters=False,
             monochrome=False, text_heavy=False, ai_generated=False, animation=False, max_blur=1,
             min_jpeg_quality=0, duplicate_distance=-1)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("animation", "animation"), ("min_side", "too_small"), ("ratings", "rating"),
        ("min_score", "score"), ("extra_characters", "extra_character"),
        ("monochrome", "monochrome"),
    ],
)  # fmt: skip
def test_each_check_has_a_switch_and_acts_alone(scraped, truth, tmp_path, setting, reason):
    alone = OFF.model_copy(update={setting: getattr(Filter(), setting)})
    ids = {post.image: post.id for post in posts.read(scraped / "posts.csv") if post.image}
    few = [p for p in posts.read(scraped / "posts.csv")
           if p.image and reason in truth.loc[p.id, "reasons"]][:3]  # fmt: skip
    few += [p for p in posts.read(scraped / "posts.csv") if truth.loc[p.id, "kind"] == "clean"][:2]
    (tmp_path / "images").symlink_to(scraped / "images")
    posts.write(tmp_path / "posts.csv", few)
    filter.run(alone, scrape=tmp_path, out=tmp_path / "on")
    for image, given in reasons_of(tmp_path / "on").items():
        assert given == ([reason] if reason in truth.loc[ids[image], "reasons"] else [])
    filter.run(OFF, scrape=tmp_path, out=tmp_path / "off")
    assert not any(reasons_of(tmp_path / "off").values())


# --- judging by metadata --------------------------------------------------------------------


def judged(settings: Filter = Filter(), color="red", size=(90, 90), **fields) -> list[str]:  # noqa: B008
    image = Image.new("RGB", size, color)
    ImageDraw.Draw(image).rectangle((20, 20, 60, 60), "green" if color == "red" else color)
    grey = quality.is_grey(duplicates.prepare(image))
    candidate = Candidate(Post(**fields), 999, size=size, grey=grey)
    checks.examine(settings, candidate)
    return candidate.reasons


@pytest.mark.parametrize(
    ("general", "character", "several"),
    [
        ("1girl solo", "ada", False),
        ("1girl", "ada bob", True),
        ("2girls", "ada", True),
        ("6+girls", "", True),
        ("3boys", "", True),
        ("1girl 1boy", "ada", True),
        ("multiple_girls", "ada", True),
        ("4koma", "ada", True),
        ("comic", "ada", True),
        ("multiple_earrings multiple_tails", "ada", False),
        ("1girl", "ada ada_(summer)", False),
        ("1girl", "ada_(game) ada_(summer)_(game)", False),
        ("1girl", "ada_(game) eve_(game)", True),
        ("1girl", "ada_(red) ada_(blue)", True),
        ("", "", False),
    ],
)
def test_more_than_one_character(general, character, several):
    post = Post(tags_general=general, tags_character=character)
    assert content.shows_several(post) == several


def test_score_and_rating_at_their_limits():
    assert judged(score="0") == []
    assert judged(score="-1") == ["score"]
    assert judged(score="") == []
    assert judged(Filter(min_score=None), score="-99") == []
    assert judged(rating="") == []
    assert judged(rating="sensitive") == ["rating"]
    assert judged(Filter(ratings=("sensitive",)), rating="general") == ["rating"]
    assert judged(Filter(ratings=("general", "sensitive")), rating="sensitive") == []


def test_side_at_its_limit():
    assert judged(size=(64, 300)) == []
    assert judged(size=(63, 300)) == ["too_small"]
    assert judged(Filter(min_side=0), size=(9, 9)) == []


def test_grey_is_measured_and_read():
    assert judged(color=(120, 120, 126)) == ["monochrome"]
    assert judged(color=(120, 120, 160)) == []
    assert judged(tags_general="greyscale") == ["monochrome"]
    assert judged(Filter(monochrome=False), tags_meta="sketch", color="grey") == []


@pytest.mark.parametrize(
    ("tags", "rating", "refused"),
    [
        ("1girl loli", "general", True), ("shota", "", True), ("child", "explicit", True),
        ("child", "questionable", True), ("child", "general", False),
        ("lolita_fashion", "general", False), ("1girl", "general", False),
    ],
)  # fmt: skip
def test_no_setting_lets_refused_labels_through(tags, rating, refused):
    assert ("forbidden_tag" in judged(OFF, tags_general=tags, rating=rating)) == refused


@pytest.mark.parametrize(
    ("tags", "writing"),
    [
        ("1girl smile", False), ("1girl text_focus", True), ("1girl speech_bubble", True),
        ("1girl english_text", False), ("english_text watermark", False),
        ("english_text japanese_text translation_request", True), ("fake_screenshot", True),
        ("clothes_writing signature artist_name", False),
    ],
)  # fmt: skip
def test_pictures_that_are_mostly_writing(tags, writing):
    assert judged(tags_general=tags) == (["text_heavy"] if writing else [])
    assert judged(Filter(text_heavy=False), tags_general=tags) == []


@pytest.mark.parametrize(
    ("tag", "made"),
    [("ai-generated", True), ("ai_generated", True), ("ai-assisted", True), ("novelai", True),
     ("ai_(artist)", False), ("air_conditioner", False)],
)  # fmt: skip
def test_pictures_made_by_a_model(tag, made):
    assert judged(tags_meta=tag) == (["ai_generated"] if made else [])
    assert judged(Filter(ai_generated=False), tags_meta=tag) == []


def test_unwanted_tags_are_the_user_s_own():
    unwanted = Filter(unwanted_tags=("Cosplay*", "bad hands", "a.c", "*_(medium)"))
    for tag in ("cosplay", "cosplay_photo", "bad_hands", "a.c", "acrylic_(medium)"):
        assert judged(unwanted, tags_general=f"1girl {tag}") == ["unwanted_tag"]
    for tag in ("my_cosplay", "good_bad_hands", "abc", "medium"):
        assert judged(unwanted, tags_general=f"1girl {tag}") == []


def test_shape_at_its_limit():
    assert judged(size=(100, 500)) == judged(size=(500, 100)) == []
    assert judged(size=(100, 501)) == judged(size=(501, 100)) == ["extreme_aspect"]
    assert judged(Filter(max_aspect=None), size=(70, 9999)) == []


def test_what_was_measured_is_held_against_its_limit():
    def reasons(settings: Filter, blur: float, jpeg_quality: int) -> list[str]:
        candidate = Candidate(Post(), 9, size=(90, 90), blur=blur, jpeg_quality=jpeg_quality)
        checks.examine(settings, candidate)
        return candidate.reasons

    assert reasons(Filter(), 0.5, 30) == []
    assert reasons(Filter(), 0.501, 29) == ["blurry", "compressed"]
    assert reasons(Filter(max_blur=1, min_jpeg_quality=0), 0.501, 29) == []


def test_reasons_come_in_their_fixed_order():
    given = judged(score="-5", rating="explicit", tags_general="2girls sketch", size=(20, 120))
    assert given == [
        "too_small", "extreme_aspect", "rating", "score", "extra_character", "monochrome",
    ]  # fmt: skip
    assert given == [reason for reason in checks.REASONS if reason in given]


# --- near-duplicates ------------------------------------------------------------------------


def drawing(seed: int, shift: int = 0) -> Image.Image:
    """Some blots on a coloured ground; `shift` recolours one of them, as another outfit would."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (200, 200), tuple(rng.integers(0, 256, 3).tolist()))
    pen = ImageDraw.Draw(image)
    for number in range(14):
        x, y = rng.integers(0, 160, 2).tolist()
        color = rng.integers(0, 256, 3)
        color = (color + shift) % 256 if number == 13 else color
        pen.ellipse((x, y, x + 60, y + 50), tuple(color.tolist()), "black", 3)
    return image


def saved(image: Image.Image, quality: int) -> Image.Image:
    target = io.BytesIO()
    image.save(target, "JPEG", quality=quality)
    return Image.open(target).convert("RGB")


COPIES = {
    "same": lambda image: image,
    "re-encoded": lambda image: saved(image, 25),
    "smaller": lambda image: image.resize((90, 90), Image.Resampling.BICUBIC),
    "larger": lambda image: image.resize((333, 333), Image.Resampling.BICUBIC),
    "other shape": lambda image: image.resize((200, 190)),
    "brighter": lambda image: image.point(lambda v: min(255, int(v * 1.1))),
    "cropped around": lambda image: image.crop((10, 8, 190, 188)),
    "cropped below": lambda image: image.crop((0, 0, 200, 185)),
    "cropped left": lambda image: image.crop((14, 0, 200, 200)),
}


def repeats(*pictures: Image.Image, distance: int = 6) -> dict[int, int]:
    small = [duplicates.prepare(picture) for picture in pictures]
    return duplicates.representatives(small, range(len(small)), distance)


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_found_whichever_comes_first(name):
    for seed in range(4):
        image = drawing(seed)
        copy = COPIES[name](image)
        assert repeats(image, copy) == {1: 0}
        assert repeats(copy, image) == {1: 0}


def test_other_drawings_and_other_outfits_are_not_copies():
    assert repeats(*(drawing(seed) for seed in range(40))) == {}
    for seed in range(6):
        assert repeats(drawing(seed), drawing(seed, shift=128)) == {}


def test_plain_grounds_of_different_colors_are_not_copies():
    assert repeats(Image.new("RGB", (99, 99), "red"), Image.new("RGB", (99, 99), "blue")) == {}


@pytest.mark.slow
def test_distance_is_a_limit_on_hash_bits():
    image = drawing(3)
    copy = saved(COPIES["cropped around"](image), 60)
    found = [distance for distance in range(33) if repeats(image, copy, distance=distance)]
    assert found == list(range(found[0], 33))
    assert repeats(image, image, distance=0) == {1: 0}


def test_a_copy_of_a_dropped_copy_is_compared_with_what_stays():
    image = drawing(5)
    assert repeats(image, COPIES["smaller"](image), COPIES["re-encoded"](image)) == {1: 0, 2: 0}
    assert repeats() == {}


def dataset(tmp_path, *entries: tuple[Image.Image, dict]) -> Path:
    (tmp_path / "images").mkdir()
    rows = []
    for number, (image, fields) in enumerate(entries):
        name = f"p{number}.{fields.pop('ext', 'jpg')}"
        image.save(tmp_path / "images" / name, **fields.pop("save", {}))
        rows.append(Post(image=name, status="ok", **fields))
    posts.write(tmp_path / "posts.csv", rows)
    return tmp_path


def by_hand(tmp_path, *entries, exclude: str = "", include: str = "", settings=None) -> dict:
    """Filters with hand edits; gives image -> (kept, reasons, by_hand)."""
    edits = {}
    for name, text in (("exclude.txt", exclude), ("include.txt", include)):
        edits[name] = tmp_path / name
        edits[name].write_text(text)
    scrape = dataset(tmp_path, *entries)
    filter.run(settings or Filter(), scrape=scrape, out=tmp_path / "out", edits=edits)
    table = tables.read(tmp_path / "out" / "decisions.csv", filter.COLUMNS)
    return {row.image: (row.kept, row.reasons, row.by_hand) for row in table.itertuples()}


def test_hand_edits_have_the_last_word(tmp_path):
    entries = [(drawing(n), {"score": "-4"} if n > 1 else {"md5": "c" * 32}) for n in range(4)]
    given = by_hand(tmp_path, *entries, exclude="p0.jpg # cropped hands", include="p2.jpg")
    assert given == {
        "p0.jpg": ("false", "excluded", "exclude"), "p1.jpg": ("true", "", ""),
        "p2.jpg": ("true", "score", "include"), "p3.jpg": ("false", "score", ""),
    }  # fmt: skip
    assert decisions.kept(tmp_path / "out") == ["p1.jpg", "p2.jpg"]


def test_an_excluded_picture_keeps_its_other_reasons(tmp_path):
    given = by_hand(tmp_path, (drawing(1), {"score": "-4"}), (drawing(2), {}), exclude="p0.jpg")
    assert given["p0.jpg"] == ("false", "excluded;score", "exclude")


def test_no_hand_edit_lets_refused_labels_or_broken_files_through(tmp_path, caplog):
    entries = [(drawing(n), {}) for n in range(4)]
    entries[1][1]["tags_general"] = "1girl loli"
    entries[2][1].update(tags_general="child", rating="explicit", ext="png")
    scrape_include = "p1.jpg\np2.png\np3.jpg\n"
    (tmp_path / "include.txt").write_text(scrape_include)
    scrape = dataset(tmp_path, *entries)
    (scrape / "images" / "p3.jpg").write_bytes(b"")
    edits = {"include.txt": tmp_path / "include.txt"}
    summary = filter.run(OFF, scrape=scrape, out=tmp_path / "out", edits=edits)
    assert decisions.kept(tmp_path / "out") == ["p0.jpg"]
    assert summary["by_hand"] == {"excluded": 0, "included": 3, "unmatched": 0}
    for image, reason in (("p1.jpg", "forbidden_tag"), ("p3.jpg", "unreadable")):
        assert f"{image} is {reason}, which include.txt cannot overrule" in caplog.text
    page = (tmp_path / "out" / "contact_sheet.html").read_text()
    assert page.count("data:image/webp") == 1  # refused ones are not shown


def test_an_edit_changes_its_own_picture_and_no_other(tmp_path):
    image = drawing(1)
    entries = [(image, {}), (image.resize((120, 120)), {}), (drawing(2), {})]
    given = by_hand(tmp_path, *entries, exclude="p0.jpg")
    assert given["p0.jpg"][0] == given["p1.jpg"][0] == "false"  # the copy does not come instead
    shutil.rmtree(tmp_path / "images")
    given = by_hand(tmp_path, *entries, include="p1.jpg")
    assert given["p0.jpg"][0] == given["p1.jpg"][0] == "true"  # nor does it push out the better one


def test_pictures_are_drawn_before_hand_edits(tmp_path):
    few, names = Filter(max_pictures=2), {f"p{n}.jpg" for n in range(4)}
    entries = [(drawing(n), {}) for n in range(4)]
    by_hand(tmp_path, *entries, settings=few)
    first, second = decisions.kept(tmp_path / "out")
    left = sorted(names - {first, second})
    shutil.rmtree(tmp_path / "images")
    given = by_hand(tmp_path, *entries, settings=few, exclude=first, include=left[0])
    assert decisions.kept(tmp_path / "out") == sorted([second, left[0]])
    assert given[first] == ("false", "excluded", "exclude")
    assert given[left[0]] == ("true", "surplus", "include")
    assert given[left[1]] == ("false", "surplus", "")


def test_entries_that_name_nothing_are_counted(tmp_path, caplog):
    (tmp_path / "exclude.txt").write_text("gone.jpg\n\n# old\n")
    scrape = dataset(tmp_path, (drawing(1), {}))
    summary = filter.run(
        Filter(), scrape=scrape, out=tmp_path / "out",
        edits={"exclude.txt": tmp_path / "exclude.txt"},
    )  # fmt: skip
    assert summary["by_hand"] == {"excluded": 0, "included": 0, "unmatched": 1}
    assert "gone.jpg is not among the scraped pictures" in caplog.text


def stays(tmp_path, *entries) -> list[str]:
    filter.run(Filter(), scrape=dataset(tmp_path, *entries), out=tmp_path / "out")
    return [image for image, reasons in reasons_of(tmp_path / "out").items() if not reasons]


def test_the_largest_copy_stays(tmp_path):
    image = drawing(1)
    assert stays(tmp_path, (image.resize((100, 100)), {}), (image, {}), (drawing(2), {})) == [
        "p1.jpg", "p2.jpg",
    ]  # fmt: skip


def test_of_one_size_the_least_compressed_stays_and_then_the_oldest(tmp_path):
    image = drawing(1)
    entries = [(image, {"save": {"quality": 40}, "id": "1"}),
               (image, {"save": {"quality": 95}, "id": "30"}),
               (image, {"save": {"quality": 95}, "id": "4"})]  # fmt: skip
    assert stays(tmp_path, *entries) == ["p2.jpg"]


def test_a_copy_with_nothing_else_against_it_stays(tmp_path):
    image = drawing(1)
    smaller = image.resize((120, 120))
    assert stays(tmp_path, (image, {"score": "-9"}), (smaller, {})) == ["p1.jpg"]
    assert reasons_of(tmp_path / "out")["p0.jpg"] == ["score", "duplicate"]


# --- what can go wrong ----------------------------------------------------------------------


def test_a_missing_or_broken_file_is_a_reason_not_a_crash(tmp_path):
    folder = dataset(tmp_path, (drawing(1), {}), (drawing(2), {}), (drawing(3), {}))
    (folder / "images" / "p1.jpg").unlink()
    (folder / "images" / "p2.jpg").write_bytes(b"\xff\xd8\xff")
    filter.run(Filter(), scrape=folder, out=tmp_path / "out")
    assert reasons_of(tmp_path / "out") == {
        "p0.jpg": [], "p1.jpg": ["unreadable"], "p2.jpg": ["unreadable"],
    }  # fmt: skip
    table = tables.read(tmp_path / "out" / "decisions.csv", ("detail",))
    assert table["detail"][1] == "there is no such file"
    assert str(tmp_path) not in (tmp_path / "out" / "decisions.csv").read_text()


def test_when_all_are_dropped_it_says_which_setting_would_keep_how_many(tmp_path):
    folder = dataset(
        tmp_path,
        (drawing(1), {"rating": "sensitive"}),
        (drawing(2), {"rating": "sensitive"}),
        (drawing(3), {"score": "-4"}),
        (drawing(4), {"score": "-4", "rating": "sensitive"}),
    )
    with pytest.raises(BakeryError) as refusal:
        filter.run(Filter(), scrape=folder, out=tmp_path / "out")
    assert str(refusal.value) == (
        "filter drops all 4 pictures (rating 3, score 2): "
        "filter.ratings: [] would keep 2; filter.min_score: null would keep 1"
    )
    assert (tmp_path / "out" / "contact_sheet.jpg").is_file()


def test_nothing_to_filter(tmp_path):
    posts.write(tmp_path / "posts.csv", [Post(status="failed", reason="404 Not Found")])
    with pytest.raises(BakeryError, match="lists no pictures"):
        filter.run(Filter(), scrape=tmp_path, out=tmp_path / "out")


def test_when_only_several_settings_together_help_they_are_named(tmp_path):
    folder = dataset(
        tmp_path,
        (drawing(1), {"rating": "sensitive", "score": "-4"}),
        (drawing(2), {"rating": "sensitive", "score": "-4"}),
        (drawing(3), {"rating": "sensitive", "score": "-4", "tags_general": "comic"}),
    )
    with pytest.raises(BakeryError) as refusal:
        filter.run(Filter(), scrape=folder, out=tmp_path / "out")
    assert str(refusal.value).endswith(
        ": filter.ratings: [] with filter.min_score: null would keep 2"
    )


def test_when_no_setting_helps_it_says_so(tmp_path):
    folder = dataset(tmp_path, (drawing(1), {"tags_general": "shota"}))
    with pytest.raises(
        BakeryError,
        match=r"forbidden_tag 1\): no single setting would keep any: "
        r"scrape",
    ):
        filter.run(Filter(), scrape=folder, out=tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0", b"<html>503</html>"])
def test_empty_and_truncated_files_cost_only_themselves(tmp_path, content):
    folder = dataset(tmp_path, (drawing(1), {}), (drawing(2), {}))
    (folder / "images" / "p1.jpg").write_bytes(content)
    assert filter.run(Filter(), scrape=folder, out=tmp_path / "out")["kept"] == 1


# --- many pictures --------------------------------------------------------------------------


@pytest.mark.slow
def test_many_equal_pictures_cost_one_look_each(monkeypatch):
    looked = []
    real = duplicates._line_up
    monkeypatch.setattr(duplicates, "_line_up", lambda *pair: looked.append(1) or real(*pair))
    assert repeats(*[drawing(1)] * 60) == dict.fromkeys(range(1, 60), 0)
    assert len(looked) == 59


def test_different_pictures_are_hardly_ever_looked_at_in_pairs(monkeypatch):
    looked = []
    real = duplicates._line_up
    monkeypatch.setattr(duplicates, "_line_up", lambda *pair: looked.append(1) or real(*pair))
    assert repeats(*(drawing(seed) for seed in range(60))) == {}
    assert len(looked) < 60  # of 1,770 pairs


def test_thumbnails_made_all_at_once_are_those_made_one_by_one_up_to_rounding():
    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.choice([0, 255], (128, 128, 3)).astype(np.uint8))
    for picture in (duplicates.prepare(drawing(2)), noise):
        at_once = duplicates._crop_thumbnails(picture, range(256)).reshape(256, 3, -1)
        one_by_one = duplicates._Thumbnails(picture)
        for crop in range(256):
            single = one_by_one(duplicates._margins(crop))  # (256, 3)
            assert np.abs(at_once[crop].T - single).max() < duplicates._ROUNDED


def faded(image: Image.Image) -> Image.Image:
    return image.point(lambda level: level // 4)


def test_pairs_ruled_out_early_are_those_whose_alignment_gives_up(monkeypatch):
    """Drawings with faded ones, whose hashes are as near as those of the copies among them."""
    pictures = [look for seed in range(6) for look in (drawing(seed), faded(drawing(seed)))]
    pictures += [COPIES["smaller"](drawing(1)), COPIES["cropped left"](drawing(2))]
    gave_up: list[bool] = []
    real = duplicates._line_up

    def counted(*pair):
        gave_up.append(real(*pair) is None)
        return real(*pair)

    monkeypatch.setattr(duplicates, "_line_up", counted)
    early, lined_up = repeats(*pictures), gave_up.count(False)
    assert early == {12: 2, 13: 4}
    few = len(gave_up)
    gave_up.clear()
    monkeypatch.setattr(duplicates._Shown, "like", lambda shown, cut, close: close)
    assert repeats(*pictures) == early
    assert gave_up.count(False) == lined_up
    assert lined_up <= few < len(gave_up)
