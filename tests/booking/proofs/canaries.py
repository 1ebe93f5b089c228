"""Canaries: words that nobody says, and where they turn up.

A canary is looked for as it was sent and as a careless program would write it: percent-encoded, in base64 at any
offset, with JSON's escapes, in another case.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus

import msgspec

NAME = "Zarqūnia Qux-Vîbñez"
DOCTOR = "Ottoqar Zzyvlipp"
CHILD = "Klein-Zwetschgius Qux"
EMAIL = "zarq.qux7f3a@canary-mail.example"
CARER = "carer.qux7f3a@canary-mail.example"
PHONE = "+923456789012"
PASSWORD = "vermilion-axolotl-7f3a-staple"
REASON = "itching of the left zygomatic quokka 7f3a"
MESSAGE = "my quokka says I am in the blue zeppelin 7f3a"
LICENCE = "QX-7f3a-99812-P"
BIOGRAPHY = "Trained among the quokkas of Rottnest 7f3a"
PDF = b"%PDF-1.4 quokka scan 7f3a"
SEARCH = "quokkologist7f3a"
BAD_TOKEN = "canary-token-7f3a-8812-zwetschge"
SAID = {
    "name": NAME,
    "doctor": DOCTOR,
    "child": CHILD,
    "email": EMAIL,
    "carer": CARER,
    "phone": PHONE,
    "password": PASSWORD,
    "reason": REASON,
    "message": MESSAGE,
    "licence": LICENCE,
    "biography": BIOGRAPHY,
    "document": PDF.decode(),
    "search": SEARCH,
    "bad token": BAD_TOKEN,
}
_DIGITS = re.compile(r"\d{4,8}")


def spellings(canary: str) -> set[str]:
    """``canary`` as it may stand in a text, in lower case."""
    raw = canary.encode()
    made = {
        canary,
        quote(canary, safe=""),
        quote(canary),
        quote_plus(canary),
        msgspec.json.encode(canary).decode()[1:-1],
    }
    made |= {canary.encode("unicode_escape").decode(), ascii(canary)[1:-1]}
    for shift in range(3):  # what stands before a text decides how base64 cuts it: the whole groups of three stay
        inner = raw[(3 - shift) % 3 :]
        inner = inner[: len(inner) - len(inner) % 3]
        made |= {base64.b64encode(inner).decode(), base64.urlsafe_b64encode(inner).decode()}
    return {each.lower() for each in made if each}


def found(canaries: Mapping[str, str], places: Mapping[str, str]) -> Iterator[str]:
    """Which canary turned up where. Short numbers, such as codes, count only by themselves, not inside of others."""
    for place, text in places.items():
        low = text.lower()
        for name, canary in canaries.items():
            if _DIGITS.fullmatch(canary):
                if re.search(rf"(?<![0-9a-f.:-]){canary}(?![0-9a-f.:-])", low):
                    yield f"{name} in {place}"
            elif any(spelling in low for spelling in spellings(canary)):
                yield f"{name} in {place}"


def addresses(texts: Iterable[str]) -> str:
    """What a server or a proxy would see of every address in ``texts``: all but the fragment."""
    seen = []
    for text in texts:
        seen += [url.partition("#")[0] for url in re.findall(r"(?:https?:/|\"|/)(?:/[^\s\"<>']*)", text)]
    return "\n".join(seen)
