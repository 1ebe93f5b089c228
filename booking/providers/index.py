"""What a provider is found by, written in the transaction that changes any of it.

`reindex` derives everything from the rows as they are: price_from_minor, currency and search_text of `provider`, and
the row of `provider_search`, which exists exactly while the provider is approved and holds a verified licence that has
not run out. Whoever changes a profile, a service, a location or a licence calls it before the commit. The rating needs
no call, a trigger keeps it; next_free_at and online_until are read where they stand.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from backplane.postgres import Connection
from booking.places import Place, nearest
from booking.providers.normalise import features, keys, script, words

_MOST_LOCATION_WORDS: Final = 6

# Licences count while they are verified; the last to run out decides.
LISTED_UNTIL: Final = """
    SELECT max(coalesce(expires_at, 'infinity')) FROM credential
    WHERE provider_id = $1 AND kind = 'licence' AND state = 'verified'"""


@dataclass(frozen=True, slots=True)
class Entry:
    """The index entry of one provider. ``words`` and ``facets`` carry the tenant's number, ``features`` do not."""

    search_text: str
    words: list[str]
    facets: list[str]
    features: list[tuple[str, str]]


def lexeme(tenant: int, term: str) -> str:
    return f"{tenant}:{term}"


def key_terms(word: str) -> list[str]:
    """Terms under which a word is found from the other script; a key of one letter only when there is no longer one."""
    found = keys(word)
    longer = [key for key in found if len(key) > 1]
    return [f"{script(word)}~{key}" for key in longer or found]


def entry(
    tenant: int,
    display_name: str,
    *,
    gender: str | None,
    languages: Iterable[str],
    specialties: Sequence[str],
    kinds: Iterable[str],
    place: Place | None,
    location_name: str,
) -> Entry:
    """Derives the entry. ``place`` is the city it is in, ``kinds`` those of its active services."""
    name = words(display_name)
    terms = {*name, *(term for word in name for term in key_terms(word))}
    terms |= {f"s:{code}" for code in specialties}
    terms |= set(words(location_name)[:_MOST_LOCATION_WORDS])
    if place is not None:
        terms.add(f"p:{place.code}")
    facets = {f"s:{code}" for code in specialties} | {f"k:{kind}" for kind in kinds}
    facets |= {f"l:{language.partition('-')[0].lower()}" for language in languages}
    if gender:
        facets.add(f"g:{gender}")
    return Entry(
        " ".join(name),
        sorted(lexeme(tenant, term) for term in terms),
        sorted(lexeme(tenant, facet) for facet in facets),
        [(feature, word) for word in name if not word.isdigit() for feature in features(word)],
    )


async def reindex(connection: Connection, provider_id: UUID, now: datetime) -> bool:
    """Brings everything derived up to date; returns whether the provider is listed. Inside a transaction."""
    row = await connection.fetchrow(
        """
        SELECT p.tenant_id, p.status, p.display_name, p.gender, p.languages, p.specialties,
               l.name AS location_name, l.latitude, l.longitude
        FROM provider p LEFT JOIN location l ON l.id = p.location_id WHERE p.id = $1 FOR NO KEY UPDATE OF p""",
        provider_id,
    )
    if row is None:
        return False
    services = await connection.fetch(
        "SELECT kind, price_minor, currency FROM service WHERE provider_id = $1 AND active ORDER BY price_minor",
        provider_id,
    )
    latitude, longitude = row["latitude"], row["longitude"]
    made = entry(
        row["tenant_id"],
        row["display_name"],
        gender=row["gender"],
        languages=row["languages"],
        specialties=row["specialties"],
        kinds={service["kind"] for service in services},
        place=None if latitude is None or longitude is None else nearest(latitude, longitude),
        location_name=row["location_name"] or "",
    )
    cheapest = services[0] if services else None
    await connection.execute(
        "UPDATE provider SET price_from_minor = $2, currency = $3, search_text = $4 WHERE id = $1",
        provider_id,
        cheapest and cheapest["price_minor"],
        cheapest and cheapest["currency"],
        made.search_text,
    )
    listed = row["status"] == "approved" and bool(
        await connection.fetchval(f"SELECT ({LISTED_UNTIL}) > $2", provider_id, now)
    )
    if not listed:
        await connection.execute("DELETE FROM provider_search WHERE provider_id = $1", provider_id)
        return False
    await connection.execute(
        f"""
        INSERT INTO provider_search (provider_id, tenant_id, no, listed_until, words, facets, price_minor, currency,
                                     rating, rank, latitude, longitude)
        SELECT id, tenant_id, no, ({LISTED_UNTIL}), array_to_tsvector($2), $3, price_from_minor, currency,
               rating_sum::float8 / nullif(rating_count, 0), shrunk_rating(rating_sum, rating_count), $4, $5
        FROM provider WHERE id = $1
        ON CONFLICT (provider_id) DO UPDATE SET
            listed_until = excluded.listed_until, words = excluded.words, facets = excluded.facets,
            price_minor = excluded.price_minor, currency = excluded.currency, rating = excluded.rating,
            rank = excluded.rank, latitude = excluded.latitude, longitude = excluded.longitude""",
        provider_id,
        made.words,
        made.facets,
        latitude if longitude is not None else None,
        longitude if latitude is not None else None,
    )
    # in one order, so that two transactions that bring the same new words wait for each other and do not deadlock
    await connection.execute(
        """
        INSERT INTO search_feature (tenant_id, feature, word)
        SELECT $1, feature, word FROM unnest($2::text[], $3::text[]) AS new (feature, word) ORDER BY feature, word
        ON CONFLICT DO NOTHING""",
        row["tenant_id"],
        [feature for feature, _ in made.features],
        [word for _, word in made.features],
    )
    return True


async def forget_unused_words(connection: Connection) -> int:
    """Removes words that stand in no listed name any more (a doctor has left, or erased the account); how many rows.

    Reads the whole vocabulary of the tenant: for a nightly sweep.
    """
    done = await connection.execute(
        """
        DELETE FROM search_feature f USING (
            SELECT DISTINCT word FROM search_feature WHERE tenant_id = app_tenant()
            EXCEPT
            SELECT split_part(lexeme, ':', 2) FROM (
                SELECT DISTINCT unnest(tsvector_to_array(words)) AS lexeme FROM provider_search
                WHERE tenant_id = app_tenant()) AS used
        ) AS unused WHERE f.tenant_id = app_tenant() AND f.word = unused.word"""
    )
    return int(done.rpartition(" ")[2])
