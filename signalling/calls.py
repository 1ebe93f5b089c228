"""What the requests of sessions mean for rooms. Sans-IO: ``now`` is monotonic, in seconds.

Rooms know participants, sessions know sockets; here the two are tied together. A lost socket suspends its session: the
participant stays, the room shows it as reconnecting, and after `RESUME_WINDOW_S` it is taken out. Token windows are
kept while a call runs, too: who is in with a token that expires or is revoked is put out.
"""

import secrets
import time
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from backplane.logs import Log, short
from backplane.metrics import Metrics
from backplane.tokens import MAX_LIFETIME_S, Claims, TokenAuthority, TokenError
from sfu.events import Bye, ByeReason, ParticipantInfo, Role, SlotInfo
from sfu.node import Node
from sfu.protocol import DeclaredTrack, Right, RoomError
from sfu.room import Room
from signalling.codes import ErrorCode, SignallingError, error_code
from signalling.messages import (
    Answer,
    Join,
    Joined,
    Mute,
    Offer,
    Prefer,
    Remove,
    Resume,
    Resumed,
    TrackIntent,
)
from signalling.names import shown_name
from signalling.room_names import IsReserved
from signalling.room_quotas import LEFT_TO_RESERVED
from signalling.session import RESUME_WINDOW_S, Link, Session
from signalling.sessions import Sessions

_log = Log(__name__)
MAX_VERIFIED: Final = 10_000
_KNOWN_RIGHTS: Final = {right.value: right for right in Right}
T = TypeVar("T")


