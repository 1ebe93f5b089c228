"""One live socket: what it watches, and how its messages are answered.

A socket that watches nothing is a stranger's: the shell gives it `LIMITS.silence_s`, from when it opened or from when
its last watch ended, and nothing that it sends but a ticket that holds stops this clock.
"""

from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from backplane.websocket import Link, Refusal, SocketLimits
from live import messages
from live.messages import MAX_FRAME_BYTES, CloseCode, Error, Ping, Pong, Watch
from live.tickets import Ticket
from live.topics import Topic

LIMITS: Final = SocketLimits(
    max_frame_bytes=MAX_FRAME_BYTES,
    frames_per_s=2.0,
    frames_burst=20.0,
    queue_frames=64,
    queue_bytes=8 * 1024 * 1024,
    silence_s=10.0,
    longest_s=10.0,
)
_REFUSALS: Final = {
    Refusal.SILENT: Error("silent", "Nothing was asked for in time."),
    Refusal.CROWDED: Error("silent", "Nothing was asked for in time."),
    Refusal.TOO_MANY_FRAMES: Error("rate_limited", "Too many frames."),
    Refusal.FAULT: Error("server_error", "Our fault; it has been logged. Open a new socket."),
}


class Watcher:
    """One thing that one socket watches.

    `after`: number of the last item that the page has; `version`: of the state that it had when it came. `shown`:
    the state as it was pushed last, of items nothing; None before the first push.
    """

    __slots__ = ("after", "id", "shown", "socket", "ticket", "topic", "version")

    def __init__(self, socket: "LiveSocket", watch: Watch, ticket: Ticket, topic: Topic) -> None:
        self.socket = socket
        self.id = watch.id
        self.ticket = ticket
        self.topic = topic
        self.after = watch.after
        self.version = watch.version
        self.shown: bytes | None = None

    @property
    def subject(self) -> tuple[int, UUID]:
        """Tenant and subject of the notes that tell of a change."""
        return self.ticket.tenant, self.ticket.subject


class LiveSocket:
    """The protocol of one socket; a `SocketProtocol`. `count` is told why we end it."""

    def __init__(
        self,
        link: Link,
        watch: Callable[["LiveSocket", Watch], Awaitable[None]],
        lost: Callable[["LiveSocket"], None],
        count: Callable[[str], None],
    ) -> None:
        self.watchers: dict[int, Watcher] = {}
        self.holder: UUID | None = None
        self._link = link
        self._watch = watch
        self._lost = lost
        self._count = count
        self._seq = 0

    def add(self, watcher: Watcher) -> None:
        self.watchers[watcher.id] = watcher
        self._link.trust()

    def remove(self, watcher: Watcher) -> None:
        if self.watchers.get(watcher.id) is watcher:
            del self.watchers[watcher.id]
        if not self.watchers and not self._link.closing:
            self._link.distrust()

    def next_seq(self) -> int:
        """The number of the next push. They are counted over all watches of a socket."""
        self._seq += 1
        return self._seq

    def send(self, frame: bytes) -> None:
        self._link.send(frame)

    def close(self, code: CloseCode, error: Error) -> None:
        """Say why, then close."""
        if not self._link.closing:
            self._count(error.code)
            self._link.send(messages.encode(error))
            self._link.close(code)

    async def receive(self, data: bytes, *, binary: bool) -> None:
        match None if binary else messages.decode(data):
            case None:
                self.close(CloseCode.PROTOCOL, Error("bad_message", "This is not of this protocol."))
            case Ping(id):
                self._link.send(messages.encode(Pong(id)))
            case Watch() as watch:
                await self._watch(self, watch)

    def beat(self) -> None:
        pass  # the frames of a socket are counted

    def refused(self, refusal: Refusal) -> None:
        if (error := _REFUSALS.get(refusal)) is not None:
            self._count(error.code)
            self._link.send(messages.encode(error))

    def lost(self) -> None:
        self._lost(self)
