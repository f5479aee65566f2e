"""Real gallery-dl over loopback, and local folders: every post comes or is on record."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import socket
from collections import Counter
from pathlib import Path

import pytest
from made_booru import ADA, md5_of, small_booru
from PIL import Image

from bakery.io import tables
from bakery.io.errors import BakeryError
from bakery.settings import config, credentials
from bakery.settings.scrape import Scrape
from bakery.sources import booru, caption_files, folders, posts
from bakery.stages import scrape

pytestmark = pytest.mark.usefixtures("own_home")
WORLD = Path(__file__).parents[2] / "resources" / "world" / "booru"
ALL = 100_000


def bake(tmp_path, *, out="out", folder=WORLD, **settings):
    summary = scrape.run(
        Scrape(**settings), booru=folder, out=tmp_path / out, store=tmp_path / "store"
    )
    return summary, posts.read(tmp_path / out / "posts.csv")


@pytest.mark.slow
def test_every_post_is_fetched_or_on_record_over_more_than_one_page(tmp_path):
    summary, rows = bake(tmp_path, limit=ALL)
    expected = [p for p in booru.read_posts(WORLD) if "mirael" in p["tag_string"].split()]
    assert len(expected) > 200
    assert [row.id for row in rows] == [str(p["id"]) for p in expected]
    assert summary["posts"] == len(expected)
    truth = tables.read(WORLD / "truth.csv", ("id", "kind")).set_index("id")["kind"]
    why = {"hidden": "the site gives no file address", "deleted": "deleted on the site",
           "missing_file": "404 Not Found", "empty_file": "Empty file",
           "video": "webm is not a picture", "refused": "forbidden_tag"}  # fmt: skip
    assert Counter(row.reason for row in rows if row.reason) == Counter(
        why[kind] for id_, kind in truth.items()
        if kind in why and any(row.id == id_ for row in rows)
    )  # fmt: skip
    for row in rows:
        assert row.reason == why.get(truth[row.id], "")
        assert (row.status == posts.FETCHED) == bool(row.image)
        assert not row.image or (tmp_path / "out" / "images" / row.image).is_file()
    images = [row.image for row in rows if row.image]
    assert sorted(images) == sorted(p.name for p in (tmp_path / "out" / "images").iterdir())
    assert len(set(images)) == len(images)


def checksum(file: Path) -> str:
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()


def test_lineage_holds_what_the_site_says(tmp_path):
    folder = small_booru(tmp_path, p3={"source": "https://example.com/art/3", "parent_id": 2,
                                       "rating": "s", "tag_string_meta": "highres"})  # fmt: skip
    _, rows = bake(tmp_path, folder=folder, urls=ADA)
    row = next(row for row in rows if row.id == "3")
    assert row == posts.Post(
        image="embedded-3.jpg", id="3", md5=md5_of(folder / f"files/{3:032x}.jpg"), source="https://example.com/art/3",
        url="embedded://posts/3", rating="sensitive", score="3", fav_count="3", width="64",
        height="64", file_ext="jpg", tags_general="1girl", tags_character="ada",
        tags_meta="highres", parent_id="2", created_at="2024-01-01T00:00:00.000+00:00",
        status="ok",
    )  # fmt: skip
    note = json.loads((tmp_path / "store/embedded/embedded-3.jpg.json").read_text())
    assert note["tag_string_character"] == "ada"


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 5, 200, 201])
def test_the_limit_counts_posts_newest_first(tmp_path, limit):
    _, rows = bake(tmp_path, limit=limit, minimum_share=0)
    newest = [p["id"] for p in booru.read_posts(WORLD) if "mirael" in p["tag_string"].split()]
    assert [int(row.id) for row in rows] == newest[:limit]


def test_a_raised_limit_fetches_only_new_posts(tmp_path):
    folder = small_booru(tmp_path)
    bake(tmp_path, folder=folder, urls=ADA, limit=5, out="first")
    for n in range(8, 13):  # what is in the store need not be served again
        (folder / "files" / f"{n:032x}.jpg").unlink()
    _, rows = bake(tmp_path, folder=folder, urls=ADA, limit=9, out="second")
    assert [row.id for row in rows] == [str(n) for n in range(12, 3, -1)]
    assert all(row.status == posts.FETCHED for row in rows)
    store = tmp_path / "store" / "embedded" / "embedded-12.jpg"
    assert store.samefile(tmp_path / "second" / "images" / "embedded-12.jpg")


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """Every path that the loopback booru is asked for."""
    paths, real = [], booru._Handler.do_GET

    def listen(self):
        paths.append(self.path)
        real(self)

    monkeypatch.setattr(booru._Handler, "do_GET", listen)
    return paths


def files(paths: list[str]) -> list[str]:
    return sorted(path for path in paths if path.startswith("/data/"))


def test_a_raised_limit_asks_for_no_file_twice(tmp_path, asked):
    folder = small_booru(tmp_path)
    bake(tmp_path, folder=folder, urls=ADA, limit=5, out="first")
    assert files(asked) == [f"/data/{n:032x}.jpg" for n in range(8, 13)]
    asked.clear()
    bake(tmp_path, folder=folder, urls=ADA, limit=9, out="second")
    assert files(asked) == [f"/data/{n:032x}.jpg" for n in range(4, 8)]
    asked.clear()
    bake(tmp_path, folder=folder, urls=("embedded://posts?tags=1girl",), limit=9, out="other")
    assert files(asked) == []


def test_what_failed_is_tried_again_and_nothing_else(tmp_path, asked, caplog):
    folder = small_booru(tmp_path)
    gone = folder / "files" / f"{3:032x}.jpg"
    gone.rename(tmp_path / "kept.jpg")
    summary, rows = bake(tmp_path, folder=folder, urls=ADA)
    assert (summary["images"], summary["failed"]) == (11, 1)
    assert [(r.id, r.reason) for r in rows if r.status == posts.FAILED] == [("3", "404 Not Found")]
    assert "embedded://posts/3: 404 Not Found" in caplog.text
    assert "scrape.attempt" in caplog.text
    (tmp_path / "kept.jpg").rename(gone)
    asked.clear()
    summary, rows = bake(tmp_path, folder=folder, urls=ADA, attempt=2)
    assert files(asked) == [f"/data/{3:032x}.jpg"]
    assert summary["images"] == 12


def test_each_source_has_its_limit_and_its_concept(tmp_path):
    folder = small_booru(tmp_path, p2={"tag_string": "ada halo"}, p9={"tag_string": "ada halo"})
    picture(tmp_path / "own/a.png")
    picture(tmp_path / "own/b.png", "blue")
    halo = {"url": "embedded://posts?tags=halo", "concept": "halo"}
    own = {"path": str(tmp_path / "own"), "concept": "own", "limit": 1}
    urls = (halo, {"url": ADA[0], "limit": 6}, "embedded://posts/1")
    summary, rows = bake(tmp_path, folder=folder, urls=urls, folders=(own,), limit=7)
    assert [(row.id or row.image, row.concept) for row in rows] == [
        ("9", "halo"), ("2", "halo"), ("12", ""), ("11", ""), ("10", ""), ("8", ""), ("7", ""),
        ("1", ""), ("a.png", "own"),
    ]  # fmt: skip
    counts = {"images": 2, "failed": 0, "skipped": 0}
    assert summary["sources"][0] == {
        "source": "embedded://posts?tags=halo", "concept": "halo", "limit": 7, "posts": 2, **counts,
    }  # fmt: skip
    assert [source["images"] for source in summary["sources"]] == [2, 5, 1, 1]


def test_a_concept_does_not_vanish_behind_a_large_one(tmp_path):
    folder = small_booru(tmp_path, p2={"tag_string": "halo", "file_url": None})
    urls = ({"url": "embedded://posts?tags=halo", "concept": "halo"}, *ADA)
    with pytest.raises(BakeryError, match="none of 1 posts of the concept halo gave a picture; "):
        bake(tmp_path, folder=folder, urls=urls)


def test_a_killed_run_is_taken_up_again(tmp_path):
    folder = small_booru(tmp_path)
    bake(tmp_path, folder=folder, urls=ADA, out="first")
    store = tmp_path / "store" / "embedded"
    whole = (store / "embedded-4.jpg").read_bytes()
    (store / "embedded-4.jpg").rename(store / "embedded-4.jpg.part")  # killed while loading 4,
    (store / "embedded-4.jpg.part").write_bytes(whole[:50])
    (store / "embedded-4.jpg.json").unlink()
    (store / "embedded-5.jpg.json").unlink()  # before 5 was noted,
    (store / "embedded-6.jpg.json").write_text("{")  # and with a note from a full disk
    _, rows = bake(tmp_path, folder=folder, urls=ADA, out="second")
    assert all(row.status == posts.FETCHED for row in rows)
    for n in (4, 5, 6):
        fetched = (tmp_path / "second" / "images" / f"embedded-{n}.jpg").read_bytes()
        assert fetched == (folder / "files" / f"{n:032x}.jpg").read_bytes()
        assert json.loads((store / f"embedded-{n}.jpg.json").read_text())["id"] == n
    assert not list(store.glob("*.part"))


def test_a_replaced_file_is_fetched_anew(tmp_path):
    folder = small_booru(tmp_path)
    bake(tmp_path, folder=folder, urls=ADA, out="first")
    listed = json.loads((folder / "posts.json").read_text())
    file = folder / "files" / f"{'f' * 32}.jpg"
    Image.new("RGB", (80, 80)).save(file)
    listed[0] |= {"md5": md5_of(file), "file_url": f"/data/{file.name}"}
    (folder / "posts.json").write_text(json.dumps(listed))
    _, rows = bake(tmp_path, folder=folder, urls=ADA, out="second")
    assert Image.open(tmp_path / "second" / "images" / "embedded-1.jpg").size == (80, 80)
    assert Image.open(tmp_path / "first" / "images" / "embedded-1.jpg").size == (64, 64)
    assert rows[-1].md5 == md5_of(file)


def test_a_post_that_two_searches_find_counts_once(tmp_path):
    folder = small_booru(tmp_path)
    urls = (*ADA, "embedded://posts?tags=1girl", "embedded://posts/7")
    summary, rows = bake(tmp_path, folder=folder, urls=urls)
    assert summary["posts"] == len(rows) == 12


def test_a_wrong_extension_is_put_right(tmp_path):
    file = tmp_path / "booru" / "files" / f"{2:032x}.jpg"
    folder = small_booru(tmp_path)
    Image.new("RGB", (64, 64)).save(file, "PNG")
    listed = json.loads((folder / "posts.json").read_text())
    listed[1]["md5"] = md5_of(file)
    (folder / "posts.json").write_text(json.dumps(listed))
    _, rows = bake(tmp_path, folder=folder, urls=ADA)
    row = next(row for row in rows if row.id == "2")
    assert (row.image, row.file_ext) == ("embedded-2.png", "png")
    _, again = bake(tmp_path, folder=folder, urls=ADA, out="again")
    assert again == rows


def test_a_null_address_and_two_runs_alike(tmp_path):
    folder = small_booru(tmp_path, number=20, p2={"file_url": None})
    _, rows = bake(tmp_path, folder=folder, urls=ADA)
    assert [row.reason for row in rows if row.id == "2"] == ["the site gives no file address"]
    shutil.rmtree(tmp_path / "store")
    bake(tmp_path, folder=folder, urls=ADA, out="again")
    first, second = tmp_path / "out" / "posts.csv", tmp_path / "again" / "posts.csv"
    assert first.read_bytes() == second.read_bytes()


def test_nothing_written_names_a_port_or_a_place(tmp_path):
    bake(tmp_path, limit=130)
    for path in (*(tmp_path / "out").rglob("*.csv"), *(tmp_path / "store").rglob("*.json")):
        text = path.read_text()
        assert "127.0.0.1" not in text
        assert str(tmp_path) not in text


# --- what can go wrong ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://example.invalid/gallery", "gallery-dl knows no site for https://example.inval"),
        ("https://example.invalid/?user_id=secret", r"example.invalid/\?user_id=\*"),
        ("embedded://pictures?tags=mirael", "embedded://posts\\?tags="),
        ("embedded://posts?tags=nobody_at_all", "has no posts"),
        ("embedded://posts/999999", "404"),
    ],
)
def test_an_address_that_leads_nowhere(tmp_path, url, says):
    with pytest.raises(BakeryError, match=says) as refusal:
        bake(tmp_path, urls=(url,))
    assert "\n" not in str(refusal.value)
    assert "secret" not in str(refusal.value)
    assert "127.0.0.1" not in str(refusal.value)


def test_an_unsupported_address_is_told_before_anything_is_fetched(tmp_path):
    with pytest.raises(BakeryError, match="knows no site"):
        bake(tmp_path, urls=("embedded://posts?tags=mirael", "https://example.invalid/x"))
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_a_site_that_does_not_answer(tmp_path, own_home):
    (own_home / ".gallery-dl.conf").write_text('{"extractor": {"retries": 0}}')
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound but not listening
        port = closed.getsockname()[1]
        with pytest.raises(BakeryError, match=r"listing .* failed: .*refused"):
            bake(tmp_path, urls=(f"Danbooru:http://127.0.0.1:{port}/posts?tags=a",))


@pytest.mark.slow
def test_what_came_before_a_failure_stays_in_the_store(tmp_path, monkeypatch):
    real = booru.page_of

    def only_one_page(found, page, limit):
        if page.startswith("b"):
            raise ConnectionResetError
        return real(found, page, limit)

    with monkeypatch.context() as broken:
        broken.setattr(booru, "page_of", only_one_page)
        with pytest.raises(BakeryError, match=r"failed: .*; 200 posts are on record"):
            bake(tmp_path, limit=ALL)
    assert len(list((tmp_path / "store" / "embedded").glob("*.json"))) > 150
    assert not (tmp_path / "out").exists()
    assert bake(tmp_path, limit=ALL)[0]["posts"] > 200


def test_names_that_a_site_makes_up_stay_in_the_store(tmp_path):
    folder = small_booru(
        tmp_path,
        p2={"id": "../../../evil"}, p3={"file_ext": "../../evil"}, p4={"file_ext": "x" * 300},
        p5={"id": "e" * 300}, p6={"id": "a b'c\"d"}, p7={"file_ext": "jp g"},
        p8={"id": "\N{CROISSANT}"}, p9={"md5": "../../evil"},
    )  # fmt: skip
    listed = json.loads((folder / "posts.json").read_text())
    with pytest.MonkeyPatch.context() as lenient:  # our booru sorts by ids and cannot take these
        lenient.setattr(booru, "read_posts", lambda folder: listed)
        lenient.setattr(booru, "search", lambda posts, tags: posts)
        _, rows = bake(tmp_path, folder=folder, urls=ADA)
    assert len(rows) == 12
    assert all(row.status == posts.FETCHED for row in rows)
    for row in rows:
        assert row.image.removesuffix(".jpg").replace("embedded-", "").isalnum()
    assert not list(tmp_path.rglob("*evil*"))
    stored = {path.parent for path in (tmp_path / "store").rglob("*.jpg")}
    assert stored == {tmp_path / "store" / "embedded"}


def test_options_reach_gallery_dl_and_ours_win(tmp_path, monkeypatch, own_home, caplog):
    folder = small_booru(tmp_path)
    agents, real = set(), booru._Handler.do_GET

    def listen(self):
        agents.add(self.headers["User-Agent"])
        real(self)

    monkeypatch.setattr(booru._Handler, "do_GET", listen)
    own = {"extractor": {"Danbooru": {"filename": "x", "image-filter": "id > 6"}},
           "skip": False, "archive": str(tmp_path / "mine.sqlite")}  # fmt: skip
    (own_home / ".gallery-dl.conf").write_text(json.dumps(own))
    options = {"extractor": {"Danbooru": {"user-agent": "a baker"}, "sleep-request": 0}}
    with booru.serve(folder) as base:
        bake(tmp_path, urls=(f"Danbooru:{base}/posts?tags=ada",), gallery_dl=options)
    assert agents == {"a baker"}
    assert len(list((tmp_path / "store").glob("127.0.0.1_*/*.jpg"))) == 12
    assert not (tmp_path / "mine.sqlite").exists()
    for name in ("extractor.Danbooru.filename", "extractor.Danbooru.image-filter", "archive"):
        assert name in caplog.text


def test_how_a_site_is_asked_is_not_part_of_the_key():
    def key(**options):
        return config.chosen(Scrape(gallery_dl=options))

    assert key(extractor={"sleep-request": 3, "danbooru": {"retries": 9}}, rate="1M") == {}
    told = key(extractor={"sleep": 1, "danbooru": {"ugoira": True}})
    assert told == {"gallery_dl": {"extractor": {"danbooru": {"ugoira": True}}}}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"urls": ["https://me:hunter2@a.example/"]}, r"urls.0.url is https://\*\*\*@a.example/, an"),
        ({"urls": ["https://a.example/?tags=b&api_key=hunter2"]}, r"&api_key=\*\*\*, an address with"),
        ({"urls": "https://me:hunter2@a.example/"}, r"urls.0.url is https://\*\*\*@a.example/, an"),
        ({"urls": [{"url": "a", "limt": 3}]}, r"urls.0.limt is not a setting; did you mean limit\?"),
        ({"urls": [{"url": "a", "concept": "../b"}]}, r"urls.0.concept is '../b': string should"),
        ({"folders": [{"path": "a", "limit": 0}]}, r"folders.0.limit is 0: input should be gr"),
        ({"gallery_dl": {"extractor": {"danbooru": {"password": "hunter2"}}}},
         r"gallery_dl holds what looks like an account in extractor.danbooru.password:"),
        ({"gallery_dl": {"extractor": {"gelbooru": {"api-key": "hunter2"}}}}, "gelbooru.api-key:"),
        ({"gallery_dl": {"cookies": {"session": "hunter2"}}}, "account in cookies:"),
        ({"gallery_dl": {"extractor": {"headers": {"Authorization": "hunter2"}}}}, "Authorization:"),
        ({"gallery_dl": {"extractor": {"proxy": "http://me:hunter2@b"}}}, "extractor.proxy:"),
    ],
)  # fmt: skip
def test_what_may_not_stand_in_the_config(settings, says):
    with pytest.raises(BakeryError, match=says) as refusal:
        config.load({"scrape": settings})
    assert "\n" not in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_an_empty_account_is_none():
    assert credentials.in_options({"extractor": {"username": None, "password": "", "id": 3}}) == ""


def test_text_and_mapping_are_one_key():
    plain = Scrape(urls=("https://a.example/", "https://b.example/"))
    spelled = Scrape(urls=({"url": "https://a.example/", "concept": ""}, "https://b.example/"))
    assert plain == spelled
    assert config.chosen(spelled)["urls"] == ["https://a.example/", "https://b.example/"]
    assert config.chosen(spelled) == config.chosen(plain)
    again = Scrape.model_validate(spelled.model_dump(mode="json"))
    assert again == plain


def test_too_few_files(tmp_path):
    folder = small_booru(tmp_path)
    for n in range(1, 5):
        (folder / "files" / f"{n:032x}.jpg").unlink()
    with pytest.raises(BakeryError, match=r"only 8 of 12 .*minimum_share 0\.9; .*404 Not Found"):
        bake(tmp_path, folder=folder, urls=ADA)
    assert len(list((tmp_path / "store" / "embedded").glob("*.jpg"))) == 8
    summary, _ = bake(tmp_path, folder=folder, urls=ADA, minimum_share=0.6)
    assert (summary["images"], summary["failed"]) == (8, 4)


def test_no_booru_folder(tmp_path):
    with pytest.raises(BakeryError, match="not a booru folder"):
        bake(tmp_path, folder=tmp_path / "nowhere")


def test_the_user_s_account_is_used_and_written_nowhere(tmp_path, own_home, monkeypatch, caplog):
    caplog.set_level("DEBUG", logger="bakery")
    # a site that repeats what it is told, in its metadata and in its complaints
    folder = small_booru(tmp_path, p2={"source": "by crumbs-of-gold", "password": "crumbs-of-gold"},
                         p3={"file_url": "http://127.0.0.1:9/crumbs-of-gold"})  # fmt: skip
    account = {"username": "baker", "password": "crumbs-of-gold", "sleep-request": 0,
               "retries": 0, "filename": "{id}_{username}.{extension}",
               "archive": str(tmp_path / "mine.sqlite"),
               "postprocessors": [{"name": "metadata"}]}  # fmt: skip
    (own_home / ".gallery-dl.conf").write_text(json.dumps({"extractor": {"Danbooru": account}}))
    asked, real = [], booru._Handler.do_GET

    def listen(self):
        asked.append(self.headers["Authorization"])
        real(self)

    monkeypatch.setattr(booru._Handler, "do_GET", listen)
    with booru.serve(folder) as base:
        summary, rows = bake(tmp_path, urls=(f"Danbooru:{base}/posts?tags=ada&user_id=k123",))
    assert len(rows) == 12
    assert [row.id for row in rows if row.status != posts.FETCHED] == ["3"]
    assert rows[-2].source == "by ***"
    expected = "Basic " + base64.b64encode(b"baker:crumbs-of-gold").decode()
    assert set(asked) == {expected}
    for path in tmp_path.rglob("*"):
        if path.is_file() and folder not in path.parents:
            assert b"crumbs-of-gold" not in path.read_bytes()
            assert b"k123" not in path.read_bytes()
    said = json.dumps(summary) + caplog.text
    assert "12 posts, 11 files" in said
    assert "crumbs-of-gold" not in said
    assert "k123" not in said
    assert not (tmp_path / "mine.sqlite").exists()


def test_a_site_that_is_no_booru(tmp_path):
    folder = small_booru(tmp_path)
    with booru.serve(folder) as base:
        links = tuple(f"{base}/data/{n:032x}.jpg" for n in (1, 2, 99))
        _, rows = bake(tmp_path, urls=links, minimum_share=0.5)
        _, again = bake(tmp_path, urls=links[:2], out="again")
    assert [row.status for row in rows] == ["ok", "ok", "failed"]
    assert rows[2].reason == "404 Not Found"
    assert again == rows[:2]
    assert len({row.image for row in rows}) == 3


def test_credentials_are_blotted_out():
    text = "'403' for 'https://u:p@x.org/a?tags=key_visual&api_key=K&user_id=7&login=me#top'"
    shown = "'403' for 'https://***@x.org/a?tags=key_visual&api_key=***&user_id=***&login=***#top'"
    assert credentials.hide(text) == shown


# --- local folders --------------------------------------------------------------------------


def picture(path: Path, color="red", size=(70, 70)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def local(tmp_path, *names, **settings):
    chosen = tuple(str(tmp_path / name) for name in names)
    return bake(tmp_path, urls=(), folders=chosen, **settings)


def test_a_folder_with_sidecars_of_every_kind(tmp_path):
    picture(tmp_path / "a/tags.png")
    (tmp_path / "a/tags.txt").write_text("1girl, long hair, :d")
    picture(tmp_path / "a/lines.png")
    (tmp_path / "a/lines.png.txt").write_text("1girl\nlong_hair\n")
    picture(tmp_path / "a/words.png")
    (tmp_path / "a/words.caption").write_text("1girl long_hair")
    picture(tmp_path / "a/json.png")
    data = {"id": 9, "rating": "q", "score": -2, "tag_string_general": "1girl solo",
            "tag_string_character": "ada"}  # fmt: skip
    (tmp_path / "a/json.png.json").write_text(json.dumps(data))
    picture(tmp_path / "a/none.png")
    _, rows = local(tmp_path, "a")
    tags = {row.image: row.tags_general for row in rows}
    assert tags == {
        "tags.png": "1girl long_hair :d", "lines.png": "1girl long_hair",
        "words.png": "1girl long_hair", "json.png": "1girl solo", "none.png": "",
    }  # fmt: skip
    noted = next(row for row in rows if row.image == "json.png")
    assert (noted.id, noted.rating, noted.score, noted.tags_character) == (
        "9", "questionable", "-2", "ada",
    )  # fmt: skip


PARK = "A girl with blue hair stands in a park, smiling at the viewer."


def test_captions_of_three_programs_are_kept_as_they_were_meant(tmp_path, caplog):
    caplog.set_level("INFO")
    captions = {
        "IMG_1.TXT": rb"hoshi \(blue archive\), 1girl, (blue_hair:1.2), BREAK, :d",
        "b.caption": PARK.encode("utf-16"),
        "c.png.txt": "hoshi, 1girl, ドレス".encode("cp932"),
        "d.txt": b"hoshi, 1girl",
        "d.caption": b"a girl",
        "e.txt": b" \r\n",
        "twin.txt": b"1girl long_hair\r",
    }
    for name in (
        "IMG_1.JPG",
        "b.png",
        "c.png",
        "d.png",
        "e.png",
        "none.png",
        "twin.png",
        "twin.jpg",
    ):
        picture(tmp_path / "a" / name)
    for name, data in captions.items():
        (tmp_path / "a" / name).write_bytes(data)
    summary, rows = local(tmp_path, "a")
    written = tables.read(tmp_path / "out/captions.csv", caption_files.COLUMNS)
    assert {r["image"]: (r["caption"], r["file"]) for r in tables.records(written)} == {
        "IMG_1.jpg": ("hoshi (blue archive), 1girl, blue hair, :d", "a/IMG_1.TXT"),
        "b.png": (PARK, "a/b.caption"),
        "c.png": ("hoshi, 1girl, ドレス", "a/c.png.txt"),
        "d.png": ("hoshi, 1girl", "a/d.txt"),
        "twin.jpg": ("1girl, long hair", "a/twin.txt"),
        "twin-2.png": ("1girl, long hair", "a/twin.txt"),
    }  # fmt: skip
    assert caption_files.read(tmp_path / "out/captions.csv")["d.png"] == "hoshi, 1girl"
    tags = {row.image: row.tags_general for row in rows}
    assert tags["IMG_1.jpg"] == "hoshi_(blue_archive) 1girl blue_hair :d"
    assert tags["b.png"] == tags["e.png"] == tags["none.png"] == ""
    assert summary["own_captions"] == {
        "captions": 6, "of_pictures": 8, "empty": 1, "unused_files": 1,
        "encodings": {"Shift-JIS": 1, "UTF-16": 1},
        "changes": {"BREAK or AND": 1, "escaped bracket": 2, "weight": 1},
    }  # fmt: skip
    (line,) = [r.getMessage() for r in caplog.records if "of their own" in r.getMessage()]
    assert line.startswith("6 of 8 pictures have captions of their own; empty caption files: 1; ")
    assert line.endswith("; taken out or made plain: BREAK or AND 1, escaped bracket 2, weight 1")
    assert caption_files.count(tmp_path / "a") == (7, 8)  # the blank one is not read


def test_without_captions_nothing_is_added(tmp_path):
    picture(tmp_path / "a/x.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/captions.csv").write_text("image\n")  # of an earlier run
    summary, _ = local(tmp_path, "a")
    assert "own_captions" not in summary
    assert not (tmp_path / "out/captions.csv").exists()


def test_a_caption_beside_metadata_says_what_they_do_not(tmp_path):
    for name in ("x", "y"):
        picture(tmp_path / f"a/{name}.png")
        (tmp_path / f"a/{name}.txt").write_text("artist:ada, character:bo, hat, rating:sensitive")
    (tmp_path / "a/x.json").write_text('{"tags": "1girl", "rating": "q"}')
    _, (x, y) = local(tmp_path, "a")
    assert (x.tags_general, x.tags_artist, x.rating) == ("1girl", "", "questionable")
    assert (y.tags_general, y.tags_artist, y.tags_character) == ("hat", "ada", "bo")
    assert y.rating == "sensitive"
    kept = caption_files.read(tmp_path / "out/captions.csv")
    assert set(kept.values()) == {"artist:ada, bo, hat"}


@pytest.mark.parametrize(
    "hidden",
    [
        "(loli:1.2)",
        "<lora:loli:1>",
        "embedding:loli",
        "{loli|hat}",
        "rating:loli",
        "hat\n1girl, loli",
    ],
)
def test_what_is_taken_out_of_a_caption_is_judged_too(tmp_path, hidden):
    picture(tmp_path / "a/x.png")
    picture(tmp_path / "a/y.png")
    (tmp_path / "a/y.txt").write_text(f"1girl, {hidden}, smile")
    _, rows = local(tmp_path, "a")
    assert [row.reason for row in rows] == ["", "forbidden_tag"]
    assert not (tmp_path / "out/captions.csv").exists()


def test_one_name_from_two_folders_does_not_collide(tmp_path):
    picture(tmp_path / "a/x.png", "red")
    picture(tmp_path / "b/x.png", "blue")
    picture(tmp_path / "b/deep/X.jpg", "green")
    picture(tmp_path / "a/copy/x.png", "red")  # the same bytes, too
    _, rows = local(tmp_path, "a", "b")
    stems = [Path(row.image).stem.casefold() for row in rows]
    assert len(set(stems)) == len(rows) == 4
    colors = {row.url: Image.open(tmp_path / "out/images" / row.image).convert("RGB").getpixel(
        (5, 5)) for row in rows}  # fmt: skip
    assert colors["a/x.png"] == colors["a/copy/x.png"] == (255, 0, 0)
    assert colors["b/x.png"] == (0, 0, 255)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("two words 'quoted'", "two_words_quoted"),
        ("weird..", "weird"),
        ("🥐🥖", "picture"),
        ("crème brûlée", "creme_brulee"),
        ("-rf", "rf"),
        ("n" * 251, "n" * 60),
        ("a\nb", "a_b"),
    ],
)
def test_weird_names_are_made_safe(tmp_path, name, expected):
    picture(tmp_path / "a" / f"{name}.png")
    _, rows = local(tmp_path, "a")
    assert [row.image for row in rows] == [f"{expected}.png"]
    assert folders.safe_stem(Path("../../etc/passwd.png")) == "passwd"
    assert len(f"{name}.png".encode()) <= 255


def test_what_is_no_picture_is_on_record(tmp_path):
    picture(tmp_path / "a/x.png")
    (tmp_path / "a/notes.docx").write_bytes(b"text")
    (tmp_path / "a/broken.jpg").write_bytes(b"text")
    (tmp_path / "a/.hidden.png").write_bytes(b"text")
    summary, rows = local(tmp_path, "a")
    assert {row.url: row.status for row in rows} == {
        "a/x.png": "ok", "a/notes.docx": "skipped", "a/broken.jpg": "skipped",
        "a/.hidden.png": "skipped",
    }  # fmt: skip
    assert summary["skipped"] == 3


@pytest.mark.parametrize(
    ("sidecar", "content", "says"),
    [
        ("p3.json", b"{", "p3.json is not JSON"),
        ("p3.txt", b"\xff\xfe\xfa", "p3.txt begins like UTF-16"),
    ],
)
def test_a_broken_sidecar_costs_its_picture_and_no_other(tmp_path, sidecar, content, says):
    for n in range(10):
        picture(tmp_path / f"a/p{n}.png", (n, 90, 90))
    (tmp_path / "a" / sidecar).write_bytes(content)
    summary, rows = local(tmp_path, "a")
    assert (summary["images"], summary["failed"]) == (9, 1)
    (lost,) = [row for row in rows if row.status == posts.FAILED]
    assert lost.url == "a/p3.png"
    assert lost.reason.startswith(says)


def test_links_and_empty_files_are_on_record(tmp_path):
    picture(tmp_path / "a/x.png")
    (tmp_path / "a/empty.jpg").write_bytes(b"")
    (tmp_path / "a/lost.png").symlink_to(tmp_path / "nowhere.png")
    _, rows = local(tmp_path, "a", minimum_share=0.5)
    assert {row.url: row.reason for row in rows} == {
        "a/empty.jpg": "not a picture: its content is not of a known image format",
        "a/lost.png": "cannot be read: a link to nothing", "a/x.png": "",
    }  # fmt: skip


def test_a_picture_without_its_right_extension_gets_it(tmp_path):
    picture(tmp_path / "a/x.png").rename(tmp_path / "a/x.jpg")
    picture(tmp_path / "a/y.png").rename(tmp_path / "a/y")
    _, rows = local(tmp_path, "a")
    assert [row.image for row in rows] == ["x.png", "y.png"]


def test_the_originals_stay_the_user_s_own(tmp_path):
    original = picture(tmp_path / "a/x.png")
    local(tmp_path, "a")
    assert not original.samefile(tmp_path / "out/images/x.png")


def test_a_changed_original_is_taken_up(tmp_path):
    picture(tmp_path / "a/x.png", "red")
    (tmp_path / "a/x.json").write_text('{"md5": "0123", "tags": "1girl"}')
    local(tmp_path, "a", out="first")
    picture(tmp_path / "a/x.png", "blue")
    local(tmp_path, "a", out="second")
    assert Image.open(tmp_path / "first/images/x.png").getpixel((5, 5)) == (255, 0, 0)
    assert Image.open(tmp_path / "second/images/x.png").getpixel((5, 5)) == (0, 0, 255)


def test_a_refused_label_leaves_a_bare_line(tmp_path):
    picture(tmp_path / "a/x.png")
    picture(tmp_path / "a/y.png")
    (tmp_path / "a/y.txt").write_text("1girl, loli")
    _, rows = local(tmp_path, "a")
    assert rows[1] == posts.Post(status="skipped", reason="forbidden_tag")
    assert len(list((tmp_path / "store").rglob("*.png"))) == 1


def test_booru_and_folder_together(tmp_path):
    folder = small_booru(tmp_path)
    picture(tmp_path / "a/embedded-3.jpg")  # takes a name that the booru has given
    _, rows = bake(tmp_path, folder=folder, urls=ADA, folders=(str(tmp_path / "a"),))
    assert len({row.image for row in rows}) == len(rows) == 13
    assert rows[-1].image == "embedded-3-2.jpg"


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda a: None, "is not a folder"),
        (lambda a: a.mkdir(), "holds no picture"),
        (lambda a: (picture(a / "x.png"), (a / "x.json").write_text("{")), "x.json is not JSON"),
        (lambda a: (picture(a / "x.png"), (a / "x.json").write_text("[" * 99999)), "is not JSON"),
        (lambda a: (picture(a / "x.png"), (a / "x.txt").write_bytes(b"\xff\xfe\xfa")), "UTF-8"),
    ],
)
def test_a_folder_that_cannot_be_used(tmp_path, prepare, says):
    prepare(tmp_path / "a")
    with pytest.raises(BakeryError, match=says):
        local(tmp_path, "a")
