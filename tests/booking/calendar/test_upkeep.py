"""The next free time for search, moved clocks, feeds and imported calendars, with real Postgres."""

import asyncio
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from uuid import UUID, uuid4

from aiohttp import web
from aiohttp.test_utils import TestServer
from icalendar import Calendar

from backplane.bus import LocalBus
from backplane.consumers import Batched, Worker
from backplane.jobs import JobRow, Scheduler
from backplane.outbox import Fact, OutboxPublisher
from booking.calendar import sources, upkeep, zones
from booking.calendar.fetch import Fetcher
from booking.calendar.port import CachedCalendar
from booking.calendar.sources import Reader
from tests.support.calendar import NOW, World

MORNING = {"rules": [{"opens": "09:00", "closes": "11:00"}]}
HALF = timedelta(minutes=30)
FOUR = datetime(2026, 3, 2, 4, tzinfo=UTC)


async def next_free_at(world: World) -> datetime | None:
    async with world.database.tenant(world.tenant.id) as connection:
        found: datetime | None = await connection.fetchval(
            "SELECT next_free_at FROM provider WHERE id = $1", world.doctor
        )
    return found


async def test_the_next_free_time_follows_changes_and_the_clock(world: World) -> None:
    bus = LocalBus()
    relay = OutboxPublisher(world.database, bus, world.clock)
    worker = Worker(world.database, bus, upkeep.CONSUMER, world.clock)
    scheduler = Scheduler(world.database, upkeep.HANDLERS, world.clock)
    await bus.join("events", upkeep.CONSUMER.name)

    async def settle() -> datetime | None:
        while await relay.step():
            pass
        while await worker.step():
            pass
        return await next_free_at(world)

    await world.amina.send("POST", f"/v1/providers/{world.doctor}/schedules", MORNING, 201)
    assert await settle() == FOUR
    async with world.database.tenant(world.tenant.id) as connection, connection.transaction():
        await world.book(connection, FOUR)
        await upkeep.availability_changed(connection, world.doctor, NOW)
    assert await settle() == FOUR + HALF
    world.clock.now = FOUR - HALF  # exactly the notice away: still to be had
    await scheduler.step()
    assert await next_free_at(world) == FOUR + HALF
    world.clock.now += timedelta(seconds=1)
    await scheduler.step()
    assert await next_free_at(world) == FOUR + 2 * HALF
    await world.amina.send("POST", "/v1/holidays", {
        "first_day": "2026-03-02", "last_day": "2026-06-30", "provider": str(world.doctor),
    }, 201)  # fmt: skip
    assert await settle() is None


async def test_time_taken_well_behind_the_first_free_slot_costs_no_look_at_the_calendar(world: World) -> None:
    stored = FOUR + HALF  # not what the calendar would say, so that a look at it shows
    outcomes = {}
    for kind in ("appointment.booked", "appointment.cancelled"):
        for days in (1, 5):
            payload = {"provider": str(world.doctor), "start": f"2026-03-{2 + days:02}T04:30:00Z"}
            fact = Fact(
                id=uuid4(), tenant=world.tenant.id, type=kind, aggregate="appointment", aggregate_id=uuid4(),
                payload=payload, at=NOW,
            )  # fmt: skip
            async with world.database.tenant(world.tenant.id) as connection, connection.transaction():
                await connection.execute("UPDATE provider SET next_free_at = $1 WHERE id = $2", stored, world.doctor)
                handler = upkeep.CONSUMER.handlers[kind]
                assert isinstance(handler, Batched)
                await handler.run(connection, [fact], NOW)
            outcomes[kind, days] = await next_free_at(world)
    assert outcomes == {
        ("appointment.booked", 1): None,
        ("appointment.booked", 5): stored,
        ("appointment.cancelled", 1): None,
        ("appointment.cancelled", 5): None,
    }


async def test_appointments_whose_clock_moved_are_told_to_the_clinic(world: World) -> None:
    async with world.database.tenant(world.tenant.id) as connection:
        kept = await world.book(connection, FOUR)
        moved = await world.book(connection, FOUR + HALF)
        await connection.execute("UPDATE appointment SET local_text = '2026-03-02 08:30' WHERE id = $1", moved)
        assert await upkeep.moved_appointments(connection, FOUR + HALF) == []
    assert await upkeep.look_after_zone_data(world.database, NOW) >= 1
    assert await upkeep.look_after_zone_data(world.database, NOW) == 0
    await Scheduler(world.database, upkeep.HANDLERS, world.clock).step()
    async with world.database.platform() as connection:
        told = await connection.fetch("SELECT aggregate_id, payload FROM outbox WHERE type = 'appointment.clock_moved'")
        assert [row["aggregate_id"] for row in told] == [moved]
        assert kept != moved
        assert (told[0]["payload"]["agreed"], told[0]["payload"]["shown"]) == ("2026-03-02 08:30", "2026-03-02 09:30")
        assert await connection.fetchval("SELECT count(*) FROM job WHERE key = $1", f"{upkeep.TZDATA}:{zones.VERSION}")


