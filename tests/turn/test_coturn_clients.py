"""Debian's coturn tools as clients: another people's TURN, over each transport, and every packet comes back.

``turnutils_uclient`` sends to ``turnutils_peer``, which echoes, and counts. It asks for a port pair and a reservation
for each client, draws channel numbers from all of RFC 5766's, and offers ``http/1.1`` before ``stun.turn`` in TLS.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
import socket
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.relay import PASSWORD, SECRET, USERS, RunningRelay, running_relay
from tests.support.server import free_port

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("turnutils_uclient") is None, reason="coturn is not installed"),
]

PATIENCE_S = 60.0
MESSAGES = 10
NO_QUOTA = ("--relay-quota", "0", "--relay-quota-address", "0")  # the tool leaves its allocations behind
TRANSPORTS: dict[str, tuple[str, ...]] = {"udp": (), "tcp": ("-t",), "tls": ("-t", "-S")}
WAYS: dict[str, tuple[str, ...]] = {
    "channels": (),
    "indications": ("-s",),
    "dont_fragment": ("-g",),
    "padded_channels": ("-D",),
    "repeated_requests": ("-G",),
    "ipv4_asked_for": ("-X",),
    "client_to_client": ("-y", "-c"),
    "large": ("-l", "1200"),
}
_users = itertools.cycle(USERS)


def somebody() -> tuple[str, ...]:
    """Lasting credentials. The tool also leaves ports reserved, of which one user may have few."""
    return ("-u", next(_users), "-w", PASSWORD)


@asynccontextmanager
async def echo(host: str) -> AsyncIterator[int]:
    """``turnutils_peer``; its port, on which it also listens one higher, as for RTCP."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *("turnutils_peer", "-L", host, "-p", str(port)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def run(*command: str) -> str:
    """What a tool has printed; it must end well."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = printed.decode(errors="replace")
    assert process.returncode == 0, text
    return text


async def returned(relay: RunningRelay, peer: int, *options: str, peer_host: str = "127.0.0.1") -> int:
    """How many packets ``turnutils_uclient`` has sent; all of them have come back."""
    text = await run(
        *("turnutils_uclient", "-p", str(relay.port), "-e", peer_host, "-r", str(peer)),
        *("-n", str(MESSAGES), "-z", "5", *options, relay.client_host),
    )
    counts = re.findall(r"tot_send_msgs=(\d+), tot_recv_msgs=(\d+)", text)
    assert counts, (options, text)
    sent, received = map(int, counts[-1])
    assert received == sent > 0, (options, text)
    assert "Total lost packets 0 " in text, (options, text)
    return sent


async def gathered(runs: Iterable[Coroutine[object, object, int]]) -> list[int]:
    """All at once: the tool waits for seconds before it sends."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in runs]
    return [task.result() for task in tasks]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def peer() -> AsyncIterator[int]:
    async with echo("127.0.0.1") as port:
        yield port


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def relay(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningRelay]:
    """With one worker: a client that moves comes back to the one that knows its ticket."""
    async with running_relay(tmp_path_factory.mktemp("relay"), *NO_QUOTA, tls=True) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wide_relay(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningRelay]:
    """With two workers."""
    async with running_relay(tmp_path_factory.mktemp("wide"), *NO_QUOTA, workers=2, tls=True) as running:
        yield running


async def test_every_packet_comes_back(relay: RunningRelay, peer: int) -> None:
    """Over UDP, TCP and TLS, in all ways."""
    before = await relay.counters()
    sent = await gathered(
        returned(relay, peer, *somebody(), *transport, *way)
        for transport, way in itertools.product(TRANSPORTS.values(), WAYS.values())
    )
    after = await relay.counters()
    for name in ("relay_to_peers", "relay_to_clients"):
        assert after[name] - before.get(name, 0) >= sum(sent), "they went through the relay"


async def test_many_clients_at_once_with_two_workers(wide_relay: RunningRelay, peer: int) -> None:
    many = ("-m", "8")
    sent = await gathered(
        returned(wide_relay, peer, *somebody(), *transport, *way, *many)
        for transport in TRANSPORTS.values()
        for way in ((), ("-s",))
    )
    assert sent == [8 * MESSAGES] * 6


async def test_a_client_that_moves_takes_its_allocation_along(relay: RunningRelay, peer: int) -> None:
    """Over TLS the tool itself crashes."""
    before = (await relay.counters()).get("relay_moved", 0)
    await gathered(returned(relay, peer, *somebody(), *TRANSPORTS[name], "-M") for name in ("udp", "tcp"))
    assert (await relay.counters())["relay_moved"] >= before + 2


async def test_time_limited_credentials_are_good_for_a_relay(relay: RunningRelay, peer: int) -> None:
    await gathered(returned(relay, peer, "-u", "visit", "-W", SECRET, *each) for each in TRANSPORTS.values())


async def test_a_wrong_password_is_good_for_nothing(relay: RunningRelay, peer: int) -> None:
    before = (await relay.counters()).get("relay_allocated", 0)
    with pytest.raises(AssertionError):
        await returned(relay, peer, "-u", USERS[0], "-w", "a guess")
    assert (await relay.counters()).get("relay_allocated", 0) == before


async def test_relayed_addresses_of_ipv6(tmp_path: Path) -> None:
    """The client speaks IPv4, its peer IPv6 (RFC 6156)."""
    if not has_ipv6():
        pytest.skip("no IPv6 on this machine")
    addresses = ("--public-ip", "127.0.0.1,::1")
    async with echo("::1") as peer, running_relay(tmp_path, *NO_QUOTA, *addresses, host="::", tls=True) as relay:
        await gathered(
            returned(relay, peer, *somebody(), *transport, "-x", peer_host="::1") for transport in TRANSPORTS.values()
        )


async def test_a_client_learns_its_address_from_stun(relay: RunningRelay) -> None:
    text = await run("turnutils_stunclient", "-p", str(relay.port), "127.0.0.1")
    assert re.search(r"UDP reflexive addr: 127\.0\.0\.1:\d+", text), text


async def test_tcp_is_relayed_between_clients(wide_relay: RunningRelay, peer: int) -> None:
    """RFC 6062: each of two clients connects to the relayed address of the other, which may be another worker's."""
    before = (await wide_relay.counters()).get("relay_relay_ports_opened", 0)
    sent = await gathered(returned(wide_relay, peer, *somebody(), "-T", *tls) for tls in ((), ("-S",)))
    assert sent == [2 * MESSAGES] * 2
    assert (await wide_relay.counters()).get("relay_relay_ports_opened", 0) == before, "none of UDP"


async def test_a_client_finds_out_how_its_nat_behaves(tmp_path: Path) -> None:
    """RFC 5780, on a machine with a second address; there is no NAT on the way to it."""
    async with running_relay(tmp_path, "--stun-alternate", "127.0.0.2") as relay:
        text = await run("turnutils_natdiscovery", "-m", "-f", "-p", str(relay.port), "-L", "127.0.0.1", "127.0.0.1")
    assert "No NAT! (Endpoint Independent Mapping)" in text, text
    assert "NAT with Endpoint Independent Filtering!" in text, text
    assert re.search(r"Other addr: : 127\.0\.0\.2:\d+", text), text


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
