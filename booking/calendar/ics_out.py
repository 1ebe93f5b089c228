"""Secret feeds: a person's appointments under an address that calendars elsewhere subscribe to (RFC 5545, RFC 7986).

Whoever has the address can read it, so it tells only when: a neutral summary, no names, no reason, no link. The
database keeps a hash of the secret. Asking for a feed again rotates it: the older address is gone at once.
"""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

from aiohttp import web
from icalendar import Calendar, Event
from msgspec import Meta, Struct

from backplane.api import Call, Routes
from backplane.audit import Entry, record
from backplane.binding import matches, tag_of
from backplane.ids import uuid7
from backplane.postgres import Connection, Row
from booking.calendar.access import NOT_FOUND, not_found

PRODUCT: Final = "-//Wadud//feed//EN"
SUMMARY: Final = "Appointment"
REFRESH: Final = timedelta(hours=1)
PAST: Final = timedelta(days=30)
FUTURE: Final = timedelta(days=400)
MAX_ENTRIES: Final = 2000
SECRET_BYTES: Final = 32

routes = Routes(tag="feeds")

# the secret as the name of a file, for calendars that look at the ending
File = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\.ics$")]

# visits one has as a patient, those that one gives, and seats in classes; every row once
_ROW: Final = "a.id, a.starts_at AS start, upper(a.during) AS end, a.status, a.ics_sequence, a.updated_at, a.created_at"
_SHOWN: Final = """a.status IN ('requested', 'confirmed', 'checked_in', 'in_progress', 'interrupted', 'completed')
    AND a.starts_at >= $2 AND a.starts_at < $3 ORDER BY a.starts_at, a.id LIMIT $4"""
_APPOINTMENTS: Final = f"""
(SELECT {_ROW} FROM appointment a WHERE a.patient_id = $1 AND {_SHOWN})
UNION (SELECT {_ROW} FROM appointment a WHERE a.provider_id =
        (SELECT p.id FROM provider p WHERE p.tenant_id = app_tenant() AND p.person_id = $1) AND {_SHOWN})
UNION (SELECT {_ROW} FROM seat e JOIN appointment a ON a.id = e.appointment_id
    WHERE e.patient_id = $1 AND e.status = 'confirmed' AND {_SHOWN})
ORDER BY start, id LIMIT $4"""


class NewFeed(Struct, frozen=True):
    """``path`` holds the secret and is told this once."""

    path: str
    created_at: datetime


class FeedState(Struct, frozen=True):
    created_at: datetime | None


@routes.post("/v1/feeds", right="feed.manage", status=201)
async def rotate_feed(call: Call) -> NewFeed:
    """Make a secret address for one's own appointments; an older one stops working."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    async with call.transaction() as connection:
        # one at a time: of two that see none, the second would break the rule of one for each person
        await connection.execute("SELECT true FROM person WHERE id = $1 FOR NO KEY UPDATE", call.principal.person)
        await _revoke(call, connection)
        await connection.execute(
            "INSERT INTO feed (id, person_id, secret_hash, created_at) VALUES ($1, $2, $3, $4)",
            uuid7(call.now), call.principal.person, _hash(secret), call.now,
        )  # fmt: skip
        await _note(call, connection, "feed.made")
    return NewFeed(f"/v1/feeds/{secret}.ics", call.now)


@routes.get("/v1/feeds", right="feed.manage")
async def show_feed(call: Call) -> FeedState:
    """Whether there is a feed, and since when; its address cannot be shown again."""
    async with call.db.tenant(call.tenant.id) as connection:
        made = await connection.fetchval(
            "SELECT created_at FROM feed WHERE person_id = $1 AND revoked_at IS NULL", call.principal.person
        )
    return FeedState(made)


@routes.delete("/v1/feeds", right="feed.manage")
async def revoke_feed(call: Call) -> None:
    """Let the address work no more."""
    async with call.transaction() as connection:
        if await _revoke(call, connection):
            await _note(call, connection, "feed.revoked")


@routes.get("/v1/feeds/{file}", content_type="text/calendar", problems=NOT_FOUND)
async def read_feed(call: Call, file: File) -> web.Response:
    """The appointments of whom the secret belongs to, as a calendar."""
    async with call.db.tenant(call.tenant.id) as connection:
        person = await connection.fetchval(
            """SELECT f.person_id FROM feed f JOIN person p ON p.id = f.person_id
               WHERE f.secret_hash = $1 AND f.revoked_at IS NULL AND p.disabled_at IS NULL""",
            _hash(file.removesuffix(".ics")),
        )
        if person is None:
            raise not_found("feed")
        rows = await appointments(connection, person, call.now)
    content = feed(rows, call.services.urls.host)
    tag = tag_of(content)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "X-Robots-Tag": "noindex"}
    if matches(call.request, tag):
        return web.Response(status=304, headers=headers)
    return web.Response(body=content, content_type="text/calendar", charset="utf-8", headers=headers)


async def appointments(connection: Connection, person: UUID, now: datetime) -> list[Row]:
    """Appointments of ``person``, as patient or as provider."""
    return await connection.fetch(_APPOINTMENTS, person, now - PAST, now + FUTURE, MAX_ENTRIES)


def feed(rows: Sequence[Row], host: str) -> bytes:
    """The calendar. The same appointments give the same bytes."""
    calendar = Calendar()
    calendar.add("prodid", PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("calscale", "GREGORIAN")
    calendar.add("method", "PUBLISH")
    calendar.add("refresh-interval", REFRESH, parameters={"VALUE": "DURATION"})
    calendar.add("x-published-ttl", f"PT{int(REFRESH.total_seconds() // 3600)}H")
    for row in rows:
        event = Event()
        event.add("uid", f"{row['id']}@{host}")
        event.add("sequence", row["ics_sequence"])
        event.add("dtstamp", row["updated_at"].astimezone(UTC))
        event.add("dtstart", row["start"].astimezone(UTC))
        event.add("dtend", row["end"].astimezone(UTC))
        event.add("summary", SUMMARY)
        event.add("status", "TENTATIVE" if row["status"] == "requested" else "CONFIRMED")
        event.add("class", "PRIVATE")
        calendar.add_component(event)
    return bytes(calendar.to_ical())


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


async def _revoke(call: Call, connection: Connection) -> bool:
    tag = await connection.execute(
        "UPDATE feed SET revoked_at = $2 WHERE person_id = $1 AND revoked_at IS NULL", call.principal.person, call.now
    )
    return tag != "UPDATE 0"


async def _note(call: Call, connection: Connection, action: str) -> None:
    person = call.principal.person
    entry = Entry(actor=person, actor_role="self", action=action, subject_kind="person", subject_id=person)
    await record(connection, entry, call.now)
