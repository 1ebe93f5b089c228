"""What a kind of topic is: a number in tickets, a name on the wire, and how its owner reads what a ticket shows.

The owner of a topic says what is shown and who may see it; when it is read, for whom and how it travels is the hub's
business. A topic either shows a whole state, which is pushed whenever it differs from what was pushed last, or `Items`
that are numbered, of which each push holds those that are new.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, TypeVar

from msgspec import Struct

from backplane.postgres import Connection
from live.tickets import Ticket

T = TypeVar("T")
View = Struct | Sequence[Struct]


class Gone(Struct, frozen=True):
    """The ticket gives nothing to see any more; the watch ends. Reasons: see `messages.Bye`."""

    reason: Literal["moved", "replaced", "gone", "failed"]


@dataclass(frozen=True, slots=True)
class Items:
    """Numbered things after the last one that the watcher has. `last`: the greatest number that there is."""

    view: View
    last: int


class Round:
    """One reading of one subject, for all who watch it: one transaction, one moment."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self.connection = connection
        self.now = now
        self._kept: dict[object, object] = {}

    def kept(self, kind: type[T]) -> T:
        """An object of that class, made for this round at the first call: where readers keep what others need too."""
        if kind not in self._kept:
            self._kept[kind] = kind()
        kept = self._kept[kind]
        assert isinstance(kept, kind)
        return kept


Read = Callable[[Round, Ticket, int], Awaitable[View | Items | Gone]]
"""With the number of the last item that the watcher has."""


class Presence(Protocol):
    """What watching a topic means to its owner: somebody is there. All of it may run twice."""

    @property
    def by_device(self) -> bool:
        """Whether each device of a person counts by itself."""

    async def arrived(self, connection: Connection, ticket: Ticket, now: datetime) -> bool:
        """A page has opened; whether others see a difference."""

    async def left(self, connection: Connection, ticket: Ticket, now: datetime) -> bool:
        """The last page has closed; whether others see a difference."""

    async def still_here(self, connection: Connection, tickets: Sequence[Ticket], now: datetime) -> None:
        """All pages of one tenant in this process, every `hub.REFRESH_S`."""


@dataclass(frozen=True, slots=True)
class Topic:
    """`kind`: stands in signed tickets and never changes. `personal`: what is shown depends on who watches;
    otherwise it is read once for all who watch the same key."""

    kind: int
    name: str
    read: Read
    personal: bool = True
    presence: Presence | None = None
