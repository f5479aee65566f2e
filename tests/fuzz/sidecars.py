"""Sidecars, captions, file names and texts in pictures that are no good, beside pictures that are.

The bad one may be recorded or taken; the two good pictures of the folder must come in, every file must
have its row, and the tables must be written and read again.
"""

from __future__ import annotations

import json
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from bakery.io import tables
from bakery.settings.scrape import Scrape
from bakery.sources import caption_files, posts
from bakery.stages import scrape
from tests.fuzz.outcome import Outcome

LONG, SHORT = 1000, 30
GOOD = ("good.png", "fine.jpg")
KEYS = ("id", "md5", "tags", "tag_string", "tag_string_general", "tags_general", "tags_artist", "rating",
        "score", "source", "sources", "file", "file_name", "image", "caption", "text", "created_at",
        "category", "site", "width", "image_width", "parent_id", "relationships", "general", "posts",
        "metadata", "fav_count", "extension", "file_url", "danbooru", "@attributes", "nsfw", "licence",
        "prompt", "workflow", "Comment", "uploader", "safety", "storage_tags")  # fmt: skip
WORDS = ("1girl", "blue hair", "smile", "\ud800", "a\udfffb", "\ud83d\ude00", "\x00", "\x1b[31m",
         "a\u202eb", "\ufeff", "", " ", "=1+1", "007", "NA", "x" * 70_000, ", ,, ,", "a\r\nb\rc\n", '"',
         "s:\ud800", "rating:general", "http://[::1", "https://[bad]/a.png", "\\ud800", "&#xd800;",
         "&#99999999999;", "%ed%a0%80", "1e999", "\u2028", "a\tb", "0" * 5000)  # fmt: skip


def picture(path: Path, rng: random.Random) -> None:
    Image.new("RGB", (16, 16), tuple(rng.randrange(256) for _ in range(3))).save(path)


