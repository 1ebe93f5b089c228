"""Allocations (RFC 8656 section 3.2): found by five-tuple, number, ticket and stream, and in order of expiry.

The packet plane keeps permissions and channels of its own and lets them run out by itself. What is kept of them here
is what a later transaction needs: how many there are, what a channel number is bound to, what to take back when one
family of a dual allocation goes. An allocation stands once in the heap of expiries, at a time that is never too late:
one that was refreshed since is put back when its turn comes, which costs less than moving it with every Refresh.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from turn.plane import Client
from turn.ports import PortPool
from turn.quotas import Quotas
from turn.stun import Address, family_of

MAX_NUMBER: Final = 2**31 - 1
COMPACT_ABOVE: Final = 1024  # a heap with this many entries more than allocations is built anew


@dataclass(slots=True)
class Relayed:
    """One relayed transport address. ``opened``: a socket of its own exists, in the packet plane."""

    pool: PortPool
    port: int
    expires_at: float
    opened: bool = False

    @property
    def address(self) -> Address:
        return self.pool.host, self.port

    @property
    def family(self) -> int:
        return family_of(self.pool.host)


@dataclass(slots=True, eq=False)
class Allocation:
    """``permissions``: host to end. ``channels``: number to peer and end. Times are monotonic seconds."""

    number: int
    client: Client
    owner: str
    relayed: tuple[Relayed, ...]
    tcp: bool = False
    ticket: bytes = b""  # empty unless mobile (RFC 8016)
    permissions: dict[str, float] = field(default_factory=dict)
    channels: dict[int, tuple[Address, float]] = field(default_factory=dict)
    due: float = 0.0  # where it stands in the heap

    def of_family(self, family: int, now: float) -> Relayed | None:
        """The living relayed address of that family."""
        for relayed in self.relayed:
            if relayed.expires_at > now and relayed.family == family:
                return relayed
        return None

    def next_expiry(self) -> float:
        """When the next relayed address ends."""
        if len(self.relayed) == 1:
            return self.relayed[0].expires_at
        return min(relayed.expires_at for relayed in self.relayed)

    def alive(self, now: float) -> bool:
        for relayed in self.relayed:  # noqa: SIM110 - asked with every request; any() takes three times as long
            if relayed.expires_at > now:
                return True
        return False


class AllocationTable:
    """All allocations of one server, alive or not yet swept."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._by_client: dict[Client, Allocation] = {}
        self._by_number: dict[int, Allocation] = {}
        self._by_stream: dict[int, Allocation] = {}
        self._by_ticket: dict[bytes, Allocation] = {}
        self._heap: list[tuple[float, int]] = []
        self._last_number = 0

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[Allocation]:
        return iter(self._by_number.values())

    def by_client(self, client: Client) -> Allocation | None:
        return self._by_client.get(client)

    def by_number(self, number: int) -> Allocation | None:
        return self._by_number.get(number)

    def by_stream(self, stream: int) -> Allocation | None:
        return self._by_stream.get(stream)

    def by_ticket(self, ticket: bytes) -> Allocation | None:
        return self._by_ticket.get(ticket)

    def new_number(self) -> int:
        """One that no allocation has; numbers come around only after two thousand millions."""
        while True:
            self._last_number = self._last_number % MAX_NUMBER + 1
            if self._last_number not in self._by_number:
                return self._last_number

    def add(self, allocation: Allocation) -> None:
        self._by_number[allocation.number] = allocation
        self._place(allocation)
        self._quotas.add(allocation.owner, allocation.client.host)
        if allocation.ticket:
            self._by_ticket[allocation.ticket] = allocation
        self._push(allocation, allocation.next_expiry())

    def move(self, allocation: Allocation, client: Client) -> None:
        """The client goes on from another five-tuple (RFC 8016 section 3.2)."""
        self._displace(allocation)
        self._quotas.move(allocation.client.host, client.host)
        allocation.client = client
        self._place(allocation)

    def replace_ticket(self, allocation: Allocation, ticket: bytes) -> None:
        """The ticket before it is worth nothing from now on."""
        self._by_ticket.pop(allocation.ticket, None)
        allocation.ticket = ticket
        self._by_ticket[ticket] = allocation

    def remove(self, allocation: Allocation) -> None:
        del self._by_number[allocation.number]
        self._displace(allocation)
        self._quotas.remove(allocation.owner, allocation.client.host)
        self._by_ticket.pop(allocation.ticket, None)

    def reschedule(self, allocation: Allocation) -> None:
        """To be called when an expiry was changed."""
        if (due := allocation.next_expiry()) < allocation.due:
            self._push(allocation, due)

    def take_due(self, now: float) -> Iterator[Allocation]:
        """Allocations with a relayed address that has ended. One that is not removed then has to be `requeue`d."""
        while self._heap and self._heap[0][0] <= now:
            due, number = heapq.heappop(self._heap)
            allocation = self._by_number.get(number)
            if allocation is None or allocation.due != due:
                continue
            if allocation.next_expiry() > now:
                self._push(allocation, allocation.next_expiry())
            else:
                yield allocation

    def requeue(self, allocation: Allocation, due: float) -> None:
        self._push(allocation, due)

    def _push(self, allocation: Allocation, due: float) -> None:
        allocation.due = due
        heapq.heappush(self._heap, (due, allocation.number))
        if len(self._heap) > 2 * len(self._by_number) + COMPACT_ABOVE:
            self._heap = [(each.due, each.number) for each in self._by_number.values()]
            heapq.heapify(self._heap)

    def _place(self, allocation: Allocation) -> None:
        client = allocation.client
        self._by_client[client] = allocation
        if client.stream:
            self._by_stream[client.stream] = allocation

    def _displace(self, allocation: Allocation) -> None:
        client = allocation.client
        del self._by_client[client]
        self._by_stream.pop(client.stream, None)
