"""aioice's TURN client over UDP, TCP and TLS: by itself to an echo, and below a whole ICE session."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio
from aioice import Connection, TransportPolicy, ice
from aioice.turn import create_turn_endpoint

from tests.support.relay import ANYBODY, PASSWORD, USERS, RunningRelay, running_relay

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

PATIENCE_S = 30.0
TRANSPORTS: dict[str, tuple[str, ssl.SSLContext | bool]] = {
    "udp": ("udp", False),
    "tcp": ("tcp", False),
    "tls": ("tcp", ANYBODY),
}


class Echo(asyncio.DatagramProtocol):
    """Answers, and remembers who has asked."""

    def __init__(self) -> None:
        self.asked: set[tuple[str, int]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked.add(addr)
        self._transport.sendto(data[::-1], addr)


class Inbox(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: asyncio.Queue[tuple[bytes, tuple[str, int]]] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.received.put_nowait((data, addr))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[1, 2], ids=["one_worker", "two_workers"])
async def relay(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningRelay]:
    async with running_relay(tmp_path_factory.mktemp("relay"), workers=request.param, tls=True) as running:
        yield running


@pytest.mark.parametrize("way", TRANSPORTS)
async def test_datagrams_of_any_length_go_both_ways(relay: RunningRelay, way: str) -> None:
    transport, tls = TRANSPORTS[way]
    loop = asyncio.get_running_loop()
    server, echo = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    peer = server.get_extra_info("sockname")
    try:
        client, inbox = await create_turn_endpoint(
            Inbox, (relay.host, relay.port), username=USERS[0], password=PASSWORD, ssl=tls, transport=transport
        )
        try:
            for length in (1, 2, 3, 4, 5, 160, 1200):
                sent = bytes(number & 0xFF for number in range(length))
                client.sendto(sent, peer)
                async with asyncio.timeout(PATIENCE_S):
                    assert await inbox.received.get() == (sent[::-1], peer)
            assert echo.asked == {client.get_extra_info("sockname")}, "they came from the relayed address"
        finally:
            client.close()
    finally:
        server.close()


@pytest.mark.parametrize("way", TRANSPORTS)
async def test_an_ice_session_over_a_relayed_candidate(
    relay: RunningRelay, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport, tls = TRANSPORTS[way]
    turn: dict[str, Any] = {
        "turn_server": (relay.host, relay.port),
        "turn_username": USERS[0],
        "turn_password": PASSWORD,
        "turn_transport": transport,
        "turn_ssl": tls,
    }
    monkeypatch.setattr(ice, "get_host_addresses", lambda **_: ["127.0.0.1"])
    near = Connection(ice_controlling=True, transport_policy=TransportPolicy.RELAY, **turn)
    far = Connection(ice_controlling=False)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(near.gather_candidates(), far.gather_candidates())
            assert {each.type for each in near.local_candidates} == {"relay"}
            for one, other in ((near, far), (far, near)):
                for candidate in [*one.local_candidates, None]:
                    await other.add_remote_candidate(candidate)
            near.remote_username, near.remote_password = far.local_username, far.local_password
            far.remote_username, far.remote_password = near.local_username, near.local_password
            await asyncio.gather(near.connect(), far.connect())
            for number in range(20):
                await near.send(b"from behind the relay %d" % number)
                assert await far.recv() == b"from behind the relay %d" % number
                await far.send(b"from outside %d" % number)
                assert await near.recv() == b"from outside %d" % number
    finally:
        with suppress(ConnectionError):
            await near.close()
        await far.close()
