"""The bounds on the net, over loopback: each ends in one sentence, and the rest goes on."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from bakery.io.errors import BakeryError
from bakery.settings import config
from bakery.settings.scrape import Scrape
from bakery.sources import posts
from bakery.sources.gallery import Gallery
from bakery.sources.gallery_process import PARTS, Bounds
from bakery.stages import scrape
from tests.fuzz import booru as hostile

pytestmark = pytest.mark.usefixtures("own_home")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def site() -> Iterator[tuple[hostile.Server, str]]:
    with hostile.served() as served:
        served[0].listing = hostile.listing_of([hostile.sound(n) for n in range(1, 7)])
        yield served


def fetch(tmp_path: Path, base: str, **settings: Any) -> dict[str, posts.Post]:
    """The rows of a scrape by id."""
    patient = {"file_seconds": 60, "page_seconds": 60}
    own = {"gallery_dl": hostile.OPTIONS} | hostile.QUICK | patient | settings
    chosen = Scrape.model_validate({"urls": [f"Danbooru:{base}/posts?tags=ada"], "limit": 30} | own)
    scrape.run(chosen, booru=tmp_path, out=tmp_path / "out", store=tmp_path / "store")
    return {row.id: row for row in posts.read(tmp_path / "out/posts.csv")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (hostile.drip, "the file took more than 4 s (scrape.file_seconds)"),
        (hostile.endless, "the file has more than 0.3 MB (scrape.file_megabytes)"),
        (hostile.bomb, "the file has more than 0.3 MB (scrape.file_megabytes)"),
        (hostile.large, "the file has more than 0.3 MB (scrape.file_megabytes)"),
        (hostile.redirect("/data/5.jpg"), "Exceeded 3 redirects."),
        (hostile.redirect("file:///etc/passwd"), "No connection adapters were found for 'file:///et"),
        (hostile.status(429, Retry_After="31536000"),
         "the site answers 429 and asks to wait 31536000 s, more than scrape.longest_wait 2"),
        (hostile.status(503, Retry_After=hostile.in_a_year()), "the site answers 503 and asks to wait"),
        (hostile.status(429, Retry_After="0"), "the site still answers 429 after 4 waits"),
    ],
)  # fmt: skip
def test_a_file_beyond_a_bound_is_on_record_and_the_rest_comes(tmp_path, site, fault, says) -> None:
    server, base = site
    server.faulty_file = fault
    rows = fetch(tmp_path, base, **({"file_seconds": 4} if "seconds" in says else {}))
    assert rows["5"].reason.startswith(says)
    assert {n for n, row in rows.items() if row.status == posts.FETCHED} == {
        "1",
        "2",
        "3",
        "4",
        "6",
    }
    if "megabytes" in says:
        assert not list((tmp_path / "store").rglob("*.part"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (hostile.drip_headers, "an answer of the site took more than 1.5 s (scrape.page_seconds)"),
        (hostile.bomb, "the site's answers have more than 2 MB (scrape.listing_megabytes)"),
        (hostile.status(429, Retry_After=hostile.in_a_year()), "asks to wait 3"),
        (hostile.answering(b"<html>wait</html>"), "the site's answer is not JSON (Expecting value"),
        (hostile.redirect("/posts.json"), "Exceeded 3 redirects"),
    ],
)  # fmt: skip
def test_a_listing_beyond_a_bound_ends_with_one_sentence(tmp_path, site, fault, says) -> None:
    server, base = site
    server.listing = fault
    with pytest.raises(BakeryError, match=r"listing Danbooru:.* failed: ") as refusal:
        fetch(tmp_path, base, **({"page_seconds": 1.5} if "seconds" in says else {}))
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["4", "date"])
def test_a_wait_that_a_site_asks_for_is_waited(tmp_path, site, form) -> None:
    server, base = site
    began: list[float] = []

    def busy_once(handler: hostile.Handler) -> None:
        began.append(time.monotonic())
        wait = form if form == "4" else hostile.format_datetime(
            hostile.datetime.now(hostile.UTC) + hostile.timedelta(seconds=5), usegmt=True)  # fmt: skip
        if len(began) == 1:
            hostile.status(429, Retry_After=wait)(handler)
        else:
            handler.answer(hostile.picture(5))

    server.faulty_file = busy_once
    rows = fetch(tmp_path, base, file_seconds=3.9, longest_wait=60)
    assert [row.reason for row in rows.values()] == [""] * 6
    assert began[1] - began[0] > 3.9, "and the wait is not counted as time for the file"


@pytest.mark.slow
def test_a_listing_that_goes_in_circles_is_left_and_told(tmp_path, site, caplog) -> None:
    server, base = site
    server.listing = hostile.repeating
    rows = fetch(tmp_path, base, limit=100_000)
    assert sorted(rows) == ["1", "2", "3", "4", "6"]
    assert "the site gave 400 posts more than once, so it was left" in caplog.text


def test_two_posts_with_one_id_are_two_lines(tmp_path, site) -> None:
    server, base = site
    other = hostile.sound(3) | {"md5": "f" * 32, "file_url": "/data/4.jpg"}
    server.listing = hostile.listing_of(
        [hostile.sound(3), other, hostile.sound(3), hostile.sound(4)]
    )
    fetch(tmp_path, base)
    rows = posts.read(tmp_path / "out/posts.csv")
    assert [(row.id, row.reason) for row in rows] == [
        ("3", ""), ("3", "another post of this listing has the same id"), ("4", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"created_at": ...}, "the site's answer has no 'created_at'"),
        ({"tag_string": 5}, "the site's answer has another shape than gallery-dl expects"),
        ({"file_url": "text:hello"}, "its file address is not one of http or https"),
        ({"file_url": ["/data/5.jpg"]}, "its file address is no text"),
        ({"file_url": 5}, "its file address is no text"),
        ({"tag_string": "a" * 10**6}, "one of its texts has 1000000 characters"),
        ({"md5": "f" * 32}, "what came is not the post's file"),
        ({"tag_string_general": "\ud800 1girl"}, ""),
        ({"id": -5}, ""),
        ({"_http_method": "POST", "_http_headers": {"X": "y"}, "_fallback": ["file:///etc/passwd"]}, ""),
    ],
)  # fmt: skip
def test_one_bad_post_ends_nothing_else(tmp_path, site, change, says) -> None:
    server, base = site
    bad = {k: v for k, v in (hostile.sound(5) | change).items() if v is not ...}
    listed = [hostile.sound(1), bad, hostile.sound(6)]
    server.listing = hostile.listing_of(listed)
    rows = fetch(tmp_path, base)
    assert rows["1"].status == rows["6"].status == posts.FETCHED
    (row,) = [row for number, row in rows.items() if number not in "16"]
    assert row.reason.startswith(says) if says else row.reason == ""
    assert (row.status == posts.FETCHED) == (not says)


@pytest.fixture
def stranger() -> Iterator[tuple[list[dict[str, str]], str]]:
    """Another site on another port, and the headers that it was sent."""
    seen: list[dict[str, str]] = []

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(dict(self.headers))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(hostile.picture(5))

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield seen, f"http://127.0.0.1:{server.server_port}/x.jpg"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("how", ["redirect", "address"])
def test_another_site_is_told_no_account(tmp_path, site, stranger, own_home, how) -> None:
    server, base = site
    seen, elsewhere = stranger
    account = {"username": "baker", "password": "crumbs-of-gold",
               "headers": {"X-Api-Key": "crumbs-of-tin", "X-Plain": "hello"}}  # fmt: skip
    (own_home / ".gallery-dl.conf").write_text(json.dumps({"extractor": account}))
    told: list[dict[str, str]] = []

    def away(handler: hostile.Handler) -> None:
        told.append(dict(handler.headers))
        hostile.redirect(elsewhere)(handler)

    server.faulty_file = away
    file_url = "/data/5.jpg" if how == "redirect" else elsewhere
    server.listing = hostile.listing_of([hostile.sound(5) | {"file_url": file_url}])
    assert fetch(tmp_path, base)["5"].status == posts.FETCHED
    assert all(asked["Authorization"] and asked["X-Api-Key"] for asked in told)
    (asked,) = seen
    assert asked["X-Plain"] == "hello"
    assert not {"Authorization", "X-Api-Key"} & asked.keys()


@pytest.fixture
def self_signed(tmp_path: Path) -> Iterator[str]:
    """The address of a site whose certificate nobody vouches for."""
    openssl = shutil.which("openssl") or pytest.skip("no openssl on this machine")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with hostile.served() as (server, base):
        server.socket = context.wrap_socket(server.socket, server_side=True)
        yield base.replace("http:", "https:")


def test_a_certificate_that_is_no_good_is_one_sentence(tmp_path, site, self_signed) -> None:
    server, base = site
    with pytest.raises(BakeryError, match=r"listing Danbooru:https.* failed: ") as refusal:
        fetch(tmp_path, self_signed)
    said = (
        "127.0.0.1 shows a certificate that this machine does not trust (self-signed certificate): "
    )
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
    elsewhere = hostile.sound(5) | {"file_url": f"{self_signed}/data/5.jpg"}
    server.listing = hostile.listing_of([hostile.sound(4), elsewhere])
    rows = fetch(tmp_path, base)
    assert rows["4"].status == posts.FETCHED
    assert rows["5"].reason.startswith(said)


@pytest.mark.parametrize(
    "url",
    ["text:hello", "ytdl:https://example.org/x", "oauth:flickr", "r:file:///etc/passwd"],
)
def test_addresses_that_are_no_site_are_refused(tmp_path, url) -> None:
    gallery = Gallery(tmp_path, {}, Bounds())
    with gallery, pytest.raises(BakeryError, match="knows no site"):
        gallery.check(url)


def test_a_broken_configuration_of_gallery_dl_s_is_one_sentence(tmp_path, own_home) -> None:
    (own_home / ".gallery-dl.conf").write_text('{"extractor": {"password": "crumbs-of-gold"')
    gallery = Gallery(tmp_path, {}, Bounds())
    with gallery, pytest.raises(BakeryError, match="own configuration is unreadable") as refusal:
        gallery.check("https://danbooru.donmai.us/posts?tags=x")
    assert "crumbs" not in str(refusal.value)


def test_the_library_does_not_import_gallery_dl() -> None:
    for path in (ROOT / "scripts").rglob("*.py"):
        text = path.read_text("utf-8")
        if path.relative_to(ROOT).as_posix() in PARTS:
            assert text.startswith("# SPDX-License-Identifier: GPL-2.0-only\n")
            assert (
                "bakery."
                not in text.replace("`bakery.", "").partition('"""')[2].partition('"""')[2]
            )
        else:
            assert "import gallery_dl" not in text
            assert "from gallery_dl" not in text
    assert "GNU GENERAL PUBLIC LICENSE" in (ROOT / "scripts/gallery_driver/LICENSE").read_text(
        "utf-8"
    )


def test_which_bounds_are_part_of_the_key() -> None:
    """What would fetch other files is; how long to wait for them is not."""
    own = {"file_seconds": 5, "page_seconds": 5, "listing_megabytes": 5, "longest_wait": 5}
    assert config.chosen(Scrape.model_validate(own)) == {}
    told = {"file_megabytes": 5.0, "redirects": 5}
    assert config.chosen(Scrape.model_validate(told | own)) == told
    assert Bounds() == scrape._bounds(Scrape())


@pytest.fixture(scope="module")
def net() -> Any:
    """The part of the program that bounds the net; it needs no gallery-dl."""
    spec = importlib.util.spec_from_file_location("net_bounds", ROOT / PARTS[1])
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://danbooru.donmai.us/posts", "https://cdn.donmai.us/x.jpg", True),
        ("https://x.org", "http://x.org/a", False),
        ("http://x.org", "https://x.org/a", True),
        ("https://x.org", "https://x.org:444/a", False),
        ("https://a.co.uk", "https://b.co.uk", False),
        ("https://a.b.co.uk", "https://c.b.co.uk", True),
        ("https://x.org", "https://x.org.evil.net/", False),
        ("http://127.0.0.1:1", "http://127.0.0.1:2", False),
        ("http://10.0.0.1", "http://11.0.0.1", False),
    ],
)
def test_which_addresses_are_one_site(net, one, other, same) -> None:
    assert net.same_site(one, other) == same


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("127.0.0.1", True), ("10.1.2.3", True), ("192.168.0.1", True), ("169.254.169.254", True),
        ("[::1]", True), ("[fe80::1]", True), ("[::ffff:127.0.0.1]", True), ("0.0.0.0", True),
        ("localhost", True), ("2130706433", True), ("8.8.8.8", False), ("[2606:4700::1111]", False),
    ],
)  # fmt: skip
def test_a_site_cannot_send_us_into_our_own_network(net, host, inside) -> None:
    bounds = net.Bounds(1, 1, 1, 1, 1, 1, 1, 1, home="https://8.8.4.4/")
    request = requests.Request("GET", f"http://{host}/x.jpg").prepare()
    with bounds.file():
        if inside:
            with pytest.raises(requests.exceptions.InvalidURL, match="in a private network"):
                bounds.may_go(request, direct=True)
        else:
            bounds.may_go(request, direct=True)


REBOUND = """
import importlib.util, socket, sys
spec = importlib.util.spec_from_file_location("net_bounds", sys.argv[1])
net = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = net
spec.loader.exec_module(net)
real, asked = socket.getaddrinfo, []
def rebinding(host, *arguments, **options):
    if host not in ("site.test", "other.test"):
        return real(host, *arguments, **options)
    asked.append(host)
    inside = asked.count("other.test") > 1
    return real("127.0.0.1" if inside else "8.8.8.8", *arguments, **options)
socket.getaddrinfo = rebinding
bounds = net.Bounds(9**9, 9, 9**9, 9, 9**9, 9, 9, 9, home="http://site.test/")
net.hold(bounds)
with bounds.file():
    try:
        print(net.requests.get(f"http://other.test:{sys.argv[2]}/x.jpg"))
    except net.Untrusted as refusal:
        print(refusal)
"""


def test_a_name_that_leads_elsewhere_when_it_is_used_is_not_asked(stranger) -> None:
    seen, elsewhere = stranger
    port = elsewhere.rpartition(":")[2].partition("/")[0]
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    ran = subprocess.run(
        [sys.executable, "-c", REBOUND, str(ROOT / PARTS[1]), port],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert ran.stdout == "other.test leads into a private network, and the site is not in one\n"
    assert seen == []
