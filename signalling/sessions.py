"""The sessions of this process, by id and by participant, and what rooms tell them. Sans-IO.

Rooms know participants, and tell an event once for all who are to hear of it (`sfu.room.Notify`); here it is encoded,
and numbered for each session. Somebody is in a call from the join until the session is told ``bye`` or is taken out:
what counts people, or waits for the end of a call, hears of both here.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from backplane.logs import Log
from sfu.events import Bye, RoomEvent
from signalling.messages import encode
from signalling.room_quotas import RoomQuotas
from signalling.session import Session
from signalling.token_use import TokenUse

_log = Log(__name__)


class CallObserver(Protocol):
    """Hears who is in. Neither method may block or raise."""

    def joined(self, session: Session) -> None: ...

    def left(self, session: Session, reason: str) -> None:
        """Once per join. ``reason`` as in ``participant_left``."""


class NobodyObserves:
    """The `CallObserver` where nobody asks."""

    def joined(self, session: Session) -> None: ...

    def left(self, session: Session, reason: str) -> None: ...


class Sessions:
    """``clock`` is monotonic, in seconds."""

    def __init__(
        self,
        quotas: RoomQuotas,
        token_use: TokenUse,
        observer: CallObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.quotas = quotas
        self.token_use = token_use
        self._observer = observer or NobodyObserves()
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._by_participant: dict[str, Session] = {}
        self._in_call: set[str] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        """All, those included that have ended and may still be resumed to hear so."""
        return iter(list(self._sessions.values()))

    def find(self, session_id: str) -> Session | None:
        return self._sessions.get(session_id)

    def of_participant(self, participant: str) -> Session | None:
        """Whose session has not ended."""
        return self._by_participant.get(participant)

    def add(self, session: Session) -> None:
        """Somebody has joined."""
        self._sessions[session.id] = session
        self._by_participant[session.participant] = session
        self._in_call.add(session.id)
        self.token_use.entered(session.id, session.claims.jti)
        self._observer.joined(session)

    def remove(self, session: Session, reason: str) -> bool:
        """Forget a session; True when its participant was still in."""
        self._sessions.pop(session.id, None)
        was_in = self._by_participant.pop(session.participant, None) is not None
        session.end()
        self._left(session, reason)
        return was_in

    def deliver(self, participants: Sequence[str], event: RoomEvent) -> None:
        """The `Notify` of rooms, which must not suffer from one receiver: nothing is raised from here."""
        try:
            encoded = encode(event)
        except Exception:
            _log.error("an event cannot be encoded", kind=type(event).__name__)
            return
        for participant in participants:
            session = self._by_participant.get(participant)
            if session is not None:
                try:
                    self._push(session, event, encoded)
                except Exception:
                    _log.error("push failed", kind=type(event).__name__)

    def put_out(self, session: Session, event: Bye) -> None:
        """As `deliver`, where the room no longer knows the participant."""
        self._push(session, event, encode(event))

    def _push(self, session: Session, event: RoomEvent, encoded: bytes) -> None:
        session.push(event, encoded, self._clock())
        if isinstance(event, Bye):
            self._by_participant.pop(session.participant, None)
            self._left(session, event.reason)

    def _left(self, session: Session, reason: str) -> None:
        if session.id in self._in_call:
            self._in_call.discard(session.id)
            self.quotas.left(session.id)
            self.token_use.left(session.id)
            self._observer.left(session, reason)
