"""The state that all transactions share, and the few things that several of them do to it.

A transaction is a function of `Relay` and `Request` that gives the attributes of its success response, or raises
`TurnError` with the code of the error response. It changes nothing before all its checks have passed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from turn.allocations import Allocation, AllocationTable, Relayed
from turn.attributes import LIFETIME
from turn.counters import TurnCounters
from turn.credentials import Account
from turn.peers import PeerPolicy
from turn.plane import Client, RelayPlane, Sockets, TcpRelay
from turn.ports import PortPool, Reservation, Reservations
from turn.quotas import Quotas
from turn.stun import Address, Message, decode_uint32, family_of

Attributes: TypeAlias = list[tuple[int, bytes]]

DEFAULT_LIFETIME_S: Final = 600  # RFC 8656 section 3.2
MAX_LIFETIME_S: Final = 3600
PERMISSION_S: Final = 300.0  # section 9
CHANNEL_S: Final = 600.0  # section 12
MAX_PERMISSIONS: Final = 64  # of one allocation
MAX_CHANNELS: Final = 64


class TurnError(Exception):
    """The request is answered with an error response."""

    def __init__(self, code: int, attributes: Attributes | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.attributes = attributes or []


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """``quota``: allocations of one owner, ``quota_address``: of one client address. ``bandwidth_bps``: of one
    allocation, 0 = no cap. ``alternates``: servers to name while draining, at most one per family."""

    answer_binding: bool = False  # the packet plane does it, as a rule
    mobility: bool = True
    quota: int = 20
    quota_address: int = 200
    max_allocations: int = 16_384
    bandwidth_bps: int = 10_000_000
    alternates: tuple[Address, ...] = ()


class Request(NamedTuple):
    """An authenticated request. ``now`` is monotonic, ``unix`` the same moment since 1970, both in seconds."""

    client: Client
    message: Message
    account: Account
    now: float
    unix: float

    def ends(self) -> bool:
        """Whether it asks for a lifetime of 0. Raises StunError."""
        value = self.message.attributes.get(LIFETIME)
        return value is not None and decode_uint32(value) == 0

    def lifetime(self) -> int:
        """Seconds to grant (RFC 8656 section 7.2): what is asked for within bounds, never beyond the credential. Raises
        StunError."""
        value = self.message.attributes.get(LIFETIME)
        asked = DEFAULT_LIFETIME_S if value is None else decode_uint32(value)
        left = self.account.expires_at - self.unix
        if left < 1:
            raise TurnError(401)
        return int(min(max(asked, DEFAULT_LIFETIME_S), MAX_LIFETIME_S, left))


@dataclass(slots=True)
class Relay:
    """``entropy(n)`` gives n random bytes. ``pools``: by address family."""

    plane: RelayPlane
    settings: TurnSettings
    peers: PeerPolicy
    pools: dict[int, PortPool]
    sockets: Sockets
    entropy: Callable[[int], bytes]
    tcp: TcpRelay | None
    table: AllocationTable
    quotas: Quotas
    reservations: Reservations
    counters: TurnCounters
    draining: bool = False

    def find(self, client: Client, now: float) -> Allocation | None:
        """The living allocation of a five-tuple."""
        allocation = self.table.by_client(client)
        if allocation is not None and not allocation.alive(now):
            self.counters.expired += 1
            self.remove(allocation)
            return None
        return allocation

    def owned(self, request: Request) -> Allocation:
        """The allocation that a request other than Allocate is about (RFC 8656 section 5)."""
        allocation = self.find(request.client, request.now)
        if allocation is None:
            raise TurnError(437)
        if allocation.owner != request.account.owner:
            raise TurnError(441)
        return allocation

    def open(self, allocation: Allocation, relayed: Relayed) -> None:
        """Give a relayed address its socket, when a peer needs one that it can reach. 508 when it cannot be had."""
        if relayed.opened:
            return
        try:
            fd = self.sockets.open(relayed.address)
        except OSError:
            raise TurnError(508) from None
        self.plane.open_relayed(allocation.number, relayed.address, fd)
        relayed.opened = True
        self.counters.relay_ports_opened += 1

    def remove(self, allocation: Allocation) -> None:
        """End an allocation with all that belongs to it."""
        self.table.remove(allocation)
        if allocation.tcp:
            assert self.tcp is not None, "only it makes TCP allocations"
            self.tcp.remove(allocation.number)
        else:
            self.plane.remove_allocation(allocation.number)
        for relayed in allocation.relayed:
            relayed.pool.release(relayed.port)

    def withdraw(self, allocation: Allocation, relayed: Relayed, now: float) -> None:
        """End one relayed address of a dual allocation: its peers lose their permissions at once. The port stays taken
        until the whole allocation ends, for the packet plane has its socket."""
        relayed.expires_at = min(relayed.expires_at, now)
        for host in [host for host in allocation.permissions if family_of(host) == relayed.family]:
            del allocation.permissions[host]
            if not allocation.tcp:
                self.plane.permit(allocation.number, host, 0, media_only=True)
        for number in [n for n, (peer, _) in allocation.channels.items() if family_of(peer[0]) == relayed.family]:
            del allocation.channels[number]

    def give_back(self, reservation: Reservation) -> None:
        """Nobody claimed it."""
        self.sockets.close(reservation.fd)
        reservation.pool.release(reservation.port)
