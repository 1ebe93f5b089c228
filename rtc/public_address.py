"""Asks a STUN server under which address the world sees a socket of ours (RFC 8489 section 7, "Binding").

Asked once at start, from the port that media will use, because a NAT may give other ports other numbers: an answer with
another port than ours says that this network translates ports, and a candidate made of it would lead nowhere. Requests
are repeated as RFC 8489 section 6.2.1 has it, faster and for two seconds in all, since somebody waits for the start.
"""

import asyncio
import contextlib
import secrets
import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from rtc._wire import stun_parse

ANSWER_WITHIN_S: Final = 2.0
_FIRST_RETRY_S: Final = 0.2
_LONGEST_ANSWER: Final = 2048
_BINDING: Final = b"\x00\x01\x00\x00\x21\x12\xa4\x42"


@dataclass(frozen=True, slots=True)
class Seen:
    """``host`` and ``port`` as the server saw them, ``local_port`` as we sent from it."""

    host: str
    port: int
    local_port: int


async def ask(server: str, bind: str, port: int, within_s: float = ANSWER_WITHIN_S) -> Seen | None:
    """What ``server`` (``host:port``) sees of the IPv4 UDP socket at ``bind`` and ``port`` (0 = any free one).

    None when no answer came in time. OSError when the socket cannot be had.
    """
    loop = asyncio.get_running_loop()
    parts = urlsplit(f"//{server}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((bind, port))
        with contextlib.suppress(TimeoutError, socket.gaierror):
            async with asyncio.timeout(within_s):
                found = await loop.getaddrinfo(
                    parts.hostname, parts.port, family=socket.AF_INET, type=socket.SOCK_DGRAM
                )
                transaction = secrets.token_bytes(12)
                asking = asyncio.create_task(
                    _repeat(sock, _BINDING + transaction, str(found[0][4][0]), int(parts.port or 3478))
                )
                try:
                    host, seen = await _answer(sock, transaction)
                finally:
                    asking.cancel()
                return Seen(host, seen, int(sock.getsockname()[1]))
    return None


async def _repeat(sock: socket.socket, request: bytes, host: str, port: int) -> None:
    wait_s = _FIRST_RETRY_S
    while True:
        with contextlib.suppress(OSError):  # no way there yet, perhaps
            await asyncio.get_running_loop().sock_sendto(sock, request, (host, port))
        await asyncio.sleep(wait_s)
        wait_s *= 2


async def _answer(sock: socket.socket, transaction: bytes) -> tuple[str, int]:
    """Whoever knows the transaction is the server; no one else has seen it."""
    while True:
        try:
            answer, _ = await asyncio.get_running_loop().sock_recvfrom(sock, _LONGEST_ANSWER)
            message = stun_parse(answer)
        except ValueError:
            continue  # not STUN
        mapped = message["mapped"]
        if message["class"] == "success" and message["transaction"] == transaction and mapped is not None:
            return str(mapped[0]), int(mapped[1])
