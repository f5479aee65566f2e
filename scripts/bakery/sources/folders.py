"""Local folders of pictures as a source, with their sidecars.

For a picture `a.jpg` these are looked for: `a.jpg.json` or `a.json` (gallery-dl's metadata), and its
caption (`caption_files.py`), whose tags count where the metadata have none. Every other file is
recorded, used or not; hidden folders are skipped. The gate also reads everything else written about a
picture (`gate/sidecars.py`). A picture with an unreadable sidecar is not used, because its content is
unknown; other pictures are not affected.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import unicodedata
from pathlib import Path

from bakery.gate import sidecars as gate_files
from bakery.gate.sidecars import BrokenSidecar, Sidecars
from bakery.io import images
from bakery.io.errors import BakeryError
from bakery.sources import posts
from bakery.sources.caption_files import CaptionFiles, OwnCaption
from bakery.sources.caption_grammar import CATEGORIES
from bakery.sources.posts import Post

SIDECARS = {".txt", ".caption", ".json"}
_UNSAFE = re.compile(r"[^0-9A-Za-z_.-]+")
_LONGEST = 60


def collect(folder: Path, where: str = "scrape.folders") -> list[tuple[Post, Path]]:
    """Every file below `folder` as a post and its path, sorted by path, sidecars left out.

    What the gate refuses is a bare line. Raises `BakeryError` when there is no such folder, no picture
    in it, or a broken sidecar; it calls the setting that names the folder `where`.
    """
    if not folder.is_dir():
        raise BakeryError(f"{where}: {folder} is not a folder: check the spelling")
    found = []
    sidecars, captions = Sidecars(folder), CaptionFiles()
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts[:-1]):
            continue  # a hidden folder is another program's
        if path.is_dir() or path.suffix.lower() in SIDECARS:
            continue
        post = _post(path, f"{folder.name}/{inside.as_posix()}", sidecars, captions)
        found.append((posts.refused() if posts.forbidden(post) else post, path))
    strangers = [post for post, _ in found if post.status == posts.SKIPPED]
    if len(found) == sum(post.reason != posts.FORBIDDEN for post in strangers):
        raise BakeryError(f"{where}: {folder} holds no picture that can be opened")
    return found


def safe_stem(path: Path) -> str:
    """The file's name without extension, in at most 60 characters that every system takes."""
    plain = unicodedata.normalize("NFKD", path.stem).encode("ascii", "ignore").decode()
    return _UNSAFE.sub("_", plain).strip("._-")[:_LONGEST] or "picture"


def _post(path: Path, address: str, sidecars: Sidecars, captions: CaptionFiles) -> Post:
    # Undecodable bytes of a file name must not stop the table from being written.
    post = Post(url=address.encode("utf-8", "replace").decode())
    if path.name.startswith("."):
        post.status, post.reason = posts.SKIPPED, "hidden file"
        return post
    if path.exists() and not path.is_file():  # reading a pipe would block forever
        post.status, post.reason = posts.FAILED, "cannot be read: it is no regular file"
        return post
    if path.suffix.lower() in gate_files.TEXT_LIKE:
        post.status, post.reason = posts.SKIPPED, "not a picture: its extension is a text's"
        return post
    said = sidecars.said_of(path)
    post.facts = said.facts
    try:
        content = path.read_bytes()
        noted = _metadata(path)
        own = captions.of(path)
        if said.trouble:
            raise BrokenSidecar(said.trouble)
    except OSError as problem:
        post.status, post.reason = posts.FAILED, f"cannot be read: {problem.strerror}"
        return post
    except BrokenSidecar as problem:
        post.status, post.reason = posts.FAILED, str(problem)
        return post
    if noted:
        noted.url, noted.facts, post = post.url, post.facts, noted
    if own:
        _caption(post, own)
    # The file's own, not the sidecar's: the picture may have been edited since.
    post.md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    post.file_ext = path.suffix[1:].lower()
    try:
        width, height = images.size_of(path)
    except images.UnreadableImage as problem:
        post.status, post.reason = posts.SKIPPED, f"not a picture: {problem.reason}"
        # Files that look like pictures go on to the filter, which decides.
        if path.suffix.lower() in {*images.REAL_EXTENSIONS.values(), ".jpeg", ".tif"}:
            post.status, post.reason = posts.FETCHED, ""
        return post
    post.width, post.height = str(width), str(height)
    post.status = posts.FETCHED
    return post


def _caption(post: Post, own: OwnCaption) -> None:
    """Adds a picture's caption to its post, and its tags and rating where the metadata have none."""
    post.own = own
    post.rating = post.rating or own.rating
    if not post.tags():
        for name in CATEGORIES:
            setattr(post, f"tags_{name}", own.caption.tags(name))


def _metadata(path: Path) -> Post | None:
    """What gallery-dl noted of the picture; raises `BrokenSidecar`, or OSError."""
    for ending in (path.name + ".json", path.stem + ".json"):
        if (text := _text(path.with_name(ending))) is None:
            continue
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as problem:
            raise BrokenSidecar(f"{ending} is not JSON ({problem}): repair or remove it") from None
        if not isinstance(data, dict):
            raise BrokenSidecar(f"{ending} is not gallery-dl's metadata: repair or remove it")
        return posts.from_metadata(data, danbooru="tag_string_general" in data)
    return None


def _text(note: Path) -> str | None:
    """The text of a sidecar, None when there is no such file."""
    try:
        if note.exists():
            return gate_files.read_text(note)
    except OSError as problem:
        if problem.errno != errno.ENAMETOOLONG:  # then there cannot be such a file
            raise
    return None
