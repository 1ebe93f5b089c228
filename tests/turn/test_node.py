"""What the relay of one process does beside transactions."""

from typing import Any

import pytest

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
        public=True,
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


class Packets:
    """What of a worker is told about peers."""

    port = 443

    def __init__(self) -> None:
        self.elsewhere: set[tuple[str, int]] = set()
        self.rules: dict[str, object] = {}

    def __getattr__(self, name: str) -> None:
        """Commands that nobody gives here."""

    def configure_relay(self, **rules: object) -> None:
        self.rules = rules

    def know_media(self, host: str, port: int, worker: None) -> None:
        assert (host, port) not in self.elsewhere
        self.elsewhere.add((host, port))

    def forget_media(self, host: str, port: int) -> None:
        self.elsewhere.remove((host, port))


def config(**more: Any) -> RelayConfig:
    own = {"relayed": ["51.15.0.9"], "ports": (50000, 50001), "media": [("51.15.0.9", 5000)]}
    return RelayConfig(credentials=Credentials("wadud"), **own, **more)


async def test_nodes_come_and_go() -> None:
    worker = Packets()
    first, second = ("51.15.9.1", 443), ("10.9.0.1", 444)
    node = RelayNode([worker], config(nodes=[first, ("51.15.0.9", 5000)]))  # type: ignore[list-item]
    assert worker.elsewhere == {first}, "our own media stay our own"
    node.learn_nodes([second])
    assert worker.elsewhere == {second}
    assert node.peers.reaches(*second)
    assert not node.peers.reaches(*first)
    with pytest.raises(ValueError, match="never relayed"):
        node.learn_nodes([("10.9.0.1", 25)])
    assert worker.elsewhere == {second}


@pytest.mark.parametrize("opened", [{}, {"public": True}, {"allow": ["10.1.0.0/16"]}, {"nodes": [("51.15.9.1", 443)]}])
async def test_no_port_is_open_and_no_tcp_is_relayed_unless_more_than_media_is_reached(opened: dict[str, Any]) -> None:
    worker = Packets()
    node = RelayNode([worker], config(**opened))  # type: ignore[list-item]
    more = "public" in opened or "allow" in opened
    assert ("open_ports" in worker.rules) == more
    assert (node._served[0].server._relay.tcp is not None) == more
