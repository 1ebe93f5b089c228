"""Waiting for a slot: order, deadlines, one taker."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest_asyncio

from backplane.jobs import Scheduler
from backplane.postgres import Database
from booking.appointments import waitlist
from booking.appointments.module import ROUTES
from booking.appointments.sweeper import sweep
from tests.support.booking import Clinic, Front, at, clinic, served, wire


@pytest_asyncio.fixture
async def place(database: Database) -> Clinic:
    return await clinic(database)


@pytest_asyncio.fixture
async def front(place: Clinic) -> AsyncIterator[Front]:
    async with served(place, ROUTES) as front:
        yield front


async def full_day(place: Clinic, front: Front) -> str:
    """The doctor's ten o'clock is taken; the window of those who wait holds nothing else. Returns the appointment."""
    body = {"service": str(place.services["video"]), "start": wire(at())}
    return str((await front.post("guest", "/v1/appointments", body, 201))["id"])


def window(place: Clinic) -> dict[str, object]:
    return {"service": str(place.services["video"]), "earliest": wire(at()), "latest": wire(at(minute=15))}


async def work(place: Clinic) -> None:
    """What consumers and jobs do after something became free."""
    async with place.transaction() as connection:
        await waitlist.offer(connection, place.context, place.providers["drsana"], place.now)


async def test_a_cancelled_slot_goes_to_who_waits_longest(place: Clinic, front: Front) -> None:
    visit = await full_day(place, front)
    first = await front.post("amina", "/v1/waitlist", window(place), 201)
    second = await front.post("bilal", "/v1/waitlist", window(place), 201)
    assert [(each["state"], each["ahead"]) for each in (first, second)] == [("waiting", 0), ("waiting", 1)]
    assert (await front.post("amina", "/v1/waitlist", window(place), 409))["code"] == "already_waiting"
    await front.post("guest", f"/v1/appointments/{visit}/cancel")
    await work(place)
    (mine,) = await front.get("amina", "/v1/waitlist")
    assert (mine["state"], mine["offer_start"]) == ("offered", wire(at()))
    assert mine["offer_until"] == wire(place.now + timedelta(minutes=15))
    assert (await front.get("bilal", "/v1/waitlist"))[0]["state"] == "waiting"
    taken = {"service": str(place.services["video"]), "start": wire(at())}
    assert (await front.post("chand", "/v1/appointments", taken, 409))["code"] == "slot_taken"
    assert (await front.ask("bilal", "POST", f"/v1/waitlist/{mine['id']}/accept")).status == 404
    assert (await front.post("amina", f"/v1/waitlist/{mine['id']}/accept"))["status"] == "confirmed"
    assert (await front.post("amina", f"/v1/waitlist/{mine['id']}/accept", status=409))["code"] == "no_offer"
    await place.balanced()


async def test_an_offer_that_lapses_goes_to_the_next(place: Clinic, front: Front) -> None:
    visit = await full_day(place, front)
    first = await front.post("amina", "/v1/waitlist", window(place), 201)
    second = await front.post("bilal", "/v1/waitlist", window(place), 201)
    await front.post("guest", f"/v1/appointments/{visit}/cancel")
    await work(place)
    scheduler = Scheduler(place.db, waitlist.HANDLERS, lambda: place.now)
    assert await scheduler.step() == 0
    place.now += timedelta(minutes=15)
    await scheduler.step()
    assert (await front.post("amina", f"/v1/waitlist/{first['id']}/accept", status=409))["code"] == "no_offer"
    await work(place)
    assert (await front.get("bilal", "/v1/waitlist"))[0]["state"] == "offered"
    assert (await front.post("bilal", f"/v1/waitlist/{second['id']}/accept"))["status"] == "confirmed"
    await place.balanced()


async def test_the_sweeper_may_be_first_to_end_an_offer(place: Clinic, front: Front) -> None:
    entry = await front.post("amina", "/v1/waitlist", window(place), 201)
    assert entry["state"] == "offered", "free time is offered at once"
    place.now += timedelta(minutes=15)
    assert await sweep(place.db, place.now) == 1
    refused = await front.post("amina", f"/v1/waitlist/{entry['id']}/accept", status=409)
    assert refused["code"] == "hold_expired"
    await Scheduler(place.db, waitlist.HANDLERS, lambda: place.now).step()
    assert await front.get("amina", "/v1/waitlist") == []
    await place.balanced()


async def test_who_leaves_makes_way(place: Clinic, front: Front) -> None:
    entry = await front.post("amina", "/v1/waitlist", window(place), 201)
    assert (await front.ask("amina", "DELETE", f"/v1/waitlist/{entry['id']}")).status == 204
    assert await place.status(UUID(entry["offer"])) == "expired"
    assert (await front.post("bilal", "/v1/waitlist", window(place), 201))["state"] == "offered"
    await place.balanced()


async def test_the_same_offer_is_taken_once(place: Clinic, front: Front) -> None:
    entry = await front.post("amina", "/v1/waitlist", window(place), 201)
    path = f"/v1/waitlist/{entry['id']}/accept"
    answers = await asyncio.gather(*(front.ask("amina", "POST", path, key=str(uuid4())) for _ in range(20)))
    assert sorted(each.status for each in answers) == [200] + [409] * 19
    await place.balanced()
