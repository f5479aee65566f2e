"""selected_tags.csv in every form that taggers come with."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_tagger import draw, tiny_tagger

from bakery.io.errors import BakeryError
from bakery.tags import tagger_list
from bakery.vision.tagger import Tagger

WD = (
    "tag_id,name,category,count\n9999999,general,9,50\n1,long_hair,0,700\n2,^_^,0,3\n3,mirael,4,9\n"
)
READ = [
    ("general", "rating", "50"), ("long hair", "general", "700"), ("^_^", "general", "3"),
    ("mirael", "character", "9"),
]  # fmt: skip


def read(tmp_path: Path, text: str | bytes) -> list[tuple[str, str, str]]:
    path = tmp_path / tagger_list.FILE
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(tagger_list.read(path).itertuples(index=False, name=None))


@pytest.mark.parametrize(
    "text",
    [
        WD,
        WD.replace("\n", "\r\n"),
        WD.replace("\n", "\r"),
        b"\xef\xbb\xbf" + WD.encode(),
        WD.rstrip("\n"),
        WD + "\n",
        WD.replace(",", ";"),
        WD.replace(",", "\t").replace("\n", "\r\n"),
        WD + ",,,\n",
        WD + " , , , \n\n",
        WD.replace("\n", ",\n"),
        # as a table program saves it again: numbers with a point
        WD.replace(",9,", ",9.0,").replace(",0,", ",0.0,").replace("00\n", "00.0\n"),
        'name,category,count\n"general",9,50\n"long_hair","0","700"\n"^_^",0,3\nmirael,4,9\n',
        "category,count,name\n9,50,general\n0,700,long_hair\n0,3,^_^\n4,9,mirael\n",
        "Name,Category,Count\ngeneral,rating,50\nlong_hair,general,700\n^_^,general,3\nmirael,character,9\n",
        # with the series of a character as a list in a cell
        'id,tag_id,name,category,count,ips\n0,9,general,9,50,[]\n1,1,long_hair,0,700,[]\n2,2,^_^,0,3,[]\n'
        '3,3,mirael,4,9,"[""a game"", ""b""]"\n',
        "id,tag,category,post_count\n0,general,9,50\n1,long_hair,0,700\n2,^_^,0,3\n3,mirael,4,9\n",
    ],
)  # fmt: skip
def test_lists_that_mean_the_same_are_read_alike(tmp_path: Path, text: str | bytes) -> None:
    assert read(tmp_path, text) == READ


def test_other_kinds_of_tags_and_no_counts(tmp_path: Path) -> None:
    text = "name,category\n2014,10\nsomebody,1\nhighres,5\nnull,0\n39,0\n"
    assert read(tmp_path, text) == [
        ("2014", "year", ""), ("somebody", "artist", ""), ("highres", "meta", ""),
        ("null", "general", ""), ("39", "general", ""),
    ]  # fmt: skip
    assert tagger_list.read_counts(tmp_path) == {"null": 0, "39": 0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1girl,0,6008644\nsolo,0,5000954\n", r"no column name; expected tag_id,name,category"),
        ("name,count\na,3\n", r"has no column category"),
        ("name,category\na,7\n", r"has the category '7'; known are 0 \(general\)"),
        ("name,category\na,\nb,0\n", r"has the category ''"),
        ("name,category,count\na,0,many\n", r"the count 'many' where a whole number"),
        ("name,category,count\na,0,1.5\n", r"the count '1.5' where a whole number"),
        ("name,category\na,0\n,0\nb,0\n", r"row 3 has no name"),
        ("name,category\ngeneral,9\n", r"has no general tag"),
        ("", r"cannot be read as a table"),
        ("name,category\na,0\n".encode("utf-16"), r"cannot be read as a table"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_one_sentence(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / tagger_list.FILE
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BakeryError, match=message) as caught:
        tagger_list.read_counts(tmp_path)
    assert str(tmp_path / tagger_list.FILE) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_tagger_with_more_columns_tags(tmp_path: Path) -> None:
    tags = ["pink hair", "smile"]
    folder = tiny_tagger(tmp_path, tags)
    (folder / tagger_list.FILE).write_text(
        "id,tag_id,name,category,count,ips\n0,7,pink_hair,0,10.0,[]\n1,8,smile,0.0,5,[]\n,,,,,\n"
    )
    loaded = Tagger.load(folder)
    assert loaded.names == ("pink hair", "smile")
    (row,) = loaded.tag([draw(tags, {"smile"})])
    assert row[1] > 0.9 > 0.1 > row[0]
    assert [r["count"] for r in loaded.vocabulary()] == ["10", "5"]


def test_a_list_in_another_format_is_named(tmp_path: Path) -> None:
    folder = tiny_tagger(tmp_path, ["a"])
    (folder / tagger_list.FILE).rename(folder / "tag_mapping.json")
    with pytest.raises(
        BakeryError, match=r"has no selected_tags.csv, and its tag_mapping.json is not"
    ):
        Tagger.load(folder)
