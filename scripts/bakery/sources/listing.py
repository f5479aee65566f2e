"""What becomes of each post of a listing: gallery-dl asks, and the answers are given here.

What it says comes from a site, and is read without trust: a post is an object of any shape.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from bakery.gate import gate, sidecars
from bakery.io import seals, status
from bakery.io.files import sync
from bakery.settings import credentials
from bakery.sources import metadata, posts
from bakery.sources import store as stored
from bakery.sources.gallery_process import Message
from bakery.sources.posts import Post

EMBEDDED = "embedded://"
LONGEST_REASON = 300
"""Characters of what is said about a post; the rest is cut."""
LONGEST_TEXT = 200_000
"""Characters of one text in a post's metadata."""
MOST_REPEATS = 400
"""After so many posts in a row that were there before, a listing goes in circles."""
_ODD = re.compile(r"[\x00-\x1f\x7f-\x9f]|\\x[0-9a-f]{2}")
_EXTENSION = re.compile(r"[0-9A-Za-z]{1,8}")
_NO_PICTURE = {"mp4", "webm", "mkv", "mov", "swf", "zip", "rar", "7z", "pdf", "mp3", "wav", "ogg"}


@dataclass
class FetchedPost:
    """A post that was seen; `file` is its place in the store, None when nothing was fetched."""

    post: Post
    file: Path | None = None


@dataclass(frozen=True)
class Site:
    """What gallery-dl says of the reader that found a post."""

    name: str
    """Of the folder in the store, and the first part of the files' names."""
    category: str
    basecategory: str
    root: str
    url: str
    booru: bool
    """Whether it lists posts with one file each, which are watched one by one."""


