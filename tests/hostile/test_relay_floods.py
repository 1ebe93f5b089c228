"""A relay under attack goes on serving, alone and inside the server: its client's packets, its pages, and a call. Its
memory and its log stay, and nobody who has not shown an address to be theirs gets much more than they sent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.hostile.callers import MediaCall, connected_pair
from tests.hostile.relay_attacks import (
    CONNECTION_ATTACKS,
    DATAGRAM_ATTACKS,
    UNFINISHED,
    Result,
    data_for_no_channel,
    forged_integrity,
    junk,
    silent_inside_tls,
    to_a_relayed_port,
)
from tests.hostile.relay_world import Flow, Relay, flow_through, relay_alone, relay_inside, use_credentials
from tests.support import clock

LEAST_SHARE = 0.95
GROWTH_KIB = 6 * 1024
CONNECTIONS_KIB = 24 * 1024  # a handshake that is under way needs 50 KiB
LOG_BYTES = 4096
ALLOWANCE, ALLOWANCE_PER_S, EVERYBODYS_PER_S = 2400, 600, 40_000  # relay_gate.c
LEAST_S = 0.5

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]

ALLOWED = "127.0.0.1/32,8.8.0.0/16"  # the second for attacks by permissions; no packet goes there


@dataclass
class Target:
    relay: Relay
    flow: Flow
    call: MediaCall | None
    slow: list[socket.socket]  # who began to say something when all began


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["alone", "inside"])
async def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    """A relay in use; an attack must leave it as good as it was."""
    folder = tmp_path_factory.mktemp("relay")
    async with AsyncExitStack() as stack:
        if request.param == "alone":
            relay = await stack.enter_async_context(relay_alone(folder, allow=ALLOWED))
            call = None
        else:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in use_credentials(ALLOWED).items():
                    patch.setenv(name, value)
                relay = await stack.enter_async_context(relay_inside(folder))
            call = await stack.enter_async_context(connected_pair(f"http://127.0.0.1:{relay.tcp}"))
        slow = []
        for beginning in (b"", b"GET /healthz HTTP/1.1\r\nHost: ", UNFINISHED[:6], UNFINISHED):
            slow.append(stack.enter_context(socket.create_connection(("127.0.0.1", relay.tcp))))
            slow[-1].sendall(beginning)
        yield Target(relay, await stack.enter_async_context(flow_through(relay)), call, slow)


async def pages(relay: Relay, attack: asyncio.Task[object]) -> float:
    """Ask for one until the attack is over; the longest that it took, in seconds."""
    slowest = 0.0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        while True:
            began = clock.now()
            assert await relay.healthy(http)
            slowest = max(slowest, clock.now() - began)
            if attack.done():
                return slowest
            await asyncio.sleep(0.1)


async def call_goes_on(call: MediaCall) -> float:
    before = call.received
    await call.send(100)
    await call.settle()
    return (call.received - before) / 100


async def under(target: Target, attack: Callable[[], Result], growth_kib: int = GROWTH_KIB) -> Result:
    """What the attack got; everybody else is served meanwhile."""
    memory, log = target.relay.resident_kib(), target.relay.log.stat().st_size
    attacking = asyncio.create_task(asyncio.to_thread(attack))
    talking = [call_goes_on(target.call)] if target.call else []
    share, slowest, *heard = await asyncio.gather(
        target.flow.run(attacking, LEAST_S), pages(target.relay, attacking), *talking
    )
    result = await attacking
    growth, logged = target.relay.resident_kib() - memory, target.relay.log.stat().st_size - log
    print(f"{share:.1%} {heard} {slowest * 1000:.0f} ms, {growth:+} KiB, {logged:+} log, {result}")
    assert share >= LEAST_SHARE, f"{share:.0%} of the relayed packets came back"
    assert all(each >= LEAST_SHARE for each in heard), f"{heard} of the call's packets arrived"
    assert growth <= growth_kib, f"{growth} KiB more"
    assert logged <= LOG_BYTES
    return result


UNANSWERED = (data_for_no_channel, junk)


@pytest.mark.parametrize("attack", DATAGRAM_ATTACKS, ids=lambda each: each.__name__)
async def test_a_flood_of_datagrams_costs_nobody_else_anything(
    target: Target, attack: Callable[[Relay], Result]
) -> None:
    allocations = await target.relay.metric("relay_allocations")
    result = await under(target, lambda: attack(target.relay))
    assert result.sent > 0
    assert result.successes == 0
    if attack is not forged_integrity:  # its addresses have shown that they are theirs
        assert result.most_beyond <= ALLOWANCE + ALLOWANCE_PER_S * (result.took_s + 1)
        assert result.received <= result.sent + EVERYBODYS_PER_S * (result.took_s + 1)
    if attack in UNANSWERED:
        assert result.received == 0
    if attack is not data_for_no_channel:  # whose own allocation stays
        assert await target.relay.metric("relay_allocations") == allocations


async def test_data_of_strangers_at_a_relayed_port_ends_there(target: Target) -> None:
    result = await under(target, lambda: to_a_relayed_port(target.flow.relayed))
    assert result.sent > 0 == result.received


@pytest.mark.parametrize("attack", CONNECTION_ATTACKS, ids=lambda each: each.__name__)
async def test_connections_that_come_to_no_point_cost_nobody_else_anything(
    target: Target, attack: Callable[[Relay], Result]
) -> None:
    await under(target, lambda: attack(target.relay), growth_kib=CONNECTIONS_KIB)


async def test_silence_inside_tls_costs_nobody_else_anything(target: Target) -> None:
    if target.relay.tls:
        await under(target, lambda: silent_inside_tls(target.relay), growth_kib=CONNECTIONS_KIB)


async def test_who_never_finishes_has_been_cut_meanwhile(target: Target) -> None:
    """By deadline, for which the attacks before gave time."""

    def is_cut(sock: socket.socket) -> bool:
        sock.settimeout(25)
        try:
            return sock.recv(1) == b""
        except ConnectionResetError:
            return True

    for sock in target.slow:
        assert await asyncio.to_thread(is_cut, sock)


async def test_it_may_open_as_many_connections_as_the_system_lets_it(target: Target) -> None:
    limits = Path(f"/proc/{target.relay.pid}/limits").read_text()
    [line] = [line.split() for line in limits.splitlines() if line.startswith("Max open files")]
    assert line[3] == line[4]
