"""A user with an account bakes from a site that repeats all it is told: nothing is written down."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from tiny_tagger import tiny_tagger

from bakery.io.errors import BakeryError
from bakery.settings.scrape import Scrape
from bakery.stages import scrape
from tests.fuzz import booru as hostile

ROOT = Path(__file__).parents[2]
ACCOUNT = "the_baker"
PASSWORD = 'crumbs of "gold" & süß/Lined_7'
KEY = "K3y-0f_tin.and~zinc"
COOKIE = "0cookie0jar0of0brass"
SENT = "5ession-of-the-site"
"""Given by the site itself, when it is first asked."""
SECRETS = (ACCOUNT, PASSWORD, KEY, COOKIE, SENT)


def spellings(secret: str) -> dict[str, str]:
    data = secret.encode()
    once = quote(secret, safe="")
    return {
        "plain": secret, "percent": once, "twice": quote(once, safe=""), "hex": data.hex(),
        "base64": base64.b64encode(data).decode().rstrip("="), "json": json.dumps(secret)[1:-1],
        "underscore": once.replace("_", "%5F"), "HEX": data.hex().upper(),
        "url base64": base64.urlsafe_b64encode(data).decode().rstrip("="),
    }  # fmt: skip


FORMS = {form for secret in SECRETS for form in spellings(secret).values()} | {
    base64.b64encode(f"{ACCOUNT}:{PASSWORD}".encode()).decode().rstrip("=")
}


def posts(seed: int) -> list[dict]:
    """Sound ones that repeat secrets in all fields, and ones that fail in all ways, doing so."""
    drawn = random.Random(seed)
    said = sorted(FORMS)

    def some() -> str:
        return drawn.choice(said)

    listed = []
    for number in hostile.SOUND:
        listed.append(hostile.sound(number) | {
            "source": f"https://{quote(ACCOUNT)}:{some()}@x.org/{some()}?api%5Fkey={some()}#{some()}",
            "tag_string_meta": f"by_{some().replace(' ', '_')} {some().replace(' ', '+')}",
            "tag_string_artist": some().replace(" ", "%20"), "parent_id": some(),
            "uploader": {"name": some(), some(): [some(), {"deep": some()}]}, "created_at": some(),
            "note": f"Authorization: Basic {some()}; session={some()}; jwt={some()}",
            "description": " ".join(said),
        })  # fmt: skip
    bad = [
        {"file_url": f"/data/x{some()}.jpg?login={some()}"}, {"file_url": f"text:{some()}"},
        {"file_url": f"http://127.0.0.1:9/{some()}?token={some()}"}, {"file_url": [some()]},
        {"file_url": f"http://{some()}@127.0.0.1:9/"}, {"created_at": [some()]}, {"id": KEY},
        {"id": SENT, "md5": SENT}, {"file_ext": some()}, {"tag_string": {some(): some()}},
    ]  # fmt: skip
    return [
        *listed,
        *(hostile.sound(20 + n) | change for n, change in enumerate(bad)),
        hostile.sound(5),
    ]


def told_so(handler: hostile.Handler) -> None:
    """A failure whose reason repeats what it was asked with."""
    reason = f"no entry for {ACCOUNT} with {KEY} {handler.headers['Authorization']}"
    handler.send_response(403, reason)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def listed(seed: int) -> hostile.Callable[[hostile.Handler], None]:
    body = json.dumps(posts(seed)).encode()
    return lambda handler: handler.answer(body, headers={"Set-Cookie": f"session={SENT}; Path=/"})


@pytest.fixture
def site() -> Iterator[tuple[hostile.Server, str]]:
    with hostile.served() as served:
        served[0].faulty_file = told_so
        yield served


def give_account(home: Path) -> None:
    own = {"extractor": {
        "sleep-request": 0, "retries": 0, "timeout": 60, "headers": {"X-Api-Key": KEY},
        "cookies": {"jar": COOKIE}, "username": ACCOUNT, "password": PASSWORD,
        "danbooru": {"filename": f"{PASSWORD}.jpg"}, "image-filter": f"'{PASSWORD}'",
    }}  # fmt: skip
    place = home / ".config/gallery-dl/config.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(own))


def bake(work: Path, home: Path, url: str) -> subprocess.CompletedProcess[bytes]:
    raw = {
        "scrape": {"name": "little", "urls": [url], "minimum_share": 0, "file_seconds": 60},
        "filter": {"monochrome": False, "duplicate_distance": -1, "min_side": 0},
        "tag": {"model": str(work.parent / "tagger")}, "prune": {"trigger": "littlest"},
    }  # fmt: skip
    (work / "config.yaml").write_text(yaml.safe_dump(raw))
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--cores", "1",
         "--directory", work, "--configfile", work / "config.yaml", "--until", "prune",
         "--workflow-profile", ROOT / "profiles/default"],
        capture_output=True, check=False, timeout=1200, cwd=work,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(home), "TMPDIR": str(work.parent),
             "XDG_CONFIG_HOME": str(home / ".config")},
    )  # fmt: skip


def leaks(work: Path, run: subprocess.CompletedProcess[bytes]) -> list[str]:
    """(place, what) of each secret that is written somewhere, in any spelling."""
    places = {"stdout": run.stdout, "stderr": run.stderr}
    for path in sorted(work.rglob("*")):
        name = path.relative_to(work).as_posix()
        places[f"the name {name}"] = name.encode()
        if path.is_file():
            places[name] = path.read_bytes()
    return [
        f"{place}: {form}"
        for place, data in places.items()
        for form in FORMS
        if form.encode() in data
    ]


@pytest.mark.slow
def test_no_secret_is_written_anywhere(tmp_path: Path, site: tuple[hostile.Server, str]) -> None:
    server, base = site
    server.listing = listed(0)
    home, work = tmp_path / "home", tmp_path / "work"
    work.mkdir()
    give_account(home)
    tiny_tagger(tmp_path / "tagger", ["1girl", "ada"])
    run = bake(work, home, f"Danbooru:{base}/posts?tags=ada")
    assert run.returncode == 0, run.stderr.decode()[-3000:]
    assert len([*work.glob("results/prune/*/manifest.json")]) == 1
    (rows,) = work.glob("results/scrape/*/posts.csv")
    assert rows.read_text().count("***") > 50, "or the site did not repeat anything"
    assert "403 no entry for" in rows.read_text()
    assert leaks(work, run) == []


def test_no_secret_is_in_a_failure(
    tmp_path: Path,
    site: tuple[hostile.Server, str],
    own_home: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server, base = site
    server.listing = told_so
    give_account(own_home)
    settings = Scrape.model_validate({"urls": [f"Danbooru:{base}/posts?tags=ada"]})
    with pytest.raises(BakeryError, match=r"403 no entry for \*\*\* with \*\*\*") as refusal:
        scrape.run(settings, booru=tmp_path, out=tmp_path / "out", store=tmp_path / "store")
    said = str(refusal.value) + caplog.text
    assert [form for form in FORMS if form in said] == []
