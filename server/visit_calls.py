"""Visits and calls tied together: what booking asks of the rooms, and what happens in them told to booking.

`Calls` knows rooms by names and people by identities; which of them are visits, only booking's name of a room says.
Commands come over the bus to every process, and each obeys for the rooms that it has. What is seen here (somebody came,
media flows, somebody left) goes into a queue and is told in order, because the database may be slow and a call must
not wait for it; while it is away, telling is tried again. Now and then booking is asked whether the people in its rooms
may still be there, for commands may be lost.

`VisitStays` is what the calls tell and so is made before them; `VisitCalls` commands them and so is made behind.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, Literal

from backplane.bus import GAP, Bus, BusUnavailable
from backplane.logs import Log, short
from backplane.postgres import PASSING, DatabaseUnavailable
from backplane.tokens import CLOCK_SKEW_S
from booking.visits import room_commands
from booking.visits.call_events import Calls as Booking
from booking.visits.room_commands import PutOut, Renew, RevokeRoom, RoomCommand
from booking.visits.room_names import VisitRooms
from booking.visits.visit_routes import TOKEN_LIFETIME
from signalling.calls import Calls
from signalling.session import Session

LOOK_S: Final = 1.0
RECONCILE_S: Final = 30.0
RETRY_S: Final = 1.0
LAST_WORDS_S: Final = 1.5  # for each, behind Postgres's own second before it ends a deadlock
LAST_WORDS_RETRY_S: Final = 0.05
LAST_WORDS_ALL_S: Final = 6.0  # whoever stops us waits for 15 s
MAX_UNTOLD: Final = 10_000
_log = Log(__name__)


@dataclass(slots=True)
class _Stay:
    session: Session
    connected: bool = False


@dataclass(frozen=True, slots=True)
class CallEvent:
    """What happened to somebody in a visit's room; ``key`` is of the stay, ``reason`` of a ``left``."""

    what: Literal["joined", "connected", "left"]
    room: str
    identity: str
    key: str
    at: datetime
    reason: str = ""


