"""What the relay of one process does beside transactions."""

from turn.credentials import Credentials
from turn.node import LEARN_S, RelayConfig, RelayNode
from turn.peers import Verdict


async def test_an_address_that_this_machine_gets_later_is_not_reached_either() -> None:
    addresses = {"51.15.0.1"}
    now = 1000.0
    config = RelayConfig(
        credentials=Credentials("wadud"),
        relayed=["51.15.0.9"],
        ports=(50000, 50001),
        own_addresses=["51.15.0.9"],
        machine=lambda: frozenset(addresses),
        media=[("51.15.0.9", 5000)],
    )
    node = RelayNode([], config, clock=lambda: now)
    assert node.peers.decide("51.15.0.1") is Verdict.FORBIDDEN
    assert node.peers.decide("51.15.0.2") is Verdict.ALLOWED
    addresses.add("51.15.0.2")
    node.sweep(now + LEARN_S / 2)
    assert node.peers.decide("51.15.0.2") is Verdict.ALLOWED, "looking costs files, so it is not done each second"
    node.sweep(now + LEARN_S)
    assert node.peers.decide("51.15.0.2") is Verdict.FORBIDDEN
    assert node.peers.decide("51.15.0.9") is Verdict.MEDIA_ONLY
