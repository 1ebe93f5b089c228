"""A made-up clinic to try everything out by hand: doctors with hours, patients, staff, all with one password.

It is written once, into a database that has no clinic of this slug. Everybody's password is `PASSWORD`, and the server
says so at its start; so the demo is for one's own machine, and the clinic is apart from all others like any tenant.
"""

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Final
from uuid import UUID

from msgspec import Struct

from backplane.ids import uuid7
from backplane.outbox import Event, emit
from backplane.postgres import Connection, Database
from booking.identity import contacts
from booking.identity.passwords import Passwords
from booking.identity.people import add_identity, new_person
from booking.providers.index import reindex

SLUG: Final = "demo"
PASSWORD: Final = "try-wadud-out"
DOMAIN: Final = "demo.example"
_ZONE: Final = "Asia/Karachi"
_LICENSED: Final = timedelta(days=700)


class Doctor(Struct, frozen=True):
    """``rupees``: price of the first service. ``hours``: of every day, in local time; from 0 to 0 is round the clock,
    so that whoever tries the demo finds somebody whatever the time."""

    mailbox: str
    name: str
    gender: str
    specialties: tuple[str, ...]
    languages: tuple[str, ...]
    rupees: int
    bio: str
    hours: tuple[str, str] = ("00:00", "00:00")
    auto_confirm: bool = True


DOCTORS: Final = (
    Doctor(
        "ayesha",
        "Ayesha Siddiqui",
        "female",
        ("general-practice",),
        ("en", "ur"),
        1500,
        "Family medicine for all ages. Listens first.",
    ),
    Doctor(
        "bilal",
        "بلال احمد",
        "male",
        ("paediatrics", "general-practice"),
        ("ur", "pa"),
        1800,
        "بچوں کے امراض۔ والدین کے ہر سوال کا جواب۔",
    ),
    Doctor(
        "farah",
        "Farah Khan",
        "female",
        ("dermatology",),
        ("en", "ur", "ar"),
        2500,
        "Skin, hair and nails. Sees pictures before the visit.",
        ("10:00", "18:00"),
    ),
    Doctor(
        "omar",
        "Omar Haddad",
        "male",
        ("cardiology",),
        ("en", "ar"),
        3500,
        "Heart and blood pressure. Answers each request himself.",
        ("16:00", "23:00"),
        auto_confirm=False,
    ),
)
WELCOME: Final = f"""The demo clinic is open: on /book anybody finds a doctor and books.
Or sign in with the password {PASSWORD}:
  patient sana@{DOMAIN}   doctor ayesha@{DOMAIN}   front desk desk@{DOMAIN}   clinic admin admin@{DOMAIN}
Mails are put into the folder mail/ of the data directory."""
PATIENTS: Final = (("sana", "Sana Malik"), ("yusuf", "Yusuf Ali"))
STAFF: Final = (("desk", "Front Desk", "staff"), ("admin", "Clinic Admin", "clinic_admin"))


async def furnish(database: Database, passwords: Passwords, now: datetime) -> bool:
    """Make the clinic; False: it is there already."""
    async with database.platform() as platform:
        tenant = await platform.fetchval(
            """INSERT INTO tenant (slug, name, timezone, brand) VALUES ($1, 'Al-Shifa Clinic', $2, '{}')
               ON CONFLICT (slug) DO NOTHING RETURNING id""",
            SLUG,
            _ZONE,
        )
    if tenant is None:
        return False
    hashed = await passwords.hash(PASSWORD)
    async with database.tenant(tenant) as connection, connection.transaction():
        location = uuid7(now)
        await connection.execute(
            """INSERT INTO location (id, name, address, latitude, longitude, timezone, created_at)
               VALUES ($1, 'Clifton', '12 Park Lane, Karachi', 24.8138, 67.0300, $2, $3)""",
            location,
            _ZONE,
            now,
        )
        for doctor in DOCTORS:
            await _doctor(connection, doctor, location, hashed, now)
        for mailbox, name in PATIENTS:
            await _person(connection, mailbox, name, (), hashed, now)
        for mailbox, name, role in STAFF:
            await _person(connection, mailbox, name, (role,), hashed, now)
    return True


async def _person(
    connection: Connection, mailbox: str, name: str, roles: Sequence[str], hashed: str, now: datetime
) -> UUID:
    person = await new_person(connection, now, name=name, locale="en", timezone=_ZONE)
    await add_identity(connection, person, "email", contacts.email(f"{mailbox}@{DOMAIN}").value, now)
    await connection.execute(
        "INSERT INTO password (person_id, hash, changed_at) VALUES ($1, $2, $3)", person, hashed, now
    )
    for role in roles:
        await connection.execute(
            "INSERT INTO membership (id, person_id, role, created_at) VALUES ($1, $2, $3, $4)",
            uuid7(now),
            person,
            role,
            now,
        )
    return person


async def _doctor(connection: Connection, doctor: Doctor, location: UUID, hashed: str, now: datetime) -> None:
    person = await _person(connection, doctor.mailbox, doctor.name, ("doctor",), hashed, now)
    provider = uuid7(now)
    await connection.execute(
        """INSERT INTO provider (id, person_id, status, slug, display_name, title, gender, languages, specialties, bio,
               timezone, location_id, online_until, created_at)
           VALUES ($1, $2, 'approved', $3, $4, 'Dr', $5, $6, $7, $8, $9, $10, NULL, $11)""",
        provider,
        person,
        doctor.mailbox,
        doctor.name,
        doctor.gender,
        list(doctor.languages),
        list(doctor.specialties),
        doctor.bio,
        _ZONE,
        location,
        now,
    )
    await connection.execute(
        """INSERT INTO credential (id, provider_id, kind, number, issuer, country, expires_at, state, created_at,
               decided_at)
           VALUES ($1, $2, 'licence', $3, 'Pakistan Medical and Dental Council', 'PK', $4, 'verified', $5, $5)""",
        uuid7(now),
        provider,
        f"DEMO-{provider.hex[-6:].upper()}",
        now + _LICENSED,
        now,
    )
    for name, kind, minutes, part in (("Consultation", "video", 20, 1.0), ("Follow-up", "video", 10, 0.6)):
        await connection.execute(
            """INSERT INTO service (id, provider_id, name, kind, minutes, step_minutes, notice_minutes, price_minor,
                   currency, auto_confirm, created_at)
               VALUES ($1, $2, $3, $4, $5, 10, 0, $6, 'PKR', $7, $8)""",
            uuid7(now),
            provider,
            name,
            kind,
            minutes,
            round(doctor.rupees * 100 * part),
            doctor.auto_confirm,
            now,
        )
    schedule = uuid7(now)
    await connection.execute(
        "INSERT INTO schedule (id, provider_id, timezone, created_at) VALUES ($1, $2, $3, $4)",
        schedule,
        provider,
        _ZONE,
        now,
    )
    await connection.execute(
        "INSERT INTO schedule_rule (id, schedule_id, opens, closes) VALUES ($1, $2, $3, $4)",
        uuid7(now),
        schedule,
        *(time.fromisoformat(edge) for edge in doctor.hours),
    )
    await reindex(connection, provider, now)
    changed = Event(
        type="availability.changed", aggregate="provider", aggregate_id=provider, payload={"provider": str(provider)}
    )
    await emit(connection, changed, now)
