"""Layout: kohya's repeat folder, `<repeats>_<name>/` with a caption beside each picture.

Steps: give each picture a stem that sd-scripts reads as what it is; link the picture when
sd-scripts would load it as `images.open_rgb` does, else write that as a PNG; write the caption.
The folder is built under another name and renamed when whole; what a broken run left is removed.
"""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image

from bakery import images, tables
from bakery.config import Layout
from bakery.errors import BakeryError

COLUMNS = ("image", "file", "caption", "repeats")

EXTENSIONS = {"png": (".png",), "jpeg": (".jpg", ".jpeg"), "webp": (".webp",), "bmp": (".bmp",)}
"""Formats that sd-scripts loads -> the extensions by which it finds them; the first is usual."""

_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_LONGEST = 180  # bytes of a stem: trainers append to it (latent caches), and 255 is the limit
_FOUR_NUMBERS = re.compile(r"(_\d+){4}$")
_REPEAT_FOLDER = re.compile(r"\d+_.*")
_UNFINISHED = "unfinished_"  # no number in front: a trainer pointed here by hand ignores it


def run(settings: Layout, *, scrape: Path, prune: Path, out: Path, name: str) -> dict[str, Any]:
    """Lays the captioned pictures out for training.

    Writes `<repeats>_<name>/<stem>.<ext>` with captions (UTF-8) and `layout.csv` (image, file
    relative to `out`, caption, repeats). Raises `BakeryError` when a picture is missing or broken.
    """
    table = tables.read(prune / "captions.csv", ("image", "caption")).sort_values("image")
    if table.empty:
        raise BakeryError(
            f"{prune / 'captions.csv'} lists no picture; loosen the filter section or scrape more"
        )
    out.mkdir(parents=True, exist_ok=True)
    _clear(out)
    building = out / f"{_UNFINISHED}{name}"
    building.mkdir()
    stems = file_stems(list(table["image"]))
    folder = f"{settings.repeats}_{name}"
    rows, reencoded = [], Counter()
    for image, caption in zip(table["image"], table["caption"], strict=True):
        source = scrape / "images" / image
        why = _why_reencode(source)
        file = _place(source, building / stems[image], reencode=bool(why))
        file.with_suffix(settings.caption_extension).write_text(caption + "\n", encoding="utf-8")
        reencoded.update([why] if why else [])
        rows.append(
            {
                "image": image,
                "file": f"{folder}/{file.name}",
                "caption": caption,
                "repeats": settings.repeats,
            }
        )
    building.rename(out / folder)
    tables.write(out / "layout.csv", rows, COLUMNS)
    return {
        "images": len(rows),
        "repeats": settings.repeats,
        "folder": folder,
        "reencoded": dict(sorted(reencoded.items())),
        "renamed": sum(stems[image] != Path(image).stem for image in table["image"]),
    }


def file_stems(names: list[str]) -> dict[str, str]:
    """File name -> the stem under which it is laid out: safe, and different for each.

    Stems must differ even where extensions do, since a caption is found by its stem, and not only
    by upper case, since some file systems do not tell.
    """
    stems: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(names):
        stem = wanted = _safe(Path(name).stem)
        number = 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{wanted}-{number}"
        taken.add(stem.casefold())
        stems[name] = stem
    return stems


def _safe(stem: str) -> str:
    """Letters and digits of any script and `_ . + -`, not hidden, and not too long.

    Four `_number` groups at the end are joined by `-` instead: sd-scripts takes them for a face's
    position, and then looks for the caption of the stem without them.
    """
    stem = re.sub(r"[^\w.+-]+", "-", unicodedata.normalize("NFC", stem))
    stem = stem.encode()[:_LONGEST].decode(errors="ignore").strip(".-") or "image"
    return stem.replace("_", "-") if _FOUR_NUMBERS.search(stem) else stem


def _why_reencode(path: Path) -> str | None:
    """Why sd-scripts would not see what `images.open_rgb` sees; None when it would."""
    kind = images.real_format(path)
    if kind not in EXTENSIONS:
        return f"{kind} is not read by trainers"
    if images.is_animated(path):
        return "animated"
    with Image.open(path) as image:
        if image.has_transparency_data:
            return "transparency"
        if image.mode not in ("RGB", "L"):
            return f"colour mode {image.mode}"
        return _exif_trouble(image)


def _exif_trouble(image: Image.Image) -> str | None:
    """Trainers do not turn pictures as EXIF says, or not all of them."""
    try:
        turned = image.getexif().get(_ORIENTATION, 1) in range(2, 9)
    except Exception:  # Pillow's EXIF parser raises whatever the bytes lead it to
        return "damaged EXIF"
    return "EXIF rotation" if turned else None


def _place(source: Path, target: Path, *, reencode: bool) -> Path:
    """Puts the picture at `target` (a path without extension); gives the path with it."""
    if reencode:
        file = target.with_name(f"{target.name}.png")
        images.open_rgb(source).save(file, format="PNG")
        return file
    allowed = EXTENSIONS[images.real_format(source)]
    suffix = source.suffix.lower()
    file = target.with_name(target.name + (suffix if suffix in allowed else allowed[0]))
    try:
        os.link(source.resolve(), file)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, file)
    return file


def _clear(out: Path) -> None:
    """Removes what an earlier run left: any repeat folder would be trained on."""
    for entry in out.iterdir():
        if entry.name.startswith(_UNFINISHED) or _REPEAT_FOLDER.fullmatch(entry.name):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    (out / "layout.csv").unlink(missing_ok=True)
