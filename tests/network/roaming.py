"""A phone in the small internet that changes between two networks, as one does between Wi-Fi and mobile."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from tests.network.internet import OPEN, Internet, forwarding
from tests.support.namespaces import Namespace, join, namespaces

_SWALLOW = "table inet swallow { chain out { type filter hook forward priority -10; policy drop; }; }"
_numbers = itertools.count(40)


class Way:
    """One network that the phone can be in: a link of the phone, and a gate that translates addresses behind it."""

    def __init__(self, phone: Namespace, core: Namespace, gate: Namespace, link: str) -> None:
        self.phone, self.gate, self.link, self.number = phone, gate, link, next(_numbers)
        self._hosts = itertools.cycle(range(2, 250))
        self._swallows = False
        forwarding(gate)
        join(core, f"way{self.number}", gate, "core")
        join(gate, "inside", phone, link)
        outer = f"100.64.{self.number}"
        core.ip(f"addr add {outer}.1/30 dev way{self.number}")
        gate.ip(
            f"addr add {outer}.2/30 dev core",
            f"route add default via {outer}.1",
            f"addr add 192.168.{self.number}.1/24 dev inside",
        )
        gate.nft(OPEN.rules)
        phone.ip(f"link set {link} down")

    def enter(self) -> None:
        """The phone is in this network: with a new address each time, by which what it sends comes here."""
        net = f"192.168.{self.number}"
        if self._swallows:
            self.gate.nft("delete table inet swallow")
            self._swallows = False
        address = f"{net}.{next(self._hosts)}"
        self.phone.ip(
            f"link set {self.link} up",
            f"addr add {address}/24 dev {self.link}",
            f"route replace default via {net}.1 table {self.number}",
            f"rule add from {net}.0/24 lookup {self.number}",
        )

    def prefer(self) -> None:
        """What names no address goes this way."""
        self.phone.ip(f"route replace default via 192.168.{self.number}.1")

    def swallow(self) -> None:
        """Nothing passes here from now on, in neither direction, and nobody is told."""
        self.gate.nft(_SWALLOW)
        self._swallows = True

    def leave(self) -> None:
        """Link and address are gone, without a goodbye."""
        self.phone.ip(
            f"rule del from 192.168.{self.number}.0/24 lookup {self.number}",
            f"addr flush dev {self.link}",
            f"link set {self.link} down",
        )


class Phone:
    """Begins in its first network."""

    def __init__(self, namespace: Namespace, ways: tuple[Way, Way]) -> None:
        self.namespace = namespace
        self.now_in, self.other = ways
        self.now_in.enter()
        self.now_in.prefer()

    def switch(self) -> None:
        """The old network is gone, and at the same moment the other one is there."""
        self.now_in.swallow()
        self.now_in.leave()
        self.other.enter()
        self.other.prefer()
        self.now_in, self.other = self.other, self.now_in

    def switch_silently(self) -> None:
        """The old network stays up and swallows everything; what is opened from now on goes by the other, which has
        to be entered before."""
        self.now_in.swallow()
        self.other.prefer()
        self.now_in, self.other = self.other, self.now_in


@contextmanager
def roaming(world: Internet) -> Iterator[Phone]:
    with namespaces("phone", "wifi", "mobile") as (phone, wifi, mobile):
        yield Phone(phone, (Way(phone, world.core, wifi, "wlan0"), Way(phone, world.core, mobile, "wwan0")))
