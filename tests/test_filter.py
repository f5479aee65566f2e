"""The filter against the planted truth, and each of its checks alone."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bakery import decisions, duplicates, filter, posts, scrape, tables
from bakery.config import Filter, Scrape
from bakery.errors import BakeryError
from bakery.posts import Post

WORLD = Path(__file__).parents[1] / "resources" / "world" / "booru"


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


def test_every_planted_kind_is_told_with_all_its_reasons(scraped, truth, tmp_path):
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
    assert not wrong
    for (kind, keep), kept in kept_by_kind.items():  # precision and recall of every kind
        assert all(kept) if keep == "true" else not any(kept), kind
    assert summary["kept"] == sum(truth["keep"] == "true") == len(decisions.kept(tmp_path))
    with Image.open(tmp_path / "contact_sheet.jpg") as sheet:
        assert min(sheet.size) > 500


def test_the_same_pictures_give_the_same_files(scraped, tmp_path):
    few = tmp_path / "few"
    shutil.copytree(scraped / "images", few / "images")
    posts.write(few / "posts.csv", posts.read(scraped / "posts.csv")[:40])
    for out in ("first", "second"):
        filter.run(Filter(), scrape=few, out=tmp_path / out)
    for name in ("decisions.csv", "contact_sheet.jpg"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


OFF = Filter(min_side=0, ratings=(), min_score=None, extra_characters=False, monochrome=False,
             animation=False, duplicate_distance=-1)  # fmt: skip


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
    candidate = filter.Candidate(Post(**fields), 999, duplicates.prepare(image), size)
    return filter.judge(settings, candidate)


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
    assert filter.shows_several(post) == several


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


def test_reasons_come_in_their_fixed_order():
    given = judged(score="-5", rating="explicit", tags_general="2girls sketch", size=(20, 20))
    assert given == ["too_small", "rating", "score", "extra_character", "monochrome"]
    assert given == [reason for reason in filter.REASONS if reason in given]


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
