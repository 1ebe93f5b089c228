"""Booking over HTTP: what people do, one after the other."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import icalendar
import pytest_asyncio

from backplane.ids import uuid7
from backplane.postgres import Database
from booking.appointments.module import ROUTES
from tests.support.booking import NOW, Clinic, Front, at, clinic, served, wire


@pytest_asyncio.fixture
async def place(database: Database) -> Clinic:
    return await clinic(database)


@pytest_asyncio.fixture
async def front(place: Clinic) -> AsyncIterator[Front]:
    async with served(place, ROUTES) as front:
        yield front


def wish(place: Clinic, service: str = "video", **more: object) -> dict[str, object]:
    return {"service": str(place.services[service]), "start": wire(at()), **more}


async def test_a_slot_is_held_then_booked(place: Clinic, front: Front) -> None:
    held = await front.post("amina", "/v1/holds", wish(place, reason="cough"), 201)
    assert held["status"] == "held"
    assert held["hold_until"] == wire(NOW + timedelta(minutes=10))
    taken = await front.post("bilal", "/v1/appointments", wish(place), 409)
    assert taken["code"] == "slot_taken"
    assert taken["alternatives"] == [wire(at(minute=m)) for m in (30, 45, 60)]
    booked = await front.post("amina", "/v1/appointments", {"hold": held["id"]}, 201)
    assert (booked["id"], booked["status"], booked["reason"]) == (held["id"], "confirmed", "cough")
    assert (booked["payment"], booked["local_text"]) == ("at_clinic", "2030-01-08 15:00")
    history = await front.get("amina", f"/v1/appointments/{held['id']}/transitions")
    assert [(each["action"], each["self"]) for each in history] == [("hold", True), ("book", True)]
    assert await place.balanced() == 2


async def test_a_clinic_says_for_how_long_slots_are_held(place: Clinic, front: Front) -> None:
    async with place.db.tenant(place.tenant.id) as connection:
        await connection.execute("UPDATE tenant SET policy = $1", {"booking": {"hold_minutes": 4}})
    held = await front.post("amina", "/v1/holds", wish(place), 201)
    assert held["hold_until"] == wire(NOW + timedelta(minutes=4))


async def test_a_hold_is_extended_twice_and_released(place: Clinic, front: Front) -> None:
    held = await front.post("amina", "/v1/holds", wish(place), 201)
    path = f"/v1/holds/{held['id']}"
    place.now += timedelta(minutes=5)
    longer = await front.post("amina", f"{path}/extend")
    assert longer["hold_until"] == wire(NOW + timedelta(minutes=15))
    await front.post("amina", f"{path}/extend")
    assert (await front.post("amina", f"{path}/extend", status=409))["code"] == "no_more_extensions"
    assert (await front.ask("bilal", "DELETE", path)).status == 404
    assert (await front.ask("amina", "DELETE", path)).status == 204
    assert (await front.ask("amina", "DELETE", path)).status == 204
    assert (await front.post("amina", "/v1/appointments", {"hold": held["id"]}, 409))["code"] == "hold_expired"
    await front.post("bilal", "/v1/appointments", wish(place), 201)
    await place.balanced()


async def test_a_hold_that_is_over_makes_way(place: Clinic, front: Front) -> None:
    held = await front.post("amina", "/v1/holds", wish(place), 201)
    place.now += timedelta(minutes=10)
    assert (await front.post("amina", "/v1/appointments", {"hold": held["id"]}, 409))["code"] == "hold_expired"
    await front.post("bilal", "/v1/appointments", wish(place), 201)
    assert (await front.get("amina", f"/v1/appointments/{held['id']}"))["status"] == "expired"
    assert await place.balanced() == 3


async def test_nobody_holds_everything(place: Clinic, front: Front) -> None:
    for hour in (10, 11, 12):
        await front.post("amina", "/v1/holds", wish(place, start=wire(at(hour=hour))), 201)
    refused = await front.post("amina", "/v1/holds", wish(place, start=wire(at(hour=13))), 409)
    assert refused["code"] == "too_many_holds"


async def test_a_request_waits_for_the_doctor(place: Clinic, front: Front) -> None:
    first = await front.post("amina", "/v1/appointments", wish(place, "asked"), 201)
    second = await front.post("bilal", "/v1/appointments", wish(place, "asked", start=wire(at(2))), 201)
    assert first["status"] == second["status"] == "requested"
    assert (await front.ask("amina", "POST", f"/v1/appointments/{first['id']}/accept")).status == 403
    assert (await front.ask("drtariq", "POST", f"/v1/appointments/{first['id']}/accept")).status == 404
    assert (await front.post("drsana", f"/v1/appointments/{first['id']}/accept"))["status"] == "confirmed"
    assert (await front.post("front", f"/v1/appointments/{second['id']}/decline"))["status"] == "declined"
    again = await front.post("drsana", f"/v1/appointments/{second['id']}/accept", status=409)
    assert (again["code"], again["appointment_status"]) == ("not_possible", "declined")
    await place.balanced()


async def test_moving_keeps_history_and_kills_old_links(place: Clinic, front: Front) -> None:
    mine = await front.post("amina", "/v1/appointments", wish(place), 201)
    await front.post("bilal", "/v1/appointments", wish(place, start=wire(at(hour=12))), 201)
    path = f"/v1/appointments/{mine['id']}"
    refused = await front.post("amina", f"{path}/reschedule", {"start": wire(at(hour=12))}, 409)
    assert refused["code"] == "slot_taken"
    # over its own present time
    moved = await front.post("amina", f"{path}/reschedule", {"start": wire(at(minute=15))})
    assert (moved["starts_at"], moved["status"]) == (wire(at(minute=15)), "confirmed")
    async with place.transaction() as connection:
        row = await connection.fetchrow(
            "SELECT join_epoch, ics_sequence, moved FROM appointment WHERE id = $1", uuid_of(mine)
        )
    assert row is not None
    assert tuple(row) == (2, 1, 1)
    place.now = at(minute=15) - timedelta(minutes=60)
    assert (await front.post("amina", f"{path}/reschedule", {"start": wire(at(3))}, 409))["code"] == "too_late"
    assert (await front.post("front", f"{path}/reschedule", {"start": wire(at(3))}))["starts_at"] == wire(at(3))
    await place.balanced()


async def test_a_cancellation_says_what_it_costs(place: Clinic, front: Front) -> None:
    mine = await front.post("amina", "/v1/appointments", wish(place), 201)
    path = f"/v1/appointments/{mine['id']}"
    terms = await front.get("amina", f"{path}/terms")
    assert (terms["may_cancel"], terms["fee_minor"], terms["refund_minor"]) == (True, 0, 100_000)
    place.now = at() - timedelta(hours=3)
    ended = await front.post("amina", f"{path}/cancel", {"reason": "ill"})
    assert (ended["fee_minor"], ended["refund_minor"]) == (50_000, 50_000)
    assert ended["appointment"]["status"] == "cancelled_by_patient"
    theirs = await front.post("bilal", "/v1/appointments", wish(place), 201)
    ended = await front.post("drsana", f"/v1/appointments/{theirs['id']}/cancel")
    assert (ended["fee_minor"], ended["appointment"]["status"]) == (0, "cancelled_by_provider")
    await place.balanced()


async def test_a_visit_takes_its_course_and_is_corrected(place: Clinic, front: Front) -> None:
    mine = await front.post("amina", "/v1/appointments", wish(place), 201)
    path = f"/v1/appointments/{mine['id']}"
    assert (await front.post("amina", f"{path}/check-in", status=409))["code"] == "too_early"
    place.now = at(minute=-10)
    assert (await front.post("amina", f"{path}/check-in"))["status"] == "checked_in"
    for command, status in (("start", "in_progress"), ("interrupt", "interrupted"), ("resume", "in_progress")):
        assert (await front.post("drsana", f"{path}/{command}"))["status"] == status
    assert (await front.post("drsana", f"{path}/complete"))["status"] == "completed"
    assert (await front.post("drsana", f"{path}/correct", {"status": "no_show_patient"}))["status"] == "no_show_patient"
    assert (await front.post("drsana", f"{path}/correct", {"status": "completed"}))["status"] == "completed"
    place.now = at(3)
    late = await front.post("drsana", f"{path}/correct", {"status": "no_show_patient"}, 409)
    assert late["code"] == "too_late"
    await place.balanced()


async def test_either_side_may_miss_a_visit(place: Clinic, front: Front) -> None:
    first = await front.post("amina", "/v1/appointments", wish(place), 201)
    second = await front.post("bilal", "/v1/appointments", wish(place, start=wire(at(hour=11))), 201)
    place.now = at(minute=9)
    path = f"/v1/appointments/{first['id']}/no-show"
    assert (await front.post("drsana", path, {"who": "patient"}, 409))["code"] == "too_early"
    place.now = at(hour=11, minute=10)
    assert (await front.ask("amina", "POST", path, {"who": "patient"})).status == 403
    assert (await front.post("drsana", path, {"who": "patient"}))["status"] == "no_show_patient"
    path = f"/v1/appointments/{second['id']}/no-show"
    assert (await front.post("bilal", path, {"who": "provider"}))["status"] == "no_show_provider"
    await place.balanced()


async def test_the_right_to_override_books_over_others_and_is_on_record(place: Clinic, front: Front) -> None:
    await front.post("bilal", "/v1/appointments", wish(place), 201)
    patient = {"patient": str(place.people["amina"]), "override": {"reason": "emergency"}}
    assert (await front.ask("amina", "POST", "/v1/appointments", wish(place, **patient))).status == 403
    assert (await front.ask("front", "POST", "/v1/appointments", wish(place, **patient))).status == 403
    made = await front.post("boss", "/v1/appointments", wish(place, **patient), 201)
    assert made["overridden"]
    async with place.db.platform() as connection:
        facts = await connection.fetchval(
            "SELECT facts FROM audit_entry WHERE subject_id = $1 ORDER BY id DESC LIMIT 1", uuid_of(made)
        )
    assert (facts["overridden"], facts["cause"]) == (True, "emergency")
    place.now = at(minute=5)
    path = f"/v1/appointments/{made['id']}/cancel"
    ended = await front.post("helper", path, {"override": {"reason": "clinic_error"}})
    assert ended["fee_minor"] == 0
    await place.balanced()


async def test_one_books_for_dependants_and_staff_for_patients(place: Clinic, front: Front) -> None:
    about = {"patient": str(place.people["bilal"])}
    refused = await front.post("amina", "/v1/appointments", wish(place, **about), 403)
    assert refused["code"] == "not_your_patient"
    async with place.transaction() as connection:
        await connection.execute(
            """INSERT INTO dependant (id, guardian_id, person_id, relation, rights, until, created_at)
               VALUES ($1, $2, $3, 'child', '{book,read}', $4, $5)""",
            uuid7(NOW), place.people["amina"], place.people["bilal"], date(2031, 1, 1), NOW,
        )  # fmt: skip
    made = await front.post("amina", "/v1/appointments", wish(place, **about), 201)
    assert made["patient"] == about["patient"]
    assert (await front.post("amina", f"/v1/appointments/{made['id']}/cancel"))["fee_minor"] == 0
    made = await front.post("front", "/v1/appointments", wish(place, **about), 201)
    assert "reason" not in made
    assert (await front.post("front", "/v1/appointments", wish(place, patient=str(uuid7(NOW))), 404))["code"]


async def test_what_is_booked_is_told_as_reading_tells_it(place: Clinic, front: Front) -> None:
    """The answers to commands are made without reading; they must not differ."""
    about = {"patient": str(place.people["bilal"]), "reason": "cough", "timezone": "Europe/London"}
    for n, (name, more) in enumerate((("amina", {"reason": "cough"}), ("front", about))):
        start = at(hour=10 + n).astimezone(ZoneInfo("America/New_York")).isoformat()
        held = await front.post(name, "/v1/holds", wish(place, start=wire(at(2, 10 + n)), **more), 201)
        assert held == shared(await front.get(name, f"/v1/appointments/{held['id']}"), held)
        made = await front.post(name, "/v1/appointments", wish(place, start=start, **more), 201)
        assert made == shared(await front.get(name, f"/v1/appointments/{made['id']}"), made)
        assert ("reason" in made) == (name != "front")


def shared(read: dict[str, object], told: dict[str, object]) -> dict[str, object]:
    """Names and what cancelling costs are added by reading only."""
    assert set(told) <= set(read)
    assert {key for key in read if key not in told} <= {"patient_name", "doctor_name", "service_name", "cancelling"}
    return {key: read[key] for key in told}


async def test_lists_show_what_one_may_see(place: Clinic, front: Front) -> None:
    for hour, name in ((10, "amina"), (11, "bilal"), (12, "amina")):
        await front.post(name, "/v1/appointments", wish(place, start=wire(at(hour=hour)), reason="private"), 201)
    await front.post("amina", "/v1/appointments", wish(place, "other"), 201)
    for name, count in (("amina", 3), ("bilal", 1), ("drsana", 3), ("drtariq", 1), ("front", 4), ("chand", 0)):
        page = await front.get(name, "/v1/appointments")
        assert len(page["items"]) == count, name
        assert all(("reason" in each) == (name != "front") for each in page["items"]), name
    page = await front.get("front", f"/v1/appointments?limit=3&from={wire(at())}")
    rest = await front.get("front", f"/v1/appointments?limit=3&from={wire(at())}&cursor={page['next']}")
    assert len({each["id"] for each in page["items"] + rest["items"]}) == 4
    assert rest["next"] is None


async def test_names_come_with_an_appointment_for_who_may_know_them(place: Clinic, front: Front) -> None:
    made = await front.post("amina", "/v1/appointments", wish(place), 201)
    path = f"/v1/appointments/{made['id']}"
    for name in ("amina", "drsana", "front", "helper"):
        listed = next(each for each in (await front.get(name, "/v1/appointments"))["items"] if each["id"] == made["id"])
        for told in (listed, await front.get(name, path)):
            names = [told[f"{each}_name"] for each in ("doctor", "service", "patient")]
            assert names == ["drsana", "video", "amina"], name
    async with place.transaction() as connection:
        await connection.execute("UPDATE provider SET title = 'Dr' WHERE id = $1", place.providers["drsana"])
        await connection.execute("UPDATE person SET name = '' WHERE id = $1", place.people["amina"])
    told = await front.get("amina", path)
    assert told["doctor_name"] == "Dr drsana"
    assert "patient_name" not in told


async def test_who_has_a_seat_in_a_class_is_told_no_names_of_others(place: Clinic, front: Front) -> None:
    made = await front.post("amina", "/v1/appointments", wish(place, "yoga"), 201)
    await front.post("bilal", "/v1/appointments", wish(place, "yoga"), 201)
    told = await front.get("bilal", f"/v1/appointments/{made['id']}")
    assert (told["doctor_name"], told["service_name"]) == ("drsana", "yoga")
    assert "patient_name" not in told
    assert [each["patient"] for each in told["seats"]] == [str(place.people["bilal"])]


async def test_the_entry_for_a_calendar_says_the_same_instants(place: Clinic, front: Front) -> None:
    made = await front.post("amina", "/v1/appointments", wish(place, reason="secret"), 201)
    response = await front.ask("amina", "GET", f"/v1/appointments/{made['id']}.ics")
    assert response.status == 200
    text = await response.read()
    assert b"secret" not in text
    (event,) = icalendar.Calendar.from_ical(text).walk("VEVENT")
    assert (event["DTSTART"].dt, event["DTEND"].dt) == (at(), at(minute=30))
    assert (await front.ask("bilal", "GET", f"/v1/appointments/{made['id']}.ics")).status == 404


async def test_the_same_key_books_once(place: Clinic, front: Front) -> None:
    answers = [await front.ask("amina", "POST", "/v1/appointments", wish(place), key="the-same-key") for _ in range(3)]
    assert [each.status for each in answers] == [201, 201, 201]
    assert len({(await each.json())["id"] for each in answers}) == 1
    assert await place.balanced() == 1


async def test_whoever_of_a_specialty_is_free_is_booked(place: Clinic, front: Front) -> None:
    body = {"specialty": "cardiology", "start": wire(at())}
    made = [await front.post(name, "/v1/appointments", body, 201) for name in ("amina", "bilal")]
    assert {each["provider"] for each in made} == {str(id) for id in place.providers.values()}
    assert (await front.post("chand", "/v1/appointments", body, 409))["code"] == "slot_taken"
    await place.balanced()


async def test_of_those_who_have_time_the_one_who_is_free_soonest_is_booked(place: Clinic, front: Front) -> None:
    for n, first in enumerate(("drtariq", "drsana")):
        async with place.db.tenant(place.tenant.id) as connection:
            for name, id in place.providers.items():
                free_at = at(hour=8 if name == first else 9)
                await connection.execute("UPDATE provider SET next_free_at = $2 WHERE id = $1", id, free_at)
        body = {"specialty": "cardiology", "start": wire(at(hour=10 + n))}
        made = await front.post("amina", "/v1/appointments", body, 201)
        assert made["provider"] == str(place.providers[first])


async def test_whoever_books_with_any_doctor_sets_no_rules_aside(place: Clinic, front: Front) -> None:
    body = {"specialty": "cardiology", "start": wire(at()), "override": {"reason": "emergency"}}
    assert (await front.post("amina", "/v1/appointments", body, 403))["code"] == "forbidden"
    assert await place.balanced() == 0


async def test_classes_have_seats(place: Clinic, front: Front) -> None:
    made = await front.post("amina", "/v1/appointments", wish(place, "yoga"), 201)
    assert (made["kind"], made["seats_taken"], len(made["seats"])) == ("class", 1, 1)
    assert (await front.post("amina", "/v1/appointments", wish(place, "yoga"), 409))["code"] == "already_booked"
    (session,) = await front.get("guest", "/v1/classes")
    assert (session["id"], session["seats_left"]) == (made["id"], 1)
    other = await front.post("bilal", "/v1/appointments", wish(place, "yoga"), 201)
    assert [seat["patient"] for seat in other["seats"]] == [str(place.people["bilal"])]
    assert (await front.post("chand", "/v1/appointments", wish(place, "yoga"), 409))["code"] == "class_full"
    seats = (await front.get("drsana", f"/v1/appointments/{made['id']}"))["seats"]
    assert [seat["no"] for seat in seats] == [1, 2]
    path = f"/v1/appointments/{made['id']}/seats/{seats[0]['id']}"
    assert (await front.ask("bilal", "DELETE", path)).status == 404
    left = await front.ask("amina", "DELETE", path)
    assert await left.json() == {"fee_minor": 0, "refund_minor": 500, "currency": "PKR"}
    third = await front.post("chand", "/v1/appointments", wish(place, "yoga"), 201)
    assert [seat["no"] for seat in third["seats"]] == [1]
    assert (await front.ask("amina", "POST", f"/v1/appointments/{made['id']}/cancel")).status == 404
    await front.post("drsana", f"/v1/appointments/{made['id']}/cancel")
    async with place.transaction() as connection:
        assert await connection.fetchval("SELECT count(*) FROM seat WHERE status = 'confirmed'") == 0
        assert await connection.fetchval("SELECT seats_taken FROM appointment") == 0
    await place.balanced()


async def test_a_series_is_booked_whole_or_reported(place: Clinic, front: Front) -> None:
    await front.post("bilal", "/v1/appointments", wish(place, start=wire(at(8))), 201)
    body = wish(place, rrule="FREQ=WEEKLY;COUNT=3")
    refused = await front.post("amina", "/v1/series", body, 409)
    assert refused["code"] == "series_conflict"
    assert refused["conflicts"] == [{"start": wire(at(8)), "reason": "taken"}]
    assert await place.balanced() == 1
    made = await front.post("amina", "/v1/series", {**body, "partial": True}, 201)
    assert [each["start"] for each in made["appointments"]] == [wire(at(1)), wire(at(15))]
    refused = await front.post("amina", "/v1/series", {**body, "rrule": "FREQ=HOURLY;COUNT=3"}, 422)
    assert refused["code"] == "bad_rule"
    await place.balanced()


def uuid_of(answer: dict[str, str]) -> str:
    return answer["id"]
