"""What server processes do, as data: a process is a set of roles.

Today one process plays all of them (`bin/serve`), and `bin/turn` that of the relay alone. Roles that a process may
leave to others are the ones whose state is in Postgres or on the bus; calls need their media in the same process, as
long as nodes do not speak with each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    MEDIA = "media"
    """Forwards media: workers, rooms."""
    RELAY = "relay"
    """TURN."""
    CALLS = "calls"
    """The call protocol: the WebSocket, rooms and tokens over HTTP."""
    BOOKING = "booking"
    """The API of booking, its live sockets, and visits tied to calls."""
    WORK = "work"
    """What booking does by itself: outbox, consumers, jobs, sweeps."""
    PAGES = "pages"


NEEDS: Final[Mapping[Role, frozenset[Role]]] = {
    Role.MEDIA: frozenset({Role.CALLS}),
    Role.CALLS: frozenset({Role.MEDIA}),
    Role.BOOKING: frozenset({Role.CALLS}),
    Role.WORK: frozenset({Role.BOOKING}),
    Role.PAGES: frozenset({Role.BOOKING}),
}
"""Roles that are to be played in the same process."""


@dataclass(frozen=True, slots=True)
class Process:
    """``name``: for the operator. ValueError when a role is without another that it needs."""

    name: str
    roles: frozenset[Role]

    def __post_init__(self) -> None:
        for role in self.roles:
            if missing := NEEDS.get(role, frozenset()) - self.roles:
                raise ValueError(f"{role} needs {', '.join(sorted(missing))}")

    def plays(self, role: Role) -> bool:
        return role in self.roles


SERVER: Final = Process("Wadud", frozenset(Role))
RELAY: Final = Process("Wadud's relay", frozenset({Role.RELAY}))
