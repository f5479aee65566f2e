"""The loopback booru answers like Danbooru."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request

import pytest

from bakery.io.errors import BakeryError
from bakery.sources import booru


def post(number: int, tags: str, **fields) -> dict:
    return {"id": number, "tag_string": tags, "rating": "g", "score": 0, "md5": f"{number:032x}",
            "is_deleted": False, **fields}  # fmt: skip


POSTS = [
    post(1, "1girl mirael smile", score=5),
    post(2, "1girl mirael sad", rating="s", score=-3),
    post(3, "1boy torrin", is_deleted=True),
    post(5, "1girl mirael velka 2girls", score=9),
    post(8, "comic cat_ears", score=9),
]


def ids(tags: str) -> list[int]:
    return [p["id"] for p in booru.search(sorted(POSTS, key=lambda p: -p["id"]), tags)]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("", [8, 5, 3, 2, 1]),
        ("mirael", [5, 2, 1]),
        ("MIRAEL 1girl", [5, 2, 1]),
        ("mirael -2girls", [2, 1]),
        ("~comic ~1boy", [8, 3]),
        ("mira*", [5, 2, 1]),
        ("girl", []),
        ("rating:g mirael", [5, 1]),
        ("rating:sensitive", [2]),
        ("-rating:g", [2]),
        ("score:>=5", [8, 5, 1]),
        ("score:<0", [2]),
        ("score:-3..5", [3, 2, 1]),
        ("score:5..", [8, 5, 1]),
        ("id:1,8", [8, 1]),
        ("id:>3", [8, 5]),
        (f"md5:{5:032x}", [5]),
        ("status:deleted", [3]),
        ("status:active", [8, 5, 2, 1]),
        ("order:id", [1, 2, 3, 5, 8]),
        ("order:id_desc", [8, 5, 3, 2, 1]),
        ("order:score", [8, 5, 1, 3, 2]),
        ("order:score_asc mirael", [2, 1, 5]),
        ("nosuchmeta:1", []),
    ],
)
def test_search(tags, expected):
    assert ids(tags) == expected


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("1", [8, 5]), ("2", [3, 2]), ("3", [1]), ("4", []), ("0", [8, 5]), ("junk", [8, 5]),
        ("b5", [3, 2]), ("b1", []), ("a1", [3, 2]), ("a5", [8]),
    ],
)  # fmt: skip
def test_pages(page, expected):
    found = booru.search(sorted(POSTS, key=lambda p: -p["id"]), "")
    assert [p["id"] for p in booru.page_of(found, page, 2)] == expected


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "ab.jpg").write_bytes(b"\xff\xd8jpeg")
    (tmp_path / "secret.txt").write_text("not for all")
    (tmp_path / "posts.json").write_text(json.dumps(POSTS))
    return tmp_path


def get(url: str) -> tuple[bytes, str]:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read(), answer.headers["Content-Type"]


def test_over_http(folder):
    with booru.serve(folder) as base:
        assert base.startswith("http://127.0.0.1:")
        query = urllib.parse.urlencode({"tags": "mirael -sad", "limit": 1})
        body, kind = get(f"{base}/posts.json?{query}")
        assert kind.startswith("application/json")
        assert [p["id"] for p in json.loads(body)] == [5]
        assert json.loads(get(f"{base}/posts/2.json")[0])["rating"] == "s"
        assert get(f"{base}/data/ab.jpg") == (b"\xff\xd8jpeg", "image/jpeg")


@pytest.mark.parametrize(
    "path",
    ["/data/none.jpg", "/posts/99.json", "/data/../secret.txt", "/data/..%2Fsecret.txt",
     "/data/", "/nowhere"],
)  # fmt: skip
def test_what_is_not_there_is_a_404(folder, path):
    with (
        booru.serve(folder) as base,
        pytest.raises(urllib.error.HTTPError, match="404") as refusal,
    ):
        get(base + path)
    assert b"not for all" not in refusal.value.read()


def test_at_most_200_posts_a_page_and_20_unless_asked(tmp_path):
    (tmp_path / "posts.json").write_text(json.dumps([post(n, "a") for n in range(1, 301)]))
    with booru.serve(tmp_path) as base:
        assert len(json.loads(get(f"{base}/posts.json?tags=a&limit=1000")[0])) == 200
        assert len(json.loads(get(f"{base}/posts.json?tags=a")[0])) == 20


def test_the_port_is_free_again(folder):
    with booru.serve(folder) as base:
        pass
    with pytest.raises(urllib.error.URLError):
        get(f"{base}/posts.json")


@pytest.mark.parametrize("content", [None, "{", '{"id": 1}', "[1]", '[{"md5": "x"}]'])
def test_a_folder_that_is_no_booru(tmp_path, content):
    if content is not None:
        (tmp_path / "posts.json").write_text(content)
    with pytest.raises(BakeryError, match=r"booru folder|not a list"), booru.serve(tmp_path):
        pass
