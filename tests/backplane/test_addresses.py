"""Where media sockets listen and what browsers are told."""

import ipaddress
from pathlib import Path

import pytest

from backplane.addresses import interface_addresses, media_addresses
from backplane.arguments import serve_parser
from backplane.certificates import self_signed
from backplane.settings import Settings


def test_behind_loopback_media_are_reached_from_every_address_of_the_machine() -> None:
    addresses = media_addresses("127.0.0.1", (), ["192.0.2.7"])
    assert (addresses.bind, addresses.advertised, addresses.warnings) == ("0.0.0.0", ("127.0.0.1", "192.0.2.7"), ())


def test_help_says_that_loopback_does_not_hold_media_back() -> None:
    text = " ".join(serve_parser().format_help().split())
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


def test_a_name_is_not_an_address() -> None:
    with pytest.raises(ValueError):
        media_addresses("localhost", (), [])


def test_the_machine_knows_its_addresses() -> None:
    for address in interface_addresses():
        parsed = ipaddress.IPv4Address(address)
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
