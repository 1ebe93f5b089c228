"""What several server processes tell each other and remember together, behind one interface with two bodies.

`LocalBus` serves a single process, `redis_bus.RedisBus` many; the same tests hold for both. Three things are on offer,
with different promises:

- **Topics** are for live views. Whoever listens now gets what is published now; a slow listener loses messages and is
  told so by `GAP`, which also follows an interruption. The truth is in the database, so a listener reads it anew then.
- **Streams** carry events to groups of consumers: every group sees every entry, inside a group one consumer gets it and
  must acknowledge. What is not acknowledged can be claimed by another one. Entries live as long as some group still
  needs them; the bus may nevertheless lose its memory (a restart), which `incarnation` tells, and the outbox repeats.
- **Shared small state**: a value with an end, and a rate limit (GCRA). Nothing that must be exact lives here.
"""

import asyncio
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

QUEUE_LENGTH: Final = 256
# A stream longer than this is a group that does not keep up: the outbox waits in Postgres instead (`OutboxPublisher`).
STREAM_LENGTH: Final = 100_000
MAX_KEYS: Final = 200_000
# Received on a topic: messages may have been missed, read the state anew.
GAP: Final = b""


class BusUnavailable(Exception):
    """The bus cannot be reached now. It reconnects by itself."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a consumer got of a stream. ``deliveries`` counts from 1."""

    id: str
    body: bytes
    deliveries: int = 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """Answer of the rate limit, true when it is a yes; otherwise a next try makes sense after ``retry_after_s``."""

    allowed: bool
    retry_after_s: float = 0.0

    def __bool__(self) -> bool:
        return self.allowed


class Subscription:
    """Messages of one topic, in order: ``async for message in subscription``. Holds the last `QUEUE_LENGTH`."""

    def __init__(self, length: int = QUEUE_LENGTH) -> None:
        self._messages: deque[bytes] = deque()
        self._length = length
        self._arrived = asyncio.Event()

    def put(self, message: bytes) -> None:
        """Never waits: with a full queue the oldest are replaced by one `GAP`."""
        if len(self._messages) >= self._length:
            self._messages.clear()
            self._messages.append(GAP)
        if message != GAP or not self._messages or self._messages[-1] != GAP:
            self._messages.append(message)
        self._arrived.set()

    async def get(self) -> bytes:
        """The next message, or `GAP`."""
        while not self._messages:
            self._arrived.clear()
            await self._arrived.wait()
        return self._messages.popleft()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield await self.get()


class Bus(Protocol):
    """Methods raise `BusUnavailable` unless they say otherwise."""

    async def publish(self, topic: str, *messages: bytes) -> None:
        """Tells all who listen, in this order. Never raises for an unreachable bus: live views may miss what the
        database has. ValueError: a message is empty."""

    def subscribe(self, topic: str) -> AbstractAsyncContextManager[Subscription]:
        """Listens as long as the block runs; when it is entered, what is published from then on arrives."""

    async def append(self, stream: str, entries: Sequence[bytes]) -> None:
        """Adds entries in this order. After an error some, all or none of them may be there."""

    async def length(self, stream: str) -> int:
        """Entries that the stream holds."""

    async def join(self, stream: str, group: str) -> None:
        """Makes the group if need be; a new one gets all that the stream still holds."""

    async def leave(self, stream: str, group: str) -> None:
        """Removes the group for good, with what it has not seen."""

    async def take(self, stream: str, group: str, consumer: str, count: int, wait_s: float) -> list[Entry]:
        """Up to ``count`` entries that the group has not seen; waits for the first one at most ``wait_s``."""

    async def claim(self, stream: str, group: str, consumer: str, count: int, idle_s: float) -> list[Entry]:
        """Takes over entries that somebody of the group has had for ``idle_s`` without acknowledging."""

    async def acknowledge(self, stream: str, group: str, ids: Sequence[str]) -> None:
        """The group is done with these."""

    async def trim(self, stream: str) -> None:
        """Drops what every group has acknowledged; without a group, all but the last `STREAM_LENGTH` / 2."""

    async def incarnation(self) -> str:
        """Another text than before when the streams may have been lost in between."""

    async def set_until(self, key: str, value: bytes, seconds: float) -> None:
        """Remembers the value for that long."""

    async def get(self, key: str) -> bytes | None:
        """The value, unless its time is over."""

    async def allow(self, key: str, rate_per_s: float, burst: int) -> Verdict:
        """Whether ``key`` may go on: ``burst`` times at once, ``rate_per_s`` in the long run (GCRA). Never raises:
        without the bus every process limits on its own. The bus's own clock counts, and one that is set back makes
        nobody wait longer."""

    async def close(self) -> None:
        """Ends connections and tasks."""


