"""VisitCalls and calls tied together: commands obeyed, events told, people put out. Calls are real, media is not."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from backplane.bus import GAP, LocalBus
from backplane.postgres import DatabaseBusy, DatabaseUnavailable
from backplane.tokens import Revocations
from booking.links.link import Seat
from booking.visits import room_commands
from booking.visits.room_commands import PutOut, Renew, RevokeRoom, RoomCommands
from booking.visits.room_names import VisitRoom, VisitRooms, identity
from server import visit_calls
from server.visit_calls import VisitCalls, VisitStays
from signalling.codes import CloseCode
from signalling.session import RESUME_WINDOW_S
from tests.signalling.fakes import WALL, Client, World

NAMES = VisitRooms(b"k" * 32)
ROOM = NAMES.name(VisitRoom(1000, UUID(int=1), 1))
DOCTOR = identity(Seat.DOCTOR, UUID(int=2))
PATIENT = identity(Seat.PATIENT, UUID(int=3))


class Told:
    """Booking, as signalling sees it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, ...]] = []
        self.away = 0
        self.turned_away: set[str] = set()

    async def joined(self, room: str, identity: str, key: str, at: datetime) -> None:
        if self.away:
            self.away -= 1
            raise DatabaseUnavailable
        self.events.append(("joined", identity))

    async def connected(self, room: str, identity: str, key: str, at: datetime) -> None:
        self.events.append(("connected", identity))

    async def left(self, room: str, identity: str, key: str, reason: str, at: datetime) -> None:
        self.events.append(("left", identity, reason))

    async def unwelcome(self, people: Mapping[str, Sequence[str]], at: datetime) -> list[tuple[str, str]]:
        return [(room, who) for room, all in people.items() for who in all if who in self.turned_away]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def bus() -> LocalBus:
    return LocalBus()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Revocations(tmp_path / "revoked.jsonl", WALL), observer=VisitStays(NAMES))


def tie(world: World, told: Told, bus: LocalBus) -> VisitCalls:
    stays = world.observer
    assert isinstance(stays, VisitStays)
    return VisitCalls(world.calls, stays, told, bus, monotonic=lambda: world.now)


@pytest_asyncio.fixture
async def tied(world: World, told: Told, bus: LocalBus) -> AsyncIterator[VisitCalls]:
    tied = tie(world, told, bus)
    task = asyncio.create_task(tied.run())
    await asyncio.sleep(0)
    yield tied
    task.cancel()


def come(world: World, who: str, **claims: object) -> Client:
    return world.joined(who, room=ROOM, identity=who, **claims)


async def test_booking_hears_who_comes_connects_and_goes(world: World, tied: VisitCalls, told: Told) -> None:
    come(world, DOCTOR)
    tied.look()
    patient = come(world, PATIENT)
    tied.look()
    tied.look()
    patient.say("leave")
    await tied.told()
    assert told.events == [
        ("joined", DOCTOR),
        ("joined", PATIENT),
        ("connected", DOCTOR),
        ("connected", PATIENT),
        ("left", PATIENT, "left"),
    ]


async def test_a_lost_person_is_told_once_the_window_is_over(world: World, tied: VisitCalls, told: Told) -> None:
    come(world, DOCTOR)
    come(world, PATIENT).lose()
    world.advance(RESUME_WINDOW_S - 1)
    await tied.told()
    assert ("left", PATIENT, "connection_lost") not in told.events
    world.advance(2)
    await tied.told()
    assert told.events[-1] == ("left", PATIENT, "connection_lost")


