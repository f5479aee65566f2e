"""Zip archives of pictures: unpacked where nothing of them can do harm.

Names stay below the target, whatever the archive says; sizes are bounded; what is encrypted, damaged
or not read here is on record. A name without the mark of UTF-8 is read as the encoding that its bytes
look like (Windows' zips in Japan are Shift-JIS), else as DOS wrote it.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import stat
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bakery.gate.sidecars import TEXT_LIKE
from bakery.io import images
from bakery.io.text_files import UnreadableText, decode
from bakery.settings.named_files import ARCHIVES

READ = frozenset(ARCHIVES)
NOT_READ = frozenset({
    ".rar", ".cbr", ".7z", ".cb7", ".tar", ".cbt", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz", ".zst",
    ".lzh", ".lha", ".ace",
})  # fmt: skip
"""Extensions of archives that have to be unpacked by their owner."""
MOST_FILES = 100_000
MOST_RATIO, FREE_BYTES = 100, 256 * 2**20
"""An archive may unpack to `FREE_BYTES` and `MOST_RATIO` times its own size."""
_UTF8 = 0x800
_ENCRYPTED = 0x1
_LONGEST = 200
"""Bytes of a part of a name; file systems take 255."""
_ENDINGS = frozenset({*TEXT_LIKE, *images.REAL_EXTENSIONS.values(), ".jpeg", ".tif"})
_FRAME = re.compile(r"\d{4,6}\.(?:jpe?g|png)", re.IGNORECASE)
_ODD = re.compile(r"[\x00-\x1f\x7f]")


class UnreadArchive(Exception):
    """An archive of which nothing is used; the message says why and what to do."""


@dataclass
class Unpacked:
    """What came of an archive."""

    folder: Path
    names: dict[Path, str] = field(default_factory=dict)
    """Unpacked file -> its name in the archive, where that could not be kept."""
    left: list[tuple[str, str]] = field(default_factory=list)
    """(name in the archive, why it was not unpacked)."""


def unpack(archive: Path, target: Path) -> Unpacked:
    """Unpacks `archive` to `target`, which is made. Raises `UnreadArchive`, or OSError."""
    done = Unpacked(target)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [one for one in opened.infolist() if not one.is_dir()]
            _check(archive, members)
            target.mkdir(parents=True, exist_ok=True)
            for member in members:
                _unpack_one(opened, member, done)
        for name, why in done.left:
            if PurePosixPath(name).suffix.lower() in TEXT_LIKE:  # what it says must not be lost
                raise UnreadArchive(f"holds {name}, and {why}: unpack it yourself")
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as problem:
        raise UnreadArchive(f"cannot be unpacked ({problem}): repair it, or unpack it") from None
    return done


def _check(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    """Raises `UnreadArchive` for what must not be unpacked, or need not be."""
    if members and all(member.flag_bits & _ENCRYPTED for member in members):
        raise UnreadArchive("is encrypted: unpack it with its password")
    if len(members) > MOST_FILES:
        raise UnreadArchive(f"holds {len(members)} files, more than {MOST_FILES}: unpack it")
    size, packed = sum(member.file_size for member in members), archive.stat().st_size
    if size > FREE_BYTES + MOST_RATIO * packed:
        raise UnreadArchive(
            f"would grow from {packed / 1e6:.3g} to {size / 1e6:.3g} MB: unpack it if you trust it"
        )
    names = [member.filename for member in members]
    if len(names) > 1 and all(_FRAME.fullmatch(n) or n == "animation.json" for n in names):
        numbers = sorted(int(name[:4]) for name in names if name != "animation.json")
        if numbers[0] == 0:
            raise UnreadArchive("holds the frames of an animation (ugoira), not pictures")


def _unpack_one(opened: zipfile.ZipFile, member: zipfile.ZipInfo, done: Unpacked) -> None:
    name = _name(member)
    why, parts = "", _safe_parts(name)
    if not parts:
        why = "its name leads out of the archive"
    elif member.flag_bits & _ENCRYPTED:
        why = "it is encrypted: unpack it with its password"
    elif (kind := stat.S_IFMT(member.external_attr >> 16)) == stat.S_IFLNK:
        why = "a link inside an archive"
    elif kind not in (0, stat.S_IFREG):  # 0 is that of systems without kinds
        why = "a pipe or device inside an archive"
    if why:
        done.left.append((name, why))
        return
    path = done.folder.joinpath(*parts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with opened.open(member) as source, path.open("xb") as copy:
            shutil.copyfileobj(source, copy)
    except FileExistsError:
        done.left.append((name, "its name is in the archive twice"))
    except NotADirectoryError:
        done.left.append((name, "its folder has the name of a file"))
    except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error, RuntimeError) as problem:
        path.unlink(missing_ok=True)
        done.left.append((name, f"it cannot be unpacked ({problem}): unpack the archive"))
    else:
        if path.relative_to(done.folder).as_posix() != name:
            done.names[path] = name


def _name(member: zipfile.ZipInfo) -> str:
    """The name as its writer meant it, with slashes."""
    name = member.orig_filename
    if not member.flag_bits & _UTF8 and not name.isascii():
        with contextlib.suppress(
            UnreadableText, UnicodeEncodeError
        ):  # else they are DOS' own letters
            name = decode(name.encode("cp437")).text
    return name.partition("\0")[0].replace("\\", "/")


def _safe_parts(name: str) -> list[str]:
    """The parts of a name, none of which leads elsewhere; none where it would."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name):
        return []
    return [_short(_ODD.sub("_", part)) for part in path.parts]


def _short(part: str) -> str:
    """A part that file systems take; the same start for a picture and its sidecars."""
    if len(part.encode("utf-8", "replace")) <= _LONGEST:
        return part.encode("utf-8", "replace").decode()
    stem, endings = part, ""
    while (suffix := PurePosixPath(stem).suffix).lower() in _ENDINGS:
        stem, endings = stem.removesuffix(suffix), suffix + endings
    digest = hashlib.sha256(stem.encode("utf-8", "replace")).hexdigest()[:12]
    return stem.encode("utf-8", "replace")[:120].decode("utf-8", "ignore") + f"~{digest}{endings}"
