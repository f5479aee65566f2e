"""Hostile names on every page, opened in a real browser: nothing of them runs, and nothing is fetched.

A case is a page: contact sheet, prune page, captions page, comparison and its report, status page or
plan, with several hostile texts wherever text is shown. Everything on it is pressed, opened and filled;
then the policy itself is tried with markup that is put in by force. A server on this machine counts what
would have left.
"""

from __future__ import annotations

import atexit
import http.server
import json
import math
import random
import shutil
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from made_bakes import made_bake
from made_plans import filtered, outlined
from PIL import Image

from bakery.edits import image_edits
from bakery.edits.image_edits import Line
from bakery.io import manifest
from bakery.io.errors import BakeryError
from bakery.io.files import write_text
from bakery.pages import captions_page, contact_sheet, prune_page
from bakery.pages.captions_page import CaptionedPicture
from bakery.pages.contact_sheet import Item
from bakery.pages.page import Subject
from bakery.report import overview
from bakery.settings.compare import Compare
from bakery.settings.prune import Prune
from bakery.stages import compare, plan
from bakery.tags import pruning
from bakery.tags.evidence import Evidence
from bakery.tags.trigger import Trigger
from tests.fuzz.outcome import Outcome

LONG, SHORT = 300, 7
_CODE = "window.ran=1;document.title='ran';fetch('{url}')"
PAYLOADS = (
    '<script>{code}</script>', '</script><script>{code}</script>', '<ScRiPt>{code}</sCrIpT >',
    '<img src=x onerror="{code}">', '"><img src={url} onerror=\'{code}\'>', "'><svg/onload={code}>",
    '<svg><script>{code}</script></svg>', "<iframe srcdoc='<script>parent.ran=1</script>'>",
    '<iframe src="javascript:{code}">', 'javascript:{code}', 'JaVa\tScRiPt:{code}',
    'data:text/html,<b>', '" onmouseover="{code}" x="', "' onfocus='{code}' autofocus tabindex=1 x='",
    "<a href='{url}'>x</a>", '` onclick=`{code}`', '<style>*{{background:url({url})}}</style>',
    'x;background:url({url})', '</style><script>{code}</script>', '</textarea><script>{code}</script>',
    '</title><script>{code}</script>', '<!--', '--><script>{code}</script>', '<!--<script>',
    ']]><script>{code}</script>', '{{{{7*7}}}}', '{{% raw %}}', '${{{code}}}', '<%= 7 %>',
    "{{{{ ''.__class__.__mro__ }}}}", "<base href='{url}'>",
    "<meta http-equiv=refresh content='0;url={url}'>", '<link rel=stylesheet href={url}>',
    "<form action='{url}'><input type=submit>", '<object data={url}></object>', '<embed src={url}>',
    '<math><mtext><script>{code}</script></mtext></math>',
    '<template><script>{code}</script></template>', '\\u003cscript>{code}\\u003c/script>',
    '&lt;script&gt;{code}&lt;/script&gt;', '&#60;script&#62;{code}',
    '\u202e<script>{code}</script>\u202c', 'a\u200bb\u2066c\u2069', '\ud800', '\u2028{code}\u2029',
    '\x00<b>\x1b[31m', "'; {code}; '", '"; {code}; //', "\\'; {code}//", '__proto__', 'constructor',
    'toString', 'hasOwnProperty', "x" * 5000, "<b>" * 800, '\n\n<script>\n{code}\n</script>\n',
    'ｓｃｒｉｐｔ', '<script/src={url}>', '<video><source onerror="{code}"></video>',
    '<details open ontoggle="{code}">', '<input autofocus onfocus="{code}">',
    '<marquee onstart="{code}">', '%3Cscript%3E{code}%3C/script%3E', '+ADw-script+AD4-{code}',
    '<noscript><p title="</noscript><img src=x onerror={code}>">',
)  # fmt: skip
_NO_PICTURE = (
    "Failed to load resource: net::ERR_FILE",
    "Failed to load resource: net::ERR_INVALID_URL",
)
_PRESS = """async (text) => {
  const pause = () => new Promise((done) => setTimeout(done, 0));
  for (const one of document.querySelectorAll("details")) one.open = true;
  for (const one of document.querySelectorAll("input[type=text], input[type=search], textarea")) {
    one.value = text; one.dispatchEvent(new Event("input", {bubbles: true}));
    one.dispatchEvent(new Event("change", {bubbles: true}));
  }
  await pause();
  for (const one of document.querySelectorAll("input[type=text], input[type=search]")) {
    one.value = ""; one.dispatchEvent(new Event("input", {bubbles: true}));
  }
  const buttons = [...document.querySelectorAll("button, input[type=checkbox], .shot, summary, label")];
  for (const one of buttons.slice(0, 80)) if (one.offsetParent) { one.focus(); one.click(); }
  for (const one of [...document.querySelectorAll("*")].slice(0, 600))
    for (const kind of ["mouseover", "focus", "pointerenter"]) one.dispatchEvent(new Event(kind));
  await pause();
}"""
_FORCE = """async ([code, url]) => {
  const put = (markup) => { const box = document.createElement("div"); box.innerHTML = markup;
                            document.body.append(box); return box; };
  for (const [name, value] of [["textContent", code], ["src", url]]) {
    const script = document.createElement("script"); script[name] = value; document.body.append(script);
  }
  put(`<img src=x onerror="${code}">`); put(`<img src="${url}">`);
  put(`<link rel=stylesheet href="${url}">`); put(`<iframe src="${url}"></iframe>`);
  put(`<iframe srcdoc="<script>parent.ran=1</script>"></iframe>`);
  put(`<object data="${url}"></object>`); put(`<base href="${url}">`);
  put(`<video src="${url}"></video>`);
  put(`<p style="background:url(${url})">x</p>`); put(`<style>body{background:url(${url})}</style>`);
  put(`<a href="javascript:${code}">x</a>`).firstChild.click();
  put(`<form action="${url}"><input name=a></form>`).firstChild.submit();
  try { await fetch(url); } catch {}
  try { new WebSocket(url.replace("http", "ws")); } catch {}
  try { navigator.sendBeacon(url); } catch {}
  try { new Worker(URL.createObjectURL(new Blob([`fetch("${url}")`]))); } catch {}
  try { setTimeout("window.ran = 1", 0); } catch {}
  await new Promise((done) => setTimeout(done, 20));
}"""


