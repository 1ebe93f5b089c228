"""Second factors: an authenticator app with recovery codes, and passkeys (WebAuthn), which are two factors by
themselves.

A passkey is bound to the host name of its clinic (RP ID) and always verifies its user. A ceremony is kept in the
database and taken out when it ends, so that an answer counts once.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import Meta, Struct
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from backplane.api import Answer, Call, Routes
from backplane.audit import Entry, record
from backplane.hosts import asked_host
from backplane.ids import uuid7
from backplane.postgres import Connection
from booking.identity import passkey_cbor, totp
from booking.identity.access import LIFETIME, SECOND_FACTOR
from booking.identity.auth_routes import NO_NUL, wrong_code
from booking.identity.people import standing
from booking.identity.service import address_of, identity_of
from booking.identity.signing_in import Keep, SignIn, factor_claims, require_recent, sign_in
from booking.refusals import Conflict, Malformed, Refusal
from booking.rights import acting_role

CEREMONY: Final = timedelta(minutes=5)
MAX_PASSKEYS: Final = 20
# Here somebody who still lacks a second factor gets one, and somebody with an outdated token a new one.
routes = Routes(tag="auth", second_factor=False, stale_tokens=True)
passkey_cbor.install()

FactorCode = Annotated[str, Meta(min_length=6, max_length=40)]
WebAuthnJson = dict[str, Any]


class Enrolment(Struct, frozen=True):
    """``uri`` is for the QR code (otpauth:), ``secret`` for typing."""

    secret: str
    uri: str


class OneCode(Struct, frozen=True, forbid_unknown_fields=True):
    code: FactorCode


class Entered(Struct, frozen=True, forbid_unknown_fields=True):
    """A code of the app or a recovery code; ``ticket`` of a sign-in, or none to raise the session one is in."""

    code: FactorCode
    ticket: Annotated[str, Meta(max_length=2048)] | None = None
    keep: Keep = "body"


class Enrolled(Struct, frozen=True):
    """Shown once. ``access_token`` says that there is a second factor now."""

    recovery_codes: list[str]
    access_token: str
    expires_in: int


class RecoveryCodes(Struct, frozen=True):
    recovery_codes: list[str]


class Ceremony(Struct, frozen=True):
    """``options`` go to navigator.credentials (WebAuthn section 5.4 and 5.5, as JSON)."""

    id: UUID
    options: WebAuthnJson


class NewPasskey(Struct, frozen=True, forbid_unknown_fields=True):
    id: UUID
    credential: WebAuthnJson
    label: Annotated[str, Meta(max_length=60, pattern=NO_NUL)] = ""


class Assertion(Struct, frozen=True, forbid_unknown_fields=True):
    id: UUID
    credential: WebAuthnJson
    keep: Keep = "body"


class PasskeyMade(Struct, frozen=True):
    id: UUID
    access_token: str
    expires_in: int


@routes.post("/v1/auth/mfa/totp", right="account.manage.own", status=201, problems={409: ("already_enrolled",)})
async def begin_totp(call: Call) -> Enrolment:
    """Begin with an authenticator app; it counts once a code of it was entered."""
    identity = identity_of(call)
    person = call.principal.person
    async with call.transaction() as connection:
        await require_recent(connection, call.principal.session, call.now)
        secret = await totp.begin(connection, identity.sealer, person, call.now)
        contact = await connection.fetchval(
            "SELECT value FROM identity WHERE person_id = $1 AND kind <> 'oidc' ORDER BY created_at LIMIT 1", person
        )
    uri = totp.uri(secret, str(contact or "account"), call.tenant.name)
    return Enrolment(secret, uri)


@routes.post(
    "/v1/auth/mfa/totp/confirm",
    right="account.manage.own",
    problems={400: ("wrong_code",), 409: ("already_enrolled",), 429: ("rate_limited",)},
)
async def confirm_totp(call: Call, body: OneCode) -> Enrolled:
    """End the enrolment with a code of the app."""
    identity = identity_of(call)
    who = call.principal
    await _check(call, who.person, body.code, who.session)
    async with call.transaction() as connection:
        enrolled = await connection.fetchval(
            "SELECT confirmed_at IS NOT NULL FROM totp WHERE person_id = $1 FOR UPDATE", who.person
        )
        if enrolled is not False:
            raise Conflict("already_enrolled", "There is an authenticator already.")
        recovery = await totp.confirm(connection, identity.sealer, who.person, call.now)
        token = await _raised(call, connection, ("otp", SECOND_FACTOR))
        await _note(call, connection, "second_factor.enrolled")
    return Enrolled(recovery, token, int(LIFETIME.total_seconds()))


@routes.post(
    "/v1/auth/mfa/totp/remove", right="account.manage.own", problems={400: ("wrong_code",), 429: ("rate_limited",)}
)
async def remove_totp(call: Call, body: OneCode) -> None:
    """Take the authenticator away, with a code of it or a recovery code."""
    await _check(call, call.principal.person, body.code, call.principal.session)
    async with call.transaction() as connection:
        await totp.remove(connection, call.principal.person)
        await _note(call, connection, "second_factor.removed")


@routes.post(
    "/v1/auth/mfa/recovery-codes", right="account.manage.own", problems={400: ("wrong_code",), 429: ("rate_limited",)}
)
async def renew_recovery_codes(call: Call, body: OneCode) -> RecoveryCodes:
    """Ten new recovery codes; the old ones are void."""
    await _check(call, call.principal.person, body.code, call.principal.session)
    async with call.transaction() as connection:
        made = await totp.renew_recovery_codes(connection, identity_of(call).sealer, call.principal.person)
        await _note(call, connection, "recovery_codes.renewed")
    return RecoveryCodes(made)


@routes.post(
    "/v1/auth/mfa/verify",
    problems={
        400: ("wrong_code",),
        401: ("unauthorized", "bad_token", "token_expired"),
        403: ("forbidden",),
        429: ("rate_limited",),
    },
)
async def enter_second_factor(call: Call, body: Entered) -> Answer[SignIn]:
    """Finish a sign-in that asked for a second factor, or add one to the session of the access token."""
    identity = identity_of(call)
    await identity.allow("code try", address_of(call), identity.paces.try_per_address)
    if body.ticket is not None:
        claims = factor_claims(call, body.ticket)
        await _check(call, claims.sub, body.code)
        async with call.transaction() as connection:
            return await sign_in(call, connection, claims.sub, (*claims.amr, "otp", SECOND_FACTOR), body.keep)
    who = call.require("account.manage.own")
    await _check(call, who.person, body.code, who.session, confirmed=True)
    async with call.transaction() as connection:
        token = await _raised(call, connection, ("otp", SECOND_FACTOR))
    amr = tuple(sorted({*who.amr, "otp", SECOND_FACTOR}))
    expires = int(LIFETIME.total_seconds())
    return Answer(SignIn("signed_in", token, expires, None, who.person, who.session, tuple(sorted(who.roles)), amr))


@routes.post(
    "/v1/auth/passkeys/register/start", right="account.manage.own", status=201, problems={409: ("too_many_passkeys",)}
)
async def begin_passkey(call: Call) -> Ceremony:
    """Begin to make a passkey."""
    person = call.principal.person
    async with call.transaction() as connection:
        await require_recent(connection, call.principal.session, call.now)
        known = await connection.fetch("SELECT credential_id FROM passkey WHERE person_id = $1", person)
        contact = await connection.fetchval(
            "SELECT value FROM identity WHERE person_id = $1 AND kind <> 'oidc' ORDER BY created_at LIMIT 1", person
        )
        if len(known) >= MAX_PASSKEYS:
            raise Conflict("too_many_passkeys", "Remove a passkey that you do not use.")
        options = generate_registration_options(
            rp_id=call.host,
            rp_name=call.tenant.name,
            user_id=person.bytes,
            user_name=str(contact or "account"),
            attestation=AttestationConveyancePreference.NONE,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=row["credential_id"]) for row in known],
        )
        return await _begun(call, connection, person, options.challenge, options_to_json(options))


@routes.post(
    "/v1/auth/passkeys/register/finish", right="account.manage.own", status=201, problems={400: ("bad_passkey",)}
)
async def finish_passkey(call: Call, body: NewPasskey) -> PasskeyMade:
    """Keep the passkey that the browser made."""
    who = call.principal
    challenge = await _taken(call, body.id, who.person)
    try:
        proven = verify_registration_response(
            credential=body.credential,
            expected_challenge=challenge,
            expected_rp_id=call.host,
            expected_origin=_origins(call),
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError):
        raise _bad_passkey() from None
    async with call.transaction() as connection:
        made = uuid7(call.now)
        kept = await connection.fetchval(
            "INSERT INTO passkey (id, person_id, credential_id, public_key, sign_count, rp_id, label, created_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (tenant_id, credential_id) DO NOTHING RETURNING true",
            made,
            who.person,
            proven.credential_id,
            proven.credential_public_key,
            proven.sign_count,
            call.host,
            body.label,
            call.now,
        )
        if not kept:
            raise _bad_passkey()
        token = await _raised(call, connection, ("hwk", "user", SECOND_FACTOR))
        await _note(call, connection, "passkey.enrolled")
    return PasskeyMade(made, token, int(LIFETIME.total_seconds()))


@routes.post("/v1/auth/passkeys/login/start", status=201, problems={429: ("rate_limited",)})
async def begin_passkey_login(call: Call) -> Ceremony:
    """Begin to sign in with a passkey."""
    identity = identity_of(call)
    await identity.allow("login address", address_of(call), identity.paces.login_per_address)
    options = generate_authentication_options(rp_id=call.host, user_verification=UserVerificationRequirement.REQUIRED)
    async with call.transaction() as connection:
        return await _begun(call, connection, None, options.challenge, options_to_json(options))


@routes.post("/v1/auth/passkeys/login/finish", problems={400: ("bad_passkey",), 403: ("account_disabled",)})
async def finish_passkey_login(call: Call, body: Assertion) -> Answer[SignIn]:
    """Sign in with what the passkey signed."""
    challenge = await _taken(call, body.id, None)
    async with call.transaction() as connection:
        try:
            credential = base64url_to_bytes(str(body.credential.get("rawId", "")))
            row = await connection.fetchrow(
                "SELECT id, person_id, public_key, sign_count, rp_id FROM passkey WHERE credential_id = $1 FOR UPDATE",
                credential,
            )
            if row is None:
                raise _bad_passkey()
            proven = verify_authentication_response(
                credential=body.credential,
                expected_challenge=challenge,
                expected_rp_id=row["rp_id"],
                expected_origin=_origins(call),
                credential_public_key=row["public_key"],
                credential_current_sign_count=row["sign_count"],
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, KeyError, TypeError):
            raise _bad_passkey() from None
        await connection.execute(
            "UPDATE passkey SET sign_count = $2, used_at = $3 WHERE id = $1", row["id"], proven.new_sign_count, call.now
        )
        return await sign_in(call, connection, row["person_id"], ("hwk", "user", SECOND_FACTOR), body.keep)


async def _check(call: Call, person: UUID, code: str, session: UUID | None = None, *, confirmed: bool = False) -> None:
    """Malformed wrong_code, TooMany. ``session``: that it is entered in, none when it is to open one."""
    identity = identity_of(call)
    # Of a recovery code nobody guesses any, so it must open the door whoever stands before it.
    guessable = not totp.is_recovery_code(code)
    by_stranger = guessable and await identity.allow_try(call, "factor", str(person), person, session)
    async with call.db.tenant(call.tenant.id) as connection:  # its own transaction: a try stays counted
        if confirmed and not (await standing(connection, person)).totp:
            raise wrong_code()
        if not await totp.check(connection, identity.sealer, person, code, call.now, counted=by_stranger):
            raise wrong_code()


async def _raised(call: Call, connection: Connection, factors: Iterable[str]) -> str:
    """A better access token for the session one is in."""
    who = call.principal
    amr = await connection.fetchval(
        "UPDATE session SET amr = ARRAY(SELECT DISTINCT unnest(amr || $2::text[]) ORDER BY 1)"
        " WHERE id = $1 RETURNING amr",
        who.session,
        list(factors),
    )
    roles = (await standing(connection, who.person)).roles
    return identity_of(call).access.issue(who.person, call.tenant.id, roles, who.session, amr, call.now)


async def _note(call: Call, connection: Connection, action: str) -> None:
    who = call.principal
    await record(
        connection,
        Entry(
            actor=who.person,
            actor_role=acting_role(who.roles),
            action=action,
            subject_kind="person",
            subject_id=who.person,
        ),
        call.now,
    )


async def _begun(call: Call, connection: Connection, person: UUID | None, challenge: bytes, options: str) -> Ceremony:
    made = uuid7(call.now)
    await connection.execute(
        "INSERT INTO passkey_challenge (id, person_id, challenge, expires_at) VALUES ($1, $2, $3, $4)",
        made,
        person,
        challenge,
        call.now + CEREMONY,
    )
    return Ceremony(made, msgspec.json.decode(options, type=WebAuthnJson))


async def _taken(call: Call, ceremony: UUID, person: UUID | None) -> bytes:
    """The challenge, which is gone afterwards. Malformed."""
    async with call.db.tenant(call.tenant.id) as connection:
        found = await connection.fetchval(
            "DELETE FROM passkey_challenge WHERE id = $1 AND person_id IS NOT DISTINCT FROM $2 AND expires_at > $3"
            " RETURNING challenge",
            ceremony,
            person,
            call.now,
        )
    if not isinstance(found, bytes):
        raise _bad_passkey()
    return found


def _origins(call: Call) -> list[str]:
    """Pages that may use a passkey of this host: its own, over https, or as it is asked now."""
    host = asked_host(call.request)
    return [f"https://{host}", f"{call.request.scheme}://{host}"]


def _bad_passkey() -> Refusal:
    return Malformed("bad_passkey", "This passkey could not be verified. Begin again.")
