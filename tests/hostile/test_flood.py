"""A live server under attack keeps its call, its memory and its log; nobody unverified gets as much as an answer."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.browser.parties import new_room
from tests.hostile.callers import MediaCall, connected_pair
from tests.support.server import RunningServer, free_port, running_server

pytestmark = pytest.mark.alone

PACKETS = 20_000


def junk(rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(0, 1500))


def forged_stun(rng: random.Random) -> bytes:
    """A well-formed Binding request with fingerprint, whose integrity nobody's password made."""
    username = rng.choice([b"aaaa:bbbb", rng.randbytes(8).hex().encode() + b":x", b":", b"a" * 500])
    padded = username + bytes(-len(username) % 4)
    attributes = struct.pack("!HH", 6, len(username)) + padded + struct.pack("!HH", 0x25, 0)
    attributes += struct.pack("!HH", 8, 20) + rng.randbytes(20)
    head = struct.pack("!HHI", 1, len(attributes) + 8, 0x2112A442) + rng.randbytes(12)
    crc = zlib.crc32(head + attributes) ^ 0x5354554E
    return head + attributes + struct.pack("!HHI", 0x8028, 4, crc)


def half_handshake(rng: random.Random) -> bytes:
    """The start of a DTLS 1.2 ClientHello record, cut anywhere."""
    body = b"\x01" + (200).to_bytes(3, "big") + b"\0\0\0\0\0" + (200).to_bytes(3, "big") + rng.randbytes(200)
    record = b"\x16\xfe\xfd\0\0" + rng.randbytes(6) + len(body).to_bytes(2, "big") + body
    return record[: rng.randrange(1, len(record) + 1)]


def fake_media(rng: random.Random) -> bytes:
    return bytes([0x80 | rng.randrange(64), rng.randrange(256)]) + rng.randbytes(rng.randrange(0, 1300))


def flood(address: tuple[str, int], make: Callable[[random.Random], bytes], seed: int) -> tuple[int, int]:
    """Send from 64 sockets; returns bytes sent and bytes that came back."""
    rng = random.Random(seed)
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(64)]
    sent = received = 0
    try:
        for s in sockets:
            s.setblocking(False)
        for i in range(PACKETS):
            data = make(rng)
            try:
                sent += sockets[i % 64].sendto(data, address)
            except BlockingIOError:
                continue
        for s in sockets:
            while True:
                try:
                    received += len(s.recv(4096))
                except BlockingIOError:
                    break
    finally:
        for s in sockets:
            s.close()
    return sent, received


async def keeps_flowing(call: MediaCall) -> None:
    """At least 90 of 100 packets sent from now on arrive at the other side."""
    before = call.received
    await call.send(100)
    await call.settle()
    assert call.received - before >= 90, f"{call.received - before} of 100 packets arrived"


@pytest.mark.parametrize("make", [junk, forged_stun, half_handshake, fake_media], ids=lambda m: m.__name__)
async def test_a_flood_of_datagrams_costs_nobody_the_call(
    tmp_path: Path, make: Callable[[random.Random], bytes]
) -> None:
    media_port = free_port()
    async with running_server(tmp_path, "--media-port", str(media_port)) as server, connected_pair(server.url) as call:
        await keeps_flowing(call)
        await asyncio.to_thread(flood, ("127.0.0.1", media_port), make, 1)  # warm: pools and caches fill once
        memory, log = server.resident_kib(), server.log.stat().st_size
        attack = asyncio.create_task(asyncio.to_thread(flood, ("127.0.0.1", media_port), make, 2))
        await keeps_flowing(call)
        sent, received = await attack
        await keeps_flowing(call)
        assert sent > 0
        assert received == 0, "an unverified sender got an answer"
        assert server.resident_kib() - memory < 2048
        assert server.log.stat().st_size - log < 4096


MALFORMED: list[tuple[Any, str]] = [
    ("{", "bad_json"),
    ("[]", "bad_message"),
    ('"join"', "bad_message"),
    ("null", "bad_message"),
    ('{"type":"dance","id":1}', "unknown_type"),
    ('{"id":1}', "bad_message"),
    ('{"type":"join"}', "bad_message"),
    ('{"type":"join","id":-1,"token":"x","offer":"","tracks":[]}', "bad_message"),
    ('{"type":"join","id":1,"token":5,"offer":"","tracks":[]}', "bad_message"),
    ('{"type":"join","id":1,"token":"x","offer":"v=0","tracks":[]}', "bad_token"),
    ('{"type":"mute","id":1,"mid":"0","muted":true}', "not_joined"),
    ('{"type":"resume","id":1,"session":"x","secret":"y","seen":0}', "unknown_session"),
    ("[" * 50_000, "bad_json"),
    (b"\x00\xff\x00", "bad_message"),
]


@pytest.mark.parametrize("frame,code", MALFORMED, ids=range(len(MALFORMED)))
async def test_bad_signalling_gets_its_code_and_costs_nobody_else(
    hostile_server: RunningServer, frame: str | bytes, code: str
) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{hostile_server.url}/v1/signal", protocols=["wadud.v1"]) as ws,
    ):
        await (ws.send_bytes(frame) if isinstance(frame, bytes) else ws.send_str(frame))
        answer = await ws.receive_json(timeout=5)
        assert (answer["type"], answer["code"]) == ("error", code)
        assert answer["message"]


async def test_a_storm_of_bad_sockets_costs_nobody_the_call(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server, connected_pair(server.url) as call:
        rng = random.Random(3)

        async def attack(http: aiohttp.ClientSession) -> None:
            for _ in range(10):
                try:
                    async with http.ws_connect(f"{server.url}/v1/signal", protocols=["wadud.v1"]) as ws:
                        for _ in range(rng.randrange(1, 30)):
                            await ws.send_str(
                                rng.choice(["{", "x" * 200_000, '{"type":"join","id":1}', os.urandom(50).hex()])
                            )
                        if rng.random() < 0.5:
                            await ws.receive(timeout=5)
                except (aiohttp.ClientError, ConnectionError):
                    continue

        async with aiohttp.ClientSession() as http:
            await asyncio.gather(*(attack(http) for _ in range(10)))
            memory, log = server.resident_kib(), server.log.stat().st_size
            await asyncio.gather(*(attack(http) for _ in range(20)), keeps_flowing(call))
        await keeps_flowing(call)
        assert server.resident_kib() - memory < 8192
        assert server.log.stat().st_size - log < 64 * 1024
        assert (await new_room(server.url))["room"]
