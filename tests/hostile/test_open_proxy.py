"""Whoever gets relay credentials, and anybody does, gets no way into the internet with them.

A caller without an account on one machine, our server with its default settings on another, and on a third, which has
public addresses, somebody listens on ports that relays are abused for. What arrives there was relayed.
"""

from __future__ import annotations

import asyncio
import json
import re
import select
import socket
import struct
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.hostile.relay_world import TCP, TurnSocket, TurnStream, relay_alone
from tests.network.internet import OUTSIDE, SERVER, Internet, internet
from tests.support.namespaces import Namespace, unavailable
from tests.support.server import RunningServer, running_server
from turn import attributes as names
from turn.stun import Address

pytestmark = [pytest.mark.alone, pytest.mark.network]

PUBLIC = "9.9.9.9"
ABUSED = (25, 53, 123, 443, 1900, 5432, 11211)
FREE = (40000, 49999)
ARRIVES_S, NOTHING_S = 5.0, 0.2
SENT = {b"indicated", b"channels"}
T = TypeVar("T")


@pytest.fixture(scope="module")
def world() -> Iterator[Internet]:
    if why_not := unavailable():
        pytest.skip(why_not)
    with internet() as made:
        made.core.ip(f"route add {PUBLIC}/32 via {OUTSIDE}")
        made.outside.ip(f"addr add {PUBLIC}/32 dev lo")
        yield made


