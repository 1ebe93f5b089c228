"""Asking a STUN server who we are."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from rtc._wire import stun_parse, stun_success
from rtc.public_address import Seen, ask

Answer = Callable[[bytes, tuple[str, int]], list[bytes]]


@asynccontextmanager
async def stun_server(answer: Answer) -> AsyncIterator[str]:
    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
            for reply in answer(data, source):
                self.transport.sendto(reply, source)  # type: ignore[attr-defined]

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    host, port = transport.get_extra_info("sockname")
    yield f"{host}:{port}"
    transport.close()


def mapped(data: bytes, address: tuple[str, int]) -> bytes:
    return stun_success(stun_parse(data)["transaction"], address, b"secret of nobody")


async def test_the_address_and_port_that_the_server_sees_are_told() -> None:
    async with stun_server(lambda data, source: [mapped(data, ("203.0.113.5", source[1]))]) as server:
        seen = await ask(server, "0.0.0.0", 0)
    assert seen is not None
    assert seen == Seen("203.0.113.5", seen.local_port, seen.local_port)


async def test_a_lost_question_is_asked_again_and_foreign_answers_are_passed_over() -> None:
    questions: list[bytes] = []

    def answer(data: bytes, source: tuple[str, int]) -> list[bytes]:
        questions.append(data)
        forged = stun_success(bytes(12), ("192.0.2.66", 1), b"secret of nobody")
        return [b"junk", data, forged] + ([mapped(data, source)] if len(questions) == 3 else [])

    async with stun_server(answer) as server:
        seen = await ask(server, "127.0.0.1", 0)
    assert seen is not None
    assert seen.host == "127.0.0.1"
    assert questions[0] == questions[2]


async def test_nobody_answers_in_time() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        assert await ask(f"127.0.0.1:{silent.getsockname()[1]}", "127.0.0.1", 0, within_s=0.3) is None
    assert await ask("nobody.invalid:3478", "127.0.0.1", 0, within_s=1) is None
