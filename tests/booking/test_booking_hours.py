"""Booking with the real calendar: the provider's hours decide what is offered."""

from datetime import time
from uuid import UUID

import pytest

from backplane.ids import uuid7
from backplane.postgres import Database
from booking.appointments import series
from booking.appointments.bookable import CalendarPort, service_of
from booking.appointments.context import BookingContext
from booking.calendar import port
from booking.refusals import Refusal
from tests.support.booking import NOW, Clinic, at, clinic, wire

HOURS: CalendarPort = port.CachedCalendar()  # the calendar is what booking asks for


async def open_from_nine_to_twelve(place: Clinic) -> None:
    """Every day, on the clocks of Karachi: 04:00 to 07:00 UTC."""
    async with place.transaction() as connection:
        schedule = uuid7(NOW)
        await connection.execute(
            "INSERT INTO schedule (id, provider_id, timezone, created_at) VALUES ($1, $2, 'Asia/Karachi', $3)",
            schedule,
            place.providers["drsana"],
            NOW,
        )
        await connection.execute(
            "INSERT INTO schedule_rule (id, schedule_id, opens, closes) VALUES ($1, $2, $3, $4)",
            uuid7(NOW),
            schedule,
            time(9),
            time(12),
        )


async def book(place: Clinic, name: str, hour: int, minute: int = 0, days: int = 1) -> UUID:
    async with place.transaction() as connection:
        return await place.claim(connection, name, at(days, hour, minute))


@pytest.mark.parametrize(
    "hour, minute, days, reason",
    [(3, 45, 1, "outside_hours"), (4, 5, 1, "not_on_grid"), (6, 45, 1, "outside_hours"), (4, 0, 100, "too_far")],
)
async def test_only_what_the_calendar_offers_is_booked(
    database: Database, hour: int, minute: int, days: int, reason: str
) -> None:
    place = await clinic(database, context=BookingContext(HOURS))
    await open_from_nine_to_twelve(place)
    with pytest.raises(Refusal) as refused:
        await book(place, "amina", hour, minute, days)
    assert (refused.value.code, refused.value.facts["reason"]) == ("slot_not_offered", reason)
    await book(place, "amina", 4)
    assert await place.balanced() == 1


async def test_alternatives_are_what_the_calendar_has_left(database: Database) -> None:
    place = await clinic(database, context=BookingContext(HOURS))
    await open_from_nine_to_twelve(place)
    await book(place, "amina", 6, 15)
    with pytest.raises(Refusal) as refused:
        await book(place, "bilal", 6, 15)
    assert refused.value.code == "slot_taken"
    assert refused.value.facts["alternatives"] == [wire(at(2, 4, m)) for m in (0, 15, 30)]


async def test_a_class_offers_itself_until_it_is_full(database: Database) -> None:
    place = await clinic(database, context=BookingContext(HOURS))
    await open_from_nine_to_twelve(place)
    async with place.transaction() as connection:
        yoga = await service_of(connection, place.services["yoga"])
        assert yoga is not None
        for name in ("amina", "bilal"):
            assert at(1, 4) in await HOURS.free(connection, yoga, at(1, 0), at(2), NOW, 3)
            await place.claim(connection, name, at(1, 4), "yoga")
        assert at(1, 4) not in await HOURS.free(connection, yoga, at(1, 0), at(2), NOW, 3)


def test_a_weekly_visit_keeps_its_wall_clock_time() -> None:
    found, missing = series.starts("FREQ=WEEKLY;COUNT=3", at(days=76, hour=9), "Europe/London")
    assert [each.hour for each in found] == [9, 8, 8]  # summer time begins on the last Sunday of March
    assert missing == []


def test_a_date_whose_time_does_not_exist_is_no_visit() -> None:
    first = at(days=82, hour=1, minute=30)  # the Saturday before clocks go forward
    found, missing = series.starts("FREQ=DAILY;COUNT=3", first, "Europe/London")
    assert (len(found), len(missing)) == (2, 1)


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=WEEKLY",
        "FREQ=SECONDLY;COUNT=2",
        "COUNT=2",
        "FREQ=DAILY;COUNT=99",
        "FREQ=DAILY;COUNT=2;BYHOUR=9",
        "x",
    ],
)
def test_a_rule_without_end_or_sense_is_refused(rule: str) -> None:
    with pytest.raises(ValueError):
        series.starts(rule, at(), "Asia/Karachi")
