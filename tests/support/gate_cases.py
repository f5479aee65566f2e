"""Labels for the gate's tests: refused words and ratings in many spellings, innocent neighbours, and
the shapes in which they lie beside a picture. The pictures are plain."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

from PIL import Image, PngImagePlugin

NAMED = (
    "loli", "shota", "lolicon", "shotacon", "toddlercon", "cub", "LOLI", "Loli", "lolis", "shotas",
    "loli_girl", "lolidom", "lolibaba", "legal_loli", "oppai_loli", "onee-shota", "oneshota",
    "straight_shota", "shotadom", "lolification", "2lolis", "LoliGirl", "child_porn", "jailbait",
    "loli.", "#loli", "(loli:1.2)", "[[loli]]", "{loli}", "\\(loli\\)", "loli!", "'loli'", "*loli*",
    "general:loli", "tag: loli", "e621:cub", "lo_li", "lo-li", "l.o.l.i", "l o l i", "l-o-l-i", "sho-ta",
    "l0li", "lol1", "sh0ta", "$hota", "l*li", "ｌｏｌｉ", "ＬＯＬＩ", "lo\u200bli", "lo\u00adli",
    "l\u2060oli", "lóli", "l\u0336o\u0336l\u0336i\u0336", "lоli", "ⓛⓞⓛⓘ", "🅻🅾🅻🅸", "ʟᴏʟɪ", "&#108;oli",
    "ロリ", "ﾛﾘ", "ロリコン", "巨乳ロリ", "合法ロリ", "ロリババア",
    "ショタ", "おねショタ", "ショタコン", "ろり", "口リ",
    "萝莉", "蘿莉", "小正太", "로리", "쇼타", "로리콘", "лоли", "лоликон", "шота",
)  # fmt: skip
MINORS = (
    "child", "children", "female_child", "baby", "toddler", "young", "aged_down", "kid", "little_girl",
    "little boy", "young_girl", "kindergarten_uniform", "elementary_school_student", "preschooler",
    "preteen", "randoseru", "10yo", "12 years old", "7-year-old", "underage", "young_link", "Child",
    "ch\u200bild", "(child:1.1)", "小学生", "幼女", "女児", "12歳", "儿童", "小女孩", "어린이",
    "초등학생",
    "ребёнок", "девочка", "infant", "teenager", "middle_school_student", "deaged", "age_regression",
)  # fmt: skip
ADULTS = (
    "rating:explicit", "rating_explicit", "rating: questionable", "rating:e", "rating:q", "explicit",
    "questionable", "nsfw", "NSFW", "R-18", "r18", "18+", "rated x", "nude", "sex", "nipples", "penis",
    "pussy", "cum", "hentai", "masturbation", "fellatio", "セックス", "全裸", "成人向け",
    "completely_nude",
)  # fmt: skip
INNOCENT = (
    "1girl", "1boy", "solo", "smile", "lolita_fashion", "gothic_lolita", "sweet lolita", "wa_lolita",
    "lolita_hairband", "qi_lolita", "lollipop", "swirl_lollipop", "lolirock", "LoliRock", "lollygag",
    "childhood_friends", "childhood", "childe_(genshin_impact)", "tartaglia_(genshin_impact)",
    "baby's-breath", "baby blue", "baby_doll", "babydoll", "babylon", "babel", "babysitter's",
    "shotaro_kaneda", "shotarou", "shotgun", "shotgun_shell", "cowboy_shot", "splattershot_(splatoon)",
    "wide_shot", "shot", "screenshot", "shota_aizawa", "aizawa_shota", "cube", "ice_cube", "incubus",
    "succubus", "cuban", "cubism", "super_cub", "lion_cub", "bear cub", "honda cub", "cub scout",
    "young_adult", "young woman", "young man",
    "kidney", "kidnapping", "kaito_kid", "kid_icarus", "teen_titans", "teenage mutant ninja turtles",
    "minigirl", "tomboy", "schoolgirl", "school_uniform", "high_school_uniform", "school_swimsuit",
    "magical_girl", "petite", "small_breasts", "flat_chest", "short_stack", "onee-san", "little_sister",
    "little_witch_academia", "little_red_riding_hood_(grimm)_(cosplay)", "infantry", "ravioli",
    "broccoli", "tagliatelle", "lolo", "lola_bunny", "lol", "lmao", "lolz", "loki_(marvel)", "lori",
    "loligo_squid", "ロリータ", "ロリータ・ファッション", "甘ロリィタ", "カロリー",
    "ころり", "アイドル", "少女", "正太郎",
    "修正太大", "萝莉塔", "칼로리", "글로리", "아이돌", "лолита", "chibi",
    "mother_and_daughter", "siblings",
    "pedometer", "minority", "d_minor", "sexagonal", "sextuplets", "child_drawing", "a bear cub plays",
    "lol i think", "tokyo_babel", "neil_young", "polo_shirt", "choli", "violin",
)  # fmt: skip
"""What stays, with any rating."""

Writer = Callable[[Path, list[str], str], None]
"""Writes sidecars of `picture` with tags and a rating, which may be empty."""


def plain_picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_PLAIN)
    return path


def _png(**texts: str) -> bytes:
    chunks = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        chunks.add_itxt(name, text)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (90, 140, 200)).save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


_PLAIN = _png()


def _json(picture: Path, **data: object) -> None:
    picture.with_name(picture.name + ".json").write_text(json.dumps(data), encoding="utf-8")


def _listed(tags: list[str], rating: str, between: str = ", ") -> str:
    return between.join([*tags, *([rating] if rating else [])])


def _text(name: str, between: str = ", ") -> Writer:
    def write(picture: Path, tags: list[str], rating: str) -> None:
        file = picture.with_name(name.format(name=picture.name, stem=picture.stem))
        file.write_text(_listed(tags, rating, between), encoding="utf-8")

    return write


def _data(**shape: Callable[[list[str]], object]) -> Writer:
    def write(picture: Path, tags: list[str], rating: str) -> None:
        fields = {name: make(tags) for name, make in shape.items()}
        _json(picture, **fields, **({"rating": rating} if rating else {}))

    return write


def _second(first: Writer, second: Writer) -> Writer:
    """The innocent first sidecar hides the one that says it."""

    def write(picture: Path, tags: list[str], rating: str) -> None:
        first(picture, ["1girl"], "")
        second(picture, tags, rating)

    return write


def _inside(picture: Path, tags: list[str], rating: str) -> None:
    shown = f"{_listed(tags, rating)}\nNegative prompt: blurry\nSteps: 20, Sampler: DDIM"
    picture.write_bytes(_png(parameters=shown))


def _sentence(picture: Path, tags: list[str], rating: str) -> None:
    said = f"a picture of {' and '.join([*tags, rating])} here"
    picture.with_suffix(".txt").write_text(said, encoding="utf-8")


def _markup(picture: Path, tags: list[str], rating: str) -> None:
    lines = "".join(f"<rdf:li>{tag}</rdf:li>" for tag in [*tags, rating])
    picture.with_suffix(".xmp").write_text(f"<rdf:Bag>{lines}</rdf:Bag>", encoding="utf-8")


def _yaml(picture: Path, tags: list[str], rating: str) -> None:
    lines = "".join(f"  - {tag}\n" for tag in [*tags, rating])
    picture.with_suffix(".yaml").write_text(f"tags:\n{lines}", encoding="utf-8")


def _table(picture: Path, tags: list[str], rating: str) -> None:
    line = json.dumps({"file_name": picture.name, "text": _listed(tags, rating)})
    with (picture.parent / "metadata.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def _hidden(picture: Path, tags: list[str], rating: str) -> None:
    """As waifuc leaves it."""
    about = {"tags": dict.fromkeys(tags, 0.8), "rating": rating}
    file = picture.with_name(f".{picture.stem}_meta.json")
    file.write_text(json.dumps(about), encoding="utf-8")


def _table_of(name: str, about: Callable[[Path, list[str], str], object]) -> Writer:
    """One JSON for a folder: picture -> what is said of it."""

    def write(picture: Path, tags: list[str], rating: str) -> None:
        file = picture.with_name(name)
        table = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        key = about(picture, tags, rating)
        file.write_text(json.dumps(table | key), encoding="utf-8")

    return write


def _kohya(picture: Path, tags: list[str], rating: str) -> object:
    return {f"/data/uploads/path/{picture.stem}": {"tags": _listed(tags, rating),
                                                   "train_resolution": [512, 512]}}  # fmt: skip


def _tree(picture: Path, tags: list[str], rating: str) -> object:
    return {f"user/file/{picture.name}": {"file": {"tags": tags, "rating": rating}}}


def _rows(picture: Path, tags: list[str], rating: str) -> None:
    with (picture.parent / "wd14.csv").open("a", encoding="utf-8", newline="") as file:
        csv.writer(file).writerow([picture.name, _listed(tags, rating)])


def _captions(picture: Path, tags: list[str], rating: str) -> object:
    """As diffusion-pipe reads them."""
    return {picture.name: ["1girl", _listed(tags, rating)]}


def _coco(picture: Path, tags: list[str], rating: str) -> None:
    file = picture.with_name("captions_train.json")
    empty = '{"images": [], "annotations": []}'
    table = json.loads(file.read_text(encoding="utf-8") if file.exists() else empty)
    number = len(table["images"])
    table["images"].append({"id": number, "file_name": picture.name})
    table["annotations"].append({"image_id": number, "caption": _listed(tags, rating)})
    file.write_text(json.dumps(table), encoding="utf-8")


def _database(picture: Path, tags: list[str], rating: str) -> None:
    """As the WD14 tagger for A1111 keeps what it saw."""
    file = picture.with_name("db.json")
    empty = '{"rating": {}, "tag": {}, "query": {}}'
    table = json.loads(file.read_text(encoding="utf-8") if file.exists() else empty)
    number = len(table["query"])
    table["query"][f"{number:064x}wd14"] = [f"/pictures/{picture.name}", number]
    for name in [rating] if rating else []:
        table["rating"].setdefault(name, []).append(number + 0.9)
    for name in tags:
        table["tag"].setdefault(name, []).append(number + 0.9)
    file.write_text(json.dumps(table), encoding="utf-8")


def _messages(picture: Path, tags: list[str], rating: str) -> None:
    said = [{"role": "user", "content": "<image>"},
            {"role": "assistant", "content": _listed(tags, rating)}]  # fmt: skip
    with (picture.parent / "chats.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"messages": said, "images": [picture.name]}) + "\n")


def _raw(wrap: Callable[[dict[str, object]], object]) -> Writer:
    """A site's own answer, as it was saved."""

    def write(picture: Path, tags: list[str], rating: str) -> None:
        post = {
            "id": 7,
            "tags": _words(tags),
            "rating": rating,
            "file_url": "https://a.example/a.png",
        }
        file = picture.with_name(picture.name + ".json")
        file.write_text(json.dumps(wrap(post)), encoding="utf-8")

    return write


