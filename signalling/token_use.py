"""With which tokens somebody is in a call, told to the relay: its credentials are to live no longer than the call.

Credentials name the token that they were given for, and hold until the token ends, or six hours. That is longer than
most calls, and nothing in them says that a call is over. So the relay hears when nobody is in with a token any more, or
has come within `UNUSED_S` after its credentials were given: it refuses them from then on and ends what was allocated.
Whoever asks for credentials anew, or joins, is served again. Sans-IO: ``now`` is monotonic, in seconds.
"""

from collections import Counter
from typing import Final, Protocol

UNUSED_S: Final = 30 * 60.0  # as long as a socket may wait with its join
MAX_EXPECTED: Final = 10_000


class RelayCredentials(Protocol):
    """What a relay takes of those who come with credentials that were given for a token."""

    def serve(self, jti: str) -> None:
        """Somebody is in with that token or is expected to be: take the credentials (again)."""

    def refuse(self, jti: str) -> None:
        """Nobody is any more, or the token was taken back: refuse them, and end what was allocated with them."""


class NoRelay:
    """The `RelayCredentials` of a server without a relay."""

    def serve(self, jti: str) -> None: ...

    def refuse(self, jti: str) -> None: ...


class TokenUse:
    """Tokens are known by their ``jti``."""

    def __init__(self, relay: RelayCredentials | None = None) -> None:
        self._relay = relay or NoRelay()
        self._of_session: dict[str, str] = {}
        self._sessions: Counter[str] = Counter()
        self._left: set[str] = set()
        self._expected: dict[str, float] = {}  # since when, the longest first

    def expect(self, jti: str, now: float) -> None:
        """Relay credentials are being given for that token."""
        if jti not in self._sessions:
            self._left.discard(jti)
            self._expected.pop(jti, None)
            if len(self._expected) >= MAX_EXPECTED:
                self._give_up(next(iter(self._expected)))
            self._expected[jti] = now
        self._relay.serve(jti)

    def revoked(self, jti: str) -> None:
        """The token was taken back."""
        self._relay.refuse(jti)

    def entered(self, session: str, jti: str) -> None:
        self._of_session[session] = jti
        self._sessions[jti] += 1
        self._left.discard(jti)
        if self._expected.pop(jti, None) is None:
            self._relay.serve(jti)

    def left(self, session: str) -> None:
        """Idempotent. Told with the next `sweep`, for somebody who is replaced by himself has not come yet."""
        jti = self._of_session.pop(session, None)
        if jti is None:
            return
        self._sessions[jti] -= 1
        if not self._sessions[jti]:
            del self._sessions[jti]
            self._left.add(jti)

    def sweep(self, now: float) -> None:
        """Tell what is over. Wants to be called about twice a second."""
        while self._left:
            self._relay.refuse(self._left.pop())
        while self._expected:
            jti, since = next(iter(self._expected.items()))
            if now - since < UNUSED_S:
                break
            self._give_up(jti)

    def _give_up(self, jti: str) -> None:
        del self._expected[jti]
        self._relay.refuse(jti)
