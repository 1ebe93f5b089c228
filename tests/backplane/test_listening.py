"""Where the server listens and what it calls itself."""

import asyncio
import os
import signal
import ssl
from pathlib import Path

import aiohttp
import pytest

from backplane import listening
from backplane.listening import certificate, known_addresses, renewed
from backplane.settings import Settings
from backplane.startup import StartError
from backplane.tls import ServerTls
from rtc.public_address import Seen
from tests.support.port import ALLOCATE, ended, until
from tests.support.port import certificate as make_certificate
from tests.support.server import running_server


class Stun:
    """A STUN server that answers ``seen``."""

    def __init__(self, seen: Seen | None) -> None:
        self.seen = seen
        self.asked: list[tuple[str, str, int]] = []

    async def __call__(self, server: str, bind: str, port: int) -> Seen | None:
        self.asked.append((server, bind, port))
        return self.seen


STUN = "stun.example.org:3478"


@pytest.fixture
def private(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a public IPv4 address."""
    monkeypatch.setattr(listening, "interface_addresses", lambda: ["10.0.0.1", "2001:4860::8"])


@pytest.mark.usefixtures("private")
async def test_the_answer_of_a_stun_server_is_told_like_public_ip() -> None:
    stun = Stun(Seen("8.8.4.4", 9000, 9000))
    found = await known_addresses(Settings(host="::", media_port=9000, stun_server=STUN), stun)
    assert (found.bind, found.advertised, found.warnings) == ("::", ("8.8.4.4", "2001:4860::8"), ())
    assert stun.asked == [(STUN, "0.0.0.0", 9000)]


@pytest.mark.usefixtures("private")
async def test_translated_ports_are_a_warning() -> None:
    stun = Stun(Seen("8.8.4.4", 31234, 9000))
    found = await known_addresses(Settings(host="0.0.0.0", media_port=9000, stun_server=STUN), stun)
    assert found.advertised == ("8.8.4.4",)
    assert "UDP 9000 leaves it as 31234" in found.warnings[0]


@pytest.mark.usefixtures("private")
@pytest.mark.parametrize(
    "seen, said", [(None, "did not answer"), (Seen("10.9.9.9", 9000, 9000), "is in our own network")]
)
async def test_without_a_useful_answer_the_operator_is_told(seen: Seen | None, said: str) -> None:
    found = await known_addresses(Settings(host="0.0.0.0", stun_server=STUN), Stun(seen))
    assert found.advertised == ("10.0.0.1",)
    assert said in found.warnings[0]
    assert "--public-ip" in found.warnings[1]


@pytest.mark.usefixtures("private")
async def test_nobody_is_asked_when_the_address_is_known_or_no_server_is_named() -> None:
    stun = Stun(None)
    await known_addresses(Settings(host="0.0.0.0"), stun)
    await known_addresses(Settings(host="0.0.0.0", stun_server=STUN, public_ip=("203.0.113.5",)), stun)
    await known_addresses(Settings(host="8.8.8.8", stun_server=STUN), stun)
    assert stun.asked == []


async def test_a_certificate_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    addresses = await known_addresses(Settings(), Stun(None))
    with pytest.raises(StartError, match="cannot be read"):
        certificate(Settings(certificate=tmp_path / "absent.pem"), addresses)
    with pytest.raises(StartError, match="no such address"):
        await known_addresses(Settings(host="nobody.invalid"), Stun(None))


async def test_a_hangup_signal_reads_the_certificate_again(tmp_path: Path) -> None:
    tls = ServerTls(*make_certificate(tmp_path))
    before = tls.context
    async with renewed(tls):
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: tls.context is not before)
    assert tls.counters["reloaded"] == 1
    async with renewed(None):
        pass


async def test_everything_is_served_on_one_port_with_a_try_out_certificate(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, "--self-signed", "--no-relay") as server,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http,
    ):
        host = server.url.removeprefix("https://")
        trust = ssl.create_default_context(cafile=str(tmp_path / "data" / "tls" / "certificate.pem"))
        async with http.get(f"https://{host}/", ssl=trust) as answer:
            assert answer.status == 200
            assert f"wss://{host}" in answer.headers["Content-Security-Policy"]
        async with http.post(f"https://{host}/v1/rooms", ssl=trust) as answer:
            assert answer.status in (200, 201)
        async with http.ws_connect(f"https://{host}/v1/signal", ssl=trust, protocols=["wadud.v1"]) as web_socket:
            assert not web_socket.closed
        for path in ("/", "/v1/signal", "//elsewhere.example/x?y=1", "/nothing"):
            async with http.get(f"http://{host}{path}", allow_redirects=False) as answer:
                assert answer.status == 308
                assert answer.headers["Location"] == f"https://{host}/{path.lstrip('/')}"
        for path in ("/healthz", "/readyz"):
            async with http.get(f"http://{host}{path}", allow_redirects=False) as answer:
                assert answer.status == 200
        name, _, number = host.partition(":")
        reader, writer = await asyncio.open_connection(name, int(number), ssl=trust)
        writer.write(ALLOCATE)
        assert await ended(reader)  # nobody takes TURN
        writer.close()
        async with http.get(f"http://{host}/metrics") as answer:
            text = await answer.text()
        assert 'wadud_connections_dropped_total{reason="unwanted"} 1.0' in text
        assert 'wadud_port_events_total{event="certificate_reload_failed"} 0.0' in text
        assert 'wadud_connections_total{kind="https"}' in text
