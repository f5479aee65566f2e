"""What the form of a tag says of it, for tags that the vocabulary does not list.

Boorus build tags by pattern: `teal jacket`, `otter ears`, `holding trowel`, `scar on shoulder`. `judge`
tries, in this order, and the first that fits decides:

1. a word that is sexual by itself: anything with it is;
2. a qualifier in brackets (`... (cosplay)`), else the tag without it;
3. numbers of people (`7girls`);
4. colours and patterns before something worn: the same as without them (`teal jacket`);
5. how it begins: what is missing, done, held, or no longer worn (`no ...`, `holding ...`, `unworn ...`);
6. how it ends (`... in mouth`, `... background`, `... hair`);
7. the longest ending that is itself a listed tag (`paper wine bottle`).

What fits nothing has no topic. Only a colour or pattern before a garment that prompts may ask for can
be asked, too (`teal jacket`): no word that would say how it is worn is ever asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple


class Entry(NamedTuple):
    """What a tag is about. A tag that says nothing of itself has the topic ``""``."""

    topic: str = ""
    """trait, outfit, scene, expression, pose, framing, action, object, people, style, meta, sexual."""
    kind: str = ""
    """What it is within the topic: hair, eyes ... of a trait, garment, accessory ... of an outfit."""
    ask: bool = False
    """Whether a prompt that a program makes may ask for it: general-rated, plain and well visible."""

    @property
    def trait(self) -> str | None:
        """The kind of a trait of the character; None for any other tag."""
        return self.kind if self.topic == "trait" else None


# fmt: off
PLAIN_WORDS = frozenset({
    "black", "white", "red", "blue", "green", "yellow", "pink", "purple", "orange", "brown", "grey",
    "gray", "aqua", "beige", "teal", "navy", "maroon", "lavender", "lilac", "turquoise", "cyan",
    "crimson", "violet", "cream", "olive", "tan", "gold", "golden", "silver", "light", "dark",
    "plaid", "striped", "floral", "polka", "dot", "checkered",
})
"""Colours and patterns, word by word, with which a garment stays plain."""
_SEXUAL = frozenset({
    "areola", "areolae", "breast", "butt", "erotic", "fetish", "genital", "hentai", "lewd", "naked",
    "nipple", "nsfw", "panty", "penises", "pubic", "sexual", "sexy", "suggestive", "testicle",
    "undressed",
})
"""Words that are sexual in any tag, besides those that are sexual tags by themselves."""
_ALSO_INNOCENT = frozenset({
    "bathing", "caressing", "caught", "chained", "corpse", "corruption", "covering", "cuffs", "death",
    "dressing", "facial", "flaccid", "flashing", "folded", "foreskin", "gag", "grinding",
    "humiliation", "hypnosis", "impaled", "inflation", "leash", "licking", "massage", "messy", "oral",
    "overflow", "ovum", "pervert", "presenting", "restrained", "sandwiched", "showering", "slave",
    "smell", "split", "spooning", "stuck", "suspension", "tally", "twitching",
})
"""Sexual as a whole tag, but not in every other one: facial mark, split ponytail."""
_QUALIFIERS = {
    "cosplay": Entry("outfit", "garment"),
    "clothes": Entry("outfit", "garment"),
    "clothing": Entry("outfit", "garment"),
    "emblem": Entry("outfit", "pattern"),
    "pattern": Entry("outfit", "pattern"),
    "place": Entry("scene", "place"),
    "phrase": Entry("meta"),
    "expression": Entry("expression"),
    **dict.fromkeys(("medium", "style", "theme", "meme", "texture"), Entry("style")),
    **dict.fromkeys((
        "animal", "creature", "food", "fruit", "gemstone", "object", "shape", "symbol", "tool",
        "weapon", "instrument", "music", "computer",
    ), Entry("object")),
}
_BEGINNINGS = (
    ("unworn", Entry("object")),
    ("alternate|official alternate|unmoving", Entry("style")),
    ("fake|bandaid|bandages?|bandaged", Entry("outfit", "accessory")),
    ("open|torn|wet|unbuttoned|unzipped|tied|tight|loose|taut|untucked|partially unbuttoned|"
     "see-through|covered", Entry("outfit", "cut")),
    ("spoken", Entry("expression")),
    ("mole|scar|freckles|tattoo|stitches", Entry("trait", "mark")),
    ("blood", Entry("object")),
    ("hair (?:over|between|behind)", Entry("trait", "hair")),
    ("in|on|under|against", Entry("pose")),
    ("looking|facing|sitting|standing|lying|leaning|kneeling|squatting|reaching|pointing|outstretched|"
     "crossed (?:arms|legs|ankles)", Entry("pose")),
    ("(?:hands?|arms?|legs?|head|fingers?|elbows?|knees?) (?:on|in|to|up|at|behind|over|under|above|"
     "between|around|apart|together)", Entry("pose")),
    ("closed|half-closed|half-lidded|empty|blank|crazy|narrowed|wide|teary|upturned|averted|rolling|"
     "parted|puckered|pursed|pouty|bitten|clenched|gritted|raised|furrowed|heart-shaped|constricted|"
     "dilated", Entry("expression")),
    ("bad", Entry("meta")),
)
"""How a tag begins, before a further word."""
_ENDINGS = (
    ("lift|pull|aside|slip|peek", Entry("sexual")),
    ("in (?:own |another's )?mouth|grab|hug|tug|hold|kiss", Entry("action")),
    ("removed|around waist|on shoulders|tucked in|over clothes", Entry("outfit", "cut")),
    ("on (?:head|shoulder|hand|arm|face|back|wall|table|floor)", Entry("object")),
    ("around neck", Entry("outfit", "accessory")),
    ("pose", Entry("pose")),
    ("focus|shot", Entry("framing")),
    ("background", Entry("scene", "background")),
    ("theme|connection|parody|artstyle|style", Entry("style")),
    ("text", Entry("meta", "text")),
    ("username|logo|watermark|name|border|signature|cover", Entry("meta")),
    ("print|trim|stripes", Entry("outfit", "pattern")),
    ("sleeves|collar|cutout", Entry("outfit", "cut")),
    ("smile|eyebrow raise|mouth", Entry("expression")),
    ("(?:hair|ear|tail|horn) (?:ornament|ribbon|bow|flower|tie|bell|beads|stick|pin|ring)",
     Entry("trait", "ornament")),
    ("hairband|hairclip|hairpin|scrunchie", Entry("trait", "ornament")),
    ("hair|bangs|braids?|ponytail|twintails|sidelocks|hair buns?|beard|mustache|ahoge",
     Entry("trait", "hair")),
    ("eyes|pupils|sclera|eyelashes|eyebrows", Entry("trait", "eyes")),
    ("ears", Entry("trait", "ears")),
    ("tails?", Entry("trait", "tail")),
    ("wings", Entry("trait", "wings")),
    ("horns?", Entry("trait", "horns")),
    ("halo", Entry("trait", "halo")),
    ("skin|fur|scales", Entry("trait", "skin")),
    ("teeth|fangs?|tusks", Entry("trait", "teeth")),
    ("tattoos?|scars?|facial mark|mole", Entry("trait", "mark")),
    ("breasts|thighs|hips|fingernails|toenails|claws", Entry("trait", "build")),
    ("lips|lipstick|eyeshadow|eyeliner|tongue|snout", Entry("trait", "face")),
)
"""How a tag ends, or what it is as a whole."""
_BEINGS = re.compile(r"[a-z]+ (?:girl|boy|furry)")
_COUNTED = re.compile(r"(\d+)\+?(?:girl|boy|other)s?")
_PANELS = re.compile(r"[2-9]koma")
_QUALIFIED = re.compile(r"(.+?)(?: \([^()]*\))* \(([^()]*)\)")
_FIRST = tuple((re.compile(rf"(?:{words}) .+"), entry) for words, entry in _BEGINNINGS)
_LAST = tuple((re.compile(rf"(?:.+ )?(?:{words})"), entry) for words, entry in _ENDINGS)
_NOT_DOING = frozenset({
    "building", "ceiling", "clothing", "during", "evening", "flaming", "glowing", "living", "morning",
    "o-ring", "spring", "string", "wedding",
})  # fmt: skip


def judge(tag: str, known: Mapping[str, Entry], sexual: frozenset[str]) -> Entry:
    """What the form of `tag` (as `captions.same` spells it) says of it.

    `known` are the tags of the vocabulary, `sexual` those of one word that are sexual.
    """
    if _is_sexual(tag, sexual):
        return Entry("sexual")
    if qualified := _QUALIFIED.fullmatch(tag):
        base, qualifier = qualified.groups()
        return _QUALIFIERS.get(qualifier) or _of_a_thing(known.get(base) or judge(base, known, sexual))
    if counted := _COUNTED.fullmatch(tag):
        return Entry("people", "one" if int(counted[1]) == 1 else "several")
    if _PANELS.fullmatch(tag):
        return Entry("style", "several")
    words = tag.split(" ")
    if (rest := without_plain_words(words)) and known.get(rest, Entry()).topic == "outfit":
        return known[rest]
    if words[0] == "no":
        there = tag.removeprefix("no ")
        return _missing(known.get(there) or _by_words(there.split(" "), known))
    return _by_words(words, known)


def _by_words(words: list[str], known: Mapping[str, Entry]) -> Entry:
    """What beginning and end say."""
    tag = " ".join(words)
    for pattern, entry in _FIRST:
        if pattern.fullmatch(tag):
            return entry
    if is_doing(words[0]) and len(words) > 1:
        return Entry("action")
    for pattern, entry in _LAST:
        if pattern.fullmatch(tag):
            return entry
    if _BEINGS.fullmatch(tag) and f"{words[0]} ears" in known:
        return Entry("trait", "species")
    endings = (known.get(" ".join(words[place:])) for place in range(1, len(words)))
    return _of_a_thing(next((entry for entry in endings if entry), Entry()))


def _missing(entry: Entry) -> Entry:
    """What `no hat` or `no tail` is about."""
    return {"outfit": Entry("outfit", "cut"), "trait": Entry("style")}.get(entry.topic, Entry())


def _of_a_thing(entry: Entry) -> Entry:
    """What may be said of a special case: that it is about the same thing, not that it may be asked."""
    things = ("trait", "outfit", "object", "scene", "sexual")
    return entry._replace(ask=False) if entry.topic in things else Entry()


def without_plain_words(words: list[str]) -> str:
    """What remains after colours and patterns; "" if there are none or nothing remains."""
    place = next((n for n, word in enumerate(words) if word not in PLAIN_WORDS), 0)
    return " ".join(words[place:]) if place else ""


def is_doing(word: str) -> bool:
    """Whether a word is a participle: holding, playing; not ring, wing, evening."""
    return word.endswith("ing") and len(word) > 4 and word not in _NOT_DOING


def _is_sexual(tag: str, sexual: frozenset[str]) -> bool:
    words = re.findall(r"[^\W_]+", tag)
    if any(word in _SEXUAL or (word in sexual and word not in _ALSO_INNOCENT) for word in words):
        return True
    return "breasts" in words and (len(words) > 2 or words[-1] != "breasts" or is_doing(words[0]))