async def test_a_server_that_stops_tells_first_who_was_put_out(world: World, told: Told, bus: LocalBus) -> None:
    """Untold, a visit would be in progress for good, and its doctor in the room, should nobody come back."""
    tied = tie(world, told, bus)
    task = asyncio.create_task(tied.run())
    come(world, DOCTOR)
    come(world, PATIENT)
    await tied.told()
    slow, begun = told.left, asyncio.Event()

    async def interrupted(*what: Any) -> None:
        told.left = slow  # type: ignore[method-assign]
        begun.set()
        await asyncio.Event().wait()

    told.left = interrupted  # type: ignore[method-assign]
    world.calls.drain(world.now)
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told.events[2:] == [("left", DOCTOR, "draining"), ("left", PATIENT, "draining")]


async def test_a_connection_that_breaks_at_a_stop_loses_nothing(world: World, told: Told, bus: LocalBus) -> None:
    tied = tie(world, told, bus)
    task = asyncio.create_task(tied.run())
    come(world, DOCTOR)
    come(world, PATIENT)
    await tied.told()
    kept = told.left

    async def breaks_once(*what: Any) -> None:
        told.left = kept  # type: ignore[method-assign]
        raise DatabaseUnavailable

    told.left = breaks_once  # type: ignore[method-assign]
    world.calls.drain(world.now)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told.events[2:] == [("left", DOCTOR, "draining"), ("left", PATIENT, "draining")]


