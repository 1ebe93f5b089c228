"""The HTTP half of the protocol: rooms, tokens, revocation (docs/protocol.md, "HTTP").

Nothing is stored for a room before somebody is in it: its name proves itself (`room_names`), and rights travel in
tokens. So making names and tokens takes nothing but work, which is bounded by a rate for each address; what a room
takes once somebody is in it is bounded by `room_quotas`, which is asked beforehand, so that a maker hears of it at
once. Whoever knows the name gets guest tokens; host tokens come from the host token that the room's maker was given.
Reserved rooms are none of these: who may be in them is said by the appointment, for minutes at a time, so their tokens
beget no others here.
"""

import secrets
import time
from typing import Annotated, Final

from aiohttp import web
from msgspec import Meta, Struct

from backplane.hosts import PublicUrls, asked_origin
from backplane.logs import Log
from backplane.ratelimit import KeyedBuckets, address_key
from backplane.tokens import MAX_LIFETIME_S, Claims, TokenError
from backplane.web import Problem, json_response, read_json
from signalling.calls import Calls
from signalling.codes import ErrorCode, SignallingError
from signalling.names import shown_name
from signalling.room_names import RoomNames
from signalling.room_quotas import RETRY_AFTER_S

HOST_LIFETIME_S: Final = MAX_LIFETIME_S
TOKEN_LIFETIME_S: Final = 12 * 3600
REQUESTS_PER_S: Final = 200.0
REQUESTS_BURST: Final = 400.0
REVOCATIONS_PER_S: Final = 1.0  # each is kept until the token would have expired, and written to disk
REVOCATIONS_BURST: Final = 30.0
GUEST_RIGHTS: Final = ("publish", "subscribe", "share_screen")
HOST_RIGHTS: Final = (*GUEST_RIGHTS, "moderate")
_log = Log(__name__)

TypedName = Annotated[str, Meta(max_length=500)]


