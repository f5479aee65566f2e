"""The posts behind an address: their files in a store, and a record of every post that was seen.

gallery-dl handles sites, paging, retries and downloads, in a process of its own
(`gallery_process`). It asks here about each post, and this module adds:

- a post without a file address is recorded instead of being skipped silently, and so is one that
  gallery-dl cannot take;
- the limit counts posts, hidden ones too, and requests no more pages than needed;
- a store whose files are found again by post, whichever search found them: `<store>/<site>/`
  holds `<site>-<post>.<ext>` with its metadata in `<site>-<post>.<ext>.json`.

The user's own gallery-dl configuration (accounts, cookies, proxies, waits) applies to real sites, and
`options` are laid over it; of both, only what can run nothing (`settings.gallery_options`). No secret
is written down: they are removed wherever a site or a message repeats them, and so is anything in an
address that looks like a credential.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bakery.io.errors import BakeryError
from bakery.settings import credentials, gallery_options
from bakery.sources.gallery_process import Bounds, Ended, GalleryProcess, Message
from bakery.sources.listing import EMBEDDED, Listing

log = logging.getLogger("bakery.sources.gallery")

_SUPPORTED = "https://github.com/mikf/gallery-dl/blob/master/docs/supportedsites.md"

# Overrides the user's configuration, because the store depends on it, and once more what runs code.
_OURS = {
    "directory": ["{bakery_site}"],
    "filename": "{bakery_stem}.{extension}",
    "path-restrict": "auto",
    "path-replace": "_",
    "archive": None,
    "skip": True,
    "download": True,
    "postprocess": False,
    "part": True,
    "part-directory": None,
    "parent-directory": False,
    "async": False,
    "actions": None,
    "input": False,
    "netrc": False,
    "write-pages": False,
    "follow": None,
    "keywords": None,
    "keywords-global": None,
    "keywords-eval": False,
    "image-filter": None,
    "file-filter": None,
    "post-filter": None,
    "child-filter": None,
    "chapter-filter": None,
}
# The embedded booru is on this machine: no waits, no proxy, one more try.
_EMBEDDED_OPTIONS = {"sleep-request": 0, "retries": 1, "proxy-env": False, "timeout": 60}


class Gallery(ExitStack):
    """gallery-dl, to be used in a `with`: `check` an address, or `fetch` its posts.

    `options` are gallery-dl's, nested as in its configuration file. `base` is where the embedded booru
    is served, empty where it is not.
    """

    def __init__(self, store: Path, options: Mapping[str, Any], bounds: Bounds) -> None:
        super().__init__()
        self._store, self._options, self._bounds = store, options, bounds
        self._processes: dict[bool, GalleryProcess] = {}
        self._secrets: frozenset[str] = frozenset()

    def check(self, url: str) -> tuple[str, bool]:
        """What gallery-dl calls the site of an address, and whether it is a booru; asks no site.

        Raises `BakeryError` for an address that gallery-dl cannot handle.
        """
        embedded = url.startswith(EMBEDDED)
        address = _address(url, "http://127.0.0.1:1")
        shown = credentials.hide(url)
        told = self._process(embedded).ask({"do": "check", "url": address, "embedded": embedded})
        if told["known"]:
            return told["site"], told["booru"]
        if embedded:
            raise BakeryError(
                f"scrape.urls: {shown} is not an address of the embedded booru: "
                "write embedded://posts?tags=<tag> or embedded://posts/<id>"
            )
        raise BakeryError(
            f"scrape.urls: gallery-dl knows no site for {shown}: check the spelling, "
            f"or look it up in {_SUPPORTED}"
        )

    def fetch(self, url: str, *, limit: int, base: str = "") -> Listing:
        """Up to `limit` posts of `url`, newest first, downloaded to the store unless they are there.

        `embedded://posts?tags=...` is asked of the booru served at `base`. Raises `BakeryError` if the
        site cannot be listed to the end, or has nothing; files fetched by then stay in the store,
        and the next call continues from there.
        """
        process = self._process(bool(base))
        listing = Listing(url, limit, self._store, base, secrets=set(self._secrets))
        request = {
            "do": "fetch", "url": _address(url, base), "embedded": bool(base),
            "bounds": self._bounds.told(limit=limit, secrets=self._secrets),
        }  # fmt: skip
        try:
            ended = process.ask(request, listing.answer)
        except Ended as end:
            raise Ended(listing.words(str(end))) from None
        listing.hear(ended)
        _complain(listing, ended)
        return listing

    def _process(self, embedded: bool) -> GalleryProcess:
        """The program for the embedded booru, or for sites: what it is set to stays apart."""
        if embedded not in self._processes:
            process = self._processes[embedded] = GalleryProcess()
            self.callback(process.close)
            own = {} if embedded else self._own(process)
            merged = _merged(own, copy.deepcopy(dict(self._options)))
            ours = _OURS | {"base-directory": str(self._store)}
            merged |= ours | (_EMBEDDED_OPTIONS if embedded else {})
            bounds = self._bounds.told(limit=0, secrets=self._secrets)
            process.ask({"do": "set", "options": merged, "bounds": bounds})
        return self._processes[embedded]

    def _own(self, process: GalleryProcess) -> dict[str, Any]:
        """What the user's own configuration says and may say; notes its secrets."""
        told = process.ask({"do": "configuration"})
        for problem in told["said"]:
            raise BakeryError(
                f"scrape: gallery-dl's own configuration is unreadable ({credentials.hide(problem)}): "
                "repair it, or move it away"
            )
        own = told["own"]
        self._secrets = frozenset(credentials.values(own))
        left = [credentials.hide(name, self._secrets) for name in gallery_options.refused(own)]
        if left:
            log.warning(
                "gallery-dl's own configuration: left out, as it might run code or write elsewhere, "
                "or is not known here: %s", ", ".join(left),
            )  # fmt: skip
        return gallery_options.allowed(own)


def _address(url: str, base: str) -> str:
    """`url` as gallery-dl is given it."""
    return f"Danbooru:{base}/{url[len(EMBEDDED) :]}" if url.startswith(EMBEDDED) else url


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, table by table."""
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            merged[name] = _merged(old, value)
        else:
            merged[name] = value
    return merged


def _complain(listing: Listing, ended: Message) -> None:
    """Raises `BakeryError` for a listing that ended early or has nothing; logs what came again."""
    shown = credentials.hide(listing.url, listing.secrets)
    if problem := listing.words(str(ended["problem"])).rstrip("."):
        refused = ended["refused"] or "403" in problem
        account = "; the site may want an account in gallery-dl's own configuration"
        hint = account if refused else ""
        raise BakeryError(
            f"scrape: listing {shown} failed: {problem}{hint}; "
            f"{len(listing.found)} posts are on record, run again to go on from there"
        )
    if not listing.found:
        said = f" ({listing.messages[-1]})" if listing.messages else ""
        raise BakeryError(f"scrape: {shown} has no posts{said}; check its tags")
    if listing.repeats:
        ending = ", so it was left" if listing.goes_in_circles else ""
        log.warning("%s: the site gave %d posts more than once%s", shown, listing.repeats, ending)
