"""One socket's conversation: frames in, frames out, and the order in which things may be said. Sans-IO.

    waiting --join or resume--> joined --leave, bye, fatal error--> closed

While waiting only join, resume and ping are heard; the shell ends the socket of a peer that waits too long. Whatever a
peer sends, it gets an answer or an error, and what it can cost is bounded by two token buckets: one over all messages,
weighted by the work they make, and a smaller one over those that are refused.
"""

from typing import Final

from backplane.logs import Log
from backplane.metrics import Metrics
from backplane.ratelimit import TokenBucket
from signalling.calls import Calls
from signalling.codes import CloseCode, ErrorCode, SignallingError
from signalling.compression import inflate
from signalling.messages import (
    ClientMessage,
    Done,
    Error,
    Join,
    Leave,
    Mute,
    Offer,
    Ping,
    Pong,
    Prefer,
    Remove,
    Resume,
    ServerAnswer,
    decode,
    encode,
)
from signalling.session import Link, Session

MESSAGES_PER_S: Final = 20.0
MESSAGES_BURST: Final = 200.0
FAULTS_PER_S: Final = 1.0
FAULTS_BURST: Final = 20.0
# A join or an offer is parsed, answered and told to others: some milliseconds, not microseconds.
_COST_OF_OFFER: Final = 10.0
# A small compressed frame can become a long message, which its sender has not paid for in bytes.
BYTES_OF_ONE_MESSAGE: Final = 16 * 1024
_log = Log(__name__)


class Conversation:
    """Made when a socket opens; the shell calls `receive` and at last `lost`."""

    def __init__(self, calls: Calls, metrics: Metrics, link: Link, address: str = "") -> None:
        """``address``: of the socket, as `backplane.ratelimit.address_key` makes it."""
        self._calls = calls
        self._metrics = metrics
        self._link = link
        self._address = address
        self._messages = TokenBucket(MESSAGES_PER_S, MESSAGES_BURST)
        self._faults = TokenBucket(FAULTS_PER_S, FAULTS_BURST)
        self._session: Session | None = None
        self._generation = 0
        self._closed = False

    @property
    def joined(self) -> bool:
        return self._session is not None

    def receive(self, frame: str | bytes, now: float, *, compressed: bool = False) -> None:
        """One frame: text, or where ``compressed`` bytes that are a deflated text."""
        if self._closed or (self._session is not None and self._session.generation != self._generation):
            return  # nobody listens any more, or a newer socket speaks for the session
        try:
            if not self._messages.allow(now):
                raise SignallingError(ErrorCode.RATE_LIMITED)
            self._handle(decode(self._inflated(frame, now) if compressed else frame), now)
        except SignallingError as error:
            self.refuse(error, now)

    def _inflated(self, frame: str | bytes, now: float) -> bytes:
        text = inflate(frame.encode() if isinstance(frame, str) else frame)
        if not self._messages.allow(now, len(text) // BYTES_OF_ONE_MESSAGE):
            raise SignallingError(ErrorCode.RATE_LIMITED)
        return text

    def beat(self, now: float) -> None:
        """A ping or pong of the WebSocket itself (RFC 6455 section 5.5): work like a message, and counted as one."""
        if not self._messages.allow(now):
            self.refuse(SignallingError(ErrorCode.RATE_LIMITED), now)

    def refuse(self, error: SignallingError, now: float) -> None:
        """Answer with an error, and close after a fatal one or one too many."""
        if self._closed:
            return
        if not error.code.fatal and not self._faults.allow(now):
            error = SignallingError(ErrorCode.RATE_LIMITED, re=error.re)
        self._metrics.errors.labels(error.code.code).inc()
        self._link.send(encode(Error(re=error.re, code=error.code.code, message=error.message, fatal=error.code.fatal)))
        if error.code.close is not None:
            self._finish(error.code.close, now)

    def lost(self, now: float) -> None:
        """The socket is gone, for whatever reason. Idempotent."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            self._calls.lost(session, self._generation, now)

    def _finish(self, code: CloseCode, now: float) -> None:
        self._link.close(code)
        self.lost(now)

    def _handle(self, message: ClientMessage, now: float) -> None:
        try:
            answer = self._answer(message, now)
        except SignallingError as error:
            error.re = message.id
            raise
        except Exception:
            _log.error("request failed", kind=type(message).__name__)
            raise SignallingError(ErrorCode.SERVER_ERROR, re=message.id) from None
        if answer is not None:
            self._link.send(encode(answer))

    def _answer(self, message: ClientMessage, now: float) -> ServerAnswer | None:
        session = self._session
        if isinstance(message, Ping):
            return Pong(re=message.id, time_ms=int(self._calls.wall_clock() * 1000))
        if isinstance(message, Join | Offer) and not self._messages.allow(now, _COST_OF_OFFER - 1):
            raise SignallingError(ErrorCode.RATE_LIMITED)
        if isinstance(message, Join | Resume):
            if session is not None:
                raise SignallingError(ErrorCode.ALREADY_JOINED)
            self._begin(message, now)
            return None
        if session is None:
            raise SignallingError(ErrorCode.NOT_JOINED)
        match message:
            case Offer():
                return self._calls.offer(session, message, now)
            case Mute():
                self._calls.mute(session, message, now)
            case Prefer():
                self._calls.prefer(session, message, now)
            case Remove():
                self._calls.remove(session, message, now)
            case Leave():
                self._session = None
                self._calls.leave(session, now)
                self._link.send(encode(Done(re=message.id)))
                self._finish(CloseCode.NORMAL, now)
                return None
        return Done(re=message.id)

    def _begin(self, message: Join | Resume, now: float) -> None:
        """Join or resume. Its answer leaves before any push that it causes."""
        if isinstance(message, Join):
            self._session, joined = self._calls.join(message, self._link, now, self._address)
            self._generation = self._session.generation
            self._link.send(encode(joined))
            return
        self._session, resumed = self._calls.resume(message, self._link, now)
        self._generation = resumed.generation
        self._link.send(encode(resumed))
        for frame in self._session.replay(message.seen):
            self._link.send(frame)
        if self._session.ended:
            self._finish(CloseCode.BYE, now)