@dataclass
class Listing:
    """What one address gave."""

    url: str
    limit: int
    store: Path
    base: str = ""
    """Root of the embedded booru while it is served, else empty."""
    found: dict[str, FetchedPost] = field(default_factory=dict)
    listed: int = 0
    repeats: int = 0
    """Posts that the site gave again."""
    messages: list[str] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)
    """Those in the user's gallery-dl configuration, and those that gallery-dl found besides."""
    _in_a_row: int = 0
    _before: int = 0
    """How many posts were on record before gallery-dl read the present one."""
    _sources: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Stem -> md5 and address of the file of a booru's post, to know it again."""
    _said: int = 0
    _known: Path | None = None
    _shelves: dict[str, stored.Shelf] = field(default_factory=dict)
    """Site -> its part of the store."""

    def public(self, text: str) -> str:
        """`text` without credentials and without the embedded booru's port."""
        if self.base:
            text = text.replace(self.base + "/", EMBEDDED)
        return credentials.hide(text, self.secrets)

    def words(self, text: str) -> str:
        """What gallery-dl or a site said, as part of a sentence: public, short, in one line."""
        plain = " ".join(_ODD.sub(" ", self.public(text)).split())
        return plain if len(plain) <= LONGEST_REASON else plain[:LONGEST_REASON] + "..."

    @property
    def goes_in_circles(self) -> bool:
        return self._in_a_row >= MOST_REPEATS

    def hear(self, message: Message) -> None:
        """Keeps what gallery-dl complained of, and the secrets that it came across."""
        self.secrets |= {secret for secret in message["secrets"] if len(secret) >= 4}
        self.messages += [self.words(said) for said in message["said"]]

    def answer(self, event: Message) -> Message:
        """The answer to one event."""
        self.hear(event)
        site, post = Site(**event["site"]), event.get("post", {})
        why = event.get("unusable", "") or _unusable(post)
        match event["event"]:
            case "more":
                return {"go": self.listed < self.limit and not self.goes_in_circles}
            case "queue":
                return {"stop": self._is_full()}
            case "listed":
                return {"take": self._is_taken(site, post, why)}
            case "left":
                self._left(site, post)
            case "broken":
                self._unless_there(site, post, event["why"])
            case "file":
                return self._file(site, event["url"], post, why)
            case "came":
                self._came(site, event["url"], post, event["path"])
        return {}

    def _is_full(self) -> bool:
        return max(self.listed, len(self.found)) >= self.limit or self.goes_in_circles

    def _is_taken(self, site: Site, post: dict, why: str) -> bool:
        """Whether gallery-dl goes on with a post that a booru has listed."""
        self.listed += 1
        if why:
            self._unless_there(site, _only_id(post), why)
            return False
        self._before = len(self.found)
        stem = self._stem(site, post)
        source = (str(post.get("md5") or ""), str(post.get("file_url") or ""))
        if stem in self._sources:
            if self._sources[stem] == source:
                self._again()
            else:
                self._note_beside(site, post, "another post of this listing has the same id")
            return False
        self._sources[stem] = source
        self._in_a_row = 0
        if post.get("is_deleted"):
            self._note(site, post, posts.SKIPPED, "deleted on the site")
            return False
        if problem := _wrong_address(post.get("file_url")):
            self._note(site, post, posts.FAILED, problem)
            return False
        return True

    def _left(self, site: Site, post: dict) -> None:
        """A booru's post has been read; where no file of it was offered, that is recorded."""
        if len(self.found) == self._before and self._stem(site, post) not in self.found:
            hidden = "file_url" not in post
            self._note(site, post, posts.FAILED if hidden else posts.SKIPPED,
                       "the site gives no file address" if hidden
                       else "passed over by gallery-dl's own configuration")  # fmt: skip

    def _unless_there(self, site: Site, post: dict, why: str) -> None:
        """Records a post that cannot be taken, also beside a sound one with the same id."""
        data = post if len(json.dumps(post)) < LONGEST_TEXT else _only_id(post)
        self._note_beside(site, data, self.words(why))

    def _again(self) -> None:
        self.repeats += 1
        self._in_a_row += 1

    def _file(self, site: Site, url: str, post: dict, why: str) -> Message:
        """Whether to fetch a file, and under which name; what is in the store is not fetched."""
        if not site.booru and self._is_full():
            return {"stop": True}
        stem = self._stem(site, post, url)
        if stem in self.found:
            if not site.booru:
                self._again()
            return {}
        self._in_a_row = 0
        status.tell("fetching posts", len(self.found), self.limit)
        if why := why or _wrong_address(url):
            self._note(site, _only_id(post), posts.FAILED, self.words(why), url)
            return {}
        if _facts(site, post).refused:
            self._refuse(site, stem, post)
            return {}
        extension = str(post.get("extension") or "")
        odd = not _EXTENSION.fullmatch(extension) or self.public(extension) != extension
        if extension and odd:
            extension = "jpg"  # gallery-dl puts it right by the file's first bytes
        if extension.lower() in _NO_PICTURE:
            self._note(site, post, posts.SKIPPED, f"{extension} is not a picture", url)
            return {}
        known = self._in_store(stem, site.name, str(post.get("md5") or ""))
        if known:
            self._keep(site, url, post, known)
            return {}
        self._said = len(self.messages)
        return {"stem": stem, "extension": extension}

    def _came(self, site: Site, url: str, post: dict, path: str) -> None:
        """gallery-dl has done what it could for a file."""
        file = Path(path)
        if not path or file.is_symlink() or not file.is_file():
            self._note(site, post, posts.FAILED, self._why(), url)
        else:
            self._keep(site, url, post, file, new=True)

    def _keep(self, site: Site, url: str, post: dict, file: Path, *, new: bool = False) -> None:
        """Takes a file on; one that is `new` in the store has to be the post's."""
        if new:
            sync(file)  # before its metadata, which say that it is whole
        facts = _facts(site, post)
        try:
            facts |= sidecars.inside(file)
        except sidecars.BrokenSidecar as problem:
            self._note(site, post, posts.FAILED, str(problem), url)
            return
        if facts.refused:
            self._refuse(site, self._stem(site, post, url), post)
            return
        if new and (why := stored.refused(file, str(post.get("md5") or ""))):
            file.unlink()
            self._note(site, post, posts.FAILED, why, url)
            return
        found = self._note(site, post, posts.FETCHED, "", url, facts)
        found.file, found.post.facts = file, facts
        found.post.file_ext = file.suffix[1:]
        self._keep_metadata(file, post)

    def _refuse(self, site: Site, stem: str, post: dict) -> None:
        """Neither kept nor described: only the gate's refusal is recorded."""
        self.found[stem] = FetchedPost(posts.refused(self.public(_number(post))))
        for file in (self.store / site.name).glob(f"{stem}.*"):
            file.unlink()  # an earlier run may have fetched it when it was tagged otherwise

    def _in_store(self, stem: str, site: str, checksum: str) -> Path | None:
        """The file of a post in the store, if it may be taken on (`sources/store.py`)."""
        if site not in self._shelves:
            self._shelves[site] = stored.Shelf(self.store / site)
        return self._shelves[site].known(stem, checksum)

    def _stem(self, site: Site, data: dict, url: str = "") -> str:
        """`<site>-<post>`, with a number or a digest where a site has no such ids."""
        number, num = data.get("id"), str(data.get("num") or 0)
        told = str(number or "")
        if not re.fullmatch(r"[0-9A-Za-z_-]{1,64}", told) or self.public(told) != told:
            number = sha256((url or json.dumps(data, default=str)).encode()).hexdigest()[:16]
        several = not site.booru and re.fullmatch(r"[0-9]{1,18}", num) and int(num) > 0
        return f"{site.name}-{number}" + (f"-{num}" if several else "")

    def _why(self) -> str:
        """The reason in what was said since: the last line before `Failed to download`."""
        told = [m for m in self.messages[self._said :] if not m.startswith("Failed to download")]
        # The address is in the post's own column: leave `'404 Not Found' for '<address>'` short.
        why = re.sub(r"^'(.+?)' for '.*'$", r"\1", told[-1]) if told else ""
        return why or "download failed"

    def _note(
        self, site: Site, data: dict, status: str, reason: str, url: str = "",
        facts: gate.Facts | None = None,
    ) -> FetchedPost:  # fmt: skip
        found = self._described(site, data, url, facts)
        if found.post.reason != posts.FORBIDDEN:
            found.post.status, found.post.reason = status, reason
        self.found[self._stem(site, data, url)] = found
        return found

    def _note_beside(self, site: Site, data: dict, reason: str) -> None:
        """A failed post, under a name of its own where the post's own is taken."""
        stem = self._stem(site, data)
        unique = f"{stem}~{len(self.found)}" if stem in self.found else stem
        found = self._described(site, data, "", None)
        if found.post.reason != posts.FORBIDDEN:
            found.post.status, found.post.reason = posts.FAILED, reason
        self.found[unique] = found

    def _described(self, site: Site, data: dict, url: str, facts: gate.Facts | None) -> FetchedPost:
        """The line of a post, without its status; the bare one where the gate refuses it."""
        post = _post(site, data)
        root = EMBEDDED if self.base else f"{site.root}/"
        danbooru = site.basecategory == "Danbooru" and post.id
        post.url = self.public(f"{root}posts/{post.id}" if danbooru else url or site.url)
        told = _facts(site, data) if facts is None else facts
        if told.refused:
            return FetchedPost(posts.refused(self.public(_number(data))))
        for name, text in vars(post).items():
            if isinstance(text, str) and text:
                setattr(post, name, self.public(text))
        return FetchedPost(post)

    def _keep_metadata(self, file: Path, post: dict) -> None:
        """The site's metadata beside the file: `<file>.json`."""
        data = {"md5": ""} | {name: value for name, value in post.items() if value is not None}
        data["md5"] = str(data["md5"] or "")
        text = json.dumps(data, default=str, ensure_ascii=False, indent=1, sort_keys=True)
        note = file.with_name(file.name + ".json")
        seals.write(note, self.public(text) + "\n", {file.name: seals.digest(file)})


