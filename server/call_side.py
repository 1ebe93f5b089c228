"""The calls of a process put together: rooms on media workers, sessions, the relay beside them, in the order in which
each is given what it needs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import time

from backplane.addresses import MediaAddresses
from backplane.certificates import self_signed
from backplane.metrics import Metrics
from backplane.settings import Settings
from backplane.tokens import TokenAuthority
from booking.visits.room_names import VisitRooms
from rtc._dtls import Identity
from rtc._worker import Worker
from rtc.worker_events import EventUser, WorkerEvents
from server.inner_relay import InnerRelay
from server.visit_calls import VisitStays
from sfu.node import Node
from sfu.pacing import PacedNode
from signalling.calls import Calls
from signalling.room_quotas import RoomLimits, RoomQuotas
from signalling.sessions import Sessions
from signalling.token_use import TokenUse


@dataclass(frozen=True, slots=True)
class CallSide:
    """What `call_side` made."""

    node: Node
    calls: Calls
    relay: InnerRelay
    stays: VisitStays


@contextmanager
def call_side(
    settings: Settings,
    addresses: MediaAddresses,
    workers: Sequence[Worker],
    port: int,
    tokens: TokenAuthority,
    metrics: Metrics,
) -> Iterator[CallSide]:
    """At work while the block runs, in the running event loop. ``port``: the number of the shared TCP port.

    Raises:
        StartError: the relay cannot be had.
    """
    visits = VisitRooms(tokens.key)
    stays = VisitStays(visits)
    relay = InnerRelay(settings, addresses, workers, port)
    limits = RoomLimits(
        rooms=settings.max_rooms,
        rooms_per_address=settings.rooms_per_address,
        people_per_address=settings.people_per_address,
        idle_s=settings.room_idle_s,
    )
    sessions = Sessions(RoomQuotas(limits), TokenUse(relay), stays)
    node = Node(
        workers=workers,
        identity=Identity(*self_signed(time())),
        candidates=[[(address, worker.port) for address in addresses.advertised] for worker in workers],
        tcp_candidates=relay.tcp_candidates,
        notify=sessions.deliver,
        observe_stage=metrics.observe_stage,
        observe_estimate=metrics.observe_estimate,
    )
    calls = Calls(node, sessions, tokens, metrics, is_reserved=lambda room: visits.read(room) is not None)

    def gauges() -> Mapping[str, int]:
        return {
            "rooms": len(node.rooms),
            "rooms_counted": calls.quotas.rooms,
            "participants": node.participants,
            "workers": len(workers),
            **relay.gauges(),
        }

    metrics.watch(lambda: [*(worker.counters() for worker in workers), relay.counters()], gauges)
    users: list[EventUser] = [PacedNode(node)]
    if relay.node is not None:
        users.append(relay.node)
    with relay.running(), WorkerEvents(workers, users).running():
        yield CallSide(node, calls, relay, stays)
