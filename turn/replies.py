"""Answers that are kept, so that a request that comes again gets the very same one (RFC 8489 section 6.3.1). Over TCP
there is no need to send one again, but clients do (coturn's, to move an allocation), and a ticket is worth one move.

Clients retransmit for 39.5 s at most, with the same transaction id from the same five-tuple. An answer is repeated only
for the same bytes: whoever guesses a transaction id gets nothing. Bounded by time and by number, oldest first.
"""

from typing import Final

from turn.plane import Client

KEEP_S: Final = 40.0
MAX_KEPT: Final = 16_384


class Replies:
    """The last answers."""

    def __init__(self, max_kept: int = MAX_KEPT) -> None:
        self._max_kept = max_kept
        self._kept: dict[tuple[Client, bytes], tuple[float, int, bytes]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, client: Client, transaction: bytes, request: bytes, now: float) -> bytes | None:
        """The answer to that ``request``, when it was given less than KEEP_S ago."""
        kept = self._kept.get((client, transaction))
        if kept is None or kept[0] <= now - KEEP_S or kept[1] != hash(request):
            return None
        return kept[2]

    def keep(self, client: Client, transaction: bytes, request: bytes, reply: bytes, now: float) -> None:
        kept, key = self._kept, (client, transaction)
        kept.pop(key, None)  # so that the order is that of time
        kept[key] = (now, hash(request), reply)
        while len(kept) > self._max_kept:
            del kept[next(iter(kept))]

    def forget(self, now: float) -> None:
        """Drop what is too old."""
        kept = self._kept
        while kept:
            oldest = next(iter(kept))
            if kept[oldest][0] > now - KEEP_S:
                break
            del kept[oldest]