class Calls:
    """The calls of this process. ``sessions`` are told by ``node`` what happens in rooms; ``is_reserved`` tells the
    rooms that somebody else bounds; ``wall_clock`` gives unix seconds, for tokens."""

    def __init__(
        self,
        node: Node,
        sessions: Sessions,
        tokens: TokenAuthority,
        metrics: Metrics,
        *,
        is_reserved: IsReserved,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.draining = False
        self.tokens = tokens
        self.is_reserved = is_reserved
        self.wall_clock = wall_clock
        self.quotas = sessions.quotas
        """Of rooms that are not reserved."""
        self.token_use = sessions.token_use
        self._node = node
        self._metrics = metrics
        self._sessions = sessions
        self._barred: dict[tuple[str, str | None], tuple[float, float]] = {}
        self._verified: dict[str, str] = {}  # room by the id of a token that was verified, the newest last

    def __len__(self) -> int:
        return len(self._sessions)

    def join(self, request: Join, link: Link, now: float, address: str = "") -> tuple[Session, Joined]:
        """Let a person in, who comes from ``address`` (`backplane.ratelimit.address_key`).

        Raises:
            SignallingError: with the codes of tokens, of `Room.join` and of `RoomQuotas`; draining.
        """
        try:
            session, joined = self._join(request, link, now, address)
        except SignallingError as error:
            self._metrics.joins.labels(error.code.code).inc()
            raise
        self._metrics.joins.labels("ok").inc()
        return session, joined

    def _join(self, request: Join, link: Link, now: float, address: str) -> tuple[Session, Joined]:
        if self.draining:
            raise SignallingError(ErrorCode.DRAINING)
        claims = self.verify(request.token)
        new = self._node.find(claims.room) is None
        reserved = self.is_reserved(claims.room)
        if not reserved:
            self.quotas.check_person(address)
            if new:
                self.quotas.check_new_room(address)
        rights = [_KNOWN_RIGHTS[right] for right in claims.rights if right in _KNOWN_RIGHTS]
        name = shown_name(claims.name, claims.role)  # others than our API sign tokens, too
        tracks = _declared(request.tracks)
        room = self._node.room(claims.room)
        role: Role = "host" if claims.role == "host" else "guest"
        spare = 0 if reserved else LEFT_TO_RESERVED
        joined = _asking(
            lambda: room.join(claims.identity, name, role, rights, request.offer, tracks, now, spare=spare)
        )
        session = Session(secrets.token_urlsafe(12), secrets.token_urlsafe(24), joined.participant_id, claims, link)
        if not reserved:
            self.quotas.entered(claims.room, room, session.id, address, now, new=new)
        _log.info("joined", room=short(claims.room), session=short(session.id))
        self._sessions.add(session)
        return session, Joined(
            re=request.id,
            session=session.id,
            secret=session.secret,
            participant=session.participant,
            room=claims.room,
            answer=joined.answer_sdp,
            participants=joined.participants,
            slots=joined.slots,
            rights=[right.value for right in rights],
            resume_window_s=RESUME_WINDOW_S,
        )

    def resume(self, request: Resume, link: Link, now: float) -> tuple[Session, Resumed]:
        """Let ``link`` carry a session from now on. SignallingError unknown_session."""
        session = self._sessions.find(request.session)
        if session is None or not session.proves(request.secret) or session.over(now):
            self._metrics.resumes.labels(ErrorCode.UNKNOWN_SESSION.code).inc()
            raise SignallingError(ErrorCode.UNKNOWN_SESSION)
        room = None if session.ended else self._node.find(session.claims.room)
        people: list[ParticipantInfo] = []
        slots: list[SlotInfo] = []
        if room:
            # Before the link changes: what these push to ourselves is replayed after ``resumed``, not sent ahead of it,
            # and when the room fails, the socket before this one goes on.
            room.signalling_regained(session.participant, now)
            people = _asking(lambda: room.participants_for(session.participant))
            slots = _asking(lambda: room.slots_for(session.participant))
        generation = session.resume(link)
        self._metrics.resumes.labels("ok").inc()
        _log.info("resumed", session=short(session.id), generation=generation)
        return session, Resumed(re=request.id, participants=people, slots=slots, generation=generation)

    def lost(self, session: Session, generation: int, now: float) -> None:
        """The socket of ``generation`` is gone without a leave."""
        if session.suspend(generation, now):
            room = self._node.find(session.claims.room)
            if room:
                room.signalling_lost(session.participant, now)

    def offer(self, session: Session, request: Offer, now: float) -> Answer:
        room = self._room(session)
        sdp, slots = _asking(lambda: room.offer(session.participant, request.sdp, _declared(request.tracks), now))
        return Answer(re=request.id, sdp=sdp, slots=slots)

    def mute(self, session: Session, request: Mute, now: float) -> None:
        room = self._room(session)
        _asking(lambda: room.mute(session.participant, request.mid, request.muted, now))

    def prefer(self, session: Session, request: Prefer, now: float) -> None:
        room = self._room(session)
        _asking(lambda: room.prefer(session.participant, request.participants, now))

    def remove(self, session: Session, request: Remove, now: float) -> None:
        """Put somebody out, and their token with them, so that their client does not simply come back."""
        room = self._room(session)
        target = self._sessions.of_participant(request.participant)
        _asking(lambda: room.remove(session.participant, request.participant, now))
        if target is not None:
            self._revoke_quietly(target.claims)

    def leave(self, session: Session, now: float) -> None:
        self._take_out(session, "left", now)

    def revoke(self, jti: str, until: int, now: float, room: str | None = None) -> int:
        """Take a token back and put out whoever is in with it; returns how many. OSError when it cannot be kept.

        ``room``: where the asker has a say. With the id of another room's token nothing happens to anybody there, nor
        with one that is to come: what is `revoked` is so in all rooms.
        """
        self.tokens.revocations.revoke(jti, until, self.wall_clock(), room)
        users = [session for session in self._sessions if session.claims.jti == jti and not session.ended]
        known = bool(users) or self._verified.get(jti) == room
        if room is None or (known and all(session.claims.room == room for session in users)):
            self.token_use.revoked(jti)
        return self._expel_stale(now)

    def revoke_room(self, room: str, now: float) -> int:
        """Take back every token of ``room`` signed so far; as `revoke`."""
        self.tokens.revocations.raise_epoch(room, self.wall_clock())
        return self._expel_stale(now)

    def put_out(
        self,
        room: str,
        identity: str | None,
        now: float,
        oldest_s: float = MAX_LIFETIME_S,
        decided: float | None = None,
    ) -> int:
        """End the calls of one person in one room (None: of all), and refuse what was signed for them until now, or
        until that was ``decided`` (unix seconds): who was asked in later stays.

        Returns how many. Which tokens they have in hand is not known, so it is remembered from when on tokens must
        be, for ``oldest_s``: as long as one of these tokens can live.
        """
        wall = self.wall_clock()
        self._barred = {key: bar for key, bar in self._barred.items() if wall < bar[1]}
        until = max(wall if decided is None else decided, self._barred.get((room, identity), (0.0, 0.0))[0])
        self._barred[room, identity] = (until, wall + oldest_s)
        sessions = [
            session
            for session in self._sessions
            if session.claims.room == room and identity in (None, session.claims.identity) and not session.ended
            if decided is None or session.claims.signed_at <= decided
        ]
        return self._expel_all(sessions, now)

    def renew(self, room: str, identity: str, until: float) -> None:
        """Let the calls of one person in one room go on until then (unix seconds), as a newer token would."""
        for session in self._sessions:
            claims = session.claims
            if (claims.room, claims.identity) == (room, identity) and until > claims.exp:
                session.claims = msgspec.structs.replace(claims, exp=int(until))

    def verify(self, token: str) -> Claims:
        """What a token says that opens its room now. SignallingError with the codes of tokens.

        However far ahead the clock that signed it is: it was signed before it is verified.
        """
        now = self.wall_clock()
        try:
            claims = self.tokens.verify(token, now)
        except TokenError as error:
            raise SignallingError(error_code(error.code)) from None
        for whom in (claims.identity, None):
            if claims.signed_at <= self._barred.get((claims.room, whom), (-1.0, 0.0))[0]:
                raise SignallingError(ErrorCode.TOKEN_REVOKED)
        self._verified.pop(claims.jti, None)
        self._verified[claims.jti] = claims.room
        if len(self._verified) > MAX_VERIFIED:
            del self._verified[next(iter(self._verified))]
        return msgspec.structs.replace(claims, iat=min(claims.signed_at, now))

    def connections(self, session: Session) -> dict[str, str]:
        """By participant id the connection state of everybody else in the session's room."""
        room = None if session.ended else self._node.find(session.claims.room)
        if room is None:
            return {}
        return {person.id: person.connection for person in room.participants_for(session.participant)}

    def drain(self, now: float) -> None:
        """Nobody in any more, everybody out with a bye."""
        self.draining = True
        self._node.close("draining", now)

    def sweep(self, now: float) -> None:
        """Whatever has run out: resume windows and tokens. Wants to be called about twice a second."""
        wall = self.wall_clock()
        for session in self._sessions:
            try:
                if session.over(now):
                    self._take_out(session, "connection_lost", now)
                elif not session.ended and wall >= session.claims.exp:
                    self._expel(session, "token_expired", now)
            except Exception:  # a fault of ours in one session must not keep the others from their end
                _log.error("sweep failed")
        self.token_use.sweep(now)
        for name in self.quotas.sweep(now):
            try:
                self._let_go(name, now)
            except Exception:
                _log.error("a room could not be let go")
        self._metrics.sessions.set(len(self._sessions))

    def _let_go(self, name: str, now: float) -> None:
        """End a room that nobody uses."""
        room = self._node.find(name)
        if room is not None:
            _log.info("room let go", room=short(name), reason="idle")
            self._metrics.rooms_let_go.inc()
            room.close("connection_lost", now)

    def _room(self, session: Session) -> Room:
        room = self._node.find(session.claims.room)
        if room is None:
            raise SignallingError(ErrorCode.UNKNOWN_PARTICIPANT, "The room is gone.")
        return room

    def _expel_stale(self, now: float) -> int:
        stale = [session for session in self._sessions if not session.ended and self.tokens.stale(session.claims)]
        return self._expel_all(stale, now)

    def _expel_all(self, sessions: list[Session], now: float) -> int:
        """Put out all of them, whatever goes wrong with one; how many."""
        for session in sessions:
            try:
                self._expel(session, "revoked", now)
            except Exception:
                _log.error("expelling failed", session=short(session.id))
        return len(sessions)

    def _expel(self, session: Session, reason: ByeReason, now: float) -> None:
        if reason == "revoked":
            self.token_use.revoked(session.claims.jti)
        room = self._node.find(session.claims.room)
        if room:
            room.expel(session.participant, reason, now)
        if not session.ended:  # the room no longer knew the participant
            self._sessions.put_out(session, Bye(reason))

    def _take_out(self, session: Session, reason: str, now: float) -> None:
        if self._sessions.remove(session, reason):
            room = self._node.find(session.claims.room)
            if room:
                room.leave(session.participant, reason, now)
            _log.info("left", room=short(session.claims.room), session=short(session.id), reason=reason)

    def _revoke_quietly(self, claims: Claims) -> None:
        try:
            self.tokens.revocations.revoke(claims.jti, claims.exp, self.wall_clock())
            self.token_use.revoked(claims.jti)
        except OSError:
            _log.error("revocation could not be kept")


def _asking(ask: Callable[[], T]) -> T:
    """What a room answers; its refusals in the protocol's words."""
    try:
        return ask()
    except RoomError as error:
        raise SignallingError(error_code(error.code), error.message) from None


def _declared(intents: list[TrackIntent]) -> list[DeclaredTrack]:
    if len({intent.mid for intent in intents}) != len(intents):
        raise SignallingError(ErrorCode.BAD_MESSAGE, "Two tracks have the same mid.")
    return [DeclaredTrack(intent.mid, intent.source, intent.muted) for intent in intents]
