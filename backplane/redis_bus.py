"""The bus of several processes, on Redis 7 (or Valkey).

Every command goes through the client's pool, which connects anew when a connection broke; a command is tried once more
then, so an append can happen twice, which the consumers' memory of event ids covers. Listening has one connection per
process and a task that re-subscribes after every interruption and tells the listeners of the gap. A Redis that lost its
memory is recognised by its run id, which changes with every start and failover.
"""

import asyncio
import builtins
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Final, TypeVar, cast

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError, ResponseError, TimeoutError

from backplane.bus import GAP, STREAM_LENGTH, BusUnavailable, Entry, Limiter, Subscription, Verdict
from backplane.logs import Log

_log = Log(__name__)
T = TypeVar("T")

PREFIX: Final = "wadud:"
CONNECT_TIMEOUT_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 5.0
SUBSCRIBE_TIMEOUT_S: Final = 2.0
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
_BODY: Final = b"e"
_LOST: Final = (ConnectionError, TimeoutError, OSError)

# KEYS: the cell. ARGV: interval, burst, in tests now. One round trip; the cell goes away when it would be empty anyway.
# Time is that of the Redis server, one clock for all processes. It is a wall clock, so the cell holds when it was
# written beside what is due; a cell from the future (the clock was set back) keeps what was left to wait, and no more.
_GCRA: Final = """
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(ARGV[3] or (time[1] + time[2] / 1e6))
local due, written = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%S+)$')
due, written = tonumber(due or now), tonumber(written or now)
local ahead = math.max(written - now, 0)
due = math.max(due - ahead, now)
local wait = due + interval - burst * interval - now
if wait <= 1e-6 then due = due + interval end
if wait <= 1e-6 or ahead > 0 then
    local cell = string.format('%.6f %.6f', due, now)
    redis.call('SET', KEYS[1], cell, 'PX', math.ceil((due - now) * 1000) + 1000)
end
return wait <= 1e-6 and '0' or string.format('%.6f', wait)
"""

# ARGV: the longest that the stream may get, then the entries. One command of many arguments instead of many commands:
# making those took the client longer than everything else that the relay does.
_APPEND: Final = """
for i = 2, #ARGV do
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'e', ARGV[i])
end
"""

# KEYS: the channel.
_PUBLISH: Final = """
for i = 1, #ARGV do
    redis.call('PUBLISH', KEYS[1], ARGV[i])
end
"""


def _lost(error: Exception) -> bool:
    # a server that is loading its data, or was made a replica, answers but cannot serve yet
    return isinstance(error, _LOST) or str(error).startswith(("LOADING", "READONLY", "MASTERDOWN"))


async def _answer(command: Awaitable[T]) -> T:
    # The client's own socket_timeout goes through asyncio.wait_for, which on Python 3.11 can swallow a cancellation.
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await command
    except (RedisError, OSError) as error:  # TimeoutError is an OSError
        if _lost(error):
            raise BusUnavailable from error
        raise


