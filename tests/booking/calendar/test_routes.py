"""Hours over HTTP: what a doctor writes is what patients see."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from tests.support.calendar import NOW, World

MORNING = {"rules": [{"opens": "09:00", "closes": "11:00"}]}


def times(answer: dict, key: str = "start") -> list[str]:  # type: ignore[type-arg]
    return [slot[key] for slot in answer["slots"]]


async def test_slots_follow_the_hours_in_both_zones(world: World) -> None:
    made = await world.amina.send("POST", f"/v1/providers/{world.doctor}/schedules", MORNING, 201)
    assert made["timezone"] == "Asia/Karachi"
    seen = await world.visitor.get(f"{world.slots}&from=2026-03-02&to=2026-03-03&tz=Europe/London")
    assert times(seen) == [
        "2026-03-02T04:00:00Z",
        "2026-03-02T04:30:00Z",
        "2026-03-02T05:00:00Z",
        "2026-03-02T05:30:00Z",
    ]
    assert seen["slots"][0]["local"] == "2026-03-02T04:00+00:00"
    assert seen["slots"][0]["at_provider"] == "2026-03-02T09:00+05:00"
    assert seen["slots"][0]["seats"] == 1


async def test_the_preview_is_what_patients_see(world: World) -> None:
    await world.amina.send("POST", f"/v1/providers/{world.doctor}/schedules", MORNING, 201)
    seen = await world.visitor.get(world.slots)
    assert seen["slots"]
    assert await world.amina.get(world.slots.replace("/slots", "/slots/preview")) == seen
    await world.visitor.get(world.slots.replace("/slots", "/slots/preview"), 403)


async def test_slots_that_did_not_change_are_not_sent_again(world: World) -> None:
    await world.amina.send("POST", f"/v1/providers/{world.doctor}/schedules", MORNING, 201)
    async with world.visitor.ask("GET", world.slots) as first:
        tag = first.headers["ETag"]
    async with world.visitor.ask("GET", world.slots, headers={"If-None-Match": tag}) as second:
        assert second.status == 304
    async with world.database.tenant(world.tenant.id) as connection:
        await world.book(connection, datetime(2026, 3, 2, 4, tzinfo=UTC))
    async with world.visitor.ask("GET", world.slots, headers={"If-None-Match": tag}) as third:
        assert third.status == 200


async def test_visits_holds_and_taken_time_are_left_out(world: World) -> None:
    await world.amina.send("POST", f"/v1/providers/{world.doctor}/schedules", MORNING, 201)
    four = datetime(2026, 3, 2, 4, tzinfo=UTC)
    half = timedelta(minutes=30)
    async with world.database.tenant(world.tenant.id) as connection:
        await world.book(connection, four)
        await world.book(connection, four + half, "cancelled_by_patient")
        await world.book(connection, four + 2 * half, "held", NOW + timedelta(minutes=10))
    day = f"{world.slots}&from=2026-03-02&to=2026-03-03"
    assert times(await world.visitor.get(day)) == ["2026-03-02T04:30:00Z", "2026-03-02T05:30:00Z"]
    world.clock.now = NOW + timedelta(minutes=10)  # the hold has run out; the notice has passed for the first visit
    assert times(await world.visitor.get(day)) == [
        "2026-03-02T04:30:00Z",
        "2026-03-02T05:00:00Z",
        "2026-03-02T05:30:00Z",
    ]
    busy = {"start": "2026-03-02T05:10:00Z", "end": "2026-03-02T05:20:00Z"}
    made = await world.amina.send("POST", f"/v1/providers/{world.doctor}/busy", busy, 201)
    assert times(await world.visitor.get(day)) == ["2026-03-02T04:30:00Z", "2026-03-02T05:30:00Z"]
    assert [each["id"] for each in await world.amina.get(f"/v1/providers/{world.doctor}/busy")] == [made["id"]]
    await world.amina.send("DELETE", f"/v1/busy/{made['id']}", status=204)
    assert len(times(await world.visitor.get(day))) == 3


async def test_a_class_shows_the_seats_that_are_left(world: World) -> None:
    await world.amina.send("POST", f"/v1/providers/{world.doctor}/schedules", MORNING, 201)
    async with world.database.tenant(world.tenant.id) as connection:
        await connection.execute("UPDATE service SET kind = 'class', capacity = 6 WHERE id = $1", world.service)
        visit = await world.book(connection, datetime(2026, 3, 2, 4, tzinfo=UTC))
        await connection.execute(
            "UPDATE appointment SET kind = 'class', capacity = 6, seats_taken = 4, patient_id = NULL WHERE id = $1",
            visit,
        )
    seen = await world.visitor.get(f"{world.slots}&from=2026-03-02&to=2026-03-03")
    assert [slot["seats"] for slot in seen["slots"]] == [2, 6, 6, 6]


async def test_overrides_breaks_and_holidays_show_at_once(world: World) -> None:
    hours = {"rules": [*MORNING["rules"], {"opens": "09:30", "closes": "10:00", "closed": True}]}
    made = await world.amina.send("POST", f"/v1/providers/{world.doctor}/schedules", hours, 201)
    week = f"{world.slots}&from=2026-03-02&to=2026-03-05"

    async def days() -> dict[str, int]:
        found: dict[str, int] = {}
        for slot in (await world.visitor.get(week))["slots"]:
            found[slot["at_provider"][:10]] = found.get(slot["at_provider"][:10], 0) + 1
        return found

    assert await days() == {"2026-03-02": 3, "2026-03-03": 3, "2026-03-04": 3}
    override = f"/v1/schedules/{made['id']}/overrides/2026-03-03"
    view = await world.amina.send("PUT", override, {"hours": [{"opens": "15:00", "closes": "16:00"}]})
    assert view["overrides"] == [{"day": "2026-03-03", "hours": [{"opens": "15:00", "closes": "16:00"}]}]
    holiday = {"first_day": "2026-03-04", "last_day": "2026-03-04", "provider": str(world.doctor)}
    closed = await world.amina.send("POST", "/v1/holidays", holiday, 201)
    assert await days() == {"2026-03-02": 3, "2026-03-03": 2}
    await world.amina.send("DELETE", override, status=204)
    await world.amina.send("DELETE", f"/v1/holidays/{closed['id']}", status=204)
    assert await days() == {"2026-03-02": 3, "2026-03-03": 3, "2026-03-04": 3}
    await world.amina.send("DELETE", f"/v1/schedules/{made['id']}", status=204)
    assert await days() == {}


async def test_a_holiday_of_the_clinic_needs_the_clinic(world: World) -> None:
    eid = {"first_day": "2026-03-20", "last_day": "2026-03-22", "name": "Eid"}
    await world.amina.send("POST", "/v1/holidays", eid, 403)
    made = await world.who(UUID(int=5), "staff").send("POST", "/v1/holidays", eid, 201)
    assert [each["name"] for each in await world.amina.get("/v1/holidays")] == ["Eid"]
    await world.amina.send("DELETE", f"/v1/holidays/{made['id']}", status=404)


async def test_changed_hours_name_the_appointments_outside_them(world: World) -> None:
    made = await world.amina.send("POST", f"/v1/providers/{world.doctor}/schedules", MORNING, 201)
    async with world.database.tenant(world.tenant.id) as connection:
        early = await world.book(connection, datetime(2026, 3, 3, 4, tzinfo=UTC))
        await world.book(connection, datetime(2026, 3, 3, 5, tzinfo=UTC))
    later = {"rules": [{"opens": "10:00", "closes": "11:00"}]}
    changed = await world.amina.send("PUT", f"/v1/schedules/{made['id']}", later)
    assert changed["conflicts"] == [str(early)]
    assert changed["rules"][0]["opens"] == "10:00"
    assert await world.amina.get(f"/v1/providers/{world.doctor}/schedules") == [{**changed, "conflicts": []}]


async def test_nobody_changes_the_hours_of_another_doctor(world: World) -> None:
    made = await world.amina.send("POST", f"/v1/providers/{world.doctor}/schedules", MORNING, 201)
    other, patient = world.who(UUID(int=7), "doctor"), world.who(UUID(int=8), "patient")
    busy = {"start": "2026-03-02T05:10:00Z", "end": "2026-03-02T05:20:00Z"}
    for method, path, body in (
        ("POST", f"/v1/providers/{world.doctor}/schedules", MORNING),
        ("GET", f"/v1/providers/{world.doctor}/schedules", None),
        ("PUT", f"/v1/schedules/{made['id']}", MORNING),
        ("DELETE", f"/v1/schedules/{made['id']}", None),
        ("PUT", f"/v1/schedules/{made['id']}/overrides/2026-03-03", {}),
        ("POST", f"/v1/providers/{world.doctor}/busy", busy),
        ("GET", f"/v1/providers/{world.doctor}/slots/preview?service={world.service}", None),
    ):
        await other.send(method, path, body, 404)
        await patient.send(method, path, body, 403)
    await world.who(UUID(int=5), "staff").get(f"/v1/providers/{world.doctor}/schedules")


async def test_what_cannot_be_is_refused_with_a_reason(world: World) -> None:
    path = f"/v1/providers/{world.doctor}/schedules"

    async def code(body: dict, status: int = 422) -> str:  # type: ignore[type-arg]
        return str((await world.amina.send("POST", path, body, status))["code"])

    rule = {"opens": "09:00", "closes": "10:00"}
    assert await code({"timezone": "Asia/Lahore"}) == "unknown_timezone"
    assert await code({"location": str(UUID(int=3))}) == "unknown_location"
    for bad in (
        {"rrule": "FREQ=HOURLY", "valid_from": "2026-01-01"},
        {"rrule": "FREQ=DAILY"},
        {"rrule": "FREQ=DAILY;COUNT=3", "valid_from": "2026-01-01"},
        {"rrule": "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "valid_from": "2026-01-01"},
        {"valid_from": "2026-02-01", "valid_until": "2026-01-01"},
    ):
        assert await code({"rules": [{**rule, **bad}]}) == "bad_rule"
    assert await code({"rules": [{**rule, "opens": "25:00"}]}) == "bad_request"
    for query in ("from=2026-03-01&to=2026-06-01", "from=2026-02-30", "to=2025-01-01", "from=0001-01-01", "tz=Mars"):
        await world.visitor.get(f"{world.slots}&{query}", 422)
    await world.visitor.get(f"/v1/providers/{UUID(int=4)}/slots?service={world.service}", 404)
    await world.visitor.get(f"/v1/providers/{world.doctor}/slots?service={UUID(int=4)}", 404)


async def test_an_empty_month_names_the_first_slot_after_it(world: World) -> None:
    hours = {"rules": [{"opens": "09:00", "closes": "10:00", "valid_from": "2026-03-20"}]}
    await world.amina.send("POST", f"/v1/providers/{world.doctor}/schedules", hours, 201)
    seen = await world.visitor.get(f"{world.slots}&from=2026-03-02&to=2026-03-10")
    assert (seen["slots"], seen["next"]) == ([], "2026-03-20T04:00:00Z")
