from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bakery.dataset import repeat_folders
from bakery.dataset.buckets import Fit, fit, resolutions
from bakery.dataset.repeat_folders import Dataset, Folders, Item
from bakery.io.errors import BakeryError
from bakery.settings.train import Train

SIZES = resolutions(64, 32, 96, 32)


def draw(path, size=(64, 64), colour=(200, 30, 90)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def layout(tmp_path):
    """Two repeat folders, one folder that is none, and files that are no pictures."""
    for i, size in enumerate([(64, 64), (70, 60), (40, 96)]):
        draw(tmp_path / "5_mirael" / f"{i}.png", size)
        (tmp_path / "5_mirael" / f"{i}.txt").write_text(f"mirael, Smile, tag {i}\n")
    draw(tmp_path / "2_mirael 1girl" / "a.JPG")
    draw(tmp_path / "2_mirael 1girl" / "b.webp")
    (tmp_path / "2_mirael 1girl" / "b.caption").write_text("mirael,\nsmile\n", encoding="utf-8-sig")
    draw(tmp_path / "sketches" / "x.png")
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "5_mirael" / "3.gif").write_bytes(b"GIF89a")
    return tmp_path


def test_repeat_folders(layout):
    found = repeat_folders.read_folders(layout)
    assert found.ignored == ("5_mirael/3.gif", "sketches")
    assert [(i.image.name, i.folder, i.repeats) for i in found.items] == [
        ("a.JPG", "2_mirael 1girl", 2),
        ("b.webp", "2_mirael 1girl", 2),
        ("0.png", "5_mirael", 5),
        ("1.png", "5_mirael", 5),
        ("2.png", "5_mirael", 5),
    ]
    assert [i.caption for i in found.items[:3]] == [
        "mirael 1girl",  # no caption: class tokens
        "mirael",  # the first line, as sd-scripts reads it
        "mirael, Smile, tag 0",
    ]


def test_facts_for_the_metadata(layout):
    found = repeat_folders.read_folders(layout)
    assert found.directories() == {
        "2_mirael 1girl": {"n_repeats": 2, "img_count": 2},
        "5_mirael": {"n_repeats": 5, "img_count": 3},
    }
    frequency = found.tag_frequency()  # once a picture, not once a repeat
    assert frequency["5_mirael"] == {"mirael": 3, "smile": 3, "tag 0": 1, "tag 1": 1, "tag 2": 1}
    assert frequency["2_mirael 1girl"] == {"mirael 1girl": 1, "mirael": 1}


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(BakeryError, match="there is no dataset folder"):
        repeat_folders.read_folders(tmp_path / "nowhere")
    (tmp_path / "5_empty").mkdir()
    draw(tmp_path / "0_never" / "a.png")
    draw(tmp_path / "top.png")
    with pytest.raises(BakeryError, match="has no pictures in a folder named <repeats>_<name>"):
        repeat_folders.read_folders(tmp_path)


def test_two_pictures_of_one_caption(layout):
    draw(layout / "5_mirael" / "0.jpg")
    with pytest.raises(BakeryError, match=r"0\.jpg and 0\.png share one caption file"):
        repeat_folders.read_folders(layout)


def test_captions_as_editors_leave_them(layout):
    """Encodings, line ends and capitals, each as meant; what differs from sd-scripts is said."""
    folder = layout / "5_mirael"
    (folder / "0.txt").write_bytes("\ufeffmirael, ドレス\r\n".encode("utf-16-le"))
    (folder / "1.txt").rename(folder / "1.TXT")
    (folder / "1.TXT").write_bytes(b"mirael, caf\xe9\rsmile\r")
    (folder / "2.txt").write_bytes(b"")
    (folder / "2.caption").write_text("mirael")
    found = repeat_folders.read_folders(layout)
    captions = [i.caption for i in found.items if i.folder == "5_mirael"]
    assert captions == ["mirael, ドレス", "mirael, café", ""]
    assert found.notes == (
        "1 .caption files are not used beside a .txt",
        "1 captions are read as UTF-16, which sd-scripts refuses",
        "1 captions are read as Windows-1252, which sd-scripts refuses",
        "2 captions have several lines, of which the first counts, as in sd-scripts",
    )


def test_a_caption_that_is_no_text(layout):
    (layout / "5_mirael" / "1.txt").write_bytes(b"\x80\x81")
    with pytest.raises(BakeryError, match=r"1\.txt is not UTF-8 text"):
        repeat_folders.read_folders(layout)


