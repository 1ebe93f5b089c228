"""TCP allocations and NAT discovery through a whole node: real workers, the shared port, coturn's clients."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from backplane.shared_port import SharedPort
from backplane.tls import ServerTls
from rtc._worker import Worker
from tests.support.port import certificate, until
from turn.credentials import Credentials
from turn.discovery import Places
from turn.loop import RelayLoop
from turn.node import RelayConfig, RelayNode
from turn.relay import TurnSettings

pytestmark = pytest.mark.skipif(shutil.which("turnutils_uclient") is None, reason="needs coturn's tools")


@asynccontextmanager
async def whole_node(folder: Path | None = None) -> AsyncIterator[tuple[RelayNode, int]]:
    config = RelayConfig(
        Credentials("wadud", {"nurse": "pass word"}, None),
        relayed=["127.0.0.1"],
        ports=(20000, 29999),
        allow=["127.0.0.0/8"],
        settings=TurnSettings(answer_binding=True),
    )
    with ExitStack() as stack:
        workers = []
        for index in range(2):
            number = workers[0].port if workers else 0
            workers.append(Worker(address="127.0.0.1", port=number, index=index, shared_port=True))
            stack.callback(workers[-1].close)
        node = RelayNode(workers, config)
        stack.callback(node.close)
        stack.enter_context(RelayLoop(node, workers).running())
        with socket.socket(type=socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.2", 0))
            alternate = free.getsockname()
        node.discover(Places(("127.0.0.1", workers[0].port), alternate), wildcard=False)
        tls = ServerTls(folder / "certificate.pem", folder / "key.pem") if folder else None
        port = SharedPort(None, tls)
        port.turn = node.adopt_turn
        port.listen("127.0.0.1", workers[0].port)
        try:
            yield node, workers[0].port
        finally:
            await port.close()


async def run(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return output


@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
async def test_tcp_allocations_through_a_whole_node(tmp_path: Path, secure: bool) -> None:
    certificate(tmp_path)
    async with whole_node(tmp_path if secure else None) as (node, port):
        output = await run(
            *("turnutils_uclient", "-T", "-y", "-n", "20", "-l", "200", "-u", "nurse", "-w", "pass word"),
            *(("-S",) if secure else ("-m", "4")),  # it loses its way with several TLS handshakes at once
            *("-p", str(port), "127.0.0.1"),
        )
        assert b"Total lost packets 0 " in output, output
        assert node.counters()["relay_data_bound"] >= (2 if secure else 4)
        await until(lambda: not len(node.tcp.peers))  # bytes are counted when connections end
        assert node.counters()["relay_tcp_bytes_to_clients"] == node.counters()["relay_tcp_bytes_to_peers"] > 0


@pytest.mark.parametrize("way, finding", [("-m", b"Independent Mapping"), ("-f", b"Independent Filtering")])
async def test_nat_discovery_through_a_whole_node(way: str, finding: bytes) -> None:
    async with whole_node() as (_, port):
        output = await run("turnutils_natdiscovery", way, "-p", str(port), "-L", "127.0.0.1", "127.0.0.1")
        assert finding in output
