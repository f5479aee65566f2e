"""Local folders of pictures as a source, with their sidecars, in subfolders, links and archives.

What lies beside a picture is read by `folder_notes`; the gate also reads everything else written about
it (`gate/sidecars.py`). Every other file is recorded, used or not. These folders are not entered, and
are one line each: hidden ones, those of operating systems, those named as rejects, and links to what
is read already. A picture with an unreadable sidecar is not used, because its content is unknown;
other pictures are not affected.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bakery.gate import gate
from bakery.gate import sidecars as gate_files
from bakery.gate.gate import Facts
from bakery.gate.sidecars import BrokenSidecar, Sidecars
from bakery.io import images, walk
from bakery.io.errors import BakeryError
from bakery.io.files import unreserved
from bakery.sources import archives, posts
from bakery.sources.archives import UnreadArchive
from bakery.sources.folder_notes import PICTURES, SIDECARS, Notes
from bakery.sources.posts import Post
from bakery.sources.store import md5_of

HIDDEN_FOLDER, HIDDEN_FILE = "hidden folder", "hidden file"
OF_SYSTEM = "left by an operating system"
REJECTS = frozenset({
    "reject", "rejects", "rejected", "discard", "discarded", "deleted", "trash", "excluded",
})  # fmt: skip
"""Names of folders into which people sort what is not to be trained on."""
REGULARIZATION = frozenset({"reg", "regs", "regularization", "regularisation"})
"""Names of folders in which trainers look for pictures of the class, if there are repeats in them."""
_REPEATS = re.compile(r"\d+_.")
_OF_SYSTEMS = frozenset({
    "__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", "icon\r", "@eadir",
    "$recycle.bin", "system volume information", "lost+found",
})  # fmt: skip
_CACHES = frozenset({".npz", ".npy", ".safetensors", ".pt", ".pth", ".ckpt"})
_MASKS = ("-masklabel", "-condlabel")
"""How the names of OneTrainer's masks and conditioning pictures end, behind the picture's own."""
_UNSAFE = re.compile(r"[^0-9A-Za-z_.-]+")
_LONGEST = 60


def collect(place: Path, unpacked: Path, where: str = "scrape.folders") -> list[tuple[Post, Path]]:
    """Every file below `place`, or in it if it is an archive, as a post and its path; sidecars left out.

    Archives are unpacked into `unpacked`, which the caller removes when the
    files have been copied. What the gate refuses is a bare line. Raises `BakeryError` when there is no
    such folder, no picture in it, or a broken sidecar; it calls the setting that names it `where`.
    """
    if place.is_dir():
        found = list(_Tree(place, place.name, unpacked).read())
    elif place.is_file() and place.suffix.lower() in archives.READ | archives.NOT_READ:
        found = list(_Tree(place.parent, "", unpacked).archive(place))
        if len(found) == 1 and found[0][1] == place:
            raise BakeryError(f"{where}: {place} {found[0][0].reason}")
    else:
        raise BakeryError(f"{where}: {place} is not a folder: check the spelling")
    strangers = [post for post, _ in found if post.status == posts.SKIPPED]
    if len(found) == sum(post.reason != posts.FORBIDDEN for post in strangers):
        raise BakeryError(f"{where}: {place} holds no picture that can be opened")
    return found


def safe_stem(path: Path) -> str:
    """The file's name without extension, in at most 60 characters that every system takes."""
    plain = unicodedata.normalize("NFKD", path.stem).encode("ascii", "ignore").decode()
    return unreserved(_UNSAFE.sub("_", plain).strip("._-")[:_LONGEST] or "picture")


