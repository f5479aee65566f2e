# SPDX-License-Identifier: GPL-2.0-only
"""What one file and one answer of a site may cost: bytes, seconds, redirects, waits.

gallery-dl asks for everything through `requests`; `hold` puts the bounds around that. Whatever goes
beyond one raises `Exceeded`, also in the middle of a read that the site drags out.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import resource
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests import PreparedRequest, Response

ADDRESS_SPACE = 4 * 2**30
"""Bytes of address space that the process may have."""
WAITS = 4
"""How often a site's wish to wait is heeded for one request."""
_ASKS_TO_WAIT = (429, 500, 502, 503, 504)
_PLAIN_PORTS = {"http": 80, "https": 443}
_TRIFLE = 2**20


class Exceeded(BaseException):
    """Something is more than its bound. No `Exception`, so that nobody takes it for a reason to
    try again."""

    def __init__(self, said: str, *, too_large: bool = False) -> None:
        super().__init__(said)
        self.too_large = too_large


class Untrusted(Exceeded):
    """Whoever answers under a site's name is not to be asked."""


@dataclass
class Bounds:
    """The bounds of a listing; what has been used of them."""

    file_bytes: int
    file_seconds: float
    page_bytes: int
    page_seconds: float
    listing_bytes: int
    requests: int
    redirects: int
    longest_wait: float
    """Seconds that a site may ask to wait before one request, all its waits together."""
    secrets: tuple[str, ...] = ()
    """Texts that no other site may be told."""
    home: str = ""
    """Address of the site that is listed."""
    in_file: bool = field(default=False, init=False)
    _first: str = field(default="", init=False)
    _read: int = field(default=0, init=False)
    _listed: int = field(default=0, init=False)
    _asked: int = field(default=0, init=False)
    _waited: float = field(default=0.0, init=False)
    _outside: bool = field(default=False, init=False)
    """The request under way must not lead into this machine's network."""
    _inside: dict[str, bool] = field(default_factory=dict, init=False)

    @contextlib.contextmanager
    def file(self) -> Iterator[None]:
        """While one file is fetched, with all that gallery-dl tries for it."""
        self.in_file, self._read, self._waited, self._first = True, 0, 0.0, self.home
        try:
            with _deadline(self.file_seconds, "the file", "scrape.file_seconds"):
                yield
        finally:
            self.in_file = False

    @contextlib.contextmanager
    def page(self, address: str) -> Iterator[None]:
        """While one answer about posts is read."""
        self._read, self._waited, self._first = 0, 0.0, address
        self._asked += 1
        if self._asked > self.requests:
            raise Exceeded(f"the site had to be asked more than {self.requests} times")
        with _deadline(self.page_seconds, "an answer of the site", "scrape.page_seconds"):
            yield

    def count(self, number: int) -> None:
        """`number` more bytes were read, unpacked where the site packs them."""
        self._read += number
        if self.in_file:
            self._file_fits(self._read)
            return
        self._listed += number
        if self._read > self.page_bytes:
            raise Exceeded(f"an answer of the site has more than {self.page_bytes / 1e6:g} MB")
        if self._listed > self.listing_bytes:
            raise Exceeded(
                f"the site's answers have more than {self.listing_bytes / 1e6:g} MB "
                "(scrape.listing_megabytes)"
            )

    def attempt(self, response: Response) -> None:
        """An answer has begun; what it says about its size counts at once."""
        self._read = 0
        size = response.headers.get("Content-Length", "")
        if self.in_file and response.status_code in (200, 206) and size.isdecimal():
            self._file_fits(int(size))

    def _file_fits(self, size: int) -> None:
        if size > self.file_bytes:
            raise Exceeded(
                f"the file has more than {self.file_bytes / 1e6:g} MB (scrape.file_megabytes)",
                too_large=True,
            )

    def wait(self, response: Response, tries: int) -> bool:
        """Waits as the site asks; whether to try again."""
        seconds = _retry_after(response)
        if seconds is None:
            return False
        if self._waited + seconds > self.longest_wait:
            raise Exceeded(
                f"the site answers {response.status_code} and asks to wait {seconds:.0f} s, more "
                f"than scrape.longest_wait {self.longest_wait:g}"
            )
        if tries >= WAITS:
            raise Exceeded(f"the site still answers {response.status_code} after {tries} waits")
        self._waited += seconds
        with _no_deadline():
            time.sleep(seconds)
        return True

    def may_go(self, request: PreparedRequest, *, direct: bool) -> None:
        """Takes from a request what its host must not see; refuses one into a private network."""
        address = str(request.url)
        if self._first and not same_site(self._first, address):
            for name, value in list(request.headers.items()):
                text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
                if name.lower() in ("authorization", "proxy-authorization") or any(
                    secret in text for secret in self.secrets
                ):
                    del request.headers[name]
        self._outside = direct and bool(self._first) and not self._first_inside()
        if self._outside and private(address):
            raise requests.exceptions.InvalidURL(
                f"{urlsplit(address).hostname} is in a private network, and the site is not"
            )

    def _first_inside(self) -> bool:
        """Whether the site itself is in a private network; looked up once, so that it cannot move."""
        host = urlsplit(self._first).hostname or ""
        if host not in self._inside:
            self._inside[host] = private(self._first)
        return self._inside[host]

    def connected(self, name: str, peer: str) -> None:
        """Refuses a connection that has just been made under `name`, before anything is said on it:
        a name may lead elsewhere than a moment ago, when it was looked up (DNS rebinding)."""
        if self._outside and inside(peer):
            raise Untrusted(f"{name} leads into a private network, and the site is not in one")


