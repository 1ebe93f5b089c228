"""From an event to a mail in a patient's box: at the right time, once, and only while it is true."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import pytest_asyncio

from backplane.jobs import LEASE
from backplane.logs import JsonFormatter
from backplane.outbox import Event, emit
from backplane.postgres import Database
from booking.mail.plans import post
from tests.booking.mail_world import BASE_URL, CANARIES, NOON, TENANT, Clinic, part, to_patients
from tests.support.smtp import SmtpServer

HOUR = timedelta(hours=1)
LATER = NOON + timedelta(days=3)


@pytest_asyncio.fixture
async def clinic(database: Database, smtp_server: SmtpServer) -> AsyncIterator[Clinic]:
    made = Clinic(database, smtp_server)
    await made.open()
    yield made
    await made.close()


async def test_a_booking_is_confirmed_at_once_with_a_link_that_opens_the_visit(clinic: Clinic) -> None:
    appointment = await clinic.book(LATER)
    (mail,) = to_patients(await clinic.work())
    assert (mail["To"], mail["Subject"]) == ("zarqana.canary@patients.example", "Your appointment")
    text = part(mail, "text/plain").get_content()
    (url,) = (line.strip() for line in text.splitlines() if line.startswith(BASE_URL))
    path, _, token = url.removeprefix(BASE_URL).partition("#")
    link = clinic.links.read(token)
    assert path == "/j/noor"
    assert (link.appointment, link.holder, link.epoch) == (appointment, clinic.patient, 1)
    assert ("confirmation", "sent", None) in await clinic.log()


async def test_reminders_come_exactly_24_hours_1_hour_and_10_minutes_before(clinic: Clinic) -> None:
    await clinic.book(LATER)
    await clinic.work()
    assert await clinic.pass_time(LATER + HOUR) == [
        (LATER - timedelta(hours=24), "Your appointment tomorrow"),
        (LATER - timedelta(hours=1), "Your appointment in 1 hour"),
        (LATER - timedelta(minutes=10), "Your appointment in 10 minutes"),
    ]


@pytest.mark.parametrize("start", ["2026-03-29T10:00+01:00", "2026-10-25T10:00+00:00"])
async def test_24_hours_are_24_hours_when_the_clocks_change_in_between(clinic: Clinic, start: str) -> None:
    at = datetime.fromisoformat(start).astimezone(UTC)
    clinic.now = at - timedelta(days=5)
    await clinic.book(at, zone="Europe/London")
    await clinic.work()
    first, *_ = await clinic.pass_time(at)
    assert first[0] == at - timedelta(hours=24)


async def test_a_booking_at_short_notice_has_only_the_reminders_that_still_lie_ahead(clinic: Clinic) -> None:
    await clinic.book(NOON + timedelta(minutes=30))
    await clinic.work()
    assert await clinic.pass_time(LATER) == [(NOON + timedelta(minutes=20), "Your appointment in 10 minutes")]


async def test_a_cancellation_withdraws_the_reminders_and_is_told(clinic: Clinic) -> None:
    appointment = await clinic.book(LATER)
    await clinic.work()
    await clinic.change(appointment, "appointment.cancelled", status="cancelled_by_provider")
    (mail,) = to_patients(await clinic.work())
    assert mail["Subject"] == "Your appointment is cancelled"
    assert BASE_URL not in part(mail, "text/plain").get_content()
    assert await clinic.pass_time(LATER + HOUR) == []
    assert [entry[:2] for entry in await clinic.log()] == [
        ("confirmation", "sent"),
        *((f"reminder_{kind}", "withdrawn") for kind in ("24h", "1h", "10m")),
        ("cancelled", "sent"),
    ]


async def test_a_move_replaces_the_reminders(clinic: Clinic) -> None:
    appointment = await clinic.book(LATER)
    await clinic.work()
    await clinic.pass_time(LATER - timedelta(hours=2))
    await clinic.change(appointment, "appointment.rescheduled", start=LATER + timedelta(days=1))
    (mail,) = to_patients(await clinic.work())
    assert mail["Subject"] == "Your appointment has moved"
    assert "Tuesday 24 March 2026" in part(mail, "text/plain").get_content()
    assert await clinic.pass_time(LATER + timedelta(days=2)) == [
        (LATER, "Your appointment tomorrow"),
        (LATER + timedelta(hours=23), "Your appointment in 1 hour"),
        (LATER + timedelta(hours=23, minutes=50), "Your appointment in 10 minutes"),
    ]


async def test_two_moves_of_which_the_first_is_seen_late_leave_one_set_of_reminders(clinic: Clinic) -> None:
    appointment = await clinic.book(LATER)
    await clinic.work()
    await clinic.change(appointment, "appointment.rescheduled", start=LATER + HOUR)
    await clinic.change(appointment, "appointment.rescheduled", start=LATER + 2 * HOUR)
    (mail,) = to_patients(await clinic.work())
    assert "19:00–19:30 (Karachi)" in part(mail, "text/plain").get_content()
    assert ("changed", "skipped", "overtaken") in await clinic.log()
    assert [at for at, _ in await clinic.pass_time(LATER + 4 * HOUR)] == [
        LATER + 2 * HOUR - before for before in (24 * HOUR, HOUR, timedelta(minutes=10))
    ]


async def test_a_mail_that_is_not_true_any_more_when_its_time_comes_is_skipped(clinic: Clinic) -> None:
    appointment = await clinic.book(LATER)
    await clinic.plan()
    # changed without an event that has arrived yet
    async with clinic.database.tenant(TENANT) as connection:
        await connection.execute("UPDATE appointment SET status = 'cancelled_by_clinic' WHERE id = $1", appointment)
    assert to_patients(await clinic.work()) == []
    assert await clinic.pass_time(LATER) == []
    assert {entry[1:] for entry in await clinic.log()} == {("skipped", "status")}


async def test_nobody_is_reminded_of_a_visit_that_has_begun(clinic: Clinic) -> None:
    appointment = await clinic.book(LATER)
    await clinic.work()
    clinic.now = LATER - timedelta(minutes=15)
    await clinic.change(appointment, "appointment.started", status="in_progress")
    await clinic.plan()
    assert await clinic.pass_time(LATER) == []


async def test_a_request_is_received_then_accepted_and_only_then_reminded(clinic: Clinic) -> None:
    appointment = await clinic.appointment(LATER, status="requested")
    await clinic.tell(appointment, "appointment.requested")
    (received,) = to_patients(await clinic.work())
    assert received["Subject"] == "Your request"
    assert await clinic.pass_time(NOON + HOUR) == []
    await clinic.change(appointment, "appointment.accepted", status="confirmed")
    (accepted,) = to_patients(await clinic.work())
    assert "The doctor has accepted" in part(accepted, "text/plain").get_content()
    assert len(await clinic.pass_time(LATER)) == 3


async def test_a_request_is_declined(clinic: Clinic) -> None:
    appointment = await clinic.appointment(LATER, status="requested")
    await clinic.tell(appointment, "appointment.requested")
    await clinic.work()
    await clinic.change(appointment, "appointment.declined", status="declined")
    (declined,) = to_patients(await clinic.work())
    assert "not possible" in part(declined, "text/plain").get_content()
    assert not [each for each in declined.walk() if each.get_content_type() == "text/calendar"]


async def test_the_doctor_is_told_without_the_patient_s_name(clinic: Clinic) -> None:
    appointment = await clinic.book(LATER)
    (mail,) = [each for each in await clinic.work() if each["To"] == "doctor@clinic.example"]
    assert mail["Subject"] == "A new appointment"
    assert "Zarqana" not in mail.as_string()
    assert BASE_URL not in part(mail, "text/plain").get_content()
    await clinic.change(appointment, "appointment.cancelled", status="cancelled_by_provider")
    assert [each for each in await clinic.work() if each["To"] == "doctor@clinic.example"] == []


async def test_an_event_that_comes_again_sends_nothing_new(clinic: Clinic) -> None:
    await clinic.book(LATER)
    assert len(await clinic.work()) == 2
    async with clinic.database.platform() as connection:
        await connection.execute("UPDATE outbox SET relayed_at = NULL")
        await connection.execute("DELETE FROM consumed_event")  # so that only the log of mails knows
    assert await clinic.work() == []


async def test_a_mail_server_that_is_away_delays_and_loses_nothing(clinic: Clinic) -> None:
    await clinic.smtp.stop()
    await clinic.book(LATER)
    assert await clinic.work() == []
    assert ("confirmation", "queued", "not reachable") in await clinic.log()
    clinic.now += timedelta(minutes=1)
    assert await clinic.work() == []
    await clinic.smtp.start()
    assert [subject for _, subject in await clinic.pass_time(NOON + HOUR)] == ["Your appointment"]
    assert ("confirmation", "sent", None) in await clinic.log()


async def test_a_refused_address_is_noted_and_not_tried_again(clinic: Clinic) -> None:
    clinic.smtp.replies += ["550 no Zarqana here"] * 2
    await clinic.book(LATER)
    assert await clinic.work() == []
    assert ("confirmation", "failed", "smtp 550") in await clinic.log()
    assert await clinic.pass_time(NOON + HOUR) == []


async def test_a_crash_after_the_server_took_the_mail_sends_the_same_mail_again(clinic: Clinic) -> None:
    await clinic.book(LATER)
    await clinic.plan()
    async with clinic.database.tenant(TENANT) as connection:
        await connection.execute("DELETE FROM job WHERE key LIKE '%doctor%' OR key LIKE '%reminder%'")
    note, clinic.delivery._note = clinic.delivery._note, _crash  # type: ignore[method-assign,assignment]
    await clinic.scheduler.step()
    clinic.delivery._note = note  # type: ignore[method-assign]
    assert ("confirmation", "sending", None) in await clinic.log()
    clinic.now += LEASE
    await clinic.work()
    first, second = clinic.smtp.received
    assert first["Message-ID"] == second["Message-ID"]
    assert ("confirmation", "sent", None) in await clinic.log()


async def _crash(*_: object) -> None:
    raise asyncio.CancelledError


async def test_many_bookings_are_planned_together_and_a_mail_to_nobody_needs_no_job(clinic: Clinic) -> None:
    patients = [await clinic.person(f"Zarqana {number}", None) for number in range(3)] + [clinic.patient]
    for number, patient in enumerate(patients):
        visit = await clinic.appointment(LATER + number * timedelta(hours=1), patient=patient)
        await clinic.tell(visit, "appointment.booked")
    await clinic.plan()
    async with clinic.database.tenant(TENANT) as connection:
        due = await connection.fetch(
            "SELECT kind, state FROM mail WHERE id IN (SELECT subject FROM job WHERE run_at <= $1) ORDER BY kind", NOON
        )
        notes = await connection.fetchval("SELECT count(DISTINCT xmin::text) FROM mail")
    assert [tuple(row) for row in due] == [("confirmation", "queued")] + 4 * [("doctor_booked", "queued")]
    assert notes == 1
    assert [mail["To"] for mail in to_patients(await clinic.work())] == ["zarqana.canary@patients.example"]
    # an address that comes later is in time for the reminder
    async with clinic.database.tenant(TENANT) as connection:
        await connection.execute(
            "INSERT INTO identity (id, person_id, kind, value, verified_at, created_at) "
            "VALUES (gen_random_uuid(), $1, 'email', 'late@patients.example', $2, $2)",
            *(patients[0], NOON),
        )
    await clinic.pass_time(LATER - timedelta(hours=24))
    assert clinic.smtp.received[-1]["To"] == "late@patients.example"


async def test_a_patient_without_address_is_noted_and_a_guardian_is_written_to(clinic: Clinic) -> None:
    child = await clinic.person("Zarqana junior", None)
    appointment = await clinic.appointment(LATER, patient=child)
    await clinic.tell(appointment, "appointment.booked")
    assert to_patients(await clinic.work()) == []
    assert (await clinic.log())[0] == ("confirmation", "skipped", "no_address")

    async with clinic.database.tenant(TENANT) as connection:
        await connection.execute(
            """INSERT INTO dependant (id, guardian_id, person_id, relation, rights, created_at)
               VALUES (gen_random_uuid(), $1, $2, 'child', '{book}', $3)""",
            *(clinic.patient, child, NOON),
        )
    second = await clinic.appointment(LATER + HOUR, patient=child)
    await clinic.tell(second, "appointment.booked")
    (mail,) = to_patients(await clinic.work())
    assert mail["To"] == "zarqana.canary@patients.example"


async def test_everybody_in_a_class_is_told_that_it_is_off_and_who_left_only_once(clinic: Clinic) -> None:
    zones = ("Asia/Karachi", "Europe/London", "America/Toronto")
    people = [await clinic.person("Zarqana", f"seat{number}@patients.example") for number in range(3)]
    lesson = await clinic.appointment(LATER, kind="class")
    await clinic.tell(lesson, "appointment.booked")
    assert await clinic.work() == []  # a class was opened
    for number, person in enumerate(people):
        await clinic.seat(lesson, person, number + 1, zones[number])
    mails = await clinic.work()
    assert sorted(mail["To"] for mail in mails) == [f"seat{number}@patients.example" for number in range(3)]
    assert "08:00–08:30 (Toronto)" in "".join(part(mail, "text/plain").get_content() for mail in mails)
    await clinic.give_up_seat(lesson, people[0])
    (mail,) = await clinic.work()
    assert (mail["To"], part(mail, "text/calendar").get_param("method")) == ("seat0@patients.example", "CANCEL")
    assert len(await clinic.pass_time(LATER - 2 * HOUR)) == 2
    await clinic.change(lesson, "appointment.cancelled", status="cancelled_by_clinic")
    told = sorted(mail["To"] for mail in await clinic.work())
    assert told == ["doctor@clinic.example", "seat1@patients.example", "seat2@patients.example"]
    assert await clinic.pass_time(LATER) == []


async def test_who_is_next_on_the_waitlist_is_offered_the_time_until_it_lapses(clinic: Clinic) -> None:
    offer = await clinic.appointment(LATER, status="held")
    until = NOON + timedelta(minutes=30)
    for entry, state in {UUID(int=1): "offered", UUID(int=2): "lapsed"}.items():
        async with clinic.database.tenant(TENANT) as connection:
            await connection.execute(
                """INSERT INTO waitlist_entry (id, service_id, provider_id, patient_id, during, state, offer_id,
                       offer_until, created_at) VALUES ($1, $2, $3, $4, tstzrange($5, $6), $7, $8,
                       $9, $5)""",
                *(entry, clinic.services["video"], clinic.provider, clinic.patient, NOON, LATER, state, offer, until),
            )
        await clinic_event(clinic, "waitlist.offered", entry)
    (mail,) = await clinic.work()
    text = part(mail, "text/plain").get_content()
    assert "Friday 20 March 2026, 17:30 (Karachi)" in text
    assert "Monday 23 March 2026, 17:00–17:30 (Karachi)" in text
    assert text.splitlines()[-5:-3] == ["Open:", "https://noor.clinics.example/visits"]


async def test_a_confirmation_leads_to_where_the_visit_is_moved_or_cancelled(clinic: Clinic) -> None:
    await clinic.book(LATER)
    (mail,) = to_patients(await clinic.work())
    assert "Change or cancel: https://noor.clinics.example/visits" in part(mail, "text/plain").get_content()
    assert "https://noor.clinics.example/visits" in part(mail, "text/calendar").get_content().replace("\r\n ", "")


async def test_what_was_never_entered_into_a_calendar_is_not_struck_out(clinic: Clinic) -> None:
    appointment = await clinic.appointment(LATER, status="requested")
    await clinic.tell(appointment, "appointment.requested")
    await clinic.work()
    await clinic.change(appointment, "appointment.cancelled", status="cancelled_by_patient")
    (mail,) = to_patients(await clinic.work())
    assert [each.get_content_type() for each in mail.walk()] == ["multipart/alternative", "text/plain", "text/html"]


async def test_a_visit_in_the_house_has_no_link_to_join(clinic: Clinic) -> None:
    appointment = await clinic.appointment(LATER, kind="in_person")
    await clinic.tell(appointment, "appointment.booked")
    (mail,) = to_patients(await clinic.work())
    assert "/j/" not in part(mail, "text/plain").get_content()
    assert "Join" not in part(mail, "text/html").get_content()


async def test_other_parts_post_mails_with_an_end(clinic: Clinic) -> None:
    async with clinic.database.tenant(TENANT) as connection, connection.transaction():
        for entry, minutes in (("1", 30), ("2", 0)):
            until = NOON + timedelta(minutes=minutes)
            assert await post(
                connection, "waitlist_offer", clinic.patient, f"waitlist:{entry}", NOON, path="/w/1", until=until
            )
        assert not await post(connection, "waitlist_offer", clinic.patient, "waitlist:1", NOON)
    (mail,) = await clinic.work()
    text = part(mail, "text/plain").get_content()
    assert "Friday 20 March 2026, 17:30 (Karachi)" in text
    assert "https://noor.clinics.example/w/1" in text
    assert ("waitlist_offer", "skipped", "too_late") in await clinic.log()


async def test_a_doctor_is_warned_of_a_licence_that_expires(clinic: Clinic) -> None:
    await clinic_event(clinic, "doctor.licence_expiring", clinic.provider)
    (mail,) = await clinic.work()
    assert (mail["To"], mail["Subject"]) == ("doctor@clinic.example", "A document of yours expires")


async def clinic_event(clinic: Clinic, kind: str, aggregate: UUID) -> None:
    async with clinic.database.tenant(TENANT) as connection, connection.transaction():
        await emit(connection, Event(type=kind, aggregate="provider", aggregate_id=aggregate), clinic.now)


async def test_codes_and_invitations_of_identity_go_out_as_plain_letters(clinic: Clinic) -> None:
    await clinic.delivery.send_text(TENANT, "zarqana.canary@patients.example", "رمزك", "رمزك 123456 {لا} <b>")
    (mail,) = clinic.smtp.received
    assert "123456 {لا} <b>" in part(mail, "text/plain").get_content()
    html = part(mail, "text/html").get_content()
    assert 'dir="auto"' in html
    assert "123456 {لا} &lt;b&gt;" in html


async def test_no_canary_is_in_a_subject_a_log_an_event_or_the_delivery_log(
    clinic: Clinic, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    clinic.smtp.replies += ["550 Zarqana is unknown", "451 Zarqana is busy"]
    appointment = await clinic.book(LATER)
    await clinic.work()
    await clinic.change(appointment, "appointment.rescheduled", start=LATER + HOUR)
    await clinic.work()
    await clinic.pass_time(LATER - HOUR)
    await clinic.change(appointment, "appointment.cancelled", status="cancelled_by_patient")
    await clinic.pass_time(LATER)
    async with clinic.database.platform() as connection:
        tables = [
            row["line"]
            for table in ("mail", "job", "outbox", "dead_letter", "consumed_event")
            for row in await connection.fetch(f"SELECT t::text AS line FROM {table} t")
        ]
    lines = [JsonFormatter().format(record) for record in caplog.records]
    subjects = [str(mail["Subject"]) for mail in clinic.smtp.received]
    assert len(subjects) > 4
    assert [text for text in (*tables, *lines, *subjects) if any(canary in text for canary in CANARIES)] == []
    assert "haemorrhoids" not in "".join(mail.as_string() for mail in clinic.smtp.received)