def test_broken_picture_is_named(layout):
    (layout / "5_mirael" / "1.png").write_bytes(b"nothing")
    with pytest.raises(BakeryError, match=r"1\.png"):
        repeat_folders.arrange(repeat_folders.read_folders(layout), SIZES)


def test_pictures_lie_in_buckets(layout):
    data = repeat_folders.arrange(repeat_folders.read_folders(layout), SIZES)
    assert [place.bucket for place in data.fits] == [(64, 64)] * 4 + [(32, 96)]
    assert data.bucket_counts() == {(32, 96): 5, (64, 64): 14}


@pytest.mark.parametrize("asked", [False, True])
def test_regularization_pictures(layout, tmp_path, asked):
    """In `reg/` of the dataset, or in the folder that is asked for."""
    place = tmp_path / ("elsewhere" if asked else "reg")
    draw(place / "3_girl" / "0.png")
    draw(place / "3_girl" / "1.png")
    draw(place / "drafts" / "x.png")
    found = repeat_folders.read_folders(layout, place if asked else None)
    extra = [item for item in found.items if item.is_reg]
    assert [item.caption for item in extra] == ["girl", "girl"]
    assert [item.repeats for item in extra] == [10, 9]  # 19 training pictures
    assert found.directories() == repeat_folders.read_folders(layout, place).directories()
    assert found.directories(is_reg=True) == {"3_girl": {"n_repeats": 3, "img_count": 2}}
    assert found.tag_frequency()["3_girl"] == {"girl": 2}
    assert f"{place.name}/drafts" in found.ignored
    assert found.unused == 0


def test_regularization_folder_without_pictures(layout, tmp_path):
    with pytest.raises(BakeryError, match="reg_data_dir: there is no folder"):
        repeat_folders.read_folders(layout, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BakeryError, match="has no pictures in a folder named <repeats>_<class>"):
        repeat_folders.read_folders(layout, tmp_path / "empty")


def reg_items(repeats):
    return [repeat_folders.Item(None, "f", "", count, True) for count in repeats]


def kohyas_repeats(repeats, wanted):
    """The loop of kohya's DreamBoothDataset, picture by picture."""
    found, shown, first = {}, 0, True
    while shown < wanted:
        for place, count in enumerate(repeats):
            found[place] = count if first else found[place] + 1
            shown += count if first else 1
            if shown >= wanted:
                break
        first = False
    return list(found.values())


@given(
    st.lists(st.integers(min_value=1, max_value=9), min_size=1, max_size=9),
    st.integers(min_value=1, max_value=90),
)
def test_regularization_pictures_balance_as_kohyas_do(repeats, wanted):
    used = repeat_folders.balanced(reg_items(repeats), wanted)
    assert [item.repeats for item in used] == kohyas_repeats(repeats, wanted)


def pictures(repeats, buckets):
    items = tuple(repeat_folders.Item(None, "f", "", r) for r in repeats)
    fits = tuple(Fit((64, 32 * b), (64, 32 * b), 0.0) for b in buckets)
    return repeat_folders.Dataset(items, fits)


@settings(deadline=None)
@given(
    shown=st.lists(
        st.tuples(st.integers(min_value=1, max_value=6), st.integers(min_value=1, max_value=3)),
        min_size=1,
        max_size=20,
    ),
    batch=st.integers(min_value=1, max_value=7),
    seed=st.integers(min_value=0, max_value=9),
)
def test_an_epoch_shows_each_picture_as_often_as_it_repeats(shown, batch, seed):
    repeats, buckets = zip(*shown, strict=True)
    data = pictures(repeats, buckets)
    batches = data.order(batch, seed, 1)
    assert Counter(i for b in batches for i in b) == dict(enumerate(repeats))
    assert len(batches) == data.batches_per_epoch(batch)
    assert all(1 <= len(b) <= batch for b in batches)
    assert all(len({buckets[i] for i in b}) == 1 for b in batches)
    assert batches == data.order(batch, seed, 1)


def test_epochs_differ():
    data = pictures([1] * 30, [1] * 30)
    orders = [data.order(4, 23, epoch) for epoch in (1, 2)] + [data.order(4, 24, 1)]
    assert len({str(order) for order in orders}) == 3


def one_item(caption="mirael, smile, red, blue, t0", resized=(80, 64)):
    item = repeat_folders.Item(None, "f", caption, 4)
    return repeat_folders.Dataset((item,), (Fit((64, 64), resized, 0.0),))


def shown(data, epochs=8, **changes):
    bake = Train(**{"train_batch_size": 1, **changes})
    return [batch for epoch in range(1, epochs + 1) for batch in data.epoch(bake, epoch)]


