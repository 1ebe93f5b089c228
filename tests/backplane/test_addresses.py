"""Where media sockets listen and what browsers are told."""

import ipaddress
from pathlib import Path

import pytest

from backplane.addresses import (
    every_address,
    interface_addresses,
    lasting_ipv6,
    local_ipv4,
    local_ipv6,
    media_addresses,
)
from backplane.arguments import SERVE
from backplane.certificates import self_signed
from backplane.settings import Settings


def test_behind_loopback_media_are_reached_from_every_address_of_the_machine() -> None:
    addresses = media_addresses("127.0.0.1", (), ["192.0.2.7"])
    assert (addresses.bind, addresses.advertised, addresses.warnings) == ("0.0.0.0", ("127.0.0.1", "192.0.2.7"), ())


def test_help_says_that_loopback_does_not_hold_media_back() -> None:
    text = " ".join(SERVE.parser().format_help().split())
    assert "media then listen on all interfaces" in text
    assert "It listens on all interfaces unless --host names one that is not loopback" in text


def test_behind_a_proxy_on_loopback_media_take_the_public_way() -> None:
    addresses = media_addresses("::1", ["198.51.100.9"], [])
    assert (addresses.bind, addresses.advertised) == ("::", ("198.51.100.9",))


def test_one_address_is_bound_and_told() -> None:
    assert media_addresses("203.0.113.5", (), ["10.0.0.1"]).advertised == ("203.0.113.5",)


def test_a_public_address_is_told_whatever_is_bound() -> None:
    addresses = media_addresses("0.0.0.0", ["198.51.100.9"], ["10.0.0.1"])
    assert (addresses.bind, addresses.advertised, addresses.warnings) == ("0.0.0.0", ("198.51.100.9",), ())
    assert media_addresses("10.0.0.1", ["198.51.100.9"], []).bind == "10.0.0.1"


def test_all_interfaces_means_the_addresses_of_the_machine_public_ones_first() -> None:
    addresses = media_addresses("0.0.0.0", (), ["10.0.0.1", "8.8.8.8", "192.168.1.4"])
    assert addresses.advertised == ("8.8.8.8", "10.0.0.1", "192.168.1.4")
    assert addresses.warnings == ()


def test_only_private_addresses_are_a_warning_with_advice() -> None:
    addresses = media_addresses("0.0.0.0", (), ["10.0.0.1"])
    assert addresses.advertised == ("10.0.0.1",)
    assert "--public-ip" in addresses.warnings[0]


def test_a_machine_without_network_still_serves_itself() -> None:
    addresses = media_addresses("0.0.0.0", (), [])
    assert addresses.advertised == ("127.0.0.1",)
    assert addresses.warnings


def test_a_host_of_many_addresses_does_not_tell_them_all() -> None:
    assert len(media_addresses("0.0.0.0", (), [f"10.0.0.{n}" for n in range(1, 100)]).advertised) == 4


def test_the_ipv6_wildcard_means_both_families() -> None:
    addresses = media_addresses("::", (), ["10.0.0.1", "8.8.8.8", "fd00::7", "2001:4860::8"])
    assert addresses.advertised == ("8.8.8.8", "2001:4860::8", "10.0.0.1", "fd00::7")
    assert (addresses.bind, addresses.warnings, addresses.unsure) == ("::", (), False)
    assert media_addresses("0.0.0.0", (), ["10.0.0.1", "2001:4860::8"]).advertised == ("10.0.0.1",)


def test_a_public_address_takes_the_place_of_its_family_only() -> None:
    own = ["10.0.0.1", "fd00::7", "2001:4860::8"]
    assert media_addresses("::", ["198.51.100.9"], own).advertised == ("198.51.100.9", "2001:4860::8")
    both = media_addresses("::", ["198.51.100.9", "2001:db8::9"], own)
    assert (both.advertised, both.warnings) == (("198.51.100.9", "2001:db8::9"), ())


def test_a_public_address_of_a_family_that_is_not_listened_on_is_a_warning() -> None:
    addresses = media_addresses("0.0.0.0", ["198.51.100.9", "2001:db8::9"], [])
    assert addresses.advertised == ("198.51.100.9",)
    assert "2001:db8::9 is never used" in addresses.warnings[0]


@pytest.mark.parametrize(
    "host, public_ip, own, unsure",
    [
        ("0.0.0.0", (), ["10.0.0.1"], True),
        ("127.0.0.1", (), ["10.0.0.1"], True),
        ("10.0.0.1", (), [], True),
        ("::", (), ["10.0.0.1", "2001:4860::8"], True),
        ("0.0.0.0", (), ["8.8.8.8", "10.0.0.1"], False),
        ("0.0.0.0", ("198.51.100.9",), ["10.0.0.1"], False),
        ("2001:4860::8", (), ["10.0.0.1"], False),
    ],
)
def test_a_stun_server_is_worth_asking_where_no_public_address_is_known(
    host: str, public_ip: tuple[str, ...], own: list[str], unsure: bool
) -> None:
    assert media_addresses(host, public_ip, own).unsure is unsure


def test_of_ipv6_only_lasting_addresses_of_global_scope_are_told() -> None:
    table = """\
00000000000000000000000000000001 01 80 10 80       lo
fe80000000000000021122fffe334455 02 40 20 80     eth0
20014860000000000000000000000008 02 40 00 80     eth0
20014860000000000000000000000009 02 40 00 01     eth0
2001486000000000000000000000000a 02 40 00 60     eth0
"""
    assert lasting_ipv6(table) == ["2001:4860::8"]
    assert local_ipv6(table) == ["::1", "fe80::211:22ff:fe33:4455", *(f"2001:4860::{digit}" for digit in "89a")]


def test_secondary_addresses_and_those_of_local_routes_are_ours_too() -> None:
    table = """\
Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 203.0.113.5
           /32 host LOCAL
        |-- 203.0.113.9
           /32 host LOCAL
        |-- 203.0.113.255
           /32 link BROADCAST
"""
    assert local_ipv4(table) == ["127.0.0.1", "203.0.113.5", "203.0.113.9"]
    assert every_address() >= {"127.0.0.1", *interface_addresses()}


def test_a_name_is_not_an_address() -> None:
    with pytest.raises(ValueError):
        media_addresses("localhost", (), [])


def test_the_machine_knows_its_addresses() -> None:
    for address in interface_addresses():
        parsed = ipaddress.ip_address(address)
        assert not parsed.is_loopback
        assert not parsed.is_link_local


@pytest.mark.parametrize(
    "settings, media_port, url",
    [
        (Settings(), 8080, "http://127.0.0.1:8080"),
        (Settings(port=9000), 9000, "http://127.0.0.1:9000"),
        (Settings(port=9000, media_port=0), 0, "http://127.0.0.1:9000"),
        (Settings(host="::1", media_port=7000), 7000, "http://[::1]:8080"),
        (Settings(port=443, self_signed=True), 443, "https://127.0.0.1:443"),
        (Settings(host="::", certificate=Path("chain.pem")), 8080, "https://[::]:8080"),
    ],
)
def test_settings_derive_media_port_and_url(settings: Settings, media_port: int, url: str) -> None:
    assert (settings.first_media_port, settings.url) == (media_port, url)


def test_certificates_are_small_elliptic_and_different() -> None:
    one, key = self_signed(1_800_000_000)
    two, _ = self_signed(1_800_000_000)
    assert one != two
    assert len(one) < 700
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----")
