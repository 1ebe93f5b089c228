"""Both buses keep the same promises; the last tests are about a Redis that goes away and comes back."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from backplane.bus import GAP, QUEUE_LENGTH, Bus, BusUnavailable, Limiter, LocalBus
from backplane.redis_bus import RedisBus
from tests.support.redis import RedisServer


class Clock:
    """Seconds that stand still until they are set."""

    def __init__(self) -> None:
        self.now = 1_774_785_600.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture(params=["local", "redis"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    made: Bus = LocalBus()
    if request.param == "redis":
        made = RedisBus(request.getfixturevalue("redis_process").url, prefix=f"test:{request.node.name}:")
    yield made
    await made.close()


@pytest_asyncio.fixture(params=["local", "redis"])
async def limits(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Bus]:
    """A bus whose limits count by ``clock``."""
    made: Bus = LocalBus(clock)
    if request.param == "redis":
        made = RedisBus(request.getfixturevalue("redis_process").url, f"test:{request.node.name}:", clock)
    yield made
    await made.close()


async def test_everybody_who_listens_gets_what_is_published_in_order(bus: Bus) -> None:
    async with bus.subscribe("queue:1") as left, bus.subscribe("queue:1") as right, bus.subscribe("queue:2") as other:
        for message in (b"one", b"two"):
            await bus.publish("queue:1", message)
        await bus.publish("queue:2", b"three", b"four")
        await bus.publish("queue:2")
        await bus.publish("queue:2", b"five")
        for listener in (left, right):
            assert [await listener.get(), await listener.get()] == [b"one", b"two"]
        assert [await other.get() for _ in range(3)] == [b"three", b"four", b"five"]


async def test_a_topic_can_be_left_and_taken_up_again(bus: Bus) -> None:
    for message in (b"first", b"second"):
        async with bus.subscribe("queue:1") as listener:
            await bus.publish("queue:1", message)
            assert await listener.get() == message
    await bus.publish("queue:1", b"nobody hears")


async def test_a_slow_listener_is_told_of_a_gap_and_goes_on_with_the_newest(bus: Bus) -> None:
    async with bus.subscribe("busy") as slow, bus.subscribe("end") as end:
        for number in range(QUEUE_LENGTH + 10):
            await bus.publish("busy", b"%d" % number)
        await bus.publish("end", b"end")
        await end.get()
        received = [await slow.get()]
        while received[-1] != b"%d" % (QUEUE_LENGTH + 9):
            received.append(await slow.get())
        assert received == [GAP, *(b"%d" % number for number in range(QUEUE_LENGTH, QUEUE_LENGTH + 10))]


async def test_an_empty_message_is_refused_because_it_means_a_gap(bus: Bus) -> None:
    with pytest.raises(ValueError, match="gap"):
        await bus.publish("queue:1", b"one", b"")


async def test_every_group_gets_every_entry_and_inside_a_group_one_consumer(bus: Bus) -> None:
    await bus.join("events", "mail")
    await bus.append("events", [b"1", b"2", b"3"])
    await bus.join("events", "search")
    left = await bus.take("events", "mail", "left", 2, 1.0)
    right = await bus.take("events", "mail", "right", 2, 1.0)
    assert ([each.body for each in left], [each.body for each in right]) == ([b"1", b"2"], [b"3"])
    assert [each.body for each in await bus.take("events", "search", "left", 9, 1.0)] == [b"1", b"2", b"3"]
    assert await bus.take("events", "mail", "left", 2, 0.01) == []


async def test_taking_waits_for_the_first_entry(bus: Bus) -> None:
    await bus.join("events", "mail")
    waiting = asyncio.create_task(bus.take("events", "mail", "left", 10, 5.0))
    await asyncio.sleep(0)
    await bus.append("events", [b"late"])
    assert [each.body for each in await waiting] == [b"late"]


async def test_what_nobody_acknowledges_is_claimed_and_counted(bus: Bus) -> None:
    await bus.join("events", "mail")
    await bus.append("events", [b"1", b"2"])
    first, second = await bus.take("events", "mail", "dead", 2, 1.0)
    assert (first.deliveries, second.deliveries) == (1, 1)
    await bus.acknowledge("events", "mail", [first.id])
    assert await bus.claim("events", "mail", "living", 10, 3600.0) == []
    (claimed,) = await bus.claim("events", "mail", "living", 10, 0.0)
    assert (claimed.id, claimed.body, claimed.deliveries) == (second.id, b"2", 2)
    await bus.acknowledge("events", "mail", [claimed.id])
    assert await bus.claim("events", "mail", "living", 10, 0.0) == []


async def test_trimming_keeps_what_some_group_still_needs(bus: Bus) -> None:
    await bus.join("events", "fast")
    await bus.join("events", "slow")
    await bus.append("events", [b"%d" % number for number in range(10)])
    fast = await bus.take("events", "fast", "only", 10, 1.0)
    await bus.acknowledge("events", "fast", [each.id for each in fast])
    slow = await bus.take("events", "slow", "only", 4, 1.0)
    await bus.acknowledge("events", "slow", [slow[0].id, slow[2].id])
    await bus.trim("events")
    assert await bus.length("events") == 9
    assert [each.body for each in await bus.claim("events", "slow", "only", 10, 0.0)] == [b"1", b"3"]
    assert len(await bus.take("events", "slow", "only", 10, 1.0)) == 6
    await bus.leave("events", "slow")
    await bus.trim("events")
    assert await bus.length("events") <= 1


async def test_a_value_is_remembered_until_its_end(bus: Bus) -> None:
    await bus.set_until("session:1", b"ended", 60.0)
    await bus.set_until("session:2", b"ended", 0.001)
    assert await bus.get("session:1") == b"ended"
    async with asyncio.timeout(5):
        while await bus.get("session:2") is not None:  # noqa: ASYNC110 (the end of a value wakes nobody)
            await asyncio.sleep(0.001)
    assert await bus.get("session:3") is None


async def test_a_burst_is_allowed_and_then_the_rate(limits: Bus, clock: Clock) -> None:
    answers = [await limits.allow("login:1", 0.5, 3) for _ in range(4)]
    assert [bool(each) for each in answers] == [True, True, True, False]
    assert answers[-1].retry_after_s == pytest.approx(2.0, abs=1e-3)
    assert await limits.allow("login:2", 0.5, 3)
    clock.now += 1.9
    assert not await limits.allow("login:1", 0.5, 3)
    clock.now += 0.1
    assert await limits.allow("login:1", 0.5, 3)
    clock.now += 3600
    later = [bool(await limits.allow("login:1", 0.5, 3)) for _ in range(4)]
    assert later == [True, True, True, False]


async def test_the_limit_holds_under_simultaneous_askers(limits: Bus) -> None:
    answers = await asyncio.gather(*(limits.allow("login:1", 1.0, 10) for _ in range(50)))
    assert sum(map(bool, answers)) == 10


async def test_a_clock_that_is_set_back_makes_nobody_wait_longer(redis_server: RedisServer, clock: Clock) -> None:
    """Redis has a wall clock only; in memory it is a monotonic one."""
    redis_bus = RedisBus(redis_server.url, "back:", clock)
    assert [bool(await redis_bus.allow("login:1", 0.5, 3)) for _ in range(4)] == [True, True, True, False]
    clock.now -= 86_400
    refused = await redis_bus.allow("login:1", 0.5, 3)
    assert refused.retry_after_s == pytest.approx(2.0, abs=1e-3)
    clock.now += 1
    assert (await redis_bus.allow("login:1", 0.5, 3)).retry_after_s == pytest.approx(1.0, abs=1e-3)
    clock.now += 1
    assert [bool(await redis_bus.allow("login:1", 0.5, 3)) for _ in range(2)] == [True, False]
    await redis_bus.close()


async def test_by_the_servers_own_clock_limits_hold_too(redis_bus: RedisBus) -> None:
    assert [bool(await redis_bus.allow("login:1", 0.01, 3)) for _ in range(4)] == [True, True, True, False]


async def test_the_incarnation_stays_while_the_bus_lives(bus: Bus) -> None:
    assert await bus.incarnation() == await bus.incarnation() != ""


def test_the_limiter_remembers_a_bounded_number_of_keys() -> None:
    limiter = Limiter(max_keys=2)
    for key in ("a", "b", "c"):
        assert limiter.allow(key, 1.0, 1, 5.0)
    assert limiter.allow("a", 1.0, 1, 5.0)
    assert not limiter.allow("c", 1.0, 1, 5.0)


async def test_without_redis_errors_are_told_and_limits_are_kept_per_process(
    redis_server: RedisServer, redis_bus: RedisBus
) -> None:
    await redis_bus.append("events", [b"1"])
    redis_server.kill()
    await redis_bus.publish("queue:1", b"lost")
    for failing in (
        redis_bus.append("events", [b"2"]),
        redis_bus.get("session:1"),
        redis_bus.set_until("session:1", b"ended", 60.0),
        redis_bus.take("events", "mail", "only", 1, 0.01),
        redis_bus.incarnation(),
    ):
        with pytest.raises(BusUnavailable):
            await failing
    assert [bool(await redis_bus.allow("login", 1.0, 1)) for _ in range(2)] == [True, False]


async def test_redis_comes_back_and_everything_goes_on_by_itself(
    redis_server: RedisServer, redis_bus: RedisBus
) -> None:
    await redis_bus.join("events", "mail")
    async with redis_bus.subscribe("queue:1") as listener:
        before = await redis_bus.incarnation()
        await redis_bus.publish("queue:1", b"before")
        assert await listener.get() == b"before"
        await asyncio.to_thread(redis_server.restart)
        assert await redis_bus.incarnation() != before
        assert await listener.get() == GAP
        await redis_bus.publish("queue:1", b"after")
        assert await listener.get() == b"after"
        await redis_bus.append("events", [b"1"])
        assert [each.body for each in await redis_bus.take("events", "mail", "only", 1, 1.0)] == [b"1"]


async def test_a_fault_while_listening_is_an_interruption_and_no_end(
    redis_bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with redis_bus.subscribe("queue:1") as listener:
        await redis_bus.publish("queue:1", b"before")
        assert await listener.get() == b"before"
        put, faults = listener.put, [KeyError()]

        def fail_once(message: bytes) -> None:
            if faults:
                raise faults.pop()
            put(message)

        monkeypatch.setattr(listener, "put", fail_once)
        await redis_bus.publish("queue:1", b"lost")
        async with asyncio.timeout(20):
            assert await listener.get() == GAP
            await redis_bus.publish("queue:1", b"after")
            assert await listener.get() == b"after"
