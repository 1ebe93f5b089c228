"""Who takes part in a scenario, and the servers that can let them in.

A scenario is a shape (so many receivers of one publisher, or two people who both publish) and how many rooms of it. A
server that implements `Server` joins one endpoint after the other; `fill` connects them, several at a time, and hands
them to the load generator.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backplane.certificates import self_signed
from benchmarks.endpoint import Endpoint
from benchmarks.generator import Generator
from rtc._dtls import Identity

_AT_ONCE = 8
PACKETS_PER_S = 260  # that one publisher sends: 7 per frame and 50 of audio


@dataclass(frozen=True, slots=True)
class Scenario:
    """``rooms`` rooms, each of one publisher and ``subscribers`` receivers; 0 subscribers = two who both publish."""

    name: str
    rooms: int
    subscribers: int

    @property
    def sources(self) -> int:
        return self.rooms * (1 if self.subscribers else 2)

    @property
    def receivers(self) -> int:
        """Of each source."""
        return self.subscribers or 1

    @property
    def forwarded_per_s(self) -> int:
        """Packets that a server sends in this scenario."""
        return self.sources * self.receivers * PACKETS_PER_S


class Server(Protocol):
    """A server process on a core of its own."""

    name: str
    crypto: str
    """The library that the limit beside it uses, see `benchmarks.limit.measure_limit`."""

    async def start(self, cpu: int, directory: Path) -> int:
        """Returns the process id."""

    async def join_publisher(self, room: str, identity: Identity) -> list[Endpoint]:
        """One participant who publishes and does not receive."""

    async def join_subscriber(self, room: str, identity: Identity) -> list[Endpoint]:
        """One who receives the room's publisher."""

    async def join_pair(self, room: str, identity: Identity) -> list[Endpoint]:
        """Two who publish and receive each other."""

    async def stop(self) -> None: ...


async def fill(
    server: Server, scenario: Scenario, generator: Generator, progress: Callable[[str], None]
) -> list[Endpoint]:
    """Everybody of the scenario connected and added to the generator."""
    identity = Identity(*self_signed(time.time()))
    room_at_once = asyncio.Semaphore(_AT_ONCE if not scenario.subscribers else max(1, _AT_ONCE // 4))
    done = 0

    async def furnish(room: str) -> list[Endpoint]:
        nonlocal done
        async with room_at_once:
            if not scenario.subscribers:
                people = await server.join_pair(room, identity)
            else:
                people = await server.join_publisher(room, identity)
                person_at_once = asyncio.Semaphore(4)

                async def subscribe() -> list[Endpoint]:
                    async with person_at_once:
                        return await server.join_subscriber(room, identity)

                for joined in await asyncio.gather(*(subscribe() for _ in range(scenario.subscribers))):
                    people += joined
            for endpoint in people:
                assert endpoint.keys is not None
                fd, keys, sender = endpoint.socket.fileno(), endpoint.keys, endpoint.sender
                generator.add(fd, keys, sender, endpoint.check, endpoint.password)
            done += 1
            progress(f"{scenario.name}: {server.name}, {done} of {scenario.rooms} rooms connected")
            return people

    rooms = (f"{scenario.name.replace(' ', '-')}-{number}" for number in range(scenario.rooms))
    return [endpoint for people in await asyncio.gather(*map(furnish, rooms)) for endpoint in people]
