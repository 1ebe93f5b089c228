"""Invitations: to one role in one clinic, or to care for one person. Signed, for one e-mail address, for 72 hours.

Opening the link does nothing; mail scanners open links. The invited person signs in with the address that was invited
and accepts by POST, once. Who gets a role has it from their next access token on.
"""

from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

from backplane.audit import Entry, record
from backplane.ids import uuid7
from backplane.keys import TokenError, TokenKind
from backplane.postgres import Connection, Row
from backplane.principal import Tenant
from backplane.routes import Call
from booking.identity.contacts import Contact
from booking.identity.courier import Letter, Text
from booking.identity.dependants import Relation, Right, relate
from booking.identity.people import tell
from booking.identity.service import identity_of
from booking.refusals import Conflict, Denied, Malformed, Refusal
from booking.rights import acting_role

LIFETIME: Final = timedelta(hours=72)
AUDIENCE: Final = "wadud.invite"


class InviteClaims(Struct, frozen=True):
    """``jti`` is the id of the row, which says the rest."""

    jti: UUID
    tid: int
    email: str


class Care(Struct, frozen=True):
    """To act for ``person``."""

    person: UUID
    relation: Relation
    rights: tuple[Right, ...]


class Invitation(Struct, frozen=True):
    """What its page says. ``role``: None for one to care for somebody. ``over``: withdrawn, or somebody used it.

    ``expires_at``: until when it can be accepted.
    """

    state: Literal["open", "over"]
    clinic: str
    email: str
    role: str | None
    expires_at: datetime


async def invite(
    call: Call,
    connection: Connection,
    clinic: Tenant,
    contact: Contact,
    *,
    role: str | None = None,
    care: Care | None = None,
    location: UUID | None = None,
) -> UUID:
    """Write the invitation and post its letter. ``connection`` is of ``clinic``."""
    identity = identity_of(call)
    made = uuid7(call.now)
    who = call.principal
    ends = call.now + LIFETIME
    inviter = who.person if who.tenant == clinic.id else None  # a platform admin is nobody in the clinic
    await connection.execute(
        "INSERT INTO invite (id, email, role, location_id, caregiver_of, rights, relation, created_by, created_at,"
        " expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        made,
        contact.value,
        role,
        location,
        None if care is None else care.person,
        [] if care is None else list(care.rights),
        None if care is None else care.relation,
        inviter,
        call.now,
        ends,
    )
    claims = InviteClaims(made, clinic.id, contact.value)
    token = identity.authority.sign(TokenKind.INVITE, AUDIENCE, claims, call.now, LIFETIME)
    link = f"{call.services.urls.of_clinic(clinic.slug, clinic.hosts)}/invite#{token}"
    text: Text = "staff_invite" if care is None else "caregiver_invite"
    await identity.courier.post(
        connection, Letter(contact, text, clinic.locale, clinic.name, ends, link), made, call.now
    )
    if role is not None:
        entry = Entry(
            actor=who.person,
            actor_role=acting_role(who.roles),
            action="invite.created",
            subject_kind="invite",
            subject_id=made,
            facts={"role": role},
        )
        await record(connection, entry, call.now)
    return made


async def look(call: Call, connection: Connection, token: str) -> Invitation:
    """What the token is an invitation to; changes nothing. Malformed bad_invite."""
    claims = _claims(call, token)
    row = await connection.fetchrow("SELECT * FROM invite WHERE id = $1", claims.jti)
    if row is None or row["email"] != claims.email:
        raise _bad_invite()
    return Invitation(
        "over" if _is_over(row, call.now) else "open", call.tenant.name, claims.email, row["role"], row["expires_at"]
    )


async def accept(call: Call, connection: Connection, token: str) -> str | None:
    """The role that the caller has now; None: they act for somebody. Malformed, Denied wrong_account, Conflict."""
    who = call.principal
    claims = _claims(call, token)
    row = await connection.fetchrow("SELECT * FROM invite WHERE id = $1 FOR UPDATE", claims.jti)
    if row is None or row["email"] != claims.email:
        raise _bad_invite()
    if row["accepted_by"] == who.person:
        return None if row["role"] is None else str(row["role"])  # the answer was lost
    if _is_over(row, call.now):
        raise Conflict("invite_over", "This invitation was used, withdrawn or is too old. Ask for another.")
    fits = await connection.fetchval(
        "SELECT true FROM identity WHERE person_id = $1 AND kind = 'email' AND value = $2", who.person, row["email"]
    )
    if not fits:
        raise Denied("wrong_account", "Sign in with the e-mail address that was invited, then accept again.")
    await connection.execute(
        "UPDATE invite SET accepted_at = $2, accepted_by = $3 WHERE id = $1", claims.jti, call.now, who.person
    )
    if row["role"] is None:
        await relate(connection, who.person, row["caregiver_of"], row["relation"], tuple(row["rights"]), call.now)
        return None
    await connection.execute(
        "INSERT INTO membership (id, person_id, role, location_id, granted_by, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (person_id, role) WHERE ended_at IS NULL DO NOTHING",
        uuid7(call.now),
        who.person,
        row["role"],
        row["location_id"],
        row["created_by"],
        call.now,
    )
    entry = Entry(
        actor=who.person,
        actor_role=row["role"],
        action="membership.granted",
        subject_kind="person",
        subject_id=who.person,
        facts={"role": row["role"], "invite": str(claims.jti)},
    )
    await record(connection, entry, call.now)
    await tell(connection, "user.roles_changed", who.person, call.now)
    return str(row["role"])


def _claims(call: Call, token: str) -> InviteClaims:
    """Malformed when we have not signed it for this clinic, or it has expired."""
    try:
        claims = identity_of(call).authority.verify(TokenKind.INVITE, AUDIENCE, token, InviteClaims, call.now)
    except TokenError:
        raise _bad_invite() from None
    if claims.tid != call.tenant.id:
        raise _bad_invite()
    return claims


def _is_over(row: Row, now: datetime) -> bool:
    return row["accepted_at"] is not None or row["withdrawn_at"] is not None or row["expires_at"] <= now


def _bad_invite() -> Refusal:
    return Malformed("bad_invite", "This is not an invitation of this clinic, or it is too old. Ask for another.")
