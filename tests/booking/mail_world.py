"""A clinic with a doctor and patients whose appointments change, and mails on their way to a real SMTP server."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Final
from uuid import UUID

from backplane.bus import LocalBus
from backplane.consumers import Worker
from backplane.hosts import PublicUrls
from backplane.ids import uuid7
from backplane.jobs import Scheduler
from backplane.mail import Postman, SmtpSettings
from backplane.outbox import STREAM, Event, OutboxPublisher, emit
from backplane.postgres import Connection, Database
from booking.links.link import Links
from booking.mail.addresses import PublicAddresses
from booking.mail.delivery import Delivery
from booking.mail.plans import CONSUMER
from tests.support.smtp import SmtpServer

TENANT: Final = 7
SENDER: Final = "Wadud <visits@mail.example>"
BASE_URL: Final = "https://clinics.example"
# Names and texts that may stand in a body at most, never in a subject, a log, an event or a row of the log.
CANARIES: Final = ("Zarqana", "Quetzalov", "haemorrhoids", "zarqana.canary@patients.example")
NOON: Final = datetime(2026, 3, 20, 12, tzinfo=UTC)


class Clinic:
    """``now`` stands still until `until` or `pass_time` moves it."""

    def __init__(self, database: Database, smtp: SmtpServer) -> None:
        self.database = database
        self.smtp = smtp
        self.now = NOON
        self.bus = LocalBus()
        self.postman = Postman(SmtpSettings(host="127.0.0.1", port=smtp.port, sender=SENDER))
        self.links = Links({0: b"k" * 32})
        self.delivery = Delivery(database, self.postman, PublicAddresses(self.links, PublicUrls(BASE_URL)), self.clock)
        self.relay = OutboxPublisher(database, self.bus, self.clock)
        self.worker = Worker(database, self.bus, CONSUMER, self.clock)
        self.scheduler = Scheduler(database, self.delivery.jobs(), self.clock)
        self.doctor = self.provider = self.patient = UUID(int=0)
        self.services: dict[str, UUID] = {}

    def clock(self) -> datetime:
        return self.now

    async def open(self) -> None:
        await self.bus.join(STREAM, CONSUMER.name)
        async with self.database.platform() as connection:
            await connection.execute(
                "INSERT INTO tenant (id, slug, name) VALUES ($1, 'noor', 'Noor & Söhne Clinic')", TENANT
            )
        self.doctor = await self.person("Dr. Quetzalov", "doctor@clinic.example")
        self.patient = await self.person("Zarqana Bibi", "zarqana.canary@patients.example")
        self.provider = uuid7(self.now)
        async with self.database.tenant(TENANT) as connection:
            await connection.execute(
                """INSERT INTO provider (id, person_id, status, slug, display_name, timezone, created_at)
                   VALUES ($1, $2, 'approved', 'quetzalov', 'Dr. Ayesha Quetzalov', 'Asia/Karachi', $3)""",
                self.provider,
                self.doctor,
                self.now,
            )

    async def person(self, name: str, address: str | None, locale: str = "en", zone: str = "Asia/Karachi") -> UUID:
        person = uuid7(self.now)
        async with self.database.tenant(TENANT) as connection:
            await connection.execute(
                "INSERT INTO person (id, name, locale, timezone, created_at) VALUES ($1, $2, $3, $4, $5)",
                *(person, name, locale, zone, self.now),
            )
            if address is not None:
                await connection.execute(
                    "INSERT INTO identity (id, person_id, kind, value, verified_at, created_at) "
                    "VALUES ($1, $2, 'email', $3, $4, $4)",
                    *(uuid7(self.now), person, address, self.now),
                )
        return person

    async def appointment(
        self,
        start: datetime,
        *,
        patient: UUID | None = None,
        status: str = "confirmed",
        kind: str = "video",
        zone: str = "Asia/Karachi",
        minutes: int = 30,
    ) -> UUID:
        """Made, but not told: see `tell`."""
        appointment = uuid7(self.now)
        end = start + timedelta(minutes=minutes)
        async with self.database.tenant(TENANT) as connection:
            if kind not in self.services:
                self.services[kind] = uuid7(self.now)
                await connection.execute(
                    "INSERT INTO service (id, provider_id, name, kind, minutes, created_at) "
                    "VALUES ($1, $2, 'First visit', $3, 30, $4)",
                    *(self.services[kind], self.provider, kind, self.now),
                )
            await connection.execute(
                """INSERT INTO appointment (id, provider_id, provider_no, service_id, patient_id, kind, status, during,
                       occupied, patient_timezone, provider_timezone, local_text, reason, hold_until, capacity,
                       created_at, updated_at)
                   SELECT $1, id, no, $3, $4, $5, $6, tstzrange($7, $8), tstzrange($7, $8), $9, timezone, '',
                       'haemorrhoids', CASE WHEN $6 = 'held' THEN $7::timestamptz END,
                       CASE WHEN $5 = 'class' THEN 9 ELSE 1 END, $10, $10
                   FROM provider WHERE id = $2""",
                *(appointment, self.provider, self.services[kind]),
                *(None if kind == "class" else patient or self.patient, kind, status, start, end, zone, self.now),
            )
        return appointment

    async def change(self, appointment: UUID, event: str, *, status: str | None = None, start: datetime | None = None,
                     patient: UUID | None = None) -> None:  # fmt: skip
        """What booking does: the row and its event in one transaction."""
        async with self.database.tenant(TENANT) as connection, connection.transaction():
            await connection.execute(
                """UPDATE appointment SET ics_sequence = ics_sequence + 1, join_epoch = join_epoch + 1,
                       status = coalesce($2, status),
                       during = CASE WHEN $3::timestamptz IS NULL THEN during
                           ELSE tstzrange($3, $3 + (upper(during) - lower(during))) END,
                       occupied = CASE WHEN $3::timestamptz IS NULL THEN occupied
                           ELSE tstzrange($3, $3 + (upper(during) - lower(during))) END
                   WHERE id = $1""",
                *(appointment, status, start),
            )
            await self._emit(connection, appointment, event, patient)

    async def tell(self, appointment: UUID, event: str, patient: UUID | None = None) -> None:
        async with self.database.tenant(TENANT) as connection, connection.transaction():
            await self._emit(connection, appointment, event, patient)

    async def book(self, start: datetime, **facts: str) -> UUID:
        appointment = await self.appointment(start, zone=facts.get("zone", "Asia/Karachi"))
        await self.tell(appointment, "appointment.booked")
        return appointment

    async def seat(self, lesson: UUID, patient: UUID, number: int, zone: str) -> None:
        """Taken and told."""
        async with self.database.tenant(TENANT) as connection, connection.transaction():
            await connection.execute(
                """INSERT INTO seat (id, appointment_id, no, patient_id, status, price_minor, currency,
                       patient_timezone, created_at, updated_at)
                   VALUES ($1, $2, $3, $4, 'confirmed', 0, 'PKR', $5, $6, $6)""",
                *(uuid7(self.now), lesson, number, patient, zone, self.now),
            )
            await self._emit(connection, lesson, "appointment.booked", patient)

    async def give_up_seat(self, lesson: UUID, patient: UUID) -> None:
        """Given up and told."""
        async with self.database.tenant(TENANT) as connection, connection.transaction():
            await connection.execute(
                "UPDATE seat SET status = 'cancelled_by_patient' WHERE appointment_id = $1 AND patient_id = $2",
                *(lesson, patient),
            )
            await self._emit(connection, lesson, "appointment.cancelled", patient)

    async def _emit(self, connection: Connection, appointment: UUID, event: str, patient: UUID | None) -> None:
        row = await connection.fetchrow(
            "SELECT status, patient_id, ics_sequence, join_epoch FROM appointment WHERE id = $1", appointment
        )
        assert row is not None
        patient = patient or row["patient_id"]
        payload = {"appointment": str(appointment), "status": row["status"], "sequence": row["ics_sequence"],
                   "epoch": row["join_epoch"], "patient": str(patient) if patient else None}  # fmt: skip
        happened = Event(type=event, aggregate="appointment", aggregate_id=appointment, payload=payload)
        await emit(connection, happened, self.now)

    async def plan(self) -> None:
        """Events become rows and jobs."""
        while await self.relay.step():
            pass
        while await self.worker.step():
            pass

    async def work(self) -> list[EmailMessage]:
        """Everything that is due now is planned and sent; the mails that arrived."""
        before = len(self.smtp.received)
        await self.plan()
        while await self.scheduler.step():
            pass
        return self.smtp.received[before:]

    async def pass_time(self, until: datetime) -> list[tuple[datetime, str]]:
        """Jumps from job to job; when which mail arrived, without the doctor's."""
        arrived = []
        while (at := await self.scheduler.next_at()) is not None and at <= until:
            self.now = max(self.now, at)
            arrived += [(self.now, str(mail["Subject"])) for mail in await self.work() if "doctor@" not in mail["To"]]
        self.now = max(self.now, until)
        return arrived

    async def log(self) -> list[tuple[str, str, str | None]]:
        """Kind, state and error of every mail to patients, oldest first."""
        async with self.database.tenant(TENANT) as connection:
            rows = await connection.fetch("SELECT kind, state, last_error FROM mail ORDER BY id")
        return [(row["kind"], row["state"], row["last_error"]) for row in rows if not row["kind"].startswith("doctor_")]

    async def close(self) -> None:
        await self.postman.close()
        await self.bus.close()


def to_patients(mails: Sequence[EmailMessage]) -> list[EmailMessage]:
    return [mail for mail in mails if "doctor@" not in mail["To"]]


def part(mail: EmailMessage, content_type: str) -> EmailMessage:
    (found,) = (each for each in mail.walk() if each.get_content_type() == content_type)
    assert isinstance(found, EmailMessage)
    return found
