"""Live views over a WebSocket: every process shows what Postgres holds, woken by notes on the bus.

    somebody commits a change --note--> every process --reads anew--> pushes what is different

A note names a subject; all watches of it in this process are read over one connection, once, however many notes came
meanwhile. A bus that loses notes costs at most `REFRESH_S`: then everything that is watched is read anyway, which also
lets waits run on and tells the database that the pages are still there. `seq` counts what a socket was sent.

A fault in one watch must not silence the others. When a subject cannot be read as a whole, its watches are read one by
one, and those that fail end with a ``bye``. A subject that is slow, or locked, holds up one of `SHOWING_AT_ONCE` only.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final
from uuid import UUID

from aiohttp import WSMsgType, web

from backplane.bus import GAP, Bus, BusUnavailable
from backplane.logs import Log
from backplane.postgres import PASSING, Database, DatabaseBusy, DatabaseUnavailable
from backplane.websocket import CLOSE_TIMEOUT_S, Admission, GuardedSocket, check_handshake
from booking.visits import notes
from booking.visits.live_messages import (
    MAX_FRAME_BYTES,
    SUBPROTOCOL,
    Bye,
    CloseCode,
    Error,
    Kind,
    LiveTicket,
    LiveTickets,
    Ping,
    Pong,
    Watch,
    decode,
)
from booking.visits.live_socket import LiveSocket, Watching
from booking.visits.live_sources import Gone, Show, Shown, as_push
from booking.visits.presence import arrived, gone, still_here
from booking.waiting_room.tickets import Lines

Subject = tuple[int, UUID]

REFRESH_S: Final = 15.0
RETRY_S: Final = 1.0
SHOWING_AT_ONCE: Final = 4
MAX_SOCKETS: Final = 10_000
MAX_WAITING: Final = 2_000
MAX_SOCKETS_PER_ADDRESS: Final = 1_000
MAX_WAITING_PER_ADDRESS: Final = 100
OPENINGS_PER_S: Final = 50.0
OPENINGS_BURST: Final = 300.0
MAX_SOCKETS_PER_PERSON: Final = 6
MAX_WATCHES: Final = 8
FRAMES_PER_S: Final = 2.0
FRAMES_BURST: Final = 20.0
_log = Log(__name__)


class Live:
    """All live sockets of this process. ``sources``: by kind of watch what it shows."""

    def __init__(
        self,
        db: Database,
        bus: Bus,
        tickets: LiveTickets,
        sources: Mapping[Kind, Show],
        clock: Callable[[], datetime],
    ) -> None:
        self._db = db
        self._bus = bus
        self.tickets = tickets
        self._sources = sources
        self._clock = clock
        self.count: Callable[[str], None] = lambda reason: None
        """Called with why a socket or a watch was ended by us."""
        self._admission = Admission(
            total=MAX_SOCKETS,
            waiting=MAX_WAITING,
            per_address=MAX_SOCKETS_PER_ADDRESS,
            waiting_per_address=MAX_WAITING_PER_ADDRESS,
            opened_per_s=OPENINGS_PER_S,
            opened_burst=OPENINGS_BURST,
        )
        self._watches: dict[Subject, set[Watching]] = {}
        self._sockets: dict[LiveSocket, asyncio.Task[None]] = {}
        self._of_person: dict[UUID, list[LiveSocket]] = defaultdict(list)
        self._dirty: dict[Subject, None] = {}
        self._showing: set[Subject] = set()
        self._wake = asyncio.Event()
        self._farewells: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Shows changes until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            for _ in range(SHOWING_AT_ONCE):
                tasks.create_task(self._show())
            tasks.create_task(self._refresh())

    async def close(self) -> None:
        """Everybody out: the process goes away."""
        for socket in self._sockets:
            socket.close(CloseCode.GOING_AWAY)
        if self._sockets:
            await asyncio.wait(list(self._sockets.values()), timeout=CLOSE_TIMEOUT_S)
        if self._farewells:
            await asyncio.wait(self._farewells, timeout=CLOSE_TIMEOUT_S)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Carry one socket. Malformed, 426, TooMany or Unavailable."""
        check_handshake(request, SUBPROTOCOL)
        with self._admission.place(request.remote, time.monotonic()) as place:
            socket = GuardedSocket(
                SUBPROTOCOL, max_frame_bytes=MAX_FRAME_BYTES, frames_per_s=FRAMES_PER_S, frames_burst=FRAMES_BURST
            )
            await socket.prepare(request)
            live = LiveSocket(socket, request.transport, place, self.count)
            place.on_evict(live.silent)
            socket.explain = live.flooded
            writer = asyncio.create_task(live.write())
            self._sockets[live] = writer
            try:
                await self._read(socket, live)
            except Exception:
                _log.error("live socket failed")
                live.close(CloseCode.FAULT, Error("server_error", "Our fault; it has been logged. Open a new socket."))
            finally:
                # On its own: the server may cancel the handler of a connection that is gone, in the middle of this.
                farewell = asyncio.create_task(self._lost(live))
                self._farewells.add(farewell)
                farewell.add_done_callback(self._farewells.discard)
                live.lost()
                try:
                    await asyncio.wait([writer], timeout=CLOSE_TIMEOUT_S)
                finally:
                    writer.cancel()
                    del self._sockets[live]
                    place.on_evict(None)
                    socket.untie(request)
            return socket

    async def _read(self, socket: GuardedSocket, live: LiveSocket) -> None:
        while not live.closing:
            frame = await socket.receive()
            if frame.type is WSMsgType.TEXT:
                await self._hear(live, decode(frame.data))
            elif frame.type is WSMsgType.BINARY:
                await self._hear(live, None)
            elif frame.type is WSMsgType.PING:
                await socket.pong(frame.data)
            elif frame.type is not WSMsgType.PONG:
                return
            await asyncio.sleep(0)  # what came in at once is read without a pause: others have a turn in between

    async def _hear(self, live: LiveSocket, message: Watch | Ping | None) -> None:
        match message:
            case None:
                live.close(CloseCode.PROTOCOL, Error("bad_message", "This is not of this protocol."))
            case Ping():
                live.send(Pong(message.id))
            case Watch():
                await self._watch(live, message)

    async def _watch(self, live: LiveSocket, message: Watch) -> None:
        now = self._clock()
        ticket = self.tickets.read(message.ticket, now)
        if ticket is None:
            live.close(CloseCode.TICKET, Error("bad_ticket", "Ask for a new ticket and open a new socket."))
            return
        if len(live.watches) >= MAX_WATCHES or message.id in live.watches:
            live.close(CloseCode.PROTOCOL, Error("too_many", "Watch fewer things, each under its own id."))
            return
        self._belongs(live, ticket.holder)
        watch = Watching(live, message.id, ticket, message.after)
        live.add(watch)
        live.place.authenticated()
        subject = (ticket.tenant, ticket.subject)
        self._watches.setdefault(subject, set()).add(watch)
        with suppress(*PASSING):
            async with self._db.tenant(ticket.tenant) as connection, connection.transaction():
                changed = await arrived(connection, ticket, now)
            if changed:
                await notes.note(self._bus, *subject)
        self._mark(subject)

    def _belongs(self, live: LiveSocket, holder: UUID) -> None:
        if live.holder is not None:
            return
        live.holder = holder
        theirs = self._of_person[holder]
        theirs.append(live)
        if len(theirs) > MAX_SOCKETS_PER_PERSON:
            theirs.pop(0).close(CloseCode.REPLACED, Error("too_many", "Too many pages of one person are open."))

    async def _lost(self, live: LiveSocket) -> None:
        if live.holder is not None:
            theirs = self._of_person[live.holder]
            if live in theirs:
                theirs.remove(live)
            if not theirs:
                del self._of_person[live.holder]
        left = list(live.watches.values())
        for watch in left:
            self._end(watch)
        for watch in left:
            if self._shown_elsewhere(watch.ticket):
                continue
            try:
                async with self._db.tenant(watch.ticket.tenant) as connection:
                    changed = await gone(connection, watch.ticket, self._clock())
                if changed:
                    await notes.note(self._bus, watch.ticket.tenant, watch.ticket.subject)
            except DatabaseUnavailable:
                _log.warning("presence not kept")  # old news after `ALIVE` in any case
            except Exception:
                _log.error("presence not kept")

    def _shown_elsewhere(self, ticket: LiveTicket) -> bool:
        watches = self._watches.get((ticket.tenant, ticket.subject), ())
        theirs = [each.ticket for each in watches if each.ticket.key == ticket.key]
        # A place in line is kept by any of the person's devices, a seat by the one that has it.
        return any(each.device == ticket.device or ticket.kind is Kind.PLACE for each in theirs)

    def _end(self, watch: Watching) -> None:
        watch.socket.remove(watch)
        subject = (watch.ticket.tenant, watch.ticket.subject)
        watches = self._watches.get(subject, set())
        watches.discard(watch)
        if not watches:
            self._watches.pop(subject, None)

    def _mark(self, *subjects: Subject) -> None:
        for subject in subjects:
            if subject in self._watches:
                self._dirty[subject] = None
                self._wake.set()

    async def _listen(self) -> None:
        while True:
            try:
                async with self._bus.subscribe(notes.TOPIC) as subscription:
                    self._mark(*self._watches)  # what was said before is not heard
                    async for message in subscription:
                        if message == GAP:
                            self._mark(*self._watches)
                        elif (note := notes.read(message)) is not None:
                            self._mark((note.tenant, note.subject))
            except BusUnavailable:
                _log.warning("listening waits")
            except Exception:
                _log.error("listening failed")
            await asyncio.sleep(RETRY_S)

    async def _show(self) -> None:
        while True:
            # What another one is reading is left to it, or a page would be shown what was true before.
            while (subject := next((each for each in self._dirty if each not in self._showing), None)) is not None:
                del self._dirty[subject]
                self._showing.add(subject)
                try:
                    await self._show_subject(*subject)
                except DatabaseBusy:
                    asyncio.get_running_loop().call_later(RETRY_S, self._mark, subject)
                except DatabaseUnavailable:
                    await asyncio.sleep(RETRY_S)
                    self._mark(subject)
                except Exception:
                    _log.error("live view failed")
                finally:
                    self._showing.discard(subject)
            self._wake.clear()
            await self._wake.wait()

    async def _show_subject(self, tenant: int, subject: UUID) -> None:
        watches = list(self._watches.get((tenant, subject), ()))
        try:
            await self._show_watches(tenant, watches)
        except PASSING:
            raise
        except Exception:  # of one of them: the others shall not suffer from it
            for watch in watches:
                await self._show_alone(tenant, watch)

    async def _show_alone(self, tenant: int, watch: Watching) -> None:
        try:
            await self._show_watches(tenant, [watch])
        except PASSING:
            raise
        except Exception:
            _log.error("live view failed", kind=watch.ticket.kind.name)
            self.count("failed")
            self._push(watch, Gone("failed"))

    async def _show_watches(self, tenant: int, watches: Sequence[Watching]) -> None:
        now = self._clock()
        lines: Lines = {}
        async with self._db.tenant(tenant) as connection, connection.transaction("repeatable_read", readonly=True):
            for watch in watches:
                shown = await self._sources[watch.ticket.kind](connection, watch.ticket, watch.after, now, lines)
                self._push(watch, shown)

    def _push(self, watch: Watching, shown: Shown) -> None:
        if shown == watch.shown or watch.id not in watch.socket.watches:
            return
        watch.shown = shown
        watch.socket.seq += 1
        message = as_push(watch.id, watch.socket.seq, shown)
        watch.socket.send(message)
        if isinstance(message, Bye):
            self._end(watch)

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            by_tenant: dict[int, list[LiveTicket]] = defaultdict(list)
            for watches in self._watches.values():
                for watch in watches:
                    by_tenant[watch.ticket.tenant].append(watch.ticket)
            for tenant, tickets in by_tenant.items():
                try:
                    async with self._db.tenant(tenant) as connection:
                        await still_here(connection, tickets, self._clock())
                except DatabaseUnavailable:
                    _log.warning("presence not kept")
                except Exception:  # the next round tells it again
                    _log.error("presence not kept")
            self._mark(*self._watches)
