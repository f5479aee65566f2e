"""The gate's words for sexualised minors, for children, and for sex.

All patterns are read against the plain forms of `gate_spelling`: lower case, no accents, words apart
by `-` (an underscore, a hyphen, a bracket stood there) or by a space, tags apart by ` , `. Words of
scripts without spaces are matched as whole runs of their script.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

_S = r"[\x20-]"  # written without a space, which stands for this in the patterns below


@dataclass(frozen=True)
class Table:
    """Patterns, any of which may match."""

    patterns: tuple[str, ...]

    def of(self, form: str) -> re.Pattern[str]:
        """What to look for in `form`: where all is ASCII, a pattern with other letters is left out, so
        these stand apart from English ones."""
        return self._latin if form.isascii() else self._whole

    @cached_property
    def _whole(self) -> re.Pattern[str]:
        return re.compile("|".join(self.patterns))

    @cached_property
    def _latin(self) -> re.Pattern[str]:
        return re.compile("|".join(filter(str.isascii, self.patterns)))


def _any(patterns: Iterable[str]) -> str:
    """One pattern for all; a space stands for what separates words, ` ?` where nothing may."""
    return "|".join(p.replace(" ?", f"{_S}*").replace(" ", f"{_S}+") for p in patterns)


def _words(*patterns: str) -> str:
    return rf"(?<![^\W_])(?:{_any(patterns)})(?![^\W_])"


def _tags(*patterns: str) -> str:
    """Only as a whole tag."""
    return rf"(?<=, )(?:{_any(patterns)})(?= ,)"


def _run(script: str, *patterns: str) -> str:
    """Whole runs of a script, where a longer word would mean something else."""
    return rf"(?<![{script}])(?:{'|'.join(patterns)})(?![{script}])"


def _spelled(word: str) -> str:
    """A word with marks between its letters (`lo-li`), or with spaces between all of them.

    The last letter apart is no spelling: `lol_i_think`.
    """
    marked, spaced = "-*".join(word), f"{_S}+".join(word)
    return rf"(?!{word[:-1]}-)(?:{marked}|{spaced})(?:-?s)?"


_KATAKANA, _HIRAGANA, _HANGUL = "ァ-ヺーヽヾ", "ぁ-ゖーゝゞ", "가-힣"
_ANIMALS = (
    "animal|bear|bobcat|cat|cheetah|cougar|dragon|fox|hyena|jaguar|leopard|lion|lynx|otter|panda|"
    "panther|polar|puma|raccoon|seal|shark|snow|tiger|walrus|wildcat|wolf"
)

# fmt: off
INNOCENT = Table((
    # fashion, sweets, plants, animals, a series: all begin like the word that is meant
    _words("lolit(?:a|as)(?! complex)", "loli ?(?:pop|rock)s?", "loligos?", "lolibrary", "lolium",
           "shotaro[^\\W_]*", "shotai", "shotaku", "aizawa shota", "shota aizawa",
           "kazehaya shota", "shota kazehaya",
           f"(?:{_ANIMALS}) cubs?", "(?:honda|super|chicago) cubs?", "cub scouts?",
           "young (?:adult|wom[ae]n|m[ae]n|lady|ladies)s?", "young (?:justice|avengers)",
           "young at heart", "neil young",
           "baby s breath", "babys breath", "baby (?:blue|pink|doll|bump|oil|hair|bangs|powder)s?",
           "baby (?:tee|t shirt)s?", "baby (?:steps|spice)", "baby (?:chick|duck|bird)s?",
           "child(?:s|ren|rens| s|ren s)? (?:drawings?|day|books?)", "the brainchild",
           "kid icarus", "(?:kaitou?|death the|eustass|eustass captain) kid",
           "kid(?: the)? phantom thief", "kid gloves?", "kidding",
           "teen titans", "teenage mutant ninja turtles?",
           "youjo senki", "tanya the evil", "sugar bab(?:y|ies)", "young (?:master|mistress|lord)",
           "(?:kindergarten|(?:elementary|middle|nursery) school) teachers?"),
    "[甘和白黒姫華]ロリ(?!コン|ショ)",  # kinds of the fashion
))
"""What holds such a word and means something else: blanked out before the others are looked for."""

NAMED = Table((
    _words(*map(_spelled, ("loli", "shota", "lolicon", "shotacon", "toddlercon")),
           "loli[^\\W_]*", "shota[^\\W_]*", "loii", "(?:ro|lo)ri[ck]on", "lolita complex",
           "toddlerkon", "foalcon", "kodocon", "kidcon", "(?:child|kid)(?:ren)? porn[^\\W_]*", "csam",
           "csem",
           "child on child", "jail ?baits?", "cunny", "pa?edos?", "pa?edo(?:ph[^\\W_]*|bait)",
           "hebephil[^\\W_]*", "(?:child|minor|underage)(?:ren)? (?:sex|nud[^\\W_]*|molest[^\\W_]*)",
           "sexuali[sz]ed (?:child|children|minors?)"),
    r"(?:loli|shota)(?:s|con|cons|kon)?(?![^\W_])",  # however the word begins
    # as a tag; in a sentence with an article it is an animal's young
    r"(?<!\ba )(?<!\bthe )(?<!\bits )(?<!\bher )(?<!\bhis )" + _words("cubs?", "cub(?:con|porn)"),
    _run(_KATAKANA, f"ロリ(?!ー|ィ|イタ|ポ|ス|ン|ア|マー)[{_KATAKANA}]*", "ロ[ -]+リ",
         "ロリータコンプレックス",
         "(?:エロ|ケモ|ネコ|ツルペタ|ミニ|リアル)ロリ", f"ショタ(?!イ|ー)[{_KATAKANA}]*", "ショ[ -]+タ",
         "ペド", "ペドフィリア", "ペドフィル"),
    _run(_HIRAGANA, "(?:ろり)+(?:こん|っこ|っ子|きょ)?", "(?:おね)?しょた(?:こん|っこ|っ子)?"),
    rf"口リ(?![{_KATAKANA}])|ロり(?![{_HIRAGANA}])|児童ポルノ|兒童色情|儿童色情|아동 ?포르노",
    "(?:[萝蘿罗羅]莉)(?!塔|亚|亞|娜)|(?<![修改真纠糾校更端公反])正太(?![郎过過多大小阳陽平空])|[恋戀]童",
    _run(_HANGUL, "로리", "로리콘", "로리물", "로리거유", "로리쇼타", "쇼타", "쇼타콘", "쇼타물",
         "오네쇼타"),
    # combining marks are gone from both: й is и, ё is е
    _words("лол(?:и|я|ьк[аиуе]|ечка)", "лолик[^\\W_]*", "(?:ш|с[её]|се)та", "(?:ш|се)ота",
           "шотакон[^\\W_]*", "педофил[^\\W_]*"),
))
"""Sexualised minors, by name: refused whatever else is said."""

EXACT = Table((
    _words("lolis?", "lolicons?", "shotas?", "shotacons?", "toddlercon", "jailbait"),
    _run(_KATAKANA, "ロリ", "ロリコン", "ショタ", "ショタコン"),
))
"""The plainest of them, for where people and sites are called as they like: artists, addresses."""

_AGES = "[1-9]|1[0-7]"
MINOR = Table((
    _words("child(?:s|ren|rens|like)?", "kids?", "kiddo", "kiddies?", "bab(?:y|ys|ies)", "toddlers?",
           "infants?", "newborns?", "foals?", "pre ?teens?", "tweens?", "teens?", "teenage[drs]*",
           "adolescents?",
           "under ?aged?", "young", "youngsters?", "pre ?pubescents?", "prepubertal", "juveniles?",
           "pre ?school(?:er|ers)?", "kindergart[^\\W_]*", "day ?care",
           "(?:elementary|primary|grade|middle|nursery|junior high) ?school(?:s|er|ers)?",
           "(?:junior|jr) high(?:schoolers?)?", "(?:elementary|primary) (?:student|pupil|uniform)s?",
           "school ?child(?:ren)?", "school ?kids?", "randoseru",
           "(?:1st|2nd|3rd|[4-9]th|first|second|third|fourth|fifth|sixth|seventh|eighth) ?graders?",
           "(?:little|small|tiny) (?:girl|boy|kid)s?", "little one", "aged? down", "de ?aged?",
           "age regress(?:ed|ion)", "youjo", "kodomo", "shougakusei", "youji", "wee girl",
           f"(?:{_AGES}) ?(?:yo|y o|yrs? old|years? old|year olds?)",
           f"aged? (?:{_AGES})", "(?:seven|eight|nine|ten|eleven|twelve|thirteen|fourteen) years? old"),
    _tags("minors?", "younger", "cub", "enfants?", "bebes?", "j[sc]"),
    _words("ninos", "ninitos?", "ninitas?", "criancas?", "fillettes?", "garconnets?",
           "kleinkind(?:er)?", "bambin[aoi]"),
    f"(?<![0-9])(?:{_AGES})(?:-| )?(?:歳|才|세|岁|歲)",
    "幼女|幼児|幼稚園|幼儿|幼兒|幼齿|幼童|小学生|小學生|女児|男児|女童|男童|女兒|園児|子供|子ども|こども|赤ちゃん",
    "赤ん坊|保育園|中学生|中學生|初中生|未成年|小女孩|小男孩|儿童|兒童|小孩|孩子|婴儿|嬰兒|児童",
    "メスガキ|어린이|초등학생|중학생|유치원|미성년|꼬마|여아|갓난아기",
    _run(_HANGUL, "아이", "아기", "유아"),
    _words(f"(?:{_AGES}) ?(?:лет|года?)", "реб[её]нок", "ребенк[^\\W_]*", "дет(?:и|ск[^\\W_]*)",
           "девочк[^\\W_]*", "мальчик[^\\W_]*",
           "малыш[^\\W_]*", "младен[^\\W_]*", "несовершеннолетн[^\\W_]*", "школьниц[^\\W_]*"),
))
"""Children: refused beside whatever says that the picture is not for everyone."""

_RATED = (
    "explicit|questionable|e|q|x|xxx|r|r18g?|r 18g?|18|adult|mature|nsfw|unsafe|sketchy|erotic[^\\W_]*"
)
ADULT = Table((
    _words(f"rat(?:ing|ed) (?:is )?(?:{_RATED})", "explicit", "questionable", "nsfw", "nsfl", "r18g?",
           "r 18g?", "x rated", "hentai", "porn[^\\W_]*", "ecchi", "ero", "eroge", "lewds?",
           "erotic[^\\W_]*", "xxx"),
    _tags("unsafe", "sketchy", "adults? only", "adult content", "(?:sexually )?suggestive", "69"),
    _words("nud(?:e|es|ity|ist)", "naked", "sex", "sexual(?:ly|ized|ised)?", "sexy", "nipples?",
           "areolae?", "(?:covered|no) nipples", "pussy", "pussies", "pussy juice", "penis(?:es)?",
           "vagina[^\\W_]*", "vulva", "clitor[^\\W_]*", "anus", "anal", "genital[^\\W_]*", "testicles?",
           "erections?", "cum", "cums?hots?", "cumdrip", "precum", "creampies?", "ejaculat[^\\W_]*",
           "orgasm[^\\W_]*", "masturbat[^\\W_]*", "fellatio", "blow ?jobs?", "cunnilingus", "paizuri",
           "hand ?jobs?", "foot ?jobs?", "rimjobs?", "rape[ds]?", "molest[^\\W_]*",
           "groping", "gangbang", "bukkake", "futa(?:nari)?s?", "dildos?", "vibrators?", "sex toys?",
           "ahegao", "bestiality", "bdsm", "bondage", "condoms?", "doggystyle",
           "cowgirl position", "spread (?:pussy|anus|ass)", "imminent penetration", "incest",
           "prostitution", "cameltoe", "cleft of venus", "panty ?shots?", "up ?skirts?",
           "panties aside", "pubic hair", "uncensored", "censored", "mosaic censoring",
           "(?:bar|convenient) censor(?:ing)?", "breasts out", "breast (?:grab|sucking)", "lactation",
           "bottomless", "topless(?! m(?:ale|an))", "undress(?:ed|ing)", "oppai"),
    "成人向|18-?禁|エロ|ヌード|裸(?![足眼婚族])|性交|セックス|裸体|裸體|色情|おっぱい|乳首|야한|섹스|누드",
    _words("эротик[^\\W_]*", "порно[^\\W_]*", "секс[^\\W_]*", "голая", "голыи"),
))
"""A rating that is not for everyone, or an unmistakably sexual tag."""

HARMLESS_RATINGS = frozenset({
    "", "g", "general", "s", "safe", "sensitive", "sfw", "everyone", "all", "all ages", "all age",
    "clean", "none", "null", "unknown", "unrated", "not rated", "false", "no", "pg", "g general",
    "general audiences", "non adult", "全年齢",
})
"""What a field called rating may say of a picture for everyone; any other word is a rating above it."""
# fmt: on
