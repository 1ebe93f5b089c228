"""Certificates of the server: read again when they change, made when there are none."""

import asyncio
import os
import ssl
import stat
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from backplane.certificates import self_signed
from backplane.tls import ServerTls, TlsError, try_out_certificate
from tests.support.port import certificate, client_tls, secured, until, world

_YEAR_S = 365 * 86400


def serial(writer: asyncio.StreamWriter) -> int:
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(der).serial_number


def serial_of(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


async def test_a_new_certificate_is_used_for_new_connections_and_old_ones_live_on(tmp_path: Path) -> None:
    path, _ = certificate(tmp_path)
    first = serial_of(path)
    async with world(tmp_path) as here:
        assert here.port.tls is not None
        watching = asyncio.create_task(here.port.tls.watch(0.01))
        async with secured(here.number, tmp_path) as (old_reader, old_writer):
            assert serial(old_writer) == first
            certificate(tmp_path)
            tls = here.port.tls
            await until(lambda: tls.counters["reloaded"] == 1)
            async with secured(here.number, tmp_path) as (_, writer):
                assert serial(writer) == serial_of(path) != first
            old_writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await old_reader.readline() == b"HTTP/1.1 200 OK\r\n"
        watching.cancel()


def test_a_pair_that_does_not_fit_keeps_the_old_one_until_it_is_whole(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, key = certificate(tmp_path)
    tls = ServerTls(path, key)
    context = tls.context
    assert not tls.reload_when_changed()
    other, other_key = self_signed(time.time(), ["localhost"])
    path.write_bytes(other)  # a renewal tool writes the one, then the other
    assert not tls.reload_when_changed()
    path.write_bytes(b"")
    assert not tls.reload_when_changed()
    path.unlink()
    assert not tls.reload_when_changed()
    assert tls.context is context
    path.write_bytes(other)
    key.write_bytes(other_key)
    assert tls.reload_when_changed()
    assert tls.context is not context
    assert tls.counters == {"reloaded": 1, "reload_failed": 3}
    assert not tls.reload_when_changed()


def test_links_that_are_swapped_are_noticed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        certificate(tmp_path / name)
    (tmp_path / "live").symlink_to("one")
    tls = ServerTls(tmp_path / "live" / "certificate.pem", tmp_path / "live" / "key.pem")
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(tmp_path / "live")
    assert tls.reload_when_changed()


def test_certificate_and_key_may_stand_in_one_file(tmp_path: Path) -> None:
    made, key = self_signed(time.time(), ["localhost"])
    (tmp_path / "both.pem").write_bytes(made + key)
    assert ServerTls(tmp_path / "both.pem").context


def test_what_is_wrong_at_the_start_is_said(tmp_path: Path) -> None:
    path, key = certificate(tmp_path)
    with pytest.raises(TlsError, match=r"absent\.pem cannot be read \(No such file"):
        ServerTls(path, tmp_path / "absent.pem")
    other = tmp_path / "other.pem"
    other.write_bytes(self_signed(time.time())[1])
    with pytest.raises(TlsError, match=r"other\.pem is not the private key of"):
        ServerTls(path, other)
    with pytest.raises(TlsError, match="not a certificate and its private key in PEM form"):
        ServerTls(key, path)
    private = load_pem_private_key(key.read_bytes(), None)
    locked = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hemlock"))
    other.write_bytes(locked)
    with pytest.raises(TlsError, match="encrypted"):
        ServerTls(path, other)


@pytest.mark.parametrize(
    "version, ciphers, welcome",
    [
        (ssl.TLSVersion.TLSv1_3, None, True),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256", True),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA", False),
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0", False),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_only_modern_tls_is_spoken(
    tmp_path: Path, version: ssl.TLSVersion, ciphers: str | None, welcome: bool
) -> None:
    certificate(tmp_path)
    context = client_tls(tmp_path)
    if ciphers:
        context.set_ciphers(ciphers)
    context.minimum_version = context.maximum_version = version
    async with world(tmp_path) as here:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", here.number, ssl=context)
            writer.transport.abort()
            welcomed = True
        except (ssl.SSLError, ConnectionError):
            welcomed = False
        assert welcomed is welcome


@pytest.mark.parametrize(
    "offered, chosen",
    [
        (("h2", "http/1.1"), "http/1.1"),
        (("stun.turn",), "stun.turn"),
        (("http/1.1", "stun.turn", "stun.nat-discovery"), "stun.turn"),  # as coturn's tools do
        (("h2",), None),
        ((), None),
    ],
)
async def test_alpn_chooses_what_we_speak(tmp_path: Path, offered: tuple[str, ...], chosen: str | None) -> None:
    certificate(tmp_path)
    async with world(tmp_path) as here, secured(here.number, tmp_path, *offered) as (_, writer):
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == chosen


def test_a_try_out_certificate_is_kept_and_good_for_its_names(tmp_path: Path) -> None:
    names = ["::", "call.example.org", "203.0.113.5"]
    now = time.time()
    path, key = try_out_certificate(tmp_path, names, now)
    made = path.read_bytes()
    assert stat.S_IMODE(os.stat(key).st_mode) == 0o600  # noqa: PTH116
    good_for = x509.load_pem_x509_certificate(made).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert {str(name.value) for name in good_for.value} == {
        "call.example.org",
        "203.0.113.5",
        "localhost",
        "127.0.0.1",
        "::1",
    }
    assert try_out_certificate(tmp_path, names[:1], now)[0].read_bytes() == made
    assert try_out_certificate(tmp_path, [*names, "2001:db8::5"], now)[0].read_bytes() != made
    made = path.read_bytes()
    assert try_out_certificate(tmp_path, names, now + _YEAR_S - 10 * 86400)[0].read_bytes() != made
    path.write_bytes(b"broken")
    assert ServerTls(*try_out_certificate(tmp_path, names, now)).context
    assert sorted(item.name for item in (tmp_path / "tls").iterdir()) == ["certificate.pem", "key.pem"]
