"""The TURN load client (native/relayload.c) for Python: allocations and packets in, counts and latencies out.

It knows a server by address and credentials only. One `RelayClient` is many clients, each with its own socket,
allocation, channel and peer, and an address of its own (all of them loopback), as clients come from many places.
"""

import ctypes
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from benchmarks.bars import quantile_of
from benchmarks.native import relay_library

BUCKETS = 20_000
BUCKET_US = 1
PAYLOAD = 1200
CLIENTS_FROM = "127.1.0.1"
PEERS_FROM = "127.2.0.1"
Address = tuple[str, int]
NOBODY: Address = ("127.0.0.1", 9)  # the server of clients that need none


class Request(IntEnum):
    """What `RelayClient.transact` does for every client."""

    OPEN = 0
    """Allocate, 401, Allocate, ChannelBind."""
    RENEW = 1
    """Refresh, ChannelBind."""
    CLOSE = 2
    """Refresh with lifetime 0."""


class _Address(ctypes.Structure):
    _fields_ = (("ip", ctypes.c_uint32), ("port", ctypes.c_uint32))


class _Options(ctypes.Structure):
    _fields_ = (
        ("server", _Address),
        ("client_ip", ctypes.c_uint32),
        ("peer_ip", ctypes.c_uint32),
        ("addresses", ctypes.c_uint32),
        ("clients", ctypes.c_uint32),
        ("peers", ctypes.c_uint32),
        ("gro", ctypes.c_uint32),
        ("seed", ctypes.c_uint64),
        ("username", ctypes.c_char * 64),
        ("password", ctypes.c_char * 64),
    )


_CYCLES = ("done", "failed", "requests", "repeated", "challenged", "stale", "refused", "forged", "last_error")


class _Cycles(ctypes.Structure):
    _fields_ = (*((name, ctypes.c_uint64) for name in _CYCLES), ("wall_s", ctypes.c_double))


class _Load(ctypes.Structure):
    _fields_ = (
        ("seconds", ctypes.c_double),
        ("rate", ctypes.c_double),
        ("window", ctypes.c_uint32),
        ("burst", ctypes.c_uint32),
        ("gso", ctypes.c_uint32),
        ("timed", ctypes.c_uint32),
    )


_COUNTS = ("alien", "reordered", "stale", "other", "send_errors", "bursts", "late_ns", "gso")


class _Totals(ctypes.Structure):
    _fields_ = (
        ("sent", ctypes.c_uint64 * 2),
        ("received", ctypes.c_uint64 * 2),
        *((name, ctypes.c_uint64) for name in _COUNTS),
        ("send_s", ctypes.c_double),
        ("cpu_s", ctypes.c_double),
        ("wall_s", ctypes.c_double),
        ("over", ctypes.c_uint64),
        ("latency", ctypes.c_uint64 * BUCKETS),
    )


@dataclass(frozen=True, slots=True)
class Load:
    """What `RelayClient.run` sends: ``rate`` packets per second, both ways together, or, with rate 0, as many as keep
    ``window`` under way. ``burst`` packets leave together, with ``gso`` as one message. ``timed``: latencies."""

    seconds: float
    rate: float = 0.0
    window: int = 128
    burst: int = 8
    gso: bool = True
    timed: bool = False