def _tagger(picture: Path, tags: list[str], rating: str) -> None:
    said = [{rating or "general": 0.9}, dict.fromkeys(tags, 0.91)]
    picture.with_suffix(".json").write_text(json.dumps(said), encoding="utf-8")


def _waifuc(picture: Path, tags: list[str], rating: str) -> None:
    post = {"id": 7, "rating": rating, "tag_string": _words(tags), "tag_string_general": "1girl"}
    about = {
        "danbooru": post,
        "group_id": "danbooru_7",
        "filename": picture.name,
        "tags": {"1girl": 1.0},
    }
    file = picture.with_name(f".{picture.stem}_meta.json")
    file.write_text(json.dumps(about), encoding="utf-8")


def _megabytes(picture: Path, tags: list[str], rating: str) -> None:
    """A text that Pillow does not read."""
    chunks = PngImagePlugin.PngInfo()
    text = "smile, " * 160_000 + _listed(tags, rating)
    chunks.add_itxt("Description", text, zip=True)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (90, 140, 200)).save(buffer, "PNG", pnginfo=chunks)
    picture.write_bytes(buffer.getvalue())


def _words(tags: list[str]) -> str:
    return " ".join("_".join(tag.split()) for tag in tags)


SHAPES: dict[str, Writer] = {
    "txt": _text("{stem}.txt"),
    "name.txt": _text("{name}.txt"),
    "lines": _text("{stem}.txt", "\n"),
    "semicolons": _text("{stem}.txt", "; "),
    "caption": _text("{stem}.caption"),
    "upper case": _text("{stem}.TXT"),
    "tags": _text("{stem}.tags"),
    "two endings": _text("{name}.wd14.txt"),
    "sentence": _sentence,
    "hidden meta": _hidden,
    "flat text": _data(tags=_words),
    "flat commas": _data(tags=", ".join),
    "list": _data(tags=list),
    "tag_string": _data(tag_string=_words, tag_string_general=lambda _: "1girl"),
    "flat beside categories": _data(tags=list, tags_general=lambda _: "1girl"),
    "e621": _data(tags=lambda tags: {"general": ["solo"], "lore": tags}),
    "species": _data(tags_general=lambda _: "solo", tags_species=_words),
    "names": _data(tags=lambda tags: [{"name": tag, "category": "general"} for tag in tags]),
    "tag dicts": _data(tags=lambda tags: [{"tag": tag, "count": 3} for tag in tags]),
    "szurubooru": _data(tags=lambda tags: [{"names": [tag], "usages": 1} for tag in tags]),
    "probabilities": _data(tags=lambda tags: dict.fromkeys(tags, 0.91)),
    "hydrus": _data(services=lambda tags: {"my tags": {"0": [f"general:{tag}" for tag in tags]}}),
    "hydrus' api": _data(tags=lambda tags: {"6c6f": {"name": "my tags", "storage_tags": {"0": tags}}}),
    "hydrus' sidecar": _data(metadata=lambda tags: {"tags": [f"general:{tag}" for tag in tags]}),
    "szurubooru's api": _data(
        tags=lambda tags: [{"names": [tag, "alias"], "category": "default"} for tag in tags],
        safety=lambda _: "safe", version=lambda _: 3,
    ),
    "grabber": _data(website=lambda _: "danbooru.donmai.us", tags=list),
    "tagger's service": _data(general=lambda tags: [[tag, 0.9] for tag in tags]),
    "gelbooru's api": _raw(lambda post: {"@attributes": {"count": 1}, "post": [post]}),
    "danbooru's api": _raw(lambda post: [post]),
    "e621's api": _raw(lambda post: {"posts": [post | {"tags": {"lore": str(post["tags"]).split()}}]}),
    "dumped": _raw(lambda post: [[3, "https://a.example/a.png", post]]),
    "wd tagger": _tagger,
    "waifuc": _waifuc,
    "kohya": _table_of("meta_cap.json", _kohya),
    "tree": _table_of("all.json", _tree),
    "wd14.csv": _rows,
    "captions.json": _table_of("captions.json", _captions),
    "coco": _coco,
    "db.json": _database,
    "chats": _messages,
    "megabytes": _megabytes,
    "caption field": _data(caption=", ".join, id=lambda _: 7),
    "text in text": _data(info=lambda tags: json.dumps({"prompt": ", ".join(tags)})),
    "behind a json": _second(_data(id=lambda _: 7), _text("{stem}.txt")),
    "behind a txt": _second(_text("{stem}.txt"), _text("{name}.txt")),
    "csv": _text("{stem}.csv"),
    "xmp": _markup,
    "yaml": _yaml,
    "inside": _inside,
    "table": _table,
}  # fmt: skip
