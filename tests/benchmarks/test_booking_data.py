"""The made-up clinic of the benchmarks is what onboarding would have made."""

from datetime import UTC, datetime

from backplane.postgres import Connection, Database
from benchmarks import booking_data
from booking.providers.index import reindex
from booking.providers.search import Wanted, find

NOW = datetime(2026, 5, 4, 9, tzinfo=UTC)


async def indexed(connection: Connection) -> list[tuple[object, ...]]:
    rows = await connection.fetch("SELECT * FROM provider_search ORDER BY no")
    prices = await connection.fetch("SELECT no, price_from_minor, currency, search_text FROM provider ORDER BY no")
    words = await connection.fetch("SELECT feature, word FROM search_feature ORDER BY feature, word")
    return [tuple(row) for table in (rows, prices, words) for row in table]


async def test_indexing_it_anew_changes_nothing(database: Database) -> None:
    tenant = await booking_data.clinic(database, "bench")
    made = await booking_data.fill(database, tenant, 60, now=NOW)
    async with database.tenant(tenant) as connection:
        before = await indexed(connection)
        async with connection.transaction():
            for provider in made:
                assert await reindex(connection, provider, NOW)
        assert await indexed(connection) == before


async def test_all_of_it_is_found_page_by_page(database: Database) -> None:
    tenant = await booking_data.clinic(database, "bench")
    made = await booking_data.fill(database, tenant, 130, seed=2, now=NOW)
    found = []
    cursor = None
    async with database.tenant(tenant) as connection:
        while True:
            page = await find(connection, tenant, Wanted(), cursor=cursor, limit=50, now=NOW)
            found += [each.provider_id for each in page.found]
            if (cursor := page.cursor) is None:
                break
    assert len(found) == len(made)
    assert set(found) == set(made)
