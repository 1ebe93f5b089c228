"""Ends holds that are over, wherever nobody wants their time: lists, waiting lists and searches shall know it too.

The lazy ending in `journal.begin` makes the sweeper's pace a matter of taste and not of truth.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

from backplane.logs import Log
from backplane.postgres import Database, DatabaseUnavailable
from booking.appointments import journal

_log = Log(__name__)
EVERY_S: Final = 5.0
BATCH: Final = 500


async def sweep(database: Database, now: datetime) -> int:
    """Ends what is over in all clinics; how many holds that were."""
    total = 0
    while True:
        async with database.platform() as connection, connection.transaction():
            ended = len(await journal.expire(connection, now, BATCH))
        total += ended
        if ended < BATCH:
            return total


async def run(database: Database, clock: Callable[[], datetime]) -> None:
    """Sweeps until cancelled. Any number of processes may run one."""
    while True:
        try:
            await sweep(database, clock())
        except DatabaseUnavailable:
            _log.warning("sweeper waits")
        except Exception:
            _log.error("sweeper failed")
        await asyncio.sleep(EVERY_S)
