"""Names that people type, made safe to show to others.

Control characters, line separators and unpaired surrogates go, and so do the characters that change the direction of
the text after them (a name must not turn around what stands beside it; isolating a right-to-left name is the page's
part). Joiners stay, because Urdu and Persian are spelt with them.
"""

import unicodedata
from typing import Final

MAX_NAME: Final = 64
_MAX_MARKS: Final = 4  # combining marks in a row; scripts in use need at most three
_DIRECTION: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_DEFAULTS: Final = {"host": "Host", "guest": "Guest"}
_DROPPED: Final = frozenset({"Cc", "Cs", "Co", "Cn"})


def clean_name(text: str) -> str:
    """``text`` as a name of at most `MAX_NAME` code points in NFC; empty when nothing visible is left."""
    kept: list[str] = []
    marks = 0
    for character in unicodedata.normalize("NFC", text[: 8 * MAX_NAME]):
        category = unicodedata.category(character)
        if category.startswith("Z") or character in "\t\n\r\v\f":
            character = " "
        elif category in _DROPPED or character in _DIRECTION:
            continue
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks <= _MAX_MARKS:
            kept.append(character)
    name = " ".join("".join(kept).split(" ")).strip()
    name = " ".join(word for word in name.split(" ") if word)[:MAX_NAME].strip()
    visible = any(unicodedata.category(character)[0] in "LNPS" for character in name)
    return name if visible else ""


def shown_name(text: str, role: str) -> str:
    """``text`` as a name, or the role where nothing visible is left."""
    return clean_name(text) or _DEFAULTS[role]
