"""The hub of the live sockets: every process shows what Postgres holds, woken by notes on the bus.

    somebody commits a change --note--> every process --reads anew--> pushes what is different

A note names a subject and nothing more (`live.notes`). A bus that loses notes costs at most `REFRESH_S`: then
everything that is watched is read anyway, which also lets waits run on and tells the owners of topics that the pages
are still there. A socket that is lost is opened again with new tickets: the page shows the version of the state that it
has, or the number of the last item, and gets what it has not.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Final
from uuid import UUID

from aiohttp import web

from backplane.admission import Admission
from backplane.bus import GAP, Bus, BusUnavailable
from backplane.logs import Log
from backplane.metrics import Metrics
from backplane.postgres import PASSING, Database, DatabaseUnavailable
from backplane.websocket import Link, WebSockets
from live import notes
from live.fanout import Fanout
from live.live_socket import LIMITS, LiveSocket, Watcher
from live.messages import SUBPROTOCOL, CloseCode, Error, Watch
from live.tickets import Ticket, Tickets
from live.topics import Presence, Topic

REFRESH_S: Final = 15.0
RETRY_S: Final = 1.0
CLOSE_TIMEOUT_S: Final = 1.0
MAX_SOCKETS: Final = 10_000
MAX_WAITING: Final = 2_000
MAX_SOCKETS_PER_ADDRESS: Final = 1_000
MAX_WAITING_PER_ADDRESS: Final = 100
OPENINGS_PER_S: Final = 50.0
OPENINGS_BURST: Final = 300.0
MAX_SOCKETS_PER_PERSON: Final = 6
MAX_WATCHES: Final = 8
_log = Log(__name__)


class Hub:
    """All live sockets of this process, and the topics that they may watch.

    Raises:
        ValueError: two topics have the same kind or name.
    """

    def __init__(
        self,
        database: Database,
        bus: Bus,
        tickets: Tickets,
        topics: Iterable[Topic],
        clock: Callable[[], datetime],
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._bus = bus
        self.tickets = tickets
        topics = list(topics)
        self._topics = {topic.kind: topic for topic in topics}
        if len(self._topics) < len(topics) or len({topic.name for topic in topics}) < len(topics):
            raise ValueError("a kind or a name of topics stands for one of them only")
        self._clock = clock
        self._metrics = metrics
        self._fanout = Fanout(database, clock, self._count)
        admission = Admission(
            total=MAX_SOCKETS,
            waiting=MAX_WAITING,
            per_address=MAX_SOCKETS_PER_ADDRESS,
            waiting_per_address=MAX_WAITING_PER_ADDRESS,
            opened_per_s=OPENINGS_PER_S,
            opened_burst=OPENINGS_BURST,
        )
        self._sockets = WebSockets(self._opened, {SUBPROTOCOL: None}, LIMITS, admission, metrics.live_sockets)
        self._of_person: dict[UUID, list[LiveSocket]] = defaultdict(list)
        self._farewells: set[asyncio.Task[None]] = set()

    def install(self, app: web.Application) -> None:
        """Where handlers find it; when `app` shuts down, everybody is sent away. Once, before it starts."""
        app[HUB] = self

        async def close(_: web.Application) -> None:
            await self.close()

        app.on_shutdown.append(close)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Changes are shown while the block runs."""
        tasks = [asyncio.create_task(each) for each in (self._fanout.run(), self._listen(), self._refresh())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)  # they take leave of the bus, which its owner closes next

    async def close(self) -> None:
        """Everybody out: the process goes away."""
        await self._sockets.close(CLOSE_TIMEOUT_S)
        if self._farewells:
            await asyncio.wait(self._farewells, timeout=CLOSE_TIMEOUT_S)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Carry one socket. Problem 400, 426, 429 or 503."""
        return await self._sockets.handle(request)

    def _count(self, reason: str) -> None:
        self._metrics.live_ends.labels(reason).inc()

    def _opened(self, link: Link, request: web.Request) -> LiveSocket:
        return LiveSocket(link, self._watch, self._lost, self._count)

    async def _watch(self, socket: LiveSocket, message: Watch) -> None:
        now = self._clock()
        ticket = self.tickets.read(message.ticket, now)
        topic = None if ticket is None else self._topics.get(ticket.kind)
        if ticket is None or topic is None:
            socket.close(CloseCode.TICKET, Error("bad_ticket", "Ask for a new ticket and open a new socket."))
            return
        if len(socket.watchers) >= MAX_WATCHES or message.id in socket.watchers:
            socket.close(CloseCode.PROTOCOL, Error("too_many", "Watch fewer things, each under its own id."))
            return
        self._belongs(socket, ticket.holder)
        watcher = Watcher(socket, message, ticket, topic)
        self._fanout.add(watcher)
        if topic.presence is not None:
            with suppress(*PASSING):
                async with self._database.tenant(ticket.tenant) as connection, connection.transaction():
                    changed = await topic.presence.arrived(connection, ticket, now)
                if changed:
                    await notes.note(self._bus, *watcher.subject)
        self._fanout.changed(watcher.subject)

    def _belongs(self, socket: LiveSocket, holder: UUID) -> None:
        if socket.holder is not None:
            return
        socket.holder = holder
        theirs = self._of_person[holder]
        theirs.append(socket)
        if len(theirs) > MAX_SOCKETS_PER_PERSON:
            theirs.pop(0).close(CloseCode.REPLACED, Error("too_many", "Too many pages of one person are open."))

    def _lost(self, socket: LiveSocket) -> None:
        """The rest is done by a task: the server may cancel the handler of a connection that is gone."""
        if socket.holder is not None:
            theirs = self._of_person[socket.holder]
            if socket in theirs:
                theirs.remove(socket)
            if not theirs:
                del self._of_person[socket.holder]
        watchers = list(socket.watchers.values())
        for watcher in watchers:
            self._fanout.end(watcher)
        if watchers:
            farewell = asyncio.create_task(self._leave(watchers))
            self._farewells.add(farewell)
            farewell.add_done_callback(self._farewells.discard)

    async def _leave(self, watchers: list[Watcher]) -> None:
        for watcher in watchers:
            presence, ticket = watcher.topic.presence, watcher.ticket
            if presence is None or self._shown_elsewhere(presence, watcher):
                continue
            try:
                async with self._database.tenant(ticket.tenant) as connection:
                    changed = await presence.left(connection, ticket, self._clock())
                if changed:
                    await notes.note(self._bus, *watcher.subject)
            except DatabaseUnavailable:
                _log.warning("presence not kept")  # soon it is old news in any case
            except Exception:
                _log.error("presence not kept")

    def _shown_elsewhere(self, presence: Presence, gone: Watcher) -> bool:
        def same(other: Ticket) -> bool:
            return (other.kind, other.key) == (gone.ticket.kind, gone.ticket.key)

        others = [each for each in self._fanout.of(gone.subject) if same(each)]
        return any(each.device == gone.ticket.device or not presence.by_device for each in others)

    async def _listen(self) -> None:
        while True:
            try:
                async with self._bus.subscribe(notes.TOPIC) as subscription:
                    self._fanout.all_changed()  # what was said before is not heard
                    async for message in subscription:
                        if message == GAP:
                            self._fanout.all_changed()
                        elif (note := notes.read(message)) is not None:
                            self._fanout.changed((note.tenant, note.subject))
            except BusUnavailable:
                _log.warning("listening waits")
            except Exception:
                _log.error("listening failed")
            await asyncio.sleep(RETRY_S)

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            for tenant, watchers in self._fanout.by_tenant().items():
                present: dict[Presence, list[Ticket]] = defaultdict(list)
                for watcher in watchers:
                    if watcher.topic.presence is not None:
                        present[watcher.topic.presence].append(watcher.ticket)
                try:
                    async with self._database.tenant(tenant) as connection:
                        for presence, tickets in present.items():
                            await presence.still_here(connection, tickets, self._clock())
                except DatabaseUnavailable:
                    _log.warning("presence not kept")
                except Exception:  # the next round tells it again
                    _log.error("presence not kept")
            self._fanout.all_changed()


HUB: Final = web.AppKey("hub", Hub)
