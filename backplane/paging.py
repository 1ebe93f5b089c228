"""Pages of a long list by a cursor: the sort key of the last row given, so rows that come or go move nothing.

A cursor is opaque to the caller but neither secret nor signed: it says where to go on in a list that is filtered by
rights all the same, so all that forging one gives is another place in the own list. What is decoded is checked
against the types of the key.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import msgspec
from msgspec import Struct

from backplane.bounds import odd_time, outside_decoder
from backplane.web import Problem

T = TypeVar("T")
R = TypeVar("R")
K = TypeVar("K")
MAX_CURSOR: Final = 512


class Page(Struct, Generic[T], frozen=True):
    """``next``: the cursor of the page that follows, None on the last one."""

    items: list[T]
    next: str | None = None


def encode_cursor(*key: object) -> str:
    """The cursor of a sort key made of texts, numbers, times and UUIDs."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).rstrip(b"=").decode()


def decode_cursor(cursor: str, key: type[K]) -> K:
    """The sort key in ``cursor``; ``key`` is its type, such as ``tuple[Moment, UUID]``. Problem 400 bad_cursor."""
    try:
        if len(cursor) > MAX_CURSOR:
            raise ValueError
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        found: K = outside_decoder(key).decode(data)
        if b"\\u0000" in data or odd_time(found):
            raise ValueError
        return found
    except (ValueError, RecursionError, binascii.Error):
        detail = "This cursor is not one of ours. Leave it out to begin at the first page."
        raise Problem(400, "bad_cursor", detail) from None


def page_of(rows: Sequence[R], limit: int, item: Callable[[R], T], key: Callable[[R], Sequence[object]]) -> Page[T]:
    """The page of ``rows``, of which ``limit + 1`` were asked for: the last one only tells that there are more."""
    more = len(rows) > limit
    shown = rows[:limit]
    return Page([item(row) for row in shown], encode_cursor(*key(shown[-1])) if more and shown else None)
