"""What a server process keeps its state in: a Postgres and a bus, its own where none was named.

Without ``postgres_url`` a private Postgres runs beside us with its files under ``data``; without ``redis_url`` the bus
is within the process. Migrations are applied at the start, under a lock, so several servers may start at once.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backplane import embedded_postgres
from backplane.bus import Bus, LocalBus
from backplane.migrations import MigrationError, all_series, migrate
from backplane.postgres import Database, DatabaseUnavailable
from backplane.settings import Settings

ROOT: Final = Path(__file__).resolve().parent.parent


class StoreError(Exception):
    """The database cannot be used. The text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Store:
    """An open database, migrated, and the bus."""

    database: Database
    bus: Bus


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Store]:
    """The store that ``settings`` mean, until the block ends. StoreError when it cannot be had. May be cancelled."""
    cluster = None
    try:
        if settings.postgres_url is None:
            cluster = embedded_postgres.launch(settings.data / "postgres")
            await asyncio.to_thread(cluster.await_ready)
        url = settings.postgres_url or (cluster.url() if cluster else "")
        database = await _database(url, settings.postgres_connections)
        bus = _bus(settings.redis_url)
        try:
            yield Store(database, bus)
        finally:
            await bus.close()
            await database.close()
    except embedded_postgres.EmbeddedPostgresError as error:
        raise StoreError(str(error)) from None
    finally:
        if cluster is not None:
            await asyncio.to_thread(cluster.stop)


def _bus(redis_url: str | None) -> Bus:
    if not redis_url:
        return LocalBus()
    from backplane.redis_bus import RedisBus  # not for everybody: a tenth of what a start imports

    return RedisBus(redis_url)


async def _database(url: str, connections: int) -> Database:
    try:
        await migrate(url, all_series(ROOT))
        return await Database.open(url, max_size=connections)
    except MigrationError as error:
        raise StoreError(str(error)) from None
    except (OSError, DatabaseUnavailable):
        raise StoreError(
            "the database does not answer. Look at WADUD_POSTGRES_URL, or leave it out to have one started here."
        ) from None
