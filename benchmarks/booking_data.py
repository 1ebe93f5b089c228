"""Fills a database with a clinic of N providers, as they would be after onboarding: listed, priced and placed.

Rows go in by unnest of whole columns, as wadud_platform, so it works on any server that the product works on. The index
rows come from the same function as the product's. `python -m benchmarks.booking_data URL 100000` fills a database that
is migrated already.
"""

import argparse
import asyncio
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from uuid import UUID

from backplane.ids import uuid7
from backplane.postgres import Connection, Database
from benchmarks.booking_names import Names
from booking.places import PLACES, Place, nearest
from booking.providers import index
from booking.specialties import CATALOGUE

_CHUNK: Final = 5_000
_LANGUAGES: Final = (("en", "ur"), ("ur",), ("en",), ("ur", "pa"), ("en", "ar"), ("ar",), ("en", "hi"), ("en", "zu"))
_LANGUAGE_WEIGHTS: Final = (40, 20, 12, 10, 8, 4, 4, 2)
_city = lru_cache(maxsize=None)(nearest)
_CURRENCIES: Final = {"PK": "PKR", "AE": "AED", "QA": "QAR", "SA": "SAR", "ZA": "ZAR", "IN": "INR"}


@dataclass(slots=True)
class _Columns:
    """Columns by name of the table's column; all of one length."""

    table: str
    types: dict[str, str]
    rows: list[tuple[object, ...]] = field(default_factory=list)

    async def insert(self, connection: Connection) -> None:
        """Arrays travel as text joined by '|', because unnest would flatten arrays of arrays."""
        names = list(self.types)
        values = [list(column) for column in zip(*self.rows)]
        arrays = [f"${at}::{'text' if kind == 'text[]' else kind}[]" for at, kind in enumerate(self.types.values(), 1)]
        picked = [f"string_to_array({name}, '|')" if self.types[name] == "text[]" else name for name in names]
        await connection.execute(
            f"INSERT INTO {self.table} ({', '.join(names)}) SELECT {', '.join(picked)} "
            f"FROM unnest({', '.join(arrays)}) AS given ({', '.join(names)})",
            *values,
        )
        self.rows.clear()


def _tables() -> dict[str, _Columns]:
    return {
        table: _Columns(table, dict(pair.split(":") for pair in columns.split()))
        for table, columns in {
            "person": "id:uuid tenant_id:bigint name:text gender:text created_at:timestamptz",
            "location": (
                "id:uuid tenant_id:bigint name:text latitude:float8 longitude:float8 timezone:text "
                "created_at:timestamptz"
            ),
            "provider": (
                "id:uuid tenant_id:bigint person_id:uuid status:text slug:text display_name:text gender:text "
                "languages:text[] specialties:text[] timezone:text location_id:uuid online_until:timestamptz "
                "next_free_at:timestamptz price_from_minor:bigint currency:text rating_sum:bigint rating_count:int "
                "search_text:text created_at:timestamptz"
            ),
            "service": (
                "id:uuid tenant_id:bigint provider_id:uuid name:text kind:text minutes:smallint price_minor:bigint "
                "currency:text created_at:timestamptz"
            ),
            "credential": (
                "id:uuid tenant_id:bigint provider_id:uuid kind:text number:text issuer:text country:text "
                "expires_at:timestamptz state:text created_at:timestamptz"
            ),
            "search_feature": "tenant_id:bigint feature:text word:text",
        }.items()
    }