def test_an_epoch_has_words_and_views():
    batches = shown(one_item(), keep_tokens=2)
    assert [batch.number for batch in batches] == list(range(32))
    said = {batch.captions[0] for batch in batches}
    assert len(said) > 3
    assert all(caption.startswith("mirael, smile, ") for caption in said)
    assert {batch.views for batch in batches} == {(repeat_folders.View(0, 8, 0),)}
    assert batches == shown(one_item(), keep_tokens=2)
    assert batches != shown(one_item(), keep_tokens=2, seed=24)


def test_flips_and_crops_vary():
    views = [batch.views[0] for batch in shown(one_item(), flip_aug=True, random_crop=True)]
    assert {view.flipped for view in views} == {False, True}
    assert {view.upper for view in views} == {0}
    assert min(view.left for view in views) < 4
    assert max(view.left for view in views) > 12
    assert max(view.left for view in views) <= 16
    always = one_item().views(Train(flip_aug=True))
    assert always == [repeat_folders.View(0, 8, 0), repeat_folders.View(0, 8, 0, True)]
    assert one_item().views(Train(random_crop=True)) is None


def test_whole_epochs_without_captions():
    """Kohya's epochs count from 1: with 3, it is the third and the sixth."""
    said = [b.captions[0] for b in shown(one_item(), caption_dropout_every_n_epochs=3)]
    empty = [all(not caption for caption in said[4 * e : 4 * e + 4]) for e in range(8)]
    assert empty == [False, False, True, False, False, True, False, False]
    assert sum(not caption for caption in said) == 8


def test_with_text_variants_a_caption_has_so_many_forms():
    """The same in every epoch, so that each is encoded once; without a caption is one more."""
    how = {"keep_tokens": 1, "text_variants": 3, "caption_tag_dropout_rate": 0.2}
    said = Counter(b.captions[0] for b in shown(one_item(), epochs=20, **how))
    assert len(said) == 3
    assert min(said.values()) > 10
    assert said == Counter(b.captions[0] for b in shown(one_item(), epochs=20, **how))
    some = {b.captions[0] for b in shown(one_item(), caption_dropout_rate=0.3, **how)}
    assert some == set(said) | {""}
    assert {b.captions[0] for b in shown(one_item(), seed=24, **how)} != set(said)
    plain = {b.captions[0] for b in shown(one_item(), text_variants=3, shuffle_caption=False)}
    assert plain == {one_item().items[0].caption}


def test_one_candidate_is_drawn_each_time_and_always_the_same_one() -> None:
    several = ("tags", "sentence", "both")
    items = tuple(
        Item(Path(f"{n}.png"), "3_mirael", texts[0], 3, candidates=texts if texts[1:] else ())
        for n, texts in enumerate([several, ("alone, hat",)] * 4)
    )
    data = Dataset(items, (fit((64, 64), [(64, 64)]),) * 8, ((64, 64),) * 8)
    options = Train(train_batch_size=4, seed=3)
    shown = Counter()
    for epoch in range(1, 41):
        batches = data.epoch(options, epoch)
        assert batches == data.epoch(options, epoch), "as after a kill"
        for batch in batches:
            for view, caption in zip(batch.views, batch.captions, strict=True):
                assert caption in items[view.index].texts
                shown[caption] += 1
    assert shown["alone, hat"] == 40 * 4 * 3
    assert all(abs(shown[one] / (40 * 4) - 1) < 0.2 for one in several)
    other = [b.captions for b in data.epoch(Train(train_batch_size=4, seed=4), 1)]
    assert other != [b.captions for b in data.epoch(options, 1)]


def test_candidates_leave_the_other_draws_as_they_were() -> None:
    one = Item(Path("a.png"), "5_mirael", "a, b, c, d, e", 5)
    more = replace(one, candidates=("a, b, c, d, e", "a, b, c, d, e"))
    options = Train(train_batch_size=1, shuffle_caption=True, caption_dropout_rate=0.2, seed=1)
    place = (fit((64, 64), [(64, 64)]),)
    without, beside = (Dataset((item,), place).epoch(options, 2) for item in (one, more))
    assert without == beside


def test_tags_of_several_candidates_count_once_a_picture() -> None:
    item = Item(Path("a.png"), "5_m", "m, hat", 5, candidates=("m, hat", "m, A girl."))
    assert Folders((item,), ()).tag_frequency() == {"5_m": {"m": 1, "hat": 1, "a girl.": 1}}
