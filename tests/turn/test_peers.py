"""No forbidden address can be reached through the relay, in whatever disguise it comes."""

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turn.peer_ports import is_open, port_set
from turn.peers import MAX_NODE_PORTS, MAX_REMEMBERED, PeerPolicy, Verdict

FORBIDDEN_IPV4 = {
    "this network": "0.0.0.0",
    "this network, a host": "0.1.2.3",
    "private 10/8": "10.0.0.1",
    "the end of 10/8": "10.255.255.255",
    "carrier-grade NAT": "100.64.0.1",
    "a provider's metadata in it": "100.100.100.200",
    "the end of carrier-grade NAT": "100.127.255.255",
    "loopback": "127.0.0.1",
    "loopback elsewhere": "127.255.255.254",
    "a provider's wire server": "168.63.129.16",
    "a provider's name servers": "161.26.0.10",
    "a provider's service endpoints": "166.9.24.2",
    "link-local": "169.254.1.1",
    "metadata": "169.254.169.254",
    "container metadata": "169.254.170.2",
    "private 172.16/12": "172.16.0.1",
    "the end of 172.16/12": "172.31.255.255",
    "protocol assignments": "192.0.0.1",
    "metadata in protocol assignments": "192.0.0.192",
    "documentation 1": "192.0.2.1",
    "6to4 relay": "192.88.99.1",
    "private 192.168/16": "192.168.0.1",
    "benchmark": "198.18.0.1",
    "the end of benchmark": "198.19.255.255",
    "documentation 2": "198.51.100.1",
    "documentation 3": "203.0.113.1",
    "multicast": "224.0.0.1",
    "multicast that calls itself global": "233.252.0.1",
    "the end of multicast": "239.255.255.255",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "our own": "51.15.0.1",
}
FORBIDDEN_IPV6 = {
    "unspecified": "::",
    "loopback": "::1",
    "ULA": "fd12:3456::1",
    "the other half of ULA": "fc00::1",
    "metadata": "fd00:ec2::254",
    "another metadata": "fd20:ce::254",
    "link-local": "fe80::1",
    "the end of link-local": "febf::1",
    "site-local": "fec0::1",
    "multicast": "ff02::1",
    "multicast of global scope": "ff0e::1",
    "documentation": "2001:db8::1",
    "the newer documentation": "3fff::1",
    "discard-only": "100::1",
    "Teredo": "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "Teredo with a public server and client": "2001::808:808:0:0:f7f7:f7f7",
    "benchmark": "2001:2::1",
    "ORCHID": "2001:10::1",
    "ORCHIDv2": "2001:20::1",
    "segment routing": "5f00::1",
    "unassigned": "4000::1",
    "local-use NAT64 of a public address": "64:ff9b:1::808:808",
    "IPv4-compatible, even of a public address": "::8.8.8.8",
    "our own": "2a00:1450::9",
    "link-local ISATAP of a public address": "fe80::5efe:808:808",
    "no address": "example.org",
    "with a zone": "2606:4700:4700::1111%eth0",
    "nothing": "",
}
OWN = ["51.15.0.1", "2a00:1450::9", "51.15.0.2", "192.168.1.5"]
MEDIA = [("51.15.0.2", 5000), ("51.15.0.2", 5001), ("192.168.1.5", 5000)]


def from_number(value: int) -> str:
    return str(ipaddress.IPv6Address(value))


