"""The seams of the relay core: what it commands the packet plane, and what it asks of TCP allocations (RFC 6062).

`RelayPlane` is what `rtc._worker.Worker` offers, or something that spreads it over several workers. All commands
return at once and take addresses as (host, port) with hosts in canonical text form; times are nanoseconds of
CLOCK_MONOTONIC. `Sockets` opens relay ports. `TcpRelay` holds the sockets of TCP allocations, which no packet plane
knows.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from turn.stun import Address


class Client(NamedTuple):
    """One end of a five-tuple; the other is the local address it came to. ``stream`` is 0 for UDP."""

    stream: int
    host: str
    port: int
    local_host: str = ""
    local_port: int = 0


class RelayPlane(Protocol):
    """See the contract of `Worker`."""

    def reply(self, client: Client, message: bytes) -> None: ...
    def add_allocation(self, allocation: int, client: Client, *, bandwidth_bps: int = 0) -> None: ...
    def add_relayed(self, allocation: int, relayed: Address) -> None: ...
    def open_relayed(self, allocation: int, relayed: Address, fd: int) -> None:
        """The plane owns ``fd`` from now on."""

    def permit(self, allocation: int, host: str, until_ns: int, *, media_only: bool = False) -> None:
        """A later call replaces the time, also by one that has passed."""

    def bind_channel(self, allocation: int, number: int, peer: Address, until_ns: int) -> None: ...
    def move_allocation(self, allocation: int, client: Client) -> None: ...
    def remove_allocation(self, allocation: int) -> None: ...


class Sockets(Protocol):
    """Where relay ports become real. ``address`` is the relayed one as clients see it; on a translated machine the
    implementation binds what stands behind it."""

    def open(self, address: Address) -> int:
        """The descriptor of a bound, non-blocking UDP socket. OSError when the port is another program's."""

    def is_free(self, address: Address) -> bool:
        """Whether no other program has the port now. It is not opened."""

    def close(self, fd: int) -> None: ...


class TcpRelay(Protocol):
    """The sockets of TCP allocations. Permissions are checked by whoever calls, or asked of `TurnServer.permitted`;
    an attempt from outside is told by `TurnServer.connection_attempt`."""

    def listen(self, allocation: int, relayed: Address) -> bool:
        """Listen there for peers; False when the port cannot be had."""

    def connect(self, allocation: int, peer: Address, answer: Callable[[int, int], None]) -> None:
        """Connect to ``peer`` from the relayed address and call ``answer(0, connection)`` once it stands, or
        ``answer(code, 0)`` with 446 or 447. ``answer`` may be called before this returns, and is called once."""

    def claim(self, connection: int) -> int:
        """The allocation whose unbound connection that is, 0 when there is none (or it waited for 30 s)."""

    def bind(self, connection: int, client: Client) -> None:
        """From here on ``client``'s stream carries the connection's bytes. The success response has been sent."""

    def remove(self, allocation: int) -> None:
        """Close everything of that allocation."""