class NewRoom(Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/rooms. ``name``: of the maker, for the host token."""

    name: TypedName = ""


class NewToken(Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/rooms/{room}/tokens."""

    name: TypedName


class Revocation(Struct, frozen=True, forbid_unknown_fields=True):
    """POST /v1/tokens/revoke: one of the three."""

    token: Annotated[str, Meta(max_length=4096)] | None = None
    jti: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    room: Annotated[str, Meta(max_length=128)] | None = None


class RoomMade(Struct, frozen=True):
    room: str
    link: str
    host_token: str
    expires_at: int


class TokenHolder(Struct, frozen=True):
    identity: str
    name: str
    role: str
    rights: list[str]


class TokenMade(Struct, frozen=True):
    token: str
    jti: str
    room: str
    participant: TokenHolder
    expires_at: int


class Revoked(Struct, frozen=True):
    """``put_out``: people who were in with what was revoked. ``host_token``: a new one, after a room's revocation."""

    put_out: int
    host_token: str | None = None


class Api:
    """Handlers of the HTTP API."""

    def __init__(self, calls: Calls, names: RoomNames, urls: PublicUrls, tokens_per_minute: int = 0) -> None:
        """``tokens_per_minute``: that one address may ask for, for which it may save up a minute's; 0 = any number."""
        self._calls = calls
        self._tokens = KeyedBuckets(tokens_per_minute / 60, tokens_per_minute) if tokens_per_minute else None
        self._names = names
        self._urls = urls
        self._buckets = KeyedBuckets(REQUESTS_PER_S, REQUESTS_BURST)
        self._revocation_buckets = KeyedBuckets(REVOCATIONS_PER_S, REVOCATIONS_BURST)

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/v1/rooms", self.make_room)
        app.router.add_post("/v1/rooms/{room}/tokens", self.make_token)
        app.router.add_post("/v1/tokens/revoke", self.revoke)

    async def make_room(self, request: web.Request) -> web.Response:
        self._admit(request)
        self._may_make_room(request)
        self._may_have_token(request)
        body = await read_json(request, NewRoom) if request.can_read_body else NewRoom()
        room = self._names.new()
        token, claims = self._issue(room, body.name, "host", HOST_LIFETIME_S)
        # Without a base URL the answer repeats where its own asker is.
        origin = self._urls.base if self._urls.configured else asked_origin(request)
        link = f"{origin}/call/{room}"
        return json_response(RoomMade(room=room, link=link, host_token=token, expires_at=claims.exp), 201)

    async def make_token(self, request: web.Request) -> web.Response:
        self._admit(request)
        self._may_have_token(request)
        room = self._own_room(request.match_info["room"])
        body = await read_json(request, NewToken)
        bearer = self._bearer(request)
        if bearer is not None and bearer.room != room:
            raise Problem(403, "forbidden", "This token is for another room.")
        role = "host" if bearer is not None and "moderate" in bearer.rights else "guest"
        token, claims = self._issue(room, body.name, role, TOKEN_LIFETIME_S)
        holder = TokenHolder(claims.identity, claims.name, claims.role, list(claims.rights))
        made = TokenMade(token=token, jti=claims.jti, room=room, participant=holder, expires_at=claims.exp)
        return json_response(made, 201)

    async def revoke(self, request: web.Request) -> web.Response:
        """A token's holder may revoke it; who may moderate a room may revoke any of its tokens, and all of them, unless
        it is a visit's."""
        self._admit(request)
        if not self._revocation_buckets.allow(address_key(request.remote or ""), time.monotonic()):
            raise Problem(429, "rate_limited", "Too many revocations from one address.", {"Retry-After": "1"})
        body = await read_json(request, Revocation)
        if sum(field is not None for field in (body.token, body.jti, body.room)) != 1:
            raise Problem(422, "bad_request", "Give one of token, jti and room.")
        bearer = self._bearer(request)
        if bearer is None:
            raise Problem(401, "token_required", "Say who asks: Authorization: Bearer TOKEN.")
        try:
            return json_response(self._revoke(body, bearer, time.monotonic()))
        except OSError:
            _log.error("revocation could not be kept")
            raise Problem(503, "not_kept", "The revocation could not be kept; nothing was revoked.") from None

    def _revoke(self, body: Revocation, bearer: Claims, now: float) -> Revoked:
        if body.room is not None:
            self._may_moderate(bearer, body.room)
            put_out = self._calls.revoke_room(body.room, now)
            token, _ = self._issue(body.room, bearer.name, "host", HOST_LIFETIME_S)
            return Revoked(put_out, token)
        if body.token is not None:
            target = self._verify(body.token, 422)
            if target.jti != bearer.jti:
                self._may_moderate(bearer, target.room)
            return Revoked(self._calls.revoke(target.jti, target.exp, now))
        if body.jti != bearer.jti:
            self._may_moderate(bearer, bearer.room)
        until = int(self._calls.wall_clock()) + MAX_LIFETIME_S
        return Revoked(self._calls.revoke(body.jti or "", until, now, bearer.room))

    def _issue(self, room: str, name: str, role: str, lifetime_s: int) -> tuple[str, Claims]:
        return self._calls.tokens.issue(
            room=room,
            identity=secrets.token_urlsafe(9),
            name=shown_name(name, role),
            role=role,
            rights=HOST_RIGHTS if role == "host" else GUEST_RIGHTS,
            now=self._calls.wall_clock(),
            lifetime_s=lifetime_s,
        )

    def _own_room(self, room: str) -> str:
        if not self._names.ours(room):
            raise Problem(404, "unknown_room", "This link does not lead to a room of this server.")
        return room

    def _bearer(self, request: web.Request) -> Claims | None:
        token = bearer_token(request)
        return None if token is None else self._verify(token, 401)

    def _verify(self, token: str, status: int) -> Claims:
        try:
            return self._calls.tokens.verify(token, self._calls.wall_clock())
        except TokenError as error:
            raise Problem(status, error.code) from None

    def _may_make_room(self, request: web.Request) -> None:
        try:
            self._calls.quotas.check_new_room(address_key(request.remote or ""))
        except SignallingError as error:
            retry = {"Retry-After": str(RETRY_AFTER_S)}
            if error.code is ErrorCode.TOO_MANY_ROOMS:
                detail = "From your network as many calls are going on as may be at once. End one, or try again later."
                raise Problem(429, "too_many_rooms", detail, retry) from None
            detail = "As many calls are going on here as there is room for. Try again in a minute."
            raise Problem(503, "rooms_taken", detail, retry) from None

    def _may_have_token(self, request: web.Request) -> None:
        if self._tokens is not None and not self._tokens.allow(address_key(request.remote or ""), time.monotonic()):
            detail = "Too many rooms and tokens for one address. Wait some seconds, then try again."
            raise Problem(429, "rate_limited", detail, {"Retry-After": "5"})

    def _may_moderate(self, bearer: Claims, room: str) -> None:
        if self._calls.is_reserved(room):
            detail = "This is an appointment's room. Deny somebody, end the visit or cancel the appointment instead."
            raise Problem(403, "visit_room", detail)
        if bearer.room != room or "moderate" not in bearer.rights:
            raise Problem(403, "forbidden", "This needs the right to moderate the room.")

    def _admit(self, request: web.Request) -> None:
        admit(request, self._calls, self._buckets, time.monotonic())


def bearer_token(request: web.Request) -> str | None:
    """The token in ``Authorization: Bearer`` (RFC 6750 section 2.1), not yet verified; None without that header.

    Raises:
        Problem: 401 token_required, another scheme.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if not scheme:
        return None
    if scheme.lower() != "bearer":
        raise Problem(401, "token_required", "Say who asks: Authorization: Bearer TOKEN.")
    return token.strip()


def admit(request: web.Request, calls: Calls, buckets: KeyedBuckets, now: float) -> None:
    """Problem 503 draining, or 429 rate_limited when the address's bucket is empty."""
    if calls.draining:
        raise Problem(503, "draining", "The server is going away.", {"Retry-After": "5"})
    if not buckets.allow(address_key(request.remote or ""), now):
        raise Problem(429, "rate_limited", "Too many requests from one address.", {"Retry-After": "1"})
