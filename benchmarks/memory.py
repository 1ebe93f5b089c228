"""Memory of the server process per participant: resident size of the whole product before and after a crowd is in.

    python benchmarks/memory.py [--rooms N] [--rest SECONDS]

Two-person rooms of browser-like participants (three audio and eight video slots) over the real signalling. "Idle" is
everybody connected, nobody sending, at once after the last join (or after --rest); "peak" is the most that it was while
they came, eight at a time; "sending" is everybody publishing audio and video until every packet cache has been filled.
`benchmarks/forwarding.py` measures the same.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backplane.certificates import self_signed
from benchmarks import process
from benchmarks.generator import Generator
from benchmarks.product import Participant, Product
from benchmarks.rounds import SERVER_CPU
from rtc._dtls import Identity

_AT_ONCE = 8
_FILL_S = 5.0  # a video cache holds about 2.5 s
_CHECK_INTERVAL_S = 2.5


@dataclass(frozen=True, slots=True)
class Memory:
    participants: int
    idle_kib: float
    sending_kib: float
    peak_kib: float = 0.0
    """Most while the participants joined."""


async def measure_memory(rooms: int, rest_s: float = 0.0) -> Memory:
    """Resident KiB per participant of ``rooms`` two-person rooms. The idle ones are left alone for `rest_s` first, but
    for the checks that keep their consent (RFC 7675)."""
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
            process.forget_peak(product.pid)
            people = [person for pair in await asyncio.gather(*(furnish() for _ in range(rooms))) for person in pair]
            peak = process.peak_kib(product.pid) - empty
            for _ in range(round(rest_s / _CHECK_INTERVAL_S)):
                await asyncio.sleep(_CHECK_INTERVAL_S)
                for person in people:
                    person.endpoint.socket.send(person.endpoint.check)
            idle = process.resident_kib(product.pid) - empty
            sending = await _sending(people, product) - empty
            for person in people:
                await product.leave(person)
    return Memory(len(people), idle / len(people), sending / len(people), peak / len(people))


async def _sending(people: list[Participant], product: Product) -> float:
    generator = Generator(spin=False)
    for person in people:
        endpoint = person.endpoint
        assert endpoint.keys is not None
        fd, keys, sender = endpoint.socket.fileno(), endpoint.keys, endpoint.sender
        generator.add(fd, keys, sender, endpoint.check, endpoint.password)
    totals = await generator.run_beside(_FILL_S)
    resident = process.resident_kib(product.pid)
    generator.close()
    if not totals["received"]:
        raise ConnectionError("nothing was forwarded")
    return resident


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rooms", type=int, default=50, help="of two people (default: %(default)s)")
    parser.add_argument("--rest", type=float, default=0.0, metavar="SECONDS", help="idle before it is measured")
    options = parser.parse_args(argv)
    process.end_as_by_ctrl_c()
    with process.alone():
        found = asyncio.run(measure_memory(options.rooms, options.rest))
    print(
        f"{found.participants} participants, KiB of the server process for each: {found.idle_kib:,.1f} idle,"
        f" {found.peak_kib:,.1f} at the peak of joining, {found.sending_kib:,.1f} sending"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
