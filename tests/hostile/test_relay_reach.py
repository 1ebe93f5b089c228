"""Through a real relay nobody reaches what listens on its machine, by whatever name the kernel would find it.

One socket stands for all services: it hears every address of this machine. The same packets do arrive where an operator
has opened the address, so the test would see them.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from backplane.addresses import interface_addresses
from backplane.certificates import self_signed
from rtc._dtls import Identity
from rtc.peer import Peer, PeerOptions
from tests.hostile.relay_world import HOST, UDP, Relay, TurnSocket, relay_alone, relay_inside, use_credentials
from turn import attributes as names

pytestmark = pytest.mark.alone

PUBLIC = ("203.0.113.9", "2001:db8::9")  # ours, as the world knows us
OWN = (interface_addresses() or [HOST])[0]
NAMES = {
    "loopback": "127.0.0.1",
    "loopback elsewhere": "127.9.9.9",
    "no address": "0.0.0.0",
    "loopback of IPv6": "::1",
    "no address of IPv6": "::",
    "mapped loopback": "::ffff:127.0.0.1",
    "mapped no address": "::ffff:0.0.0.0",
    "compatible loopback": "::127.0.0.1",
    "translated loopback": "::ffff:0:127.0.0.1",
    "NAT64 loopback": "64:ff9b::7f00:1",
    "local NAT64 loopback": "64:ff9b:1::7f00:1",
    "6to4 loopback": "2002:7f00:1::1",
    "ISATAP loopback": "fe80::5efe:7f00:1",
    "an interface": OWN,
    "a mapped interface": f"::ffff:{OWN}",
    "our public address": PUBLIC[0],
    "our mapped public address": f"::ffff:{PUBLIC[0]}",
    "our public address of IPv6": PUBLIC[1],
}


@pytest.fixture
def service() -> Iterator[socket.socket]:
    """Hears every address of this machine, of both families."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", 0))
        yield sock


def arrived(service: socket.socket, wait_s: float) -> bytes | None:
    service.settimeout(wait_s)
    with suppress(TimeoutError):
        return service.recv(2048)
    return None


def approach(client: TurnSocket, host: str, port: int, number: int) -> tuple[int, int]:
    """By permission and indication, and by a channel, whatever the answers to the requests are; these are returned."""
    permitted, bound = client.permit((host, port)), client.bind(number, (host, port))
    client.indicate((host, port), b"indicated")
    client.sock.send(struct.pack("!HH", number, 8) + b"channels")
    return permitted, bound


def test_the_kernel_takes_some_of_those_names_for_this_machine(service: socket.socket) -> None:
    port = service.getsockname()[1]
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six:
        for name in ("loopback of IPv6", "no address of IPv6", "mapped loopback", "a mapped interface"):
            six.sendto(b"direct", (NAMES[name], port))
            assert arrived(service, 5) == b"direct", name
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as four:
        for name in ("loopback", "loopback elsewhere", "no address", "an interface"):
            four.sendto(b"direct", (NAMES[name], port))
            assert arrived(service, 5) == b"direct", name


def options() -> list[str]:
    return ["--public-ip", ",".join(PUBLIC)]


async def test_a_relay_leads_to_no_service_of_its_machine(tmp_path: Path, service: socket.socket) -> None:
    port = service.getsockname()[1]

    def attempt(relay: Relay) -> None:
        client = TurnSocket((HOST, relay.port))
        try:
            client.allocate(both=True)
            for number, (name, host) in enumerate(NAMES.items()):
                assert approach(client, host, port, 0x4000 + number) == (403, 403), name
                assert arrived(service, 0.05) is None, name
            client.ask(names.REFRESH)
            assert arrived(service, 0.3) is None
        finally:
            client.close()

    everything = "0.0.0.0/0,::/0"  # a thoughtless operator; loopback and our own addresses are not meant all the same
    async with relay_alone(tmp_path, *options(), allow="10.99.0.0/16", host="::") as relay:
        await asyncio.to_thread(attempt, relay)
    async with relay_alone(tmp_path, *options(), allow=everything, host="::") as relay:
        client = TurnSocket((HOST, relay.port))
        await asyncio.to_thread(client.allocate, both=True)
        for number, (name, host) in enumerate(NAMES.items()):
            if "compatible" not in name:  # which is an address of IPv6 like others then, and leads nowhere
                await asyncio.to_thread(approach, client, host, port, 0x4000 + number)
        assert await asyncio.to_thread(arrived, service, 0.5) is None
        client.close()


