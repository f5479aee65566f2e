"""The settings of the scrape: where pictures come from."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, field_validator, model_serializer, model_validator

from bakery.gate import gate
from bakery.settings import credentials, gallery_options
from bakery.settings.named_files import Embedded, PictureFolder
from bakery.settings.sections import Name, Section, Share, portable

FOLDERS_READ = 6
"""Raised when local folders or their captions are read in another way. It is in the keys of configs that
name such folders only, so that all others keep their results."""
SITES_READ = 4
"""The same for the answers of sites."""
EMBEDDED_BOORU = Embedded("embedded", scheme="embedded:", folder="resources/world/booru")
"""The booru that comes with the project."""


class Source(Section):
    """Where some of the pictures come from: an entry of `urls` or `folders`."""

    limit: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Most posts to take from this entry; by default `scrape.limit` for a URL and all of a
    folder."""
    concept: Annotated[
        str,
        Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.+-]{0,63})?$"),
        AfterValidator(gate.allowed),
        AfterValidator(portable),
    ] = ""
    """Name of the concept that its pictures belong to; empty means the main dataset."""

    @model_validator(mode="before")
    @classmethod
    def _plain_text_names_it(cls, raw: Any) -> Any:
        return {cls.named_by(): raw} if isinstance(raw, str) else raw

    @model_serializer(mode="wrap")
    def _as_it_was_written(self, handler: Any) -> Any:
        """Plain text where nothing else was said, so that both spellings are one key."""
        told = {name: value for name, value in handler(self).items() if value not in (None, "")}
        return told[self.named_by()] if len(told) == 1 else told

    @classmethod
    def named_by(cls) -> str:
        """The field that plain text stands for: the first of the subclass."""
        return next(name for name in cls.model_fields if name not in Source.model_fields)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(core)]}


class Url(Source):
    """Posts of a site."""

    url: Annotated[str, Field(min_length=1), EMBEDDED_BOORU]
    """Address that gallery-dl understands; `embedded://` is the booru that comes with the project."""

    @property
    def is_embedded(self) -> bool:
        return self.url.startswith(EMBEDDED_BOORU.scheme)

    @field_validator("url")
    @classmethod
    def _holds_no_credential(cls, value: str) -> str:
        if credentials.in_address(value):
            raise ValueError(
                f"is {credentials.hide(value)}, an address with a password or key: this config "
                "is written into results; put accounts into gallery-dl's own configuration"
            )
        return value


class Folder(Source):
    """Pictures on this machine."""

    path: Annotated[str, Field(min_length=1), PictureFolder()]
    """Folder of pictures, or a `.zip` or `.cbz` of them, with or without sidecars (see
    docs/curating.md); `~` is your home folder."""


def _holds_no_account(options: dict[str, Any]) -> dict[str, Any]:
    if place := credentials.in_options(options):
        raise ValueError(
            f"holds what looks like an account in {place}: this config is written into results; "
            "put it into gallery-dl's own configuration (~/.config/gallery-dl/config.json)"
        )
    return options


def _can_run_nothing(options: dict[str, Any]) -> dict[str, Any]:
    for name, why in gallery_options.refused(options).items():
        raise ValueError(
            f"sets {credentials.hide(name)}, which {why}: leave it out; docs/sites.md lists what may "
            "be set"
        )
    return options


GalleryDlOptions = Annotated[
    dict[str, Any], AfterValidator(_holds_no_account), AfterValidator(_can_run_nothing)
]


class Scrape(Section):
    """Where the pictures come from."""

    name: Name = "mirael"
    """Name of the dataset and of the LoRA files: letters, digits and `_ . + -`."""
    urls: tuple[Url, ...] = (Url(url="embedded://posts?tags=mirael"),)
    """Addresses gallery-dl understands, as text or as `{url, limit, concept}`. A post found by
    several entries belongs to the first of them, so put a concept's search before the general
    one. Without any, the embedded booru's mirael is baked, unless `folders` names something."""
    folders: tuple[Folder, ...] = ()
    """Local folders of pictures, or archives (`.zip`, `.cbz`), as text or as `{path, limit, concept}`,
    with or without captions (`.txt`, `.caption`) and sidecars of download managers, taggers and
    trainers (see docs/curating.md). `prune.source: captions` keeps the captions. Of two entries that
    hold the same file, one being inside the other, it belongs to the first."""
    limit: Annotated[int, Field(ge=1, le=100_000)] = 130
    """Most posts to request from each URL, newest first. Raising it fetches only the new ones."""
    minimum_share: Share = 0.9
    """Stop if less than this share of the posts found for a concept could be fetched."""
    attempt: Annotated[int, Field(ge=1)] = 1
    """Raise it to query the sites again: failed posts are retried and newer ones found; nothing is
    fetched twice."""
    file_megabytes: Annotated[float, Field(gt=0, le=4000)] = 200
    """Largest file that is fetched from a site; a larger one is on record as failed."""
    file_seconds: Annotated[float, Field(gt=0, le=86_400)] = 600
    """Longest time for one file, retries included; then its post is on record as failed. What came
    of the file is kept, and the next try goes on from there."""
    listing_megabytes: Annotated[float, Field(gt=0, le=100_000)] = 1000
    """Most that a site may answer about the posts of one URL; beyond it, the scrape ends. A single
    answer may have 64 MB."""
    page_seconds: Annotated[float, Field(gt=0, le=86_400)] = 300
    """Longest time for one answer about posts; then the scrape ends, and a new run goes on."""
    redirects: Annotated[int, Field(ge=0, le=30)] = 10
    """Most redirects from an address to the file."""
    longest_wait: Annotated[float, Field(ge=0, le=86_400)] = 300
    """Longest time, in seconds, that a site may ask to wait (`Retry-After`) for one file or answer;
    what would take longer is not waited for."""
    gallery_dl: GalleryDlOptions = {}
    """gallery-dl options, nested as in its own configuration file; they override it. Waits,
    retries and proxies are not part of the key; accounts are refused here, and so is each option that
    might run code or write elsewhere (see docs/sites.md)."""

    not_in_key: ClassVar[frozenset[str]] = frozenset(
        {"file_seconds", "listing_megabytes", "page_seconds", "longest_wait"}
    )

    @model_validator(mode="before")
    @classmethod
    def _folders_are_enough(cls, raw: Any) -> Any:
        """Who names folders and no address does not bake the default's character besides."""
        if isinstance(raw, dict) and raw.get("folders") and "urls" not in raw:
            return raw | {"urls": ()}
        return raw

    @model_validator(mode="after")
    def _some_source(self) -> Scrape:
        if not self.urls and not self.folders:
            raise ValueError("names no source: give at least one entry in urls or folders")
        return self

    def keyed(self, chosen: dict[str, Any]) -> dict[str, Any]:
        options = gallery_options.what_is_fetched(chosen.get("gallery_dl", {}))
        rest = {name: value for name, value in chosen.items() if name != "gallery_dl"}
        read = {"folders_read": FOLDERS_READ} if self.folders else {}
        if any(not url.is_embedded for url in self.urls):
            read["sites_read"] = SITES_READ
        return rest | read | ({"gallery_dl": options} if options else {})
