"""No option of gallery-dl runs code or writes elsewhere: held against gallery-dl's own source."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from bakery.io.errors import BakeryError
from bakery.settings import config, credentials, gallery_options

(PLACE,) = importlib.util.find_spec("gallery_dl").submodule_search_locations
SOURCE = Path(PLACE)
RUNS = (
    r"compile_filter|compile_expression|formatter\.parse|import_file|import_module|Popen|archive\.connect"
    r"|\.execute\(|__import__|pickle|os\.makedirs|open\("
)
"""What evaluates, starts, loads or writes in gallery-dl's modules."""
OPTION = re.compile(
    r"(?:config2?|cfg|options\.get|config_accumulate)\(\s*\"([a-z0-9-]+)\"(?:,\s*\"([a-z0-9-]+)\")?"
)


def options_that_run() -> set[str]:
    """Options named in functions of gallery-dl in which something is evaluated, started or loaded."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        if path.parent.name in ("extractor", "utils") and path.name != "common.py":
            continue
        text = path.read_text("utf-8")
        for function in re.split(r"\n(?=    def |def |class )", text):
            if re.search(RUNS, function):
                found |= {name for pair in OPTION.findall(function) for name in pair if name}
    return found


def test_gallery_dl_still_looks_as_it_was_read() -> None:
    """Otherwise the test below would hold nothing."""
    assert options_that_run() >= {
        "filename", "directory", "keywords", "module", "part-directory", "actions", "archive-pragma",
    }  # fmt: skip
    filters = {
        f"{target}-filter" for target in ("image", "file", "post", "child", "chapter", "skip")
    }
    assert not {*filters, "postprocessors", "actions", "cmdline-args", "archive"} & {
        *gallery_options.HOW, *gallery_options.WHAT,
    }  # fmt: skip


def test_nothing_that_is_allowed_runs_anything() -> None:
    """Those read where something runs are known one by one: words, numbers and switches there."""
    harmless = {
        "children", "fallback", "filesize-max", "filesize-min", "proxy", "rate", "sleep", "sleep-skip",
        "format",  # evaluated of post-processors, which are off, and of yt-dlp, which is never asked
    }  # fmt: skip
    assert options_that_run() & (gallery_options.HOW | gallery_options.WHAT) == harmless


def test_the_document_lists_what_may_be_set() -> None:
    text = (Path(__file__).parents[2] / "docs/sites.md").read_text("utf-8")
    named = set(re.findall(r"`([a-z0-9-]+)`", text.partition("not part of the key:")[2]))
    assert named >= gallery_options.HOW | gallery_options.WHAT


@pytest.mark.parametrize(
    "options",
    [
        {"extractor": {"image-filter": "__import__('os').system('x')"}},
        {"extractor": {"danbooru": {"post-filter": "1"}}},
        {"file-filter": "1"}, {"child-filter": "1"}, {"chapter-filter": "1"}, {"skip-filter": "1"},
        {"extractor": {"filename": "\fE __import__('os')"}},
        {"extractor": {"filename": {"id > 1": "x"}}},
        {"extractor": {"directory": ["\fM /tmp/x.py:y"]}},
        {"extractor": {"base-directory": "/tmp"}},
        {"extractor": {"postprocessors": [{"name": "exec", "command": "x"}]}},
        {"extractor": {"postprocessors": ["python"]}},
        {"postprocessor": {"exec": {"command": "x"}}},
        {"postprocessor": {"python": {"function": "os:system"}}},
        {"extractor": {"actions": {"error": "exec x"}}},
        {"extractor": {"modules": ["/tmp"]}}, {"extractor": {"module-sources": ["/tmp"]}},
        {"extractor": {"module": "x"}}, {"downloader": {"ytdl": {"module": "/tmp/x.py"}}},
        {"downloader": {"ytdl": {"cmdline-args": "--exec x"}}},
        {"downloader": {"ytdl": {"raw-options": {"x": 1}}}},
        {"downloader": {"part-directory": {"__import__('os')": "/tmp"}}},
        {"extractor": {"external": True}},
        {"extractor": {"keywords": {"a": "\fE 1"}}}, {"extractor": {"keywords-eval": True}},
        {"extractor": {"follow": "\fE 1"}}, {"extractor": {"archive": "/tmp/x"}},
        {"extractor": {"archive-pragma": ["x"]}}, {"extractor": {"write-pages": True}},
        {"cache": {"file": "/tmp/pickles"}}, {"globals": "/tmp/x.py"}, {"filters-environment": "raw"},
        {"environment": {"LD_PRELOAD": "/tmp/x.so"}}, {"subconfigs": ["/tmp/x"]},
        {"output": {"logfile": "/tmp/x"}}, {"extractor": {"user-agent": "browser"}},
        {"extractor": {"user-agent": "@/tmp/x"}}, {"extractor": {"parent-metadata": "x"}},
        {"extractor": {"metadata-path": "x"}}, {"extractor": {"a b": {}}},
        {"extractor": {"tags": "\fE 1"}}, {"extractor": {"tags": [{"x": 1}]}},
        {"extractor": {"tags": ["\fT x"]}}, {"an-option-of-next-year": True},
    ],
)  # fmt: skip
def test_what_might_run_is_refused_by_name_and_left_out(options: dict) -> None:
    (name,) = gallery_options.refused(options)
    kept = gallery_options.allowed(options)
    assert gallery_options.refused(kept) == {}
    assert gallery_options.what_is_fetched(kept) == {}
    with pytest.raises(BakeryError, match=r"leave it out|remove it") as refusal:
        config.load({"scrape": {"gallery_dl": options}})
    named = re.escape(name)
    assert re.search(rf"sets {named}, which|{named}(\.\d)? holds the control", str(refusal.value))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "options",
    [{"extractor": {"cookies": ["firefox"]}}, {"extractor": {"netrc": True}}],
)
def test_accounts_that_could_not_be_hidden_are_left_out(options: dict) -> None:
    assert gallery_options.allowed(options) == {"extractor": {}}


def test_what_people_set_is_allowed() -> None:
    options = {
        "extractor": {
            "danbooru": {"ugoira": True, "metadata": ["notes"], "sleep-request": "0.5-1.5"},
            "Danbooru": {"mine": {"root": "https://example.org", "pattern": r"example\.org"}},
            "pixiv": {"include": "artworks", "tags": "original", "refresh-token": "x"},
            "twitter": {"retweets": False, "cookies": {"auth_token": "x"}, "videos": "ytdl"},
            "headers": {"Accept": "*/*"}, "proxy": {"http": "http://127.0.0.1:8080"},
            "username": "me", "password": "x", "cookies": "~/cookies.txt",
        },
        "downloader": {"rate": "1M", "retries": 3, "http": {"timeout": 9.5}},
    }  # fmt: skip
    assert gallery_options.refused(options) == {}
    assert gallery_options.allowed(options) == options


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("username", True), ("password", True), ("api-key", True), ("api_key", True),
        ("x-api-key", True),
        ("session", True), ("sessionid", True), ("jwt", True), ("pass_hash", True), ("cookies", True),
        ("Authorization", True), ("access-token-secret", True), ("netrc", True), ("client-id", True),
        ("refresh-token", True), ("csrf", True), ("tags", False), ("forward-cookies", False),
        ("user-agent", False), ("users", False), ("user-id", False), ("retries", False),
    ],
)  # fmt: skip
def test_which_options_name_an_account(name: str, is_one: bool) -> None:
    assert credentials.names_account(name) == is_one