class RedisBus:
    """``url``: redis://, rediss:// or unix://. Connects on first use and whenever it has to. ``clock``: what limits
    count by; None: the server's own."""

    def __init__(self, url: str, prefix: str = PREFIX, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self._client: Redis = Redis.from_url(
            url,
            socket_timeout=None,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
            health_check_interval=0,
        )
        self._prefix = prefix
        self._allow = self._client.register_script(_GCRA)
        self._append = self._client.register_script(_APPEND)
        self._publish = self._client.register_script(_PUBLISH)
        self._limiter = Limiter()
        self._listeners: dict[str, set[Subscription]] = {}
        self._heard: dict[str, asyncio.Event] = {}
        self._pubsub: PubSub | None = None
        self._listening: asyncio.Task[None] | None = None

    async def publish(self, topic: str, *messages: bytes) -> None:
        if not all(messages):
            raise ValueError("an empty message means a gap")
        channel = self._key("topic", topic)
        try:
            if len(messages) == 1:
                await _answer(self._client.publish(channel, messages[0]))
            elif messages:
                await _answer(self._publish(keys=[channel], args=messages))
        except BusUnavailable:
            _log.warning("live update dropped")

    @asynccontextmanager
    async def subscribe(self, topic: str) -> AsyncIterator[Subscription]:
        channel = self._key("topic", topic)
        subscription = Subscription()
        self._listeners.setdefault(channel, set()).add(subscription)
        heard = self._heard.setdefault(channel, asyncio.Event())
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        elif self._pubsub is not None and not heard.is_set():
            with suppress(BusUnavailable):  # the task subscribes to all topics when it is back
                await _answer(self._pubsub.subscribe(channel))
        with suppress(builtins.TimeoutError):
            async with asyncio.timeout(SUBSCRIBE_TIMEOUT_S):
                await heard.wait()
        try:
            yield subscription
        finally:
            await self._forget(channel, subscription)

    async def append(self, stream: str, entries: Sequence[bytes]) -> None:
        # the length is a last resort against a full memory: the relay stops long before, see `trim`
        await _answer(self._append(keys=[self._key("stream", stream)], args=[2 * STREAM_LENGTH, *entries]))

    async def length(self, stream: str) -> int:
        return int(await _answer(self._client.xlen(self._key("stream", stream))))

    async def join(self, stream: str, group: str) -> None:
        try:
            await _answer(self._client.xgroup_create(self._key("stream", stream), group, id="0", mkstream=True))
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def leave(self, stream: str, group: str) -> None:
        with suppress(ResponseError):  # there is no such stream
            await _answer(self._client.xgroup_destroy(self._key("stream", stream), group))

    async def take(self, stream: str, group: str, consumer: str, count: int, wait_s: float) -> list[Entry]:
        key = self._key("stream", stream)
        block_ms = max(1, int(min(wait_s, ANSWER_TIMEOUT_S / 2) * 1000))
        command = ("XREADGROUP", "GROUP", group, consumer, "COUNT", count, "BLOCK", block_ms, "STREAMS", key, ">")
        found = await self._in_group(stream, group, command)
        batches = found.values() if isinstance(found, dict) else [rows for _, rows in _pairs(found or [])]
        return [Entry(_text(id_), fields[_BODY]) for rows in batches for id_, fields in _rows(rows)]

    async def claim(self, stream: str, group: str, consumer: str, count: int, idle_s: float) -> list[Entry]:
        key = self._key("stream", stream)
        command = ("XAUTOCLAIM", key, group, consumer, int(idle_s * 1000), "0-0", "COUNT", count)
        found = await self._in_group(stream, group, command)
        claimed = [(id_, fields) for id_, fields in _rows(cast(list[object], found)[1]) if fields]
        if not claimed:
            return []
        deliveries = await self._deliveries(key, group, consumer, [_text(id_) for id_, _ in claimed])
        return [Entry(_text(id_), fields[_BODY], deliveries.get(_text(id_), 2)) for id_, fields in claimed]

    async def acknowledge(self, stream: str, group: str, ids: Sequence[str]) -> None:
        if ids:
            await _answer(self._client.xack(self._key("stream", stream), group, *ids))

    async def trim(self, stream: str) -> None:
        key = self._key("stream", stream)
        try:
            groups = await _answer(self._client.xinfo_groups(key))
        except ResponseError:
            return  # there is no such stream
        if not groups:
            await _answer(self._client.xtrim(key, maxlen=STREAM_LENGTH // 2, approximate=False))
            return
        needed = []
        for group in groups:
            waiting = await _answer(self._client.xpending(key, group["name"]))
            # the last one delivered stays: its id is the lowest that may be dropped next time
            needed.append(_text(waiting["min"] if waiting["pending"] else group["last-delivered-id"]))
        oldest = min(needed, key=lambda id_: tuple(int(part) for part in id_.split("-")))
        await _answer(self._client.xtrim(key, minid=oldest, approximate=False))

    async def incarnation(self) -> str:
        return _text((await _answer(self._client.info("server")))["run_id"])

    async def set_until(self, key: str, value: bytes, seconds: float) -> None:
        await _answer(self._client.set(self._key("value", key), value, px=max(1, int(seconds * 1000))))

    async def get(self, key: str) -> bytes | None:
        return cast(bytes | None, await _answer(self._client.get(self._key("value", key))))

    async def allow(self, key: str, rate_per_s: float, burst: int) -> Verdict:
        told = () if self._clock is None else (f"{self._clock():.6f}",)
        arguments = (f"{1.0 / rate_per_s:.9f}", burst, *told)
        try:
            wait_s = float(await _answer(self._allow(keys=[self._key("rate", key)], args=arguments)))
        except BusUnavailable:
            return self._limiter.allow(key, rate_per_s, burst, time.monotonic())
        return Verdict(wait_s <= 0, wait_s)

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self._client.aclose()

    def _key(self, kind: str, name: str) -> str:
        return f"{self._prefix}{kind}:{name}"

    async def _in_group(self, stream: str, group: str, command: tuple[str | int | bytes, ...]) -> object:
        """Answer of a command that needs the group, which Redis may have forgotten together with everything else."""
        for again in (False, True):
            try:
                return await _answer(cast(Awaitable[object], self._client.execute_command(*command)))  # type: ignore[no-untyped-call]
            except ResponseError as error:
                if again or not str(error).startswith("NOGROUP"):
                    raise
                await self.join(stream, group)
        raise AssertionError("unreachable")

    async def _deliveries(self, key: str, group: str, consumer: str, ids: list[str]) -> dict[str, int]:
        rows = await _answer(self._client.xpending_range(key, group, ids[0], ids[-1], 2 * len(ids), consumer))
        return {_text(row["message_id"]): int(row["times_delivered"]) for row in rows}

    async def _forget(self, channel: str, subscription: Subscription) -> None:
        self._listeners[channel].discard(subscription)
        if self._listeners[channel]:
            return
        del self._listeners[channel]
        del self._heard[channel]
        if self._pubsub is not None:
            with suppress(BusUnavailable):
                await _answer(self._pubsub.unsubscribe(channel))

    async def _listen(self) -> None:
        """One connection for all topics, made anew after every interruption, until cancelled."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                async with aclosing(self._client.pubsub()) as pubsub:
                    # the first channel has no listener; it keeps the connection when no topic is left
                    await _answer(pubsub.subscribe(self._key("topic", ""), *self._listeners))
                    self._pubsub = pubsub
                    pause_s = FIRST_PAUSE_S
                    await self._hear(pubsub)
            except Exception as error:  # whatever it is, nobody would hear anything for good
                if isinstance(error, BusUnavailable) or _lost(error):
                    _log.warning("listening interrupted")
                else:
                    _log.error("listening failed")
            finally:
                self._pubsub = None
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _hear(self, pubsub: PubSub) -> None:
        silent = False
        while True:
            message = await pubsub.get_message(timeout=ANSWER_TIMEOUT_S)
            if message is None:
                if silent:
                    raise ConnectionError("no answer to a ping")
                silent = True
                await _answer(pubsub.ping())
                continue
            silent = False
            if message["channel"] is None:
                continue
            channel = _text(message["channel"])
            listeners = self._listeners.get(channel, ())
            if message["type"] == "message":
                for each in listeners:
                    each.put(message["data"])
            elif message["type"] == "subscribe" and channel in self._heard:
                if self._heard[channel].is_set():
                    for each in listeners:
                        each.put(GAP)
                self._heard[channel].set()


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _pairs(found: object) -> list[tuple[bytes, object]]:
    return cast(list[tuple[bytes, object]], found)


def _rows(found: object) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Entries as raw commands give them, [id, [field, value, ...]], or as the client's own parser does."""
    rows = []
    for id_, fields in _pairs(found):
        if isinstance(fields, list):
            fields = dict(zip(fields[::2], fields[1::2]))
        rows.append((id_, cast(dict[bytes, bytes], fields or {})))
    return rows