class Limiter:
    """The generic cell rate algorithm in memory: per key the theoretical time at which the next one would be due.
    ``now`` is in monotonic seconds."""

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self._due: OrderedDict[str, float] = OrderedDict()
        self._max_keys = max_keys

    def allow(self, key: str, rate_per_s: float, burst: int, now: float) -> Verdict:
        interval_s = 1.0 / rate_per_s
        due = max(self._due.get(key, now), now)
        wait_s = due + interval_s - burst * interval_s - now
        if wait_s > 1e-6:
            return Verdict(False, wait_s)
        self._due[key] = due + interval_s
        self._due.move_to_end(key)
        if len(self._due) > self._max_keys:
            self._due.popitem(last=False)
        return Verdict(True)


@dataclass(slots=True)
class _Pending:
    consumer: str
    taken_at: float
    deliveries: int


@dataclass(slots=True)
class _Group:
    last_seen: int = 0
    pending: dict[int, _Pending] = field(default_factory=dict)


class _Stream:
    def __init__(self) -> None:
        self.entries: OrderedDict[int, bytes] = OrderedDict()
        self.last = 0
        self.groups: dict[str, _Group] = {}
        self.grown = asyncio.Event()

    def group(self, name: str) -> _Group:
        return self.groups.setdefault(name, _Group())


class LocalBus:
    """The bus of a single process; it forgets everything with it. ``clock`` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._incarnation = secrets.token_hex(8)
        self._listeners: dict[str, set[Subscription]] = {}
        self._streams: dict[str, _Stream] = {}
        self._values: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._limiter = Limiter()

    async def publish(self, topic: str, *messages: bytes) -> None:
        if not all(messages):
            raise ValueError("an empty message means a gap")
        for message in messages:
            for subscription in self._listeners.get(topic, ()):
                subscription.put(message)

    @asynccontextmanager
    async def subscribe(self, topic: str) -> AsyncIterator[Subscription]:
        subscription = Subscription()
        self._listeners.setdefault(topic, set()).add(subscription)
        try:
            yield subscription
        finally:
            self._listeners[topic].discard(subscription)
            if not self._listeners[topic]:
                del self._listeners[topic]

    async def append(self, stream: str, entries: Sequence[bytes]) -> None:
        target = self._stream(stream)
        for body in entries:
            target.last += 1
            target.entries[target.last] = body
        target.grown.set()

    async def length(self, stream: str) -> int:
        return len(self._stream(stream).entries)

    async def join(self, stream: str, group: str) -> None:
        self._stream(stream).group(group)

    async def leave(self, stream: str, group: str) -> None:
        self._stream(stream).groups.pop(group, None)

    async def take(self, stream: str, group: str, consumer: str, count: int, wait_s: float) -> list[Entry]:
        source = self._stream(stream)
        if source.group(group).last_seen >= source.last:
            source.grown.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await source.grown.wait()
            except TimeoutError:
                return []
        target = source.group(group)
        first = max(target.last_seen + 1, next(iter(source.entries), source.last + 1))
        taken = []
        for number in range(first, min(source.last, first + count - 1) + 1):
            target.last_seen = number
            target.pending[number] = _Pending(consumer, self._clock(), 1)
            taken.append(Entry(str(number), source.entries[number]))
        return taken

    async def claim(self, stream: str, group: str, consumer: str, count: int, idle_s: float) -> list[Entry]:
        source = self._stream(stream)
        pending = source.group(group).pending
        now = self._clock()
        idle = [number for number, each in pending.items() if now - each.taken_at >= idle_s][:count]
        for number in idle:
            pending[number] = _Pending(consumer, now, pending[number].deliveries + 1)
        return [Entry(str(number), source.entries[number], pending[number].deliveries) for number in idle]

    async def acknowledge(self, stream: str, group: str, ids: Sequence[str]) -> None:
        pending = self._stream(stream).group(group).pending
        for each in ids:
            pending.pop(int(each), None)

    async def trim(self, stream: str) -> None:
        source = self._stream(stream)
        needed = source.last - STREAM_LENGTH // 2 + 1
        if source.groups:
            needed = min(min(group.pending, default=group.last_seen + 1) for group in source.groups.values())
        while source.entries and next(iter(source.entries)) < needed:
            source.entries.popitem(last=False)

    async def incarnation(self) -> str:
        return self._incarnation

    async def set_until(self, key: str, value: bytes, seconds: float) -> None:
        self._values[key] = (self._clock() + seconds, value)
        self._values.move_to_end(key)
        if len(self._values) > MAX_KEYS:
            self._values.popitem(last=False)

    async def get(self, key: str) -> bytes | None:
        end, value = self._values.get(key, (0.0, b""))
        if self._clock() < end:
            return value
        self._values.pop(key, None)
        return None

    async def allow(self, key: str, rate_per_s: float, burst: int) -> Verdict:
        return self._limiter.allow(key, rate_per_s, burst, self._clock())

    async def close(self) -> None:
        self._listeners.clear()

    def _stream(self, name: str) -> _Stream:
        return self._streams.setdefault(name, _Stream())
