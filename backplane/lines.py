"""No control characters in texts from outside, but where a text of several lines is meant.

A line break in a name ends a header in a mail, a column in a log, a row in a file; Postgres cannot keep U+0000 at all.
So every text of a body is one line unless its type says `LINES`. What is looked for: C0, DEL and C1 (ISO 6429), and the
separators of lines and paragraphs. A text of several lines may break lines and indent.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, get_args, get_type_hints

from msgspec import Meta, Struct

LINES: Final = Meta(extra={"lines": True})
"""``Annotated[str, LINES]``: a text of several lines."""

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BREAKS: Final = re.compile("[\t\n\r\u2028\u2029]")
# The same in JSON, raw or escaped; a false alarm costs a walk over the value.
_IN_JSON: Final = re.compile(
    rb"\\[bfnrt]|\\u(?:00[01][0-9a-f]|007f|00[89][0-9a-f]|202[89])|\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]",
    re.IGNORECASE,
)


def one_line(text: str) -> str:
    """``text`` with a space for every run of control characters."""
    return " ".join(part for part in re.split(f"{_CONTROL.pattern}+", text) if part)


def has_control(text: str, *, lines: bool = False) -> bool:
    """Whether ``text`` holds what it must not. ``lines``: it may break lines."""
    return _CONTROL.search(_BREAKS.sub("", text) if lines else text) is not None


def control_in(body: bytes, value: object) -> str | None:
    """The place of the first control character in ``value``, which ``body`` was decoded to; None: there is none."""
    return _found(value, "", lines=False) if _IN_JSON.search(body) else None


def _found(value: object, place: str, *, lines: bool) -> str | None:
    if isinstance(value, str):
        return place if has_control(value, lines=lines) else None
    if isinstance(value, Struct):
        several = _several(type(value))
        parts = [(f"{place}.{name}", getattr(value, name), name in several) for name in value.__struct_fields__]
    elif isinstance(value, Mapping):
        parts = [(f"{place}[...]", each, False) for pair in value.items() for each in pair]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = [(f"{place}[...]", each, lines) for each in value]
    else:
        return None
    return next((found for at, each, more in parts if (found := _found(each, at, lines=more)) is not None), None)


@lru_cache(maxsize=1024)
def _several(kind: type[Struct]) -> frozenset[str]:
    """The fields of ``kind`` whose texts may have several lines."""
    hints = get_type_hints(kind, include_extras=True)
    return frozenset(name for name, hint in hints.items() if _says_lines(hint))


def _says_lines(hint: object) -> bool:
    if isinstance(hint, Meta):
        return bool((hint.extra or {}).get("lines"))
    found = [*get_args(hint), *getattr(hint, "__metadata__", ())]
    return any(_says_lines(each) for each in found)
