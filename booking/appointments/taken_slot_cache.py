"""Slots known to be taken a moment ago, so that a thousand who want one slot do not all ask the database.

An entry lives two seconds and is of this process only: it sheds load and decides nothing. It can be wrong for that long
after a cancellation (in another process; here the time of the provider is forgotten at once), never the other way.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from backplane.clocks import just_now

LIVES: Final = timedelta(seconds=2)
MOST: Final = 20_000


@dataclass(frozen=True, slots=True)
class _Entry:
    tenant: int
    at: datetime
    alternatives: tuple[datetime, ...]


class TakenSlotCache:
    """Remembers refusals with the alternatives that were told."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[UUID, datetime], _Entry] = OrderedDict()

    def known(self, tenant: int, service: UUID, start: datetime, now: datetime) -> tuple[datetime, ...] | None:
        """The alternatives to a slot that is taken; None: nothing is known."""
        entry = self._entries.get((service, start))
        if entry is None or not just_now(entry.at, now, LIVES) or entry.tenant != tenant:
            return None
        return entry.alternatives

    def remember(
        self, tenant: int, service: UUID, start: datetime, alternatives: Sequence[datetime], now: datetime
    ) -> None:
        self._entries[service, start] = _Entry(tenant, now, tuple(alternatives))
        self._entries.move_to_end((service, start))
        if len(self._entries) > MOST:
            self._entries.popitem(last=False)

    def forget(self, service: UUID) -> None:
        """Something of this service became free."""
        for key in [key for key in self._entries if key[0] == service]:
            del self._entries[key]