class VisitStays:
    """The `signalling.sessions.CallObserver`: who is in which visit's room, and what booking is still to be told."""

    def __init__(self, names: VisitRooms, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.clock = clock
        self.untold: asyncio.Queue[CallEvent] = asyncio.Queue(MAX_UNTOLD)
        self._names = names
        self._stays: dict[str, _Stay] = {}
        self._by_room: dict[str, list[_Stay]] = defaultdict(list)

    def joined(self, session: Session) -> None:
        room = session.claims.room
        if self._names.read(room) is not None:
            stay = self._stays[session.id] = _Stay(session)
            self._by_room[room].append(stay)
            self._saw("joined", session)

    def left(self, session: Session, reason: str) -> None:
        stay = self._stays.pop(session.id, None)
        if stay is None:
            return
        room = session.claims.room
        self._by_room[room].remove(stay)
        if not self._by_room[room]:
            del self._by_room[room]
        self._saw("left", session, reason)

    def connected(self, stay: _Stay) -> None:
        """Media flows."""
        stay.connected = True
        self._saw("connected", stay.session)

    def rooms(self) -> list[list[_Stay]]:
        """Stays, room by room."""
        return list(self._by_room.values())

    def people(self) -> dict[str, list[str]]:
        """Identities by room."""
        return {room: [stay.session.claims.identity for stay in stays] for room, stays in self._by_room.items()}

    def _saw(self, what: Literal["joined", "connected", "left"], session: Session, reason: str = "") -> None:
        claims = session.claims
        try:
            self.untold.put_nowait(CallEvent(what, claims.room, claims.identity, session.id, self.clock(), reason))
        except asyncio.QueueFull:  # the database has been away for long; the next stay of each person mends its row
            _log.error("call event dropped")


async def _tell_until_told(tell: Callable[[], Awaitable[None]], retry_s: float) -> None:
    """Again while the database is away, or too busy. What it can never take is dropped."""
    while True:
        try:
            await tell()
        except PASSING:
            await asyncio.sleep(retry_s)
            continue
        except Exception:
            _log.error("call event not kept")
        return


class VisitCalls:
    """Does in the calls what booking asks, and tells booking what ``stays`` saw. Everything but `run` is for the loop's
    own thread."""

    def __init__(
        self,
        calls: Calls,
        stays: VisitStays,
        booking: Booking,
        bus: Bus,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calls = calls
        self._stays = stays
        self._booking = booking
        self._bus = bus
        self._monotonic = monotonic
        self._missed = asyncio.Event()
        """Commands were given that did not come here."""
        self._telling: CallEvent | None = None

    async def run(self) -> None:
        """Obeys and tells until cancelled; then tells what is left while the database answers, for `LAST_WORDS_ALL_S`
        at most."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._obey())
                tasks.create_task(self._tell())
                tasks.create_task(self._look())
                tasks.create_task(self._reconcile())
        finally:
            await self._last_words()

    def obey(self, command: RoomCommand) -> None:
        """Do what booking asks, as far as it concerns this process."""
        match command:
            case PutOut():
                self._put_out(command.room, command.identity)
            case Renew():
                self._calls.renew(command.room, command.identity, command.until.timestamp())
            case RevokeRoom():
                self._put_out(command.room, None)

    def look(self) -> None:
        """See whose media has begun to flow."""
        for stays in self._stays.rooms():
            if len(stays) < 2 or all(stay.connected for stay in stays):
                continue
            states: dict[str, str] = {}
            for stay in stays:
                states.update(self._calls.connections(stay.session))
            for stay in stays:
                if not stay.connected and states.get(stay.session.participant) == "connected":
                    self._stays.connected(stay)

    async def reconcile(self) -> None:
        """Put out whoever booking no longer wants to be in."""
        await self._put_out_unwelcome(self._stays.people())

    async def _put_out_unwelcome(self, people: Mapping[str, Sequence[str]]) -> None:
        asked = self._calls.wall_clock()  # the answer may be long in coming, and somebody asked in meanwhile
        for room, identity in await self._booking.unwelcome(people, self._stays.clock()):
            _log.info("put out", room=short(room), reason="unwelcome")
            self._put_out(room, identity, asked)

    async def told(self) -> None:
        """Returns when everything seen so far has been told."""
        await self._stays.untold.join()

    def _put_out(self, room: str, identity: str | None, decided: float | None = None) -> None:
        oldest_s = TOKEN_LIFETIME.total_seconds() + CLOCK_SKEW_S
        self._calls.put_out(room, identity, self._monotonic(), oldest_s, decided)

    async def _tell(self) -> None:
        while True:
            event = self._telling = await self._stays.untold.get()
            await _tell_until_told(partial(self._tell_once, event), RETRY_S)
            self._telling = None
            self._stays.untold.task_done()

    async def _tell_once(self, event: CallEvent) -> None:
        stay = event.room, event.identity, event.key
        match event.what:
            case "joined":
                await self._booking.joined(*stay, event.at)
                # A token may be minutes old: who was turned away meanwhile does not stay.
                await self._put_out_unwelcome({event.room: [event.identity]})
            case "connected":
                await self._booking.connected(*stay, event.at)
            case "left":
                await self._booking.left(*stay, event.reason, event.at)

    async def _last_words(self) -> None:
        """A server that stops puts everybody out at once, and what nobody hears of here is not mended by those who do
        not come back: their visits would be in progress for good."""
        untold = [] if self._telling is None else [self._telling]
        while not self._stays.untold.empty():
            untold.append(self._stays.untold.get_nowait())
        loop = asyncio.get_running_loop()
        end = loop.time() + LAST_WORDS_ALL_S
        for event in untold:
            if loop.time() >= end:
                _log.error("call events not kept")
                return
            try:
                async with asyncio.timeout_at(min(loop.time() + LAST_WORDS_S, end)):
                    await _tell_until_told(partial(self._tell_once, event), LAST_WORDS_RETRY_S)
            except TimeoutError:  # that row may be held by somebody else, and the next one free
                _log.error("call event not kept")

    async def _obey(self) -> None:
        while True:
            try:
                async with self._bus.subscribe(room_commands.TOPIC) as subscription:
                    self._missed.set()  # what was said before is not heard
                    async for message in subscription:
                        if message == GAP:
                            self._missed.set()  # to be asked for beside the orders: the database may be slow
                        elif (command := room_commands.read(message)) is not None:
                            self.obey(command)
            except BusUnavailable:
                _log.warning("listening waits")
            except Exception:
                _log.error("listening failed")
            await asyncio.sleep(RETRY_S)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self.look()
            except Exception:
                _log.error("look at the rooms failed")

    async def _reconcile(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RECONCILE_S):
                    await self._missed.wait()
            self._missed.clear()
            await self._reconcile_once()

    async def _reconcile_once(self) -> None:
        try:
            await self.reconcile()
        except DatabaseUnavailable:
            _log.warning("reconcile waits")
        except Exception:
            _log.error("reconcile failed")
