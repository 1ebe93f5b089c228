"""From the text of a query or a path to the type that a handler declares, strictly.

A number is written in decimal digits, without exponent, plus sign or spare zeros; true and false are the only booleans;
times are those of RFC 3339, and nothing else stands for one: msgspec's lax mode, made for settings, takes ``0.5`` for
half a second after 1970 and ``1e3`` for a thousand. An optional parameter is left out, never written as null.
"""

import re
from collections.abc import Callable
from typing import Annotated, Final, Literal, get_args, get_origin

import msgspec

_INT: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_FLOAT: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,17})?")
_BOOL: Final = {"true": True, "false": False}

Read = Callable[[str], object]


def _scalars(kind: object) -> set[object]:
    """The plain types that ``kind`` may be, without limits and lists."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _scalars(get_args(kind)[0])
    if origin is Literal:
        return {type(each) for each in get_args(kind)}
    if arguments := get_args(kind):
        return {each for argument in arguments for each in _scalars(argument)}
    return {kind}


def reader(kind: object) -> Read:
    """What makes of a text the value that msgspec then looks at strictly; a text that is no such value stays one."""
    kinds = _scalars(kind)

    def read(text: str) -> object:
        if bool in kinds and text in _BOOL:
            return _BOOL[text]
        if int in kinds and _INT.fullmatch(text):
            return int(text)
        if float in kinds and _FLOAT.fullmatch(text):
            return float(text)
        return text

    return (lambda text: text) if str in kinds or kinds.isdisjoint((bool, int, float)) else read


def converted(text: str, kind: object, read: Read) -> object:
    """``text`` as ``kind``. msgspec.ValidationError."""
    return msgspec.convert(read(text), kind)