class Services:
    """Everything that listens on the public address, over UDP and TCP."""

    def __init__(self, outside: Namespace, stack: ExitStack) -> None:
        self.datagrams: dict[int, socket.socket] = {}
        self.streams: dict[int, socket.socket] = {}
        for port in (*ABUSED, *FREE):
            for sockets, kind in ((self.datagrams, socket.SOCK_DGRAM), (self.streams, socket.SOCK_STREAM)):
                sockets[port] = stack.enter_context(outside.socket(socket.AF_INET, kind))
                sockets[port].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == socket.SOCK_STREAM)
                sockets[port].bind((PUBLIC, port))
                sockets[port].settimeout(ARRIVES_S)
            self.streams[port].listen()

    def reached(self) -> tuple[set[int], set[int]]:
        """The ports at which something has arrived and was not taken, over UDP and over TCP."""
        ready, _, _ = select.select([*self.datagrams.values(), *self.streams.values()], [], [], 0)
        if not ready:
            ready, _, _ = select.select([*self.datagrams.values(), *self.streams.values()], [], [], NOTHING_S)
        return tuple(  # type: ignore[return-value]
            {port for port, sock in sockets.items() if sock in ready} for sockets in (self.datagrams, self.streams)
        )

    def take(self, port: int) -> set[bytes]:
        """The two messages of `approach`."""
        return {self.datagrams[port].recv(2048), self.datagrams[port].recv(2048)}

    def accept(self, port: int) -> None:
        self.streams[port].accept()[0].close()


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody without an account, who has made a room to get relay credentials."""

    user: str
    password: str
    udp: Address
    tcp: Address
    within: Namespace

    def over_udp(self) -> TurnSocket:
        with self.within.entered():
            return TurnSocket(self.udp, self.user, OUTSIDE, self.password)

    def over_tcp(self) -> TurnStream:
        with self.within.entered():
            return TurnStream(self.tcp, self.user, OUTSIDE, self.password)


def post(path: str, token: str | None = None) -> Any:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(path, b"{}", headers, method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def metric(url: str, name: str) -> int:
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        found = re.search(rf'^wadud_worker_events_total{{event="{name}"}} (\d+)', answer.read().decode(), re.MULTILINE)
    return int(found[1]) if found else 0


@contextmanager
def visiting(world: Internet, server: RunningServer) -> Iterator[tuple[Caller, Services, str]]:
    port = int(server.url.rpartition(":")[2])
    url = f"http://{SERVER}:{port}"
    with world.outside.entered():
        [given] = post(f"{url}/v1/ice-servers", post(f"{url}/v1/rooms")["host_token"])["ice_servers"]
    with ExitStack() as stack:
        caller = Caller(given["username"], given["credential"], (SERVER, port), (SERVER, port), world.outside)
        yield caller, Services(world.outside, stack), url


def approach(client: TurnSocket, port: int, number: int) -> tuple[int, int]:
    """By permission and indication and by a channel, whatever the answers are; these are returned."""
    peer = (PUBLIC, port)
    permitted, bound = client.permit(peer), client.bind(number, peer)
    client.indicate(peer, b"indicated")
    client.sock.send(struct.pack("!HH", number, 8) + b"channels")
    return permitted, bound


async def attempted(attempt: Callable[[], T]) -> T:
    return await asyncio.to_thread(attempt)


async def test_by_default_nobody_on_the_internet_is_reached_and_our_media_are(world: Internet, tmp_path: Path) -> None:
    def attempt() -> None:
        with visiting(world, server) as (caller, services, url):
            client = caller.over_udp()
            client.allocate()
            answers = {port: approach(client, port, 0x4000 + at) for at, port in enumerate((*ABUSED, *FREE))}
            stream = caller.over_tcp()
            code, _, _ = stream.ask(names.ALLOCATE, [(names.REQUESTED_TRANSPORT, TCP)])
            if code == 0:
                for port in (*ABUSED, *FREE):
                    stream.connect((PUBLIC, port))
            assert services.reached() == (set(), set())
            assert set(answers.values()) == {(403, 403)}
            assert code == 442, "media are received over UDP, so nobody is reached over TCP"
            assert client.bind(0x4100, caller.udp) == 0
            client.sock.send(struct.pack("!HH", 0x4100, 8) + b"\x80" + bytes(7))
            client.ask(names.REFRESH)
            with world.outside.entered():
                assert metric(url, "relay_handed_over") == 1
            client.close()
            stream.close()

    async with running_server(tmp_path, "--host", "0.0.0.0", "--public-ip", SERVER, within=world.server) as server:
        await attempted(attempt)


async def test_an_open_internet_is_open_for_media_and_not_for_abuse(world: Internet, tmp_path: Path) -> None:
    def attempt() -> None:
        with visiting(world, server) as (caller, services, url):
            client, stream = caller.over_udp(), caller.over_tcp()
            client.allocate()
            assert stream.ask(names.ALLOCATE, [(names.REQUESTED_TRANSPORT, TCP)])[0] == 0
            for at, port in enumerate((*FREE, *ABUSED)):
                open_udp, open_tcp = port in (*FREE, 443, 5432), port in FREE
                assert approach(client, port, 0x4000 + at) == (0, 0 if open_udp else 403), port
                assert stream.connect((PUBLIC, port)) == (0 if open_tcp else 403), port
                if open_udp:
                    assert services.take(port) == SENT, port
                if open_tcp:
                    services.accept(port)
            assert services.reached() == (set(), set())
            for private in ("10.0.0.1", "127.0.0.1", "169.254.169.254", SERVER, OUTSIDE):
                assert client.bind(0x4200, (private, 40000)) == 403, private
                assert stream.connect((private, 40000)) == 403, private
            with world.outside.entered():
                assert metric(url, "relay_to_peers") == 2 * len((*FREE, 443, 5432))
            client.close()
            stream.close()

    options = ("--host", "0.0.0.0", "--public-ip", SERVER, "--relay-peers", "public")
    async with running_server(tmp_path, *options, within=world.server) as server:
        await attempted(attempt)


async def test_another_node_is_reached_at_its_media_ports(world: Internet, tmp_path: Path) -> None:
    def attempt() -> None:
        with visiting(world, server) as (caller, services, _):
            client = caller.over_udp()
            client.allocate()
            for at, port in enumerate((443, *FREE, 53)):
                media = port in (443, 40000)
                assert approach(client, port, 0x4000 + at) == (0, 0 if media else 403), port
                if media:
                    assert services.take(port) == SENT, port
            assert services.reached() == (set(), set())
            services.datagrams[53].sendto(b"unasked", client.allocated)
            services.datagrams[443].sendto(b"media", client.allocated)
            client.sock.settimeout(ARRIVES_S)
            assert client.sock.recv(2048)[4:9] == b"media"
            client.close()

    nodes = f"{PUBLIC}:443,{PUBLIC}:40000-40001"
    options = ("--host", "0.0.0.0", "--public-ip", SERVER, "--relay-nodes", nodes)
    async with running_server(tmp_path, *options, within=world.server) as server:
        await attempted(attempt)


async def test_a_relay_alone_says_that_it_reaches_nobody_until_it_is_told_whom(tmp_path: Path) -> None:
    async with relay_alone(tmp_path, allow="") as relay:
        assert "reaches nobody" in relay.log.read_text()
        client = TurnSocket(("127.0.0.1", relay.port))
        await attempted(client.allocate)
        for peer in ((PUBLIC, 40000), ("127.0.0.1", relay.port)):
            assert await attempted(lambda peer=peer: client.bind(0x4000, peer)) == 403  # type: ignore[misc]
        client.close()
