"""Sends one mail when its time has come: once, as far as a sender can know, and only if it is still true.

The row is locked, the appointment read anew and the mail marked ``sending`` before the server is spoken to, and
``sent`` after it has taken the mail. A server that is away means a later try with growing gaps. A crash, or a
connection that breaks, between the server's yes and our mark leaves ``sending``, and then the mail goes again: same
Message-ID, same UID and SEQUENCE, so that mail programs and calendars see that it is the same. A lost one would be
worse.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Final, Protocol
from uuid import UUID

from msgspec import Struct, structs

from backplane.ids import uuid7
from backplane.jobs import Errand, JobRow, Later
from backplane.mail import MailRefused, MailUnavailable, Sender, bare_address, envelope
from backplane.outbox import Scalar
from backplane.postgres import Connection, Database, Row
from booking.application import Module
from booking.mail.invites import Method, fill, invite
from booking.mail.letters import Visit, local_time, write, write_plain
from booking.mail.plans import CONSUMER, JOB, REMINDERS, VISITS_PAGE
from booking.mail.texts import language_of
from booking.policy import policy_of, steps

# A mail that could not be handed over for so long tells nothing new any more.
GIVE_UP_AFTER: Final = timedelta(days=2)
# A reminder that is later than this would only confuse: the next one, or the visit, is near.
LATEST: Final[Mapping[str, timedelta]] = {
    "reminder_24h": timedelta(hours=3),
    "reminder_1h": timedelta(minutes=20),
    "reminder_10m": timedelta(minutes=9),
}

_CANCELLED: Final = frozenset({f"cancelled_by_{who}" for who in ("patient", "provider", "clinic", "system")})
_GOING_ON: Final = frozenset({"confirmed", "checked_in", "in_progress", "interrupted"})
# in which states of the appointment a mail about it is true
_TRUE_IN: Final[Mapping[str, frozenset[str]]] = {
    "request": frozenset({"requested"}),
    "confirmation": _GOING_ON,
    "accepted": _GOING_ON,
    "declined": frozenset({"declined"}),
    "changed": _GOING_ON | {"requested"},
    "cancelled": _CANCELLED,
    "doctor_request": frozenset({"requested"}),
    "doctor_booked": _GOING_ON,
    "doctor_changed": _GOING_ON | {"requested"},
    "doctor_cancelled": _CANCELLED,
    "waitlist_offer": frozenset({"held"}),
    **dict.fromkeys(REMINDERS, frozenset({"confirmed"})),
}
_ENTERED: Final[Mapping[str, Method]] = {
    "confirmation": "REQUEST",
    "accepted": "REQUEST",
    "changed": "REQUEST",
    "cancelled": "CANCEL",
}
_INVITING: Final = [kind for kind, method in _ENTERED.items() if method == "REQUEST"]
_WITH_LINK: Final = frozenset({"confirmation", "accepted", "changed", *REMINDERS})
_MANAGEABLE: Final = _WITH_LINK | {"request"}
_WITH_TERMS: Final = _MANAGEABLE - {"reminder_1h", "reminder_10m"}

_VISIT: Final = """
SELECT a.id, a.tenant_id, t.slug, t.name AS clinic, a.status, a.kind, lower(a.during) AS start, upper(a.during) AS end,
    a.ics_sequence, a.join_epoch, a.patient_id, a.provider_timezone, p.display_name, seat.status AS seat_status,
    coalesce(seat.patient_timezone, a.patient_timezone) AS patient_timezone,
    s.name AS service, a.price_minor, a.currency, s.cancel_policy, t.policy,
    coalesce(l.name || CASE WHEN l.address <> '' THEN ', ' || l.address ELSE '' END, '') AS place
FROM appointment a JOIN tenant t ON t.id = a.tenant_id JOIN provider p ON p.id = a.provider_id
    JOIN service s ON s.id = a.service_id LEFT JOIN location l ON l.id = a.location_id
    LEFT JOIN LATERAL (SELECT status, patient_timezone FROM seat WHERE appointment_id = a.id AND patient_id = $2
        ORDER BY created_at DESC LIMIT 1) seat ON a.patient_id IS NULL
WHERE a.id = $1"""

_MAIL: Final = """
SELECT mail.id, mail.kind, mail.appointment_id, mail.created_at, reader.locale, reader.timezone, reader.clinic,
    reader.slug, reader.hosts, reader.id IS NOT NULL AND reader.disabled_at IS NULL AS reads,
    (SELECT value FROM identity WHERE person_id = mail.person_id AND kind = 'email' ORDER BY verified_at DESC LIMIT 1)
        AS address,
    EXISTS (SELECT FROM mail other WHERE other.appointment_id = mail.appointment_id
        AND other.person_id = mail.person_id AND other.state = 'sent' AND other.kind = ANY($2)) AS invited
