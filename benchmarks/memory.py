"""Memory of the server process per participant: resident size of the whole product before and after a crowd is in.

Two-person rooms of browser-like participants (three audio and eight video slots) over the real signalling. "Idle" is
everybody connected, nobody sending, the handshakes not yet let go; "sending" is everybody publishing audio and video
until every packet cache has been filled.
"""

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from backplane.certificates import self_signed
from benchmarks import process
from benchmarks.generator import Generator
from benchmarks.product import Participant, Product
from benchmarks.rounds import SERVER_CPU
from rtc._dtls import Identity

_AT_ONCE = 8
_FILL_S = 5.0  # a video cache holds about 2.5 s


@dataclass(frozen=True, slots=True)
class Memory:
    participants: int
    idle_kib: float
    sending_kib: float


async def measure_memory(rooms: int) -> Memory:
    """Resident KiB per participant of ``rooms`` two-person rooms."""
    identity = Identity(*self_signed(time.time()))
    with tempfile.TemporaryDirectory(prefix="wadud-memory-") as directory:
        async with Product(SERVER_CPU, Path(directory)) as product:
            at_once = asyncio.Semaphore(_AT_ONCE)

            async def furnish() -> list[Participant]:
                async with at_once:
                    room = await product.make_room()
                    return [await product.join(room, identity) for _ in range(2)]

            for person in await furnish():  # the first join loads what is loaded lazily
                await product.leave(person)
            empty = process.resident_kib(product.pid)
            people = [person for pair in await asyncio.gather(*(furnish() for _ in range(rooms))) for person in pair]
            idle = process.resident_kib(product.pid) - empty
            sending = await _sending(people, product) - empty
            for person in people:
                await product.leave(person)
    return Memory(len(people), idle / len(people), sending / len(people))


async def _sending(people: list[Participant], product: Product) -> float:
    generator = Generator(spin=False)
    for person in people:
        endpoint = person.endpoint
        assert endpoint.keys is not None
        fd, keys, sender = endpoint.socket.fileno(), endpoint.keys, endpoint.sender
        generator.add(fd, keys, sender, endpoint.check, endpoint.password, 0)
    generator.sending(0)
    totals = await generator.run_beside(_FILL_S)
    resident = process.resident_kib(product.pid)
    generator.close()
    if not totals["received"]:
        raise ConnectionError("nothing was forwarded")
    return resident
