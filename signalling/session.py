"""A session: one participant's side of wadud.v1, living on while sockets come and go. Sans-IO.

Pushes are numbered 1, 2, 3 ... and kept for replay, within bounds; all who are told of an event keep the same bytes. A
push that only repeats a whole state (slots, speakers, quality, one participant's entry) replaces the earlier one of its
kind in the buffer, so what waits for a client that is away does not grow with time. Every socket that carries the
session is a generation: the newest wins, and what an older one still says or loses changes nothing. What a bound had to
drop is no loss of state, because ``resumed`` carries all of it.
"""

import hmac
from collections import OrderedDict
from typing import Final, Protocol

from backplane.tokens import Claims
from sfu.events import (
    Bye,
    ParticipantLeft,
    ParticipantUpdated,
    QualityReport,
    RoomEvent,
    SlotsChanged,
    SpeakersChanged,
)
from signalling.codes import CloseCode
from signalling.messages import encode, numbered

RESUME_WINDOW_S: Final = 30
MAX_REPLAY_MESSAGES: Final = 512
MAX_REPLAY_BYTES: Final = 256 * 1024


class Link(Protocol):
    """One socket as a session sees it. Neither call blocks or raises."""

    def send(self, frame: bytes) -> None: ...

    def close(self, code: CloseCode) -> None:
        """Close after everything sent so far."""


class Session:
    """Made by a join. Times are monotonic seconds."""

    def __init__(self, session_id: str, secret: str, participant: str, claims: Claims, link: Link) -> None:
        self.id = session_id
        self.participant = participant
        self.claims = claims
        self.generation = 1
        self.ended = False
        self.suspended_at: float | None = None
        self.secret = secret
        self._link: Link | None = link
        self._last_seq = 0
        self._replay: OrderedDict[str, tuple[int, bytes]] = OrderedDict()
        self._replay_bytes = 0

    @property
    def last_seq(self) -> int:
        return self._last_seq

    @property
    def attached(self) -> bool:
        return self._link is not None

    def proves(self, secret: str) -> bool:
        """Whether ``secret`` is ours, in constant time."""
        return hmac.compare_digest(self.secret.encode(), secret.encode())

    def push(self, event: RoomEvent, encoded: bytes, now: float) -> None:
        """Number the event, keep it, and send it when a socket is there.

        A `Bye` ends the session: its socket is closed, and it can be resumed only to hear the same bye.
        """
        if self.ended:
            return
        self._last_seq += 1
        self._keep(event, encoded)
        if self._link is not None:
            self._link.send(numbered(encoded, self._last_seq))
        if isinstance(event, Bye):
            self.ended = True
            self.suspended_at = now
            self._drop_link(CloseCode.BYE)

    def suspend(self, generation: int, now: float) -> bool:
        """The socket of ``generation`` is gone. False when a newer one carries the session, or it has ended."""
        if generation != self.generation or self._link is None:
            return False
        self._link = None
        self.suspended_at = now
        return True

    def resume(self, link: Link) -> int:
        """Let ``link`` carry the session from now on and tell the socket before it; returns the new generation.

        The caller then sends ``resumed`` and what `replay` returns, in this order.
        """
        if self._link is not None:
            # Only the old socket hears this, so it must not use up a number of the session.
            self._link.send(numbered(encode(Bye("replaced")), self._last_seq + 1))
            self._drop_link(CloseCode.REPLACED)
        self.generation += 1
        self._link = link
        if self.ended:
            self._drop_link(None)
        else:
            self.suspended_at = None
        return self.generation

    def replay(self, seen: int) -> list[bytes]:
        """The kept pushes after number ``seen``, oldest first; forgets those before."""
        for key in [key for key, (seq, _) in self._replay.items() if seq <= seen]:
            self._forget(key)
        return [numbered(encoded, seq) for seq, encoded in self._replay.values()]

    def over(self, now: float) -> bool:
        """Whether the window for resuming has passed."""
        return self.suspended_at is not None and now - self.suspended_at >= RESUME_WINDOW_S

    def end(self) -> None:
        """The client's own wish: no bye, no replay."""
        self.ended = True
        self._link = None
        self._replay.clear()
        self._replay_bytes = 0

    def _drop_link(self, code: CloseCode | None) -> None:
        if self._link is not None and code is not None:
            self._link.close(code)
        self._link = None

    def _keep(self, event: RoomEvent, encoded: bytes) -> None:
        key = self._replay_key(event)
        if key in self._replay:
            self._forget(key)
        if isinstance(event, ParticipantLeft) and f"updated {event.participant}" in self._replay:
            self._forget(f"updated {event.participant}")
        self._replay[key] = (self._last_seq, encoded)
        self._replay_bytes += len(encoded)
        while len(self._replay) > MAX_REPLAY_MESSAGES or self._replay_bytes > MAX_REPLAY_BYTES:
            self._forget(next(iter(self._replay)))

    def _forget(self, key: str) -> None:
        _, encoded = self._replay.pop(key)
        self._replay_bytes -= len(encoded)

    def _replay_key(self, event: RoomEvent) -> str:
        match event:
            case ParticipantUpdated():
                return f"updated {event.participant.id}"
            case SlotsChanged():
                return "slots"
            case Bye():
                return "bye"
            case SpeakersChanged():
                return "speakers"
            case QualityReport():
                return "quality"
            case _:
                return f"seq {self._last_seq}"
