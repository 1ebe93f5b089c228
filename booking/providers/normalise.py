"""Names as people type them, in Latin and in Arabic script, brought to forms that compare equal.

Three forms, each looser than the one before:

- **words**: NFKC, case fold; no accents, harakat, tatweel or joiners; one yeh, kaf, heh and noon; ASCII digits.
- **keys**: consonant skeletons that both scripts share, so that 'Ayesha' finds 'عائشہ' and back. Short vowels are not
  written in Urdu and Arabic and are spelled at will in Latin, so vowels are dropped; letters that one script keeps
  apart and the other does not are merged (س ص ث are all S; k, q and kh are all K). Where a letter may be read in two
  ways (و is v or a vowel, th is T or S) a word has several keys, and words are alike when they share one.
- **features**: trigrams as pg_trgm makes them, for short words the word less one letter, and the keys; what a mistyped
  word still shares with the right one. `distance` then decides.

Limits, known and accepted: keys ignore vowels, so Hasan and Hussain (حسن, حسین) have the same one; it is used across
scripts and for corrections, never before a whole word. Arabic spoken with g for ق, names written as one word here and
as two there (عبدالرحمن, Abdul Rahman) and names that are translated rather than transliterated (Yusuf, Joseph) are not
known. Devanagari is folded and found as written only.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

MAX_WORDS: Final = 12
MAX_WORD_LETTERS: Final = 40
_MAX_KEYS: Final = 12
_SHORT_WORD: Final = 5

# Marks that only guide the reader: Latin accents, harakat and Koranic signs, tatweel, joiners and direction marks.
_SILENT: Final = frozenset(
    chr(code)
    for first, last in (
        (0x0300, 0x036F),
        (0x0610, 0x061A),
        (0x0640, 0x0640),
        (0x064B, 0x065F),
        (0x0670, 0x0670),
        (0x06D6, 0x06DC),
        (0x06DF, 0x06E8),
        (0x06EA, 0x06ED),
        (0x200B, 0x200F),
        (0x202A, 0x202E),
        (0x2066, 0x2069),
    )
    for code in range(first, last + 1)
) | frozenset("'’ʼ`´ʿʾ")
_ONE_LETTER: Final = str.maketrans(
    {
        **dict.fromkeys("يىےېۍ", "ی"),
        **dict.fromkeys("كڪګ", "ک"),
        **dict.fromkeys("هةۃھەۀۂ", "ہ"),
        **dict.fromkeys("ٱأإآ", "ا"),
        "ؤ": "و",
        "ں": "ن",
        "ß": "ss",
        "ı": "i",
        "ø": "o",
        "ł": "l",
        "æ": "ae",
        "œ": "oe",
    }
)
# Not part of anybody's name, though everybody types them. Folded.
TITLES: Final = frozenset(
    {"dr", "doctor", "doc", "prof", "professor", "mr", "mrs", "ms", "miss", "ڈاکٹر", "دکتور", "دکتورہ", "پروفیسر", "डॉ"}
)
_SHORT_FORMS: Final = {"mohd": "muhammad", "muhd": "muhammad", "md": "muhammad", "mhd": "muhammad", "abd": "abdul"}

_VOWELS: Final = frozenset("aeiou")
# A letter or a pair, and its readings.
_LATIN_PAIRS: Final[dict[str, tuple[str, ...]]] = {
    "sh": ("X",),
    "ch": ("C",),
    "kh": ("K",),
    "gh": ("G",),
    "ph": ("F", "P"),
    "th": ("T", "S"),
    "dh": ("D", "Z"),
    "bh": ("B",),
    "jh": ("J",),
    "zh": ("Z",),
    "dj": ("J",),
    "ck": ("K",),
}
_LATIN: Final[dict[str, tuple[str, ...]]] = {
    **{letter: (letter.upper(),) for letter in "bdfgjklmnprstz"},
    "q": ("K",),
    "c": ("K",),
    "v": ("V",),
    "w": ("V",),
    "x": ("KS",),
    "h": ("H",),
}
_ARABIC: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys("قکخ", ("K",)),
    **dict.fromkeys("گغ", ("G",)),
    **dict.fromkeys("سصث", ("S",)),
    **dict.fromkeys("زظژ", ("Z",)),
    **dict.fromkeys("ذض", ("Z", "D")),
    **dict.fromkeys("تطٹ", ("T",)),
    **dict.fromkeys("دڈ", ("D",)),
    **dict.fromkeys("رڑ", ("R",)),
    "چ": ("C",),
    "ج": ("J",),
    "ش": ("X",),
    "ح": ("H",),
    "ف": ("F",),
    "پ": ("P",),
    "ب": ("B",),
    "ل": ("L",),
    "م": ("M",),
    "ن": ("N",),
}
_ARTICLE: Final = "ال"
_ASPIRABLE: Final = frozenset("بپتٹجچدڈڑکگ")  # a heh after one of these may only be its breath


def fold(text: str) -> str:
    """``text`` with everything gone that does not tell one word from another; not yet cut into words."""
    spread = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    kept = "".join(letter for letter in spread if letter not in _SILENT)
    return "".join(_digit(letter) for letter in unicodedata.normalize("NFC", kept).translate(_ONE_LETTER))


def _digit(letter: str) -> str:
    # Only decimal digits, so that a superscript or a circled number stays what it is.
    return str(unicodedata.decimal(letter)) if letter.isdecimal() else letter


def words(text: str) -> list[str]:
    """The folded words of ``text`` in order, each once, without titles; at most `MAX_WORDS`, each cut to its limit."""
    found: dict[str, None] = {}
    for word in _split(fold(text)):
        if word not in TITLES:
            found[_SHORT_FORMS.get(word, word)[:MAX_WORD_LETTERS]] = None
        if len(found) == MAX_WORDS:
            break
    return list(found)


def _split(folded: str) -> Iterator[str]:
    word: list[str] = []
    for letter in folded:
        if unicodedata.category(letter)[0] in "LNM":  # marks too: vowels of Devanagari
            word.append(letter)
        elif word:
            yield "".join(word)
            word.clear()
    if word:
        yield "".join(word)


def script(word: str) -> str:
    """'l' for Latin, 'a' for Arabic script, '' for any other; of a folded word, by its first letter."""
    for letter in word:
        if "a" <= letter <= "z":
            return "l"
        if "\u0600" <= letter <= "\u06ff" or "\u0750" <= letter <= "\u077f":
            return "a"
    return ""


def keys(word: str) -> list[str]:
    """Consonant skeletons of a folded word, sorted; empty for a script that has no table, and for digits."""
    which = script(word)
    if which == "l":
        return sorted(_skeletons(_latin_readings(word)))
    if which == "a":
        found = _skeletons(_arabic_readings(word))
        if word.startswith(_ARTICLE) and len(word) > len(_ARTICLE) + 2:
            found |= _skeletons(_arabic_readings(word.removeprefix(_ARTICLE)))  # Latin writes it apart
        return sorted(found)
    return []


def _skeletons(readings: list[tuple[str, ...]]) -> set[str]:
    """The first `_MAX_KEYS` distinct skeletons, in the order in which a product of the readings would give them.

    Nearly all members of that product collapse into the same few keys ('wwww...'), so a word is read from its end: what
    may follow depends on the letter before it alone, and of the ends after one letter only the first `_MAX_KEYS` can
    count, since before one beginning they all stay distinct. The work is linear in the word.
    """
    letters: list[set[str]] = [{""}]  # that may stand before each reading
    for choice in readings:
        letters.append({reading[-1:] or before for before in letters[-1] for reading in choice})
    ends: dict[str, tuple[str, ...]] = dict.fromkeys(letters.pop(), ("",))
    for choice in reversed(readings):
        ends = {before: _ends_after(before, choice, ends) for before in letters.pop()}
    return set(ends[""]) - {""}


def _ends_after(before: str, choice: tuple[str, ...], ends: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for reading in choice:
        added = "".join(letter for letter, last in zip(reading, (before or " ") + reading) if letter != last)
        for end in ends[reading[-1:] or before]:
            found[added + end] = None
    return tuple(islice(found, _MAX_KEYS))


def _latin_readings(word: str) -> list[tuple[str, ...]]:
    readings: list[tuple[str, ...]] = []
    at = 0
    while at < len(word):
        letter, pair = word[at], word[at : at + 2]
        after = word[at + 1 : at + 2]
        if pair in _LATIN_PAIRS:
            readings.append(_LATIN_PAIRS[pair])
            at += 2
            continue
        if letter in _VOWELS:
            if at == 0:
                readings.append(("A",))
        elif letter == "y":
            if at == 0:
                readings.append(("Y",))
            elif after in _VOWELS and after:
                readings.append(("", "Y"))
        elif letter == "w" and at > 0 and after not in _VOWELS:
            readings.append(("", "V"))
        elif letter == "h" and at > 0 and not after:
            readings.append(("", "H"))
        elif letter == "c" and after and after in "eiy":
            readings.append(("S",))
        elif letter in _LATIN:
            readings.append(_LATIN[letter])
        at += 1
    return readings


def _arabic_readings(word: str) -> list[tuple[str, ...]]:
    readings: list[tuple[str, ...]] = []
    for at, letter in enumerate(word):
        before = word[at - 1] if at else ""
        last = at == len(word) - 1
        if letter in "اع":
            if at == 0:
                readings.append(("A",))
        elif letter == "و":
            readings.append(("", "V") if at else ("V", "A"))
        elif letter == "ی":
            readings.append(("", "Y") if at else ("Y", "A"))
        elif letter == "ہ":
            if before in _ASPIRABLE or (last and before not in "اوی"):
                readings.append(("", "H"))
            else:
                readings.append(("H",))
        elif letter in _ARABIC:
            readings.append(_ARABIC[letter])
    return readings


def trigrams(word: str) -> list[str]:
    """Trigrams of the word padded with two blanks before and one after, as pg_trgm does, sorted."""
    padded = f"  {word} "
    return sorted({padded[index : index + 3] for index in range(len(padded) - 2)})


def features(word: str) -> list[str]:
    """What to look a misspelt word up by: trigrams, '-' and the word less one letter when short, '=' and each key."""
    shortened = (
        {f"-{word[:index]}{word[index + 1 :]}" for index in range(len(word))} if len(word) <= _SHORT_WORD else set()
    )
    return sorted({*trigrams(word), *shortened, *(f"={key}" for key in keys(word) if len(key) > 1)})


def tolerance(word: str) -> int:
    """Slips that are forgiven in a word of this length."""
    return 0 if len(word) < 3 else 1 if len(word) <= _SHORT_WORD else 2


def distance(left: str, right: str, most: int) -> int:
    """Insertions, deletions, replacements and swaps of neighbours between two words; ``most`` + 1 when there are more.

    Optimal string alignment: no part is changed twice.
    """
    if abs(len(left) - len(right)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(right) + 1))
    for index, letter in enumerate(left, 1):
        older, before, row = before, row, [index]
        for column, other in enumerate(right, 1):
            cost = min(before[column] + 1, row[column - 1] + 1, before[column - 1] + (letter != other))
            swapped = column > 1 and index > 1 and letter == right[column - 2] and left[index - 2] == other
            row.append(min(cost, older[column - 2] + 1) if swapped else cost)
        if min(row) > most:
            return most + 1
    return min(row[-1], most + 1)


class Vocabulary:
    """A few hundred words to look mistyped ones up in, without a database."""

    def __init__(self, known: Iterable[str]) -> None:
        self._by_feature: dict[str, list[str]] = {}
        for word in known:
            for feature in features(word):
                self._by_feature.setdefault(feature, []).append(word)

    def near(self, word: str) -> list[tuple[int, str]]:
        """Known words within the tolerance of ``word``, each with its slips, the nearest first."""
        most = tolerance(word)
        candidates = {other for feature in features(word) for other in self._by_feature.get(feature, ())}
        found = [(distance(word, other, most), other) for other in candidates]
        return sorted(each for each in found if each[0] <= most)
