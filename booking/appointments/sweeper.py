"""Ends holds that are over, wherever nobody wants their time: lists, waiting lists and searches shall know it too.

The lazy ending in `transitions.begin` makes the sweeper's pace a matter of taste and not of truth.
"""

from datetime import datetime
from typing import Final

from backplane.postgres import Database
from booking.appointments import transitions

BATCH: Final = 500


async def sweep(database: Database, now: datetime) -> int:
    """Ends what is over in all clinics; how many holds that were. Any number of processes may sweep."""
    total = 0
    while True:
        async with database.platform() as connection, connection.transaction():
            ended = len(await transitions.expire(connection, now, BATCH))
        total += ended
        if ended < BATCH:
            return total
