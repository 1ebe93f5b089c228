"""Live views over a WebSocket: every process shows what Postgres holds, woken by notes on the bus.

    somebody commits a change --note--> every process --reads anew--> pushes what is different

A note names a subject; all watches of it in this process are read over one connection, once, however many notes came
meanwhile. A bus that loses notes costs at most `REFRESH_S`: then everything that is watched is read anyway, which also
lets waits run on and tells the database that the pages are still there. `seq` counts what a socket was sent.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final
from uuid import UUID

from aiohttp import WSMsgType, web

from backplane.bus import GAP, Bus, BusUnavailable
from backplane.logs import Log
from backplane.patient_websocket import PatientWebSocket
from backplane.postgres import PASSING, Database, DatabaseUnavailable
from backplane.ratelimit import TokenBucket
from backplane.web import Problem
from booking.join import notes
from booking.join.live_messages import (
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
    ServerMessage,
    Watch,
    decode,
    encode,
)
from booking.join.live_sources import Show, Shown, as_push
from booking.join.presence import arrived, gone, still_here
from booking.queue.tickets import Lines

REFRESH_S: Final = 15.0
HEARTBEAT_S: Final = 10.0
SILENCE_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 1.0
RETRY_S: Final = 1.0
MAX_SOCKETS: Final = 10_000
MAX_SOCKETS_PER_PERSON: Final = 6
MAX_WATCHES: Final = 8
MAX_QUEUED: Final = 64
FRAMES_PER_S: Final = 2.0
FRAMES_BURST: Final = 20.0
_log = Log(__name__)


class Watching:
    """One thing that one socket shows."""

    def __init__(self, socket: "LiveSocket", id: int, ticket: LiveTicket, after: int) -> None:
        self.socket = socket
        self.id = id
        self.ticket = ticket
        self.after = after
        self.shown: Shown | None = None


class LiveSocket:
    """One socket's bounded queue of what is to be written."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self.watches: dict[int, Watching] = {}
        self.holder: UUID | None = None
        self.seq = 0
        self._socket = socket
        self._transport = transport
        self._queue: asyncio.Queue[bytes | CloseCode] = asyncio.Queue()
        self.closing = False

    def send(self, message: ServerMessage) -> None:
        if self.closing:
            return
        if self._queue.qsize() >= MAX_QUEUED:  # it does not read, so it would not read a close frame either
            self.closing = True
            if self._transport is not None:
                self._transport.abort()
            return
        self._queue.put_nowait(encode(message))

    def close(self, code: CloseCode, error: Error | None = None) -> None:
        if not self.closing:
            if error is not None:
                self.send(error)
            self.closing = True
            self._queue.put_nowait(code)

    async def write(self) -> None:
        """Ends with the socket."""
        with suppress(ConnectionError, RuntimeError):
            while True:
                item = await self._queue.get()
                if isinstance(item, CloseCode):
                    await self._socket.close(code=item)
                    return
                await self._socket.send_frame(item, WSMsgType.TEXT)


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
        self._watches: dict[tuple[int, UUID], set[Watching]] = {}
        self._sockets: dict[LiveSocket, asyncio.Task[None]] = {}
        self._of_person: dict[UUID, list[LiveSocket]] = defaultdict(list)
        self._dirty: dict[tuple[int, UUID], None] = {}
        self._wake = asyncio.Event()
        self._farewells: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Shows changes until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
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

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Carry one socket. Problem 400, 426 or 503."""
        self._admit(request)
        socket = PatientWebSocket(
            protocols=(SUBPROTOCOL,),
            heartbeat=HEARTBEAT_S,
            timeout=CLOSE_TIMEOUT_S,
            compress=False,
            max_msg_size=MAX_FRAME_BYTES,
            decode_text=False,
        )
        await socket.prepare(request)
        live = LiveSocket(socket, request.transport)
        writer = asyncio.create_task(live.write())
        self._sockets[live] = writer
        try:
            await self._read(socket, live)
        finally:
            # On its own: the server may cancel the handler of a connection that is gone, in the middle of telling so.
            farewell = asyncio.create_task(self._lost(live))
            self._farewells.add(farewell)
            farewell.add_done_callback(self._farewells.discard)
            live.close(CloseCode.NORMAL)
            await asyncio.wait([writer], timeout=CLOSE_TIMEOUT_S)
            writer.cancel()
            del self._sockets[live]
        return socket

    def _admit(self, request: web.Request) -> None:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise Problem(426, "upgrade_required", "This is a WebSocket.", {"Upgrade": "websocket"})
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        if SUBPROTOCOL not in (name.strip() for name in offered.split(",")):
            raise Problem(400, "unsupported_protocol", f"Ask for the subprotocol {SUBPROTOCOL}.")
        if len(self._sockets) >= MAX_SOCKETS:
            raise Problem(503, "busy", "Too many sockets are open.", {"Retry-After": "5"})

    async def _read(self, socket: web.WebSocketResponse, live: LiveSocket) -> None:
        bucket = TokenBucket(FRAMES_PER_S, FRAMES_BURST)
        while not live.closing:
            try:
                frame = await socket.receive(None if live.watches else SILENCE_S)
            except TimeoutError:
                live.close(CloseCode.PROTOCOL, Error("silent", "Nothing was asked for in time."))
                return
            if frame.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return
            if not bucket.allow(time.monotonic()):
                live.close(CloseCode.RATE, Error("rate_limited", "Too many frames."))
                return
            message = decode(frame.data) if frame.type is WSMsgType.TEXT else None
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
        live.watches[message.id] = watch
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
        watch.socket.watches.pop(watch.id, None)
        subject = (watch.ticket.tenant, watch.ticket.subject)
        watches = self._watches.get(subject, set())
        watches.discard(watch)
        if not watches:
            self._watches.pop(subject, None)

    def _mark(self, *subjects: tuple[int, UUID]) -> None:
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
            while self._dirty:
                subject = next(iter(self._dirty))
                del self._dirty[subject]
                try:
                    await self._show_subject(*subject)
                except PASSING:
                    await asyncio.sleep(1)
                    self._mark(subject)
                except Exception:
                    _log.error("live view failed")
            self._wake.clear()
            await self._wake.wait()

    async def _show_subject(self, tenant: int, subject: UUID) -> None:
        now = self._clock()
        watches = list(self._watches.get((tenant, subject), ()))
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
