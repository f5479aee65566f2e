"""Where a new config's pictures are to come from: an address or a folder, and what is wrong with it."""

from __future__ import annotations

import re
from pathlib import Path, PureWindowsPath
from urllib.parse import urlsplit

from bakery.io.errors import BakeryError
from bakery.settings import credentials
from bakery.sources import archives
from bakery.sources.gallery import Gallery
from bakery.sources.gallery_process import Bounds
from bakery.sources.glance import Glance

_ADDRESS = re.compile(r"((?:[\w.-]+:)?https?://\S+)|((?:[\w-]+\.)+[a-z]{2,}/\S+)", re.IGNORECASE)
"""With or without `https://`; `Danbooru:http://...` is gallery-dl's way to say what a server is."""
_APPLE = {".heic", ".heif"}


def is_address(source: str) -> bool:
    """Whether FROM is an address, and no folder."""
    return _ADDRESS.fullmatch(source.strip()) is not None


def address(source: str) -> tuple[str, list[str]]:
    """The address as a config holds it, and what to tell of it. No site is asked.

    Raises `BakeryError` for one with a password, a site's front page, and what gallery-dl does not know.
    """
    given = source.strip()
    given = given if "://" in given else f"https://{given}"
    if credentials.in_address(given):
        raise BakeryError(
            "FROM is an address with a password or key: accounts go into gallery-dl's own "
            "configuration (docs/curating.md)"
        )
    parts = urlsplit(given[given.index("http") :])
    if not parts.path.strip("/") and not parts.query:
        raise BakeryError(
            f"FROM names {given}, the front page of a site: search there for the character, and give "
            "the address of what is found, as in https://danbooru.donmai.us/posts?tags=..."
        )
    try:
        with Gallery(Path(), {}, Bounds()) as gallery:
            site, is_booru = gallery.check(given)
    except BakeryError:
        raise BakeryError(
            f"FROM names {given}, and gallery-dl, which downloads, knows no such page: check the "
            "spelling, or download by hand and give the folder"
        ) from None
    if is_booru:
        return given, []
    return given, [
        f"{site} is no booru: its posts have no booru tags and mostly no rating (then they count as "
        "general), and it may want an account (docs/curating.md)"
    ]


def no_folder(source: str, place: Path) -> str:
    """What is wrong with a FROM that is neither a folder nor an address."""
    if place.is_file():
        archive = place.suffix.lower() in archives.READ | archives.NOT_READ
        cure = "unpack it and give its folder" if archive else f"give its folder, {place.parent}"
        return f"FROM names {source}, which is a single file: {cure}"
    if "\\" in source:
        return f"FROM names {source}, a path as Windows writes it: here it is {_here(source)}"
    folders = sorted(p.name for p in place.parent.glob("[!.]*") if p.is_dir())[:8]
    beside = f"; beside it are {', '.join(folders)}" if folders else ""
    return (
        f"FROM names {source}, which is neither a folder nor an address such as "
        f"https://danbooru.donmai.us/posts?tags=...: check the spelling{beside}"
    )


def _here(source: str) -> str:
    """A path of Windows as WSL has it."""
    path = PureWindowsPath(source)
    if not path.drive.endswith(":"):
        return path.as_posix()
    return "/".join(["/mnt", path.drive[0].lower(), *path.parts[1:]])


def no_picture(place: Path, seen: Glance) -> str:
    """What a folder without a picture holds instead."""
    found = [f"{n} {kind}" for kind, n in seen.kinds[:4]]
    found += [f"{seen.unreadable} damaged"] if seen.unreadable else []
    instead = f" ({', '.join(found)})" if found else ""
    apple = _APPLE & {kind for kind, _ in seen.kinds}
    cure = (
        "save them as .jpg or .png first, since Apple's format is not read"
        if apple
        else "give the folder with the .png, .jpg or .webp files"
    )
    return f"FROM names {place}, which holds no picture{instead}: {cure}"
