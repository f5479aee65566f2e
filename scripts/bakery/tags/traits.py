"""Traits: which tags of the booru vocabulary describe a character's body and head.

A trait is what makes a character the character and does not change with the picture: hair, eyes,
ears, tail, wings, halo, horns, marks, skin, teeth, and ornaments worn in the hair or on the horns.
The same words for a moment are not traits: closed eyes, wet hair, spread wings, holding own tail.

Tags are caption words (`long hair`). `kind` asks, in this order: an exact entry of the vocabulary,
else the ending (`... hair`) or the beginning (`mole ...`), less the words that make it a moment.
`implied` gives the tags that another one contains: very long hair is long hair.
"""

from __future__ import annotations

from collections.abc import Container

# fmt: off
_EXACT: dict[str, frozenset[str]] = {
    "hair": frozenset({
        "ahoge", "huge ahoge", "heart ahoge", "afro", "bald", "beard", "bob cut", "bowl cut",
        "braid", "braided bun", "buzz cut", "comb over", "cornrows", "crew cut", "double bun",
        "dreadlocks", "flattop", "full beard", "goatee", "hair bun", "hair flaps", "hair intakes",
        "hair rings", "single hair ring", "single hair intake", "single sidelock", "drill locks",
        "short sidetail", "hair slicked back", "hair pulled back", "hair down", "hair up",
        "hair behind ear", "half updo", "hime cut", "mohawk", "mullet", "mustache", "nape braid",
        "one side up", "pixie cut", "pompadour", "quiff", "ringlets", "sideburns", "sidelocks",
        "single side bun", "stubble", "topknot", "two side up", "undercut", "updo",
        "widow's peak", "cone hair bun", "doughnut hair bun", "single hair bun", "twin drills",
        "quad drills", "side drill", "drill sidelocks", "eyes visible through hair",
        "hair over one eye", "short hair with long locks", "low-braided long hair",
        "low-tied long hair", "multi-tied hair", "hair horns", "hair ears",
    }),
    "eyes": frozenset({
        "heterochromia", "tsurime", "tareme", "sanpaku", "third eye", "mechanical eye", "cyclops",
        "one-eyed", "no pupils", "colored sclera", "black sclera", "red sclera",
        "mismatched sclera", "colored eyelashes", "long eyelashes", "thick eyelashes",
        "white eyelashes", "thick eyebrows", "short eyebrows", "forked eyebrows", "huge eyebrows",
        "no eyebrows", "mismatched eyebrows",
    }),
    "ears": frozenset({"animal ear fluff", "notched ear", "ear fluff"}),
    "tail": frozenset({"tail", "tails"}),
    "wings": frozenset({"wings", "winged arms", "single wing"}),
    "halo": frozenset({"halo"}),
    "horns": frozenset({"horn", "horns", "antlers", "antennae", "single horn", "broken horn"}),
    "ornaments": frozenset({
        "hair ornament", "hair ribbon", "hair bow", "hair flower", "hair bobbles", "hair tubes",
        "hair scrunchie", "hair bell", "hair tie", "hair stick", "multiple hair bows",
        "frilled hair tubes", "hair beads", "hairband", "hairclip", "hairpin", "hairpods",
        "horn ornament", "horn ribbon", "horn bow", "tail ornament", "tail ribbon", "tail bow",
        "tail bell", "tail ring", "ear ornament", "ear bow", "ear ribbon",
    }),
    "marks": frozenset({
        "mole", "scar", "freckles", "facial mark", "forehead mark", "forehead jewel", "birthmark",
        "whisker markings", "whiskers", "body markings", "tattoo", "facial tattoo",
        "body freckles", "crescent facial mark", "stitched face", "animal nose", "no nose",
        "bags under eyes", "multiple moles",
    }),
    "skin": frozenset({"tan", "dark-skinned female", "dark-skinned male", "scales", "vitiligo"}),
    "teeth": frozenset({
        "fang", "fangs", "skin fang", "skin fangs", "tusks", "sharp teeth", "buck teeth",
    }),
    "body": frozenset({
        "fins", "head fins", "gills", "tentacle hair", "mechanical arms", "mechanical legs",
        "single mechanical arm", "prosthesis", "prosthetic arm", "prosthetic leg", "hooves",
        "claws",
    }),
}
_ENDINGS: tuple[tuple[str, str], ...] = (
    (" hair ornament", "ornaments"), (" hair ribbon", "ornaments"), (" hair bow", "ornaments"),
    (" hair flower", "ornaments"), (" hairclip", "ornaments"), (" hairband", "ornaments"),
    (" hair", "hair"), (" bangs", "hair"), (" braid", "hair"), (" braids", "hair"),
    (" ponytail", "hair"), (" twintails", "hair"), (" sidelocks", "hair"), (" ahoge", "hair"),
    (" hair bun", "hair"), (" side bun", "hair"), (" eyes", "eyes"), (" pupils", "eyes"),
    (" ears", "ears"), (" tail", "tail"), (" tails", "tail"), (" wings", "wings"),
    (" halo", "halo"), (" horns", "horns"), (" skin", "skin"), (" facial mark", "marks"),
    (" scar", "marks"), (" tattoo", "marks"),
)
_BARE: dict[str, str] = {
    "bangs": "hair", "braids": "hair", "ponytail": "hair", "twintails": "hair",
}
_BEGINNINGS: tuple[tuple[str, str], ...] = (
    ("hair over eye", "hair"), ("hair between eyes", "hair"), ("mole ", "marks"),
    ("scar ", "marks"), ("freckles on ", "marks"),
)
_MOMENTS: dict[str, frozenset[str]] = {
    "hair": frozenset({
        "wet", "shiny", "messed", "in", "on", "own", "by", "through", "another's", "fake", "body",
        "chest", "arm", "leg", "armpit", "navel",
    }),
    "eyes": frozenset({
        "closed", "half-closed", "half-lidded", "covered", "empty", "blank", "crazy", "narrowed",
        "wide", "open", "upturned", "teary", "averted", "bandaged", "crossed", "button", "dot",
        "no", "from", "hidden", "uneven", "solid", "heart-shaped", "constricted", "dilated",
    }),
    "ears": frozenset({"fake", "own", "covered", "with"}),
    "tail": frozenset({"fake", "own", "anal"}),
    "wings": frozenset({"fake", "spread", "alternate"}),
    "horns": frozenset({"fake", "alternate"}),
    "skin": frozenset({"shiny", "wet", "cracked", "alternate"}),
    "ornaments": frozenset({"alternate"}),
}
_ANIMALS = (
    "bear", "cat", "cow", "deer", "dog", "fox", "goat", "horse", "leopard", "lion", "mouse", "otter",
    "panda", "pig", "rabbit", "raccoon", "red panda", "sheep", "squirrel", "tiger", "wolf",
)
_IMPLIED: dict[str, tuple[str, ...]] = {
    **{f"{animal} ears": ("animal ears",) for animal in _ANIMALS},
    "absurdly long hair": ("very long hair",),
    "bob cut": ("short hair",),
    "colored inner hair": ("multicolored hair",),
    "double bun": ("hair bun",),
    "gradient hair": ("multicolored hair",),
    "hair flower": ("hair ornament",),
    "hairclip": ("hair ornament",),
    "split-color hair": ("multicolored hair",),
    "streaked hair": ("multicolored hair",),
    "twin braids": ("braid",),
    "twin drills": ("drill hair",),
    "two-tone hair": ("multicolored hair",),
}
_NOT_WORN = frozenset({
    "no", "fake", "alternate", "unworn", "in", "on", "under", "over", "own", "another's", "behind",
})
# fmt: on
_KIND_OF = {tag: kind for kind, tags in _EXACT.items() for tag in tags} | _BARE