async def fill(database: Database, tenant: int, providers: int, *, seed: int = 1, now: datetime) -> list[UUID]:
    """Makes the providers in ``tenant``, which must exist, and returns their ids."""
    rng = random.Random(seed)
    names = Names(rng)
    tables = _tables()
    searches: list[tuple[object, ...]] = []
    known: set[str] = set()
    made: list[UUID] = []
    weights = [1 / (rank + 2) for rank in range(len(CATALOGUE))]
    places = rng.choices(PLACES, [1 / (rank + 2) for rank in range(len(PLACES))], k=max(1, providers // 20))
    async with database.platform() as connection:
        clinics = [
            _location(tables["location"], tenant, number, place, rng, now) for number, place in enumerate(places)
        ]
        await tables["location"].insert(connection)
        for number in range(providers):
            clinic, place, location_name, latitude, longitude = rng.choice(clinics)
            gender = rng.choice(("female", "male"))
            name = names.draw(gender)
            languages = rng.choices(_LANGUAGES, _LANGUAGE_WEIGHTS)[0]
            specialties = sorted({each.code for each in rng.choices(CATALOGUE, weights, k=rng.choice((1, 1, 2)))})
            kinds = rng.sample(("video", "audio", "in_person"), k=rng.choice((1, 2)))
            person, provider = uuid7(now), uuid7(now)
            currency = _CURRENCIES[place.country]
            prices = [rng.randrange(5, 100) * 10_000 for _ in kinds]
            reviews = rng.choice((0, 0, 1, 5, 20, 100))
            made.append(provider)
            entry = index.entry(
                tenant,
                name,
                gender=gender,
                languages=languages,
                specialties=specialties,
                kinds=kinds,
                place=_city(latitude, longitude),
                location_name=location_name,
            )
            tables["person"].rows.append((person, tenant, name, gender, now))
            tables["provider"].rows.append(
                (
                    provider,
                    tenant,
                    person,
                    "approved",
                    f"dr-{seed}-{number}",
                    name,
                    gender,
                    "|".join(languages),
                    "|".join(specialties),
                    place.timezone,
                    clinic,
                    now + timedelta(hours=1) if rng.random() < 0.01 else None,
                    now + timedelta(minutes=15 * rng.randrange(4, 2000)) if rng.random() < 0.9 else None,
                    min(prices),
                    currency,
                    sum(rng.choices((1, 2, 3, 4, 5), (1, 1, 2, 6, 10), k=reviews)),
                    reviews,
                    entry.search_text,
                    now,
                )
            )
            for kind, price in zip(kinds, prices):
                tables["service"].rows.append(
                    (uuid7(now), tenant, provider, f"{kind} consultation", kind, 15, price, currency, now)
                )
            expires = now + timedelta(days=rng.randrange(5, 1500))
            tables["credential"].rows.append(
                (
                    uuid7(now),
                    tenant,
                    provider,
                    "licence",
                    f"{seed}-{number}",
                    "Council",
                    place.country,
                    expires,
                    "verified",
                    now,
                )
            )
            searches.append((provider, expires, "|".join(entry.words), "|".join(entry.facets), latitude, longitude))
            for feature, word in entry.features:
                if f"{feature}\0{word}" not in known:
                    known.add(f"{feature}\0{word}")
                    tables["search_feature"].rows.append((tenant, feature, word))
            if len(searches) >= _CHUNK or number == providers - 1:
                for table in ("person", "provider", "service", "credential", "search_feature"):
                    if tables[table].rows:
                        await tables[table].insert(connection)
                await _insert_searches(connection, searches)
                searches.clear()
        for table in (*tables, "provider_search"):
            # done by autovacuum in real life, which has no time to come by here
            await analyze(database.url, table)
    return made


def _location(
    columns: _Columns, tenant: int, number: int, place: Place, rng: random.Random, now: datetime
) -> tuple[UUID, Place, str, float, float]:
    """A clinic within some ten kilometres of a city's centre."""
    location = uuid7(now)
    latitude, longitude = place.latitude + rng.gauss(0, 0.07), place.longitude + rng.gauss(0, 0.07)
    name = f"{place.names[0]} Clinic {number}"
    columns.rows.append((location, tenant, name, latitude, longitude, place.timezone, now))
    return location, place, name, latitude, longitude


async def _insert_searches(connection: Connection, rows: list[tuple[object, ...]]) -> None:
    await connection.execute(
        """
        INSERT INTO provider_search (provider_id, tenant_id, no, listed_until, words, facets, price_minor, currency,
                                     rating, rank, latitude, longitude)
        SELECT p.id, p.tenant_id, p.no, given.until, array_to_tsvector(string_to_array(given.words, '|')),
               string_to_array(given.facets, '|'), p.price_from_minor, p.currency,
               p.rating_sum::float8 / nullif(p.rating_count, 0), shrunk_rating(p.rating_sum, p.rating_count),
               given.latitude, given.longitude
        FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::float8[], $6::float8[])
            AS given (id, until, words, facets, latitude, longitude)
        JOIN provider p ON p.id = given.id""",
        *[list(column) for column in zip(*rows)],
    )


async def analyze(url: str, table: str) -> None:
    """Statistics of the table, and its visibility map, as autovacuum would make them."""
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"VACUUM ANALYZE {table}")
    finally:
        await connection.close()


async def clinic(database: Database, slug: str) -> int:
    """The tenant of that slug, made when missing."""
    async with database.platform() as connection:
        tenant: int = await connection.fetchval(
            """
            INSERT INTO tenant (slug, name) VALUES ($1, $1)
            ON CONFLICT (slug) DO UPDATE SET slug = excluded.slug RETURNING id""",
            slug,
        )
        return tenant


async def _main(url: str, providers: int, slug: str, seed: int) -> None:
    database = await Database.open(url)
    began = time.perf_counter()
    await fill(database, await clinic(database, slug), providers, seed=seed, now=datetime.now(UTC))
    print(f"{providers} providers in {time.perf_counter() - began:.1f} s")
    await database.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("providers", type=int)
    parser.add_argument("--slug", default="bench")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    asyncio.run(_main(given.url, given.providers, given.slug, given.seed))
