"""Access tokens: ten minutes of being somebody, believed without the database until a word of doubt arrives.

A signature costs a tenth of a millisecond to verify and an access token comes with every request for ten minutes, so
what was verified is kept under the SHA-256 of the token, in bounded memory, never longer than the token lives. A token
holds for the clinic of the host it is shown at and for nothing else.

Sessions that were revoked, and tokens older than a change of roles, are on the denylist: in the bus, where other
servers find it within `DOUBT_S`, and in this process at once. Every request that changes something asks the database as
well, which knows for certain; so does every request while the bus is away.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from aiohttp import web
from msgspec import Struct

from backplane.batch_loader import BatchLoader
from backplane.bus import Bus, BusUnavailable
from backplane.ids import uuid7
from backplane.keys import Authority, TokenError, TokenKind, UnknownKeyError
from backplane.postgres import Database, Row
from backplane.principal import Principal
from backplane.routes import ROUTE, TENANT
from backplane.web import Problem
from booking.identity.key_store import KeyStore
from booking.refusals import Denied
from booking.rights import ANONYMOUS, PLATFORM_ADMIN, rights_of
from booking.tenants import Clinic

AUDIENCE: Final = "wadud.api"
LIFETIME: Final = timedelta(minutes=10)
MAX_KEPT: Final = 20_000
DOUBT_S: Final = 2.0
SECOND_FACTOR: Final = "mfa"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class AccessClaims(Struct, frozen=True):
    """BOOKING 3.7. ``iat`` and ``exp`` are unix seconds, the former to the millisecond."""

    sub: UUID
    tid: int
    rol: tuple[str, ...]
    sid: UUID
    amr: tuple[str, ...]
    jti: UUID
    iat: float = 0
    exp: float = 0


class _Kept(Struct):
    claims: AccessClaims
    clinic: Clinic
    principal: Principal
    lacks_factor: bool
    asked_at: float


def second_factor_roles(policy: Mapping[str, Any]) -> frozenset[str]:
    """Roles that count only with a second factor: ``{"second_factor": ["doctor", ...]}``, and platform admins."""
    named = policy.get("second_factor", ())
    roles = {role for role in named if isinstance(role, str)} if isinstance(named, list | tuple) else set()
    return frozenset(roles | {PLATFORM_ADMIN})


class Denylist:
    """Sessions whose tokens are void when issued before a moment."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._own: OrderedDict[UUID, float] = OrderedDict()

    async def add(self, sessions: Iterable[UUID], now: datetime) -> None:
        """Void what was issued until ``now``; belongs after the commit. Never raises."""
        moment = now.timestamp()
        for session in sessions:
            self._own[session] = moment
            if len(self._own) > MAX_KEPT:
                self._own.popitem(last=False)
            try:
                await self._bus.set_until(_key(session), f"{moment:.3f}".encode(), LIFETIME.total_seconds() + 60)
            except BusUnavailable:
                continue  # others ask the database on every change, and on everything while they miss the bus too

    def known(self, claims: AccessClaims) -> bool:
        """Whether this process knows the token to be void."""
        return claims.iat <= self._own.get(claims.sid, 0.0)

    async def ask(self, claims: AccessClaims) -> bool:
        """Whether anybody knows the token to be void. BusUnavailable."""
        value = await self._bus.get(_key(claims.sid))
        return value is not None and claims.iat <= float(value)


def _key(session: UUID) -> str:
    return f"void:{session.hex}"