def kind(tag: str) -> str | None:
    """`hair`, `eyes`, `ears`, `tail` ... for a trait; None for any other tag."""
    if tag in _KIND_OF:
        return _KIND_OF[tag]
    for beginning, found in _BEGINNINGS:
        if tag.startswith(beginning):
            return found
    for ending, found in _ENDINGS:
        if tag.endswith(ending):
            return None if _of_a_moment(tag.split(" "), found) else found
    return None


def implied(tag: str, known: Container[str]) -> set[str]:
    """The tags of `known` that `tag` contains: `red jacket` is a jacket, `cat ears` are animal ears.

    By form (the tag ends in the other, and nothing before it takes that back), and for hair and ears
    by Danbooru's implications, as far as the form does not show them.
    """
    words = tag.split(" ")
    endings = {
        " ".join(words[place:])
        for place in range(1, len(words))
        if not any(word in _NOT_WORN or _is_doing(word) for word in words[:place])
    }
    found = {*endings, *_IMPLIED.get(tag, ())}
    return {other for other in found if other in known}


def _is_doing(word: str) -> bool:
    return word.endswith("ing") and len(word) > 4  # not ring, wing


def _of_a_moment(words: list[str], kind: str) -> bool:
    """Whether the words describe an action or a state: closed eyes, holding hair."""
    return any(map(_is_doing, words)) or not _MOMENTS.get(kind, frozenset()).isdisjoint(words)
