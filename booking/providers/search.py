"""What a patient typed and ticked, turned into index scans.

A query is read word by word. Each word may mean a name, a specialty ("skin", "دل") or, several together, a city; the
catalogue and the gazetteer are asked first, so that their synonyms cost no index entries. What is found comes in tiers,
each one statement: **whole** words, then **begun** words and the same name in the other script, and only when these are
too few **mended** words: those of the tenant's vocabulary that share rare features with what was typed and differ by a
slip or two, or sound alike. Within a tier the order asked for holds; a tier shows nothing that an earlier one did.

A cursor is the tier, the sort key and number of the last row, and how many rows came before: nothing is kept between
pages, and rows that come or go elsewhere do not shift them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from msgspec import Meta, Struct

from backplane.bounds import WIDE
from backplane.paging import decode_cursor, encode_cursor
from backplane.postgres import Connection
from booking import places, specialties
from booking.providers.index import key_terms, lexeme
from booking.providers.normalise import distance, features, tolerance, words
from booking.refusals import Malformed

FEW: Final = 5  # with fewer than these, mended words are tried
MAX_PAGE: Final = 50
_MAX_TYPED_WORDS: Final = 6
_MAX_MENDED: Final = 12
_MAX_COMPARED: Final = 80
_FEATURE_BUDGET: Final = 2000  # rows of search_feature read per word
_SHORTEST_PREFIX: Final = 2
_LONGEST_PLACE: Final = 4

_SORTS: Final = {"relevance": "rank", "rating": "rank", "price": "price", "soonest": "soonest", "distance": "distance"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for. ``facets``: terms as of `index.entry` without the tenant, all of which must hold."""

    text: str = ""
    facets: tuple[str, ...] = ()
    price_max_minor: int | None = None
    currency: str | None = None
    rating_min: float | None = None
    free_before: datetime | None = None
    online: bool = False
    near: tuple[float, float] | None = None
    radius_km: float | None = None
    sort: str = "relevance"


@dataclass(frozen=True, slots=True)
class Found:
    """A provider that fits. ``tier`` 0 whole, 1 begun, 2 mended."""

    provider_id: UUID
    no: int
    key: float
    distance_km: float | None
    tier: int


@dataclass(frozen=True, slots=True)
class Page:
    """``mended``: some were found by another spelling."""

    found: list[Found]
    cursor: str | None
    mended: bool