class _Counter(http.server.BaseHTTPRequestHandler):
    """Answers anything, and counts."""

    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.end_headers()

    do_POST = do_HEAD = do_OPTIONS = do_GET

    def log_message(self, *_: object) -> None:
        pass


@cache
def _outside() -> str:
    """Address of the server that must never be asked."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Counter)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/asked"


@cache
def _browser() -> Any:
    from playwright.sync_api import sync_playwright

    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    driver = sync_playwright().start()
    browser = driver.chromium.launch(
        executable_path=next(filter(None, found)), args=["--no-sandbox", "--disable-gpu"]
    )
    atexit.register(driver.stop)
    return browser


def hostile(rng: random.Random) -> str:
    """One of the payloads, or two in one."""
    code = _CODE.format(url=_outside())
    texts = [one.format(code=code, url=_outside()) for one in rng.sample(PAYLOADS, 2)]
    return texts[0] if rng.random() < 0.8 else rng.choice(["", " ", ", ", '"']).join(texts)


def _named(rng: random.Random) -> str:
    """The same as the name of a folder."""
    return (
        hostile(rng)
        .replace("/", "⁄")
        .replace("\0", "")[:60]
        .encode("utf-8", "ignore")
        .decode()[:60]
    )


def _encodable(text: str) -> str:
    """A bake's name, of which its key is made."""
    return text.encode("utf-8", "replace").decode()


def a_contact_sheet(rng: random.Random, folder: Path) -> Path:
    small = contact_sheet.thumbnail(Image.new("RGB", (30, 20), "red"), contact_sheet.coding(9))
    reasons = [hostile(rng) for _ in range(3)]
    items = [
        Item(hostile(rng), bool(n % 2), () if n % 2 else (rng.choice(reasons),), concept=hostile(rng),
             duplicate_of=hostile(rng), note=hostile(rng), thumbnail=small,
             by_hand=rng.choice(["", "exclude", "include"]))
        for n in range(6)
    ]  # fmt: skip
    lines = {
        name: (Line(hostile(rng)), Line(hostile(rng), hostile(rng), (items[0].image,)))
        for name in (image_edits.EXCLUDE, image_edits.INCLUDE)
    }
    page = contact_sheet.page(
        items, lines=lines, subject=Subject(hostile(rng), hostile(rng)), order=reasons
    )
    write_text(folder / "contact_sheet.html", page)
    return folder / "contact_sheet.html"


def a_prune_page(rng: random.Random, folder: Path) -> Path:
    (folder / "images").mkdir()
    names = [f"{n}.png" for n in range(4)]
    for name in names:
        Image.new("RGB", (30, 40), "navy").save(folder / "images" / name)
    found = [
        Evidence(hostile(rng), rng.choice(["general", "character"]), tuple(names[n % 4 :]), 0.5,
                 rng.choice([0.1, math.nan]))
        for n in range(7)
    ]  # fmt: skip
    settings = Prune(class_tokens="1girl")
    outfits = [
        {"outfit": hostile(rng), "pictures": 5, "tags": hostile(rng), "proposal": hostile(rng)}
    ]
    page = prune_page.draw(
        settings, pruning.decide(settings, found, {found[0].tag: "keep"}), outfits,
        pictures=folder / "images", images=names, subject=Subject(hostile(rng), hostile(rng)),
    )  # fmt: skip
    write_text(folder / "prune.html", page)
    return folder / "prune.html"


