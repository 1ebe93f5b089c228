"""Whose page is open, as the database knows it from the live sockets.

A seat and a ticket remember when their page was last heard of. A page that closes says so at once; one whose server
died is old news after `visitors.ALIVE`. What counts for a place in line is the time alone: it is kept for the grace
after the last sign, whoever noticed the end.

Refreshing locks many rows in no order, so none is waited for: whoever is being called, moved or let in is heard of the
next time.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from backplane.postgres import Connection
from booking.links.link import Seat
from booking.waiting_room import tickets
from booking.waiting_room.line import GRACE
from live.tickets import Ticket


class SeatPresence:
    """Of a visit: the seat is taken by one device."""

    by_device: Final = True

    async def arrived(self, connection: Connection, ticket: Ticket, now: datetime) -> bool:
        """Somebody who waits has the place in line again, within the grace."""
        was_here = await connection.fetchval(
            """WITH before AS (
                   SELECT here AND seen_at > $6 AS here FROM visit_seat
                   WHERE (appointment_id, seat, holder) = ($1, $2, $3) AND device = $5
               )
               UPDATE visit_seat SET here = true, seen_at = $4 FROM before
               WHERE (appointment_id, seat, holder) = ($1, $2, $3) AND device = $5 RETURNING before.here""",
            ticket.key,
            Seat(ticket.role).word,
            ticket.holder,
            now,
            ticket.device,
            now - tickets.ALIVE,
        )
        if was_here is None:
            return False
        waiting = await connection.fetch(
            "SELECT id FROM queue_ticket WHERE appointment_id = $1 AND patient_id = $2 AND state = 'waiting'",
            ticket.key,
            ticket.holder,
        )
        for row in waiting:
            await tickets.come_back(connection, row["id"], now)
        return not was_here

    async def left(self, connection: Connection, ticket: Ticket, now: datetime) -> bool:
        """The grace begins now."""
        seated = await connection.fetchval(
            """UPDATE visit_seat SET here = false, seen_at = $4
               WHERE (appointment_id, seat, holder) = ($1, $2, $3) AND device = $5 AND here RETURNING true""",
            ticket.key,
            Seat(ticket.role).word,
            ticket.holder,
            now,
            ticket.device,
        )
        if seated:
            await connection.execute(
                """UPDATE queue_ticket SET here = false, seen_at = $3
                   WHERE appointment_id = $1 AND patient_id = $2 AND state = 'waiting'""",
                ticket.key,
                ticket.holder,
                now,
            )
        return bool(seated)

    async def still_here(self, connection: Connection, watched: Sequence[Ticket], now: datetime) -> None:
        """The seats, and the places in line of those who sit there."""
        await connection.execute(
            """WITH watched AS (
                   SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[])
                       AS w (appointment, seat, holder, device)
               ), free AS (
                   SELECT s.appointment_id, s.seat, s.holder FROM visit_seat s JOIN watched w
                       ON (s.appointment_id, s.seat, s.holder, s.device) = (w.appointment, w.seat, w.holder, w.device)
                   FOR NO KEY UPDATE OF s SKIP LOCKED
               ), seats AS (
                   UPDATE visit_seat s SET here = true, seen_at = $5 FROM free
                   WHERE (s.appointment_id, s.seat, s.holder) = (free.appointment_id, free.seat, free.holder)
                   RETURNING s.appointment_id, s.holder
               ), waiting AS (
                   SELECT q.id FROM queue_ticket q JOIN seats
                       ON (q.appointment_id, q.patient_id) = (seats.appointment_id, seats.holder)
                   WHERE q.state = 'waiting' FOR NO KEY UPDATE OF q SKIP LOCKED
               )
               UPDATE queue_ticket q SET here = true, seen_at = $5 FROM waiting WHERE q.id = waiting.id""",
            [ticket.key for ticket in watched],
            [Seat(ticket.role).word for ticket in watched],
            [ticket.holder for ticket in watched],
            [ticket.device for ticket in watched],
            now,
        )


class PlacePresence:
    """Of a place in line without an appointment: any device of the person keeps it."""

    by_device: Final = False

    async def arrived(self, connection: Connection, ticket: Ticket, now: datetime) -> bool:
        """The place is kept again, within the grace."""
        await tickets.come_back(connection, ticket.key, now)
        return True

    async def left(self, connection: Connection, ticket: Ticket, now: datetime) -> bool:
        """The grace begins now."""
        await connection.execute(
            "UPDATE queue_ticket SET here = false, seen_at = $2 WHERE id = $1 AND state = 'waiting'", ticket.key, now
        )
        return True

    async def still_here(self, connection: Connection, watched: Sequence[Ticket], now: datetime) -> None:
        """The places."""
        await connection.execute(
            """UPDATE queue_ticket SET here = true, seen_at = $2 WHERE id IN (
                   SELECT id FROM queue_ticket WHERE id = ANY($1) AND state = 'waiting'
                   FOR NO KEY UPDATE SKIP LOCKED)""",
            [ticket.key for ticket in watched],
            now,
        )


class RequestPresence:
    """Of an instant request. No note names the doctors at whom it rings: they see it when their pages are refreshed."""

    by_device: Final = True

    async def arrived(self, connection: Connection, ticket: Ticket, now: datetime) -> bool:
        await _asks(connection, ticket, here=True)
        return False

    async def left(self, connection: Connection, ticket: Ticket, now: datetime) -> bool:
        await _asks(connection, ticket, here=False)
        return False

    async def still_here(self, connection: Connection, watched: Sequence[Ticket], now: datetime) -> None:
        """A request rings for less than a minute or two: what was said when its page opened still holds."""


async def _asks(connection: Connection, ticket: Ticket, *, here: bool) -> None:
    await connection.execute(
        "UPDATE instant_request SET here = $2 WHERE id = $1 AND state = 'ringing' AND here <> $2", ticket.key, here
    )


async def end_of_grace(connection: Connection, ticket: UUID, now: datetime) -> bool:
    """Whether somebody who waited was taken out of the line; otherwise it is looked at again when the time comes."""
    await connection.execute(  # the seat before the ticket, as everywhere
        """SELECT 1 FROM visit_seat s JOIN queue_ticket q
               ON (s.appointment_id, s.seat, s.holder) = (q.appointment_id, 'patient', q.patient_id)
           WHERE q.id = $1 FOR UPDATE OF s""",
        ticket,
    )
    row = await connection.fetchrow(
        "SELECT seen_at FROM queue_ticket WHERE id = $1 AND state = 'waiting' FOR UPDATE", ticket
    )
    if row is None:
        return False
    if row["seen_at"] + GRACE > now:
        await tickets.watch_grace(connection, ticket, row["seen_at"] + GRACE)
        return False
    await connection.execute(
        """UPDATE visit_seat s SET state = 'away', here = false FROM queue_ticket q
           WHERE q.id = $1 AND (s.appointment_id, s.seat, s.holder) = (q.appointment_id, 'patient', q.patient_id)
             AND s.state = 'waiting'""",
        ticket,
    )
    return await tickets.close(connection, ticket, "left", now)
