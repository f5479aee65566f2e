"""Characters as boorus tag them, and what a baker would let the trigger absorb.

Each tag was judged by hand before any code had decided about it. `ABSORBED` is what the character
is: hair, eyes, ears, marks, build, kind of being, and what it wears in the hair whatever it wears
besides. `KEPT` is what prompts must be able to change: clothes, jewellery, things, and the words for
the kind of subject (1girl).
"""

from __future__ import annotations

JUDGED: dict[str, tuple[str, str]] = {
    "2b_(nier:automata)": (
        "mole under mouth, short hair, white hair, black hairband",
        "1girl, thigh boots, black thighhighs, black dress, black gloves, juliet sleeves, "
        "black blindfold",
    ),
    "9s_(nier:automata)": (
        "white hair, short hair",
        "1boy, black gloves, black choker, long sleeves, black blindfold",
    ),
    "abukuma_(kancolle)": (
        "blue eyes, hair between eyes, blonde hair, long hair, double bun, twintails, hair rings",
        "1girl, serafuku",
    ),
    "accelerator_(toaru_majutsu_no_index)": ("red eyes, white hair, short hair, albino", "1boy"),
    "adachi_rei": (
        "orange eyes, orange hair, medium hair, hair ribbon, hairclip, one side up",
        "1girl, white jacket, black shirt, open jacket, white gloves, white ribbon, long sleeves, "
        "turtleneck, headlamp, radio antenna, headset",
    ),
    "admire_vega_(umamusume)": (
        "horse girl, horse ears, horse tail, single ear cover, hair between eyes, purple eyes, "
        "brown hair, long hair, ponytail, low ponytail",
        "1girl",
    ),
    "adventurer_(ff11)": (
        "cat girl, cat ears, cat tail, blue eyes, short hair, blonde hair",
        "1girl",
    ),
    "aegis_(persona)": ("blue eyes, blonde hair, short hair, android, robot joints", "1girl"),
    "aerith_gainsborough": (
        "green eyes, brown hair, long hair, wavy hair, sidelocks, parted bangs, braided ponytail, "
        "hair ribbon",
        "1girl, pink dress, cropped jacket, red jacket",
    ),
    "aether_(genshin_impact)": (
        "hair between eyes, yellow eyes, blonde hair, long hair, ahoge, single braid",
        "1boy, single earring",
    ),
    "agnes_tachyon_(umamusume)": (
        "horse girl, horse ears, horse tail, hair between eyes, red eyes, brown hair, short hair, "
        "medium hair, ahoge",
        "1girl, lab coat, long sleeves, sleeves past fingers, single earring",
    ),
    "aida_mana": (
        "pink eyes, blonde hair, long hair, pink hair, short hair, ponytail, half updo",
        "1girl, pink bow, pink sleeves, magical girl, heart brooch, pink arm warmers",
    ),
    "aino_minako": (
        "blue eyes, blonde hair, long hair, very long hair, hair bow, half updo",
        "1girl, sailor senshi uniform, white gloves, elbow gloves, orange skirt, red bow, "
        "orange sailor collar, orange choker, magical girl",
    ),
    "akagi_(azur_lane)": (
        "fox girl, fox ears, fox tail, multiple tails, animal ear fluff, red eyes, brown hair, "
        "long hair, black hair, very long hair, kitsune",
        "1girl",
    ),
    "akai_haato": (
        "blue eyes, aqua eyes, hair between eyes, blonde hair, very long hair, heart hair ornament, "
        "two side up, hair ribbon, virtual youtuber, one side up",
        "1girl, red ribbon",
    ),
    "akamatsu_kaede": (
        "pink eyes, purple eyes, long hair, blonde hair, musical note hair ornament, ahoge",
        "1girl, white shirt, sweater vest, collared shirt, pleated skirt, long sleeves",
    ),
    "akari_(pokemon)": (
        "grey eyes, eyelashes, long hair, black hair, sidelocks, ponytail",
        "1girl, galaxy expedition team survey corps uniform, red scarf, white headwear",
    ),
    "aki_minoriko": ("red eyes, blonde hair, short hair", "1girl, hat, mob cap"),
    "akitsu_maru_(kancolle)": (
        "pale skin, black eyes, short hair, black hair",
        "1girl, military uniform, peaked cap, white gloves",
    ),
    "akiyama_mizuki": (
        "pink eyes, pink hair, long hair, sidelocks, side ponytail, hair bow",
        "1other, long sleeves",
    ),
    "akizuki_ritsuko": (
        "brown eyes, brown hair, antenna hair, short hair, twin braids, folded ponytail",
        "1girl, glasses",
    ),
    "albedo_(genshin_impact)": (
        "hair between eyes, blue eyes, aqua eyes, blonde hair, grey hair, medium hair, scar on neck",
        "1boy, black gloves, blue shirt, hooded coat, hood down, short sleeves, "
        "vision (genshin impact)",
    ),
    "alear_(fire_emblem)": (
        "heterochromia, red eyes, blue eyes, hair between eyes, red hair, blue hair, two-tone hair, "
        "split-color hair, very long hair, crossed bangs, crown braid",
        "1girl, tiara",
    ),
    "alhaitham_(genshin_impact)": (
        "green eyes, hair between eyes, aqua eyes, hair over one eye, one eye covered, short hair, "
        "grey hair, multicolored hair, aqua hair, ahoge, swept bangs, sidelocks, parted bangs",
        "1boy, black shirt, black gloves, sleeveless shirt, partially fingerless gloves, green cape, "
        "elbow gloves, gold trim, green gemstone",
    ),
    "alice_margatroid": ("blue eyes, blonde hair, short hair, hairband", "1girl"),
    "amami_haruka": ("green eyes, brown hair, short hair, hair ribbon", "1girl"),
    "amamiya_ren": (
        "hair between eyes, red eyes, black hair, short hair",
        "1boy, glasses, shuujin academy school uniform, red gloves, long sleeves",
    ),
    "amane_kanata": (
        "angel wings, angel, purple eyes, hair between eyes, blue eyes, hair over one eye, blue hair, "
        "grey hair, colored inner hair, single hair intake, streaked hair, short hair",
        "1girl",
    ),
    # and others, all adults
    "frieren": (
        "elf, pointy ears, green eyes, white hair, long hair, twintails, parted bangs",
        "1girl, solo, earrings, dangle earrings, white capelet, belt, long sleeves, black pantyhose, "
        "striped shirt, holding staff, mage staff, boots",
    ),
    "gojou_satoru": (
        "white hair, blue eyes, short hair, white eyelashes",
        "1boy, male focus, black blindfold, sunglasses, round eyewear, black jacket, high collar, "
        "jujutsu tech uniform, grin",
    ),
    "roronoa_zoro": (
        "green hair, very short hair, scar across eye, scar on chest, muscular male, abs, pectorals, "
        "toned male",
        "1boy, earrings, multiple earrings, haramaki, sash, katana, sword, open coat, sheathed",
    ),
    "himeko_(honkai:_star_rail)": (
        "red hair, long hair, yellow eyes, mature female, hair flower, mole on breast",
        "1girl, white dress, black choker, single sleeve, rose, coffee cup, looking at viewer",
    ),
    "zhongli_(genshin_impact)": (
        "brown hair, gradient hair, multicolored hair, long hair, low ponytail, yellow eyes, "
        "eyeliner, red eyeliner, makeup",
        "1boy, earrings, single earring, tassel earrings, black gloves, collared shirt, suit, "
        "black necktie, polearm, jacket",
    ),
    "megurine_luka": (
        "pink hair, blue eyes, very long hair",
        "1girl, headset, detached sleeves, single thighhigh, gold trim, belt, singing, microphone",
    ),
    "lappland_(arknights)": (
        "wolf ears, wolf girl, wolf tail, animal ears, grey hair, long hair, scar across eye, "
        "scar on face, ahoge, grey eyes, hairclip, material growth, oripathy lesion (arknights)",
        "1girl, black jacket, white shirt, fingerless gloves, dual wielding, smirk",
    ),
    "samus_aran": (
        "blonde hair, blue eyes, long hair, high ponytail, sidelocks, mole under mouth, thick eyebrows",
        "1girl, blue bodysuit, arm cannon, power armor, helmet",
    ),
    "geralt_of_rivia": (
        "white hair, long hair, yellow eyes, slit pupils, beard, facial hair, scar across eye, "
        "mature male",
        "1boy, armor, gauntlets, sword on back, scabbard, brown gloves, outdoors",
    ),
    "tifa_lockhart": (
        "black hair, red eyes, long hair, low-tied long hair, large breasts, abs, toned",
        "1girl, earrings, white tank top, suspenders, black skirt, fingerless gloves, elbow pads, "
        "midriff",
    ),
    "cloud_strife": (
        "blonde hair, blue eyes, spiked hair, short hair",
        "1boy, stud earrings, pauldrons, single pauldron, sleeveless turtleneck, suspenders, gloves, "
        "huge weapon, bandolier",
    ),
    "ranni_the_witch": (
        "blue skin, colored skin, extra arms, extra faces, blue hair, long hair, doll joints, "
        "cracked skin",
        "1girl, witch hat, fur cloak, one eye closed, white dress, cape",
    ),
    "legoshi_(beastars)": (
        "furry, furry male, wolf boy, wolf ears, wolf tail, grey fur, animal ears, tail",
        "1boy, solo, white shirt, necktie, suspenders, school uniform",
    ),
    "inugami_korone": (
        "dog girl, dog ears, dog tail, animal ears, brown hair, brown eyes, twin braids, hairclip, "
        "bone hair ornament, hair ornament, virtual youtuber, fang",
        "1girl, red collar, animal collar, yellow jacket, white dress, off shoulder, open mouth",
    ),
    "mercy_(overwatch)": (
        "blonde hair, blue eyes, high ponytail, mechanical wings, mechanical halo, halo, wings",
        "1girl, bodysuit, white gloves, staff, pelvic curtain, smile",
    ),
    "raiden_shogun": (
        "purple hair, purple eyes, long hair, braided ponytail, mole under eye, hair ornament, "
        "hair flower",
        "1girl, japanese clothes, kimono, obi, sash, bridal gauntlets, wide sleeves, tassel, "
        "thighhighs, night, electricity",
    ),
    "kiryuu_kazuma": (
        "black hair, short hair, goatee, thick eyebrows, back tattoo, irezumi, tattoo, mature male",
        "1boy, grey suit, red shirt, open collar, clenched hand, serious, belt, upper body",
    ),
    "skadi_(arknights)": (
        "grey hair, red eyes, very long hair, hair between eyes, large breasts",
        "1girl, black headwear, black gloves, black pants, high-waist pants, red-framed eyewear, fish",
    ),
}
"""Character -> (absorbed, kept), each as captions are written."""
