"""Metadata in the shapes that sites, downloaders and taggers write: each as its writer meant it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakery.sources import metadata, ratings, tag_shapes
from bakery.sources.posts import Post

E621 = {
    "general": ["solo", "smile"], "species": ["fox"], "character": ["kitsu_(oc)"], "artist": ["ann"],
    "copyright": [], "meta": ["hi_res"], "lore": ["sibling_(lore)"], "invalid": ["oops"],
}  # fmt: skip
DANBOORU = {
    "id": 7, "created_at": "2024-02-03T04:05:06.000+09:00", "score": 12, "rating": "s",
    "file_ext": "png", "md5": "a" * 32, "source": "", "parent_id": None, "fav_count": 3,
    "image_width": 300,
    "image_height": 360, "tag_string": "1girl ada solo ann_b game", "tag_string_general": "1girl solo",
    "tag_count_general": 2, "tag_string_character": "ada", "tag_string_copyright": "game",
    "tag_string_artist": "ann_b", "tag_string_meta": "",
}  # fmt: skip
SERVICE = "6c6f63616c2074616773"


def one(data, **more) -> Post:
    posts = [metadata.of_table(table, **more) for table in metadata.several(data)]
    posts = [post for post in posts if metadata.known(post)]
    assert posts, "unknown"
    return posts[0]


SHAPES = {
    "gallery-dl, Danbooru": (DANBOORU | {"category": "danbooru", "tags_general": ["1girl", "solo"]},
                             "1girl solo", "sensitive"),
    "Danbooru's API": (DANBOORU, "1girl solo", "sensitive"),
    "Danbooru's API, a list": ([DANBOORU], "1girl solo", "sensitive"),
    "Danbooru before 2022": (DANBOORU | {"fav_string": "", "is_note_locked": False},
                             "1girl solo", "general"),
    "gallery-dl, old e621": ({"category": "e621", "rating": "s", "tags": E621}, "solo smile fox",
                             "general"),
    "gallery-dl, e621": ({"category": "e621", "rating": "q", "tags": ["solo", "fox"],
                          "tags_general": ["solo"], "tags_species": ["fox"]},
                         "solo fox", "questionable"),
    "e621's API": ({"post": {"id": 3, "tags": E621, "rating": "e"}}, "solo smile fox", "explicit"),
    "e621's API, a list": ({"posts": [{"id": 3, "tags": E621, "rating": "s"}]}, "solo smile fox",
                           "general"),
    "Gelbooru's API": ({"@attributes": {"limit": 1, "count": 1}, "post": [
        {"id": 4, "tags": "1girl don&#039;t_look &gt;_&lt;", "rating": "sensitive"}]},
        "1girl don't_look >_<", "sensitive"),
    "old Gelbooru": ({"category": "gelbooru", "tags": " 1girl  solo ", "rating": "s"}, "1girl solo",
                     "general"),
    "moebooru": ({"category": "yandere", "tags": "1girl solo", "rating": "s", "tags_style": "sketch"},
                 "sketch 1girl solo", "general"),
    "Sankaku's API": ({"id": 5, "rating": "s", "tags": [
        {"name": "solo", "tagName": "solo", "type": 0}, {"name": "ada", "type": 4}]}, "solo",
        "general"),
    "szurubooru": ({"id": 6, "safety": "safe", "version": 2, "tags": [
        {"names": ["blue_eyes", "eyes_blue"], "category": "default", "usages": 4},
        {"names": ["ada"], "category": "char_character", "usages": 1}]}, "blue_eyes", "general"),
    "szurubooru, sketchy": ({"id": 6, "safety": "sketchy", "tags": []}, "", "questionable"),
    "Philomena": ({"image": {"id": 8, "wilson_score": 0.9, "tags": ["safe", "blue eyes", "artist:ann"]}},
                  "safe blue_eyes", "general"),
    "Zerochan": ({"category": "zerochan", "id": 1, "source": "x", "tags": [
        "Character:Ada", "Mangaka:Ann", "Theme:Long Hair", "Solo"]}, "Long_Hair Solo", ""),
    "Pixiv": ({"category": "pixiv", "rating": "R-18", "caption": "hello", "tags": ["女の子", "solo"]},
              "女の子 solo", "explicit"),
    "Newgrounds": ({"category": "newgrounds", "rating": "e", "tags": ["solo"]}, "solo", "general"),
    "Grabber": ({"website": "danbooru.donmai.us", "rating": "s", "tags": ["1girl", "character:ada"]},
                "1girl", "sensitive"),
    "waifuc": ({"danbooru": DANBOORU, "group_id": "danbooru_7", "filename": "danbooru_7.png",
                "tags": {"1girl": 1.0, "ada": 1.0, "smile": 0.9}}, "1girl smile", "sensitive"),
    "Hydrus sidecar": ({"metadata": {"tags": ["blue hair", "creator:ann", "rating:safe", "page:3"],
                                     "urls": ["https://example.com/1"]}}, "blue_hair", "general"),
    "Hydrus' API": ({"metadata": [{"file_id": 9, "hash": "b" * 64, "tags": {SERVICE: {
        "name": "my tags", "storage_tags": {"0": ["smile", "series:game"], "2": ["gone"]}}}}]},
        "smile", ""),
    "Hydrus' old API": ({"service_names_to_statuses_to_tags": {"my tags": {"0": ["smile"], "1": ["x"]}}},
                        "smile", ""),
    "WD tagger": ([{"general": 0.9, "explicit": 0.01}, {"1girl": 0.99, "hat": 0.1}], "1girl", "general"),
    "tagger's service": ({"general": [["1girl", 0.9], ["hat", 0.1]], "character": [["ada", 0.95]],
                          "rating": "safe"}, "1girl", "general"),
    "kohya": ({"tags": "1girl, blue hair, hoshi \\(game\\)", "train_resolution": [512, 640]},
              "1girl blue_hair hoshi_(game)", ""),
    "a caption": ({"file_name": "a.png", "text": "1girl, blue hair"}, "1girl blue_hair", ""),
    "a list": (["1girl", "blue hair"], "1girl blue_hair", ""),
    "pixiv's box": ({"category": "pixiv", "rating": "General", "x_restrict": 1, "tags": ["solo"]},
                    "solo", "explicit"),
    "pixiv's tag": ({"id": 4, "tags": ["solo", "R-18"]}, "solo R-18", "explicit"),
    "nulls": ({"id": None, "rating": None, "score": None, "tags": ["solo", None, 3]}, "solo", ""),
    "rows of Danbooru's tables": ({"id": "9", "rating": "q", "tags": [
        {"id": "1", "name": "solo", "category": "0"}, {"id": "2", "name": "ada", "category": "4"}]},
        "solo", "questionable"),
    "tables of a tagger": ([{"general": 0.2, "explicit": 0.8}, {"1girl": 0.9, "solo": 0.9, "hat": 0.1},
                            {"ada": 0.9}], "1girl solo", "explicit"),
    "pairs": ([["1girl", 0.9], ["hat", 0.1]], "1girl", ""),
    "probabilities as text": ({"tags": {"1girl": "0.98", "hat": "0.1"}}, "1girl", ""),
    "a field for each kind": ({"caption": "A girl stands.", "general_tags": ["1girl"],
                               "character_tags": ["ada"]}, "1girl", ""),
    "a tagger's field": ({"tagger_tags": "rating:sensitive, 1girl, blue hair"}, "1girl blue_hair",
                         "sensitive"),
    "kohya with ratings": ({"tags": "explicit, 1girl, hat"}, "1girl hat", "explicit"),
    "stars": ({"category": "exhentai", "rating": "4.55", "tags": ["solo"]}, "solo", ""),
    "no answer": ({"category": "realbooru", "rating": "?", "tags": ["solo"]}, "solo", ""),
    "Twibooru": ({"category": "twibooru", "tags": ["suggestive", "hat"]}, "suggestive hat",
                 "questionable"),
    "one name": ({"tags": [{"names": "blue hair"}]}, "blue_hair", ""),
    "numbers as text": ({"id": "12", "score": "5", "rating": "Rating: Safe", "tags": "solo"}, "solo",
                        "general"),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_tags_and_rating(shape):
    data, tags, rating = SHAPES[shape]
    post = one(data)
    assert (post.tags_general, post.rating) == (tags, rating)


def test_categories():
    post = one({"category": "e621", "tags": E621})
    assert (post.tags_character, post.tags_artist, post.tags_meta) == (
        "kitsu_(oc)", "ann", "hi_res sibling_(lore)",
    )  # fmt: skip
    assert "oops" not in post.tags()
    post = one(SHAPES["waifuc"][0])
    assert (post.tags_character, post.id, post.md5) == ("ada", "7", "a" * 32)
    post = one(SHAPES["Zerochan"][0])
    assert (post.tags_character, post.tags_artist) == ("Ada", "Ann")
    assert one(SHAPES["szurubooru"][0]).tags_character == "ada"
    assert one(SHAPES["Sankaku's API"][0]).tags_character == "ada"
    assert one(SHAPES["Hydrus' API"][0]).tags_copyright == "game"


@pytest.mark.parametrize(
    ("data", "field", "value"),
    [
        ({"score": {"up": 30, "down": -2, "total": 28}}, "score", "28"),
        ({"score": "17"}, "score", "17"),
        ({"score": None}, "score", ""),
        ({"score": "many"}, "score", ""),
        ({"favorites": 4}, "fav_count", "4"),
        ({"favoriteCount": 0}, "fav_count", "0"),
        ({"sources": ["https://a.example/1", "b"]}, "source", "https://a.example/1"),
        ({"file": {"md5": "c" * 32, "ext": "png"}}, "md5", "c" * 32),
        ({"file": {"md5": "c" * 32, "ext": "png"}}, "file_ext", "png"),
        ({"relationships": {"parent_id": 5}}, "parent_id", "5"),
        ({"created_at": 1700000000}, "created_at", "2023-11-14T22:13:20+00:00"),
        ({"created_at": {"json_class": "Time", "s": 1700000000, "n": 0}}, "created_at",
         "2023-11-14T22:13:20+00:00"),
        ({"created_at": "Tue Nov 14 17:13:20 -0500 2023"}, "created_at",
         "2023-11-14T22:13:20+00:00"),
        ({"created_at": "2023-11-14T22:13:20.5Z"}, "created_at", "2023-11-14T22:13:20.5Z"),
        ({"creationTime": "2023-11-14"}, "created_at", "2023-11-14"),
        ({"created_at": None, "date": "2020-01-01 00:00:00"}, "created_at", "2020-01-01 00:00:00"),
    ],
)  # fmt: skip
def test_fields(data, field, value):
    assert getattr(metadata.of_table(data), field) == value


@pytest.mark.parametrize(
    "data",
    [
        {},
        [],
        7,
        "text",
        {"last_node_id": 9, "nodes": [{"id": 1, "type": "KSampler"}], "links": [], "version": 0.4},
        {"3": {"class_type": "KSampler", "inputs": {"seed": 1}}},
        {"id": "5f2d", "version": 2, "settings": {"zoom": 3}},
        {"compilerOptions": {"strict": True}},
    ],
)
def test_what_is_no_post_is_unknown(data):
    posts = [metadata.of_table(table) for table in metadata.several(data)]
    assert not any(map(metadata.known, posts))


@pytest.mark.parametrize(
    ("site", "letter", "rating"),
    [
        ("danbooru", "s", "sensitive"),
        ("aibooru", "s", "sensitive"),
        ("danbooru", "g", "general"),
        ("e621", "s", "general"),
        ("gelbooru", "s", "general"),
        ("yandere", "s", "general"),
        ("", "s", "general"),
        ("newgrounds", "t", "sensitive"),
        ("", "q", "questionable"),
        ("", "R-18G", "explicit"),
        ("", "strange", "strange"),
        ("", {"general": 0.1, "explicit": 0.9}, "explicit"),
        ("", 4.5, ""),
    ],
)
def test_letters_as_the_site_means_them(site, letter, rating):
    assert ratings.of({"rating": letter}, site, []) == rating


@pytest.mark.parametrize(
    ("data", "rating"),
    [
        ({"nsfw": True}, "explicit"), ({"nsfw": False}, ""), ({"nsfw": 0}, ""),
        ({"nsfw": "yes"}, "explicit"),
        ({"isNsfw": True}, "explicit"), ({"over_18": True}, "explicit"), ({"xRestrict": 1}, "explicit"),
        ({"hasAdultContent": True}, "explicit"), ({"is_mature": True}, "questionable"),
        ({"sensitive": True}, "questionable"), ({"possibly_sensitive": True}, "questionable"),
        ({"sensitive_flags": ["Other"]}, "questionable"), ({"sensitive_flags": []}, ""),
        ({"file": {"isSensitive": True}}, "questionable"),
        ({"nsfwLevel": "None"}, "general"), ({"nsfwLevel": "X"}, "explicit"),
        ({"nsfwLevel": 1}, "general"), ({"nsfwLevel": 6}, "questionable"),
        ({"nsfwLevel": 8}, "explicit"),
        ({"rating": ["Mature"]}, "questionable"), ({"rating": ["explicit", 0.9]}, "explicit"),
        ({"ratings": {"general": 0.1, "explicit": 0.9}}, "explicit"),
        ({"ratings": {"average": 4.5, "count": 10}}, ""), ({"rating": "s", "nsfw": True}, "explicit"),
        ({"rating": "odd", "nsfw": True}, "odd"),
    ],
)  # fmt: skip
def test_a_rating_in_fields_of_other_names(data, rating):
    assert ratings.of(data, "", []) == rating


@pytest.mark.parametrize(
    ("tags", "rating"),
    [
        (["1girl", "general"], "general"), (["rating_explicit"], "explicit"),
        (["NSFW", "safe"], "explicit"),
        (["rating:q"], "questionable"), (["explicit_content", "general_store", "sensitive_skin"], ""),
    ],
)  # fmt: skip
def test_a_rating_among_tags(tags, rating):
    assert ratings.in_tags(tags) == rating


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["tags", "tag_string_general", "tags_x", "rating", "score", "post", "metadata",
                         "file", "id", "caption", "danbooru", "created_at", "0", "names"]) |
        st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
@settings(max_examples=400, deadline=None)
def test_nothing_crashes(data):
    for table in metadata.several(data):
        post = metadata.of_table(table)
        metadata.known(post)
        metadata.named_in(table)
        assert all(" " not in tag for tag in post.tags())


@given(st.lists(st.from_regex(r"[a-z0-9]+(_[a-z0-9]+)*(_\([a-z]+\))?", fullmatch=True), max_size=6,
                unique=True))  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_the_same_tags_in_every_shape(tags):
    shapes = [
        tags,
        " ".join(tags),
        ", ".join(tags),
        {"general": tags},
        dict.fromkeys(tags, 0.9),
        [{"name": tag} for tag in tags],
        [{"names": [tag], "category": "default"} for tag in tags],
        {"a1b2": {"storage_tags": {"0": tags}}},
    ]
    read = [tag_shapes.read({"tags": shape}).get("general", []) for shape in shapes]
    assert all(found == tags for found in read)


SENTENCE = "A girl with blue hair stands in a park, smiling at the viewer."


@pytest.mark.parametrize(
    ("data", "captions"),
    [
        ({"file_name": "a.png", "text": SENTENCE, "rating": "g"}, [SENTENCE]),
        ({"file_name": "a.png", "prompt": SENTENCE}, [SENTENCE]),
        ({"caption": "hoshi, hat", "description": SENTENCE}, ["hoshi, hat"]),
        ({"caption": [SENTENCE, "hoshi, hat"]}, [SENTENCE, "hoshi, hat"]),
        ({"tags": ["1girl", "hat"]}, ["1girl, hat"]),
        ({"tags": "1girl, hat"}, ["1girl, hat"]),
        ({"caption": [SENTENCE], "tags": ["1girl", "hat"]}, [f"{SENTENCE} 1girl, hat"]),
        ([SENTENCE, "hoshi, hat"], [SENTENCE, "hoshi, hat"]),
        (["1girl", "hat"], ["1girl, hat"]),
    ],
)
def test_captions_of_trainers(data, captions):
    own = one(data).own
    assert [own.caption.text, *own.candidates[1:]] == captions


def test_what_artists_write_is_no_caption():
    assert (
        one({"category": "pixiv", "id": 1, "caption": "Thank you!", "tags": ["solo"]}).own is None
    )