async def test_it_leads_where_the_operator_has_opened_the_way(tmp_path: Path, service: socket.socket) -> None:
    port = service.getsockname()[1]
    async with relay_alone(tmp_path, *options(), allow="127.0.0.1,::1", host="::") as relay:
        client = TurnSocket((HOST, relay.port))
        await asyncio.to_thread(client.allocate, both=True)
        for number, host in enumerate(("127.0.0.1", "::1")):
            assert await asyncio.to_thread(approach, client, host, port, 0x4000 + number) == (0, 0)
            assert {arrived(service, 5), arrived(service, 5)} == {b"indicated", b"channels"}
        assert await asyncio.to_thread(client.permit, ("::ffff:127.0.0.1", port)) == 0
        client.indicate(("::ffff:127.0.0.1", port), b"mapped")
        assert arrived(service, 5) == b"mapped"
        assert await asyncio.to_thread(client.permit, ("127.0.0.2", port)) == 403
        client.close()


async def test_beside_our_media_only_the_media_ports_are_reached(
    tmp_path: Path, service: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The permission is granted, for the host is where media are; it goes no further than to their ports."""
    for name, value in use_credentials("10.99.0.0/16").items():
        monkeypatch.setenv(name, value)
    port = service.getsockname()[1]
    async with relay_inside(tmp_path) as relay:
        client, other = TurnSocket((HOST, relay.port)), TurnSocket((HOST, relay.port), "user1")
        await asyncio.to_thread(client.allocate)
        there = await asyncio.to_thread(other.allocate)
        assert await asyncio.to_thread(other.permit, (HOST, 9)) == 0
        assert await asyncio.to_thread(approach, client, HOST, port, 0x4000) == (0, 403)
        assert arrived(service, 0.5) is None
        assert await asyncio.to_thread(client.bind, 0x4001, (HOST, relay.port)) == 0
        assert await asyncio.to_thread(client.bind, 0x4002, there) == 403, "from relay to relay"
        client.indicate(there, os.urandom(20))
        for host in ("127.0.0.2", "::ffff:127.0.0.1", "0.0.0.0"):
            permitted, bound = await asyncio.to_thread(approach, client, host, port, 0x4003)
            assert {permitted, bound} <= {403, 443}, host
        other.sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            other.sock.recv(2048)
        assert arrived(service, 0.1) is None
        client.close()
        other.close()


async def test_credentials_of_a_call_end_with_it_and_come_again_with_the_next(tmp_path: Path) -> None:
    async with relay_inside(tmp_path) as relay, aiohttp.ClientSession(f"http://{HOST}:{relay.tcp}") as http:
        async with http.post("/v1/rooms") as answer:
            token = (await answer.json())["host_token"]

        async def credentials() -> tuple[str, str]:
            async with http.post("/v1/ice-servers", headers={"Authorization": f"Bearer {token}"}) as answer:
                [server] = (await answer.json())["ice_servers"]
                return server["username"], server["credential"]

        async def call(client: TurnSocket) -> int:
            """Allocate, join and leave; what a Refresh says then, which ends an allocation that is still there."""
            async with http.ws_connect("/v1/signal", protocols=["wadud.v1"]) as ws:
                await ws.send_json({"type": "join", "id": 1, "token": token, "offer": offer, "tracks": []})
                assert (await ws.receive_json(timeout=10))["type"] == "joined"
                assert (await asyncio.to_thread(client.ask, names.REFRESH))[0] == 0
                await ws.send_json({"type": "leave", "id": 2})
                await ws.receive_json(timeout=10)
            async with asyncio.timeout(10):
                while await relay.metric("relay_allocations"):  # noqa: ASYNC110 - the server offers no event for it
                    await asyncio.sleep(0.05)
            return (await asyncio.to_thread(client.ask, names.REFRESH))[0]

        offer = Peer(Identity(*self_signed(time.time())), random.Random(1), PeerOptions()).offer()
        for _ in range(2):
            user, password = await credentials()
            client = TurnSocket((HOST, relay.port), user, password=password)
            await asyncio.to_thread(client.allocate)
            assert await call(client) == 401
            wish = [(names.REQUESTED_TRANSPORT, UDP)]
            assert (await asyncio.to_thread(client.ask, names.ALLOCATE, wish))[0] == 401
            client.close()