DISGUISES: dict[str, Callable[[int], str]] = {
    "mapped": lambda ip: from_number(0xFFFF << 32 | ip),
    "compatible": from_number,
    "translated": lambda ip: from_number(0xFFFF << 48 | ip),
    "NAT64": lambda ip: from_number(0x64FF9B << 96 | ip),
    "local-use NAT64": lambda ip: from_number(0x64FF9B0001 << 80 | ip),
    "6to4": lambda ip: from_number(0x2002 << 112 | ip << 80 | 1),
    "Teredo client": lambda ip: from_number(0x20010000 << 96 | 0x08080808 << 64 | (ip ^ 0xFFFFFFFF)),
    "Teredo server": lambda ip: from_number(0x20010000 << 96 | ip << 64 | 0xF7F7F7F7),
    "ISATAP": lambda ip: from_number(0x2A0014500000_0001 << 64 | 0x5EFE << 32 | ip),
    "universal ISATAP": lambda ip: from_number(0x2A0014500000_0001 << 64 | 0x02005EFE << 32 | ip),
    "ISATAP in 6to4 of a public address": lambda ip: from_number(0x2002 << 112 | 0x08080808 << 80 | 0x5EFE << 32 | ip),
    "6to4 with ISATAP of a public address": lambda ip: from_number(
        0x2002 << 112 | ip << 80 | 0x5EFE << 32 | 0x08080808
    ),
}
READABLE = {"mapped", "translated", "NAT64", "6to4", "ISATAP", "universal ISATAP"}  # the embedded address is certain


@pytest.fixture(scope="module")
def policy() -> PeerPolicy:
    """Which lets as many addresses pass as any."""
    return PeerPolicy((), OWN, MEDIA, public=True)


@pytest.mark.parametrize("host", FORBIDDEN_IPV4.values(), ids=FORBIDDEN_IPV4.keys())
def test_a_forbidden_ipv4_address_is_refused(policy: PeerPolicy, host: str) -> None:
    assert policy.decide(host) is Verdict.FORBIDDEN


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES.keys())
@pytest.mark.parametrize("host", FORBIDDEN_IPV4.values(), ids=FORBIDDEN_IPV4.keys())
def test_a_forbidden_ipv4_address_is_refused_in_every_disguise(
    policy: PeerPolicy, host: str, disguise: Callable[[int], str]
) -> None:
    assert policy.decide(disguise(int(ipaddress.IPv4Address(host)))) is Verdict.FORBIDDEN


@pytest.mark.parametrize("host", FORBIDDEN_IPV6.values(), ids=FORBIDDEN_IPV6.keys())
def test_a_forbidden_ipv6_address_is_refused(policy: PeerPolicy, host: str) -> None:
    assert policy.decide(host) is Verdict.FORBIDDEN


@pytest.mark.parametrize("host", ["8.8.8.8", "1.1.1.1", "223.255.255.254", "2606:4700:4700::1111", "2a00:1450::1"])
def test_public_addresses_are_allowed(policy: PeerPolicy, host: str) -> None:
    assert policy.decide(host) is Verdict.ALLOWED


@pytest.mark.parametrize("name", DISGUISES)
def test_a_public_address_passes_only_in_disguises_that_can_be_read(policy: PeerPolicy, name: str) -> None:
    expected = Verdict.ALLOWED if name in READABLE or "public address" in name else Verdict.FORBIDDEN
    assert policy.decide(DISGUISES[name](int(ipaddress.IPv4Address("8.8.8.8")))) is expected


@given(st.ip_addresses(v=4))
def test_a_disguise_never_helps(host: ipaddress.IPv4Address) -> None:
    policy = PeerPolicy((), OWN, MEDIA, public=True)
    if policy.decide(str(host)) is not Verdict.ALLOWED:
        verdicts = {name: policy.decide(disguise(int(host))) for name, disguise in DISGUISES.items()}
        assert set(verdicts.values()) == {Verdict.FORBIDDEN}, verdicts