def a_captions_page(rng: random.Random, folder: Path) -> Path:
    pictures = [
        CaptionedPicture(hostile(rng), rng.choice(["5_x/a.png", hostile(rng)]),
                         ", ".join(hostile(rng) for _ in range(3)), hostile(rng), rng.random() < 0.2)
        for _ in range(5)
    ]  # fmt: skip
    trigger = Trigger(hostile(rng), hostile(rng))
    page = captions_page.draw(pictures, trigger, Subject(hostile(rng), hostile(rng)))
    write_text(folder / "captions.html", page)
    return folder / "captions.html"


def a_comparison(rng: random.Random, folder: Path) -> Path:
    prompts = {name: hostile(rng) for name in ("trigger", "jacket", "nobody", "beach")}
    missing = [hostile(rng).replace("; ", ";") for _ in range(2)]
    bakes = [
        made_bake(folder, f"{n} {_encodable(hostile(rng)[:200])}",
                  [(0.2, 0.8), (0.5 + n / 9, 0.8)], prompts=prompts,
                  settings={"train.unet_lr": n, "prune.trigger": hostile(rng),
                            "train.base": hostile(rng)},
                  missing=missing, seeds=(1,))
        for n in range(2)
    ]  # fmt: skip
    out = folder / "results/compare/lr-1"
    compare.run(Compare(title=hostile(rng)), bakes=bakes, out=out, sweep=hostile(rng))
    return out / rng.choice(["index.html", "index.html", "report.html"])


def a_status_page(rng: random.Random, folder: Path) -> Path:
    for stage, name in (("filter", "contact_sheet.html"), ("prune", "prune.html"), ("train", "")):
        place = folder / "results" / stage / _named(rng)
        place.mkdir(parents=True)
        if name:
            (place / name).write_text("x")
        lines = [{"step": n, "steps": 9, "epoch": hostile(rng), "epochs": 4, "loss_average": 1 / n}
                 for n in (1, 2)]  # fmt: skip
        write_text(place / manifest.PROGRESS, "".join(json.dumps(one) + "\n" for one in lines))
    done = folder / "results/compare" / _named(rng)
    done.mkdir(parents=True)
    (done / "index.html").write_text("x")
    summary = {
        "verdict": hostile(rng),
        "best_file": hostile(rng),
        "best_train": hostile(rng),
        "bakes": 2,
    }
    write_text(done / "manifest.json", json.dumps({"summary": summary}))
    job = {"label": hostile(rng), "stage": hostile(rng), "folder": hostile(rng),
           "status": {"doing": hostile(rng), "epoch": hostile(rng)}}  # fmt: skip
    return overview.write(folder, [job] if rng.random() < 0.3 else [])


def a_plan(rng: random.Random, folder: Path) -> Path:
    bakes = []
    for n in range(2):
        prompt = {"id": "a", "prompt": hostile(rng)[:400], "purpose": "identity"}
        bake = outlined(folder, f"bake {n}", train={"unet_lr": n + 1}, sample={"prompts": [prompt]})
        filtered(bake, [(64, 64)] * 9)
        bake |= {
            "label": hostile(rng),
            "page": hostile(rng),
            "base": hostile(rng).replace("\0", ""),
        }
        bakes.append(bake)
    plan.run(bakes, out=folder / "plan", trained=folder / "train")
    return folder / "plan/index.html"


KINDS: tuple[Callable[[random.Random, Path], Path], ...] = (
    a_contact_sheet, a_prune_page, a_captions_page, a_comparison, a_status_page, a_plan, a_comparison,
)  # fmt: skip


def attack(seed: int, folder: Path) -> Outcome:
    rng = random.Random(seed)
    made = KINDS[max(seed, 0) % len(KINDS)]
    try:
        file = made(rng, folder)
    except BakeryError as problem:  # a text that no caption may hold
        return Outcome("refused", str(problem))
    _Counter.asked.clear()
    context = _browser().new_context(viewport={"width": 1000, "height": 700}, accept_downloads=True)
    try:
        trouble = _opened(context, file, rng)
    finally:
        context.close()
    return (
        Outcome("failed", f"{made.__name__}: {trouble}")
        if trouble
        else Outcome("taken", made.__name__)
    )


def _opened(context: Any, file: Path, rng: random.Random) -> str:
    """What went wrong with a page that is opened, used, and at last attacked from inside."""
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(60_000)  # what hangs is the runner's to see: it knows a busy machine
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(f"dialog {dialog.message}"), dialog.dismiss()))
    address = file.as_uri()
    page.goto(address)
    page.evaluate(_PRESS, hostile(rng))
    if said := [one for one in said if not one.startswith(_NO_PICTURE)]:
        return f"it says {said[:3]}"
    if trouble := _ran(page, address):
        return trouble
    page.evaluate(_FORCE, [_CODE.format(url=_outside()), _outside()])
    if trouble := _ran(page, address):
        return f"its policy: {trouble}"
    return ""


def _ran(page: Any, address: str) -> str:
    if page.evaluate("[window.ran === undefined, document.title !== 'ran']") != [True, True]:
        return "a name's script ran"
    if page.url.partition("#")[0] != address:
        return f"it led to {page.url}"
    if _Counter.asked:
        return f"it asked for {_Counter.asked[0]}"
    return ""
