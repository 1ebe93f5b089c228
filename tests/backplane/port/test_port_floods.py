"""Clients that are silent, slow, malformed or many cost the shared port little, and nobody else anything."""

import asyncio
import socket
from pathlib import Path

import aiohttp
import pytest

from backplane.shared_port import Limits
from tests.support.port import (
    ALLOCATE,
    FRAME,
    QUICK,
    client_tls,
    ended,
    plain,
    secured,
    until,
    world,
)

# the hook that it names would change the names of all tests of this folder
pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")


@pytest.mark.parametrize(
    "first, reason",
    [
        (b"", "silent"),
        (b"\x00\x03\x00", "silent"),
        (FRAME[:40], "silent"),
        (b"\xff" * 600, "malformed"),
        (b"\x16\x03\x01\x00\x05hello", "tls_failed"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "tls_slow"),
    ],
)
async def test_silent_slow_and_malformed_clients_are_dropped(folder: Path, first: bytes, reason: str) -> None:
    async with world(folder, QUICK) as here, plain(here.number) as sock:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, first)
        async with asyncio.timeout(5):
            try:
                while await loop.sock_recv(sock, 4096):  # TLS says an alert
                    pass
            except ConnectionError:
                pass
        await until(lambda: here.dropped() == {reason: 1})
        assert here.port.undecided == 0


@pytest.mark.parametrize(
    "first, reason", [(b"", "tls_silent"), (b"\x00\x03", "tls_silent"), (b"\x16\x03\x01", "tls_malformed")]
)
async def test_inside_tls_they_are_dropped_too(folder: Path, first: bytes, reason: str) -> None:
    async with world(folder, QUICK) as here, secured(here.number, folder) as (reader, writer):
        writer.write(first)
        async with asyncio.timeout(5):
            assert await ended(reader)
        assert here.dropped() == {reason: 1}
        assert here.port.undecided == 0


@pytest.mark.parametrize("first", [b"", b"\x00\x03\x00", b"\x16\x03\x01\x02\x00\x01\x00"])
async def test_a_client_that_leaves_early_is_forgotten_at_once(folder: Path, first: bytes) -> None:
    async with world(folder) as here:
        async with plain(here.number) as sock:
            await asyncio.get_running_loop().sock_sendall(sock, first)
            await until(lambda: here.port.undecided == 1)
        await until(lambda: here.port.undecided == 0)
        assert here.dropped() == {"left": 1}


async def test_a_client_that_drips_bytes_is_dropped_at_the_deadline_all_the_same() -> None:
    loop = asyncio.get_running_loop()
    async with world(None, QUICK) as here, plain(here.number) as sock:

        async def drip() -> None:
            for _ in range(50):
                await loop.sock_sendall(sock, ALLOCATE[:1])
                await asyncio.sleep(0.1)

        with pytest.raises(ConnectionError):
            await drip()
        assert here.dropped() == {"silent": 1}


async def test_waiting_for_more_bytes_does_not_keep_the_processor_busy() -> None:
    loop = asyncio.get_running_loop()
    async with world() as here, plain(here.number) as sock:
        await loop.sock_sendall(sock, ALLOCATE[:7])
        await until(lambda: here.port.undecided == 1)
        looks = 0
        arrival = next(iter(here.port._undecided))
        look = type(arrival).look

        def counted(self: object) -> None:
            nonlocal looks
            looks += 1
            look(self)  # type: ignore[arg-type]

        type(arrival).look = counted  # type: ignore[method-assign, assignment]
        try:
            await asyncio.sleep(0.1)
        finally:
            type(arrival).look = look  # type: ignore[method-assign]
        assert looks <= 2


async def test_a_flood_of_silent_connections_does_not_keep_a_good_client_out(
    folder: Path, session: aiohttp.ClientSession, capfd: pytest.CaptureFixture[str]
) -> None:
    limits = Limits(undecided=100, undecided_per_prefix=40)
    openings = [b"", b"\x16\x03\x01\x02\x00\x01\x00", b"\x00\x03"]
    async with world(folder, limits, host="0.0.0.0") as here:
        loop = asyncio.get_running_loop()
        flood: list[socket.socket] = []
        for number in range(300):
            sock = socket.socket()
            sock.setblocking(False)
            sock.bind((f"127.0.{number % 10}.1", 0))
            await loop.sock_connect(sock, ("127.0.0.1", here.number))
            await loop.sock_sendall(sock, openings[number % 3])
            flood.append(sock)
            if number % 50 == 49:
                async with session.get(
                    f"https://localhost:{here.number}/", ssl=client_tls(folder), headers={"Connection": "close"}
                ) as answer:
                    assert answer.status == 200
        await until(lambda: here.port.undecided <= 100)
        assert here.port.dropped["crowded"] >= 190
        for sock in flood:
            sock.close()
        await until(lambda: here.port.undecided == 0)
        assert here.port._of_prefix == {}
    assert capfd.readouterr().err == ""


async def test_one_prefix_pushes_out_its_own_only() -> None:
    async with world(None, Limits(undecided_per_prefix=3), host="0.0.0.0") as here, plain(here.number) as other:
        await until(lambda: here.port.undecided == 1)
        crowd = []
        for _ in range(5):
            sock = socket.socket()
            sock.bind(("127.0.9.9", 0))
            sock.connect(("127.0.0.1", here.number))
            crowd.append(sock)
        await until(lambda: here.port.dropped["crowded"] == 2)
        await asyncio.get_running_loop().sock_sendall(other, ALLOCATE)
        (await here.handed()).sock.close()
        for sock in crowd:
            sock.close()