async def test_booking_asks_the_calendar(world: World) -> None:
    class Asked:
        id, provider, location = world.service, world.doctor, None
        minutes, step_minutes, buffer_before_minutes, buffer_after_minutes = 30, 30, 0, 0
        notice_minutes, horizon_days, capacity = 60, 60, 1

    await world.amina.send("POST", f"/v1/providers/{world.doctor}/schedules", MORNING, 201)
    hours = CachedCalendar()
    async with world.database.tenant(world.tenant.id) as connection:
        mine = await world.book(connection, FOUR)
        assert await hours.refusal(connection, Asked(), FOUR, NOW) == "taken"
        assert await hours.refusal(connection, Asked(), FOUR, NOW, without=mine) is None
        assert await hours.refusal(connection, Asked(), FOUR + HALF, NOW) is None
        assert await hours.refusal(connection, Asked(), FOUR - HALF, NOW) == "too_soon"
        found = await hours.free(connection, Asked(), FOUR, FOUR + timedelta(days=1), NOW, 2)
    assert found == [FOUR + HALF, FOUR + 2 * HALF]


async def test_a_feed_tells_when_and_nothing_else(world: World) -> None:
    bilal = world.who(world.patient, "patient")
    async with world.database.tenant(world.tenant.id) as connection:
        visit = await world.book(connection, FOUR)
        await world.book(connection, FOUR + HALF, "cancelled_by_patient")
    path = (await bilal.send("POST", "/v1/feeds", status=201))["path"]
    async with world.client.get(path) as response:
        assert response.content_type == "text/calendar"
        content, tag = await response.read(), response.headers["ETag"]
    assert b"REFRESH-INTERVAL;VALUE=DURATION:PT1H\r\n" in content
    assert b"Amina" not in content
    (event,) = Calendar.from_ical(content).walk("VEVENT")
    assert event["UID"].startswith(str(visit))
    assert (event["DTSTART"].dt, event["DTEND"].dt, str(event["SUMMARY"])) == (FOUR, FOUR + HALF, "Appointment")
    async with world.client.get(path, headers={"If-None-Match": tag}) as again:
        assert again.status == 304
    doctors = (await world.amina.send("POST", "/v1/feeds", status=201))["path"]
    async with world.client.get(doctors) as response:
        assert str(visit).encode() in await response.read()


async def test_feeds_that_are_made_at_once_leave_one(world: World) -> None:
    bilal = world.who(world.patient, "patient")
    made = await asyncio.gather(*(bilal.send("POST", "/v1/feeds", status=201) for _ in range(6)))
    answers = [await world.client.get(each["path"]) for each in made]
    assert sorted(each.status for each in answers) == [200, *[404] * 5]


async def test_a_feed_that_was_rotated_or_revoked_is_gone(world: World) -> None:
    bilal = world.who(world.patient, "patient")

    async def status(path: str) -> int:
        async with world.client.get(path) as response:
            return response.status

    first = (await bilal.send("POST", "/v1/feeds", status=201))["path"]
    second = (await bilal.send("POST", "/v1/feeds", status=201))["path"]
    assert (await status(first), await status(second)) == (404, 200)
    await bilal.send("DELETE", "/v1/feeds", status=204)
    assert (await status(second), (await bilal.get("/v1/feeds"))["created_at"]) == (404, None)
    assert await status("/v1/feeds/short.ics") == 404


async def test_an_imported_calendar_takes_time_until_it_is_removed(world: World) -> None:
    await world.amina.send("POST", f"/v1/providers/{world.doctor}/schedules", MORNING, 201)
    made = await world.amina.send(
        "POST", f"/v1/providers/{world.doctor}/calendars", {"url": "https://calendar.example/secret/a.ics"}, 201
    )
    assert made["host"] == "calendar.example"
    path = f"/v1/providers/{world.doctor}/calendars"
    day = f"{world.slots}&from=2026-03-02&to=2026-03-03"
    body = (
        b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//t//EN\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\n"
        b"DTSTART:20260302T040000Z\r\nDURATION:PT1H\r\nSUMMARY:Dentist\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    status = 200

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status)

    app = web.Application()
    app.router.add_get("/a.ics", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        async with world.database.tenant(world.tenant.id) as connection:
            await connection.execute("UPDATE ics_source SET url = $1", str(server.make_url("/a.ics")))
        fetcher = Fetcher(allowed=lambda at: at == ip_address("127.0.0.1"), ports=lambda *_: True)
        scheduler = Scheduler(world.database, Reader(world.database, world.clock, fetcher).handlers, world.clock)
        await scheduler.step()
        assert [each["entries"] for each in await world.amina.get(path)] == [1]
        assert len((await world.visitor.get(day))["slots"]) == 2
        status = 500
        world.clock.now += sources.REFRESH
        await scheduler.step()
        (source,) = await world.amina.get(path)
        assert (source["error"], source["entries"]) == ("refused", 1), "a server that is away frees no time"
        async with world.database.tenant(world.tenant.id) as connection:
            assert "Dentist" not in str(await connection.fetch("SELECT * FROM busy"))
    world.clock.now = NOW
    await world.amina.send("DELETE", f"/v1/calendars/{made['id']}", status=204)
    assert len((await world.visitor.get(day))["slots"]) == 4


async def test_a_source_inside_our_network_is_never_asked(world: World) -> None:
    path = f"/v1/providers/{world.doctor}/calendars"
    await world.amina.send("POST", path, {"url": "http://127.0.0.1:8080/"}, 422)
    made = await world.amina.send("POST", path, {"url": "http://127.0.0.1/"}, 201)
    job = JobRow(1, world.tenant.id, "k", sources.KIND, UUID(made["id"]), NOW, {}, 1)
    await Reader(world.database, world.clock).refresh(job, NOW)
    assert (await world.amina.get(path))[0]["error"] == "not_public"