@dataclass
class _Tree:
    """A folder, or an archive that has been unpacked, with everything below."""

    root: Path
    address: str
    """Of the root: what the addresses of its files begin with."""
    unpacked: Path
    """Where archives are unpacked to."""
    told: Callable[[str], Facts] = lambda _: gate.NOTHING
    """What is written, outside of the archive that the tree was unpacked from, of a picture of this
    name."""
    names: dict[Path, str] | None = None
    """Of an unpacked archive: the names that could not be kept."""

    def __post_init__(self) -> None:
        self.sidecars, self.notes = Sidecars(self.root), Notes(self.root)

    def read(self, start: Path | None = None) -> Iterator[tuple[Post, Path]]:
        """Everything below `start`, which is the root unless it is an archive's top."""
        here = {start or self.root}
        for found in walk.walk(start or self.root, _not_entered):
            path = found.path
            if path.is_relative_to(start or self.root) and path != (start or self.root):
                here.add(path.parent)
            if found.left:
                status = posts.FAILED if found.broken else posts.SKIPPED
                yield self._line(path, status, found.left), path
            elif path.suffix.lower() in archives.READ | archives.NOT_READ and path.is_file():
                yield from self.archive(path)
            elif path.suffix.lower() not in SIDECARS:
                post = self._post(path)
                yield posts.refused() if posts.forbidden(post) else post, path
        for folder in sorted(folder for folder in here if folder.is_dir()):
            for path, why in self.notes.strangers(folder):
                if not path.name.startswith("."):
                    yield self._line(path, posts.SKIPPED, why), path

    def archive(self, path: Path) -> Iterator[tuple[Post, Path]]:
        """What is in an archive; one line where nothing of it is used."""
        why = _unread(path)
        if self.names is not None:
            why = "an archive in an archive: unpack it"
        if why:
            yield self._line(path, posts.SKIPPED, why), path
            return
        about = self.sidecars.said_of(path)
        place = self.unpacked / hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
        top = place / path.relative_to(self.root)
        try:
            done = archives.unpack(path, top)
        except UnreadArchive as problem:
            yield self._line(path, posts.SKIPPED, str(problem)), path
            return
        except OSError as problem:
            yield self._line(path, posts.SKIPPED, f"cannot be unpacked: {problem.strerror}"), path
            return
        if about.trouble:
            yield self._line(path, posts.FAILED, about.trouble), path
            return
        told = partial(self._outside, path, about.facts)
        inside = _Tree(place, self.address, self.unpacked, told, done.names)
        yield from inside.read(top)
        for name, reason in done.left:
            address = f"{self._address(path)}/{name.encode('utf-8', 'replace').decode()}"
            yield Post(url=address, status=posts.SKIPPED, reason=reason), path

    def _outside(self, archive: Path, facts: Facts, picture: str) -> Facts:
        return facts | self.sidecars.of_tables(archive.parent, picture)

    def _line(self, path: Path, status: str, reason: str) -> Post:
        return Post(url=self._address(path), status=status, reason=reason)

    def _address(self, path: Path) -> str:
        inside = path.relative_to(self.root).as_posix()
        if self.names and path in self.names:
            inside = f"{inside[: -len(path.name)]}{self.names[path].rpartition('/')[2]}"
        # Undecodable bytes of a file name must not stop the table from being written.
        address = f"{self.address}/{inside}" if self.address else inside
        return address.encode("utf-8", "replace").decode()

    def _post(self, path: Path) -> Post:
        if status_and_reason := _no_picture(path):
            return self._line(path, *status_and_reason)
        said = self.sidecars.said_of(path)
        facts = said.facts | self.told(path.name)
        if self.names and path in self.names:
            facts |= gate.of_text(self.names[path])
        post = Post(url=self._address(path), facts=facts)
        try:
            # The file's own, not the sidecar's: the picture may have been edited since.
            md5 = md5_of(path)
            note = self.notes.of(path, md5)
            if said.trouble:
                raise BrokenSidecar(said.trouble)
        except OSError as problem:
            post.status, post.reason = posts.FAILED, f"cannot be read: {problem.strerror}"
            return post
        except BrokenSidecar as problem:
            post.status, post.reason = posts.FAILED, str(problem)
            return post
        post = note.post
        post.url, post.facts, post.md5 = self._address(path), facts, md5
        post.file_ext = path.suffix[1:].lower()
        post.status, post.reason = _opens(path, post)
        if post.status == posts.FETCHED:
            post.reason = note.remark
        return post


def _not_entered(folder: Path) -> str:
    name = folder.name.casefold()
    if name in _OF_SYSTEMS:
        return OF_SYSTEM
    if name.startswith("."):
        return HIDDEN_FOLDER
    if name.strip("_- ") in REJECTS:
        return f"a folder named {folder.name}: give it as an entry of its own to use it"
    if name in REGULARIZATION and any(map(_REPEATS.match, _names_in(folder))):
        return "regularization pictures: give the folder as layout.reg, or as an entry of its own"
    return ""


def _names_in(folder: Path) -> list[str]:
    """Names in a folder; none where it cannot be read, which is told when it is entered."""
    try:
        return [path.name for path in folder.iterdir() if path.is_dir()]
    except OSError:
        return []


def _no_picture(path: Path) -> tuple[str, str] | None:
    """(status, reason) of a file that is none, by its name or kind alone."""
    name = path.name.casefold()
    if name in _OF_SYSTEMS or name.startswith("._"):
        return posts.SKIPPED, OF_SYSTEM
    if name.startswith("."):
        return posts.SKIPPED, HIDDEN_FILE
    if path.exists() and not path.is_file():  # reading a pipe would block forever
        return posts.FAILED, "cannot be read: it is no regular file"
    if path.suffix.lower() in _CACHES:
        return posts.SKIPPED, "a trainer's cache or model"
    if path.suffix.lower() in gate_files.TEXT_LIKE:
        return posts.SKIPPED, "not a picture: its extension is a text's"
    if path.stem.endswith(_MASKS) and (owner := _masked(path)):
        return posts.SKIPPED, f"a mask of {owner}"
    return None


def _masked(path: Path) -> str:
    """The name of the picture that a mask lies beside; "" if there is none."""
    stem = path.stem.rpartition("-")[0]
    beside = (path.with_name(stem + ending) for ending in sorted(PICTURES))
    return next((one.name for one in beside if one.is_file()), "")


def _unread(archive: Path) -> str:
    if archive.name.startswith("."):
        return OF_SYSTEM if archive.name.startswith("._") else HIDDEN_FILE
    if archive.suffix.lower() in archives.NOT_READ:
        return f"{archive.suffix.lower()} archives are not read: unpack it"
    return ""


def _opens(path: Path, post: Post) -> tuple[str, str]:
    """(status, reason) of a picture by its content, the size of which goes to `post`."""
    try:
        width, height = images.size_of(path)
    except images.UnreadFormat as problem:
        return posts.SKIPPED, problem.reason
    except images.NoPicture as problem:  # whatever it holds is copied nowhere
        return posts.SKIPPED, f"not a picture: {problem.reason}"
    except images.UnreadableImage as problem:
        # Files that look like pictures go on to the filter, which decides.
        if path.suffix.lower() in {*images.REAL_EXTENSIONS.values(), ".jpeg", ".tif"}:
            return posts.FETCHED, ""
        return posts.SKIPPED, f"not a picture: {problem.reason}"
    post.width, post.height = str(width), str(height)
    return posts.FETCHED, ""