async def test_a_database_that_does_not_answer_holds_no_stop_up(
    world: World, told: Told, bus: LocalBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visit_calls, "LAST_WORDS_S", 0.0)
    tied = tie(world, told, bus)
    task = asyncio.create_task(tied.run())
    come(world, DOCTOR)
    await tied.told()
    begun = asyncio.Event()

    async def for_ever(*what: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    told.left = for_ever  # type: ignore[method-assign]
    world.calls.drain(world.now)
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("each_s, all_told", [(0.4, True), (0.9, False)])
async def test_many_are_told_at_a_stop_while_the_database_answers_but_not_for_ever(
    world: World, told: Told, bus: LocalBus, monkeypatch: pytest.MonkeyPatch, each_s: float, all_told: bool
) -> None:
    loop = asyncio.get_running_loop()
    now = [loop.time()]
    monkeypatch.setattr(loop, "time", lambda: now[0])
    tied = tie(world, told, bus)
    task = asyncio.create_task(tied.run())
    people = [identity(Seat.PATIENT, UUID(int=number)) for number in range(10, 20)]
    for who in people:
        come(world, who)
    await tied.told()
    kept = told.left

    async def slow(*what: Any) -> None:
        now[0] += each_s
        await asyncio.sleep(0)
        await kept(*what)

    told.left = slow  # type: ignore[method-assign]
    world.calls.drain(world.now)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    left = [who for what, who, *_ in told.events if what == "left"]
    assert left == people if all_told else len(left) < len(people)


@pytest.mark.parametrize("how", ["is held", "is refused each time"])
async def test_a_visit_whose_row_is_busy_at_a_stop_costs_the_others_nothing(
    world: World, told: Told, bus: LocalBus, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(visit_calls, "LAST_WORDS_S", 0.2)
    tied = tie(world, told, bus)
    task = asyncio.create_task(tied.run())
    people = [identity(Seat.PATIENT, UUID(int=number)) for number in range(10, 20)]
    for who in people:
        come(world, who)
    await tied.told()
    kept = told.left

    async def one_is_busy(room: str, who: str, *what: Any) -> None:
        if who == people[0] and how == "is held":
            await asyncio.Event().wait()
        if who == people[0]:
            raise DatabaseBusy
        await kept(room, who, *what)

    told.left = one_is_busy  # type: ignore[method-assign]
    world.calls.drain(world.now)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [who for what, who, *_ in told.events if what == "left"] == people[1:]


async def test_who_is_put_out_does_not_stay_though_the_clock_that_signed_is_ahead(
    world: World, tied: VisitCalls, told: Told
) -> None:
    token = world.token(PATIENT, room=ROOM, identity=PATIENT, now=world.wall + 8)
    first = world.client()
    assert first.say("join", token=token, offer="v=0", tracks=[])["type"] == "joined"
    world.now += 3
    told.turned_away.add(PATIENT)
    tied.obey(PutOut(ROOM, PATIENT))
    assert first.link.last["reason"] == "revoked"
    again = world.client()
    again.say("join", token=token, offer="v=0", tracks=[])
    world.now += 0.1
    await tied.told()
    assert again.link.last["type"] in ("error", "bye")


async def test_a_second_device_replaces_the_first(world: World, tied: VisitCalls, told: Told) -> None:
    come(world, PATIENT)
    come(world, PATIENT)
    await tied.told()
    assert told.events == [("joined", PATIENT), ("left", PATIENT, "replaced"), ("joined", PATIENT)]


async def test_calls_that_are_no_visits_are_nobodys_business(world: World, tied: VisitCalls, told: Told) -> None:
    world.joined("Amina", room="k4xq2m7zt5bwc3rdhn6yfa").say("leave")
    await tied.told()
    assert told.events == []


async def test_who_is_put_out_does_not_return_with_an_older_token(world: World, tied: VisitCalls, told: Told) -> None:
    spare = world.token(PATIENT, room=ROOM, identity=PATIENT)
    doctor, patient = come(world, DOCTOR), come(world, PATIENT)
    world.advance(5)
    tied.obey(PutOut(ROOM, PATIENT))
    assert patient.link.of("bye")[0]["reason"] == "revoked"
    assert patient.link.code == CloseCode.BYE
    assert doctor.link.code is None
    refused = world.client().say("join", token=spare, offer="v=0", tracks=[])
    assert refused["code"] == "token_revoked"
    world.advance(1)
    come(world, PATIENT)  # let in after all, with a new token


async def test_an_emptied_room_refuses_all_older_tokens(world: World, tied: VisitCalls, told: Told) -> None:
    spare = world.token("third", room=ROOM)
    people = [come(world, DOCTOR), come(world, PATIENT)]
    elsewhere = world.joined("Amina", room="other")
    world.advance(1)
    tied.obey(RevokeRoom(ROOM))
    assert [each.link.code for each in people] == [CloseCode.BYE, CloseCode.BYE]
    assert elsewhere.link.code is None
    assert world.client().say("join", token=spare, offer="v=0", tracks=[])["code"] == "token_revoked"
    await tied.told()
    assert ("left", DOCTOR, "revoked") in told.events
    world.advance(1)
    come(world, DOCTOR)


async def test_a_call_goes_on_as_long_as_it_is_renewed(world: World, tied: VisitCalls, told: Told) -> None:
    renewed, forgotten = come(world, DOCTOR, lifetime_s=600), come(world, PATIENT, lifetime_s=600)
    world.advance(500)
    tied.obey(Renew(ROOM, DOCTOR, datetime.fromtimestamp(world.wall + 600, UTC)))
    world.advance(200)
    assert renewed.link.code is None
    assert forgotten.link.of("bye")[0]["reason"] == "token_expired"
    world.advance(500)
    assert renewed.link.of("bye")[0]["reason"] == "token_expired"


async def test_who_was_turned_away_while_holding_a_token_does_not_stay(
    world: World, tied: VisitCalls, told: Told
) -> None:
    told.turned_away = {PATIENT}
    patient = come(world, PATIENT)
    await tied.told()
    assert patient.link.code == CloseCode.BYE


async def test_lost_commands_are_made_up_for(world: World, tied: VisitCalls, told: Told) -> None:
    doctor, patient = come(world, DOCTOR), come(world, PATIENT)
    await tied.told()
    told.turned_away = {PATIENT}
    await tied.reconcile()
    assert (doctor.link.code, patient.link.code) == (None, CloseCode.BYE)


async def test_commands_come_over_the_bus(world: World, tied: VisitCalls, told: Told, bus: LocalBus) -> None:
    patient = come(world, PATIENT)
    await RoomCommands(bus).put_out(ROOM, PATIENT)
    for _ in range(10):  # turns of the loop until it is heard and obeyed
        await asyncio.sleep(0)
    assert patient.link.code == CloseCode.BYE


async def test_what_the_database_did_not_hear_is_told_again(
    world: World, tied: VisitCalls, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visit_calls, "RETRY_S", 0.001)
    told.away = 3
    come(world, DOCTOR)
    await tied.told()
    assert told.events == [("joined", DOCTOR)]


async def test_what_a_busy_database_gave_up_is_told_again(
    world: World, tied: VisitCalls, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visit_calls, "RETRY_S", 0.001)
    failures, kept = [DatabaseBusy()], told.left

    async def left(*what: Any) -> None:
        if failures:
            raise failures.pop()
        await kept(*what)

    told.left = left  # type: ignore[method-assign]
    come(world, DOCTOR).say("leave")
    await tied.told()
    assert told.events == [("joined", DOCTOR), ("left", DOCTOR, "left")]


class SlowBooking(Told):
    """Its answers are true when they are made, and arrive when `release` is set: of a slow database."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.release = asyncio.Event(), asyncio.Event()
        self.slow = False

    async def unwelcome(self, people: Mapping[str, Sequence[str]], at: datetime) -> list[tuple[str, str]]:
        found = await super().unwelcome(people, at)
        if self.slow:
            self.asked.set()
            await self.release.wait()
        return found


async def _turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_who_was_let_in_again_while_booking_was_asked_stays(world: World) -> None:
    told = SlowBooking()
    tied = tie(world, told, LocalBus())
    come(world, DOCTOR)
    come(world, PATIENT)
    told.turned_away, told.slow = {PATIENT}, True  # the doctor denies ...
    asking = asyncio.create_task(tied.reconcile())
    await told.asked.wait()
    tied.obey(PutOut(ROOM, PATIENT))
    world.advance(3)
    told.turned_away = set()  # ... and thinks better of it
    patient = come(world, PATIENT)
    world.advance(2)
    told.release.set()
    await asking
    assert patient.link.of("bye") == []


async def test_orders_do_not_wait_for_a_slow_database(world: World) -> None:
    """The connection to Redis was lost for a moment, so booking is asked who may be there, and meanwhile it orders."""
    told, bus = SlowBooking(), LocalBus()
    tied = tie(world, told, bus)
    task = asyncio.create_task(tied.run())
    come(world, DOCTOR)
    patient = come(world, PATIENT)
    await tied.told()
    told.slow = True
    for subscription in bus._listeners[room_commands.TOPIC]:
        subscription.put(GAP)
    await told.asked.wait()
    await RoomCommands(bus).put_out(ROOM, PATIENT)
    await _turns()
    assert [each["reason"] for each in patient.link.of("bye")] == ["revoked"]
    world.advance(1)
    patient = come(world, PATIENT)  # with a new token
    told.release.set()
    await _turns()
    task.cancel()
    assert patient.link.of("bye") == []


def test_who_is_put_out_and_asked_in_again_within_a_second_comes_in(world: World, tied: VisitCalls) -> None:
    world.now += 0.2
    come(world, DOCTOR)
    come(world, PATIENT)
    old = world.token(PATIENT, room=ROOM, identity=PATIENT)
    tied.obey(PutOut(ROOM, PATIENT))
    world.now += 0.3
    assert world.client().say("join", token=old, offer="v=0", tracks=[])["code"] == "token_revoked"
    come(world, PATIENT)


def test_a_token_for_later_that_was_signed_before_opens_nothing_either(world: World, tied: VisitCalls) -> None:
    come(world, PATIENT)
    later = world.token(PATIENT, room=ROOM, identity=PATIENT, not_before=int(world.wall) + 60)
    tied.obey(PutOut(ROOM, PATIENT))
    world.advance(61)
    assert world.client().say("join", token=later, offer="v=0", tracks=[])["code"] == "token_revoked"
