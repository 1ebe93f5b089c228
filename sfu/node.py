"""All rooms of this process and the workers that carry their media. See `Room` for what happens inside one.

node = Node(workers=workers, identity=dtls_identity, candidates=[[("192.0.2.1", worker.port)] for worker in workers])
node.notify = sessions.push            # (participant id, message)
loop = MediaLoop(node); loop.start()   # sfu/media_loop.py: feeds events, timers and ticks from asyncio
room = node.room("x7...")              # made when missing
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sfu.room import Notify, Room

if TYPE_CHECKING:
    from rtc._dtls import Identity
    from rtc._worker import Worker


class Node:
    notify: Notify
    observe_stage: Callable[[str, float], None]
    """Called with (stage, seconds since the join's offer) once per join and stage: answer, ice, dtls, first_in,
    first_out."""

    def __init__(
        self, *, workers: Sequence["Worker"], identity: "Identity", candidates: Sequence[Sequence[tuple[str, int]]]
    ) -> None:
        """`candidates`: per worker the (IP address, UDP port) pairs that clients are told."""

    def room(self, name: str) -> Room:
        """The room of that name, made on the least loaded worker when missing."""
        raise NotImplementedError

    def find(self, name: str) -> Room | None: ...

    @property
    def rooms(self) -> list[Room]:
        raise NotImplementedError

    def tick(self, now: float) -> None: ...