def odd_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(11 if depth < 4 else 8)
    if kind < 3:
        return rng.choice(WORDS)
    if kind < 8:
        return rng.choice([None, True, False, 0, -1, 1e308 * 10, float("nan"), 10**400, 2**64, 0.5, [],
                           {}, 1_700_000_000, 99_999_999_999_999, 9_999_999_999, -0.0])  # fmt: skip
    if kind == 8:
        return [odd_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {
        rng.choice([*KEYS, *WORDS[:12], f"{GOOD[0]}", "bad.png"]): odd_value(rng, depth + 1)
        for _ in range(rng.randrange(1, 5))
    }


def odd_json(rng: random.Random) -> bytes:
    """JSON of any shape: with lone surrogates, NaN, huge numbers, deep, cut off."""
    kind = rng.randrange(8)
    if kind == 0:
        deep = rng.choice([50, 900, 10_000, 200_000])
        left, right = rng.choice([("[", "]"), ('{"tags":', "}"), ('{"posts":[', "]}")])
        return (left * deep + '"1girl"' + right * deep).encode()
    if kind == 1:
        return rng.choice([b"null", b"5", b"NaN", b"-Infinity", b'"1girl"', b"[]", b"{}", b"true", b"",
                           b"1" * 6000, b'{"id":' + b"9" * 6000 + b"}", b'"\\ud800"', b"\\", b"{",
                           b'{"a":1,"a":2,"a":{"a":[]}}', b"[1,2", b"'a'"])  # fmt: skip
    text = json.dumps(odd_value(rng, 0 if kind < 6 else 1), ensure_ascii=rng.random() < 0.6)
    data = text.encode("utf-8", "surrogatepass")
    return data[: rng.randrange(len(data) + 1)] if kind == 7 else data


def odd_text(rng: random.Random) -> bytes:
    """Text in an encoding, damaged or not text at all."""
    text = ", ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 6)))
    kind = rng.randrange(9)
    if kind == 0:
        return rng.randbytes(rng.randrange(300))
    if kind == 1:
        return rng.choice(
            [b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\xff\xfe\0\0", b"\0\0\xfe\xff"]
        ) + (rng.randbytes(rng.randrange(9)))
    if kind == 2:
        laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
        return f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a0 "ha">{laughs}]><a>&a11;</a>'.encode()
    if kind == 3:
        return b"\0" * rng.randrange(1, 200)
    code = rng.choice(["utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "utf-7"])
    return text.encode(code, "surrogatepass" if code != "utf-7" else "replace")


def odd_table(rng: random.Random) -> bytes:
    cells = [
        rng.choice([*WORDS, "bad.png", "file_name", "tags", "0.5", "name", '"', "'"])
        for _ in range(9)
    ]
    text = "\n".join(rng.choice([",", "\t", ";"]).join(cells[n : n + 3]) for n in range(0, 9, 3))
    return text.encode("utf-8", "surrogatepass")


def beside(folder: Path, rng: random.Random) -> None:
    """A sidecar of `bad.png`, or a table beside it."""
    make: Callable[[random.Random], bytes]
    ending, make = rng.choice([
        (".json", odd_json), (".png.json", odd_json), (".txt", odd_text), (".caption", odd_text),
        (".png.txt", odd_text), (".csv", odd_table), (".tsv", odd_table), (".xmp", odd_text),
        (".yaml", odd_text), (".json", odd_text), (".txt", odd_json), (".tags", odd_table),
    ])  # fmt: skip
    (folder / f"bad{ending}").write_bytes(make(rng))
    if rng.random() < 0.3:
        name, make = rng.choice([
            ("metadata.jsonl", odd_json), ("meta_cap.json", odd_json), ("all.csv", odd_table),
            ("metadata.jsonl", odd_text), ("wd14.csv", odd_text), (".bad_meta.json", odd_json),
        ])  # fmt: skip
        (folder / name).write_bytes(make(rng))


def no_file(folder: Path, rng: random.Random) -> None:
    """What has a sidecar's name and is none, or is too much."""
    path = folder / f"bad.{rng.choice(['txt', 'json', 'csv', 'png.json', 'xmp'])}"
    kind = rng.randrange(5)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        path.symlink_to(rng.choice(["nowhere", path.name, "/proc/self/mem", "/dev/zero"]))
    else:
        with path.open("wb") as file:
            file.truncate(rng.choice([2**30, 17 * 2**20, 2**40]))


def odd_name(folder: Path, rng: random.Random) -> None:
    """A picture, a sidecar or a folder with a name that is no text, or no file name elsewhere."""
    stem = rng.choice([b"\xff\xfe", b"\xed\xa0\x80", b"a\nb", b"\x1b[2J", "\u202egnp".encode(), b"con",
                       b"aux", b"nul", b"x. ", b"a:b", b"COM1", b"-rf", b"'\"", b"%00", b"\xe9t\xe9",
                       b"a\\b", b"lpt9.tar", b" ", b"~", b"a" * 240, b"${x}", b"{{x}}"])  # fmt: skip
    root = os.fsencode(folder)
    if rng.random() < 0.4:
        root += b"/" + rng.choice([b"\xff", b"con", b"a\rb", "星".encode(), b"5_x. "])
        os.makedirs(root, exist_ok=True)
    with Image.open(folder / "bad.png") as image:
        image.save(os.fsdecode(root + b"/" + stem + rng.choice([b".png", b".PNG", b".webp"])))
    sidecar, make = rng.choice([(b".txt", odd_text), (b".json", odd_json), (b".csv", odd_table)])
    with open(root + b"/" + stem + sidecar, "wb") as file:
        file.write(make(rng))
    with open(
        root + b"/" + rng.choice([b"\xff.txt", b"z\xed.json", b"\xfe.docx", b"t.rar"]), "wb"
    ) as file:
        file.write(make(rng))


def inside(folder: Path, rng: random.Random) -> None:
    """Texts in the picture itself."""
    path, chunks = folder / "bad.png", b""
    for _ in range(rng.randrange(1, 5)):
        text = odd_text(rng) if rng.random() < 0.5 else odd_json(rng)
        kind = rng.choice([b"tEXt", b"zTXt", b"iTXt", b"eXIf"])
        name = rng.choice(
            [b"parameters", b"Comment", b"prompt", b"workflow", b"\xff", b"", b"k" * 90]
        )
        body = name + b"\0" + text
        if kind == b"zTXt":
            body = name + b"\0" + bytes([rng.randrange(2)]) + zlib.compress(text)
        if kind == b"iTXt":
            packed = rng.randrange(2)
            body = name + b"\0" + bytes([packed, 0]) + rng.choice([b"", b"\xff"]) + b"\0\0"
            body += zlib.compress(text) if packed and rng.random() < 0.8 else text
        if kind == b"eXIf":
            body = b"II*\0\x08\0\0\0" + rng.randbytes(rng.randrange(60))
        chunks += struct.pack(">I", len(body)) + kind + body
        chunks += struct.pack(">I", zlib.crc32(kind + body))
    data = path.read_bytes()
    path.write_bytes(data[:33] + chunks + data[33:])


def packed(folder: Path, rng: random.Random) -> None:
    """The same in an archive, with names that lead out of it."""
    names = ["a.png", "../a.png", "/a.png", "C:\\a.png", "a\\b.png", "con.png", "x. /a.png",
             "\x1f.png",
             "a.json", "a.txt", "é.png", "b/", "a.png/b.png", "a" * 300 + ".png"]  # fmt: skip
    content = (folder / "bad.png").read_bytes()
    with zipfile.ZipFile(folder / "bad.zip", "w") as archive:
        for name in rng.sample(names, 5):
            data = content if name.endswith(".png") else odd_json(rng)
            info = zipfile.ZipInfo("x")
            info.filename = name.encode("utf-8", "replace").decode()
            archive.writestr(info, data)
    if rng.random() < 0.4:
        data = bytearray((folder / "bad.zip").read_bytes())
        for _ in range(rng.randrange(1, 9)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        (folder / "bad.zip").write_bytes(data)


def attack(seed: int, folder: Path) -> Outcome:
    rng = random.Random(seed)
    place = folder / "pictures"
    place.mkdir()
    for name in (*GOOD, "bad.png"):
        picture(place / name, rng)
    (place / "good.txt").write_text("1girl, smile", encoding="utf-8")
    # a seed below 0 only warms up
    made = rng.choice([beside, beside, beside, beside, no_file, odd_name, inside, inside, packed])
    if seed >= 0:
        made(place, rng)
    settings = Scrape(folders=[{"path": str(place)}], minimum_share=0)
    scrape.run(settings, booru=folder, out=folder / "out", store=folder / "store")
    rows = posts.read(folder / "out/posts.csv")
    own = caption_files.read(folder / "out" / caption_files.NAME)
    came = {row.url: row for row in rows if row.status == posts.FETCHED}
    if missing := [name for name in GOOD if f"pictures/{name}" not in came]:
        return Outcome("failed", f"{made.__name__}: {missing[0]} did not come in: {rows}")
    if own.get(came["pictures/good.png"].image) != "1girl, smile":
        return Outcome("failed", f"{made.__name__}: the good caption is {own}")
    if wrong := [row for row in rows if row.status != posts.FETCHED and not row.reason]:
        return Outcome("failed", f"{made.__name__}: no reason for {wrong[0]}")
    if any(not (folder / "out/images" / row.image).is_file() for row in came.values()):
        return Outcome("failed", f"{made.__name__}: a picture of the table is not there")
    listed = tables.read(folder / "out/posts.csv", posts.COLUMNS)
    if len(listed) < 3:
        return Outcome("failed", f"{made.__name__}: only {len(listed)} rows")
    left = [row for row in rows if row.status != posts.FETCHED]
    return Outcome("recorded", left[0].reason) if left else Outcome("taken", str(rows[-1].url))