def _post(site: Site, data: dict) -> Post:
    return metadata.of_table(data, "danbooru" if site.basecategory == "Danbooru" else site.category)


def _facts(site: Site, data: dict) -> gate.Facts:
    return gate.of_json(data) | posts.known(_post(site, data))


def _number(data: dict) -> str:
    """A post's id for a bare line: one that names something is not repeated."""
    number = str(data.get("id") or "")
    return number if re.fullmatch(r"[0-9A-Za-z_-]{1,64}", number) else ""


def _only_id(data: dict) -> dict:
    """Of a post that is of no use, what names it."""
    return {"id": number} if (number := _number(data)) else {}


def _unusable(post: dict) -> str:
    """Why the metadata of a post cannot be kept; "" where they can."""
    longest = max((len(text) for text in post.values() if isinstance(text, str)), default=0)
    return f"one of its texts has {longest} characters" if longest > LONGEST_TEXT else ""


def _wrong_address(url: Any) -> str:
    """Why a file cannot be fetched from there; "" for an address, and for none at all."""
    if not url:
        return ""
    if not isinstance(url, str):
        return "its file address is no text"
    if not re.match(r"https?://[^/]|/[^/]|//[^/]", url, re.IGNORECASE):
        return "its file address is not one of http or https"
    return ""