@given(st.ip_addresses())
def test_what_the_registries_call_private_or_special_is_never_allowed(
    host: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if host.is_private or host.is_loopback or host.is_link_local or host.is_multicast or host.is_reserved:
        assert PeerPolicy(public=True).decide(str(host)) is not Verdict.ALLOWED or any(
            host in ipaddress.ip_network(readable)
            for readable in ("::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "2002::/16")
            if host.version == 6
        )


def test_our_own_address_may_be_reached_where_media_are_received(policy: PeerPolicy) -> None:
    assert policy.decide("51.15.0.2") is Verdict.MEDIA_ONLY
    assert policy.decide("192.168.1.5") is Verdict.MEDIA_ONLY, "a server of a private network"
    assert policy.reaches("51.15.0.2", 5000)
    assert not policy.reaches("51.15.0.2", 5000, tcp=True)
    assert not policy.reaches("51.15.0.2", 5002)
    assert not policy.reaches("51.15.0.1", 5000)
    for disguise in DISGUISES.values():
        assert policy.decide(disguise(int(ipaddress.IPv4Address("51.15.0.2")))) is Verdict.FORBIDDEN


def test_unless_the_internet_is_opened_only_media_are_reached() -> None:
    policy = PeerPolicy((), OWN, MEDIA)
    for host in ("8.8.8.8", "2606:4700:4700::1111", *(each(0x08080808) for each in DISGUISES.values())):
        assert policy.decide(host) is Verdict.FORBIDDEN, host
    assert policy.decide("51.15.0.2") is Verdict.MEDIA_ONLY
    assert policy.only_media
    assert not policy.nowhere
    assert PeerPolicy((), OWN).nowhere
    assert not PeerPolicy(("10.0.0.0/8",)).only_media


def test_media_of_other_nodes_are_reached_where_they_are_and_nothing_beside_them() -> None:
    nodes = [
        ("51.15.9.1", 443),
        ("51.15.9.1", 444),
        ("10.9.0.1", 5000),
        ("2a00:1450:9::1", 443),
        MEDIA[0],
        (OWN[0], 7000),
    ]
    policy = PeerPolicy((), OWN, MEDIA, nodes)
    for host, port in nodes:
        assert policy.reaches(host, port)
        assert not policy.reaches(host, port, tcp=True)
        assert not policy.reaches(host, 9999)
        if "." in host:
            for disguise in DISGUISES.values():
                assert policy.decide(disguise(int(ipaddress.IPv4Address(host)))) is Verdict.FORBIDDEN
    assert not policy.reaches("8.8.8.8", 444)
    assert policy.decide("51.15.9.1") is policy.decide("10.9.0.1") is Verdict.MEDIA_ELSEWHERE
    assert policy.decide(OWN[0]) is Verdict.MEDIA_ELSEWHERE, "another server on this machine"
    assert policy.decide("51.15.9.2") is policy.decide("10.9.0.2") is Verdict.FORBIDDEN
    assert policy.nodes == {*nodes} - {MEDIA[0]}
    opened = PeerPolicy((), OWN, MEDIA, nodes, public=True)
    assert opened.reaches("51.15.9.1", 40000)
    assert not opened.reaches("10.9.0.1", 40000)
    opened.learn_nodes([])
    assert opened.decide("10.9.0.1") is Verdict.FORBIDDEN


@pytest.mark.parametrize("nodes", [[("51.15.9.1", 53)], [("51.15.9.1", 0)], [("nowhere", 443)]])
def test_a_node_is_an_address_with_ports_of_media(nodes: list[tuple[str, int]]) -> None:
    with pytest.raises(ValueError):
        PeerPolicy(nodes=nodes)


def test_the_ports_of_nodes_are_bounded() -> None:
    policy = PeerPolicy(nodes=[("51.15.9.1", 40000 + number) for number in range(MAX_NODE_PORTS)])
    with pytest.raises(ValueError, match="possible"):
        policy.learn_nodes([("51.15.9.1", 40000 + number) for number in range(MAX_NODE_PORTS + 1)])
    assert len(policy.nodes) == MAX_NODE_PORTS


ABUSED = (
    25,
    53,
    69,
    80,
    111,
    123,
    137,
    161,
    389,
    465,
    587,
    1900,
    3283,
    3389,
    3702,
    5060,
    5353,
    5683,
    11211,
    27015,
    37810,
)


@pytest.mark.parametrize("port", ABUSED)
def test_a_port_of_abuse_is_reached_by_no_setting(port: int) -> None:
    policy = PeerPolicy(("10.1.0.0/16", "127.0.0.1"), OWN, MEDIA, public=True)
    for host in ("8.8.8.8", "2606:4700:4700::1111", "10.1.2.3", "127.0.0.1"):
        assert not policy.reaches(host, port)
        assert not policy.reaches(host, port, tcp=True)
    assert not port_set()[port >> 3] >> (port & 7) & 1


def test_what_was_opened_is_reached_at_ports_of_media() -> None:
    policy = PeerPolicy(("10.1.0.0/16",), OWN, MEDIA, public=True)
    for host in ("8.8.8.8", "10.1.2.3"):
        assert [port for port in (443, 3478, 1024, 10000, 49152, 65535) if not policy.reaches(host, port)] == []
        reached = [port for port in (443, 3478, 1024, 10000, 49152, 65535) if policy.reaches(host, port, tcp=True)]
        assert reached == [49152, 65535]
    ports = port_set()
    assert [port for port in range(65536) if (ports[port >> 3] >> (port & 7) & 1) != is_open(port)] == []
    assert not is_open(0)
    assert not is_open(0, tcp=True)


def test_the_operator_opens_networks_also_private_and_own_ones() -> None:
    policy = PeerPolicy(
        ("10.1.0.0/16", "51.15.0.1/32", "51.15.0.2", "fd12::/32", "2a00:1450::9/128"), OWN, MEDIA, public=True
    )
    for host in ("10.1.2.3", "51.15.0.1", "51.15.0.2", "fd12::5", "2a00:1450::9"):
        assert policy.decide(host) is Verdict.ALLOWED
    assert policy.decide("10.2.0.1") is Verdict.FORBIDDEN
    for name in ("mapped", "translated", "NAT64", "6to4"):
        assert policy.decide(DISGUISES[name](int(ipaddress.IPv4Address("10.1.2.3")))) is Verdict.ALLOWED
        assert policy.decide(DISGUISES[name](int(ipaddress.IPv4Address("10.2.0.1")))) is Verdict.FORBIDDEN


def test_who_opens_a_network_does_not_open_the_services_of_this_machine_in_it() -> None:
    policy = PeerPolicy(("0.0.0.0/0", "::/0", "51.15.0.0/24", "192.168.0.0/16"), OWN, MEDIA)
    assert policy.decide("192.168.1.4") is Verdict.ALLOWED
    for host in ("51.15.0.1", "127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::"):
        assert policy.decide(host) is Verdict.FORBIDDEN
        for name in ("mapped", "translated", "NAT64", "6to4", "ISATAP") if "." in host else ():
            disguised = DISGUISES[name](int(ipaddress.IPv4Address(host)))
            assert policy.decide(disguised) is Verdict.FORBIDDEN, (host, name)
    assert policy.decide("51.15.0.2") is policy.decide("192.168.1.5") is Verdict.MEDIA_ONLY
    loopback = PeerPolicy(("127.0.0.0/8", "::1/128"))
    assert (
        loopback.decide("127.0.0.1") is loopback.decide("::1") is loopback.decide("::ffff:127.1.1.1") is Verdict.ALLOWED
    )


def test_who_opens_all_of_ipv6_does_not_open_ipv4_in_its_mapped_form() -> None:
    policy = PeerPolicy(("::/0",), public=True)
    assert policy.decide("fd12::1") is Verdict.ALLOWED
    assert policy.decide("10.0.0.1") is policy.decide("::ffff:10.0.0.1") is Verdict.FORBIDDEN
    assert policy.decide("::ffff:8.8.8.8") is Verdict.ALLOWED


def test_addresses_that_are_learnt_count_at_once() -> None:
    policy = PeerPolicy(public=True)
    assert policy.decide("51.15.0.1") is Verdict.ALLOWED
    policy.learn(["51.15.0.1"], [])
    assert policy.decide("51.15.0.1") is Verdict.FORBIDDEN
    policy.learn([], [("51.15.0.1", 5000)])
    assert policy.decide("51.15.0.1") is Verdict.MEDIA_ONLY


def test_what_is_remembered_is_bounded(policy: PeerPolicy) -> None:
    for number in range(MAX_REMEMBERED + 10):
        policy.decide(f"8.8.{number >> 8}.{number & 255}")
    assert len(policy._remembered) <= MAX_REMEMBERED


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "somewhere", "10.0.0.0/33"])
def test_a_network_that_is_none_is_told(wrong: str) -> None:
    with pytest.raises(ValueError):
        PeerPolicy((wrong,))
