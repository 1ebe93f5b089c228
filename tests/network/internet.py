"""A small internet, and the hostile networks behind whose gates people sit.

    server ── core ── outside          a person with an open network
                └──── gate ── inside   a person behind the gate

All addresses look public (RFC 5737, RFC 3849) except those behind a translating gate. The middle link, between core and
gate, is the one that may be narrow. One gate stands at a time; each has addresses of its own, because machines remember
what they have learnt of a path.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.namespaces import Namespace, join, namespaces
from tests.support.shaper import Shape, ShapedLink, shaped

SERVER = "203.0.113.10"
SERVER_OTHER = "203.0.113.11"  # a second address of the same machine
SERVER_V6 = "2001:db8:113::10"
OUTSIDE, OUTSIDE_V6 = "198.51.100.20", "2001:db8:51::20"

_TRANSLATE = """
table ip nat {
    chain out {
        type nat hook postrouting priority srcnat;
        oifname "core" masquerade %s
    }
}
"""
_FORWARD = """
table inet filter {
    chain forward {
        type filter hook forward priority filter; policy drop;
        %s
    }
    chain input {
        type filter hook input priority filter; policy drop;
        meta l4proto ipv6-icmp accept
    }
}
"""
_ALL_OUTWARDS = 'ct state established,related accept; iifname "inside" accept;'
_ONLY = 'ct state established accept; iifname "inside" %s accept;'
# Narrow networks do this to TCP, or no page would open in them at all.
_CLAMPED = "tcp flags syn tcp option maxseg size set 1240;"
_NO_TOO_BIG = """
table inet silent {
    chain out {
        type filter hook output priority filter;
        icmp type destination-unreachable drop
        icmpv6 type packet-too-big drop
    }
}
"""


@dataclass(frozen=True, slots=True)
class Gate:
    """What a network does with its people's packets.

    ``rules`` of nft(8) stand at the gate, where the link ``inside`` leads to them and ``core`` to the world,
    ``core_rules`` at the other end of the middle link, whose ``mtu`` may be small.
    """

    name: str
    rules: str
    core_rules: str = ""
    mtu: int = 1500
    version: int = 4


OPEN = Gate("open", _TRANSLATE % "" + _FORWARD % _ALL_OUTWARDS)  # as at home
UDP_BLOCKED = Gate("udp_blocked", _TRANSLATE % "" + _FORWARD % (_ONLY % "meta l4proto tcp"))
ONLY_TCP_443 = Gate("only_tcp_443", _TRANSLATE % "" + _FORWARD % (_ONLY % "tcp dport 443"))
SYMMETRIC_NAT = Gate("symmetric_nat", _TRANSLATE % "fully-random" + _FORWARD % _ALL_OUTWARDS)
IPV6_ONLY = Gate("ipv6_only", _FORWARD % _ALL_OUTWARDS, version=6)
MTU_1280 = Gate("mtu_1280", _TRANSLATE % "" + _FORWARD % _ALL_OUTWARDS, mtu=1280)
MTU_1280_SILENT = Gate(
    "mtu_1280_silent",
    _TRANSLATE % "" + _FORWARD % (_CLAMPED + _ALL_OUTWARDS) + _NO_TOO_BIG,
    core_rules=_NO_TOO_BIG,
    mtu=1280,
)
GATES = (OPEN, UDP_BLOCKED, ONLY_TCP_443, SYMMETRIC_NAT, IPV6_ONLY, MTU_1280, MTU_1280_SILENT)


class Internet:
    """The world outside of any gate."""

    def __init__(self, server: Namespace, core: Namespace, outside: Namespace) -> None:
        self.server, self.core, self.outside = server, core, outside
        self._numbers = itertools.count(1)

    @contextmanager
    def behind(self, gate: Gate) -> Iterator[Namespace]:
        """A new network behind a gate; the namespace of the one person in it."""
        with namespaces("gate", "inside") as (router, inside):
            number = next(self._numbers)
            join(self.core, f"gate{number}", router, "core", gate.mtu)
            with self._guarded(gate, number, router, inside):
                yield inside

    @contextmanager
    def behind_shaped(self, gate: Gate, up: Shape, down: Shape | None = None) -> Iterator[tuple[Namespace, ShapedLink]]:
        """As `behind`, with a middle link that is shaped: ``up`` from the person to the world, ``there`` of the link;
        ``down`` (None: the same) is its ``back``.
        """
        with namespaces("gate", "inside") as (router, inside):
            number = next(self._numbers)
            with (
                shaped(router, "core", self.core, f"gate{number}", up, down, mtu=gate.mtu) as link,
                self._guarded(gate, number, router, inside),
            ):
                yield inside, link

    @contextmanager
    def _guarded(self, gate: Gate, number: int, router: Namespace, inside: Namespace) -> Iterator[None]:
        """Addresses, routes and the gate's rules, when the middle link is there."""
        forwarding(router)
        join(router, "inside", inside, "gate")
        (_wire_v4 if gate.version == 4 else _wire_v6)(self.core, router, inside, number)
        router.nft(gate.rules)
        if gate.core_rules:
            self.core.nft(gate.core_rules)
        try:
            yield
        finally:
            self.core.nft("flush ruleset")


@contextmanager
def internet() -> Iterator[Internet]:
    """Server, core and outside, wired for both families."""
    with namespaces("server", "core", "outside") as (server, core, outside):
        forwarding(core)
        join(core, "server", server, "core")
        join(core, "outside", outside, "core")
        core.ip(
            "addr add 203.0.113.1/24 dev server",
            "addr add 2001:db8:113::1/64 dev server nodad",
            "addr add 198.51.100.1/24 dev outside",
            "addr add 2001:db8:51::1/64 dev outside nodad",
        )
        server.ip(
            f"addr add {SERVER}/24 dev core",
            f"addr add {SERVER_OTHER}/24 dev core",
            f"addr add {SERVER_V6}/64 dev core nodad",
            "route add default via 203.0.113.1",
            "route add default via 2001:db8:113::1",
        )
        outside.ip(
            f"addr add {OUTSIDE}/24 dev core",
            f"addr add {OUTSIDE_V6}/64 dev core nodad",
            "route add default via 198.51.100.1",
            "route add default via 2001:db8:51::1",
        )
        yield Internet(server, core, outside)


def forwarding(router: Namespace) -> None:
    router.set(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)


def _wire_v4(core: Namespace, router: Namespace, inside: Namespace, number: int) -> None:
    home = f"192.168.{number}"
    core_end, router_end = f"192.0.2.{4 * number + 1}", f"192.0.2.{4 * number + 2}"
    core.ip(f"addr add {core_end}/30 dev gate{number}", f"route add {home}.0/24 via {router_end}")
    router.ip(
        f"addr add {router_end}/30 dev core",
        f"addr add {home}.1/24 dev inside",
        f"route add default via {core_end}",
    )
    inside.ip(f"addr add {home}.2/24 dev gate", f"route add default via {home}.1")


def _wire_v6(core: Namespace, router: Namespace, inside: Namespace, number: int) -> None:
    middle, home = f"2001:db8:2:{number}:", f"2001:db8:168:{number}:"
    core.ip(f"addr add {middle}:1/64 dev gate{number} nodad", f"route add {home}:/64 via {middle}:2")
    router.ip(
        f"addr add {middle}:2/64 dev core nodad",
        f"addr add {home}:1/64 dev inside nodad",
        f"route add default via {middle}:1",
    )
    inside.ip(f"addr add {home}:2/64 dev gate nodad", f"route add default via {home}:1")