class _Cursor(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a page ended. ``key``: as of `search_providers`; ``seen``: rows up to there."""

    tier: Annotated[int, Meta(ge=0, le=2)]
    key: Annotated[float, Meta(ge=-9e12, le=9e12)]  # the largest time that Postgres takes, in seconds
    no: Annotated[int, Meta(ge=0, le=2**63 - 1, extra=WIDE)]
    seen: Annotated[int, Meta(ge=0, le=2**30)]


@dataclass(frozen=True, slots=True)
class _Word:
    """A typed word and the terms that stand for it in each tier; each tier includes the one before."""

    text: str
    whole: frozenset[str]
    begun: frozenset[str]


def _read(text: str) -> list[_Word]:
    """Terms end with '*' when what begins like them counts too."""
    typed = words(text)[:_MAX_TYPED_WORDS]
    typed = [word for word in typed if not specialties.filler(word)] or typed
    found: list[_Word] = []
    at = 0
    while at < len(typed):
        for length in range(min(_LONGEST_PLACE, len(typed) - at), 0, -1):
            codes = places.meant_by(" ".join(typed[at : at + length]))
            if codes and length > 1:
                terms = frozenset(f"p:{code}" for code in codes)
                found.append(_Word("", terms, terms))
                at += length
                break
        else:
            found.append(_read_word(typed[at], places.meant_by(typed[at])))
            at += 1
    return found


def _read_word(word: str, cities: frozenset[str]) -> _Word:
    whole = {word, *(f"p:{code}" for code in cities), *(f"s:{code}" for code in specialties.meant_by(word))}
    begun = whole | {_other_script(term) for term in key_terms(word)}
    if len(word) >= _SHORTEST_PREFIX:
        begun.add(f"{word}*")
    return _Word(word, frozenset(whole), frozenset(begun))


def _other_script(term: str) -> str:
    return ("a" if term.startswith("l~") else "l") + term[1:]


def _tsquery(tenant: int, all_of: Sequence[frozenset[str]]) -> str:
    """All of the sets, any term of each. Terms are ours or folded words: letters, digits, ':', '~', '-'."""

    def one(term: str) -> str:
        return f"'{lexeme(tenant, term[:-1])}':*" if term.endswith("*") else f"'{lexeme(tenant, term)}'"

    return " & ".join("(" + " | ".join(one(term) for term in sorted(terms)) + ")" for terms in all_of)


async def _mended(connection: Connection, tenant: int, typed: list[_Word]) -> list[frozenset[str]]:
    """Terms for each word with slips allowed for."""
    mended: list[frozenset[str]] = []
    for word in typed:
        terms = set(word.begun)
        terms |= {f"s:{code}" for code in specialties.perhaps_meant_by(word.text)}
        terms |= {f"p:{code}" for code in places.perhaps_meant_by(word.text)}
        if len(word.text) > 2 and not word.text.isdigit():
            terms |= set(await _similar(connection, tenant, word.text))
        mended.append(frozenset(terms))
    return mended


async def _similar(connection: Connection, tenant: int, word: str) -> list[str]:
    """Words of the vocabulary that are spelt or sound like ``word``, the nearest first.

    Only the rarest features are followed, as many as fit the budget: common ones ('an ') lead to half of all words and
    tell nothing. The first count stops at the budget, so a miss and a common word cost the same.
    """
    asked = features(word)
    rows = await connection.fetch(
        """
        WITH counted AS (
            SELECT feature, (SELECT count(*) FROM (
                SELECT FROM search_feature s
                WHERE s.tenant_id = $1 AND s.feature = asked.feature LIMIT $3) AS first) AS n
            FROM unnest($2::text[]) AS asked (feature)
        ), rarest AS (
            SELECT feature, sum(n) OVER (ORDER BY n, feature) AS total FROM counted WHERE n > 0
        ), shared AS (
            SELECT s.word, count(*) AS n, bool_or(r.feature LIKE '=%') AS sounds FROM rarest r
            CROSS JOIN LATERAL (SELECT word FROM search_feature s WHERE s.tenant_id = $1 AND s.feature = r.feature) s
            WHERE r.total <= $3 GROUP BY s.word
        )
        SELECT word, n, sounds FROM shared WHERE word <> $5
        ORDER BY n / (length(word) + 2 + $4 - n)::float8 + CASE WHEN sounds THEN 0.2 ELSE 0 END DESC, word LIMIT $6""",
        tenant,
        asked,
        _FEATURE_BUDGET,
        len(asked),
        word,
        _MAX_COMPARED,
    )
    most = tolerance(word)
    ranked: list[tuple[int, int, str]] = []
    for row in rows:
        slips = distance(word, row["word"], most)
        if slips <= most or (row["sounds"] and len(word) > 3):
            ranked.append((slips, -row["n"], row["word"]))
    return [other for _, _, other in sorted(ranked)[:_MAX_MENDED]]


async def find(
    connection: Connection, tenant: int, wanted: Wanted, *, cursor: str | None, limit: int, now: datetime
) -> Page:
    """One page of what fits. Malformed: a cursor that is none, or a sort by distance from nowhere."""
    if wanted.sort == "distance" and wanted.near is None:
        raise Malformed("near_required", "Sorting by distance needs near=latitude,longitude.")
    after = decode_cursor(cursor, _Cursor) if cursor else None
    limit = max(1, min(limit, MAX_PAGE))
    typed = _read(wanted.text)
    if not typed:
        found = await _tier(connection, wanted, _Tier(0, None, None), after, limit + 1, now)
        return _page(found, limit, after)

    whole = _tsquery(tenant, [word.whole for word in typed])
    begun = _tsquery(tenant, [word.begun for word in typed])
    if wanted.sort == "relevance":
        tiers = [_Tier(0, whole, None), _Tier(1, begun, whole)]
    else:
        tiers = [_Tier(1, begun, None)]  # the order asked for counts for more than how well the word fits
    found = []
    for tier in tiers:
        if (after is None or after.tier <= tier.number) and len(found) <= limit:
            found += await _tier(connection, wanted, tier, after, limit + 1 - len(found), now)
    few = len(found) <= limit and (after.seen if after else 0) + len(found) < FEW
    if few or (after is not None and after.tier == 2):
        loose = _tsquery(tenant, await _mended(connection, tenant, typed))
        if loose != begun:
            found += await _tier(connection, wanted, _Tier(2, loose, begun), after, limit + 1 - len(found), now)
    return _page(found, limit, after)


@dataclass(frozen=True, slots=True)
class _Tier:
    number: int
    matching: str | None
    excluding: str | None


async def _tier(
    connection: Connection, wanted: Wanted, tier: _Tier, after: _Cursor | None, most: int, now: datetime
) -> list[Found]:
    latitude, longitude = wanted.near or (None, None)
    begin = after if after is not None and after.tier == tier.number else None
    rows = await connection.fetch(
        """
        SELECT * FROM search_providers($1::text::tsquery, $2::text::tsquery, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
                                       $13, $14, $15, $16)""",
        tier.matching,
        tier.excluding,
        list(wanted.facets) or None,
        wanted.price_max_minor,
        wanted.currency,
        wanted.rating_min,
        wanted.free_before,
        wanted.online,
        latitude,
        longitude,
        wanted.radius_km,
        _SORTS[wanted.sort],
        begin and begin.key,
        begin and begin.no,
        most,
        now,
    )
    return [
        Found(row["provider_id"], row["provider_no"], row["sort_key"], row["distance_km"], tier.number) for row in rows
    ]


def _page(found: list[Found], limit: int, after: _Cursor | None) -> Page:
    shown = found[:limit]
    cursor = None
    if len(found) > limit:
        last = shown[-1]
        cursor = encode_cursor(last.tier, last.key, last.no, (after.seen if after else 0) + limit)
    return Page(shown, cursor, any(each.tier == 2 for each in shown))
