"""Topics: which tags describe outfits, scenes and expressions.

Prompts can ask for these beyond the character, and a LoRA may show them unasked. Tags are
caption words (`red jacket`). `topic` knows as many as it can; `askable` is narrow on purpose: it
has what a derived prompt may ask for, general-rated and clearly visible in a picture.
"""

from __future__ import annotations

from bakery.tags import traits

TOPICS = ("outfit", "scene", "expression")

# fmt: off
_GARMENTS = frozenset({
    "shirt", "t-shirt", "blouse", "jacket", "blazer", "coat", "overcoat", "trench coat",
    "raincoat", "winter coat", "lab coat", "duffel coat", "hoodie", "cardigan", "sweater",
    "turtleneck", "vest", "sweater vest", "dress", "sundress", "sweater dress", "pinafore dress",
    "kimono", "yukata", "hanfu", "hakama", "haori", "apron", "overalls", "jumpsuit", "robe",
    "cloak", "poncho", "tunic", "armor", "tracksuit", "jersey", "suit", "business suit", "tuxedo",
    "school uniform", "serafuku", "military uniform", "gym uniform", "baseball uniform",
    "santa costume", "track jacket", "denim jacket", "leather jacket", "letterman jacket",
    "down jacket", "fur coat", "japanese clothes", "chinese clothes", "flannel",
})
"""Garments of the upper or whole body: a portrait shows them."""
_WORN = frozenset({
    "skirt", "pants", "shorts", "jeans", "trousers", "leggings", "hat", "cap", "beret", "beanie",
    "headwear", "helmet", "hood", "crown", "tiara", "bonnet", "veil", "scarf", "shawl", "gloves",
    "mittens", "boots", "shoes", "sneakers", "sandals", "slippers", "footwear", "loafers",
    "socks", "kneehighs", "thighhighs", "pantyhose", "legwear", "necktie", "bowtie", "ascot",
    "neckerchief", "ribbon", "belt", "sash", "obi", "suspenders", "choker", "necklace", "earrings",
    "jewelry", "bracelet", "ring", "brooch", "glasses", "sunglasses", "eyewear", "goggles",
    "monocle", "eyepatch", "mask", "headphones", "headset", "headband", "bandana", "cape",
    "capelet", "sleeves", "collar", "uniform", "costume", "clothes", "bodysuit", "swimsuit",
    "bikini", "leotard", "backpack", "bag", "buttons", "pocket", "zipper", "jacket", "epaulettes",
    "armband", "gauntlets", "pauldrons", "breastplate", "corset", "camisole", "tank top",
    "crop top", "tabard", "maid", "maid headdress", "neckwear", "frills", "cuffs", "lapels",
    "miniskirt", "fur trim", "detached sleeves", "hat ribbon", "hat bow",
})
_WEAR = _GARMENTS | _WORN
_COLORS = frozenset({
    "black", "white", "red", "blue", "green", "yellow", "pink", "purple", "orange", "brown",
    "grey", "aqua", "beige",
})
_PATTERNS = frozenset({"plaid", "striped", "floral", "polka dot", "checkered"})
_PLACES = frozenset({
    "beach", "ocean", "forest", "bamboo forest", "city", "cityscape", "street", "alley", "road",
    "village", "town", "snow", "starry sky", "night sky", "sunset", "sunrise", "classroom",
    "library", "kitchen", "cafe", "restaurant", "office", "garden", "park", "field",
    "flower field", "wheat field", "meadow", "mountain", "desert", "ruins", "castle", "shrine",
    "church", "rooftop", "river", "lake", "waterfall", "rain", "underwater", "space", "stage",
    "hallway", "stairs", "bridge", "train interior", "train station", "bookshelf", "festival",
    "aquarium", "cave", "island", "harbor", "farm", "stadium", "greenhouse", "autumn leaves",
    "cherry blossoms", "fireworks", "aurora", "full moon",
})
"""Places and weather that fill the picture."""
_SCENERY = frozenset({
    "outdoors", "indoors", "day", "night", "evening", "twilight", "dusk", "sky", "cloud",
    "cloudy sky", "blue sky", "water", "sea", "tree", "grass", "plant", "flower", "petals",
    "falling petals", "leaf", "window", "curtains", "bed", "bedroom", "room", "chair", "couch",
    "table", "desk", "wall", "floor", "building", "house", "scenery", "horizon", "moon", "sun",
    "sunlight", "light particles", "sparkle", "snowing", "snowflakes", "fence", "railing", "bench",
    "skyscraper", "lamppost", "shelf", "sand", "pool", "bathroom", "door", "balcony", "nature",
})
_FACES = frozenset({
    "smile", "light smile", "grin", "smirk", "open mouth", "closed mouth", ":d", ";d", ":o", ":3",
    "closed eyes", "one eye closed", "sad", "angry", "happy", "frown", "serious", "expressionless",
    "surprised", "laughing", "pout", "crying", "worried", "annoyed", "embarrassed", "shy",
    "scared", "sleepy", "evil smile", "nervous", "confused", "jitome",
})
"""Expressions that a prompt can ask for."""
_MORE_FACES = frozenset({
    "blush", "tears", "parted lips", "teeth", "clenched teeth", "upper teeth only", "tongue",
    "tongue out", "v-shaped eyebrows", "raised eyebrows", "furrowed brow", "half-closed eyes",
    "wide-eyed", "sweatdrop", "wavy mouth", ":<", ":t", ":p", ":q", "^ ^", ">:)", ">:(", "d:",
    "^_^", ">_<", "+_+", "@_@", "=_=", "looking at viewer", "nose blush",
})
# fmt: on


def topic(tag: str) -> str | None:
    """`outfit`, `scene` or `expression`; None for traits and for what is none of these."""
    if tag in _FACES or tag in _MORE_FACES:
        return "expression"
    if traits.kind(tag):
        return None
    if tag in _PLACES or tag in _SCENERY or tag.endswith((" background", " scenery")):
        return "scene"
    return "outfit" if tag in _WEAR or head(tag) in _WEAR else None


def askable(tag: str) -> str | None:
    """The topic of `tag` if a derived prompt may ask for it, else None.

    Of outfits: a garment of a list, alone or with a colour or pattern before it. So no word that
    would say something of how it is worn (wet, torn, open) is ever asked.
    """
    if tag in _FACES:
        return "expression"
    if tag in _PLACES:
        return "scene"
    if tag in _GARMENTS:
        return "outfit"
    return "outfit" if garment(tag) else None


def garment(tag: str) -> str:
    """What remains of an outfit tag without its colour or pattern: `red jacket` -> `jacket`.

    "" where nothing known remains.
    """
    for word in _COLORS | _PATTERNS:
        rest = tag.removeprefix(f"{word} ")
        if rest != tag and rest in _GARMENTS:
            return rest
    return ""


def head(tag: str) -> str:
    """The last word of a tag: what kind of thing it is."""
    return tag.rsplit(" ", 1)[-1]