class Access:
    """Issues access tokens, and is the ``authenticate`` hook of `backplane.api.Services`."""

    def __init__(
        self, db: Database, authority: Authority, keys: KeyStore, denylist: Denylist, clock: Callable[[], datetime]
    ) -> None:
        self._db = db
        self._authority = authority
        self._keys = keys
        self._clock = clock
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._sessions = BatchLoader(self._find_sessions)
        self.denylist = denylist

    def issue(
        self, person: UUID, tenant: int, roles: Iterable[str], session: UUID, amr: Iterable[str], now: datetime
    ) -> str:
        """A token for `LIFETIME`."""
        claims = AccessClaims(person, tenant, tuple(sorted(roles)), session, tuple(amr), uuid7(now))
        return self._authority.sign(TokenKind.ACCESS, AUDIENCE, claims, now, LIFETIME)

    async def authenticate(self, request: web.Request) -> Principal | None:
        """Who asks; None: nobody said so. Problem 401 bad_token, token_expired, session_ended; Denied mfa_required."""
        await self._keys.able_to_sign()
        header = request.headers.get("Authorization")
        if header is None:
            return None
        scheme, _, token = header.partition(" ")
        route = request[ROUTE]
        clinic = request[TENANT]
        assert isinstance(clinic, Clinic)
        try:
            if scheme.lower() != "bearer":
                raise _refused("bad_token")
            safe = request.method in _SAFE
            return await self._authenticate(token.strip(), clinic, safe=safe, second_factor=route.second_factor)
        except Problem as problem:
            if problem.status == 401 and route.stale_tokens:
                return None  # who comes to sign in may still carry what has expired
            raise

    async def principal(self, token: str, clinic: Clinic) -> Principal:
        """Who ``token`` is, asked of the database: for sockets, which have no header. Problem as `authenticate`."""
        return await self._authenticate(token, clinic, safe=False, second_factor=True)

    async def _authenticate(self, token: str, clinic: Clinic, *, safe: bool, second_factor: bool) -> Principal:
        now = self._clock()
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        kept = self._kept.get(digest)
        if kept is None:
            kept = _kept(await self._verified(token, now), clinic)
            self._kept[digest] = kept
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        claims = kept.claims
        if now.timestamp() >= claims.exp:
            del self._kept[digest]
            raise _refused("token_expired")
        if claims.tid != clinic.id:
            raise _refused("bad_token")
        if kept.clinic is not clinic:  # read anew: its policy may have changed
            kept.principal = _principal(claims, clinic)
            kept.lacks_factor = _lacks_factor(claims, clinic)
            kept.clinic = clinic
        if self.denylist.known(claims):
            raise _refused("session_ended")
        moment = time.monotonic()
        if not safe:
            await self._ask_database(claims)
        elif moment - kept.asked_at >= DOUBT_S:
            try:
                void = await self.denylist.ask(claims)
            except BusUnavailable:
                await self._ask_database(claims)
            else:
                if void:
                    raise _refused("session_ended")
                kept.asked_at = moment
        if kept.lacks_factor and second_factor:
            raise Denied(
                "mfa_required", "Your role needs a second factor: enrol one, or enter its code, at /v1/auth/mfa."
            )
        return kept.principal

    async def _verified(self, token: str, now: datetime) -> AccessClaims:
        try:
            try:
                return self._authority.verify(TokenKind.ACCESS, AUDIENCE, token, AccessClaims, now)
            except UnknownKeyError:
                if not await self._keys.reread():
                    raise
                return self._authority.verify(TokenKind.ACCESS, AUDIENCE, token, AccessClaims, now)
        except TokenError as error:
            raise _refused(error.code) from None

    async def _find_sessions(self, tenant: int, ids: Sequence[UUID]) -> dict[UUID, Row]:
        async with self._db.tenant(tenant) as connection:
            rows = await connection.fetch(
                "SELECT s.id, s.person_id, s.revoked_at, s.stale_before, p.disabled_at"
                # unnest, because for = ANY($1) every call is planned anew, by the length of the array
                " FROM unnest($1::uuid[]) AS asked (id) JOIN session s ON s.id = asked.id"
                " JOIN person p ON p.id = s.person_id",
                ids,
            )
        return {row["id"]: row for row in rows}

    async def _ask_database(self, claims: AccessClaims) -> None:
        row = await self._sessions.find(claims.tid, claims.sid)
        if (
            row is None
            or row["person_id"] != claims.sub
            or row["revoked_at"] is not None
            or row["disabled_at"] is not None
            or (row["stale_before"] is not None and claims.iat <= row["stale_before"].timestamp())
        ):
            raise _refused("session_ended")


def _kept(claims: AccessClaims, clinic: Clinic) -> _Kept:
    return _Kept(claims, clinic, _principal(claims, clinic), _lacks_factor(claims, clinic), float("-inf"))


def _principal(claims: AccessClaims, clinic: Clinic) -> Principal:
    roles = frozenset(claims.rol)
    return Principal(
        person=claims.sub,
        tenant=claims.tid,
        roles=roles,
        rights=rights_of(roles, clinic.policy),
        session=claims.sid,
        anonymous=ANONYMOUS in roles,
        amr=frozenset(claims.amr),
    )


def _lacks_factor(claims: AccessClaims, clinic: Clinic) -> bool:
    return SECOND_FACTOR not in claims.amr and not second_factor_roles(clinic.policy).isdisjoint(claims.rol)


def _refused(code: str) -> Problem:
    detail = "Sign in again." if code == "session_ended" else "Get a new access token with your refresh token."
    return Problem(401, code, detail, {"WWW-Authenticate": f'Bearer error="invalid_token", error_description="{code}"'})
