"""This part of booking as `booking.application` takes it: routes, jobs and sweeps.

The application must hold `booking.documents.DOCUMENTS`; `booking.providers.registry.REGISTRY` is optional.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from backplane.postgres import Database
from booking.application import Module
from booking.documents import FileStore, sweep_strays
from booking.providers import application_reviews, applications, discovery, licences, practice
from booking.providers.index import forget_unused_words

DAILY_S: Final = 24 * 3600.0
ROUTES: Final = (applications.routes, application_reviews.routes, practice.routes, discovery.routes)
JOBS: Final = licences.HANDLERS


def providers(database: Database, store: FileStore, clock: Callable[[], datetime]) -> Module:
    """The part, with its nightly sweeps over all clinics."""

    async def forget_words() -> None:
        async with database.platform() as platform:
            tenants = await platform.fetch("SELECT id FROM tenant ORDER BY id")
        for row in tenants:
            async with database.tenant(row["id"]) as connection:
                await forget_unused_words(connection)

    async def remove_strays() -> None:
        await sweep_strays(database, store, clock())

    return Module(
        routes=ROUTES,
        jobs=JOBS,
        sweeps=[("provider words", DAILY_S, forget_words), ("stray documents", DAILY_S, remove_strays)],
    )