def same_site(one: str, other: str) -> bool:
    """Whether two addresses belong to one site: the same host and port, or names below one domain
    on the usual ports; never from https to http."""
    first, second = urlsplit(one), urlsplit(other)
    if first.scheme == "https" and second.scheme != "https":
        return False
    places = [(u.hostname or "", u.port or _PLAIN_PORTS.get(u.scheme, 0)) for u in (first, second)]
    (host, port), (other_host, other_port) = places
    usual = set(_PLAIN_PORTS.values())
    if host == other_host:
        return port == other_port or {port, other_port} <= usual
    if not {port, other_port} <= usual or _literal(host) or _literal(other_host):
        return False
    return _domain(host) == _domain(other_host)


def _domain(host: str) -> list[str]:
    """The last two parts of a name; three where those are short, as in `example.co.uk`."""
    parts = host.split(".")
    short = len(parts) > 2 and len(parts[-1]) == 2 and len(parts[-2]) <= 3
    return parts[-3:] if short else parts[-2:]


def _literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def private(address: str) -> bool:
    """Whether an address leads to this machine or its network."""
    host = urlsplit(address).hostname or ""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False  # then the request itself says so
    return any(map(inside, found))


def inside(number: str) -> bool:
    """Whether an address in numbers is of this machine or its network."""
    return not ipaddress.ip_address(number.partition("%")[0]).is_global


def _retry_after(response: Response) -> float | None:
    """Seconds that an answer asks to wait; None where it does not."""
    said = response.headers.get("Retry-After", "").strip()
    if response.status_code not in _ASKS_TO_WAIT or not said:
        return None
    if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", said):
        return float(said)
    try:
        until = parsedate_to_datetime(said)
    except ValueError:
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


@contextlib.contextmanager
def _deadline(seconds: float, what: str, setting: str) -> Iterator[None]:
    """Raises `Exceeded` inside the block after `seconds`, whatever it waits for then."""

    def ring(*_: Any) -> None:
        raise Exceeded(f"{what} took more than {seconds:g} s ({setting})")

    before = signal.signal(signal.SIGALRM, ring)
    # again each second: an exception in the wrong place, such as a destructor, is lost
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _no_deadline() -> Iterator[None]:
    """The clock stands still inside the block."""
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        if left:
            signal.setitimer(signal.ITIMER_REAL, left, 1.0)


def hold(bounds: Bounds) -> None:
    """From now on all requests of this process are within `bounds`, which replace earlier ones."""
    _Held.bounds = bounds
    requests.sessions.DEFAULT_REDIRECT_LIMIT = bounds.redirects
    _limit(resource.RLIMIT_FSIZE, bounds.file_bytes + _TRIFLE)
    if not _Held.patched:
        _Held.patched = True
        _patch()


def limit_process() -> None:
    """Memory, and no core files."""
    _limit(resource.RLIMIT_AS, ADDRESS_SPACE)
    _limit(resource.RLIMIT_CORE, 0)


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with contextlib.suppress(ValueError, OSError):  # not every system knows every limit
        resource.setrlimit(kind, (soft, hard))


class _Held:
    bounds: Bounds
    patched = False


def _patch() -> None:
    """Puts the bounds around the four places that everything passes."""
    ask, send = requests.Session.request, requests.adapters.HTTPAdapter.send
    read, connect = Response.iter_content, urllib3.util.connection.create_connection

    def request(self: requests.Session, method: str, url: str, **options: Any) -> Any:
        if _Held.bounds.in_file:
            return ask(self, method, url, **options)
        with _Held.bounds.page(str(url)):
            return ask(self, method, url, **options)

    def bounded_send(self: Any, request: PreparedRequest, **options: Any) -> Any:
        proxies, tries = options.get("proxies") or {}, 0
        while True:
            _Held.bounds.may_go(request, direct=not any(proxies.values()))
            try:
                response = send(self, request, **options)
            except requests.exceptions.SSLError as problem:
                raise _distrust(problem, str(request.url)) from None
            _Held.bounds.attempt(response)
            if not _Held.bounds.wait(response, tries):
                return response
            response.close()
            tries += 1

    def iter_content(self: Response, *arguments: Any, **options: Any) -> Any:
        return _counted(read(self, *arguments, **options))

    def bounded_connection(address: tuple[str, int], *arguments: Any, **options: Any) -> Any:
        made = connect(address, *arguments, **options)
        try:
            _Held.bounds.connected(address[0], str(made.getpeername()[0]))
        except BaseException:
            made.close()
            raise
        return made

    urllib3.util.connection.create_connection = bounded_connection
    requests.Session.request = request  # type: ignore[method-assign, assignment]
    requests.adapters.HTTPAdapter.send = bounded_send  # type: ignore[method-assign, assignment]
    Response.iter_content = iter_content  # type: ignore[method-assign]


def _distrust(problem: requests.exceptions.SSLError, address: str) -> BaseException:
    """The same problem, as a sentence that ends all tries where it is the site's certificate."""
    said = re.search(r"certificate verify failed: ([^()]*)", str(problem))
    if said is None:
        return problem
    return Untrusted(
        f"{urlsplit(address).hostname} shows a certificate that this machine does not trust "
        f"({said[1].strip()}): check the address, the machine's clock and its proxy"
    )


def _counted(chunks: Iterator[Any]) -> Iterator[Any]:
    for chunk in chunks:
        _Held.bounds.count(len(chunk))
        yield chunk
