"""A session: one participant's side of wadud.v1, living on while sockets come and go. Sans-IO.

Pushes are numbered 1, 2, 3 ... and kept for replay, within bounds. A push that only repeats a whole state (slots,
speakers, quality, one participant's entry) replaces the earlier one of its kind in the buffer, so what waits for a
client that is away does not grow with time. Every socket that carries the session is a generation: the newest wins, and
what an older one still says or loses changes nothing. What a bound had to drop is no loss of state, because ``resumed``
carries all of it.
"""

import hmac
from collections import OrderedDict
from typing import Final, Protocol

import msgspec

from backplane.tokens import Claims
from sfu.protocol import Message
from signalling.codes import CloseCode
from signalling.messages import (
    Bye,
    ParticipantLeft,
    ParticipantUpdated,
    QualityReport,
    ServerPush,
    Slots,
    Speakers,
    encode,
)

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

    def push(self, message: Message, now: float) -> None:
        """Number ``message`` (a server push without ``seq``), keep it, and send it when a socket is there.

        A ``bye`` ends the session: its socket is closed, and it can be resumed only to hear the same bye.
        msgspec.ValidationError when ``message`` is none of the protocol's pushes; then nothing was numbered.
        """
        if self.ended:
            return
        push: ServerPush = msgspec.convert({**message, "seq": self._last_seq + 1}, ServerPush)
        self._last_seq += 1
        frame = encode(push)
        self._keep(push, frame)
        if self._link is not None:
            self._link.send(frame)
        if isinstance(push, Bye):
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
            self._link.send(encode(Bye(seq=self._last_seq + 1, reason="replaced")))
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
        return [frame for _, frame in self._replay.values()]

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

    def _keep(self, push: ServerPush, frame: bytes) -> None:
        key = self._replay_key(push)
        if key in self._replay:
            self._forget(key)
        if isinstance(push, ParticipantLeft) and f"updated {push.participant}" in self._replay:
            self._forget(f"updated {push.participant}")
        self._replay[key] = (push.seq, frame)
        self._replay_bytes += len(frame)
        while len(self._replay) > MAX_REPLAY_MESSAGES or self._replay_bytes > MAX_REPLAY_BYTES:
            self._forget(next(iter(self._replay)))

    def _forget(self, key: str) -> None:
        _, frame = self._replay.pop(key)
        self._replay_bytes -= len(frame)

    @staticmethod
    def _replay_key(push: ServerPush) -> str:
        match push:
            case ParticipantUpdated():
                return f"updated {push.participant.id}"
            case Slots():
                return "slots"
            case Bye():
                return "bye"
            case Speakers():
                return "speakers"
            case QualityReport():
                return "quality"
            case _:
                return f"seq {push.seq}"