FROM mail LEFT JOIN LATERAL (
    SELECT person.id, person.locale, person.timezone, person.disabled_at,
        tenant.name AS clinic, tenant.slug, tenant.hosts
    FROM person JOIN tenant ON tenant.id = person.tenant_id WHERE person.id = mail.person_id) reader ON true
WHERE mail.id = $1 AND mail.state IN ('queued', 'sending') FOR UPDATE OF mail"""


class Addresses(Protocol):
    """Where links lead; the composition knows hosts and keys."""

    def join(self, visit: Visit, patient: UUID, locale: str) -> str | None:
        """The patient's own link into the visit, ``https://HOST/j/SLUG#TOKEN``."""

    def page(self, slug: str, hosts: tuple[str, ...], path: str) -> str:
        """A page of the clinic."""


class _Skip(Exception):
    """The mail is not to be sent; the text is the code of why."""


class _Ready(Struct, frozen=True):
    """All that a message is made of, read at one moment."""

    mail: UUID
    kind: str
    to: str
    locale: str
    zone: str
    clinic: str
    slug: str
    hosts: tuple[str, ...]
    message_id: str
    visit: Visit | None
    invited: bool
    facts: Mapping[str, Scalar]


class Delivery:
    """Does the jobs of `plans`."""

    def __init__(self, database: Database, sender: Sender, addresses: Addresses, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._sender = sender
        self._addresses = addresses
        self._clock = clock

    def part(self) -> Module:
        """The consumer that plans and the job that sends, for `application.at_work`."""
        return Module(consumers=[CONSUMER], jobs=self.jobs())

    def jobs(self) -> dict[str, Errand]:
        return {JOB: Errand(self.deliver)}

    async def deliver(self, job: JobRow, now: datetime) -> None:
        """Sends the mail of the job, or notes why not. Raises Later: the server is away."""
        async with self._database.tenant(job.tenant) as connection, connection.transaction():
            ready = await self._make_ready(connection, job, now)
        if ready is None:
            return
        try:
            await self._sender.send(self._message(ready, now), ready.to)
        except MailUnavailable as error:
            await self._note(job, ready, "queued", str(error))
            raise Later(str(error)) from None
        except (MailRefused, ValueError) as error:
            # One mail that cannot be written, such as to what is no address, must not keep others back.
            await self._note(job, ready, "failed", str(error) if isinstance(error, MailRefused) else "bad_address")
        else:
            await self._note(job, ready, "sent", None, now)

    async def send_text(self, tenant: int, to: str, subject: str, body: str) -> None:
        """A mail whose words and address another part brings (sign-in codes, invitations). Nothing of it is logged.
        Raises Later and MailRefused."""
        now = self._clock()
        message = envelope(self._sender.sender, to, subject, self._message_id(uuid7(now)), now)
        fill(message, write_plain(subject, body))
        try:
            await self._sender.send(message, to)
        except MailUnavailable as error:
            raise Later(str(error)) from None

    async def _make_ready(self, connection: Connection, job: JobRow, now: datetime) -> _Ready | None:
        mail = await connection.fetchrow(_MAIL, job.subject, _INVITING)
        if mail is None:
            return None
        try:
            ready = await self._read(connection, mail, job, now)
        except _Skip as skip:
            await connection.execute(
                "UPDATE mail SET state = 'skipped', last_error = $2 WHERE id = $1", mail["id"], str(skip)
            )
            return None
        await connection.execute(
            "UPDATE mail SET state = 'sending', attempts = attempts + 1, locale = $2, message_id = $3 WHERE id = $1",
            ready.mail,
            language_of(ready.locale),
            ready.message_id,
        )
        return ready

    async def _read(self, connection: Connection, mail: Row, job: JobRow, now: datetime) -> _Ready:
        """Raises _Skip when the mail is not true any more, or has nobody to go to."""
        kind: str = mail["kind"]
        if kind not in REMINDERS and now - mail["created_at"] > GIVE_UP_AFTER:
            raise _Skip("too_old")
        until = job.payload.get("until")
        if until is not None and datetime.fromisoformat(str(until)) <= now:
            raise _Skip("too_late")
        visit = None
        if mail["appointment_id"] is not None:
            patient = job.payload.get("patient")
            visit = await _visit(connection, mail["appointment_id"], UUID(str(patient)) if patient else None)
            left = tuple(step for step in visit.cancelling if step.until > now) if kind in _WITH_TERMS else ()
            visit = structs.replace(visit, cancelling=left)
            _check(kind, visit, job, now)
        if not mail["reads"]:
            raise _Skip("no_reader")
        if mail["address"] is None:
            raise _Skip("no_address")
        return _Ready(
            mail=mail["id"],
            kind=kind,
            to=mail["address"],
            locale=mail["locale"],
            zone=mail["timezone"],
            clinic=mail["clinic"],
            slug=mail["slug"],
            hosts=tuple(mail["hosts"]),
            message_id=self._message_id(mail["id"]),
            visit=visit,
            invited=mail["invited"],
            facts=job.payload,
        )

    def _message(self, ready: _Ready, now: datetime) -> EmailMessage:
        visit, facts = ready.visit, ready.facts
        link, manage, values = None, None, {}
        if visit is not None:
            if ready.kind in _MANAGEABLE:
                manage = self._addresses.page(ready.slug, ready.hosts, VISITS_PAGE)
            if ready.kind in _WITH_LINK and visit.status in _GOING_ON and visit.kind != "in_person":
                link = self._addresses.join(visit, UUID(str(facts["patient"])), ready.locale)
        if path := facts.get("path"):
            link = self._addresses.page(ready.slug, ready.hosts, str(path))
        if until := facts.get("until"):
            values["until"] = local_time(datetime.fromisoformat(str(until)), ready.zone, language_of(ready.locale))
        letter = write(ready.kind, ready.locale, ready.clinic, visit=visit, link=link, manage=manage, values=values)
        sender = self._sender.sender
        message = envelope(sender, ready.to, letter.subject, ready.message_id, now)
        method = _ENTERED.get(ready.kind)
        # what was never entered need not be struck out, and a request is not in anybody's calendar yet
        if (
            visit is None
            or method is None
            or (not ready.invited if method == "CANCEL" else visit.status == "requested")
        ):
            fill(message, letter)
        else:
            entry = invite(
                visit, method, letter.language, sender=sender, to=ready.to, link=link, manage=manage, now=now
            )
            fill(message, letter, entry, method)
        return message

    def _message_id(self, mail: UUID) -> str:
        return f"<{mail}@{bare_address(self._sender.sender).rpartition('@')[2]}>"

    async def _note(
        self, job: JobRow, ready: _Ready, state: str, error: str | None, sent_at: datetime | None = None
    ) -> None:
        async with self._database.tenant(job.tenant) as connection:
            await connection.execute(
                "UPDATE mail SET state = $2, last_error = $3, sent_at = $4 WHERE id = $1 AND state = 'sending'",
                ready.mail,
                state,
                error,
                sent_at,
            )


def _check(kind: str, visit: Visit, job: JobRow, now: datetime) -> None:
    """Raises _Skip when the appointment is not as the mail says."""
    if visit.status not in _TRUE_IN[kind]:
        raise _Skip("status")
    if job.payload.get("sequence") != visit.sequence:
        raise _Skip("overtaken")
    if kind == "doctor_cancelled" and visit.status == "cancelled_by_provider":
        raise _Skip("own_act")
    if visit.end <= now and kind not in ("declined", "cancelled", "doctor_cancelled"):
        raise _Skip("over")
    if kind in REMINDERS and now - (visit.start - REMINDERS[kind]) > LATEST[kind]:
        raise _Skip("too_late")


async def _visit(connection: Connection, appointment: UUID, patient: UUID | None) -> Visit:
    row = await connection.fetchrow(_VISIT, appointment, patient)
    if row is None:
        raise _Skip("status")
    return Visit(
        appointment=row["id"],
        tenant=row["tenant_id"],
        slug=row["slug"],
        clinic=row["clinic"],
        # a seat that is given up is off for its patient, whatever becomes of the class
        status=row["status"] if row["seat_status"] in (None, "confirmed") else row["seat_status"],
        kind=row["kind"],
        start=row["start"],
        end=row["end"],
        sequence=row["ics_sequence"],
        epoch=row["join_epoch"],
        patient=row["patient_id"],
        patient_zone=row["patient_timezone"],
        provider=row["display_name"],
        provider_zone=row["provider_timezone"],
        service=row["service"],
        place=row["place"],
        cancelling=steps(policy_of(row["cancel_policy"], row["policy"]), row["start"], row["price_minor"]),
        currency=row["currency"],
    )