@dataclass(frozen=True, slots=True)
class Cycles:
    """What became of the transactions; names as in relayload.h."""

    counts: dict[str, int]
    wall_s: float

    def __getitem__(self, name: str) -> int:
        return self.counts[name]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What became of the packets; directions are to the peer, to the client. Names as in relayload.h."""

    sent: tuple[int, int]
    received: tuple[int, int]
    counts: dict[str, int]
    send_s: float
    cpu_s: float
    """Of the sender, who never sleeps: less than ``send_s`` when others had its core."""
    wall_s: float
    latencies: tuple[Sequence[int], int]

    def __getitem__(self, name: str) -> int:
        return self.counts[name]

    @property
    def loss(self) -> float:
        """Share of the packets that did not come."""
        return 1 - sum(self.received) / sum(self.sent) if sum(self.sent) else 0.0

    @property
    def sent_per_s(self) -> float:
        """In the time that the sender had."""
        return sum(self.sent) / self.cpu_s

    @property
    def received_per_s(self) -> float:
        return sum(self.received) / self.wall_s

    def latency_us(self, share: float) -> float:
        """A quantile, from before the send to the kernel's arrival time; infinite beyond the last bucket, NaN when
        nothing was timed."""
        return quantile_of(*self.latencies, share, BUCKET_US)


class RelayClient:
    """Clients of one server. ``clients``: how many; ``gro``: their sockets and their peers' take runs of datagrams;
    ``talking``: every client has a peer of its own and packets flow, else all have the same, mute one."""

    def __init__(
        self,
        server: Address,
        credentials: tuple[str, str] = ("", ""),
        clients: int = 100,
        *,
        gro: bool = False,
        talking: bool = True,
        addresses: int = 0,
    ) -> None:
        """``addresses``: how many the clients share, 0 = each its own. OSError when sockets run out."""
        self.clients = clients
        self._library = ctypes.CDLL(str(relay_library()), use_errno=True)
        self._library.relay_new.restype = ctypes.c_void_p
        self._library.relay_transact.argtypes = (
            ctypes.c_void_p,
            *(ctypes.c_uint32,) * 4,
            ctypes.c_double,
            ctypes.POINTER(_Cycles),
        )
        options = _Options(
            server=_packed(server),
            client_ip=int(ipaddress.IPv4Address(CLIENTS_FROM)),
            peer_ip=int(ipaddress.IPv4Address(PEERS_FROM)),
            addresses=addresses or clients,
            clients=clients,
            peers=clients if talking else 1,
            gro=gro,
            seed=1,
            username=credentials[0].encode(),
            password=credentials[1].encode(),
        )
        handle: int | None = self._library.relay_new(ctypes.byref(options))
        if handle is None:
            raise OSError(ctypes.get_errno(), "the TURN load client could not be made")
        self._handle = ctypes.c_void_p(handle)

    def transact(
        self, request: Request, first: int = 0, count: int | None = None, *, window: int = 64, patience_s: float = 20.0
    ) -> Cycles:
        """For ``count`` clients from ``first`` on (default: all), ``window`` at a time; blocks, without the GIL.
        ConnectionError when not all came through."""
        count = self.clients if count is None else count
        found = _Cycles()
        failed = self._library.relay_transact(
            self._handle, int(request), first, count, window, patience_s, ctypes.byref(found)
        )
        counts = {name: int(getattr(found, name)) for name in _CYCLES}
        if failed:
            raise ConnectionError(f"{request.name.lower()} of {count} clients: {counts}")
        return Cycles(counts, found.wall_s)

    def assume(self, relayed: Sequence[Address]) -> None:
        """Instead of `Request.OPEN`: the relayed address of every client."""
        for number, address in enumerate(relayed):
            if self._library.relay_assume(self._handle, ctypes.c_uint32(number), ctypes.byref(_packed(address))):
                raise OSError(f"a peer could not be pointed at {address}")

    def go_direct(self) -> None:
        """From now on clients and peers send to each other, without a server."""
        if self._library.relay_direct(self._handle):
            raise OSError("clients and peers could not be pointed at each other")

    def addresses(self, client: int) -> tuple[Address, Address, Address]:
        """Of the client, its peer, and the relayed one (port 0: none)."""
        found = [_Address() for _ in range(3)]
        self._library.relay_addresses(self._handle, ctypes.c_uint32(client), *(ctypes.byref(each) for each in found))
        own, peer, relayed = ((str(ipaddress.IPv4Address(each.ip)), int(each.port)) for each in found)
        return own, peer, relayed

    def run(self, load: Load) -> Traffic:
        """Blocks, without the GIL. OSError when somebody has no relayed address."""
        totals = _Totals()
        asked = _Load(load.seconds, load.rate, load.window, load.burst, load.gso, load.timed)
        if self._library.relay_run(self._handle, ctypes.byref(asked), ctypes.byref(totals)):
            raise OSError("there is no way to send on")
        counts = {name: int(getattr(totals, name)) for name in _COUNTS}
        up, down = ((int(each[0]), int(each[1])) for each in (totals.sent, totals.received))
        latencies = (list(totals.latency) if load.timed else [], int(totals.over))
        return Traffic(up, down, counts, totals.send_s, totals.cpu_s, totals.wall_s, latencies)

    def close(self) -> None:
        """Closes the sockets; allocations that were not closed stay with the server until they expire."""
        self._library.relay_free(self._handle)
        self._handle = ctypes.c_void_p()


def _packed(address: Address) -> _Address:
    return _Address(int(ipaddress.IPv4Address(address[0])), address[1])
